//! Sending bodies, each under a key of its own, to a daemon or into a lake that is open here ([`Way`]).
//!
//! Who is busy (429) or not there for a moment is asked again with the same key, for a bounded time: what it took
//! already it answers again and does not take twice.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use iceberg::TableIdent;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;
use uuid::Uuid;

use super::cut::Cutter;
use super::way::{Body, Offered, Way};
use crate::daemon::Lake;
use crate::error::Result;
use crate::flow::Format;
use crate::ingest::push::Key;
use crate::read::remote::Remote;

/// Bodies on their way at a time: the daemon decodes one while the other's bytes are read.
const SENDERS: usize = 2;
/// A body is offered again for this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Reasons that are kept for a report.
const REASONS: usize = 10;

/// What the daemon said.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// Records that satisfy the contract.
    #[serde(default)]
    pub accepted: u64,
    /// Records in quarantine.
    #[serde(default)]
    pub rejected: u64,
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
        self.reasons.extend(more.reasons);
        self.reasons.truncate(REASONS);
        self.late |= more.late;
    }
}

impl From<crate::ingest::entry::Answer> for Answer {
    fn from(answer: crate::ingest::entry::Answer) -> Self {
        let reasons = answer.reasons.iter().filter_map(|reason| serde_json::to_value(reason).ok()).collect();
        Answer { accepted: answer.accepted, rejected: answer.rejected, reasons, late: false }
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

struct Part {
    bytes: Bytes,
    key: String,
    /// Lines of the source before its first.
    lines: u64,
}

/// Sends bodies for one table.
pub struct Sender<'a> {
    way: Way<'a>,
}

impl<'a> Sender<'a> {
    /// Sends to a daemon; quarantine calls the records' source by that name.
    pub fn by_http(remote: &Remote, table: &TableIdent, source: &str) -> Sender<'static> {
        Sender { way: Way::http(remote, table, source) }
    }

    /// Takes in what a daemon would have been sent.
    pub fn into_lake(lake: &'a Lake, table: &TableIdent, source: &str) -> Self {
        Sender { way: Way::lake(lake, table, source) }
    }

    /// Sends lines of text in bodies; with `wait`, the last one is answered after its commit, which has them all. The
    /// same lines with the same salt are taken once.
    ///
    /// # Errors
    /// Those of the reader; as [`Sender::offer`]. What was answered before is safe, and sent again it is not doubled.
    pub fn lines(&self, format: Format, salt: &[u8], reader: impl std::io::BufRead, wait: bool) -> Result<Answer> {
        let mut cutter = Cutter::new(format, reader)?;
        let mut chain = Sha256::new_with_prefix(salt);
        let mut next = || -> Result<Option<Part>> {
            let lines = cutter.lines();
            let Some(bytes) = cutter.next()? else { return Ok(None) };
            chain.update(&bytes);
            Ok(Some(Part { key: key(&chain), bytes: bytes.into(), lines }))
        };
        let Some(mut body) = next()? else { return Ok(Answer::default()) };
        let total = Mutex::new(Ok(Answer::default()));
        let (send, receive) = sync_channel::<Part>(0);
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

    fn work(&self, format: Format, bodies: &Mutex<Receiver<Part>>, total: &Mutex<Result<Answer>>) {
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
    pub fn whole(&self, format: Format, salt: &[u8], file: &File, bar: &ProgressBar, wait: bool) -> Result<Answer> {
        let (mut chain, mut body) = (Sha256::new_with_prefix(salt), XxHash3_128::new());
        let (mut reader, mut buffer, mut len) = (file, vec![0; 1 << 20], 0);
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            chain.update(&buffer[..read]);
            body.write(&buffer[..read]);
            len += read as u64;
        }
        let key = Key { name: key(&chain), body: body.finish_128() };
        self.offer(format, &key, wait, &Body::File(file, len, bar))
    }

    fn text(&self, format: Format, name: &str, wait: bool, text: &Bytes) -> Result<Answer> {
        let key = Key { name: name.to_owned(), body: XxHash3_128::oneshot(text) };
        self.offer(format, &key, wait, &Body::Text(text))
    }

    /// Offers a body until it is taken, refused, or patience ends.
    fn offer(&self, format: Format, key: &Key, wait: bool, body: &Body<'_>) -> Result<Answer> {
        let mut waited = Duration::ZERO;
        loop {
            match self.way.offer(format, key, wait, body)? {
                Offered::Taken(answer) => return Ok(answer),
                Offered::Later(_, error) if waited >= PATIENCE => return Err(error),
                Offered::Later(pause, _) => {
                    std::thread::park_timeout(pause);
                    waited += pause;
                }
            }
        }
    }
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
