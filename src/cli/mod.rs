//! `lakectl`: arguments are resolved once, then one file a verb does the work.
//!
//! Standard output is data, standard error is talk. Exit codes: 0 done, 1 failed, 2 the request or the configuration is
//! wrong and nothing was changed.

mod apply;
mod audit;
mod catalog;
mod change;
mod cherry_pick;
mod compact;
pub mod contract;
pub mod demo;
mod doctor;
mod erase;
mod evolve;
mod expire;
mod explain;
mod health;
mod ingest;
mod inspect;
mod maintenance;
mod moving;
mod orphans;
mod output;
mod publish;
mod quarantine;
mod query;
mod refs;
mod rewrite_manifests;
mod rewriting;
pub mod sample;
mod schema;
mod table;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use laked_catalog::system::System;

use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::remote::Remote;

/// Admin tool for a lake of Apache Iceberg tables kept by `laked`.
///
/// It speaks to a running daemon (--url, or LAKECTL_URL), or opens a lake's directory itself (--lake).
#[derive(Parser, Debug)]
#[command(name = "lakectl", version, max_term_width = 110)]
pub struct Lakectl {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args, Debug)]
struct Place {
    /// The running daemon.
    #[arg(long, global = true, env = "LAKECTL_URL", default_value = "http://127.0.0.1:8181")]
    url: String,
    /// A lake's directory, opened by lakectl itself.
    #[arg(long, global = true, value_name = "DIR")]
    lake: Option<PathBuf>,
    /// A file that holds the token to send; else the variable LAKECTL_TOKEN does.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) of whom an https daemon's is believed from, in place of the usual ones.
    #[arg(long, global = true, value_name = "FILE", env = "LAKECTL_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

impl Place {
    fn source(&self) -> Result<Source> {
        if let Some(folder) = &self.lake {
            return Ok(Source::Lake(folder.clone()));
        }
        let disk = System::real().disk;
        let read = |path: &PathBuf| disk.read(path).map_err(|error| Error::from(error).with("file", path.display()));
        let file = self.token_file.as_ref().map(read).transpose()?;
        let token = token::of_call(file.as_deref(), std::env::var("LAKECTL_TOKEN").ok())?;
        let authorities = self.ca_file.as_ref().map(read).transpose()?;
        Ok(Source::Daemon(Remote::new(&self.url, token.as_ref(), authorities.as_deref())?))
    }
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Answer SQL with embedded DuckDB; tables go by their names.
    #[command(
        after_help = "Example:\n  lakectl query \"select country, count(*) from glucose.cgm_readings group by 1\""
    )]
    Query(query::Query),
    /// List tables, or show one: its schema, layout, properties.
    #[command(subcommand)]
    Table(table::Table),
    /// Show which snapshots were current since when, oldest first.
    History(inspect::Of),
    /// Show the snapshots that are kept, oldest first.
    Snapshots(inspect::Of),
    /// Show a table's data and delete files, and how their sizes are spread.
    Files(inspect::AsOf),
    /// Show a table's partitions with their rows, files and bytes.
    Partitions(inspect::AsOf),
    /// Show a table's branches and tags.
    Refs(inspect::Of),
    /// Show what each pruning skips for a condition.
    #[command(
        after_help = "Example:\n  lakectl explain glucose.cgm_readings --where \"country = 'TW' and user_id = 'u000001'\" --select timestamp,glucose_mg_dl"
    )]
    Explain(explain::Explain),
    /// Give a table another partition spec, from now on; what is there keeps its own, or is moved afterwards.
    #[command(
        after_help = "Examples:\n  lakectl evolve-partition glucose.cgm_readings \"country, day(timestamp)\"\n  lakectl evolve-partition glucose.cgm_readings \"country, day(timestamp)\" --rewrite-before 2026-01-01 --dry-run"
    )]
    EvolvePartition(evolve::EvolvePartition),
    /// Add, drop, rename, widen, move, describe a column, or say whether it may be null; no file is rewritten.
    #[command(
        after_help = "Examples:\n  lakectl evolve-schema broker.trades add fee \"decimal(18, 4)\" --after price --doc \"In the trade's currency.\"\n  lakectl evolve-schema broker.trades rename venue exchange --dry-run"
    )]
    EvolveSchema(schema::EvolveSchema),
    /// Show where tables differ from their contracts, and what `apply` would do; what cannot be is refused (exit code 2).
    #[command(
        after_help = "Example:\n  lakectl plan --schemas schemas --check    # exit code 1 if there is anything to apply"
    )]
    Plan(apply::Plan),
    /// Change tables to their contracts' new versions, one commit a table, and put those in force; all of them or none.
    #[command(after_help = "Example:\n  lakectl apply glucose.cgm_readings --schemas schemas")]
    Apply(apply::Apply),
    /// Erase rows for good: from the table, its older snapshots, quarantine, spool and finished files; gives a certificate.
    #[command(after_help = "Example:\n  lakectl erase glucose.cgm_readings --where \"user_id = 'u000001'\" --dry-run")]
    Erase(erase::Erase),
    /// Take old snapshots out of a table, by its properties or as said; their files are unlinked after a grace period.
    #[command(
        after_help = "Example:\n  lakectl expire glucose.cgm_readings --older-than 5d --retain-last 10 --dry-run"
    )]
    Expire(expire::Expire),
    /// Remove files in a table's folders that nothing names, left by writers that died.
    #[command(after_help = "Example:\n  lakectl remove-orphans glucose.cgm_readings --older-than 7d --dry-run")]
    RemoveOrphans(orphans::RemoveOrphans),
    /// Make an ancestor the current snapshot; what came after it is no longer shown, and ingestion goes on.
    #[command(after_help = "Example:\n  lakectl rollback glucose.cgm_readings --to 2026-06-01T08:00:00Z --dry-run")]
    Rollback(refs::Rollback),
    /// Make any snapshot that is kept the current one.
    SetCurrent(refs::SetCurrent),
    /// Add what a snapshot elsewhere added, on a branch or rolled back, to what readers see.
    CherryPick(cherry_pick::CherryPick),
    /// Make, drop, list branches, or move them forward.
    #[command(subcommand)]
    Branch(refs::Branch),
    /// Make, drop, list tags.
    #[command(subcommand)]
    Tag(refs::Tag),
    /// Show readers what a branch has taken in, if it holds: write, audit, publish.
    #[command(
        after_help = "Example:\n  lakectl publish glucose.cgm_readings --check \"SELECT * FROM glucose.cgm_readings \
                      WHERE timestamp > now()\" --dry-run"
    )]
    Publish(publish::Publish),
    /// Write small files anew as large ones, in the table's order, and work deletes in.
    #[command(after_help = "Example:\n  lakectl compact glucose.cgm_readings --where \"country = 'TW'\" --dry-run")]
    Compact(compact::Compact),
    /// List a table's files anew, partition by partition, so that queries read few of the lists.
    RewriteManifests(rewrite_manifests::RewriteManifests),
    /// Look at what laked does to tables by itself, and end it.
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    /// Send files, or standard input (`-`), into a table.
    #[command(
        after_help = "Examples:\n  lakectl ingest glucose.cgm_readings readings.ndjson.zst\n  producer | lakectl ingest glucose.cgm_readings - --format csv"
    )]
    Ingest(ingest::Ingest),
    /// Look at records that broke the contract, and send them again.
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
    /// Check contracts, or draft one from data.
    #[command(subcommand)]
    Contract(Contract),
    /// Make sample data.
    Sample(sample::Sample),
    /// Show it all: a daemon on an empty lake, fed with the sample while it is queried.
    Demo(demo::Demo),
    /// Check a lake against its invariants: files, counts, sequence numbers, partitions.
    #[command(after_help = "Example:\n  lakectl doctor --lake ./lake --deep")]
    Doctor(doctor::Doctor),
    /// Make, list and revoke tokens: who may do what.
    #[command(subcommand)]
    Token(token::Token),
    /// Whether the daemon is well; or, of a table, what makes it dearer to read than it need be.
    #[command(after_help = "Example:\n  lakectl health glucose.cgm_readings")]
    Health(health::Health),
    /// Back up, restore, check or rebuild the catalog's database.
    #[command(subcommand)]
    Catalog(catalog::CatalogVerb),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Contracts.
#[derive(Subcommand, Debug)]
enum Contract {
    /// Check contract files; every mistake is named with its place.
    Check {
        /// Contract files, as schemas/glucose/cgm_readings.toml.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Publish the versions a schemas folder has, in its contracts.lock: from then on a version keeps its text.
    Lock {
        /// The folder of contracts.
        folder: PathBuf,
    },
    /// Draft a contract from a CSV, NDJSON or Parquet file, or from a JSON Schema; prints it.
    #[command(
        after_help = "Example:\n  lakectl contract new world.gapminder gapminder.csv > schemas/world/gapminder.toml"
    )]
    New {
        /// The table, as namespace.table.
        table: String,
        /// The file to look at.
        file: PathBuf,
    },
    /// Look for rows that break a table's contract: foreign engines write unchecked. Exit code 1 if there are any.
    #[command(after_help = "Example:\n  lakectl contract audit glucose.cgm_readings --output json")]
    Audit(audit::Audit),
}

impl Contract {
    fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Contract::Check { files } => {
                let (report, good) = contract::check(&files);
                output::line(report.trim_end())?;
                if good { Ok(()) } else { Err(Error::new(Kind::Invalid, "a contract is not valid; see above")) }
            }
            Contract::Lock { folder } => output::line(contract::lock(&folder)?.trim_end()),
            Contract::New { table, file } => output::line(contract::new(&table, &file)?.trim_end()),
            Contract::Audit(verb) => verb.run(source, form),
        }
    }
}

/// Parses, runs, and gives the exit code.
pub fn main() -> ExitCode {
    crate::ingest::decode::abort_elsewhere();
    match Lakectl::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads our output has gone away (`| head`): nothing is wrong.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakectl: {error}");
            match error.kind() {
                Kind::Invalid | Kind::NotFound | Kind::Exists => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn is_closed_pipe(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        let io = one.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = one.source();
    }
    false
}

impl Lakectl {
    fn run(self) -> Result<()> {
        let Lakectl { place, verb } = self;
        match verb {
            Verb::Contract(verb) => verb.run(&place.source()?, place.output),
            Verb::Query(verb) => verb.run(&place.source()?),
            Verb::Table(verb) => verb.run(&place.source()?, place.output),
            Verb::History(verb) => verb.history(&place.source()?, place.output),
            Verb::Snapshots(verb) => verb.snapshots(&place.source()?, place.output),
            Verb::Files(verb) => verb.files(&place.source()?, place.output),
            Verb::Partitions(verb) => verb.partitions(&place.source()?, place.output),
            Verb::Refs(verb) => verb.refs(&place.source()?, place.output),
            Verb::Explain(verb) => verb.run(&place.source()?, place.output),
            Verb::EvolvePartition(verb) => verb.run(&place.source()?, place.output),
            Verb::EvolveSchema(verb) => verb.run(&place.source()?, place.output),
            Verb::Plan(verb) => verb.run(&place.source()?, place.output),
            Verb::Apply(verb) => verb.run(&place.source()?, place.output),
            Verb::Erase(verb) => verb.run(&place.source()?, place.output),
            Verb::Expire(verb) => verb.run(&place.source()?, place.output),
            Verb::RemoveOrphans(verb) => verb.run(&place.source()?, place.output),
            Verb::Rollback(verb) => verb.run(&place.source()?, place.output),
            Verb::SetCurrent(verb) => verb.run(&place.source()?, place.output),
            Verb::CherryPick(verb) => verb.run(&place.source()?, place.output),
            Verb::Branch(verb) => verb.run(&place.source()?, place.output),
            Verb::Tag(verb) => verb.run(&place.source()?, place.output),
            Verb::Publish(verb) => verb.run(&place.source()?, place.output),
            Verb::Compact(verb) => verb.run(&place.source()?, place.output),
            Verb::RewriteManifests(verb) => verb.run(&place.source()?, place.output),
            Verb::Maintenance(verb) => verb.run(&place.source()?, place.output),
            Verb::Ingest(verb) => verb.run(&place.source()?, place.output),
            Verb::Quarantine(verb) => verb.run(&place.source()?, place.output),
            Verb::Sample(verb) => verb.run(),
            Verb::Demo(verb) => verb.run(),
            Verb::Token(verb) => verb.run(&place.source()?, place.output),
            Verb::Health(verb) => verb.run(&place.source()?, place.output),
            Verb::Doctor(verb) => verb.run(&place.source()?, place.output),
            Verb::Catalog(verb) => verb.run(&place.source()?, place.output),
            Verb::Completions { shell } => {
                clap_complete::generate(shell, &mut Lakectl::command(), "lakectl", &mut std::io::stdout());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments that share a name across levels fail only when they are read.
    #[test]
    fn every_verb_reads_its_arguments() {
        Lakectl::command().debug_assert();
        for line in [
            "query q -o f",
            "table list --output json",
            "files n.t --at 1",
            "partitions n.t --output json",
            "history n.t",
            "snapshots n.t",
            "refs n.t",
            "health n.t",
            "explain n.t --where a=1 --select a,b",
            "evolve-partition n.t a,day(b) --dry-run",
            "evolve-partition n.t a --rewrite-before 2026-01-01 --rewrite a=1 --max-bytes 1MiB --threads 1",
            "erase n.t --where a=1 --grace 1h --drop-refs --remove-failed --remove-undecided --dry-run",
            "expire n.t --older-than 5d --retain-last 3 --grace 0s --dry-run",
            "expire n.t --snapshot 1 --snapshot 2",
            "remove-orphans n.t --older-than 1h --force --dry-run",
            "evolve-schema n.t add a.b list<int> --required --default 5 --after c --doc d --dry-run",
            "evolve-schema n.t --schemas d reorder a --first",
            "plan --schemas d --check --output json",
            "plan n.t n.u",
            "apply n.t --schemas d --dry-run",
            "contract lock d",
            "rollback n.t --to 7",
            "set-current n.t 7",
            "cherry-pick n.t 7 --dry-run",
            "branch create n.t b --min-snapshots 2",
            "tag create n.t v --at 7 --keep 90d",
            "compact n.t --where a=1 --max-bytes 1GiB --min-inputs 5 --order none --dry-run",
            "compact n.t --z-order a,b",
            "rewrite-manifests n.t --dry-run",
            "maintenance list n.t --most 5",
            "maintenance show r --output json",
            "maintenance cancel r",
            "ingest n.t f --wait",
            "quarantine list",
            "quarantine replay n.t --dry-run",
            "contract check f",
            "contract new n.t f",
            "contract audit n.t --at 1 --samples 2 --output json",
            "sample cgm --users 2 -o f",
            "sample broker_tx",
            "sample prices",
            "sample ohlcv",
            "sample gdp",
            "demo --once",
            "doctor --deep",
            "token create --role writer --namespace a.b --expires 90d",
            "token revoke x --token-file f",
            "health --ca-file f",
            "catalog backup f --database sqlite:x",
            "catalog restore f --force",
            "catalog check --output json",
            "catalog rebuild --dry-run",
            "completions bash",
        ] {
            let arguments = std::iter::once("lakectl").chain(line.split(' '));
            let parsed = Lakectl::try_parse_from(arguments);
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        }
    }
}
