//! What can be asked of the schedule, and told to it.
//!
//! | route | answer |
//! |---|---|
//! | `GET /maintenance/runs?table=ns.t&most=20` | `{"runs": […]}`, newest first |
//! | `GET /maintenance/runs/{run}` | the run |
//! | `GET /maintain/{namespace}/{table}/schedule` | what is to come, and why |
//! | `POST /maintain/{namespace}/{table}/cancel` with `{"run": ID}` | the run, which ends before its next step |
//!
//! A caller with a scope sees the runs of his namespaces.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use iceberg::TableIdent;
use laked_catalog::access::{Caller, Needs, Role, Rule};
use laked_catalog::{Catalog, Run, RunState, WhichRuns};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Maintenance;
use super::run::Current;
use crate::daemon::upkeep::{At, ident_at, problem};
use crate::error::{Error, Kind, Result};
use crate::ingest::http::Problem;
use crate::maintain::policy::Task;
use crate::maintain::schedule::{Due, Next};
use crate::read::source::ident_of;

/// Runs that are listed unless more are asked for, and at most.
const LISTED: usize = 20;
const MOST: usize = 10_000;
/// Runs that are read at a time while those of others are passed over.
const PAGE: usize = 1000;

/// What each route needs.
pub const RULES: [Rule; 4] = [
    ("GET", "/maintenance/runs", Needs::Named(Role::Reader)),
    ("GET", "/maintenance/runs/{run}", Needs::Named(Role::Reader)),
    ("GET", "/maintain/{namespace}/{table}/schedule", Needs::Within(Role::Reader)),
    ("POST", "/maintain/{namespace}/{table}/cancel", Needs::Within(Role::Writer)),
];

/// The routes.
pub fn router(maintenance: Arc<Maintenance>) -> Router {
    Router::new()
        .route("/maintenance/runs", get(list))
        .route("/maintenance/runs/{run}", get(show))
        .route("/maintain/{namespace}/{table}/schedule", get(schedule))
        .route("/maintain/{namespace}/{table}/cancel", post(cancel))
        .with_state(maintenance)
}

/// A run as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunView {
    /// What the ledger has of it.
    #[serde(flatten)]
    pub run: Run,
    /// How far it is, if it goes on in this daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        RunView { run, progress: None }
    }
}

impl RunView {
    /// The same with how far it is, if it is the one that goes on.
    fn within(mut self, current: Option<&Arc<Current>>) -> RunView {
        let own = current.filter(|current| current.run.id == self.run.id && self.run.state == RunState::Running);
        self.progress = own.and_then(|current| serde_json::to_value(current.progress()).ok());
        self
    }
}

/// What is to come of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Schedule {
    /// When each task is due that is not off.
    pub triggers: Vec<(Task, String)>,
    /// What is to come, task by task.
    pub next: Vec<Next>,
    /// Properties that cannot be understood.
    pub problems: Vec<String>,
    /// The run that goes on.
    pub running: Option<RunView>,
}

/// Which runs.
#[derive(Debug, Deserialize)]
struct Which {
    table: Option<String>,
    most: Option<usize>,
}

/// Does what may block where it may.
async fn answer<A: Serialize + Send + 'static>(work: impl FnOnce() -> Result<A> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error)) if error.concerns("run") && error.kind() == Kind::NotFound => {
            Problem::new(StatusCode::NOT_FOUND, "unknown-run", "There is no such run", error.to_string())
                .into_response()
        }
        Ok(Err(error)) => problem(&error).into_response(),
        Err(error) => problem(&Error::new(Kind::Internal, "upkeep panicked").because(error)).into_response(),
    }
}

/// How many runs are listed.
///
/// # Errors
/// `Invalid` if so many are not.
pub fn most_of(asked: usize) -> Result<usize> {
    match asked {
        1..=MOST => Ok(asked),
        _ => Err(Error::new(Kind::Invalid, format!("a list has 1 to {MOST} runs: name a table, or list fewer"))
            .with("most", asked)),
    }
}

/// The newest runs that a caller may see; how many others there are between does not matter.
fn seen(catalog: &Catalog, table: Option<&TableIdent>, most: usize, sees: impl Fn(&Run) -> bool) -> Result<Vec<Run>> {
    let (mut found, mut last): (Vec<Run>, Option<Run>) = (Vec::new(), None);
    loop {
        let page = catalog.runs(&WhichRuns { table, task: None, before: last.as_ref() }, PAGE.min(most))?;
        let ends = page.len() < PAGE.min(most);
        last = page.last().cloned();
        found.extend(page.into_iter().filter(&sees));
        if ends || found.len() >= most {
            found.truncate(most);
            return Ok(found);
        }
    }
}

fn may_see(caller: Option<&Extension<Caller>>, run: &Run) -> Result<()> {
    caller.map_or(Ok(()), |Extension(caller)| caller.may(Role::Reader, run.table.namespace()))
}

type Who = Option<Extension<Caller>>;

async fn list(State(maintenance): State<Arc<Maintenance>>, who: Who, Query(which): Query<Which>) -> Response {
    answer(move || {
        let table = which.table.as_deref().map(ident_of).transpose()?;
        let most = most_of(which.most.unwrap_or(LISTED))?;
        let sees = |run: &Run| may_see(who.as_ref(), run).is_ok();
        let runs = seen(&maintenance.means.catalog, table.as_ref(), most, sees)?;
        let current = maintenance.current();
        let runs: Vec<RunView> = runs.into_iter().map(|run| RunView::from(run).within(current.as_ref())).collect();
        Ok(json!({ "runs": runs }))
    })
    .await
}

async fn show(State(maintenance): State<Arc<Maintenance>>, who: Who, Path(run): Path<String>) -> Response {
    answer(move || {
        let run = maintenance.means.catalog.run(&run)?;
        may_see(who.as_ref(), &run)?;
        Ok(RunView::from(run).within(maintenance.current().as_ref()))
    })
    .await
}

async fn schedule(State(maintenance): State<Arc<Maintenance>>, at: At) -> Response {
    answer(move || {
        let ident = ident_at(at)?;
        let none = || Error::new(Kind::NotFound, format!("Table does not exist: {ident}"));
        let mut known = maintenance.known(&ident)?.ok_or_else(none)?;
        let first = maintenance.goes_first(&ident);
        for next in known.next.iter_mut().filter(|next| next.due == Due::Now) {
            next.why.push_str(&first);
        }
        let current = maintenance.current().filter(|current| current.run.table == ident);
        let triggers = known.policy.triggers.iter().map(|(task, trigger)| (*task, trigger.to_string())).collect();
        let running = current.as_ref().map(|held| RunView::from(held.run.clone()).within(Some(held)));
        Ok(Schedule { triggers, next: known.next, problems: known.policy.problems, running })
    })
    .await
}

impl Maintenance {
    /// What goes before a task of this table that is due.
    fn goes_first(&self, ident: &TableIdent) -> String {
        let current = self.current().filter(|current| current.run.table != *ident);
        let other = current.map(|held| format!("; {} of {} goes first", held.run.task, held.run.table));
        let need = self.means.need().map(|why| format!("; ingestion goes first: {why}"));
        [other, need].into_iter().flatten().collect()
    }
}

/// What is to be cancelled.
#[derive(Debug, Deserialize)]
struct Cancelled {
    run: String,
}

async fn cancel(State(maintenance): State<Arc<Maintenance>>, at: At, body: String) -> Response {
    answer(move || {
        let ident = ident_at(at)?;
        let unfit = |error| Error::new(Kind::Invalid, "the body is {\"run\": ID}").because(error);
        let Cancelled { run } = serde_json::from_str(&body).map_err(unfit)?;
        cancelled(&maintenance, &ident, &run)
    })
    .await
}

fn cancelled(maintenance: &Maintenance, ident: &TableIdent, id: &str) -> Result<RunView> {
    let current = maintenance.current();
    if let Some(current) = current.as_ref().filter(|held| held.run.id == id && held.run.table == *ident) {
        current.cancel();
        return Ok(RunView::from(current.run.clone()).within(Some(current)));
    }
    let run = maintenance.means.catalog.run(id)?;
    let message = match run.state {
        _ if run.table != *ident => "the run is of another table".to_string(),
        RunState::Running if run.owner == maintenance.means.catalog.warehouse() => {
            "the run is over, and its end could not be written down: it holds its table until its deadline".to_string()
        }
        RunState::Running => "another daemon has this run: ask that one".to_string(),
        state => format!("the run has ended already: it is {}", state.word()),
    };
    Err(Error::new(Kind::Invalid, message).with("id", id))
}
