//! A page as SVG: every glyph's outline once, text as uses of them.

use crate::Rgb;
use crate::drawing::{Drawing, Shape};
use crate::font::{GlyphKey, Segment, outline};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Units of a glyph's coordinates to the font size: whole numbers keep the file small.
const UNITS: f64 = 1000.0;

impl Drawing {
    /// The page as a self-contained SVG document.
    pub fn to_svg(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n<defs>\n"
        );
        let keys: BTreeSet<GlyphKey> = self
            .shapes
            .iter()
            .flat_map(|shape| match shape {
                Shape::Text { line, .. } => line.glyphs.as_slice(),
                _ => &[],
            })
            .map(|placed| placed.key)
            .collect();
        // Blanks have no outline and are not drawn.
        let mut drawn = BTreeSet::new();
        for key in keys {
            let path = path(&outline(key));
            if !path.is_empty() {
                put(&mut out, format_args!("<path id=\"{}\" d=\"{path}\"/>\n", key.name()));
                drawn.insert(key);
            }
        }
        out.push_str("</defs>\n");
        for shape in &self.shapes {
            write_shape(&mut out, shape, &drawn);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn write_shape(out: &mut String, shape: &Shape, drawn: &BTreeSet<GlyphKey>) {
    match shape {
        Shape::Rectangle { x, y, width, height, fill, title } => {
            let (x, y, width, height) = (number(*x), number(*y), number(*width), number(*height));
            let rectangle = format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"",
                hex(*fill)
            );
            match title {
                Some(title) => {
                    put(out, format_args!("{rectangle}><title>{}</title></rect>\n", escaped(title)))
                }
                None => put(out, format_args!("{rectangle}/>\n")),
            }
        }
        Shape::Lines { points, width, colour } => {
            let points: Vec<String> =
                points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
            put(
                out,
                format_args!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"/>\n",
                    points.join(" "),
                    hex(*colour),
                    number(*width)
                ),
            );
        }
        Shape::Disc { x, y, radius, fill } => put(
            out,
            format_args!(
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n",
                number(*x),
                number(*y),
                number(*radius),
                hex(*fill)
            ),
        ),
        Shape::Text { x, y, size, colour, line } => {
            let scale = size / UNITS;
            put(
                out,
                format_args!(
                    "<g fill=\"{}\" transform=\"translate({} {}) scale({scale} -{scale})\">",
                    hex(*colour),
                    number(*x),
                    number(*y)
                ),
            );
            // Pointing at a cell's text shows the title of the cell below.
            for placed in line.glyphs.iter().filter(|placed| drawn.contains(&placed.key)) {
                let (x, y) = ((placed.x * UNITS).round(), (placed.y * UNITS).round());
                put(out, format_args!("<use href=\"#{}\" x=\"{x}\"", placed.key.name()));
                if y != 0.0 {
                    put(out, format_args!(" y=\"{y}\""));
                }
                out.push_str("/>");
            }
            out.push_str("</g>\n");
        }
    }
}

/// An outline as path data, right and up.
fn path(segments: &[Segment]) -> String {
    let mut out = String::new();
    let mut step = |letter: char, numbers: &[f64]| {
        out.push(letter);
        for (at, value) in numbers.iter().enumerate() {
            if at > 0 {
                out.push(' ');
            }
            put(&mut out, format_args!("{}", (value * UNITS).round()));
        }
    };
    for segment in segments {
        match segment {
            Segment::Move(x, y) => step('M', &[*x, *y]),
            Segment::Line(x, y) => step('L', &[*x, *y]),
            Segment::Quad(points) => step('Q', points),
            Segment::Cubic(points) => step('C', points),
            Segment::Close => step('Z', &[]),
        }
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(text);
}

/// Hundredths of a pixel.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    (if text == "-0" { "0" } else { text }).to_owned()
}

fn hex(Rgb(r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// XML text; control characters, which XML cannot hold, as their numbers.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                put(&mut out, format_args!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_text_elements_or_fonts() {
        let mut drawing = Drawing::new(100.5, 50.0);
        drawing.titled_rectangle((1.0, 2.0), (30.0, 10.126), Rgb(1, 2, 255), "a < b & \u{7} c");
        drawing.lines([(0.0, 0.0), (10.0, -0.001)], 1.5, Rgb::GREY);
        drawing.text(5.0, 20.0, 10.0, Rgb::BLACK, "anna ");
        let svg = drawing.to_svg();
        assert!(svg.contains("viewBox=\"0 0 100.5 50\"") && svg.contains("height=\"10.13\""), "{svg}");
        assert!(svg.contains("<title>a &lt; b &amp; \\u{7} c</title>") && svg.contains("10,0\""), "{svg}");
        assert!(!svg.contains("<text") && !svg.contains("font"), "{svg}");
        // Two different letters, four uses; the blank is not drawn.
        assert_eq!((svg.matches("<path").count(), svg.matches("<use").count()), (2, 4));
    }
}
