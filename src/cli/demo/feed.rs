//! Feeds the sample: half of it as files dropped into the inbox, the rest as HTTP bodies.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::Sender;

use laked_catalog::store::Disk;

use crate::error::{Error, Kind, Result};
use crate::sample::cgm::text::TextWriter;
use crate::sample::cgm::{Options, Reading, Readings};

/// Files for the inbox.
const FILES: u64 = 4;
/// Records of a body.
const BODY: usize = 10_000;
/// How often a body is sent before the demo gives up.
const TRIES: u32 = 5;

/// Records handed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// That keep the contract.
    pub accepted: u64,
    /// That break it.
    pub refused: u64,
}

impl Sent {
    /// Counts more.
    pub fn add(&mut self, more: Sent) {
        self.accepted += more.accepted;
        self.refused += more.refused;
    }

    fn of(readings: &[Reading]) -> Self {
        let refused = readings.iter().filter(|reading| reading.flaw.is_some()).count() as u64;
        Self { accepted: readings.len() as u64 - refused, refused }
    }
}

/// Hands over all readings of `options`; reports each file and body once it is handed over.
pub fn run(disk: &dyn Disk, lake: &Path, url: &str, options: Options, sent: &Sender<Sent>) -> Result<()> {
    let mut readings = Readings::new(options.clone(), false)?;
    let all = readings.totals().readings + readings.broken();
    let a_file = (all / 2 / FILES) as usize;
    for number in 0..FILES {
        let part: Vec<Reading> = readings.by_ref().take(a_file).collect();
        drop_file(disk, &lake.join("inbox/glucose.cgm_readings"), number, &options, &part)?;
        if sent.send(Sent::of(&part)).is_err() {
            return Ok(());
        }
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for number in 0_u64.. {
        let part: Vec<Reading> = readings.by_ref().take(BODY).collect();
        if part.is_empty() {
            break;
        }
        post(&agent, url, number, &text(&options, false, &part)?)?;
        if sent.send(Sent::of(&part)).is_err() {
            break;
        }
    }
    Ok(())
}

fn text(options: &Options, csv: bool, readings: &[Reading]) -> Result<Vec<u8>> {
    let mut writer = TextWriter::new(options, csv, Vec::new());
    readings.iter().try_for_each(|reading| writer.write(reading))?;
    writer.finish()
}

/// Writes under a name the daemon leaves alone, then renames: how every producer should.
fn drop_file(disk: &dyn Disk, inbox: &Path, number: u64, options: &Options, readings: &[Reading]) -> Result<()> {
    let csv = number % 2 == 1;
    let name = format!("sensors-{number}.{}", if csv { "csv" } else { "ndjson" });
    let part = inbox.join(format!(".{name}.part"));
    let written = (|| {
        let mut file = disk.create(&part)?;
        file.write_all(&text(options, csv, readings).map_err(std::io::Error::other)?)?;
        drop(file);
        disk.rename_new(&part, &inbox.join(&name))
    })();
    written.map_err(|error| Error::from(error).with("file", inbox.join(&name).display()))
}

/// One body under a key of its own, so that sending it again is harmless.
fn post(agent: &ureq::Agent, url: &str, number: u64, body: &[u8]) -> Result<()> {
    let url = format!("{url}/ingest/glucose/cgm_readings");
    let mut answer = String::new();
    for _ in 0..TRIES {
        let request = agent.post(&url).header("content-type", "application/x-ndjson");
        match request.header("idempotency-key", format!("demo-{number}")).send(body) {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(mut response) => {
                let text = response.body_mut().read_to_string().unwrap_or_default();
                answer = format!("{}: {text}", response.status());
                pause(response.headers());
            }
            Err(error) => answer = error.to_string(),
        }
    }
    Err(Error::new(Kind::Unavailable, format!("the daemon does not take a body: {answer}")).with("url", url))
}

/// Waits as long as `Retry-After` asks for, ten seconds at most.
fn pause(headers: &ureq::http::HeaderMap) {
    let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    std::thread::park_timeout(std::time::Duration::from_secs(seconds.unwrap_or(1_u64).min(10)));
}
