//! `/healthz` and Prometheus's `/metrics`, over HTTP.
//!
//! Invariant: a response has counts, and no text of a user. The listener has no log-in, so it accepts only
//! connections from this machine's loopback.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::server::Server;

/// How many connections may be open, and how long a request may take to arrive.
const MOST_CONNECTIONS: usize = 32;
const MOST_WAIT: Duration = Duration::from_secs(10);

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens on an address.
///
/// # Errors
/// The address is beyond loopback, or is in use.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        let why = format!("{address} is not on this machine's loopback");
        return Err(Error::new(ErrorKind::InvalidParameter, why).with_hint(
            "metrics are shown to everybody: put a proxy in front that asks for a password",
        ));
    }
    TcpListener::bind(address).await.map_err(|error| {
        let why = format!("can't listen on {address}: {error}");
        Error::new(ErrorKind::Io, why)
            .with_source(error)
            .with_hint("--http gives the metrics another address")
    })
}

/// Answers requests until the server stops.
pub(super) async fn answer(server: Arc<Server>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.stopping.cancelled() => return,
        };
        let (Ok((socket, _)), Ok(place)) = (accepted, Arc::clone(&room).try_acquire_owned()) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let response = respond(&server, request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(MOST_WAIT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a request ended early");
            }
            drop(place);
        });
    }
}

fn respond(server: &Server, method: &Method, path: &str) -> Response<String> {
    let (status, content_type, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/healthz") => match server.stopping.is_cancelled() {
            false => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            true => (
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "the server stops\n".to_owned(),
            ),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, METRICS_TYPE, metrics(server))
        }
        (_, "/healthz" | "/metrics") => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "use GET\n".to_owned(),
        ),
        _ => {
            let body = "there are /healthz and /metrics\n".to_owned();
            (StatusCode::NOT_FOUND, "text/plain", body)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, content_type);
    response
}

/// The metrics in Prometheus's text format.
fn metrics(server: &Server) -> String {
    let counters = &server.counters;
    let activities: Vec<_> = server
        .backends
        .list()
        .iter()
        .map(|backend| backend.activity())
        .collect();
    let snapshots = activities
        .iter()
        .filter_map(|activity| activity.progress.as_ref());
    let running: Vec<_> = snapshots
        .filter_map(|progress| progress.snapshot().export)
        .collect();
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
        let _ = writeln!(
            text,
            "# HELP tidegate_{name} {help}\n# TYPE tidegate_{name} {kind}"
        );
        for (labels, value) in values {
            let _ = writeln!(text, "tidegate_{name}{labels} {value}");
        }
    };
    let states = [
        "active",
        "idle",
        "idle in transaction",
        "idle in transaction (aborted)",
    ];
    let of_state = states.map(|state| {
        let count = activities
            .iter()
            .filter(|activity| activity.state == state)
            .count();
        (
            format!("{{state=\"{state}\"}}"),
            u64::try_from(count).unwrap_or(u64::MAX),
        )
    });
    let of_state: Vec<(&str, u64)> = of_state
        .iter()
        .map(|(label, count)| (label.as_str(), *count))
        .collect();
    metric(
        "connections",
        "gauge",
        "Connections by what they do.",
        &of_state,
    );
    let most = u64::try_from(server.limits.connections).unwrap_or(u64::MAX);
    metric(
        "connections_limit",
        "gauge",
        "The most connections.",
        &[("", most)],
    );
    let totals = [
        (
            "connections_total",
            "Connections that have logged in.",
            &counters.connections,
        ),
        (
            "failed_logins_total",
            "Log-ins that were refused.",
            &counters.failed_logins,
        ),
        (
            "statements_total",
            "Statements that clients have executed.",
            &counters.statements,
        ),
        (
            "errors_total",
            "Errors that clients were told.",
            &counters.errors,
        ),
        (
            "export_rows_total",
            "Rows of committed exports.",
            &counters.export_rows,
        ),
        (
            "export_bytes_total",
            "Bytes of committed exports.",
            &counters.export_bytes,
        ),
        (
            "export_files_total",
            "Files of committed exports.",
            &counters.export_files,
        ),
    ];
    for (name, help, counter) in totals {
        metric(name, "counter", help, &[("", counter.get())]);
    }
    let outcomes = [
        ("{outcome=\"committed\"}", counters.exports.get()),
        ("{outcome=\"failed\"}", counters.failed_exports.get()),
    ];
    metric("exports_total", "counter", "Exports by outcome.", &outcomes);
    let count = u64::try_from(running.len()).unwrap_or(u64::MAX);
    metric(
        "exports_running",
        "gauge",
        "Exports that run.",
        &[("", count)],
    );
    let rows = running.iter().map(|export| export.rows).sum();
    metric(
        "exports_running_rows",
        "gauge",
        "Rows of exports that run.",
        &[("", rows)],
    );
    let bytes = running.iter().map(|export| export.bytes).sum();
    metric(
        "exports_running_bytes",
        "gauge",
        "Bytes that the store has confirmed of exports that run.",
        &[("", bytes)],
    );
    if let Some(limit) = server.engine.memory_limit() {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        metric(
            "memory_limit_bytes",
            "gauge",
            "The memory limit of the process.",
            &[("", limit)],
        );
    }
    let started = u64::try_from(server.started.timestamp()).unwrap_or(0);
    metric(
        "start_time_seconds",
        "gauge",
        "When the server was started, in seconds since 1970.",
        &[("", started)],
    );
    text
}
