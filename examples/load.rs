//! Loads a daemon for `make bench`, and prints what it saw as JSON.
//!
//! load bodies URL FILE RECORDS CLIENTS · load singles URL CLIENTS SECONDS · load visible URL TIMES ·
//! load durable FOLDER TIMES

#![allow(clippy::disallowed_methods, reason = "a client that measures time and writes files of its own")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const TABLE: &str = "/ingest/glucose/cgm_readings";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["bodies", url, file, records, clients] => bodies(url, file, records.parse()?, clients.parse()?),
        ["singles", url, clients, seconds] => singles(url, clients.parse()?, seconds.parse()?),
        ["visible", url, times] => visible(url, times.parse()?),
        ["durable", folder, times] => durable(folder, times.parse()?),
        _ => Err("load bodies|singles|visible|durable …: see the source".into()),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).max_idle_connections_per_host(1).build().into()
}

/// Posts until the daemon takes it: 429 and 503 are asked again after what they say.
fn post(agent: &ureq::Agent, url: &str, body: &[u8]) -> Outcome<()> {
    for _ in 0..1000 {
        let mut response = agent.post(url).header("content-type", "application/x-ndjson").send(body)?;
        let text = response.body_mut().read_to_string()?;
        match response.status().as_u16() {
            200 => return Ok(()),
            429 | 503 => std::thread::park_timeout(Duration::from_millis(200)),
            status => return Err(format!("{status}: {text}").into()),
        }
    }
    Err("the daemon stays busy".into())
}

/// The next lines of the file, as many as a body takes.
fn next_body(source: &Mutex<BufReader<std::fs::File>>, records: usize) -> Outcome<Vec<u8>> {
    let mut source = source.lock().map_err(|_| "a client died")?;
    let mut body = Vec::with_capacity(records * 200);
    for _ in 0..records {
        if source.read_until(b'\n', &mut body)? == 0 {
            break;
        }
    }
    Ok(body)
}

fn bodies(url: &str, file: &str, records: usize, clients: usize) -> Outcome<()> {
    let source = Mutex::new(BufReader::with_capacity(1 << 20, std::fs::File::open(file)?));
    let url = format!("{url}{TABLE}");
    let begun = Instant::now();
    let client = || -> Outcome<()> {
        let agent = agent();
        loop {
            let body = next_body(&source, records)?;
            if body.is_empty() {
                return Ok(());
            }
            post(&agent, &url, &body)?;
        }
    };
    together(clients, |_| client())?;
    println!("{{\"seconds\": {}}}", begun.elapsed().as_secs_f64());
    Ok(())
}

fn record(id: &str) -> String {
    format!(
        "{{\"reading_id\":\"{id}\",\"user_id\":\"u1\",\"device_id\":\"d1\",\"timestamp\":\"2026-06-27T00:00:00Z\",\
         \"glucose_mg_dl\":100,\"country\":\"TW\",\"source\":\"cgm\",\"trend\":\"flat\"}}\n"
    )
}

fn singles(url: &str, clients: usize, seconds: u64) -> Outcome<()> {
    let url = format!("{url}{TABLE}");
    let (answers, times) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    together(clients, |client| {
        let (agent, mut own) = (agent(), Vec::new());
        while begun.elapsed() < Duration::from_secs(seconds) {
            let sent = Instant::now();
            post(&agent, &url, record(&format!("s{client}-{}", own.len())).as_bytes())?;
            own.push(sent.elapsed());
            answers.fetch_add(1, Ordering::Relaxed);
        }
        times.lock().map_err(|_| "a client died")?.append(&mut own);
        Ok(())
    })?;
    let elapsed = begun.elapsed().as_secs_f64();
    let mut times = times.into_inner().map_err(|_| "a client died")?;
    let (median, p99) = percentiles(&mut times);
    let answers = answers.into_inner();
    println!("{{\"answers\": {answers}, \"seconds\": {elapsed}, \"median_ms\": {median}, \"p99_ms\": {p99}}}");
    Ok(())
}

/// From an answer to the first look at the catalog that shows the row, looking every ten milliseconds.
fn visible(url: &str, times: usize) -> Outcome<()> {
    let (agent, mut took) = (agent(), Vec::new());
    for number in 0..times {
        // Spread over the commit's age, so that the answers fall anywhere within it.
        std::thread::park_timeout(Duration::from_millis(137 * (number as u64 % 8)));
        post(&agent, &format!("{url}{TABLE}"), record(&format!("v{number}")).as_bytes())?;
        let answered = Instant::now();
        while rows(&agent, url)? <= number as u64 {
            if answered.elapsed() > Duration::from_secs(60) {
                return Err("a row is not visible after a minute".into());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        took.push(answered.elapsed());
    }
    let (median, p99) = percentiles(&mut took);
    println!("{{\"median_ms\": {median}, \"p99_ms\": {p99}}}");
    Ok(())
}

fn rows(agent: &ureq::Agent, url: &str) -> Outcome<u64> {
    let url = format!("{url}/v1/namespaces/glucose/tables/cgm_readings?snapshots=refs");
    let mut text = String::new();
    agent.get(&url).call()?.body_mut().as_reader().read_to_string(&mut text)?;
    let table: serde_json::Value = serde_json::from_str(&text)?;
    let metadata = &table["metadata"];
    let snapshots = metadata["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
    let current = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == metadata["current-snapshot-id"]);
    let total = current.and_then(|snapshot| snapshot["summary"]["total-records"].as_str());
    Ok(total.map_or(Ok(0), str::parse)?)
}

/// Write, fsync, rename, fsync of the directory: what one durable file costs on this disk.
fn durable(folder: &str, times: usize) -> Outcome<()> {
    let folder = std::path::Path::new(folder);
    let directory = std::fs::File::open(folder)?;
    let mut took = Vec::new();
    for number in 0..times {
        let (from, to) = (folder.join("durable.part"), folder.join(format!("durable-{number}")));
        let begun = Instant::now();
        let mut file = std::fs::File::create(&from)?;
        file.write_all(&[0x5a; 8192])?;
        file.sync_all()?;
        std::fs::rename(&from, &to)?;
        directory.sync_all()?;
        took.push(begun.elapsed());
        std::fs::remove_file(&to)?;
    }
    let (median, p99) = percentiles(&mut took);
    println!("{{\"median_ms\": {median}, \"p99_ms\": {p99}}}");
    Ok(())
}

/// Runs the clients side by side; the first error of any.
fn together(clients: usize, run: impl Fn(usize) -> Outcome<()> + Sync) -> Outcome<()> {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..clients)
            .map(|client| {
                scope.spawn({
                    let run = &run;
                    move || run(client)
                })
            })
            .collect();
        handles.into_iter().try_for_each(|handle| handle.join().map_err(|_| "a client died")?)
    })
}

/// Median and 99th percentile in milliseconds.
fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    (at(50), at(99))
}
