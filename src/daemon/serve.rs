//! The one listener: catalog, HTTP door, health, status, metrics, and the gate before all of them.
//!
//! [`rules`] says what each route needs; a route that is not in it is refused. `/health` needs nothing, because what asks
//! it (a load balancer, a supervisor) has no token; it tells its reasons only to whom it knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use laked_catalog::access::{Caller, Gate, Needs, Role, Rule, guarded};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::contracts;
use super::exposure::Exposure;
use super::issuer;
use super::lake::Lake;
use super::listen::{self, Limits};
use super::maintenance;
use super::tls::{self, Certificates};
use super::upkeep;
use crate::config::{Access, Settings, Tls, TokensAsked};
use crate::error::{Error, Kind, Result};
use crate::flow::Reach;
use crate::ingest::http::{self, Bounds, Doors, Problem};
use crate::ingest::push::PushDoor;
use crate::telemetry;

/// Requests under way may take this long once it stops.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// A lake that is served.
pub struct DaemonHandle {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether by TLS.
    pub secure: bool,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    lake: Arc<Lake>,
}

impl DaemonHandle {
    /// Takes no more requests, ends those under way, commits what is durable.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let served = tokio::time::timeout(LAST_REQUESTS, self.server).await;
        let lake = self.lake;
        let drained = tokio::task::spawn_blocking(move || lake.drain()).await;
        if let Ok(Err(error)) = served {
            return Err(Error::new(Kind::Internal, "the listener panicked").because(error));
        }
        drained.map_err(|e| Error::new(Kind::Internal, "draining").because(e))
    }
}

/// What each route of the listener needs.
pub fn rules() -> Vec<Rule> {
    let own = [
        ("GET", "/health", Needs::Nothing),
        ("GET", "/status", Needs::Whole(Role::Admin)),
        ("GET", "/metrics", Needs::Whole(Role::Admin)),
        ("POST", "/ingest/{namespace}/{table}", Needs::Dotted(Role::Writer)),
        // The door says itself that it only takes records.
        ("*", "/ingest/{namespace}/{table}", Needs::Known),
    ];
    laked_catalog::access::RULES.iter().copied().chain(own).chain(upkeep::RULES).chain(maintenance::RULES).collect()
}

/// Serves `lake` at `listener` until the handle is stopped.
///
/// # Errors
/// `Invalid` if it may not listen there, or for certificates that cannot be used.
pub fn serve(lake: Arc<Lake>, listener: TcpListener) -> Result<DaemonHandle> {
    let address = listener.local_addr().map_err(Error::from)?;
    let settings = lake.settings();
    let always = may_listen(settings, address)?;
    let tls = certificates(&lake)?;
    let tokens = lake.catalog().tokens().clone();
    let oidc = issuer::of(&settings.oidc, lake.system())?;
    let always = always || oidc.is_some();
    if always && oidc.is_none() && !tokens.any()? {
        tracing::warn!("tokens are asked for and none was made yet: lakectl token create --lake DIR --role admin");
    }
    let secure = tls.is_some();
    let (stop, stopped) = watch::channel(false);
    let app = guarded(router(lake.clone()), Gate { tokens, always, oidc }, &rules());
    let limits = Limits { connections: settings.http.connections, head: settings.http.head_most.get() };
    let server = tokio::spawn(listen::serve(listener, app, tls, limits, stopped));
    tokio::spawn(keep_metrics(stop.subscribe()));
    contracts::watch(&lake)?;
    Ok(DaemonHandle { address, secure, stop, server, lake })
}

/// Whether tokens are asked for even if none was ever made, if it may listen there at all.
///
/// # Errors
/// `Invalid`, with what to do.
pub fn may_listen(settings: &Settings, listen: SocketAddr) -> Result<bool> {
    let tls = !settings.tls.certificate.as_os_str().is_empty();
    let always = settings.access.tokens == TokensAsked::Always;
    Exposure { listen, tls, insecure: settings.access.insecure, always }.judged()
}

fn certificates(lake: &Lake) -> Result<Option<Arc<Certificates>>> {
    let Tls { certificate, key } = &lake.settings().tls;
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => Ok(None),
        (false, false) => {
            let files = tls::Files { certificate: certificate.clone(), key: key.clone() };
            Ok(Some(Arc::new(Certificates::open(files, lake.system().clone())?)))
        }
        _ => Err(Error::new(Kind::Invalid, "tls.certificate and tls.key: give both, or neither")),
    }
}

async fn keep_metrics(mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => telemetry::upkeep(),
        }
    }
}

fn router(lake: Arc<Lake>) -> Router {
    let settings = &lake.settings().http;
    let bounds = Bounds {
        body_most: settings.body_most.bytes(),
        unpacked_most: settings.unpacked_most.bytes(),
        idle: settings.idle.get(),
        wait_most: settings.wait_most.get(),
        decoders: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let own = Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(lake.clone());
    let most = settings.request_most.get();
    let catalog = laked_catalog::rest::router(lake.catalog().clone());
    let catalog = catalog.layer(from_fn(move |request, next| within(most, request, next)));
    let upkeep = upkeep::router(lake.clone()).merge(maintenance::router(lake.maintenance().clone()));
    let doors: Arc<dyn Doors> = Arc::new(LakeDoors(lake));
    catalog.merge(own).merge(upkeep).merge(http::router(doors, bounds))
}

/// Ends a catalog request that takes too long. A commit goes on all the same, so its client must look.
async fn within(most: Duration, request: Request, next: Next) -> Response {
    let commits = request.method() != axum::http::Method::GET && request.method() != axum::http::Method::HEAD;
    match tokio::time::timeout(most, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let kind = if commits { "CommitStateUnknownException" } else { "ServiceUnavailableException" };
            let message = "the request took longer than http.request_most; what it changes may yet be done: look";
            let error = json!({ "message": message, "type": kind, "code": 504 });
            (StatusCode::GATEWAY_TIMEOUT, Json(json!({ "error": error }))).into_response()
        }
    }
}

struct LakeDoors(Arc<Lake>);

impl Doors for LakeDoors {
    fn push(&self, namespace: &str, table: &str) -> Result<(Arc<PushDoor>, watch::Receiver<Reach>), Problem> {
        let name = format!("{namespace}.{table}");
        let Some(doors) = self.0.table(&name) else {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-table",
                "There is no such table",
                format!("no contract for {name}; laked makes it when schemas/{namespace}/{table}.toml is there"),
            ));
        };
        let push = doors.push().map_err(|reason| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "lane-halted", "The table takes nothing in", reason)
                .retry_after(60)
        })?;
        Ok((push, doors.pushed()))
    }
}

async fn health(State(lake): State<Arc<Lake>>, caller: Option<Extension<Caller>>) -> Response {
    let ailments = lake.ailments();
    let status = if ailments.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ailments.is_empty() { "ready" } else { "ailing" };
    if caller.is_none_or(|Extension(caller)| caller.may_all(Role::Reader).is_err()) {
        return (status, Json(json!({ "status": word }))).into_response();
    }
    let stopped: Vec<_> = lake.status().into_iter().flat_map(|t| t.lanes).flat_map(|l| l.stopped).collect();
    (status, Json(json!({ "status": word, "reasons": ailments, "contracts": lake.contracts_told(), "stopped_sources": stopped }))).into_response()
}

async fn status(State(lake): State<Arc<Lake>>) -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "tables": lake.status() })).into_response()
}

async fn metrics(State(lake): State<Arc<Lake>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if lake.settings().metrics.access == Access::Loopback && !peer.ip().is_loopback() {
        let detail = "metrics are for this machine; set metrics.access = \"any\" to open them";
        return Problem::new(StatusCode::FORBIDDEN, "metrics-closed", "Not from here", detail).into_response();
    }
    lake.gauge();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, telemetry::render()).into_response()
}
