//! The two ways a body goes: by HTTP to a daemon, or into a lake that is open here. Both take it under its key, so that
//! what came one way is not taken again when it comes the other.

use std::fs::File;
use std::io::Seek;
use std::time::Duration;

use bytes::Bytes;
use iceberg::TableIdent;
use indicatif::ProgressBar;
use serde_json::Value;
use ureq::http::Response;

use super::send::{Answer, reason};
use crate::daemon::{self, Lake};
use crate::error::{Error, Kind, Result};
use crate::flow::{Format, Packing};
use crate::ingest::decode::Input;
use crate::ingest::push::Key;
use crate::read::remote::Remote;
use crate::read::source::escape;

/// After an answer that does not come.
const RETRY: Duration = Duration::from_secs(1);
/// The longest the daemon is left alone.
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// The longest name of a source that a daemon takes, in bytes.
const SOURCE: usize = 255;

/// Where bodies go.
pub enum Way<'a> {
    /// A daemon's door.
    Http { agent: ureq::Agent, url: String },
    /// A lake nobody else has.
    Lake { lake: &'a Lake, table: String, source: String },
}

/// A body; it can be sent more than once.
pub enum Body<'a> {
    /// In memory.
    Text(&'a Bytes),
    /// A file of this many bytes, and the bar that shows how far it is read.
    File(&'a File, u64, &'a ProgressBar),
}

/// How a body was met.
pub enum Offered {
    /// It is durable.
    Taken(Answer),
    /// Not now: offer it again after this time, or give up for this reason.
    Later(Duration, Error),
}

impl<'a> Way<'a> {
    /// To a daemon.
    pub fn http(remote: &Remote, table: &TableIdent, source: &str) -> Way<'static> {
        let (namespace, name) = (escape(&table.namespace().join(".")), escape(table.name()));
        let url = format!("{}/ingest/{namespace}/{name}?source={}", remote.url(), escape(&within(source)));
        Way::Http { agent: remote.agent().clone(), url }
    }

    /// Into a lake.
    pub fn lake(lake: &'a Lake, table: &TableIdent, source: &str) -> Self {
        let table = format!("{}.{}", table.namespace().join("."), table.name());
        Way::Lake { lake, table, source: source.to_owned() }
    }

    /// Offers a body once.
    ///
    /// # Errors
    /// Those that offering it again does not mend.
    pub fn offer(&self, format: Format, key: &Key, wait: bool, body: &Body<'_>) -> Result<Offered> {
        match self {
            Way::Http { agent, url } => {
                let asked = if wait { format!("{url}&wait=committed") } else { url.clone() };
                let request = agent.post(&asked).header("content-type", content_type(format));
                let request = request.header("idempotency-key", &key.name);
                let sent = match body {
                    Body::Text(text) => request.send(&text[..]),
                    Body::File(file, len, bar) => {
                        let read = bar.wrap_read(rewound(file, bar)?);
                        let request = request.header("content-length", len.to_string());
                        request.send(ureq::SendBody::from_owned_reader(read))
                    }
                };
                sent.map_or_else(|error| Ok(Offered::Later(RETRY, silent(url, error))), judge)
            }
            Way::Lake { lake, table, source } => {
                let input = match body {
                    Body::Text(text) => Input::Bytes(Bytes::clone(text)),
                    Body::File(file, _, bar) => Input::Stream(Box::new(bar.wrap_read(rewound(file, bar)?))),
                };
                let (name, packing, key) = (source.clone(), Packing::Plain, Some(key.clone()));
                match lake.ingest(table, daemon::Source { name, format, packing, input, key }) {
                    Ok(answer) => Ok(Offered::Taken(Answer::from(answer))),
                    Err(error) if error.kind() == Kind::Unavailable => Ok(Offered::Later(RETRY, error)),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

fn rewound(file: &File, bar: &ProgressBar) -> Result<File> {
    let mut again = file.try_clone()?;
    again.rewind()?;
    bar.set_position(0);
    Ok(again)
}

fn silent(url: &str, error: ureq::Error) -> Error {
    Error::new(
        Kind::Unavailable,
        "the daemon does not answer: what it acknowledged is safe, and nothing is doubled if the call is repeated",
    )
    .with("url", url)
    .because(error)
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
