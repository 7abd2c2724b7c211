//! Loads a catalog for `make bench-catalog` (`tests/bench/catalog.py`), and prints rows of a Markdown table.
//!
//! `catalog_load all LAKED FOLDER` starts that binary on a lake in that folder and measures everything, `commits` in the
//! place of `all` only commits; `catalog_load at ADDRESS FOLDER` measures loads and commits of what listens there.
//!
//! Loads are closed loop (each connection asks again when it is answered) but where it says open loop: there a request is
//! due at a fixed time, and waits count from then, whether or not a connection was free.

#![allow(clippy::disallowed_methods, reason = "a client that measures time and writes files of its own")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "catalog_load all|commits LAKED FOLDER, or catalog_load at ADDRESS FOLDER";
    let [what, whom, folder] = arguments.as_slice() else { return Err(usage.into()) };
    let folder = Path::new(folder);
    match what.as_str() {
        "all" => all(Path::new(whom), folder),
        "commits" => {
            let (daemon, _) = Daemon::start(Path::new(whom), folder)?;
            daemon.connect()?.done("POST", "namespaces", r#"{"namespace":["n"]}"#)?;
            commits(&daemon, folder)
        }
        "at" => {
            let daemon = Daemon { child: None, address: whom.clone() };
            prepare(&daemon)?;
            loads(&daemon)?;
            commits(&daemon, folder)
        }
        _ => Err(usage.into()),
    }
}

fn all(laked: &Path, folder: &Path) -> Outcome<()> {
    let (daemon, _) = Daemon::start(laked, folder)?;
    prepare(&daemon)?;
    loads(&daemon)?;
    commits(&daemon, folder)?;
    row("resident memory after that", format!("{} MB", daemon.resident()?));
    large(&daemon)?;
    row("resident memory after that", format!("{} MB", daemon.resident()?));
    many(&daemon)?;
    row("resident memory with 10,000 tables", format!("{} MB", daemon.resident()?));
    drop(daemon);
    let (daemon, took) = Daemon::start(laked, folder)?;
    row("restart with 10,000 tables, until it listens", format!("{:.2} s", took.as_secs_f64()));
    row("resident memory after the restart", format!("{} MB", daemon.resident()?));
    Ok(())
}

fn row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

struct Daemon {
    /// None for somebody else's.
    child: Option<Child>,
    address: String,
}

impl Daemon {
    /// Starts it and waits until it says where it listens.
    fn start(laked: &Path, folder: &Path) -> Outcome<(Daemon, Duration)> {
        let (lake, schemas) = (folder.join("lake"), folder.join("schemas"));
        std::fs::create_dir_all(&schemas)?;
        let began = Instant::now();
        let mut child = Command::new(laked)
            .args(["--allow-location", "file:///lake", "--listen", "127.0.0.1:0", "--lake"])
            .arg(lake)
            .arg("--schemas")
            .arg(schemas)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let line = log.by_ref().map_while(Result::ok).find(|line| line.contains("listening on http://"));
        let took = began.elapsed();
        std::thread::spawn(move || log.for_each(drop));
        let line = line.ok_or("it ended before it listened")?;
        let address: String = line
            .rsplit("http://")
            .next()
            .unwrap_or_default()
            .chars()
            .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
            .collect();
        Ok((Daemon { child: Some(child), address }, took))
    }

    fn connect(&self) -> Outcome<Connection> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), body: Vec::new() })
    }

    fn resident(&self) -> Outcome<u64> {
        let child = self.child.as_ref().ok_or("somebody else's process")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
    }
}

impl Daemon {
    /// What it has used: hundredths of seconds are the ticks of `/proc`.
    fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.as_ref()?.id())).ok()?;
        let ticks = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Some(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>().ok()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// A connection that is kept open.
struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    /// Sends a request; gives the status and the ETag, and keeps the body.
    fn ask(&mut self, method: &str, path: &str, header: &str, body: &str) -> Outcome<(u16, String)> {
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length, mut etag) = (0, Some(0), String::new());
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(' ').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "http/1.1" => status = value.get(..3).unwrap_or_default().parse()?,
                "content-length:" => length = Some(value.parse()?),
                "transfer-encoding:" => length = None,
                "etag:" => etag = value.to_string(),
                _ => {}
            }
        }
        self.body.clear();
        match length {
            Some(length) => self.take_in(length)?,
            None => self.take_in_chunks()?,
        }
        Ok((status, etag))
    }

    fn take_in(&mut self, length: usize) -> Outcome<()> {
        let begin = self.body.len();
        self.body.resize(begin + length, 0);
        Ok(self.stream.read_exact(&mut self.body[begin..])?)
    }

    fn take_in_chunks(&mut self) -> Outcome<()> {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim_end(), 16)?;
            self.take_in(length)?;
            self.stream.read_line(&mut line)?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn done(&mut self, method: &str, path: &str, body: &str) -> Outcome<()> {
        match self.ask(method, path, "", body)? {
            (200 | 204, _) => Ok(()),
            (status, _) => Err(format!("{path}: {status} {}", String::from_utf8_lossy(&self.body)).into()),
        }
    }
}

fn new_table(name: &str, columns: usize) -> String {
    let fields: Vec<String> = (1..=columns)
        .map(|id| format!(r#"{{"id":{id},"name":"column_{id}","required":false,"type":"long"}}"#))
        .collect();
    format!(r#"{{"name":"{name}","schema":{{"type":"struct","fields":[{}]}}}}"#, fields.join(","))
}

/// An update that adds snapshots and sets `main` to the last.
fn snapshots(from: u64, count: u64) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
    let mut updates = String::new();
    for id in from + 1..=from + count {
        let parent = if id > 1 { format!(r#""parent-snapshot-id":{},"#, id - 1) } else { String::new() };
        let _ = write!(
            updates,
            r#"{{"action":"add-snapshot","snapshot":{{"snapshot-id":{id},{parent}"sequence-number":{id},"timestamp-ms":{now},"manifest-list":"file:///lake/warehouse/n/t/metadata/snap-{id}-1-0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000.avro","summary":{{"operation":"append","added-data-files":"1","added-records":"1000","added-files-size":"123456","changed-partition-count":"1","total-records":"1000000","total-files-size":"123456789","total-data-files":"1000","total-delete-files":"0","total-position-deletes":"0","total-equality-deletes":"0"}},"schema-id":0}}}},"#
        );
    }
    let last = from + count;
    format!(
        r#"{{"requirements":[],"updates":[{updates}{{"action":"set-snapshot-ref","ref-name":"main","type":"branch","snapshot-id":{last}}}]}}"#
    )
}

fn prepare(daemon: &Daemon) -> Outcome<()> {
    let mut client = daemon.connect()?;
    client.done("POST", "namespaces", r#"{"namespace":["n"]}"#)?;
    client.done("POST", "namespaces", r#"{"namespace":["many"]}"#)?;
    client.done("POST", "namespaces/n/tables", &new_table("t", 20))?;
    client.done("POST", "namespaces/n/tables/t", &snapshots(0, 160))?;
    client.done("GET", "namespaces/n/tables/t", "")?;
    row("the table that is loaded", format!("{} KB of metadata", client.body.len() / 1000));
    Ok(())
}

/// Waits, in order of length.
struct Waits(Vec<Duration>);

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        Self(waits)
    }

    fn at(&self, part: f64) -> Duration {
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("p50 {}, p99 {}", ms(self.at(0.5)), ms(self.at(0.99)))
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Each of so many threads does `work` on a connection of its own, which gives its waits.
fn side_by_side(
    daemon: &Daemon,
    count: usize,
    work: impl Fn(usize, &mut Connection) -> Outcome<Vec<Duration>> + Sync,
) -> Outcome<(Waits, Duration)> {
    let mut connections: Vec<Connection> = (0..count).map(|_| daemon.connect()).collect::<Outcome<_>>()?;
    let began = Instant::now();
    let waits = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            connections.iter_mut().enumerate().map(|(n, c)| scope.spawn(move || work(n, c))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        Outcome::Ok(all)
    })?;
    Ok((Waits::of(waits), began.elapsed()))
}

/// Asks again and again for so long.
fn closed(time: Duration, mut ask: impl FnMut(usize) -> Outcome<()>) -> Outcome<Vec<Duration>> {
    let (began, mut waits) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let asked = Instant::now();
        ask(waits.len())?;
        waits.push(asked.elapsed());
    }
    Ok(waits)
}

/// 1,000 requests a second over 64 connections for ten seconds, each due at its time.
fn open_loop(daemon: &Daemon, header: &str, expected: u16) -> Outcome<Waits> {
    let began = Instant::now() + Duration::from_millis(100);
    let (waits, _) = side_by_side(daemon, 64, |n, client| {
        let mut waits = Vec::new();
        for request in (n..10_000).step_by(64) {
            let due = began + Duration::from_micros(1000 * request as u64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (status, _) = client.ask("GET", "namespaces/n/tables/t", header, "")?;
            if status != expected {
                return Err(format!("{status} instead of {expected}").into());
            }
            waits.push(due.elapsed());
        }
        Ok(waits)
    })?;
    Ok(waits)
}

fn loads(daemon: &Daemon) -> Outcome<()> {
    // Somebody else's may be slow to begin with.
    if daemon.child.is_none() {
        side_by_side(daemon, 16, |_, client| {
            closed(Duration::from_secs(10), |_| client.done("GET", "namespaces/n/tables/t", ""))
        })?;
    }
    for connections in [1, 64, 512] {
        let (waits, took) = side_by_side(daemon, connections, |_, client| {
            closed(Duration::from_secs(5), |_| client.done("GET", "namespaces/n/tables/t", ""))
        })?;
        let rate = waits.0.len() as f64 / took.as_secs_f64();
        row(&format!("loadTable, {connections} connections"), format!("{}, {rate:.0} a second", waits.text()));
    }
    row("loadTable, 1,000 a second, open loop, 64 connections", open_loop(daemon, "", 200)?.text());
    let (_, etag) = daemon.connect()?.ask("GET", "namespaces/n/tables/t", "", "")?;
    if etag.is_empty() {
        return Ok(());
    }
    let held = format!("If-None-Match: {etag}\r\n");
    row("the same, If-None-Match (304)", open_loop(daemon, &held, 304)?.text());
    Ok(())
}

/// A durable file: written, synced, named, its folder synced.
fn durable(folder: &Path) -> Outcome<Waits> {
    let bytes = vec![b'x'; 4096];
    let waits = closed(Duration::from_secs(3), |n| {
        let (temporary, path) = (folder.join("t"), folder.join(format!("d{n}")));
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    })?;
    Ok(Waits::of(waits))
}

fn set(client: &mut Connection, table: &str, n: usize) -> Outcome<()> {
    let updates = format!(r#"[{{"action":"set-properties","updates":{{"v":"{n}"}}}}]"#);
    client.done(
        "POST",
        &format!("namespaces/n/tables/{table}"),
        &format!(r#"{{"requirements":[],"updates":{updates}}}"#),
    )
}

fn commits(daemon: &Daemon, folder: &Path) -> Outcome<()> {
    let mut client = daemon.connect()?;
    for n in 0..100 {
        client.done("POST", "namespaces/n/tables", &new_table(&format!("c{n}"), 20))?;
    }
    let scratch = folder.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let disk = durable(&scratch)?.at(0.5);
    row("one durable file of 4 KB: write, fsync, rename, fsync the folder", format!("p50 {}", ms(disk)));
    let mut alone = 0.0;
    for (tables, clients) in [(1, 1), (1, 16), (16, 16), (100, 100)] {
        let (before, lost) = (daemon.cpu().unwrap_or_default(), AtomicU64::new(0));
        let (waits, took) = side_by_side(daemon, clients, |n, client| {
            closed(Duration::from_secs(5), |at| {
                loop {
                    match set(client, &format!("c{}", n % tables), at) {
                        // Others may refuse who came second, instead of letting him wait.
                        Err(_) if daemon.child.is_none() => lost.fetch_add(1, Ordering::Relaxed),
                        answered => return answered,
                    };
                }
            })
        })?;
        let rate = waits.0.len() as f64 / took.as_secs_f64();
        if clients == 1 {
            alone = rate;
        }
        let beside = match clients {
            1 => format!("{:.2} durable files", waits.at(0.5).as_secs_f64() / disk.as_secs_f64()),
            _ => format!("{:.1} times one client's rate", rate / alone),
        };
        let cpu = daemon.cpu().map_or(String::new(), |cpu| {
            format!(", {:.2} ms of CPU each", (cpu - before).as_secs_f64() * 1000.0 / waits.0.len() as f64)
        });
        let lost = match lost.into_inner() {
            0 => String::new(),
            lost => format!(", after {lost} refusals"),
        };
        let what = format!("commits, {tables} tables, {clients} clients");
        row(&what, format!("{}, {rate:.0} a second, {beside}{cpu}{lost}", waits.text()));
    }
    Ok(())
}

fn large(daemon: &Daemon) -> Outcome<()> {
    let mut client = daemon.connect()?;
    client.done("POST", "namespaces/n/tables", &new_table("large", 100))?;
    for batch in 0..20 {
        client.done("POST", "namespaces/n/tables/large", &snapshots(batch * 500, 500))?;
    }
    let loads = Waits::of(closed(Duration::from_secs(3), |_| client.done("GET", "namespaces/n/tables/large", ""))?);
    let size = client.body.len() as f64 / 1e6;
    row(&format!("10,000 snapshots, 100 columns ({size:.1} MB): loadTable"), loads.text());
    let refs = closed(Duration::from_secs(3), |_| client.done("GET", "namespaces/n/tables/large?snapshots=refs", ""))?;
    row("the same, snapshots=refs", Waits::of(refs).text());
    let commits = Waits::of(closed(Duration::from_secs(3), |n| set(&mut client, "large", n))?);
    row("the same: commit", commits.text());
    Ok(())
}

fn many(daemon: &Daemon) -> Outcome<()> {
    let (waits, took) = side_by_side(daemon, 32, |n, client| {
        let names = (n..10_000).step_by(32).map(|table| format!("t{table:05}"));
        names
            .map(|name| {
                let began = Instant::now();
                client.done("POST", "namespaces/many/tables", &new_table(&name, 5))?;
                Ok(began.elapsed())
            })
            .collect()
    })?;
    row("10,000 tables made by 32 clients", format!("{:.0} a second, {}", 10_000.0 / took.as_secs_f64(), waits.text()));
    let mut client = daemon.connect()?;
    let lists = Waits::of(closed(Duration::from_secs(3), |_| client.done("GET", "namespaces/many/tables", ""))?);
    row("10,000 tables listed", lists.text());
    Ok(())
}
