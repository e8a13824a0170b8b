//! Figures that can go into a paper, as SVG and as PNG.
//!
//! - [`Drawing`]: rectangles, lines and text on a page; [`Drawing::to_svg`] and [`Drawing::to_png`] draw the same.
//!   Text becomes outlines: a figure looks the same wherever it is shown, whatever fonts are there.
//! - Panels: [`TokenTable`], [`Curves`], [`HeatMap`], [`AttentionMap`], each a drawing; [`stack`] puts them on one page.
//! - [`lens_figure`], [`attention_figure`], [`perturb_figure`], [`patch_figure`]: what the commands' `--svg` and `--png` write.
//!
//! Colours are cividis for sizes, Brewer's greens and purple to orange for attention maps, and Okabe and Ito's palette for
//! curves: colour-blind people read all of them, sizes can be read in grey too. The embedded font is DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew, Georgian, Armenian
//! and most symbols); other scripts come from the system's fonts, and where it has none a character is shown as its
//! number.
//!
//! ```
//! use retrograd_figures::{Drawing, Rgb};
//! let mut drawing = Drawing::new(120.0, 40.0);
//! drawing.rectangle(10.0, 10.0, 100.0, 20.0, Rgb(0xfe, 0xe8, 0x38));
//! drawing.text(16.0, 24.0, 12.0, Rgb::BLACK, "␣Paris");
//! assert!(drawing.to_svg().starts_with("<svg "));
//! assert_eq!(&drawing.to_png(2.0)?[1..4], b"PNG");
//! # Ok::<(), retrograd_figures::FigureError>(())
//! ```

mod attention;
mod attention_map;
mod axis;
mod colour;
mod curves;
mod drawing;
mod font;
mod heat_map;
mod lens;
mod panel;
mod png;
mod svg;
mod token_table;

pub use attention::{DrawnHead, attention_figure, patch_figure, perturb_figure};
pub use attention_map::{AttentionMap, MapColours};
pub use colour::{CURVES, Rgb, cividis, diverging, greens, readable_on};
pub use curves::{Curve, Curves, Scale};
pub use drawing::Drawing;
pub use heat_map::HeatMap;
pub use lens::{LensPanels, lens_figure};
pub use panel::{beside, stack};
pub use png::FigureError;
pub use token_table::{TokenCell, TokenTable};
