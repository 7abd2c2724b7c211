//! `lakectl ingest`: sends files or standard input to a daemon, in bodies it can answer soon.
//!
//! Text is unpacked here and cut at record boundaries into bodies of some MiB; each body's idempotency key comes from
//! the content before it and its own, so that a call that is repeated after a failure adds nothing twice.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Output, output};
use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::source::ident_of;

/// Bytes of a body before it is sent.
const BODY: usize = 8 << 20;

/// Send files into a table.
#[derive(Args, Debug)]
pub struct Ingest {
    /// The table, as namespace.table.
    table: String,
    /// Files: .ndjson .jsonl .json .csv (also .gz, .zst) .parquet .arrow; `-` is standard input.
    #[arg(required = true)]
    files: Vec<String>,
    /// Form of the data, where the name does not say: ndjson, json, csv, parquet, arrow.
    #[arg(long)]
    format: Option<String>,
    /// Answer only once the rows can be read, not merely once they are safe.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    rejected: u64,
    #[serde(default)]
    reasons: Vec<Value>,
}

/// What a file is and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Lines, cut anywhere between them.
    Lines,
    /// Lines after a header, quotes kept whole.
    Csv,
    /// One body, whatever its size.
    Whole(&'static str),
}

impl Form {
    fn of(name: &str) -> Result<Form> {
        let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
        match plain.rsplit('.').next() {
            Some("ndjson" | "jsonl") => Ok(Form::Lines),
            Some("csv") => Ok(Form::Csv),
            Some("json") => Ok(Form::Whole("application/json")),
            Some("parquet") => Ok(Form::Whole("application/vnd.apache.parquet")),
            Some("arrow") => Ok(Form::Whole("application/vnd.apache.arrow.stream")),
            _ => Err(Error::new(
                Kind::Invalid,
                "cannot tell the form of the data: give --format ndjson, json, csv, parquet or arrow",
            )
            .with("file", name)),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Lines => "application/x-ndjson",
            Form::Csv => "text/csv",
            Form::Whole(kind) => kind,
        }
    }
}

impl Ingest {
    /// Sends each file and reports what was accepted and refused.
    ///
    /// # Errors
    /// `Invalid` for what cannot be read or is refused whole; `Unavailable` if the daemon does not answer.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let Source::Daemon(url) = source else {
            return Err(Error::new(
                Kind::Invalid,
                "ingest speaks to a running daemon: start `laked --lake DIR` and give --url",
            ));
        };
        let ident = ident_of(&self.table)?;
        let namespace = ident.namespace().join(".");
        let wait = if self.wait { "?wait=committed" } else { "" };
        let sender = Sender::new(format!("{url}/ingest/{namespace}/{}{wait}", ident.name()));
        let mut values = Vec::new();
        for file in &self.files {
            let answer = self.send(&sender, file)?;
            match form {
                Output::Json => {
                    values.push(json!({ "file": file, "accepted": answer.accepted, "rejected": answer.rejected }))
                }
                Output::Text => report(file, &answer),
            }
        }
        if form == Output::Json { output::json(&values) } else { Ok(()) }
    }

    fn send(&self, sender: &Sender, file: &str) -> Result<Answer> {
        let named = self.format.as_ref().map_or_else(|| file.to_string(), |format| format!("x.{format}"));
        let form = Form::of(&named)?;
        let bar = progress(file);
        let reader: Box<dyn Read> = if file == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(file).map_err(|error| Error::from(error).with("file", file))?)
        };
        let reader = bar.wrap_read(reader);
        let reader: Box<dyn Read> = match file.rsplit('.').next() {
            Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Some("zst") => Box::new(zstd::Decoder::new(reader)?),
            _ => Box::new(reader),
        };
        let answer = sender.send(form, BufReader::with_capacity(1 << 20, reader));
        bar.finish_and_clear();
        answer.map_err(|error| error.with("file", file))
    }
}

fn report(file: &str, answer: &Answer) {
    eprintln!("{file}: {} accepted, {} refused", output::count(answer.accepted), output::count(answer.rejected));
    for reason in answer.reasons.iter().take(5) {
        eprintln!("  {reason}");
    }
    if answer.rejected > 0 {
        eprintln!("  see: lakectl quarantine show");
    }
}

fn progress(file: &str) -> ProgressBar {
    let len = File::open(Path::new(file)).and_then(|file| file.metadata()).map(|metadata| metadata.len()).ok();
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(file.to_string())
}

/// Posts bodies, one after the other.
struct Sender {
    agent: ureq::Agent,
    url: String,
}

impl Sender {
    fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Self { agent: ureq::Agent::new_with_config(config), url }
    }

    fn send(&self, form: Form, mut reader: impl BufRead) -> Result<Answer> {
        let (mut total, mut chain, mut body) = (Answer::default(), Sha256::new(), Vec::new());
        let mut header = Vec::new();
        if form == Form::Csv {
            reader.read_until(b'\n', &mut header)?;
        }
        loop {
            body.clear();
            body.extend_from_slice(&header);
            if !fill(form, &mut reader, &mut body)? {
                return Ok(total);
            }
            chain.update(&body);
            let answer = self.post(form, &body, &key_of(&chain))?;
            total.accepted += answer.accepted;
            total.rejected += answer.rejected;
            total.reasons.extend(answer.reasons);
            total.reasons.truncate(20);
        }
    }

    fn post(&self, form: Form, body: &[u8], key: &str) -> Result<Answer> {
        let request =
            self.agent.post(&self.url).header("Content-Type", form.content_type()).header("Idempotency-Key", key);
        let mut response = request.send(body).map_err(|error| {
            Error::new(Kind::Unavailable, "the daemon does not answer: what it acknowledged is safe; repeat the call")
                .with("url", &self.url)
                .because(error)
        })?;
        let text = response.body_mut().read_to_string().unwrap_or_default();
        match response.status().as_u16() {
            200 => serde_json::from_str(&text)
                .map_err(|error| Error::new(Kind::Invalid, "not the answer of a laked daemon").because(error)),
            status => {
                let problem: Value = serde_json::from_str(&text).unwrap_or_default();
                let detail = problem["detail"].as_str().unwrap_or(&text).to_string();
                let kind = if matches!(status, 429 | 503) { Kind::Unavailable } else { Kind::Invalid };
                Err(Error::new(kind, format!("the daemon refuses ({status}): {detail}")))
            }
        }
    }
}

fn key_of(chain: &Sha256) -> String {
    let digest = chain.clone().finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes).to_string()
}

/// Adds records to the body up to its size; whether there were any.
fn fill(form: Form, reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<bool> {
    let start = body.len();
    if let Form::Whole(_) = form {
        reader.read_to_end(body)?;
        return Ok(body.len() > start);
    }
    let mut quotes = 0;
    loop {
        let line = body.len();
        let read = reader.read_until(b'\n', body)?;
        if read == 0 {
            return Ok(body.len() > start);
        }
        quotes += body[line..].iter().filter(|byte| **byte == b'"').count();
        // A line of CSV ends a record only outside quotes.
        let whole = form == Form::Lines || quotes % 2 == 0;
        if whole && body.len() >= BODY {
            return Ok(true);
        }
    }
}

/// Sends text as one request and gives the counts: for records that are replayed.
///
/// # Errors
/// As for a file.
pub fn send_text(url: &str, content_type: &'static str, body: &[u8], key: &Uuid) -> Result<(u64, u64)> {
    let answer = Sender::new(url.to_string()).post(Form::Whole(content_type), body, &key.to_string())?;
    Ok((answer.accepted, answer.rejected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_between_records() {
        let row = format!("1,\"{}\n{}\"\n", "x".repeat(BODY / 2), "y".repeat(BODY / 2));
        let text = format!("{row}{row}2,z\n");
        let mut reader = text.as_bytes();
        let mut bodies = Vec::new();
        loop {
            let mut body = Vec::new();
            if !fill(Form::Csv, &mut reader, &mut body).expect("reads") {
                break;
            }
            bodies.push(String::from_utf8(body).expect("UTF-8"));
        }
        assert_eq!(bodies, [row.clone(), row, "2,z\n".to_string()]);
    }

    #[test]
    fn the_form_is_told_by_the_name() {
        assert_eq!(Form::of("a.ndjson.gz").expect("known"), Form::Lines);
        assert_eq!(Form::of("a.csv.zst").expect("known"), Form::Csv);
        assert!(Form::of("-").expect_err("unknown").to_string().contains("--format"));
    }
}
