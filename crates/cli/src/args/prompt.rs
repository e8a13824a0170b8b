//! The tokens of a pass: a text or ids.

use crate::engine::ModelFiles;
use crate::error::CliError;
use clap::Args;
use retrograd::formats::parse_ids;
use retrograd::{RequestError, TokenId, Tokenizer};

#[derive(Args)]
pub(crate) struct PromptArgs {
    /// The text
    #[arg(value_name = "PROMPT", conflicts_with = "ids")]
    pub(crate) prompt: Option<String>,
    /// Token ids instead of a text, as in 15496,995
    // Hyphens are allowed so that a negative id is called a wrong id rather than an unknown flag.
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    ids: Option<String>,
}

impl PromptArgs {
    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.prompt.is_some() || self.ids.is_some()
    }

    pub(crate) fn tokens(&self, files: &ModelFiles) -> Result<Vec<TokenId>, CliError> {
        match (&self.prompt, &self.ids) {
            (_, Some(ids)) => Ok(parse_ids(ids)?),
            (Some(prompt), None) => {
                let ids = require_tokenizer(files, "prompt", "give --ids")?.encode(prompt)?;
                if ids.is_empty() {
                    let reason = "is empty: give at least one token of text";
                    return Err(RequestError::invalid("prompt", reason).into());
                }
                Ok(ids)
            }
            (None, None) => Err(CliError::Usage("no prompt: give a text, or --ids 15496,995".to_owned())),
        }
    }
}

/// The tokenizer that the flag `what` needs.
pub(crate) fn require_tokenizer<'a>(
    files: &'a ModelFiles,
    what: &str,
    instead: &str,
) -> Result<&'a Tokenizer, CliError> {
    files.tokenizer.as_ref().ok_or_else(|| {
        let dir = files.dir.display();
        let reason =
            format!("{dir} has no tokenizer (tokenizer.json, or vocab.json and merges.txt): {instead}");
        RequestError::invalid(what, reason).into()
    })
}
