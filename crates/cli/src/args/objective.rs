//! What is differentiated.

use super::prompt::require_tokenizer;
use crate::engine::ModelFiles;
use crate::error::CliError;
use clap::Args;
use retrograd::{Objective, RequestError, TokenId};

#[derive(Args)]
#[command(next_help_heading = "Objective (one is needed)")]
#[group(skip)]
pub(crate) struct ObjectiveArgs {
    /// Loss of this token after the prompt; it begins with a blank where a word begins: ' Paris'
    #[arg(long, group = "objective", value_name = "TOKEN")]
    target: Option<String>,
    /// The same, by id
    #[arg(long, group = "objective", value_name = "N", allow_negative_numbers = true)]
    target_id: Option<String>,
    /// Mean loss of this text's tokens after the prompt
    #[arg(long, group = "objective", value_name = "TEXT")]
    completion: Option<String>,
    /// Mean loss of every next token of the prompt
    #[arg(long, group = "objective")]
    next_token: bool,
    /// With a target: the logit of this token minus the target's instead of a loss
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["completion", "next_token", "minus_id"])]
    minus: Option<String>,
    /// The same, by id
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with_all = ["completion", "next_token"])]
    minus_id: Option<String>,
}

impl ObjectiveArgs {
    /// Whether one is named.
    pub(crate) fn is_given(&self) -> bool {
        let named = [&self.target, &self.target_id, &self.completion, &self.minus, &self.minus_id];
        self.next_token || named.iter().any(|flag| flag.is_some())
    }

    /// The objective; a completion is appended to `ids`.
    pub(crate) fn objective(
        &self,
        ids: &mut Vec<TokenId>,
        files: &ModelFiles,
    ) -> Result<Objective, CliError> {
        if let Some(text) = &self.completion {
            let start = ids.len();
            let tokenizer =
                require_tokenizer(files, "--completion", "give the tokens as --ids and --next-token")?;
            ids.extend(tokenizer.encode(text)?);
            if ids.len() == start {
                return Err(RequestError::invalid(
                    "--completion",
                    "is empty: give at least one token of text",
                )
                .into());
            }
            return Ok(Objective::Completion { start });
        }
        if self.next_token {
            return Ok(Objective::NextToken);
        }
        let target = token(("--target", &self.target), ("--target-id", &self.target_id), files)?;
        let minus = token(("--minus", &self.minus), ("--minus-id", &self.minus_id), files)?;
        match (target, minus) {
            (Some(token), None) => Ok(Objective::Target(token)),
            (Some(token), Some(minus)) => Ok(Objective::LogitDifference { token, minus }),
            (None, _) => Err(CliError::Usage(
                "no objective: give --target TOKEN, --target-id N, --completion TEXT or --next-token"
                    .to_owned(),
            )),
        }
    }
}

/// A token that is named by its text or by its id.
fn token(
    (text_flag, text): (&str, &Option<String>),
    (id_flag, id): (&str, &Option<String>),
    files: &ModelFiles,
) -> Result<Option<TokenId>, CliError> {
    if let Some(text) = text {
        return Ok(Some(
            require_tokenizer(files, text_flag, &format!("give {id_flag}"))?.single_token(text)?,
        ));
    }
    let Some(id) = id else { return Ok(None) };
    let vocabulary = files.config.vocab_size;
    match id.trim().parse() {
        Ok(number) if (number as usize) < vocabulary => Ok(Some(TokenId(number))),
        _ => {
            let reason = format!("'{id}' is not a token id of the model, which has 0 to {}", vocabulary - 1);
            Err(RequestError::invalid(id_flag, reason).into())
        }
    }
}
