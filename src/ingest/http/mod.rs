//! The HTTP door: `POST /ingest/{namespace}/{table}`.
//!
//! A body is decoded while it arrives and appended to the spool when it has ended well; 200 follows the sync. A body
//! that ends early leaves nothing. Decoding runs on as many blocking threads as there are cores; small bodies are
//! decoded where they are, because handing over a thread costs more than they do. Where slow senders have all those
//! threads, a body goes to disk first, and is decoded when it is there.
//!
//! `?wait=committed` answers after the commit. `?source=NAME` is what quarantine calls the sender ("http" without it).
//! What is refused is answered by a [`Problem`], and the rest of its body is read for a while, so that its sender gets to
//! see that answer.

mod body;
mod problem;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

pub use problem::Problem;

use self::body::{Incoming, Start};
use super::decode::{self, Input};
use super::entry::Answer;
use super::push::{Denied, Gathered, PushDoor, hex};
use super::spool::{Begin, Busy, KeyGuard};
use crate::flow::{Format, Packing, Reach};
use crate::telemetry;

/// What the door asks of the lake.
pub trait Doors: Send + Sync + 'static {
    /// The push door of a table, and where it can be watched how far it is; a problem if there is none or it is halted.
    fn push(&self, namespace: &str, table: &str) -> Result<(Arc<PushDoor>, watch::Receiver<Reach>), Problem>;
}

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest body as sent, in bytes.
    pub body_most: u64,
    /// The largest body unpacked, in bytes.
    pub unpacked_most: u64,
    /// How long a sender may be silent.
    pub idle: Duration,
    /// How long `?wait=committed` waits.
    pub wait_most: Duration,
    /// Bodies decoded at a time while they arrive, and as many that have arrived.
    pub decoders: usize,
}

#[derive(Clone)]
struct Door {
    doors: Arc<dyn Doors>,
    bounds: Bounds,
    /// For bodies that are decoded while they arrive.
    streams: Arc<Semaphore>,
    /// For bodies that have arrived.
    decoders: Arc<Semaphore>,
}

/// How long a body waits to be decoded while it arrives.
const SOON: Duration = Duration::from_millis(250);

/// The longest name of a source, in bytes.
const SOURCE: usize = 255;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    wait: Option<String>,
    source: Option<String>,
}

impl Options {
    /// Whether the sender waits for the commit, and its name.
    fn read(&self) -> Result<(bool, &str), Problem> {
        let wait = match self.wait.as_deref() {
            None => false,
            Some("committed") => true,
            Some(other) => return Err(bad_parameter(format!("wait={other}: write wait=committed, or leave it out"))),
        };
        let source = self.source.as_deref().unwrap_or("http");
        if source.is_empty() || source.len() > SOURCE || source.chars().any(char::is_control) {
            let detail = format!("source: a name of 1 to {SOURCE} bytes without control characters");
            return Err(bad_parameter(detail));
        }
        Ok((wait, source))
    }
}

/// The routes.
pub fn router(doors: Arc<dyn Doors>, bounds: Bounds) -> Router {
    let permits = || Arc::new(Semaphore::new(bounds.decoders));
    Router::new()
        .route("/ingest/{namespace}/{table}", post(ingest).fallback(only_post))
        .layer(DefaultBodyLimit::disable())
        .with_state(Door { doors, bounds, streams: permits(), decoders: permits() })
}

async fn ingest(
    State(door): State<Door>,
    Path((namespace, table)): Path<(String, String)>,
    options: Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let name = format!("{namespace}.{table}");
    let mut incoming = Incoming::new(body, door.bounds.body_most, door.bounds.idle);
    let answer = match (door.doors.push(&namespace, &table), options) {
        (Ok((push, reach)), Ok(Query(options))) => door.take(push, reach, &options, &headers, &mut incoming).await,
        (Err(problem), _) => Err(problem),
        (_, Err(rejection)) => Err(bad_parameter(rejection.body_text())),
    };
    // Who asks before it sends its body has its answer instead of a "100 Continue".
    if answer.is_err() && !headers.contains_key(header::EXPECT) {
        tokio::spawn(incoming.linger());
    }
    let known = !matches!(&answer, Err(problem) if problem.status == StatusCode::NOT_FOUND);
    let response = answer.into_response();
    telemetry::answered(if known { &name } else { "?" }, response.status().as_u16());
    response
}

async fn only_post() -> Response {
    let detail = "records come by POST; to read the table, attach an Iceberg client to /v1 or use lakectl query";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only-post", "This door only takes records", detail);
    ([(header::ALLOW, "POST")], problem).into_response()
}

impl Door {
    async fn take(
        &self,
        push: Arc<PushDoor>,
        reach: watch::Receiver<Reach>,
        options: &Options,
        headers: &HeaderMap,
        incoming: &mut Incoming,
    ) -> Result<Response, Problem> {
        let (wait, source) = options.read()?;
        let (format, packing) = form_of(headers)?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.bounds.body_most) {
            return Err(Problem::too_large(self.bounds.body_most));
        }
        let key = headers.get("idempotency-key").map(|v| v.to_str()).transpose().map_err(|_| bad_key())?;
        let guard = match key {
            None => None,
            Some(key) => match self.begin(&push, key, incoming).await? {
                Ok(guard) => Some(guard),
                Err(answer) => return self.answer(answer, wait, reach).await,
            },
        };
        has_room(&push)?;
        let form = Form { source: source.to_owned(), format, packing };
        let gathered = self.gather(&push, form, incoming).await?;
        let key = guard.map(|guard| (guard, incoming.hash()));
        let ticket = push.append(gathered, key).map_err(|busy| match busy {
            Busy::Full => full(),
            Busy::Closed => closing(),
        })?;
        let answer = ticket.await.map_err(|_| closing())??;
        push.count(&answer);
        self.answer(answer, wait, reach).await
    }

    /// Holds the key, or gives the answer it already has. Waits while another request runs with it.
    async fn begin(
        &self,
        push: &PushDoor,
        key: &str,
        incoming: &mut Incoming,
    ) -> Result<Result<KeyGuard, Answer>, Problem> {
        if key.is_empty() || key.len() > 255 {
            return Err(bad_key());
        }
        incoming.hashed();
        loop {
            match push.spool.keys().begin(key, push.system.clock.now_ms()) {
                Begin::First(guard) => return Ok(Ok(guard)),
                Begin::Full => {
                    return Err(Problem::busy(
                        "too many idempotency keys are remembered; send larger bodies, or raise spool.keys",
                    ));
                }
                Begin::Running(mut running) => {
                    let _ = running.changed().await;
                }
                Begin::Done(record) => {
                    incoming.drain().await?;
                    if hex(incoming.hash()) != record.body {
                        return Err(other_body());
                    }
                    return Ok(Err(record.answer.clone()));
                }
            }
        }
    }

    async fn gather(&self, push: &Arc<PushDoor>, form: Form, incoming: &mut Incoming) -> Result<Gathered, Problem> {
        match incoming.start().await? {
            Start::Whole(bytes) => decode_body(push, &form, Input::Bytes(bytes), self.bounds),
            // Parquet is read from its end.
            Start::Part(first) if form.format == Format::Parquet => self.staged(push, form, first, incoming).await,
            Start::Part(first) => match tokio::time::timeout(SOON, self.streams.acquire()).await {
                Ok(permit) => {
                    let _permit = permit.map_err(|_| closing())?;
                    self.streamed(push, form, first, incoming).await
                }
                // Slow senders have all of them. Who is done with sending must not wait for those who are not.
                Err(_) => self.staged(push, form, first, incoming).await,
            },
        }
    }

    /// Decodes a body while it arrives.
    async fn streamed(
        &self,
        push: &Arc<PushDoor>,
        form: Form,
        first: Bytes,
        incoming: &mut Incoming,
    ) -> Result<Gathered, Problem> {
        let (sender, reader) = body::channel();
        let (push, bounds) = (push.clone(), self.bounds);
        let decoding =
            tokio::task::spawn_blocking(move || decode_body(&push, &form, Input::Stream(Box::new(reader)), bounds));
        let passed = incoming.pass_on(first, sender).await;
        let decoded = decoding.await;
        passed?;
        let decoded = decoded.map_err(bug)??;
        // A decoder may stop before the body does (the end of an Arrow stream).
        incoming.drain().await?;
        Ok(decoded)
    }

    /// Puts a body on disk while it arrives, and then decodes it. Nothing names that file, and it goes when it is read.
    async fn staged(
        &self,
        push: &Arc<PushDoor>,
        form: Form,
        first: Bytes,
        incoming: &mut Incoming,
    ) -> Result<Gathered, Problem> {
        let (sender, reader) = body::channel();
        let spool = push.spool.clone();
        let staging = tokio::task::spawn_blocking(move || spool.scratch(reader));
        let passed = incoming.pass_on(first, sender).await;
        let staged = staging.await;
        passed?;
        let file = staged.map_err(bug)??;
        let _permit = self.decoders.acquire().await.map_err(|_| closing())?;
        let (push, bounds) = (push.clone(), self.bounds);
        tokio::task::spawn_blocking(move || decode_body(&push, &form, Input::Random(file), bounds))
            .await
            .map_err(bug)?
    }

    async fn answer(&self, answer: Answer, wait: bool, mut reach: watch::Receiver<Reach>) -> Result<Response, Problem> {
        let mut body = serde_json::to_value(&answer).unwrap_or_default();
        let mut status = StatusCode::OK;
        if wait {
            let entry = answer.entry;
            let ended = reach.wait_for(|reach| reach.mark.entry > entry || reach.halted);
            let ended = tokio::time::timeout(self.bounds.wait_most, ended).await;
            let committed = matches!(ended, Ok(Ok(reach)) if reach.mark.entry > entry);
            body["committed"] = json!(committed);
            if !committed {
                status = StatusCode::ACCEPTED;
            }
        }
        Ok((status, axum::Json(body)).into_response())
    }
}

/// What a body is and who sent it.
struct Form {
    source: String,
    format: Format,
    packing: Packing,
}

/// Decodes a body and holds it to the contract.
fn decode_body(push: &PushDoor, form: &Form, input: Input, bounds: Bounds) -> Result<Gathered, Problem> {
    let options = decode::Options { max_expanded: Some(bounds.unpacked_most), ..decode::Options::default() };
    let decoder = decode::open(push.contract.clone(), form.format, form.packing, input, options)?;
    push.gather(&form.source, decoder).map_err(|denied| match denied {
        Denied::Failed(error) => Problem::from(error),
        Denied::OverLimit { records, bad, reasons } => {
            let what = format!("{bad} of {records} records break the contract");
            telemetry::source_stopped(&push.name, &form.source, &what);
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-many-rejects",
                "More bad records than the contract allows",
                format!("{what}; nothing was kept: correct them and send all again"),
            )
            .with("reasons", json!(reasons))
        }
    })
}

fn bug(error: tokio::task::JoinError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A bug of ours", format!("decoding: {error}"))
}

fn form_of(headers: &HeaderMap) -> Result<(Format, Packing), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    decode::of_headers(text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING)).map_err(|error| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unknown-content-type",
            "The content type or encoding is not known",
            format!("{error}; content types: {}; encodings: gzip, zstd", decode::TYPES),
        )
    })
}

/// Whether another body may be taken in now.
fn has_room(push: &PushDoor) -> Result<(), Problem> {
    if push.spool.is_full() {
        return Err(full());
    }
    if push.budget.is_over() {
        let detail = "the memory budget is used up for a moment; send this again after Retry-After seconds, or raise \
                      the setting memory";
        return Err(Problem::busy(detail));
    }
    Ok(())
}

fn full() -> Problem {
    Problem::busy("records come faster than they are committed; send this again after Retry-After seconds")
}

fn closing() -> Problem {
    let detail = "the daemon is shutting down; nothing was kept: send it again to the next one";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "closing", "Shutting down", detail).retry_after(5)
}

fn bad_parameter(detail: String) -> Problem {
    let title = "A parameter is not known; there are wait and source";
    Problem::new(StatusCode::BAD_REQUEST, "unknown-parameter", title, detail)
}

fn bad_key() -> Problem {
    let detail = "an Idempotency-Key has 1 to 255 visible ASCII characters; a UUID does";
    Problem::new(StatusCode::BAD_REQUEST, "bad-idempotency-key", "The key cannot be used", detail)
}

fn other_body() -> Problem {
    let detail = "this key came with another body before; use a new key for new records";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key stands for another body", detail)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use laked_catalog::system::System;
    use tower::ServiceExt;
    use uuid::Uuid;

    use super::*;
    use crate::budget::Budget;
    use crate::contract::Contract;
    use crate::flow::{Mark, Marks};
    use crate::ingest::spool::{self, Spool};

    struct One(Arc<PushDoor>, watch::Sender<Reach>);

    impl Doors for One {
        fn push(&self, _: &str, _: &str) -> Result<(Arc<PushDoor>, watch::Receiver<Reach>), Problem> {
            Ok((self.0.clone(), self.1.subscribe()))
        }
    }

    fn door(dir: &std::path::Path, budget: &Budget) -> Arc<PushDoor> {
        let (system, bounds) = (System::real(), spool::Bounds::default());
        let table = Uuid::from_u128(7);
        let place =
            spool::Place { dir: dir.join("push"), system: system.clone(), budget: budget.clone(), bounds, table };
        let spool = Arc::new(Spool::open(place, &Marks::new()).unwrap());
        let contract = Arc::new(Contract::parse("[fields]\nn = \"long\"\n", "n/t.toml").unwrap());
        Arc::new(PushDoor { name: "n.t".into(), contract, spool, system, budget: budget.clone() })
    }

    async fn ask(door: &Arc<PushDoor>) -> (StatusCode, Option<String>, serde_json::Value) {
        ask_of(door, watch::Sender::default(), "").await
    }

    async fn ask_of(
        door: &Arc<PushDoor>,
        reach: watch::Sender<Reach>,
        query: &str,
    ) -> (StatusCode, Option<String>, serde_json::Value) {
        let bounds = Bounds {
            body_most: 1000,
            unpacked_most: 1000,
            idle: Duration::from_secs(60),
            wait_most: Duration::from_secs(60),
            decoders: 1,
        };
        let router = router(Arc::new(One(door.clone(), reach)), bounds);
        let request = Request::post(format!("/ingest/n/t{query}")).header(header::CONTENT_TYPE, "application/x-ndjson");
        let response = router.oneshot(request.body(Body::from("{\"n\":1}\n")).unwrap()).await.unwrap();
        let retry = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, retry, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn no_body_is_taken_in_beyond_the_memory_budget() {
        let (dir, budget) = (tempfile::tempdir().unwrap(), Budget::new(1 << 20));
        let door = door(dir.path(), &budget);
        let held = budget.reserve(2 << 20);
        let (status, retry, problem) = ask(&door).await;
        assert_eq!((status, retry.as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("1")));
        assert!(problem["detail"].as_str().unwrap().contains("memory"), "{problem}");
        drop(held);
        assert_eq!(ask(&door).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn who_waits_for_a_lane_that_is_halted_is_answered_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(dir.path(), &Budget::new(1 << 20));
        let reach = watch::Sender::new(Reach { halted: true, ..Reach::default() });
        let (status, _, answer) = ask_of(&door, reach, "?wait=committed").await;
        assert_eq!((status, answer["committed"].as_bool()), (StatusCode::ACCEPTED, Some(false)), "{answer}");
        let past = Mark { entry: 2, record: 0 };
        let reach = watch::Sender::new(Reach { mark: past, halted: true });
        let (status, _, answer) = ask_of(&door, reach, "?wait=committed").await;
        assert_eq!((status, answer["committed"].as_bool()), (StatusCode::OK, Some(true)), "{answer}");
    }

    #[tokio::test]
    async fn a_spool_that_is_closed_says_to_send_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(dir.path(), &Budget::new(1 << 20));
        door.spool.close();
        let (status, retry, problem) = ask(&door).await;
        assert_eq!((status, retry.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));
        assert_eq!(problem["type"], "urn:laked:problem:closing");
        assert!(problem["detail"].as_str().unwrap().contains("send it again"), "{problem}");
    }
}
