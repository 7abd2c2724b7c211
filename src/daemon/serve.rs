//! The one listener: catalog, HTTP door, health, status, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::lake::Lake;
use crate::config::Access;
use crate::error::{Error, Result};
use crate::flow::Mark;
use crate::ingest::http::{self, Bounds, Doors, Problem};
use crate::ingest::push::PushDoor;
use crate::telemetry;

/// Requests under way may take this long once it stops.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// A lake that is served.
pub struct DaemonHandle {
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    lake: Arc<Lake>,
}

impl DaemonHandle {
    /// Takes no more requests, ends those under way, commits what is durable.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let served = tokio::time::timeout(LAST_REQUESTS, self.server).await;
        let lake = self.lake;
        let drained = tokio::task::spawn_blocking(move || lake.drain()).await;
        if let Ok(Ok(Err(error))) = served {
            return Err(Error::from(error));
        }
        drained.map_err(|e| Error::new(crate::error::Kind::Internal, "draining").because(e))
    }
}

/// Serves `lake` at `listener` until the handle is stopped.
pub fn serve(lake: Arc<Lake>, listener: TcpListener) -> Result<DaemonHandle> {
    let address = listener.local_addr().map_err(Error::from)?;
    let (stop, mut stopped) = watch::channel(false);
    let app = router(lake.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let until = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let server = tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(until).await });
    tokio::spawn(keep_metrics(stop.subscribe()));
    Ok(DaemonHandle { address, stop, server, lake })
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
    let catalog = laked_catalog::rest::router(lake.catalog().clone());
    let doors: Arc<dyn Doors> = Arc::new(LakeDoors(lake));
    catalog.merge(own).merge(http::router(doors, bounds))
}

struct LakeDoors(Arc<Lake>);

impl Doors for LakeDoors {
    fn push(&self, namespace: &str, table: &str) -> Result<(Arc<PushDoor>, watch::Receiver<Mark>), Problem> {
        let name = format!("{namespace}.{table}");
        let Some(doors) = self.0.table(&name) else {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-table",
                "There is no such table",
                format!("no contract for {name}; add schemas/{namespace}/{table}.toml and start laked again"),
            ));
        };
        let push = doors.push().map_err(|reason| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "lane-halted", "The table takes nothing in", reason)
                .retry_after(60)
        })?;
        Ok((push, doors.pushed()))
    }
}

async fn health(State(lake): State<Arc<Lake>>) -> Response {
    let ailments = lake.ailments();
    let status = if ailments.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let stopped: Vec<_> = lake.status().into_iter().flat_map(|t| t.lanes).flat_map(|l| l.stopped).collect();
    let word = if ailments.is_empty() { "ready" } else { "ailing" };
    (status, Json(json!({ "status": word, "reasons": ailments, "stopped_sources": stopped }))).into_response()
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
