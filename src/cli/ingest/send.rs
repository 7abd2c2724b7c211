//! Posting bodies to a daemon, each under a key of its own.
//!
//! A daemon that is busy (429) or not there for a moment is asked again with the same key, for a bounded time: what it
//! took already it answers again and does not take twice.

use std::io::Seek;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use iceberg::TableIdent;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::typestate::WithBody;
use uuid::Uuid;

use super::cut::Cutter;
use crate::error::{Error, Kind, Result};
use crate::flow::Format;
use crate::read::source::escape;

/// Bodies on their way at a time: the daemon decodes one while the other's bytes are read.
const SENDERS: usize = 2;
/// A body is offered again for this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// After an answer that does not come.
const RETRY: Duration = Duration::from_secs(1);
/// The longest the daemon is left alone.
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// Reasons that are kept for a report.
const REASONS: usize = 10;
/// The longest name of a source that a daemon takes, in bytes.
const SOURCE: usize = 255;

/// What the daemon said.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// Records that satisfy the contract.
    #[serde(default)]
    pub accepted: u64,
    /// Records in quarantine.
    #[serde(default)]
    pub rejected: u64,
    /// The entry's number.
    #[serde(default)]
    pub entry: u64,
    /// Why, for the first of them.
    #[serde(default)]
    pub reasons: Vec<Value>,
    /// Whether the commit was still to come when the daemon answered.
    #[serde(skip)]
    pub late: bool,
}

impl Answer {
    /// With the lines of the source instead of those of its body.
    fn behind(mut self, lines: u64) -> Answer {
        for reason in &mut self.reasons {
            if let Some(line) = reason["line"].as_u64() {
                reason["line"] = (line + lines).into();
            }
        }
        self
    }

    fn add(&mut self, more: Answer) {
        self.accepted += more.accepted;
        self.rejected += more.rejected;
        self.entry = self.entry.max(more.entry);
        self.reasons.extend(more.reasons);
        self.reasons.truncate(REASONS);
        self.late |= more.late;
    }
}

/// A reason as a person reads it.
pub fn reason(reason: &Value) -> String {
    let text = |key: &str| reason[key].as_str().unwrap_or_default().to_string();
    let place = match (&reason["line"], &reason["record"]) {
        (Value::Number(line), _) => format!("line {line}"),
        (_, Value::Number(record)) => format!("record {record}"),
        _ => "a record".to_string(),
    };
    format!("{place}: {} {}: {}", text("code"), text("field"), text("detail")).replace(" :", ":")
}

struct Body {
    bytes: Vec<u8>,
    key: String,
    /// Lines of the source before its first.
    lines: u64,
}

/// Posts bodies for one table.
pub struct Sender {
    agent: ureq::Agent,
    url: String,
}

impl Sender {
    /// Sends to the daemon at `url`, under the name by which quarantine calls the records' source.
    pub fn new(url: &str, table: &TableIdent, source: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let (namespace, name) = (escape(&table.namespace().join(".")), escape(table.name()));
        let url = format!("{url}/ingest/{namespace}/{name}?source={}", escape(&within(source)));
        Self { agent: ureq::Agent::new_with_config(config), url }
    }

    /// Sends lines of text in bodies; with `wait`, the last one is answered after its commit, which has them all. The
    /// same lines with the same salt are taken once.
    ///
    /// # Errors
    /// Those of the reader; as [`Sender::offer`]. What was answered before is safe, and sent again it is not doubled.
    pub fn lines(&self, format: Format, salt: &[u8], reader: impl std::io::BufRead, wait: bool) -> Result<Answer> {
        let mut cutter = Cutter::new(format, reader)?;
        let mut chain = Sha256::new_with_prefix(salt);
        let mut next = || -> Result<Option<Body>> {
            let lines = cutter.lines();
            let Some(bytes) = cutter.next()? else { return Ok(None) };
            chain.update(&bytes);
            Ok(Some(Body { key: key(&chain), bytes, lines }))
        };
        let Some(mut body) = next()? else { return Ok(Answer::default()) };
        let total = Mutex::new(Ok(Answer::default()));
        let (send, receive) = sync_channel::<Body>(0);
        let receive = Mutex::new(receive);
        std::thread::scope(|scope| -> Result<()> {
            let (receive, total) = (&receive, &total);
            let workers: Vec<_> =
                (0..SENDERS).map(|_| scope.spawn(move || self.work(format, receive, total))).collect();
            let fed = (|| {
                while let Some(following) = next()? {
                    // Nobody receives once a worker has failed.
                    if is_failed(total) || send.send(std::mem::replace(&mut body, following)).is_err() {
                        break;
                    }
                }
                Ok(())
            })();
            drop(send);
            workers.into_iter().for_each(|worker| drop(worker.join()));
            fed
        })?;
        let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        total.add(self.text(format, &body.key, wait, &body.bytes)?.behind(body.lines));
        Ok(total)
    }

    fn work(&self, format: Format, bodies: &Mutex<Receiver<Body>>, total: &Mutex<Result<Answer>>) {
        loop {
            let body = bodies.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(body) = body else { return };
            let answer = if is_failed(total) { return } else { self.text(format, &body.key, false, &body.bytes) };
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match (total.as_mut(), answer) {
                (Ok(total), Ok(answer)) => total.add(answer.behind(body.lines)),
                (Ok(_), Err(error)) => *total = Err(error),
                (Err(_), _) => return,
            }
        }
    }

    /// Sends a file as one body.
    ///
    /// # Errors
    /// As [`Sender::lines`].
    pub fn whole(
        &self,
        format: Format,
        salt: &[u8],
        file: &mut std::fs::File,
        bar: &ProgressBar,
        wait: bool,
    ) -> Result<Answer> {
        let mut hash = Sha256::new_with_prefix(salt);
        std::io::copy(file, &mut hash)?;
        let len = file.stream_position()?;
        self.offer(format, &key(&hash), wait, |request| {
            let mut again = file.try_clone()?;
            again.rewind()?;
            bar.set_position(0);
            let request = request.header("content-length", len.to_string());
            request.send(ureq::SendBody::from_owned_reader(bar.wrap_read(again)))
        })
    }

    /// Sends text as one body.
    ///
    /// # Errors
    /// As [`Sender::lines`].
    pub fn text(&self, format: Format, key: &str, wait: bool, text: &[u8]) -> Result<Answer> {
        self.offer(format, key, wait, |request| request.send(text))
    }

    /// Offers a body until it is taken, refused, or patience ends.
    fn offer(
        &self,
        format: Format,
        key: &str,
        wait: bool,
        mut send: impl FnMut(ureq::RequestBuilder<WithBody>) -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer> {
        let url = if wait { format!("{}&wait=committed", self.url) } else { self.url.clone() };
        let mut waited = Duration::ZERO;
        loop {
            let request = self.agent.post(&url).header("content-type", content_type(format));
            let offered = match send(request.header("idempotency-key", key)) {
                Ok(response) => judge(response)?,
                Err(error) => Offered::Later(RETRY, self.silent(error)),
            };
            match offered {
                Offered::Taken(answer) => return Ok(answer),
                Offered::Later(_, error) if waited >= PATIENCE => return Err(error),
                Offered::Later(pause, _) => {
                    std::thread::park_timeout(pause);
                    waited += pause;
                }
            }
        }
    }

    fn silent(&self, error: ureq::Error) -> Error {
        Error::new(
            Kind::Unavailable,
            "the daemon does not answer: what it acknowledged is safe, and nothing is doubled if the call is repeated",
        )
        .with("url", &self.url)
        .because(error)
    }
}

/// How a daemon met a body.
enum Offered {
    Taken(Answer),
    /// Not now: after this time, or for this reason never.
    Later(Duration, Error),
}

fn judge(mut response: Response<ureq::Body>) -> Result<Offered> {
    let status = response.status().as_u16();
    let pause = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let text = response.body_mut().read_to_string().unwrap_or_default();
    if matches!(status, 200 | 202) {
        let answer = serde_json::from_str::<Answer>(&text).map_err(|error| {
            Error::new(Kind::Invalid, "not the answer of a laked daemon; is --url right?").because(error)
        })?;
        return Ok(Offered::Taken(Answer { late: status == 202, ..answer }));
    }
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or(text.trim());
    let mut error = Error::new(
        if matches!(status, 429 | 500..) { Kind::Unavailable } else { Kind::Invalid },
        format!("the daemon refuses ({status}): {detail}"),
    );
    if let Some(first) = problem["reasons"].as_array().and_then(|reasons| reasons.first()) {
        error = error.with("first", reason(first));
    }
    match (status, pause) {
        (429 | 503, Some(seconds)) => Ok(Offered::Later(Duration::from_secs(seconds).min(MOST_PAUSE), error)),
        _ => Err(error),
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Ndjson => "application/x-ndjson",
        Format::Json => "application/json",
        Format::Csv => "text/csv",
        Format::Parquet => "application/vnd.apache.parquet",
        Format::Arrow => "application/vnd.apache.arrow.stream",
    }
}

/// A source's name as the daemon takes it: its end, which tells the most, without control characters.
fn within(source: &str) -> String {
    let name: String = source.chars().filter(|c| !c.is_control()).collect();
    let start = name.char_indices().map(|(at, _)| at).find(|at| name.len() - at <= SOURCE);
    start.map_or_else(|| "-".to_owned(), |start| name[start..].to_owned())
}

fn is_failed(total: &Mutex<Result<Answer>>) -> bool {
    total.lock().unwrap_or_else(PoisonError::into_inner).is_err()
}

fn key(content: &Sha256) -> String {
    let digest = content.clone().finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_name_fits_and_is_never_empty() {
        assert_eq!(within("a/b.csv"), "a/b.csv");
        assert_eq!((within("").as_str(), within("\n").as_str()), ("-", "-"));
        let long = within(&format!("{}é.csv", "é".repeat(200)));
        assert!(long.len() <= SOURCE && long.len() > SOURCE - 2 && long.ends_with("éé.csv"));
    }
}
