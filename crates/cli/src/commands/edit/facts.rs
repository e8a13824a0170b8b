//! The facts that are to be edited in.

use super::EditCommand;
use crate::engine::ModelFiles;
use crate::error::CliError;
use retrograd::formats::{TextOrIds, read_edit_list};
use retrograd::lens::edit::{Fact, target_tokens};
use retrograd::{FormatError, Objective, RequestError, TokenId, Tokenizer, TraceRequest};
use std::path::Path;

impl EditCommand {
    /// From the flags or from the file; every token is one of the model's.
    pub(super) fn facts(&self, files: &ModelFiles) -> Result<Vec<Fact>, CliError> {
        match &self.edits {
            Some(path) => from_file(path, files),
            None => {
                let fact = Fact { prompt: self.prompt.tokens(files)?, target: self.target_ids(files)? };
                check(&fact, files)?;
                Ok(vec![fact])
            }
        }
    }

    fn target_ids(&self, files: &ModelFiles) -> Result<Vec<TokenId>, CliError> {
        if let Some(text) = &self.target {
            return Ok(target_tokens(tokenizer(files, "--target", "give --target-id")?, text)?);
        }
        let Some(id) = &self.target_id else {
            return Err(CliError::Usage("no target: give --target TOKEN or --target-id N".to_owned()));
        };
        let vocabulary = files.config.vocab_size;
        match id.trim().parse() {
            Ok(number) if (number as usize) < vocabulary => Ok(vec![TokenId(number)]),
            _ => {
                let reason =
                    format!("'{id}' is not a token id of the model, which has 0 to {}", vocabulary - 1);
                Err(RequestError::invalid("--target-id", reason).into())
            }
        }
    }
}

fn from_file(path: &Path, files: &ModelFiles) -> Result<Vec<Fact>, CliError> {
    let fact = |line: retrograd::formats::EditLine| {
        let place = line.place;
        let wrong = |error: CliError| match error {
            CliError::Failed(reason) => FormatError::malformed(path, format!("{place}: {reason}")).into(),
            other => other,
        };
        let prompt = match line.prompt {
            TextOrIds::Ids(ids) => ids,
            TextOrIds::Text(text) => tokenizer(files, "prompt", "give ids")
                .and_then(|tokenizer| Ok(tokenizer.encode(&text)?))
                .map_err(wrong)?,
        };
        let target = match line.target {
            TextOrIds::Ids(ids) => ids,
            TextOrIds::Text(text) => tokenizer(files, "target", "give target_id")
                .and_then(|tokenizer| Ok(target_tokens(tokenizer, &text)?))
                .map_err(wrong)?,
        };
        let fact = Fact { prompt, target };
        check(&fact, files).map_err(wrong)?;
        Ok(fact)
    };
    read_edit_list(path)?.into_iter().map(fact).collect()
}

/// Everything that is wrong with a fact is said before the model is loaded.
fn check(fact: &Fact, files: &ModelFiles) -> Result<(), CliError> {
    let target = fact.first_target()?;
    TraceRequest::new(fact.prompt.clone(), Objective::Target(target)).resolve(&files.config)?;
    Ok(())
}

fn tokenizer<'a>(files: &'a ModelFiles, what: &str, instead: &str) -> Result<&'a Tokenizer, CliError> {
    crate::args::require_tokenizer(files, what, instead)
}
