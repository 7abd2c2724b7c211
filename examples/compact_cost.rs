//! What compaction costs on CGM rows (8 columns, random ids, in order of arrival), for `make bench-tables`.
//!
//! `compact_cost LAKECTL` runs each case in a process of its own, on one thread, and prints a Markdown table. Rows a
//! second are of CPU time (user and system) of the step, from planning to the commit; what comes before it is not counted.

#![allow(clippy::disallowed_methods, reason = "it measures time and copies files of its own")]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use iceberg::TableIdent;
use laked::budget::Budget;
use laked::commit::{Append, Committer, NewFile, Outcome};
use laked::contract::shipped;
use laked::daemon::compaction::{Done, Manner, planned, step};
use laked::maintain::compact::{Options, Order};
use laked::read::Predicate;
use laked::sample::cgm;
use laked::write::{Layout, Writer};
use laked_catalog::store::{Store, location_of, path_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Change, CreateTable, Database, Origin, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A table's files and how they are compacted.
struct Case {
    name: &'static str,
    what: &'static str,
    /// Commits, and rows of each.
    appends: usize,
    rows: usize,
    /// Properties while it is written, and while it is compacted.
    written: &'static [(&'static str, &'static str)],
    sorted: bool,
}

const GROUP: &str = "write.parquet.row-group-limit";
const BYTES: &str = "write.parquet.row-group-size-bytes";

const CASES: [Case; 5] = [
    Case {
        name: "bin-pack",
        what: "8 files of small row groups, decoded and encoded",
        appends: 8,
        rows: 600_000,
        written: &[(GROUP, "50000")],
        sorted: false,
    },
    Case { name: "merge", what: "8 sorted files that overlap", appends: 8, rows: 600_000, written: &[], sorted: true },
    Case {
        name: "merge of many",
        what: "240 sorted files that overlap",
        appends: 240,
        rows: 20_000,
        written: &[],
        sorted: true,
    },
    Case {
        name: "copy",
        what: "4 files of one row group, copied",
        appends: 4,
        rows: 1_500_000,
        written: &[(GROUP, "1500000"), (BYTES, "1073741824")],
        sorted: false,
    },
    Case { name: "small", what: "5 small files", appends: 5, rows: 1_000, written: &[], sorted: true },
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [lakectl] => {
            println!("| what | figure |\n|---|---|");
            for case in &CASES {
                let status = Command::new(std::env::current_exe()?).args([lakectl, case.name]).status()?;
                if !status.success() {
                    return Err(format!("{}: {status}", case.name).into());
                }
            }
            Ok(())
        }
        [lakectl, name] => {
            let case = CASES.iter().find(|case| case.name == name).ok_or("no such case")?;
            run(case, lakectl)
        }
        _ => Err("compact_cost LAKECTL".into()),
    }
}

struct Lake {
    folder: tempfile::TempDir,
    catalog: Catalog,
    committer: Committer,
    ident: TableIdent,
}

fn run(case: &Case, lakectl: &str) -> Result<()> {
    let lake = Lake::new(case)?;
    lake.fill(case)?;
    lake.set(case.written.iter().map(|(key, _)| (*key).to_string()).collect())?;
    let copied = if case.name == "copy" { Some(lake.cp()?) } else { None };
    if case.name == "small" {
        return lake.by_lakectl(lakectl, case);
    }
    let (before, began) = (cpu_seconds(), Instant::now());
    let (rows, bytes, rss) = lake.compact()?;
    let (cpu, took) = (cpu_seconds() - before, began.elapsed().as_secs_f64());
    let (name, what, speed) = (case.name, case.what, rows as f64 / cpu / 1e6);
    let megabytes = bytes as f64 / took / 1e6;
    println!("| {name}: {what} | {speed:.2} M rows a second of CPU, {megabytes:.0} MB/s, {rss} at the peak |");
    if let Some(cp) = copied {
        println!(
            "| the same against `cp` and fsync of the files | {:.0} ms against {:.0} ms: {:.0} % |",
            took * 1e3,
            cp * 1e3,
            cp / took * 100.0
        );
    }
    Ok(())
}

impl Lake {
    fn new(case: &Case) -> Result<Lake> {
        let folder = tempfile::tempdir_in(std::env::current_dir()?.join("target"))?;
        let store = Store::local(System::real(), folder.path().join("staging"))?;
        let warehouse = location_of(&folder.path().join("warehouse"))?;
        let database = Database::File(folder.path().join("catalog.db"));
        let catalog = Catalog::open(Settings { database, warehouse }, store.clone())?;
        let committer = Committer::new(catalog.clone(), store, folder.path().join("intents"))?;
        let contract =
            shipped().into_iter().find(|contract| contract.id() == "glucose.cgm_readings").ok_or("shipped")?;
        catalog.create_namespace(contract.ident().namespace(), Default::default())?;
        let create = CreateTable {
            schema: contract.iceberg_schema().clone(),
            spec: None,
            sort_order: case.sorted.then(|| contract.sort_order().clone()),
            location: None,
            properties: case.written.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        };
        let ident = contract.ident().clone();
        catalog.create_table(&ident, create, Origin::Daemon)?;
        Ok(Lake { folder, catalog, committer, ident })
    }

    fn fill(&self, case: &Case) -> Result<()> {
        let users = 600;
        let slots = (case.appends * case.rows / users as usize + 200) as u32;
        let options = cgm::Options {
            users,
            slots,
            order: cgm::Order::Arrival,
            ids: cgm::Ids::Random,
            gaps: 0,
            ..cgm::Options::default()
        };
        let mut batches = cgm::batch::batches(options)?;
        let mut rest: Option<RecordBatch> = None;
        for _ in 0..case.appends {
            let mut wanted = case.rows;
            let mut taken = Vec::new();
            while wanted > 0 {
                let batch = match rest.take() {
                    Some(batch) => batch,
                    None => batches.next().ok_or("too few rows")??,
                };
                let rows = wanted.min(batch.num_rows());
                taken.push(batch.slice(0, rows));
                rest = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
                wanted -= rows;
            }
            self.append(taken)?;
        }
        Ok(())
    }

    fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        let table = self.catalog.load(&self.ident)?;
        let metadata = &table.metadata;
        let store = self.catalog.store().clone();
        let mut writer = Writer::new(Layout::of(metadata)?, store, System::real(), Budget::new(1 << 30));
        batches.into_iter().try_for_each(|batch| writer.write(batch))?;
        let files = writer.seal()?.files.into_iter();
        let append = Append {
            ident: self.ident.clone(),
            expect_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
            files: files.map(|file| NewFile { staged: file.staged, data_file: file.data_file }).collect(),
            marks: Vec::new(),
            retire: Vec::new(),
            summary: Vec::new(),
        };
        match self.committer.commit(vec![append])? {
            Outcome::Committed(_) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Takes the properties away that it was written with.
    fn set(&self, removals: Vec<String>) -> Result<()> {
        let updates = vec![iceberg::TableUpdate::RemoveProperties { removals }];
        let change = Change { ident: self.ident.clone(), requirements: Vec::new(), updates };
        match self.catalog.commit(vec![change], Origin::Daemon) {
            laked_catalog::Outcome::Committed(_) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Rows and bytes that were rewritten, and the peak of resident memory.
    fn compact(&self) -> Result<(u64, u64, String)> {
        // Peaks from here on; what writing took is forgotten.
        std::fs::write("/proc/self/clear_refs", "5")?;
        let options = Options { least_inputs: 2, max_bytes: None, order: Order::OfTable };
        let manner = Manner { options, predicate: Predicate::True, threads: 1, memory: 256 << 20 };
        let table = self.catalog.load(&self.ident)?;
        let commit = |replacement| self.committer.replace(replacement);
        let (store, metadata) = (self.catalog.store(), &table.metadata);
        let planned = planned(store, metadata, &manner)?;
        let stepped = step(store, (&self.ident, metadata), planned, &manner, &commit, &|_, _| {})?;
        match stepped.done.as_slice() {
            [Done::Replaced { after: [_, rows, bytes], .. }] => Ok((*rows, *bytes, peak_rss())),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Seconds that `cp` of the data files takes, and an fsync of each.
    fn cp(&self) -> Result<f64> {
        let table = self.catalog.load(&self.ident)?;
        let files = self.catalog.store().list(&format!("{}/data", table.metadata.location()))?;
        let to = self.folder.path().join("copies");
        std::fs::create_dir(&to)?;
        let began = Instant::now();
        for (number, file) in files.iter().enumerate() {
            let copy = to.join(number.to_string());
            let done = Command::new("cp").arg(path_of(&file.location)?).arg(&copy).status()?;
            if !done.success() {
                return Err("cp failed".into());
            }
            File::open(&copy)?.sync_all()?;
        }
        let took = began.elapsed().as_secs_f64();
        std::fs::remove_dir_all(&to)?;
        Ok(took)
    }

    /// The whole of `lakectl compact`: its start, planning, rewriting, the commit, its end.
    fn by_lakectl(self, lakectl: &str, case: &Case) -> Result<()> {
        let Lake { folder, catalog, committer, ident } = self;
        drop((catalog, committer));
        let mut times: Vec<Duration> = Vec::new();
        for number in 0..9 {
            let copy = folder.path().join(format!("copy-{number}"));
            copy_lake(folder.path(), &copy)?;
            let began = Instant::now();
            let name = format!("{}.{}", ident.namespace().join("."), ident.name());
            let output = Command::new(lakectl).arg("--lake").arg(&copy).args(["compact", &name]).output()?;
            times.push(began.elapsed());
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
        }
        times.sort_unstable();
        let [least, middle, most] = [times[0], times[4], times[8]].map(|time| time.as_secs_f64() * 1e3);
        println!("| {}: `lakectl compact`, end to end, of 9 | {least:.0}, {middle:.0}, {most:.0} ms |", case.what);
        Ok(())
    }
}

/// The lake's database, and its warehouse where it is: the paths in it are absolute, so each run begins with the files and
/// the pointers of the first, and leaves files behind that none of them needs.
fn copy_lake(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for name in ["catalog.db", "catalog.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name))?;
        }
    }
    Ok(())
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a command").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_rss() -> String {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let kilobytes =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.map_or("?".to_owned(), |kilobytes| format!("{} MB", kilobytes / 1000))
}
