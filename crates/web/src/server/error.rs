//! What can go wrong with a server, and with a request to it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use retrograd::{ModelError, RequestError};
use serde::Serialize;
use std::net::SocketAddr;

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("port {} is in use{}: give another with --port, or --port 0 for any that is free", .address.port(), by(.owner))]
    PortInUse {
        /// Where it was to listen.
        address: SocketAddr,
        /// The program that has the port, where the system says.
        owner: Option<String>,
    },
    /// The address is not to be had.
    #[error("cannot listen at {address}: {source}; give another with --address or --port")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no threads or sockets.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

fn by(owner: &Option<String>) -> String {
    owner.as_ref().map_or(String::new(), |owner| format!(" by {owner}"))
}

/// Why a request was not carried out, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) what: String,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    what: &'a str,
    message: &'a str,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, what: impl Into<String>, message: impl Into<String>) -> Self {
        // As any error's words: one line, whatever the client wrote that they quote.
        let RequestError { what, reason: message, .. } = RequestError::invalid(what, message);
        Refusal { status, what, message }
    }

    /// As a JSON value, for a response or for a line of a stream.
    pub(crate) fn error(&self) -> serde_json::Value {
        serde_json::json!({ "what": self.what, "message": self.message })
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, error.what, error.reason)
    }
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Request(error) => error.into(),
            error => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "model", error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body { error: Inner { what: &self.what, message: &self.message } };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
