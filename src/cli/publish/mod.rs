//! `lakectl publish`: what a branch has taken in is looked at, and shown to readers if it holds.
//!
//! The looks are of one snapshot, and that one is published: what comes in meanwhile waits for the next time. Only files
//! that readers do not see yet are held to the contract ([`news`]); a check is a query of the whole branch.

mod news;

use std::io::Write;

use clap::Args;
use iceberg::TableIdent;
use serde::Serialize;

use self::news::{Earlier, News};
use crate::cli::audit::{Report, audited, text};
use crate::cli::change::Target;
use crate::cli::refs::print_ref;
use crate::cli::{Output, output};
use crate::contract;
use crate::error::{Error, Kind, Result};
use crate::history::{INGEST_BRANCH, ingest_branch};
use crate::maintain::refs::{RefPlan, publish};
use crate::read::duck::{At, Form, query_each};
use crate::read::plan::PlannedFile;
use crate::read::{Source, SourceTable};

/// Bytes that are shown of a check's answer, at most.
const SHOWN: usize = 2000;
/// Rows that are shown of each broken rule.
const SAMPLES: usize = 5;

/// Show readers what a branch has taken in, if it holds.
#[derive(Args, Debug)]
pub struct Publish {
    #[command(flatten)]
    target: Target,
    /// The branch [default: the one that takes the table's records, by its property laked.ingest.branch].
    #[arg(long)]
    branch: Option<String>,
    /// A query for what is wrong, the table as of the branch, others as they are: nothing is published if it gives a row.
    /// Can be given more than once.
    #[arg(long = "check", value_name = "SQL")]
    checks: Vec<String>,
    /// Do not hold the branch's rows to the table's contract.
    #[arg(long)]
    no_audit: bool,
}

/// What was looked at.
#[derive(Debug, Serialize)]
struct Judged {
    /// The rows that are new against the table's contract, if it has one.
    audit: Option<Report>,
    /// What is new and was held to an earlier version.
    earlier: Option<Earlier>,
    /// Each check, with what it gave, cut off; nothing if it holds.
    checks: Vec<(String, String)>,
}

impl Judged {
    fn holds(&self) -> bool {
        self.audit.as_ref().is_none_or(Report::holds) && self.checks.iter().all(|(_, answer)| answer.is_empty())
    }
}

impl Publish {
    /// Looks, commits, prints.
    ///
    /// # Errors
    /// `Corrupt`, exit code 1, if something does not hold: nothing is changed then. `NotFound` and `Invalid` for the table,
    /// the branch and a check that is no query; those of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = self.target.ident()?;
        let table = source.table(&ident)?;
        let branch = self.branch(&table)?;
        let planned = publish(&table.metadata, &table.refs, &branch, None)?;
        let Some(upto) = planned.to.filter(|_| !planned.edit.is_empty()) else {
            return print(&planned, None, self.target.dry_run, form);
        };
        let judged = self.judged(source, &table, upto)?;
        if !judged.holds() {
            print(&planned, Some(&judged), true, form)?;
            return Err(Error::new(Kind::Corrupt, "the branch does not hold; see above. Nothing is published"));
        }
        let plan = |table: &SourceTable| publish(&table.metadata, &table.refs, &branch, Some(upto));
        let done = self.target.change(source, plan, |plan| &plan.edit)?;
        print(&done, Some(&judged), self.target.dry_run, form)
    }

    fn branch(&self, table: &SourceTable) -> Result<String> {
        let branch = self.branch.as_deref().unwrap_or(ingest_branch(&table.metadata));
        if branch != iceberg::spec::MAIN_BRANCH {
            return Ok(branch.to_string());
        }
        let why = format!("the table takes its records into `main`: set its property {INGEST_BRANCH}, or say --branch");
        Err(Error::new(Kind::Invalid, why))
    }

    fn judged(&self, source: &Source, table: &SourceTable, upto: i64) -> Result<Judged> {
        let (ident, at) = (self.target.ident()?, At::Snapshot(upto));
        let carried = if self.no_audit { None } else { contract::carried(&ident, &table.metadata)? };
        let audit = carried.map(|contract| -> Result<_> {
            let mut news = News::of(&table.metadata, upto, contract.hash())?;
            let mut wanted = |file: &PlannedFile| news.wants(file);
            let report = audited(&ident.to_string(), &table.metadata, &contract, &at, SAMPLES, &mut wanted)?;
            Ok((report, news.earlier()))
        });
        let (audit, earlier) = audit.transpose()?.map_or((None, None), |(report, earlier)| (Some(report), earlier));
        let state = |other: &TableIdent| if *other == ident { at.clone() } else { At::Now };
        let asked = |sql: &String| {
            let mut answer = Answer::default();
            query_each(source, sql, &state, Form::Json, &mut answer)?;
            Ok((sql.clone(), answer.text()))
        };
        Ok(Judged { audit, earlier, checks: self.checks.iter().map(asked).collect::<Result<_>>()? })
    }
}

/// What a check gives, as far as it is shown.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim_end().to_string()
    }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = SHOWN.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn print(plan: &RefPlan, judged: Option<&Judged>, dry_run: bool, form: Output) -> Result<()> {
    if form == Output::Json {
        let (changes, holds) = (!plan.edit.is_empty(), judged.is_none_or(Judged::holds));
        let said = serde_json::json!({ "plan": plan, "judged": judged, "holds": holds, "changes": changes && holds,
                                       "dry-run": dry_run });
        return output::json(&said);
    }
    if plan.edit.is_empty() {
        return output::line("readers see all of the branch already; nothing to publish");
    }
    if let Some(report) = judged.and_then(|judged| judged.audit.as_ref()) {
        output::line(text(report).trim_end())?;
    }
    if let Some(earlier) = judged.and_then(|judged| judged.earlier.as_ref()) {
        output::line(earlier.to_string())?;
    }
    for (sql, answer) in judged.iter().flat_map(|judged| &judged.checks) {
        let found = if answer.is_empty() { "holds".to_string() } else { format!("does not hold:\n{answer}") };
        output::line(format!("{sql}: {found}"))?;
    }
    print_ref(plan, dry_run, form)
}
