//! How demonstrations and a question become a prompt.

use serde::{Deserialize, Serialize};

/// The texts around inputs and outputs, each of which stands behind a blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Before an input.
    pub input_prefix: String,
    /// Between an input and the prefix of its output.
    pub input_separator: String,
    /// Before an output; the prompt ends with it.
    pub output_prefix: String,
    /// Between an output and the next input's prefix.
    pub output_separator: String,
}

impl Default for Template {
    /// `Q: x\nA: y\n\nQ: q\nA:`, as function vectors have it.
    fn default() -> Self {
        let text = str::to_owned;
        Template {
            input_prefix: text("Q:"),
            input_separator: text("\n"),
            output_prefix: text("A:"),
            output_separator: text("\n\n"),
        }
    }
}

impl Template {
    /// The prompt as text.
    pub fn text<'a>(
        &self,
        demonstrations: impl IntoIterator<Item = (&'a str, &'a str)>,
        query: &str,
    ) -> String {
        let Template { input_prefix, input_separator, output_prefix, output_separator } = self;
        let mut text = String::new();
        for (input, output) in demonstrations {
            text +=
                &format!("{input_prefix} {input}{input_separator}{output_prefix} {output}{output_separator}");
        }
        text + &format!("{input_prefix} {query}{input_separator}{output_prefix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form() {
        let template = Template::default();
        assert_eq!(template.text([("a", "b"), ("c", "d")], "e"), "Q: a\nA: b\n\nQ: c\nA: d\n\nQ: e\nA:");
        assert_eq!(template.text([], "e"), "Q: e\nA:");
    }
}
