//! What becomes of a table that takes a commit a second for a week: its `metadata.json`, its commits, its manifests.
//!
//! `cargo run --release --example week_cost -- [DAYS [FOLDER [MINUTES]]]`: 7 days, in a temporary folder of the current one,
//! an expiry every minute, which is what the daemon does by itself. A week is 604,800 commits, which a folder in memory (`/dev/shm`) makes in minutes.
//!
//! The table is made as from the shipped contract, its properties with it, and its clock is set forward a second before
//! each commit of one file. Expiries go by the table's own ladder and unlink what is due by then. The data files
//! themselves are removed at once: nothing here reads them. Figures are of real time. A row is printed for each day, and at
//! last the first hour beside the last.

#![allow(clippy::disallowed_methods, reason = "it looks at files of its own")]

#[path = "shared/appended.rs"]
mod appended;
#[path = "shared/readings.rs"]
mod readings;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use iceberg::spec::ManifestList;
use laked::contract::{Contract, property, shipped};
use laked::error::{Error, Kind, Result};
use laked::maintain::expire::{Request, expire_with};
use laked::maintain::reach::Reach;
use laked_catalog::CreateTable;
use laked_catalog::store::path_of;
use laked_catalog::system::{Clock, System};

use appended::Appended;
use readings::{COUNTRIES, Readings};

/// 2025-03-03T00:00:00Z, a Monday.
const MONDAY_MS: i64 = 1_740_960_000_000;
/// Its month, from 1970 on.
const MONTH: i32 = (2025 - 1970) * 12 + 2;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The wall's time is set, the rest is the machine's.
#[derive(Debug)]
struct SetClock {
    now_ms: AtomicI64,
    machine: Arc<dyn Clock>,
}

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    fn pause(&self, time: Duration) {
        self.machine.pause(time);
    }
}

/// What was measured in a stretch of time; times in microseconds.
#[derive(Default)]
struct Stretch {
    commits: Vec<u128>,
    expiries: Vec<u128>,
    /// The largest `metadata.json`, in bytes.
    largest: u64,
    snapshots: usize,
}

impl Stretch {
    fn row(mut self, name: &str, manifests: usize, kept: [u64; 2]) -> String {
        self.commits.sort_unstable();
        self.expiries.sort_unstable();
        let at = |times: &[u128], part: f64| {
            let last = times.len().saturating_sub(1);
            times.get((last as f64 * part).round() as usize).map_or(0.0, |&us| us as f64 / 1000.0)
        };
        format!(
            "| {name} | {:.2} ms | {:.2} ms | {} kB | {} | {manifests} | {:.0} ms | {} files, {} MB |",
            at(&self.commits, 0.5),
            at(&self.commits, 0.99),
            self.largest / 1000,
            self.snapshots,
            at(&self.expiries, 0.5),
            kept[0],
            kept[1] / 1_000_000,
        )
    }
}

struct Week {
    table: Appended,
    clock: Arc<SetClock>,
    summary: Vec<(String, String)>,
    /// Seconds between expiries.
    every: u64,
    /// What the last expiry has read.
    reach: Reach,
}

impl Week {
    fn new(dir: &Path, contract: &Contract, every: u64) -> Result<Week> {
        let machine = System::real();
        let clock = Arc::new(SetClock { now_ms: AtomicI64::new(MONDAY_MS), machine: machine.clock.clone() });
        let system = System { clock: clock.clone(), ..machine };
        let create = CreateTable {
            schema: contract.iceberg_schema().clone(),
            spec: Some(contract.partition_spec().clone()),
            sort_order: Some(contract.sort_order().clone()),
            location: None,
            properties: contract.properties(),
        };
        let table = Appended::create(dir, system, contract.ident(), create)?;
        let summary = vec![(property::HASH.to_string(), contract.hash().to_string())];
        Ok(Week { table, clock, summary, every, reach: Reach::default() })
    }

    /// The next second's commit, and an expiry if it is time.
    fn second(&mut self, measured: &mut [&mut Stretch]) -> Result<()> {
        let second = self.table.commits;
        let now_ms = self.clock.now_ms.fetch_add(1000, Ordering::Relaxed);
        let location = self.table.next_location();
        let country = COUNTRIES[second as usize % COUNTRIES.len()];
        let users = [second as usize % 990, second as usize % 990 + 9];
        let times = [(now_ms - 1000) * 1000, now_ms * 1000];
        let file =
            Readings { country, month: MONTH, users, times, rows: 1000, bytes: 30_000 }.file(location.clone())?;
        let took = self.table.commit(file, &[], self.summary.clone())?;
        std::fs::remove_file(path_of(&location)?)?;
        let (table, length) = self.table.now()?;
        for stretch in measured.iter_mut() {
            stretch.commits.push(took);
            stretch.largest = stretch.largest.max(length);
            stretch.snapshots = stretch.snapshots.max(table.metadata.snapshots().len());
        }
        if (second + 1).is_multiple_of(self.every) {
            let (table, reach) = (&self.table, &mut self.reach);
            let expire = || expire_with(&table.catalog, &table.table.ident, &Request::default(), reach).map(drop);
            let took = table.timed(expire)?;
            measured.iter_mut().for_each(|stretch| stretch.expiries.push(took));
        }
        Ok(())
    }

    fn manifests(&self) -> Result<usize> {
        let (table, _) = self.table.now()?;
        let Some(snapshot) = table.metadata.current_snapshot() else { return Ok(0) };
        let bytes = self.table.store.read(snapshot.manifest_list())?;
        let list = ManifestList::parse_with_version(&bytes, table.metadata.format_version())
            .map_err(|error| Error::new(Kind::Corrupt, "a manifest list").because(error))?;
        Ok(list.entries().len())
    }

    /// Files and bytes of the folder of metadata.
    fn folder(&self) -> Result<[u64; 2]> {
        let folder = path_of(self.table.table.metadata.location())?.join("metadata");
        let mut sums = [0, 0];
        for entry in std::fs::read_dir(folder)? {
            sums = [sums[0] + 1, sums[1] + entry?.metadata()?.len()];
        }
        Ok(sums)
    }
}

fn main() -> Result<()> {
    let argument = |number: usize| std::env::args().nth(number);
    let days: u64 = argument(1).and_then(|text| text.parse().ok()).unwrap_or(7);
    let folder = argument(2).map_or_else(std::env::current_dir, |text| Ok(text.into()))?;
    let minutes: u64 = argument(3).and_then(|text| text.parse().ok()).filter(|&minutes| minutes > 0).unwrap_or(1);
    let dir = tempfile::tempdir_in(folder)?;
    let contract = shipped().into_iter().find(|contract| contract.id() == "glucose.cgm_readings");
    let contract = contract.ok_or_else(|| Error::new(Kind::Internal, "a shipped contract is gone"))?;
    let mut week = Week::new(dir.path(), &contract, minutes * 60)?;
    println!(
        "| {days} days, an expiry every {minutes} min | commit, median | p99 | metadata.json, most | snapshots, most | manifests | expiry, median | metadata folder |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (mut rows, mut day, mut hour) = (Vec::new(), Stretch::default(), Stretch::default());
    for second in 1..=days * DAY {
        week.second(&mut [&mut day, &mut hour])?;
        if second.is_multiple_of(HOUR) {
            let stretch = std::mem::take(&mut hour);
            if second == HOUR || second == days * DAY {
                let name = if second == HOUR { "the first hour" } else { "the last hour" };
                rows.push(stretch.row(name, week.manifests()?, week.folder()?));
            }
        }
        if second.is_multiple_of(DAY) {
            let row = std::mem::take(&mut day).row(&format!("day {}", second / DAY), week.manifests()?, week.folder()?);
            println!("{row}");
        }
    }
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}
