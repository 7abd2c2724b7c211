//! `Idempotency-Key`: a request that comes again is answered again, and done once.
//!
//! A key is a UUID of a client's making. The answer to a request that changes something is kept in the transaction of
//! the change ([`Catalog::asked`]); an answer that changed nothing, a refusal or a staged table, is kept after it. Kept
//! are successes and refusals that would be the same again; never a 5xx, which may pass, nor a refusal of who asks or
//! how fast. A key with another request is 422. Keys that come twice at once wait for one another; whose process does
//! not know of the other loses in the transaction, and is given the other's answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::loaded::{Snapshots, loaded};
use super::{Answer, BODY_LIMIT, Failure, Scoped, blocking, no_content, views};
use crate::access::Caller;
use crate::catalog::{Asked, Catalog, Reply};
use crate::error::{Error, Kind, Result};

/// The header, and what `/v1/config` says of it.
const HEADER: &str = "idempotency-key";
/// As an ISO 8601 duration; the state keeps answers that long.
pub const LIFETIME: &str = "PT30M";

/// The longest answer that is kept as text, in bytes: only staged tables have a longer one, and staging changes nothing.
const KEPT: usize = 1 << 20;

type Turns = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// What the layer needs.
#[derive(Clone)]
pub struct Idempotency {
    catalog: Catalog,
    /// The keys that are being answered now.
    turns: Arc<Turns>,
}

impl Idempotency {
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog, turns: Arc::default() }
    }
}

/// The catalog for one request: what it changes keeps the answer, if the request has a key.
pub struct Keyed(pub Catalog);

impl FromRequestParts<Catalog> for Keyed {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, catalog: &Catalog) -> std::result::Result<Self, Self::Rejection> {
        let Scoped(catalog) = Scoped::from_request_parts(parts, catalog).await?;
        Ok(Keyed(catalog.asked(parts.extensions.get::<Arc<Asked>>().cloned())))
    }
}

/// One at a time for a key, within this process.
struct Turn {
    turns: Arc<Turns>,
    key: String,
    _held: OwnedMutexGuard<()>,
}

impl Turn {
    async fn take(turns: &Arc<Turns>, key: &str) -> Turn {
        let lock = turns.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_string()).or_default().clone();
        Turn { turns: turns.clone(), key: key.to_string(), _held: lock.lock_owned().await }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one's own: nobody waits.
        if turns.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) <= 2) {
            turns.remove(&self.key);
        }
    }
}

/// Whether a request changes the catalog. A secret is shown once and never kept: not what tokens' routes answer.
fn may_be_kept(request: &Request) -> bool {
    let changes = matches!(*request.method(), Method::POST | Method::DELETE | Method::PUT | Method::PATCH);
    let path = request.uri().path();
    changes && path.starts_with("/v1/") && !path.starts_with("/v1/oauth/")
}

fn key_of(request: &Request) -> Result<Option<String>> {
    let wrong = || Error::new(Kind::Invalid, "Idempotency-Key is a UUID of 36 characters");
    let mut keys = request.headers().get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(wrong());
    }
    let text = key.to_str().ok().filter(|text| text.len() == 36).ok_or_else(wrong)?;
    let key = Uuid::try_parse(text).map_err(|error| wrong().because(error))?;
    Ok(Some(key.to_string()))
}

fn digest(parts: &Parts, body: &[u8]) -> Vec<u8> {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let mut hash = Sha256::new_with_prefix(parts.method.as_str());
    hash.update([0]);
    hash.update(target);
    hash.update([0]);
    // Another's key is no way to his answers.
    hash.update(parts.extensions.get::<Caller>().map_or("", |caller| caller.name.as_str()));
    hash.update([0]);
    hash.update(body);
    hash.finalize().to_vec()
}

/// The layer.
pub async fn layer(State(own): State<Idempotency>, request: Request, next: Next) -> Response {
    match answer(own, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn answer(own: Idempotency, request: Request, next: Next) -> Answer {
    let Some(key) = (if may_be_kept(&request) { key_of(&request)? } else { None }) else {
        return Ok(next.run(request).await);
    };
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.map_err(|_| Failure::too_large())?;
    let is_transaction = parts.uri.path().ends_with("/transactions/commit");
    let asked = Asked::new(key.clone(), digest(&parts, &body), is_transaction);
    let _turn = Turn::take(&own.turns, &key).await;
    if let Some(again) = replay(&own.catalog, &asked).await? {
        return Ok(again);
    }
    parts.extensions.insert(asked.clone());
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success()
        && let Some(again) = replay(&own.catalog, &asked).await?
    {
        // Another process was faster, or the change took effect and its reply was lost.
        return Ok(again);
    }
    keep(&own.catalog, asked, response).await
}

/// The answer that was kept for this key.
async fn replay(catalog: &Catalog, asked: &Arc<Asked>) -> std::result::Result<Option<Response>, Failure> {
    let (own, asked) = (catalog.clone(), asked.clone());
    let Some(answered) = blocking(move || own.answered(&asked)).await? else { return Ok(None) };
    if !answered.is_same {
        let message = "the Idempotency-Key was used for another request: make a new one";
        return Err(Failure::unprocessable(message.into()));
    }
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let own = catalog.clone();
    let response = match answered.reply {
        Reply::Empty => no_content(),
        Reply::Text(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Reply::Table(ident, at) => {
            let table = blocking(move || own.table_at(&ident, at)).await?;
            loaded(&table, Snapshots::All, None)?
        }
        Reply::View(ident, at) => views::loaded(&blocking(move || own.view_at(&ident, at)).await?)?,
    };
    Ok(Some(response))
}

/// Whether the same request would be refused in the same way again.
fn is_final(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 404 | 406 | 409 | 410 | 412 | 422)
}

/// Keeps an answer that was not kept with a change.
async fn keep(catalog: &Catalog, asked: Arc<Asked>, response: Response) -> Answer {
    let status = response.status();
    let is_success = status.is_success() && !asked.is_kept();
    if !is_success && !is_final(status) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Error::new(Kind::Internal, "an answer that cannot be read").because(error))?;
    if body.len() <= KEPT {
        let text = String::from_utf8_lossy(&body).into_owned();
        let reply = if text.is_empty() { Reply::Empty } else { Reply::Text(text) };
        let own = catalog.clone();
        blocking(move || own.keep_answer(&asked, status.as_u16(), &reply)).await?;
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}
