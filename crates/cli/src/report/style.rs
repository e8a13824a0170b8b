//! Colours. All of them are left out where stdout is no terminal or `NO_COLOR` is set, so none of them
//! carries anything that the text does not.

use anstyle::{Ansi256Color, AnsiColor, Color, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
/// What was asked for, what passed.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What went wrong.
pub(crate) const WRONG: Style = AnsiColor::Red.on_default();
/// Bars.
pub(crate) const BAR: Style = AnsiColor::Cyan.on_default();
/// More attention would raise the loss.
pub(crate) const RAISES: Style = AnsiColor::Red.on_default();
/// More attention would lower the loss.
pub(crate) const LOWERS: Style = AnsiColor::Blue.on_default();

/// From nothing to the largest: the 256-colour palette's nearest to the 'inferno' map, and whether text on it
/// is to be light.
const RAMP: [(u8, bool); 10] = [
    (233, true),
    (53, true),
    (90, true),
    (126, true),
    (161, true),
    (203, false),
    (208, false),
    (214, false),
    (221, false),
    (229, false),
];

/// The style of a cell for a share of the maximum, 0 to 1. `text` is whether what stands in it is to be read;
/// else it is there for those who see no colours, and hidden from the others.
pub(crate) fn heat(share: f64, text: bool) -> Style {
    // The root spreads the small values, of which there are most.
    let at = (share.clamp(0.0, 1.0).sqrt() * (RAMP.len() - 1) as f64).round() as usize;
    let (background, light) = RAMP[at.min(RAMP.len() - 1)];
    let foreground = match (text, light) {
        (false, _) => background,
        (true, true) => 255,
        (true, false) => 16,
    };
    Style::new()
        .bg_color(Some(Color::Ansi256(Ansi256Color(background))))
        .fg_color(Some(Color::Ansi256(Ansi256Color(foreground))))
}
