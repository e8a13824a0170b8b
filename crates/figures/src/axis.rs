//! Numbers beside axes, and the bar that explains a map's colours.

use crate::{Drawing, Rgb, cividis};

/// Font size of numbers on axes.
pub(crate) const TICK: f64 = 10.0;
/// Pixels of a colour bar with its numbers.
pub(crate) const BAR_WIDTH: f64 = 74.0;
/// Stripes of a colour bar: more than an eye tells apart.
const STRIPES: usize = 64;

/// Three significant digits at most.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A bar from 0 at the bottom to `largest` at the top, at x and y, `height` pixels high.
pub(crate) fn colour_bar(drawing: &mut Drawing, (x, y): (f64, f64), height: f64, largest: f64, name: &str) {
    let stripe = height / STRIPES as f64;
    for at in 0..STRIPES {
        let share = (at as f64 + 0.5) / STRIPES as f64;
        let top = y + height - (at + 1) as f64 * stripe;
        // Half a pixel of overlap: no white between stripes where they are drawn smoothly.
        drawing.rectangle(x, top, 12.0, stripe + if at > 0 { 0.5 } else { 0.0 }, cividis(share));
    }
    let steps = if height < 60.0 { 1 } else { 4 };
    for tick in 0..=steps {
        let share = f64::from(tick) / f64::from(steps);
        drawing.text(x + 17.0, y + height * (1.0 - share) + 3.5, TICK, Rgb::GREY, &short(share * largest));
    }
    drawing.text(x, y - 7.0, TICK, Rgb::GREY, name);
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 0.1152, 13.7, 1234.5, 0.25, 1e-7, 100.0].map(short),
            ["0", "0.115", "13.7", "1234", "0.25", "1.0e-7", "100"]
        );
    }
}
