//! `lakectl erase`.

use std::path::Path;

use clap::Args;
use iceberg::TableIdent;

use super::change::Place;
use super::ingest::Opening;
use super::{Output, output};
use crate::config::Age;
use crate::daemon::erasing;
use crate::error::{Error, Kind, Result};
use crate::maintain::erase::{Certificate, Request};
use crate::read::source::{ident_of, open_catalog, table_path};
use crate::read::{Source, parse_where};

/// Erase rows for good.
///
/// It ends with a certificate: what was removed where, and what still holds it. One that was cut short goes on when it is
/// asked for again. What arrives after it began is not part of it.
#[derive(Args, Debug)]
pub struct Erase {
    /// The table, as namespace.table.
    table: String,
    /// Which rows, as "user_id = 'u000001'".
    #[arg(long = "where", value_name = "CONDITION")]
    condition: String,
    /// Count what would be erased, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Drop the branches and tags that show such rows, too.
    #[arg(long)]
    drop_refs: bool,
    /// Remove files in failed/ that hold such records, whatever else they hold: no table has the rest.
    #[arg(long)]
    remove_failed: bool,
    /// Remove refused records and finished files of which it cannot be told, too.
    #[arg(long)]
    remove_undecided: bool,
    /// How long files stay that readers may have begun with; the erase is not complete before.
    #[arg(long, value_name = "AGE", default_value = "0s", allow_hyphen_values = true)]
    grace: Age,
    #[command(flatten)]
    opening: Opening,
}

impl Erase {
    /// Erases, prints the certificate.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the condition; `Unavailable` if a lane does not catch up; those of the commits.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        // What is wrong with it is told before a lake is opened.
        parse_where(&self.condition, source.table(&ident)?.metadata.current_schema())?;
        let request = Request {
            condition: self.condition,
            drop_refs: self.drop_refs,
            remove_failed: self.remove_failed,
            remove_undecided: self.remove_undecided,
            grace_ms: i64::try_from(self.grace.get().as_millis()).unwrap_or(i64::MAX),
            dry_run: self.dry_run,
        };
        let certificate: Certificate = match source {
            Source::Daemon(remote) => {
                let body = serde_json::to_value(&request)
                    .map_err(|error| Error::new(Kind::Internal, "a request").because(error))?;
                remote.ask(&format!("/maintain/{}/erase", table_path(&ident)), &body)?
            }
            Source::Lake(folder) if request.dry_run => {
                let contract = self.opening.contract(&ident)?;
                erasing::counted((&open_catalog(folder)?, folder), contract, &ident, &request)?
            }
            Source::Lake(folder) => match self.opening.contract(&ident)? {
                Some(_) => self.opening.open(folder, &ident)?.erase(&ident, &request)?,
                None => alone(source, folder, &ident, &request)?,
            },
        };
        match form {
            Output::Json => output::json(&certificate),
            Output::Text => print(&certificate),
        }
    }
}

/// A table without a contract, in a lake without a daemon.
fn alone(source: &Source, folder: &Path, ident: &TableIdent, request: &Request) -> Result<Certificate> {
    match Place::open(source)? {
        Place::Lake { catalog, committer, .. } => erasing::erased((&catalog, &committer, folder), ident, request),
        Place::Daemon(_) => Err(Error::new(Kind::Internal, "a lake is no daemon")),
    }
}

fn print(certificate: &Certificate) -> Result<()> {
    let tense = if certificate.dry_run { "Would be erased from" } else { "Erased from" };
    output::line(format!("{tense} {}", certificate.table))?;
    let rows: Vec<Vec<String>> = certificate
        .removed
        .iter()
        .map(|(place, sum)| {
            vec![place.clone(), output::count(sum.rows), output::count(sum.files), output::bytes(sum.bytes)]
        })
        .collect();
    if rows.is_empty() {
        output::line("nothing is there")?;
    } else {
        output::table(&["place", "rows", "files", "bytes"], &rows)?;
    }
    let snapshots = certificate.snapshots_expired.len() as u64;
    if snapshots > 0 {
        let verb = if certificate.dry_run { "would expire" } else { "expired" };
        output::line(format!("{} snapshots that reach it {verb}", output::count(snapshots)))?;
    }
    if !certificate.refs_dropped.is_empty() {
        output::line(format!("dropped: {}", certificate.refs_dropped.join(", ")))?;
    }
    for held in &certificate.held {
        output::line(format!("still held: {}: {}", held.place, held.why))?;
    }
    if certificate.complete {
        output::line("nothing else that laked knows of holds it")?;
    }
    for copy in &certificate.unknowable {
        output::line(format!("not known: {copy}"))?;
    }
    match &certificate.kept_at {
        Some(place) => output::line(format!("certificate {} is kept in {place}", certificate.id)),
        None => Ok(()),
    }
}
