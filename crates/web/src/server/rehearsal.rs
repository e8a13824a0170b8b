//! A server without a model.

use super::job::ModelInfo;
use super::worker::Worker;
use super::{ServeError, ServeOptions, http};
use axum::Router;
use retrograd::{Config, Tokenizer};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// Everything that a request goes through until it would be computed: HTTP, who may ask, the checks against a model's
/// shape. For tests of what hostile requests do; a request that could be carried out is answered with 503.
pub struct Rehearsal {
    runtime: Runtime,
    routes: Router,
}

impl Rehearsal {
    /// A server of a model with this shape, as if at the options' address.
    ///
    /// # Errors
    /// When the system gives no threads or sockets.
    pub fn new(
        config: Config,
        tokenizer: Option<Tokenizer>,
        options: &ServeOptions,
    ) -> Result<Rehearsal, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        let max_tokens = options.max_tokens;
        let info =
            ModelInfo::new("rehearsal".into(), "none".into(), &config, tokenizer.is_some(), max_tokens);
        let worker = Worker::idle(config, tokenizer);
        let address = SocketAddr::new(options.address, options.port);
        let state = Arc::new(http::State::new(info, worker, options, address));
        Ok(Rehearsal { runtime, routes: http::routes(state) })
    }

    /// All that a client is sent who opens a connection, sends these bytes and closes its side.
    ///
    /// # Errors
    /// When the system gives no sockets.
    pub fn exchange(&self, sent: &[u8]) -> Result<Vec<u8>, ServeError> {
        self.runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().map_err(ServeError::Runtime)?;
            let serving = http::serve_connection(theirs, self.routes.clone());
            let (read, write) = ours.into_split();
            let sending = async move {
                let mut rest = sent;
                while !rest.is_empty() && write.writable().await.is_ok() {
                    match write.try_write(rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        // The server has hung up.
                        Err(_) => break,
                    }
                }
            };
            let receiving = async move {
                let mut received = Vec::new();
                let mut buffer = [0; 1 << 14];
                while read.readable().await.is_ok() {
                    match read.try_read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => received.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                received
            };
            let ((), (), received) = tokio::join!(serving, sending, receiving);
            Ok(received)
        })
    }
}
