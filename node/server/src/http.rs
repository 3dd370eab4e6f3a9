//! `/livez`, `/readyz` and `/metrics` over HTTP/1.1, for probes and scrapers.
//!
//! Not an interface for data, and it has no password: it tells nothing about keys. Connections, request sizes and times
//! are bounded. Generic over the stream, so that the simulator's sockets work too; hyper speaks the protocol.

mod adapter;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::node::Node;
use adapter::{Page, Stream, Timer};

/// Where connections come from: tokio's listener, or the simulator's.
pub trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for tokio::net::TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        tokio::net::TcpListener::accept(self).await
    }
}

/// Answers requests on every connection of `listener`, for as long as it is polled. Needs a runtime to spawn on.
pub async fn serve<L: Listener>(listener: L, node: Arc<Node>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            node.console.metrics.console.http_connections_refused.increment();
            continue;
        };
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            serve_connection(stream, node).await;
            drop(permit);
        });
    }
}

/// Answers the requests of one connection until it ends or its time is over.
pub async fn serve_connection<S>(stream: S, node: Arc<Node>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(respond(&node, &request)) }
    });
    let connection = http1::Builder::new()
        .timer(Timer)
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(Stream::new(stream), service);
    match timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
    }
}

fn respond<B>(node: &Node, request: &Request<B>) -> Response<Page> {
    node.console.metrics.console.http_requests.increment();
    let answer = answer(node, request.method(), request.uri().path(), request.uri().query());
    let mut response = Response::new(Page::new(answer.text));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// What is answered, before it is HTTP.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    text: String,
}

impl Answer {
    fn plain(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, content_type: PLAIN, text: text.into() }
    }
}

fn answer(node: &Node, method: &Method, path: &str, query: Option<&str>) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
    }
    match path {
        "/livez" => Answer::plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(node, query.unwrap_or_default()),
        "/metrics" => {
            let text = node.console.metrics.text(node);
            Answer { status: StatusCode::OK, content_type: PROMETHEUS, text }
        }
        "/" => Answer::plain(StatusCode::OK, "Pelago. Try /livez, /readyz, /readyz?max_lag_ms=100 or /metrics\n"),
        _ => Answer::plain(StatusCode::NOT_FOUND, "there is /livez, /readyz and /metrics\n"),
    }
}

/// Ready: the node answers commands, and with `max_lag_ms` also that every peer it has a link to applies its writes
/// within that time. A peer without a link does not count: a lost region must not take the others out of service.
fn readiness(node: &Node, query: &str) -> Answer {
    let limit = match lag_limit(query) {
        Ok(limit) => limit,
        Err(sentence) => return Answer::plain(StatusCode::BAD_REQUEST, sentence),
    };
    let unready = |reason: &str| Answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"));
    if node.console.stop_requested().is_some() {
        return unready("stopping");
    }
    if node.condition.is_removed() {
        return unready("removed from the cluster");
    }
    if node.condition.is_loading() {
        let filling = node.console.cluster().filling;
        return unready(filling.as_deref().unwrap_or("filling from other regions"));
    }
    let Some(limit) = limit else { return Answer::plain(StatusCode::OK, "ready\n") };
    let metrics = &node.console.metrics;
    metrics.refresh(node);
    let peers = metrics.replication.peers();
    let linked = peers.iter().filter(|(_, peer)| peer.link_up.value() > 0);
    let late: Vec<String> = linked
        .filter(|(_, peer)| peer.applied_lag_ms.value() > limit)
        .map(|(name, peer)| format!("{name} is {} ms behind", peer.applied_lag_ms.value()))
        .collect();
    if late.is_empty() { Answer::plain(StatusCode::OK, "ready\n") } else { unready(&late.join(", ")) }
}

/// The value of `max_lag_ms`, if it is asked for. Whoever misspells it must not be told that a node is ready which is not so
/// by what they meant.
fn lag_limit(query: &str) -> Result<Option<i64>, &'static str> {
    let mut limit = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "max_lag_ms" {
            return Err("the one parameter of /readyz is max_lag_ms, as in /readyz?max_lag_ms=100\n");
        }
        if limit.is_some() {
            return Err("max_lag_ms is given twice; give it once\n");
        }
        let value = value.parse::<i64>().ok().filter(|value| *value >= 0);
        limit = Some(value.ok_or("max_lag_ms must be a whole number of milliseconds\n")?);
    }
    Ok(limit)
}

const PLAIN: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Probes and scrapers are few; each connection costs some KiB.
const CONNECTIONS_MAX: usize = 64;
/// A request's line and headers; hyper's smallest is 8 KiB.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// A client that does not finish its headers holds one of the connections.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// Scrapers that keep a connection open come back; others, who do not read, lose it.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);
/// When the process has no file left, waiting a little is all there is to do.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
