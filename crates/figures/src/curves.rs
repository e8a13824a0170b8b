//! Curves over a discrete axis, such as layers.

use crate::axis::{TICK, short};
use crate::panel::{HEADING, heading, heading_width};
use crate::{CURVES, Drawing, Rgb};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 210.0;

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From the first number at the bottom to the second at the top.
    Linear(f64, f64),
    /// Ranks from 0 at the top to this many at the bottom, log(1 + rank).
    Rank(f64),
}

impl Scale {
    /// Share of the height, 0 at the bottom.
    fn share(self, value: f64) -> f64 {
        match self {
            Scale::Linear(low, high) if high > low => (value - low) / (high - low),
            Scale::Linear(..) => 0.0,
            Scale::Rank(most) => 1.0 - value.ln_1p() / most.max(1.0).ln_1p(),
        }
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear(low, high) => (0..=4).map(|at| low + (high - low) * f64::from(at) / 4.0).collect(),
            Scale::Rank(most) => {
                let tens = (0..9).map(|power| 10f64.powi(power)).take_while(|ten| *ten < 0.6 * most);
                std::iter::once(0.0).chain(tens).chain([most]).collect()
            }
        }
    }
}

/// A named line through values; a gap where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// One for each place on the axis.
    pub values: Vec<Option<f64>>,
}

/// Curves in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Heading.
    pub title: String,
    /// A line of explanation.
    pub remark: String,
    /// Name of the axis across.
    pub across: String,
    /// Names of its places.
    pub places: Vec<String>,
    /// The curves, at most six told apart by colour and mark.
    pub curves: Vec<Curve>,
    /// Heights.
    pub scale: Scale,
}

impl Curves {
    /// The frame as a drawing.
    pub fn draw(&self) -> Drawing {
        let ticks = self.scale.ticks();
        let label = |value: f64| match self.scale {
            Scale::Rank(_) => format!("{value:.0}"),
            Scale::Linear(..) => short(value),
        };
        let labels =
            ticks.iter().fold(0.0f64, |widest, &value| widest.max(Drawing::text_width(&label(value), TICK)));
        let legend = self
            .curves
            .iter()
            .fold(0.0f64, |widest, curve| widest.max(Drawing::text_width(&curve.name, TICK + 1.0)));
        let (left, top) = (labels + 10.0, HEADING + 6.0);
        let width = (left + WIDTH + 46.0 + legend).max(heading_width(&self.title, &self.remark));
        let mut drawing = Drawing::new(width, top + HEIGHT + 34.0);
        heading(&mut drawing, &self.title, &self.remark);
        let height = |value: f64| top + HEIGHT * (1.0 - self.scale.share(value).clamp(0.0, 1.0));
        for value in ticks {
            let y = height(value);
            drawing.lines([(left, y), (left + WIDTH, y)], 0.8, Rgb::FAINT);
            drawing.text_before(left - 6.0, y + 3.5, TICK, Rgb::GREY, &label(value));
        }
        let steps = self.places.len().saturating_sub(1).max(1) as f64;
        let place = |at: usize| left + 12.0 + (WIDTH - 24.0) * at as f64 / steps;
        // A name takes 26 pixels.
        let every = (26.0 * steps / (WIDTH - 24.0)).ceil().max(1.0) as usize;
        for (at, name) in self.places.iter().enumerate().step_by(every) {
            drawing.centred_text(place(at), top + HEIGHT + 14.0, TICK, Rgb::GREY, name);
        }
        drawing.centred_text(left + WIDTH / 2.0, top + HEIGHT + 29.0, TICK + 1.0, Rgb::BLACK, &self.across);
        for (number, curve) in self.curves.iter().enumerate() {
            let colour = CURVES[number % CURVES.len()];
            let points: Vec<Option<(f64, f64)>> = curve
                .values
                .iter()
                .enumerate()
                .map(|(at, value)| value.map(|value| (place(at), height(value))))
                .collect();
            for run in points.split(Option::is_none) {
                let run: Vec<(f64, f64)> = run.iter().copied().flatten().collect();
                if run.len() > 1 {
                    drawing.lines(run, 1.8, colour);
                }
            }
            for (x, y) in points.into_iter().flatten() {
                mark(&mut drawing, number, (x, y), colour);
            }
            let y = top + 10.0 + 18.0 * number as f64;
            let x = left + WIDTH + 14.0;
            drawing.lines([(x, y), (x + 22.0, y)], 1.8, colour);
            mark(&mut drawing, number, (x + 11.0, y), colour);
            drawing.text(x + 28.0, y + 4.0, TICK + 1.0, Rgb::BLACK, &curve.name);
        }
        drawing
    }
}

/// Discs and squares, filled and hollow in turn: curves are told apart without colours.
fn mark(drawing: &mut Drawing, number: usize, (x, y): (f64, f64), colour: Rgb) {
    if number.is_multiple_of(2) {
        drawing.disc(x, y, 3.2, colour);
    } else {
        drawing.rectangle(x - 3.0, y - 3.0, 6.0, 6.0, colour);
    }
    match number / 2 % 2 {
        0 => {}
        _ => drawing.disc(x, y, 1.6, Rgb::WHITE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_zero_at_the_top() {
        let scale = Scale::Rank(50256.0);
        assert_eq!((scale.share(0.0), scale.share(50256.0)), (1.0, 0.0));
        assert_eq!(scale.ticks(), [0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0, 50256.0]);
        assert_eq!(Scale::Linear(0.5, 1.0).share(0.75), 0.5);
        assert_eq!(Scale::Linear(1.0, 1.0).share(1.0), 0.0);
    }
}
