//! Routes, limits, connections.

use super::ServeOptions;
use super::error::{Refusal, ServeError};
use super::guard::Hosts;
use super::job::ModelInfo;
use super::port_owner::port_owner;
use super::request::RunRequest;
use super::worker::{Events, Worker};
use crate::html::{csp_of, served_html};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_core::Stream;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bytes of a request's body at most: a prompt of the longest context many times over.
pub(crate) const MAX_BODY: usize = 256 << 10;
/// Bytes of a request's first line and headers at most: browsers send 1 kB.
const MAX_HEAD: usize = 64 << 10;
/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// What every request sees.
pub(crate) struct State {
    info: ModelInfo,
    worker: Worker,
    hosts: Hosts,
    max_tokens: usize,
    html: Bytes,
    csp: HeaderValue,
}

impl State {
    pub(crate) fn new(info: ModelInfo, worker: Worker, options: &ServeOptions, address: SocketAddr) -> Self {
        let csp = format!("{}; frame-ancestors 'none'", csp_of("'self'"));
        State {
            info,
            worker,
            hosts: Hosts::new(address, &options.allowed_hosts),
            max_tokens: options.max_tokens,
            html: Bytes::from(served_html()),
            csp: HeaderValue::from_str(&csp).unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }
}

pub(crate) async fn listen(options: &ServeOptions) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::new(options.address, options.port);
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ServeError::PortInUse { address, owner: port_owner(address.port()) },
        _ => ServeError::Listen { address, source },
    })
}

/// Takes connections until Ctrl-C.
pub(crate) async fn run(listener: TcpListener, state: Arc<State>) {
    let routes = routes(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut ctrl_c = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut ctrl_c => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the client was gone at once: neither ends the server.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let routes = routes.clone();
        tokio::spawn(async move {
            let _place = place;
            serve_connection(stream, routes).await;
        });
    }
}

/// What is answered at which address.
pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(html))
        .route("/api/model", get(model))
        .route("/api/run", post(run_prompt))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "address", "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "is not the one this address takes")
        })
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Answers the requests that come over a connection.
pub(crate) async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, routes: Router) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    // One request a connection: a second one that is no HTTP, sent before the first is answered, is more than hyper 1.12
    // is made for. On one machine a connection costs nothing.
    http.keep_alive(false);
    // An error here is the client's: it went away, or what it sent is not HTTP.
    let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
}

/// Refuses who may not ask; says to the browser what the page may do.
async fn guard(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let mut response = match state.hosts.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, state.csp.clone());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

async fn html(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], state.html.clone())
}

async fn model(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let text = serde_json::to_string(&state.info).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// Runs a prompt: lines of JSON as it goes on, the last one with the page's data or an error.
async fn run_prompt(Shared(state): Shared<Arc<State>>, request: Request) -> Result<Response, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let json = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !json.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type",
            "must be application/json",
        ));
    }
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok());
    let too_large = || {
        let message = format!("is larger than the {MAX_BODY} bytes that are taken");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body", message)
    };
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let body = match timeout(PATIENCE, to_bytes(request.into_body(), MAX_BODY)).await {
        Ok(Ok(body)) => body,
        // Without an announced length the two cannot be told apart.
        Ok(Err(_)) if announced.is_none() => return Err(too_large()),
        Ok(Err(_)) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "body", "ended before its announced length"));
        }
        Err(_) => {
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body", "did not arrive within 10 s"));
        }
    };
    let request = RunRequest::parse(&body)?;
    // Cutting a long text into tokens takes its time: not where connections are served.
    let submitted = state.clone();
    let submit = move || submitted.worker.submit(request, submitted.max_tokens);
    let events = tokio::task::spawn_blocking(submit).await.unwrap_or_else(|_| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "prompt", "could not be cut into tokens"))
    })?;
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(Lines(events))).into_response())
}

/// The events of a job as a body. When the client goes, this is dropped, and the job ends at its next stage.
struct Lines(Events);

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}
