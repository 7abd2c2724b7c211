//! Scan planning on the server: plan, poll, cancel, fetch.
//!
//! A scan is prepared on a thread of its own. If that takes no longer than [`Settings::patience`], its first page is the
//! answer (`completed`); else the client gets a plan id to poll with (`submitted`). What does not fit into the first page
//! is named by plan tasks, `<plan id>.<manifest>.<file>.<end>`: each names a page, whose answer may name one more. The
//! patience is long on purpose: PyIceberg pages, but does not poll.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use iceberg::TableIdent;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::body::parse;
use super::plans::{Bounds, Failed, Held, Plans, State as PlanState};
use super::{Answer, blocking, namespace_of, no_content, table_of};
use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::plan::{Limits, Page, Position, Request, Scan};
use crate::table::Table;

/// Largest request in bytes: some hundred thousand values of an IN.
const BODY_LIMIT: usize = 8 << 20;

/// How scans are planned.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an answer may wait for the scan's preparation.
    pub patience: Duration,
    /// What a page and a scan may hold.
    pub limits: Limits,
    /// What plans may hold.
    pub bounds: Bounds,
    /// Scans prepared side by side.
    pub workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            limits: Limits { files: 1000, bytes: 8 << 20, manifests: 32, weight: 32 << 20 },
            bounds: Bounds {
                plans: 256,
                weight: 48 << 20,
                life: Duration::from_secs(3600),
                idle: Duration::from_secs(60),
            },
            workers: 2,
        }
    }
}

#[derive(Clone)]
struct Planner {
    catalog: Catalog,
    plans: Arc<Plans>,
    workers: Arc<Semaphore>,
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fetch {
    plan_task: String,
}

/// The routes of scan planning.
pub fn router<S: Clone + Send + Sync + 'static>(catalog: Catalog, settings: Settings) -> Router<S> {
    let plans = Arc::new(Plans::new(settings.bounds, catalog.store().system().clone()));
    let workers = Arc::new(Semaphore::new(settings.workers));
    Router::new()
        .route("/v1/namespaces/{namespace}/tables/{table}/plan", post(submit))
        .route("/v1/namespaces/{namespace}/tables/{table}/plan/{plan}", get(poll).delete(cancel))
        .route("/v1/namespaces/{namespace}/tables/{table}/tasks", post(fetch))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Planner { catalog, plans, workers, settings })
}

fn no_plan(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("The plan id does not exist: {id}")).with("plan-id", id)
}

fn no_task(task: &str) -> Error {
    Error::new(Kind::NotFound, format!("The plan task does not exist: {task}")).with("plan-task", task)
}

fn again(failed: Failed) -> Error {
    Error::new(failed.kind, failed.message)
}

/// A page as the protocol's scan tasks.
fn tasks_of(id: Uuid, page: Page) -> serde_json::Map<String, serde_json::Value> {
    let Page { mut tasks, rest } = page;
    if !rest.is_empty() {
        let name = |at: &Position| json!(format!("{id}.{}.{}.{}", at.manifest, at.file, at.end));
        tasks.insert("plan-tasks".into(), rest.iter().map(name).collect());
    }
    tasks
}

/// The plan and the place that a plan task names.
fn position_of(task: &str) -> Option<(&str, Position)> {
    let mut parts = task.split('.');
    let id = parts.next()?;
    let mut number = || parts.next()?.parse::<usize>().ok();
    let at = Position { manifest: number()?, file: number()?, end: number()? };
    parts.next().is_none().then_some((id, at))
}

impl Planner {
    async fn load(&self, ident: TableIdent) -> std::result::Result<Arc<Table>, super::answer::Failure> {
        let catalog = self.catalog.clone();
        blocking(move || catalog.load(&ident)).await
    }

    /// Prepares a scan in the background; the plan knows when it is done.
    fn prepare(&self, table: Arc<Table>, request: Request, plan: Arc<Held>) -> tokio::task::JoinHandle<()> {
        let (store, limits, workers) = (self.catalog.store().clone(), self.settings.limits, self.workers.clone());
        let plans = self.plans.clone();
        tokio::spawn(async move {
            let _permit = workers.acquire_owned().await;
            let done = plan.clone();
            let work = move || Scan::prepare(&store, &table.metadata, &request, &limits, &plan.cancelled);
            let result: Result<Scan> = match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => Err(Error::new(Kind::Internal, "planning a scan panicked").because(error)),
            };
            plans.settle(&done, result);
        })
    }

    /// A plan's answer: its first page, or how far it is.
    async fn answer(&self, id: Uuid, plan: Arc<Held>) -> Answer {
        let scan = match plan.state() {
            PlanState::Running => return Ok(Json(json!({ "status": "submitted", "plan-id": id })).into_response()),
            PlanState::Cancelled => return Ok(Json(json!({ "status": "cancelled" })).into_response()),
            PlanState::Failed(failed) => return Err(again(failed).into()),
            PlanState::Ready(scan) => scan,
        };
        let limits = self.settings.limits;
        let page = blocking(move || scan.first(&limits)).await?;
        plan.gave(None, &page);
        let mut body = tasks_of(id, page);
        body.insert("status".into(), json!("completed"));
        body.insert("plan-id".into(), json!(id));
        Ok(Json(body).into_response())
    }
}

/// POST /v1/namespaces/{namespace}/tables/{table}/plan
async fn submit(State(planner): State<Planner>, path: Path<(String, String)>, body: Bytes) -> Answer {
    let request: Request = parse(&body)?;
    let table = planner.load(table_of(path)?).await?;
    let (id, plan) = planner.plans.begin(table.metadata.uuid())?;
    let done = planner.prepare(table, request, plan.clone());
    if !planner.settings.patience.is_zero() {
        // The plan itself tells what came of it, or that nothing has yet.
        let _ = tokio::time::timeout(planner.settings.patience, done).await;
    }
    match plan.state() {
        PlanState::Cancelled => {
            Err(Error::new(Kind::Unavailable, "the plan had to make room for others: try again").into())
        }
        _ => planner.answer(id, plan).await,
    }
}

/// GET /v1/namespaces/{namespace}/tables/{table}/plan/{plan}
async fn poll(State(planner): State<Planner>, Path(path): Path<(String, String, String)>) -> Answer {
    let (id, plan) = find(&planner, path).await?;
    match plan.state() {
        PlanState::Failed(failed) => {
            let (_, error) = super::answer::Failure::from(again(failed)).body();
            Ok(Json(json!({ "status": "failed", "error": error["error"] })).into_response())
        }
        _ => planner.answer(id, plan).await,
    }
}

/// DELETE /v1/namespaces/{namespace}/tables/{table}/plan/{plan}
async fn cancel(State(planner): State<Planner>, Path(path): Path<(String, String, String)>) -> Answer {
    find(&planner, path).await?.1.cancel();
    Ok(no_content())
}

async fn find(
    planner: &Planner,
    (namespace, table, id): (String, String, String),
) -> std::result::Result<(Uuid, Arc<Held>), super::answer::Failure> {
    let table = planner.load(TableIdent::new(namespace_of(&namespace)?, table)).await?;
    let plan = planner.plans.find(&id, table.metadata.uuid()).ok_or_else(|| no_plan(&id))?;
    Ok((Uuid::parse_str(&id).map_err(|_| no_plan(&id))?, plan))
}

/// POST /v1/namespaces/{namespace}/tables/{table}/tasks
async fn fetch(State(planner): State<Planner>, path: Path<(String, String)>, body: Bytes) -> Answer {
    let Fetch { plan_task: task } = parse(&body)?;
    let table = planner.load(table_of(path)?).await?;
    let (id, at) = position_of(&task).ok_or_else(|| no_task(&task))?;
    let plan = planner.plans.find(id, table.metadata.uuid()).ok_or_else(|| no_task(&task))?;
    let (PlanState::Ready(scan), Ok(id)) = (plan.state(), Uuid::parse_str(id)) else {
        return Err(no_task(&task).into());
    };
    let limits = planner.settings.limits;
    let page = blocking(move || scan.page(at, &limits)).await?.ok_or_else(|| no_task(&task))?;
    plan.gave(Some(at), &page);
    Ok(Json(tasks_of(id, page)).into_response())
}
