//! `retrograd serve`

use crate::args::ModelArgs;
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::output::print_styled;
use crate::progress::Spinner;
use clap::Args;
use retrograd::RequestError;
use retrograd_web::server::ServedModel;
use retrograd_web::{ServeError, ServeOptions, serve};
use std::net::IpAddr;

#[derive(Args)]
#[command(
    after_help = "The page runs prompts, shows heads, lens and flow graph, and tries changes. Whoever reaches the address can\nrun prompts; nothing is written and no file is read for them.\n\nExample: retrograd serve --port 7878"
)]
pub(crate) struct ServeCommand {
    /// The port; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7878)]
    port: u16,
    /// The address to listen at; any but a loopback one lets other machines in
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// A name, beside localhost and the address, under which requests may come; may be given several times
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Tokens of a prompt at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    #[command(flatten)]
    model: ModelArgs,
}

impl ServeCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.max_tokens == 0 {
            return Err(RequestError::invalid("--max-tokens", "must be at least 1").into());
        }
        let files = ModelFiles::open(&self.model)?;
        let spinner = Spinner::new(format!("loading {}", files.dir.display()));
        let model = match Engine::open(&self.model, &files)? {
            Engine::Device(model) => ServedModel::Device(model),
            Engine::Reference(model) => ServedModel::Reference(Box::new((model, files.tokenizer))),
        };
        drop(spinner);
        let options = ServeOptions {
            address: self.address,
            port: self.port,
            allowed_hosts: self.allow_host,
            max_tokens: self.max_tokens,
        };
        let dir = files.dir.display().to_string();
        let loopback = self.address.is_loopback();
        serve(model, &options, |address| {
            let more = if loopback { "" } else { "\nOther machines can reach it, and run prompts." };
            // Where stdout is closed, the page is served all the same.
            let _ = print_styled(&format!("Serving {dir} at http://{address}/ until Ctrl-C{more}\n"));
        })
        .map_err(|error: ServeError| CliError::Failed(error.to_string()))
    }
}
