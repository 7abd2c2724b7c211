//! Orphans: files in a table's folders that nothing names.
//!
//! What crashed writers, lost ledgers and failed commits leave. A file is one only if all of this holds:
//!
//! - it lies in the table's own folders, and in none that is another table's too, live, renamed or dropped, nor beside
//!   metadata of a table that the catalog does not know;
//! - no snapshot of any table in the catalog, or of one that was dropped and can come back, reaches it, nor one that an
//!   older metadata file in this table's log names;
//! - it is no metadata file of the log, no version hint, in no commit under way, and not owed by the deletion ledger;
//! - it has not been changed for three days, or as long as was asked: engines write files long before they commit them,
//!   so less than a day takes `--force`.
//!
//! Locations are compared as paths, because engines spell them differently (`file:/x`, `file:///x`). If anything that may
//! name a file cannot be read, nothing is removed; nor if a metadata file cannot be, whose table's files may lie beside
//! it. What the daemon itself has staged lies in the lake's `staging/`, not in a table's folder, and is swept when the lake
//! is opened; what a dead `lakectl` has staged goes at once ([`staging`]).
//!
//! A metadata file stays for a day whatever is asked: a commit under way has written its own, and no intent names it.
//!
//! Before anything is unlinked the table is looked at once more: what a commit has named in the meantime stays.

pub mod staging;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iceberg::TableIdent;
use laked_catalog::store::{Entry, path_of};
use laked_catalog::{Catalog, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::expire::{lies_in, may_collect, own_folders};
use super::reach::{Reach, hash_of};
use crate::error::{Error, Kind, Result};

const DAY_MS: i64 = 24 * 3_600_000;
/// Names that a report holds, at most.
const NAMED: usize = 1000;
/// Files that are unlinked before their folders are synced.
const BATCH: usize = 1000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Files changed since then stay.
    pub older_than_ms: i64,
    /// Even if that is less than a day.
    pub force: bool,
    /// Look only.
    pub dry_run: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request { older_than_ms: 3 * DAY_MS, force: false, dry_run: false }
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Orphans.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first thousand of them.
    pub named: Vec<String>,
    /// Files that nothing names either, and that are too young.
    pub young: u64,
    /// Folders that are left alone, because they are others' too.
    pub shared: Vec<String>,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// What there is, told apart. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// To be removed.
    pub orphans: Vec<Entry>,
    /// Nothing names them, but they were changed too lately.
    pub young: u64,
}

/// Tells orphans from what is needed: `named` are the hashes of what is, `shared` folders of others.
pub fn sorted(listed: Vec<Entry>, named: &HashSet<u64>, shared: &[String], before_ms: i64) -> Sorted {
    let mut sorted = Sorted::default();
    let before = moment(before_ms);
    let mut seen = HashSet::new();
    for entry in listed {
        let hash = hash_of(&entry.location);
        let stays = named.contains(&hash) || lies_in(&entry.location, shared) || !seen.insert(hash);
        match (stays, entry.modified < before) {
            (true, _) => {}
            (false, true) => sorted.orphans.push(entry),
            (false, false) => sorted.young += 1,
        }
    }
    sorted
}

fn moment(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Finds a table's orphans and, unless it is a dry run, removes them. `in_flight` are the files of commits under way.
///
/// # Errors
/// `Invalid` for the age, or where `gc.enabled` is false; `NotFound`; `Corrupt` or storage errors if it cannot be told
/// what is named.
pub fn remove_orphans(
    catalog: &Catalog,
    ident: &TableIdent,
    request: &Request,
    in_flight: &dyn Fn() -> Vec<String>,
) -> Result<Report> {
    remove_with(catalog, ident, request, in_flight, &mut Reach::default())
}

/// The same from what was read for other tables' orphans shortly before: lists and manifests never change.
///
/// # Errors
/// As [`remove_orphans`].
pub fn remove_with(
    catalog: &Catalog,
    ident: &TableIdent,
    request: &Request,
    in_flight: &dyn Fn() -> Vec<String>,
    reach: &mut Reach,
) -> Result<Report> {
    if request.older_than_ms < 0 || (request.older_than_ms < DAY_MS && !request.force) {
        let message = "files younger than a day may be some engine's that has not committed them yet: say --older-than \
                       24h or more, or --force if nobody else writes";
        return Err(Error::new(Kind::Invalid, message));
    }
    let table = catalog.load(ident)?;
    may_collect(&table.metadata)?;
    let before_ms = catalog.store().system().clock.now_ms().saturating_sub(request.older_than_ms);
    let mut uuids = HashMap::from([(hash_of(&table.metadata_location), table.metadata.uuid())]);
    let mut named = named_by(catalog, &table, reach, &mut uuids)?;
    let (mut shared, mut listed) = listed(catalog, &table, &uuids)?;
    // After the list: a folder that is in it and has no lock now was emptied.
    let staging = staging::Found::of(catalog.store().disk().as_ref(), &path_of(table.metadata.location())?)?;
    let staged = staging.taken(&mut listed)?;
    let day_ms = before_ms.min(catalog.store().system().clock.now_ms().saturating_sub(DAY_MS));
    let fresh = |entry: &Entry| entry.location.ends_with(".metadata.json") && entry.modified >= moment(day_ms);
    listed.retain(|entry| !fresh(entry));
    if listed.iter().any(|entry| !named.contains(&hash_of(&entry.location))) {
        others(catalog, &table, reach, &mut named, &mut shared)?;
    }
    // Files are in an intent before they have a name: what was listed before this and is in none now is committed.
    named.extend(in_flight().iter().map(|file| hash_of(file)));
    let again = catalog.load(ident)?;
    if again.metadata_location != table.metadata_location {
        named.extend(named_by(catalog, &again, reach, &mut uuids)?);
    }
    shared.sort();
    shared.dedup();
    let Sorted { mut orphans, young } = sorted(listed, &named, &shared, before_ms);
    orphans.extend(staged);
    let report = Report {
        files: orphans.len() as u64,
        bytes: orphans.iter().map(|entry| entry.len).sum(),
        named: orphans.iter().take(NAMED).map(|entry| entry.location.clone()).collect(),
        young,
        shared,
        dry_run: request.dry_run,
    };
    if !request.dry_run {
        for batch in orphans.chunks(BATCH) {
            let batch: Vec<&str> = batch.iter().map(|entry| entry.location.as_str()).collect();
            catalog.store().delete_durably(&batch)?;
        }
        staging.dead.into_iter().for_each(|one| one.end(catalog.store().disk().as_ref()));
    }
    Ok(report)
}

/// What the table itself names: by its snapshots and those of the metadata files in its log, which a restore may go back
/// to; and what it owes. `uuids` learns which table those files are of.
fn named_by(
    catalog: &Catalog,
    table: &Table,
    reach: &mut Reach,
    uuids: &mut HashMap<u64, Uuid>,
) -> Result<HashSet<u64>> {
    let store = catalog.store();
    let mut named = reach.all(store, &table.metadata)?;
    let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
    for location in log {
        named.insert(hash_of(location));
        match catalog.metadata_at(location) {
            Ok(older) => {
                uuids.insert(hash_of(location), older.uuid());
                named.extend(reach.still_there(store, &older)?);
            }
            // Of those that a commit has overtaken nothing is read any more, and a power cut may have cut them short.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => {}
            Err(error) => return Err(error),
        }
    }
    named.insert(hash_of(&table.metadata_location));
    if let Some((folder, _)) = table.metadata_location.rsplit_once('/') {
        named.insert(hash_of(&format!("{folder}/version-hint.text")));
    }
    let owed = catalog.owed_of(table.metadata.uuid())?;
    named.extend(owed.iter().flat_map(|owed| &owed.files).map(|file| hash_of(file)));
    Ok(named)
}

/// The files in the table's folders, and the folders among them that are not the table's alone. Of metadata files in
/// `uuids` is known which table they are of.
fn listed(catalog: &Catalog, table: &Table, uuids: &HashMap<u64, Uuid>) -> Result<(Vec<String>, Vec<Entry>)> {
    let own = own_folders(&table.metadata);
    let mut listed = Vec::new();
    for folder in &own {
        listed.extend(catalog.store().list(folder)?);
    }
    let near = catalog.neighbours(&own)?.into_iter();
    let mut shared: Vec<String> =
        near.filter(|near| near.ident.as_ref() != Some(&table.ident)).map(|near| near.folder).collect();
    for entry in listed.iter().filter(|entry| entry.location.ends_with(".metadata.json")) {
        let of = match uuids.get(&hash_of(&entry.location)) {
            Some(uuid) => Some(*uuid),
            None => table_of(catalog, &entry.location)?,
        };
        let foreign = of.is_some_and(|uuid| uuid != table.metadata.uuid());
        if let Some((folder, _)) = entry.location.rsplit_once('/').filter(|_| foreign) {
            shared.push(folder.strip_suffix("/metadata").unwrap_or(folder).to_string());
        }
    }
    Ok((shared, listed))
}

/// The table that a metadata file is of; none for one that is no metadata, and an orphan like others.
fn table_of(catalog: &Catalog, location: &str) -> Result<Option<Uuid>> {
    match catalog.metadata_at(location) {
        Ok(metadata) => Ok(Some(metadata.uuid())),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => Ok(None),
        Err(error) => {
            let message = "a metadata file in the table's folders cannot be read, so it cannot be told whose files lie \
                           beside it: nothing is removed; look at it, then try again";
            Err(Error::new(error.kind(), message).with("location", location).because(error))
        }
    }
}

/// Adds what all other tables name, and the folders that they share with this one.
fn others(
    catalog: &Catalog,
    table: &Table,
    reach: &mut Reach,
    named: &mut HashSet<u64>,
    shared: &mut Vec<String>,
) -> Result<()> {
    let own = own_folders(&table.metadata);
    for ident in catalog.tables()?.into_iter().filter(|ident| *ident != table.ident) {
        let other: Arc<Table> = match catalog.load(&ident) {
            Ok(other) => other,
            Err(error) if error.kind() == Kind::NotFound && error.concerns("location") => {
                return Err(unsure(&ident, error));
            }
            // Dropped meanwhile.
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => return Err(unsure(&ident, error)),
        };
        named.extend(reach.all(catalog.store(), &other.metadata).map_err(|error| unsure(&ident, error))?);
        shared.extend(own_folders(&other.metadata).into_iter().filter(|folder| overlaps(folder, &own)));
    }
    for dropped in catalog.dropped()? {
        named.extend(reach.still_there(catalog.store(), &dropped)?);
        shared.extend(own_folders(&dropped).into_iter().filter(|folder| overlaps(folder, &own)));
    }
    Ok(())
}

fn unsure(ident: &TableIdent, error: Error) -> Error {
    let message = "another table may name files here, and it cannot be told: see `lakectl doctor`, then try again";
    Error::new(error.kind(), message).with("table", ident).because(error)
}

/// Whether a folder lies in one of these, or one of these in it.
pub fn overlaps(folder: &str, own: &[String]) -> bool {
    let Ok(path) = path_of(folder) else { return false };
    own.iter().any(|own| path_of(own).is_ok_and(|own| own.starts_with(&path) || path.starts_with(&own)))
}
