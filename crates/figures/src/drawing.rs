//! A page: rectangles, lines and text, in the order in which they were put there.

use crate::Rgb;
use crate::font::{Line, lay_out};

/// A shape; lengths in pixels of the page, y down.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Rectangle { x: f64, y: f64, width: f64, height: f64, fill: Rgb, title: Option<String> },
    Lines { points: Vec<(f64, f64)>, width: f64, colour: Rgb },
    Disc { x: f64, y: f64, radius: f64, fill: Rgb },
    Text { x: f64, y: f64, size: f64, colour: Rgb, line: Line },
}

/// A white page with shapes on it.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) shapes: Vec<Shape>,
}

impl Drawing {
    /// An empty page, in pixels.
    pub fn new(width: f64, height: f64) -> Self {
        Drawing { width, height, shapes: Vec::new() }
    }

    /// Its width and height in pixels.
    pub fn size(&self) -> (f64, f64) {
        (self.width, self.height)
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, fill: Rgb) {
        self.shapes.push(Shape::Rectangle { x, y, width, height, fill, title: None });
    }

    /// A filled rectangle with a text that viewers show when it is pointed at, and read aloud.
    pub fn titled_rectangle(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        fill: Rgb,
        title: impl Into<String>,
    ) {
        self.shapes.push(Shape::Rectangle { x, y, width, height, fill, title: Some(title.into()) });
    }

    /// A line through points.
    pub fn lines(&mut self, points: impl Into<Vec<(f64, f64)>>, width: f64, colour: Rgb) {
        self.shapes.push(Shape::Lines { points: points.into(), width, colour });
    }

    /// A disc.
    pub fn disc(&mut self, x: f64, y: f64, radius: f64, fill: Rgb) {
        self.shapes.push(Shape::Disc { x, y, radius, fill });
    }

    /// Text that begins at x, on the base line y.
    pub fn text(&mut self, x: f64, y: f64, size: f64, colour: Rgb, text: &str) {
        self.shapes.push(Shape::Text { x, y, size, colour, line: lay_out(text) });
    }

    /// Text around x.
    pub fn centred_text(&mut self, x: f64, y: f64, size: f64, colour: Rgb, text: &str) {
        let line = lay_out(text);
        self.shapes.push(Shape::Text { x: x - line.width * size / 2.0, y, size, colour, line });
    }

    /// Text that ends at x.
    pub fn text_before(&mut self, x: f64, y: f64, size: f64, colour: Rgb, text: &str) {
        let line = lay_out(text);
        self.shapes.push(Shape::Text { x: x - line.width * size, y, size, colour, line });
    }

    /// Width of a text at a size.
    pub fn text_width(text: &str, size: f64) -> f64 {
        lay_out(text).width * size
    }

    /// Puts another page's shapes onto this one, moved right and down.
    pub fn place(&mut self, other: Drawing, dx: f64, dy: f64) {
        self.shapes.extend(other.shapes.into_iter().map(|mut shape| {
            match &mut shape {
                Shape::Rectangle { x, y, .. } | Shape::Disc { x, y, .. } | Shape::Text { x, y, .. } => {
                    *x += dx;
                    *y += dy;
                }
                Shape::Lines { points, .. } => points.iter_mut().for_each(|(x, y)| {
                    *x += dx;
                    *y += dy;
                }),
            }
            shape
        }));
    }
}
