//! `lakectl demo`, which `make run` calls: a daemon on an empty lake, a sample fed through both doors, queries.
//!
//! The demo is a client like any other. It starts the `laked` beside it, drops files into the inbox, posts the rest,
//! and learns from the REST catalog what became visible: nothing it shows is its own bookkeeping but what it sent.
//! The daemon gets a process group of its own, so that Ctrl-C reaches the demo alone, which then lets it drain.

mod attach;
mod feed;
mod lake;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use clap::Args;
use laked_catalog::system::System;

use self::feed::Sent;
use self::lake::{Daemon, Seen};
use crate::error::{Error, Kind, Result};
use crate::sample::cgm;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(500);
/// The demo gives up when nothing has become visible for this long.
const STALLED: Duration = Duration::from_secs(60);

/// Start a lake, feed it a sample through inbox and HTTP, query it, and serve until Ctrl-C.
#[derive(Args, Debug)]
pub struct Demo {
    /// Folder of the lake: missing or empty, or an earlier demo's.
    #[arg(long, default_value = "lake")]
    lake: PathBuf,
    /// Where the daemon listens.
    #[arg(long, default_value = "127.0.0.1:8181")]
    listen: String,
    /// Users of the sample; 500 make 966,799 readings.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    users: u32,
    /// Use a lake that is not empty as it is: feed nothing.
    #[arg(long)]
    keep: bool,
    /// End after the queries instead of serving.
    #[arg(long)]
    once: bool,
}

/// Stops the demo early: Ctrl-C.
struct Stop(Receiver<()>);

impl Demo {
    /// Runs the demo to its end.
    pub fn run(self) -> Result<()> {
        let system = System::real();
        let stop = Stop::on_interrupt()?;
        let fresh = lake::claim(&system, &self.lake, self.keep)?;
        say(&format!("Starting laked on {} at http://{}", self.lake.display(), self.listen));
        let daemon = Daemon::start(&self.lake, &self.listen, &stop)?;
        let ended = self.show(&system, &daemon, fresh, &stop);
        say("Stopping: the daemon finishes what it has begun.");
        daemon.stop()?;
        ended
    }

    fn show(&self, system: &System, daemon: &Daemon, fresh: bool, stop: &Stop) -> Result<()> {
        if fresh {
            self.feed(system, daemon, stop)?;
            lake::mark_fed(system, &self.lake)?;
        } else {
            say("The lake has rows already: nothing is fed.");
        }
        queries(daemon)?;
        say(&attach::lines(&daemon.url, &self.lake));
        if self.once {
            return Ok(());
        }
        say("\nServing until Ctrl-C.");
        daemon.serve(stop)
    }

    fn feed(&self, system: &System, daemon: &Daemon, stop: &Stop) -> Result<()> {
        let options =
            cgm::Options { users: self.users, order: cgm::Order::Arrival, bad: 1000, ..cgm::Options::default() };
        let (send, sent) = mpsc::channel();
        let (disk, lake, url) = (system.disk.clone(), self.lake.clone(), daemon.url.clone());
        let feeding = std::thread::spawn(move || feed::run(&*disk, &lake, &url, options, &send));
        let watched = watch(system, daemon, &sent, stop);
        drop(sent);
        let fed = feeding.join().map_err(|_| Error::new(Kind::Internal, "the feeding thread ended early"))?;
        // A failed feed is the cause of a stalled watch.
        fed.and(watched)
    }
}

/// Shows what is sent and what is visible until they meet.
fn watch(system: &System, daemon: &Daemon, sent: &Receiver<Sent>, stop: &Stop) -> Result<()> {
    let begun = system.clock.monotonic();
    let (mut total, mut moved, mut before) = (Sent::default(), begun, Seen::default());
    let mut asked = false;
    loop {
        let over = drain(sent, &mut total);
        let seen = daemon.seen()?;
        let now = system.clock.monotonic();
        if seen != before {
            (before, moved) = (seen, now);
        }
        progress(&total, &seen, now - begun, daemon.lag()?);
        if !asked && !over && seen.rows > 0 {
            asked = true;
            ask(daemon, "While rows come in", WHILE)?;
        }
        if over && seen.rows >= total.accepted {
            let seconds = (now - begun).as_secs_f64();
            say(&format!(
                "\n{} readings in {} commits, visible after {seconds:.1} s; {} refused records are in quarantine.",
                grouped(seen.rows),
                seen.commits,
                grouped(total.refused),
            ));
            return Ok(());
        }
        if now - moved > STALLED {
            return Err(Error::new(
                Kind::Unavailable,
                "nothing became visible for a minute: see the daemon's log above",
            )
            .with("sent", total.accepted)
            .with("visible", seen.rows));
        }
        stop.wait(TICK)?;
    }
}

/// Takes what the feeding thread reported; true once it has ended.
fn drain(sent: &Receiver<Sent>, total: &mut Sent) -> bool {
    loop {
        match sent.try_recv() {
            Ok(more) => total.add(more),
            Err(mpsc::TryRecvError::Empty) => return false,
            Err(mpsc::TryRecvError::Disconnected) => return true,
        }
    }
}

fn progress(sent: &Sent, seen: &Seen, since: Duration, lag: f64) {
    let rate = seen.rows as f64 / since.as_secs_f64().max(0.001);
    let line = format!(
        "  {:>9} rows   {:>7.0} rows/s   {:>3} commits   {:>9} on their way   lag {lag:.1} s ",
        grouped(seen.rows),
        rate,
        seen.commits,
        grouped(sent.accepted.saturating_sub(seen.rows)),
    );
    let mut out = io::stdout();
    let end = if out.is_terminal() { "\r" } else { "\n" };
    let _ = write!(out, "{line}{end}").and_then(|()| out.flush());
}

/// Asked in the middle of ingestion.
const WHILE: &str = "SELECT country, month(\"timestamp\") AS month, count(*) AS readings FROM glucose.cgm_readings GROUP \
                     BY ALL ORDER BY ALL";

/// Answers a few questions by the embedded engine: `lakectl query`, as anyone would call it.
fn queries(daemon: &Daemon) -> Result<()> {
    const QUESTIONS: [(&str, &str); 3] = [
        (
            "Glucose by country, and the share of readings from 70 to 180 mg/dl",
            "SELECT country, count(*) AS readings, count(DISTINCT user_id) AS users, round(avg(glucose_mg_dl), 1) AS \
             mean, round(100 * avg((glucose_mg_dl BETWEEN 70 AND 180)::INT), 1) AS in_range FROM \
             glucose.cgm_readings GROUP BY country ORDER BY readings DESC",
        ),
        (
            "The hours of the day when glucose is highest",
            "SELECT hour(\"timestamp\") AS hour_utc, round(avg(glucose_mg_dl), 1) AS mean FROM glucose.cgm_readings \
             GROUP BY hour_utc ORDER BY mean DESC LIMIT 3",
        ),
        ("Records that broke the contract", "SELECT count(*) AS refused FROM glucose.cgm_readings__rejected"),
    ];
    QUESTIONS.iter().try_for_each(|(question, sql)| ask(daemon, question, sql))
}

fn ask(daemon: &Daemon, question: &str, sql: &str) -> Result<()> {
    say(&format!("\n{question}\n  {sql}"));
    let lakectl = std::env::current_exe()?;
    let status = Command::new(&lakectl).args(["query", sql]).env("LAKECTL_URL", &daemon.url).status()?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(Kind::Unavailable, "a query of the demo failed: see above").with("sql", sql))
}

impl Stop {
    fn on_interrupt() -> Result<Self> {
        let (send, receive) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || while runtime.block_on(tokio::signal::ctrl_c()).is_ok() && send.send(()).is_ok() {});
        Ok(Self(receive))
    }

    /// Waits; an interrupt ends the wait with an error.
    fn wait(&self, most: Duration) -> Result<()> {
        match self.0.recv_timeout(most) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Error::new(Kind::Unavailable, "interrupted: run it again")),
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// `966,799`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1_000, 966_799, 1_079_888].map(super::grouped);
        assert_eq!(texts, ["0", "999", "1,000", "966,799", "1,079,888"]);
    }
}
