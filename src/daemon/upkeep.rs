//! Upkeep of the lake's tables: `POST /maintain/{namespace}/{table}/…`, and the thread that unlinks what is due.
//!
//! `lakectl` plans and commits most changes by itself, through the catalog. What writes or removes files is done here: it
//! needs the deletion ledger, which is in the catalog's database, and must know what this daemon has under way. A body is the
//! verb's request as JSON, `dry-run` among its fields; the answer is its report. The namespace's levels are joined by
//! U+001F, as in the catalog's paths.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::access::{Needs, Role, Rule};
use laked_catalog::{Catalog, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::lake::Lake;
use super::lane::Stop;
use crate::error::{Error, Kind, Result};
use crate::ingest::http::Problem;
use crate::maintain::ledger::{self, Round};
use crate::maintain::reach::Reach;
use crate::maintain::{expire, orphans};
use crate::telemetry::maintenance as telemetry;

/// How long the thread sleeps at most: what other processes owe is seen after that.
const SLEEP: Duration = Duration::from_secs(10);

/// Tables of which the thread keeps what they reach, at most.
const KEPT: usize = 64;

/// What each route needs.
pub const RULES: [Rule; 4] = [
    ("POST", "/maintain/{namespace}/{table}/cherry-pick", Needs::Within(Role::Writer)),
    ("POST", "/maintain/{namespace}/{table}/erase", Needs::Within(Role::Writer)),
    ("POST", "/maintain/{namespace}/{table}/expire", Needs::Within(Role::Writer)),
    ("POST", "/maintain/{namespace}/{table}/remove-orphans", Needs::Within(Role::Writer)),
];

/// The routes.
pub fn router(lake: Arc<Lake>) -> Router {
    Router::new()
        .route("/maintain/{namespace}/{table}/cherry-pick", post(pick))
        .route("/maintain/{namespace}/{table}/erase", post(erase))
        .route("/maintain/{namespace}/{table}/expire", post(expire_table))
        .route("/maintain/{namespace}/{table}/remove-orphans", post(remove_orphans))
        .with_state(lake)
}

/// A namespace and a table of it.
pub type At = Path<(String, String)>;

/// The table that a path names.
///
/// # Errors
/// `Invalid` without a namespace.
pub fn ident_at(Path((namespace, table)): At) -> Result<TableIdent> {
    let levels = NamespaceIdent::from_strs(namespace.split('\u{1f}'));
    let namespace = levels.map_err(|error| Error::new(Kind::Invalid, "no namespace").because(error))?;
    Ok(TableIdent::new(namespace, table))
}

async fn expire_table(State(lake): State<Arc<Lake>>, at: At, body: String) -> Response {
    let expired = move |ident: &TableIdent, request| {
        let report = expire::expire(lake.catalog(), ident, &request)?;
        telemetry::unlinked(report.unlinked.files);
        Ok(report)
    };
    run(at, body, expired).await
}

async fn erase(State(lake): State<Arc<Lake>>, at: At, body: String) -> Response {
    run(at, body, move |ident, request| lake.erase(ident, &request)).await
}

async fn pick(State(lake): State<Arc<Lake>>, at: At, body: String) -> Response {
    run(at, body, move |ident, request| lake.pick(ident, &request)).await
}

async fn remove_orphans(State(lake): State<Arc<Lake>>, at: At, body: String) -> Response {
    run(at, body, move |ident, request| orphans::remove_orphans(lake.catalog(), ident, &request, &|| lake.in_flight()))
        .await
}

/// Reads the request, does the work where it may block, and answers.
async fn run<Q, A>(at: At, body: String, work: impl FnOnce(&TableIdent, Q) -> Result<A> + Send + 'static) -> Response
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    let asked = move || -> Result<A> {
        let ident = ident_at(at)?;
        let unfit = |error| Error::new(Kind::Invalid, "the request cannot be read").because(error);
        let request: Q = serde_json::from_str(if body.is_empty() { "{}" } else { &body }).map_err(unfit)?;
        work(&ident, request)
    };
    match tokio::task::spawn_blocking(asked).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error)) => problem(&error).into_response(),
        Err(error) => problem(&Error::new(Kind::Internal, "upkeep panicked").because(error)).into_response(),
    }
}

/// What an error is to who asked.
pub fn problem(error: &Error) -> Problem {
    let (status, title) = match error.kind() {
        Kind::NotFound if error.message().starts_with("Table does not exist") => {
            (StatusCode::NOT_FOUND, "There is no such table")
        }
        Kind::NotFound | Kind::Invalid | Kind::Exists => (StatusCode::BAD_REQUEST, "It cannot be done so"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "It is not allowed"),
        Kind::Conflict => (StatusCode::CONFLICT, "Others were faster"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not now"),
        Kind::Unknown | Kind::Corrupt | Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "It failed"),
    };
    Problem::new(status, error.kind().slug(), title, error.to_string())
}

/// Unlinks what is due until it is told to stop. What fails is put off and tried again by the ledger's own times.
pub fn unlink(catalog: &Catalog, stop: &Stop) {
    let clock = catalog.store().system().clock.clone();
    let mut known = Known::default();
    while !stop.is_stopping() {
        match ledger::unlink_due_with(catalog, clock.now_ms(), &mut known.reach) {
            Ok(Round { unlinked, tables, .. }) => {
                if unlinked.files + unlinked.needed > 0 {
                    telemetry::unlinked(unlinked.files);
                    tracing::info!(files = unlinked.files, needed = unlinked.needed, "expired files are unlinked");
                }
                known.keep(tables);
            }
            Err(error) => tracing::warn!(%error, "the deletion ledger was not settled; it is tried again"),
        }
        let next = catalog.next_owed_ms().ok().flatten().map_or(i64::MAX, |next| next - clock.now_ms());
        let next = Duration::from_millis(u64::try_from(next).unwrap_or(0).max(100));
        stop.pause(next.min(SLEEP));
    }
}

/// What tables reach, from one look to the next: a table that expires each minute is owed to each minute, and only what
/// is new of it is read.
#[derive(Default)]
struct Known {
    tables: BTreeMap<Uuid, Arc<Table>>,
    reach: Reach,
}

impl Known {
    fn keep(&mut self, looked_at: BTreeMap<Uuid, Arc<Table>>) {
        if looked_at.is_empty() {
            return;
        }
        if self.tables.len() + looked_at.len() > KEPT {
            self.tables.clear();
        }
        self.tables.extend(looked_at);
        self.reach.forget_all_but(self.tables.values().map(|table| table.metadata.as_ref()));
    }
}
