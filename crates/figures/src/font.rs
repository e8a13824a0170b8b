//! Text as outlines: an embedded font, the system's fonts for what it lacks.

use rustybuzz::ttf_parser::{self, GlyphId, OutlineBuilder};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, OnceLock};

/// DejaVu Sans; its licence stands beside it.
const EMBEDDED: &[u8] = include_bytes!("../fonts/DejaVuSans.ttf");

/// A glyph of one of the fonts in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GlyphKey {
    face: usize,
    glyph: u16,
}

impl GlyphKey {
    /// A name that is unique within a document.
    pub(crate) fn name(self) -> String {
        format!("g{}-{}", self.face, self.glyph)
    }
}

/// A glyph and how far right and up of the line's start it stands, in units of the font size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) key: GlyphKey,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// A laid-out line; lengths in units of the font size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) glyphs: Vec<Placed>,
    pub(crate) width: f64,
}

/// A step of an outline; coordinates right and up, in units of the font size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Segment {
    Move(f64, f64),
    Line(f64, f64),
    Quad([f64; 4]),
    Cubic([f64; 6]),
    Close,
}

/// A font file's bytes; they live as long as the program, as the embedded ones do.
#[derive(Clone, Copy)]
struct FaceData {
    bytes: &'static [u8],
    index: u32,
}

/// The fonts that were needed so far: the embedded one first, then the system's.
struct Fonts {
    faces: Vec<FaceData>,
    /// Which of them has a character; `None` where no font does.
    of_char: HashMap<char, Option<usize>>,
    /// The system's fonts, looked for once.
    system: Option<fontdb::Database>,
}

fn fonts() -> &'static Mutex<Fonts> {
    static FONTS: OnceLock<Mutex<Fonts>> = OnceLock::new();
    FONTS.get_or_init(|| {
        let faces = vec![FaceData { bytes: EMBEDDED, index: 0 }];
        Mutex::new(Fonts { faces, of_char: HashMap::new(), system: None })
    })
}

impl FaceData {
    fn has(self, c: char) -> bool {
        ttf_parser::Face::parse(self.bytes, self.index).is_ok_and(|face| face.glyph_index(c).is_some())
    }
}

impl Fonts {
    /// A font that has this character.
    fn face_of(&mut self, c: char) -> Option<usize> {
        if let Some(known) = self.of_char.get(&c) {
            return *known;
        }
        let known = self.faces.iter().position(|face| face.has(c));
        let found = known.or_else(|| self.load_for(c));
        self.of_char.insert(c, found);
        found
    }

    /// Loads the first of the system's fonts that has this character.
    fn load_for(&mut self, c: char) -> Option<usize> {
        let system = self.system.get_or_insert_with(|| {
            let mut database = fontdb::Database::new();
            database.load_system_fonts();
            database
        });
        let covers = |data: &[u8], index: u32| {
            ttf_parser::Face::parse(data, index).is_ok_and(|face| {
                face.glyph_index(c).is_some_and(|glyph| face.outline_glyph(glyph, &mut Nothing).is_some())
            })
        };
        let id = system
            .faces()
            .find(|face| system.with_face_data(face.id, |data, index| covers(data, index)) == Some(true))?
            .id;
        let (bytes, index) = system.with_face_data(id, |data, index| (data.to_vec(), index))?;
        // A handful of files a program at most; faces borrow from them.
        self.faces.push(FaceData { bytes: bytes.leak(), index });
        Some(self.faces.len() - 1)
    }
}

/// Lays out a line. Characters that no font has are shown as `\u{…}`.
pub(crate) fn lay_out(text: &str) -> Line {
    let mut fonts = fonts().lock().unwrap_or_else(|e| e.into_inner());
    let mut spelled = String::with_capacity(text.len());
    for c in text.chars() {
        match fonts.face_of(c) {
            Some(_) => spelled.push(c),
            // Writing to a String does not fail.
            None => drop(write!(spelled, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    let mut line = Line { glyphs: Vec::new(), width: 0.0 };
    let mut run = String::new();
    let mut run_face = 0;
    for c in spelled.chars() {
        let face = fonts.face_of(c).unwrap_or(0);
        if face != run_face && !run.is_empty() {
            shape(&mut line, &fonts, run_face, &run);
            run.clear();
        }
        run_face = face;
        run.push(c);
    }
    shape(&mut line, &fonts, run_face, &run);
    line
}

/// Appends a run of one font: ligatures, marks and joined letters as the font has them.
fn shape(line: &mut Line, fonts: &Fonts, face_index: usize, text: &str) {
    let Some(data) = fonts.faces.get(face_index) else { return };
    let Some(face) = rustybuzz::Face::from_slice(data.bytes, data.index) else { return };
    let mut buffer = rustybuzz::UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    let shaped = rustybuzz::shape(&face, &[], buffer);
    let scale = 1.0 / f64::from(face.units_per_em());
    for (info, position) in shaped.glyph_infos().iter().zip(shaped.glyph_positions()) {
        // Glyph ids of a font file are 16 bits wide.
        let key = GlyphKey { face: face_index, glyph: info.glyph_id as u16 };
        let (x, y) = (f64::from(position.x_offset) * scale, f64::from(position.y_offset) * scale);
        line.glyphs.push(Placed { key, x: line.width + x, y });
        line.width += f64::from(position.x_advance) * scale;
    }
}

/// The outline of a glyph; empty for a blank.
pub(crate) fn outline(key: GlyphKey) -> Vec<Segment> {
    let fonts = fonts().lock().unwrap_or_else(|e| e.into_inner());
    let Some(data) = fonts.faces.get(key.face) else { return Vec::new() };
    let Ok(face) = ttf_parser::Face::parse(data.bytes, data.index) else { return Vec::new() };
    let mut outline = Outline { scale: 1.0 / f64::from(face.units_per_em()), segments: Vec::new() };
    face.outline_glyph(GlyphId(key.glyph), &mut outline);
    outline.segments
}

struct Outline {
    scale: f64,
    segments: Vec<Segment>,
}

impl Outline {
    fn scaled<const N: usize>(&self, points: [f32; N]) -> [f64; N] {
        points.map(|value| f64::from(value) * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let [x, y] = self.scaled([x, y]);
        self.segments.push(Segment::Move(x, y));
    }
    fn line_to(&mut self, x: f32, y: f32) {
        let [x, y] = self.scaled([x, y]);
        self.segments.push(Segment::Line(x, y));
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let points = self.scaled([x1, y1, x, y]);
        self.segments.push(Segment::Quad(points));
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let points = self.scaled([x1, y1, x2, y2, x, y]);
        self.segments.push(Segment::Cubic(points));
    }
    fn close(&mut self) {
        self.segments.push(Segment::Close);
    }
}

/// Asks whether there is an outline, without wanting it.
struct Nothing;

impl OutlineBuilder for Nothing {
    fn move_to(&mut self, _: f32, _: f32) {}
    fn line_to(&mut self, _: f32, _: f32) {}
    fn quad_to(&mut self, _: f32, _: f32, _: f32, _: f32) {}
    fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, _: f32, _: f32) {}
    fn close(&mut self) {}
}

/// The text, or as much of its beginning as fits `width` at this font size with `…` behind it.
pub(crate) fn fitted(text: &str, size: f64, width: f64) -> String {
    if lay_out(text).width * size <= width {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let cut: String = kept.iter().chain(['…'].iter()).collect();
        if lay_out(&cut).width * size <= width {
            return cut;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_add_up_and_every_script_of_the_embedded_font_is_there() {
        let (one, two) = (lay_out("n"), lay_out("nn"));
        assert!((two.width - 2.0 * one.width).abs() < 1e-9);
        for text in ["␣Paris↵⇥", "Привет", "Ελλάδα", "مرحبا", "שלום", "ქართ"]
        {
            let line = lay_out(text);
            assert!(line.glyphs.iter().all(|placed| placed.key.glyph != 0), "{text}");
            assert!(line.glyphs.iter().any(|placed| !outline(placed.key).is_empty()), "{text}");
        }
        // Arabic letters join: other glyphs than each alone.
        let alone: Vec<u16> = "مر".chars().map(|c| lay_out(&c.to_string()).glyphs[0].key.glyph).collect();
        let joined: Vec<u16> = lay_out("مر").glyphs.iter().rev().map(|placed| placed.key.glyph).collect();
        assert_ne!(alone, joined);
    }

    #[test]
    fn a_character_that_no_font_has_is_shown_as_its_number() {
        assert_eq!(lay_out("\u{e123}").glyphs, lay_out("\\u{e123}").glyphs);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fitted("Paris", 10.0, 100.0), "Paris");
        let cut = fitted("internationalisation", 10.0, 50.0);
        assert!(cut.ends_with('…') && lay_out(&cut).width * 10.0 <= 50.0);
        assert_eq!(fitted("Paris", 10.0, 1.0), "");
    }
}
