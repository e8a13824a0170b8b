//! `retrograd tokenizer`

use crate::error::CliError;
use crate::output::{check_directory, print_json};
use crate::progress::Spinner;
use clap::Args;
use retrograd::FormatError;
use retrograd::formats::{BpeOptions, train_bpe};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: retrograd tokenizer --text corpus.txt --vocab 4096 --out my-tokenizer")]
pub(crate) struct TokenizerCommand {
    /// UTF-8 text files to train on
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text: Vec<PathBuf>,
    /// Size of the vocabulary: 256 bytes, the special tokens, and as many merges as are left
    #[arg(long, value_name = "N")]
    vocab: usize,
    /// Special tokens, which get the first ids [default: <|endoftext|>]
    #[arg(long, value_name = "TOKEN", num_args = 1..)]
    special: Vec<String>,
    /// Directory to write tokenizer.json, vocab.json, merges.txt and tokenizer_config.json to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl TokenizerCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        // First, so that a directory that cannot be written is not found out at the end.
        check_directory(&self.out)?;
        let spinner = Spinner::new("counting pairs".to_owned());
        let options = BpeOptions { vocab_size: self.vocab, special: self.special };
        let tokenizer = train_bpe(&self.text, &options)?;
        std::fs::create_dir_all(&self.out).map_err(|source| FormatError::io(&self.out, source))?;
        tokenizer.save(&self.out)?;
        drop(spinner);
        if self.json {
            return print_json(&serde_json::json!({
                "schema": "retrograd-tokenizer/1", "out": self.out, "vocab_size": tokenizer.vocab_size(),
            }));
        }
        crate::output::print_styled(&format!(
            "wrote {} ({} tokens)\n",
            self.out.display(),
            tokenizer.vocab_size()
        ))
    }
}
