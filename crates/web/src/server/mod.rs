//! The page from a program on this machine: one model, one job at a time.
//!
//! What a request may do is little: run a prompt. No path comes from one, nothing is written. Requests must name this
//! server as their host and, where a browser says where they come from, come from this server's own page: another
//! site's script cannot reach it, whatever name it gives to this address.

mod error;
mod guard;
mod http;
mod job;
mod port_owner;
#[cfg(unix)]
mod rehearsal;
mod request;
mod worker;

pub use error::ServeError;
pub use job::ServedModel;
#[cfg(unix)]
pub use rehearsal::Rehearsal;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How the page is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address to listen at.
    pub address: IpAddr,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// Names, beside `localhost` and the address itself, under which requests may come.
    pub allowed_hosts: Vec<String>,
    /// Tokens of a prompt at most.
    pub max_tokens: usize,
}

/// Serves until Ctrl-C. `ready` is told the address once requests are taken.
///
/// # Errors
/// When the address cannot be listened at.
pub fn serve(
    model: ServedModel,
    options: &ServeOptions,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let listener = runtime.block_on(http::listen(options))?;
    let address = listener.local_addr().map_err(ServeError::Runtime)?;
    let info = model.info(options.max_tokens);
    let worker = worker::Worker::start(model)?;
    let state = Arc::new(http::State::new(info, worker, options, address));
    ready(address);
    runtime.block_on(http::run(listener, state));
    // A job that still runs is given up with its client; nothing of it is kept.
    runtime.shutdown_background();
    Ok(())
}
