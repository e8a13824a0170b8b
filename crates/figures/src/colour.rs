//! Colours that colour-blind readers tell apart.

/// A colour, opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// Text on white.
    pub const BLACK: Rgb = Rgb(0x11, 0x11, 0x11);
    /// Paper.
    pub const WHITE: Rgb = Rgb(0xff, 0xff, 0xff);
    /// Remarks and axes.
    pub const GREY: Rgb = Rgb(0x60, 0x60, 0x60);
    /// Grid lines.
    pub const FAINT: Rgb = Rgb(0xd8, 0xd8, 0xd8);
}

/// The cividis map (Nuñez, Anderton and Renslow 2018) at seventeen even steps.
const CIVIDIS: [u32; 17] = [
    0x00224e, 0x002e6a, 0x1a386f, 0x32436d, 0x434e6c, 0x535a6d, 0x61656f, 0x6f7073, 0x7d7c78, 0x8b8778,
    0x9a9376, 0xaaa073, 0xbbad6d, 0xccba64, 0xddc858, 0xefd748, 0xfee838,
];

/// Okabe and Ito's palette without its yellow, which is faint on white, for curves.
pub const CURVES: [Rgb; 6] = [
    Rgb(0x00, 0x72, 0xb2),
    Rgb(0xd5, 0x5e, 0x00),
    Rgb(0x00, 0x9e, 0x73),
    Rgb(0xcc, 0x79, 0xa7),
    Rgb(0xe6, 0x9f, 0x00),
    Rgb(0x56, 0xb4, 0xe9),
];

/// Brewer's nine greens, light to dark (colorbrewer2.org).
const GREENS: [u32; 9] =
    [0xf7fcf5, 0xe5f5e0, 0xc7e9c0, 0xa1d99b, 0x74c476, 0x41ab5d, 0x238b45, 0x006d2c, 0x00441b];

/// Brewer's purple to orange around white, which colour-blind readers tell apart (colorbrewer2.org).
const PURPLE_ORANGE: [u32; 11] = [
    0x2d004b, 0x542788, 0x8073ac, 0xb2abd2, 0xd8daeb, 0xf7f7f7, 0xfee0b6, 0xfdb863, 0xe08214, 0xb35806,
    0x7f3b08,
];

/// The colour of a share of the largest, 0 to 1: white to dark green.
pub fn greens(share: f64) -> Rgb {
    between(&GREENS, share)
}

/// The colour of a signed share of the largest, −1 to 1: purple below 0, white at 0, orange above.
pub fn diverging(share: f64) -> Rgb {
    between(&PURPLE_ORANGE, (share + 1.0) / 2.0)
}

/// The colour of a share of the largest, 0 to 1: dark blue, grey, yellow. Luminance grows evenly.
pub fn cividis(share: f64) -> Rgb {
    between(&CIVIDIS, share)
}

/// The colour at a share of the way through a map's even steps.
fn between(steps: &[u32], share: f64) -> Rgb {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let at = share * (steps.len() - 1) as f64;
    let below = (at.floor() as usize).min(steps.len() - 2);
    let part = at - below as f64;
    let mix = |shift: u32| {
        let of = |at: usize| f64::from(steps[at] >> shift & 0xff);
        (of(below) * (1.0 - part) + of(below + 1) * part).round() as u8
    };
    Rgb(mix(16), mix(8), mix(0))
}

/// Black or white, whichever is read better on a colour (WCAG's relative luminance).
pub fn readable_on(background: Rgb) -> Rgb {
    let linear = |channel: u8| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let Rgb(r, g, b) = background;
    let luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    // Equal contrast with black and white.
    if luminance > 0.179 { Rgb::BLACK } else { Rgb::WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_runs_from_dark_to_light() {
        assert_eq!(cividis(0.0), Rgb(0x00, 0x22, 0x4e));
        assert_eq!(cividis(7.0), cividis(1.0));
        assert_eq!(cividis(f64::NAN), cividis(0.0));
        let luminance = |share| {
            let Rgb(r, g, b) = cividis(share);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        assert!((0..100).all(|i| luminance(f64::from(i) / 100.0) < luminance(f64::from(i + 1) / 100.0)));
        assert_eq!(readable_on(cividis(0.0)), Rgb::WHITE);
        assert_eq!(readable_on(cividis(1.0)), Rgb::BLACK);
    }
}
