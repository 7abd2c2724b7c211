//! The doors of a running daemon, as its senders see them: what goes in, what is answered, what is left behind.

#![allow(clippy::disallowed_methods, reason = "a sender is no part of the product")]

mod answers;
mod bodies;
mod forms;
mod health;
mod inbox;
mod keys;
mod lakectl;
mod quarantine;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::kit::daemon::{Answer, Daemon, get, lakectl, post};
use crate::kit::readings::{Readings, TABLE};

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const CSV: (&str, &str) = ("Content-Type", "text/csv");

/// A lake of one table, and the daemon that serves it.
struct Lake {
    folder: Readings,
    flags: Vec<String>,
    settings: Vec<(String, String)>,
    daemon: Daemon,
}

impl Lake {
    /// A new lake; `settings` as variables, `("HTTP_BODY_MOST", "1KiB")`.
    fn new(settings: &[(&str, &str)]) -> Lake {
        Lake::with(&[], settings)
    }

    /// The same with flags, which the daemon keeps.
    fn with(flags: &[&str], settings: &[(&str, &str)]) -> Lake {
        let settings = settings.iter().map(|(name, value)| (format!("LAKED_{name}"), (*value).to_owned())).collect();
        let flags = flags.iter().map(ToString::to_string).collect();
        Lake::start(Readings::new(), flags, settings)
    }

    fn start(folder: Readings, flags: Vec<String>, settings: Vec<(String, String)>) -> Lake {
        let mut command = folder.served();
        command.args(&flags).envs(settings.iter().cloned());
        if flags.is_empty() {
            command.args(["--commit-age", "200ms"]);
        }
        let daemon = Daemon::spawn(command).expect("the daemon starts");
        Lake { folder, flags, settings, daemon }
    }

    /// The lake's folder.
    fn path(&self) -> PathBuf {
        self.folder.lake()
    }

    /// Kills the daemon and starts another.
    fn killed(self) -> Lake {
        let Lake { folder, flags, settings, daemon } = self;
        drop(daemon);
        Lake::start(folder, flags, settings)
    }

    /// Stops the daemon as its supervisor does, and starts another.
    fn stopped(self) -> Lake {
        let Lake { folder, flags, settings, daemon } = self;
        assert!(daemon.stop(), "it drains and ends well");
        Lake::start(folder, flags, settings)
    }

    /// The door's URL; `query` as `?wait=committed`.
    fn door(&self, query: &str) -> String {
        format!("{}/ingest/probe/readings{query}", self.daemon.url)
    }

    /// Sends a body.
    fn send(&self, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        post(&self.door(query), headers, body).expect("an answer")
    }

    /// Drops a file into the inbox as a careful writer does: under another name first.
    fn drop(&self, name: &str, bytes: &[u8]) {
        let written = self.folder.path().join(name);
        fs::write(&written, bytes).expect("writes");
        fs::rename(written, self.inbox().join(name)).expect("the inbox is there");
    }

    /// The folder that files are dropped into.
    fn inbox(&self) -> PathBuf {
        self.path().join("inbox").join(TABLE)
    }

    /// What files lie in a folder of the lake beside the inbox, in order.
    fn names(&self, folder: &str) -> Vec<String> {
        let listed = fs::read_dir(self.path().join(folder).join(TABLE)).expect("a folder");
        let names = listed.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<_> = names.filter(|name| name != ".seen.json").collect();
        names.sort();
        names
    }

    /// Waits until so many files were taken in, or set aside as duplicates.
    fn await_filed(&self, count: usize) {
        let filed = || ["done", "duplicate"].map(|folder| self.names(folder).len()).iter().sum::<usize>();
        self.daemon.until(&format!("{count} files were taken in"), || filed() >= count);
    }

    /// Waits for a commit to the table.
    fn await_commit(&self) {
        self.daemon.await_log("committed table=\"probe.readings\"");
    }

    /// What `lakectl` prints.
    fn lakectl(&self, words: &[&str]) -> String {
        lakectl(&[&["--url", self.daemon.url.as_str()], words].concat())
    }

    /// The metrics in Prometheus' form.
    fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.daemon.url)).expect("an answer").body
    }

    /// A query's answer as CSV without its header.
    fn query(&self, sql: &str) -> String {
        let text = self.lakectl(&["query", "--format", "csv", sql]);
        text.split_once('\n').expect("a header").1.to_owned()
    }

    /// The numbers in the table, in order.
    fn numbers(&self) -> Vec<u64> {
        let found = self.query(&format!("select n from {TABLE} order by n"));
        found.lines().map(|line| line.parse().expect("a number")).collect()
    }
}

/// A record of the table.
fn record(n: u64) -> String {
    format!("{{\"n\":{n},\"place\":\"{}\"}}\n", ["TW", "JP"][n as usize % 2])
}

fn records(numbers: std::ops::Range<u64>) -> String {
    numbers.map(record).collect()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

/// Holds an answer to be a problem (RFC 9457) of this status and type whose detail has these words.
fn is_problem(answer: &Answer, status: u16, slug: &str, words: &str) {
    let problem = json(answer);
    assert_eq!((answer.status, &problem["status"]), (status, &status.into()), "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem["type"], format!("urn:laked:problem:{slug}"));
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{words}: {problem}");
}
