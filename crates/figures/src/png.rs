//! A page as PNG.

use crate::Rgb;
use crate::drawing::{Drawing, Shape};
use crate::font::{Line, Segment, outline};
use tiny_skia::{Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// Why a figure could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// More pixels than a picture may have.
    #[error(
        "the figure would be {width} × {height} pixels, more than {LARGEST} in a direction: fewer layers or tokens \
         (--layers, a shorter prompt), or SVG, which has no such limit"
    )]
    TooLarge {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
    /// The encoder failed.
    #[error("PNG: {0}")]
    Encoding(String),
}

/// Pixels in a direction: viewers and papers refuse larger ones.
const LARGEST: u64 = 16_384;

impl Drawing {
    /// The page as a PNG file, `scale` pixels to each of its own.
    ///
    /// # Errors
    /// When it would have too many pixels.
    pub fn to_png(&self, scale: f64) -> Result<Vec<u8>, FigureError> {
        let (width, height) = ((self.width * scale).ceil() as u64, (self.height * scale).ceil() as u64);
        let too_large = FigureError::TooLarge { width, height };
        if width > LARGEST || height > LARGEST {
            return Err(too_large);
        }
        let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or(too_large)?;
        pixmap.fill(Color::WHITE);
        let page = Transform::from_scale(scale as f32, scale as f32);
        for shape in &self.shapes {
            draw(&mut pixmap, shape, page);
        }
        pixmap.encode_png().map_err(|error| FigureError::Encoding(error.to_string()))
    }
}

fn paint(Rgb(r, g, b): Rgb) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

fn draw(pixmap: &mut Pixmap, shape: &Shape, page: Transform) {
    match shape {
        Shape::Rectangle { x, y, width, height, fill, .. } => {
            let rectangle = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32);
            if let Some(rectangle) = rectangle {
                pixmap.fill_rect(rectangle, &paint(*fill), page, None);
            }
        }
        Shape::Lines { points, width, colour } => {
            let mut path = PathBuilder::new();
            for (at, (x, y)) in points.iter().enumerate() {
                if at == 0 {
                    path.move_to(*x as f32, *y as f32);
                } else {
                    path.line_to(*x as f32, *y as f32);
                }
            }
            let stroke = Stroke { width: *width as f32, line_join: LineJoin::Round, ..Stroke::default() };
            if let Some(path) = path.finish() {
                pixmap.stroke_path(&path, &paint(*colour), &stroke, page, None);
            }
        }
        Shape::Disc { x, y, radius, fill } => {
            if let Some(path) = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32) {
                pixmap.fill_path(&path, &paint(*fill), FillRule::Winding, page, None);
            }
        }
        Shape::Text { x, y, size, colour, line } => {
            if let Some(path) = text_path(line) {
                // Outlines have y up.
                let place = Transform::from_row(*size as f32, 0.0, 0.0, -*size as f32, *x as f32, *y as f32);
                pixmap.fill_path(&path, &paint(*colour), FillRule::Winding, place.post_concat(page), None);
            }
        }
    }
}

/// All outlines of a line of text, in units of the font size; `None` where it is blank.
fn text_path(line: &Line) -> Option<Path> {
    let mut path = PathBuilder::new();
    for placed in &line.glyphs {
        let at = |x: f64, y: f64| ((x + placed.x) as f32, (y + placed.y) as f32);
        for segment in outline(placed.key) {
            match segment {
                Segment::Move(x, y) => {
                    let (x, y) = at(x, y);
                    path.move_to(x, y);
                }
                Segment::Line(x, y) => {
                    let (x, y) = at(x, y);
                    path.line_to(x, y);
                }
                Segment::Quad([x1, y1, x, y]) => {
                    let ((x1, y1), (x, y)) = (at(x1, y1), at(x, y));
                    path.quad_to(x1, y1, x, y);
                }
                Segment::Cubic([x1, y1, x2, y2, x, y]) => {
                    let ((x1, y1), (x2, y2), (x, y)) = (at(x1, y1), at(x2, y2), at(x, y));
                    path.cubic_to(x1, y1, x2, y2, x, y);
                }
                Segment::Close => path.close(),
            }
        }
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_have_the_colours_of_the_shapes() {
        let mut drawing = Drawing::new(40.0, 20.0);
        drawing.rectangle(10.0, 5.0, 20.0, 10.0, Rgb(200, 100, 0));
        drawing.text(12.0, 14.0, 10.0, Rgb::BLACK, "▮");
        let png = drawing.to_png(2.0).unwrap();
        let pixmap = Pixmap::decode_png(&png).unwrap();
        assert_eq!((pixmap.width(), pixmap.height()), (80, 40));
        let pixel = |x, y| pixmap.pixel(x, y).map(|p| (p.red(), p.green(), p.blue())).unwrap();
        assert_eq!(pixel(1, 1), (255, 255, 255));
        assert_eq!(pixel(58, 20), (200, 100, 0));
        let ink = (20..60).flat_map(|x| (10..30).map(move |y| pixel(x, y))).filter(|p| p.0 < 40).count();
        assert!(ink > 20, "{ink}");
    }

    #[test]
    fn too_many_pixels_are_refused() {
        let error = Drawing::new(9000.0, 10.0).to_png(2.0).unwrap_err();
        assert!(error.to_string().contains("18000 × 20"), "{error}");
    }
}
