//! A page that is as wide as the terminal.

use super::style::{BOLD, DIM};
use anstyle::Style;
use std::fmt::{Display, Write};
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Wide enough for tables where nobody says how wide the page is.
const USUAL_WIDTH: usize = 100;
/// What a terminal has that does not say.
const USUAL_TERMINAL: usize = 80;
/// Narrower pages are written for this width; the terminal breaks their lines.
const NARROWEST: usize = 56;
/// Lines longer than this are tiring to read, however wide the terminal.
const LONGEST_LINE: usize = 120;

/// Text under construction.
pub(crate) struct Page {
    text: String,
    width: usize,
}

impl Page {
    pub(crate) fn new() -> Self {
        let width = match terminal_size::terminal_size_of(std::io::stdout()) {
            Some((width, _)) => usize::from(width.0).clamp(NARROWEST, LONGEST_LINE),
            None if std::io::stdout().is_terminal() => USUAL_TERMINAL,
            None => USUAL_WIDTH,
        };
        Page { text: String::new(), width }
    }

    /// Columns that a line may take.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A heading and what it means, after an empty line.
    pub(crate) fn heading(&mut self, title: &str, meaning: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let title = [(format!("{}  ", paint(BOLD, title)), columns(title) + 2)];
        self.flow(0, title.into_iter().chain(words(meaning)));
    }

    /// A remark, wrapped between its words.
    pub(crate) fn remark(&mut self, text: &str) {
        self.flow(0, words(text));
    }

    /// A line.
    pub(crate) fn line(&mut self, line: impl Display) {
        let before = self.text.len();
        // Writing to a String does not fail.
        let _ = write!(self.text, "{line}");
        let end = before + self.text[before..].trim_end().len();
        self.text.truncate(end);
        self.text.push('\n');
    }

    /// Pieces that are put next to each other and wrapped, each with its width.
    pub(crate) fn flow(&mut self, indent: usize, pieces: impl IntoIterator<Item = (String, usize)>) {
        let mut line = " ".repeat(indent);
        let mut used = indent;
        for (piece, width) in pieces {
            if used > indent && used + width > self.width {
                self.line(&line);
                line = " ".repeat(indent);
                used = indent;
            }
            line.push_str(&piece);
            used += width;
        }
        if used > indent {
            self.line(&line);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// The words of a remark, each with the blank behind it.
fn words(text: &str) -> impl Iterator<Item = (String, usize)> {
    text.split_inclusive(' ').map(|word| (paint(DIM, word), columns(word)))
}

/// Text in a style.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Columns that a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// A text filled up with blanks, or cut short with `…`, to exactly `width` columns.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let have = columns(text);
    if have <= width {
        return format!("{text}{}", " ".repeat(width - have));
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width.saturating_sub(1) {
            break;
        }
        cut.push(c);
        used += wide;
    }
    cut.push('…');
    format!("{cut}{}", " ".repeat(width.saturating_sub(used + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_columns() {
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert_eq!(columns(&fit("日本語", 5)), 5);
    }
}
