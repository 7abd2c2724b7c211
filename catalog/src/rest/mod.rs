//! The Iceberg REST catalog protocol over [`Catalog`].
//!
//! Wire form: JSON as the Iceberg REST OpenAPI document says; errors are `{"error": {message, type, code}}`. A
//! namespace's levels are joined by U+001F in a path. Handlers do nothing but read the request, call the catalog on a
//! blocking thread (it writes files and SQLite) and shape the answer.
//!
//! Clients differ from the document: absent and null fields mean the same, `purgeRequested` comes with a capital, an
//! empty `pageToken` asks for the first page, and an `Authorization` header may say nothing useful.

mod answer;
mod body;
pub(crate) mod endpoints;
mod idempotency;
mod loaded;
mod namespaces;
mod page;
mod plan;
#[cfg(test)]
mod plan_tests;
mod plans;
mod reports;
mod tables;
#[cfg(test)]
mod tests;
mod view_body;
mod views;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use iceberg::{NamespaceIdent, TableIdent};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::access;
use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result};
use crate::state::Sort;
pub(crate) use answer::Failure;
pub(crate) use body::parse;
use idempotency::Idempotency;
use page::Page;
use reports::Reports;
use workers::Workers;

/// Largest request body in bytes: a commit of some ten thousand snapshots' worth of updates.
const BODY_LIMIT: usize = 64 << 20;

/// What a handler answers.
pub(crate) type Answer = std::result::Result<axum::response::Response, Failure>;

/// Parameters after the question mark.
type Parameters = Query<HashMap<String, String>>;

/// The routes below `/v1`, and those of tokens. Open to everybody: [`access::guarded`] puts the check before them.
pub fn router(catalog: Catalog) -> Router {
    finish_purges(&catalog);
    let reports: Arc<Reports> = Arc::default();
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/v1/namespaces/{namespace}", get(namespaces::load).head(namespaces::exists).delete(namespaces::remove))
        .route("/v1/namespaces/{namespace}/properties", post(namespaces::update))
        .route("/v1/namespaces/{namespace}/tables", get(tables::list).post(tables::create))
        .route("/v1/namespaces/{namespace}/register", post(tables::register))
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(tables::load).head(tables::exists).post(tables::commit).delete(tables::remove),
        )
        .route("/v1/namespaces/{namespace}/tables/{table}/metrics", get(tables::reports).post(tables::report))
        .route("/v1/namespaces/{namespace}/tables/{table}/unregister", post(tables::unregister))
        .route("/v1/namespaces/{namespace}/tables/{table}/undrop", post(tables::undrop))
        .route("/v1/tables/rename", post(tables::rename))
        .route("/v1/transactions/commit", post(tables::commit_all))
        .route("/v1/namespaces/{namespace}/views", get(views::list).post(views::create))
        .route("/v1/namespaces/{namespace}/register-view", post(views::register))
        .route(
            "/v1/namespaces/{namespace}/views/{view}",
            get(views::load).head(views::exists).post(views::replace).delete(views::remove),
        )
        .route("/v1/views/rename", post(views::rename))
        .merge(plan::router(catalog.clone(), plan::Settings::default()))
        .merge(access::login_router(catalog.tokens().clone()))
        .merge(access::admin_router(catalog.tokens().clone()))
        .route("/v1/{*rest}", any(unknown))
        .layer(Extension(reports))
        .layer(from_fn_with_state(Idempotency::new(catalog.clone()), idempotency::layer))
        .layer(map_response(answer::shape))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(catalog)
}

/// Goes on with purges that a crash cut short, and with those that were just asked for, on a thread of their own.
fn finish_purges(catalog: &Catalog) {
    let catalog = catalog.asked(None);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || {
            if let Err(error) = catalog.finish_purges() {
                tracing::warn!(%error, "purges are not done; they go on at the next one or start");
            }
        });
    }
}

async fn unknown() -> Failure {
    Failure::no_endpoint()
}

async fn config(State(catalog): State<Catalog>) -> impl IntoResponse {
    Json(json!({
        "defaults": { "warehouse-location": catalog.warehouse() },
        "overrides": {},
        "idempotency-key-lifetime": idempotency::LIFETIME,
        "endpoints": endpoints::SERVED,
    }))
}

/// The catalog as the request's caller may use it.
struct Scoped(Catalog);

impl FromRequestParts<Catalog> for Scoped {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        catalog: &Catalog,
    ) -> std::result::Result<Self, std::convert::Infallible> {
        Ok(Scoped(catalog.for_caller(&access::Caller::from_request_parts(parts, catalog).await?)))
    }
}

/// Requests that are at work at once; others wait, which takes no thread. Some more than share a transaction usefully, and
/// few enough that what each thread's allocator keeps stays small: a hundred clients would have hundreds otherwise.
static WORKERS: Workers = Workers::new(32);

/// Runs the catalog's work where it may block. It is done to its end, even if nobody waits for it any more.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    WORKERS.run(Box::new(move || {
        let _runtime = runtime.enter();
        let _ = answer.send(work());
    }));
    match answered.await {
        Ok(result) => result.map_err(Failure::from),
        Err(lost) => Err(Error::new(Kind::Internal, "a request's work panicked, or no thread can be started")
            .because(lost)
            .into()),
    }
}

/// A namespace from its levels, joined by U+001F.
pub(crate) fn namespace_of(text: &str) -> Result<NamespaceIdent> {
    let levels: Vec<&str> = text.split('\u{1f}').collect();
    if levels.iter().any(|level| level.is_empty()) {
        return Err(Error::new(Kind::Invalid, "a namespace has no empty level").with("namespace", text));
    }
    NamespaceIdent::from_strs(levels).map_err(|error| Error::new(Kind::Invalid, "not a namespace").because(error))
}

fn table_of(Path((namespace, table)): Path<(String, String)>) -> Result<TableIdent> {
    Ok(TableIdent::new(namespace_of(&namespace)?, table))
}

/// A page of a namespace's tables or views.
async fn identifiers(catalog: Catalog, sort: Sort, namespace: String, parameters: HashMap<String, String>) -> Answer {
    let (namespace, page) = (namespace_of(&namespace)?, Page::asked(&parameters)?);
    let listed = move || {
        let mut names = catalog.names_after(sort, &namespace, &page.after, page.most())?;
        let token = page.cut(&mut names, Clone::clone);
        let identifiers = names.iter().map(|name| Identifier { namespace: &namespace, name }).collect();
        Ok(Json(Identifiers { identifiers, token }).into_response())
    };
    blocking(listed).await
}

/// As the protocol lists them; made into text where the names are read, so that they need no second form.
#[derive(Serialize)]
struct Identifiers<'a> {
    identifiers: Vec<Identifier<'a>>,
    #[serde(rename = "next-page-token")]
    token: Option<String>,
}

#[derive(Serialize)]
struct Identifier<'a> {
    namespace: &'a NamespaceIdent,
    name: &'a str,
}

fn no_content() -> axum::response::Response {
    StatusCode::NO_CONTENT.into_response()
}
