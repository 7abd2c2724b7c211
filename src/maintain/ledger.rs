//! The deletion ledger: files that are to be unlinked, and when.
//!
//! # Where
//! In the catalog's database, beside the pointers. A file in the lake's folder would be one daemon's; several share a
//! database, and whichever is there unlinks. It is backed up and restored with the pointers it belongs to. If the
//! database is lost, what was owed is an orphan, and removed as such.
//!
//! # Form
//! A row of at most [`PART`] files: the run that owes it, its number, the table by UUID and by the name it had, when it is
//! due, and the locations as a JSON list.
//!
//! # How it is unlinked
//! A due row is judged by the tables as they are now: what any snapshot of its table, or of a table in the same folders,
//! reaches, is kept; so is what a dropped table in them reaches that can still come back. So a snapshot that came back in
//! the meantime (a restored database, a table that was dropped and brought back, a metadata file registered again) has its
//! files. The rest is unlinked, the folders are synced, and only
//! then the row goes: a crash in between unlinks again what is gone. A row of which a file is needed still is looked at
//! again for a while: it is written before the commit that takes the file's snapshot out, which may be on its way. A row
//! of a table that is not there waits for it, for [`WAIT_MS`], and is then forgotten: its files are left to the dropped table.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use iceberg::TableIdent;
use laked_catalog::{Catalog, Owed, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::expire::{may_collect, own_folders};
use super::orphans::overlaps;
use super::reach::{Reach, hash_of};
use crate::error::{Error, Kind, Result};

/// Files of a row, at most.
pub const PART: usize = 4096;
/// How long a row waits for a table that is not there.
pub const WAIT_MS: i64 = 8 * 24 * 3_600_000;
/// When a row that could not be settled is looked at again.
const AGAIN_MS: i64 = 60_000;
/// The same where a person has to do something first; and how long after it was due a row waits for the commit that takes
/// its files out.
const LATER_MS: i64 = 3_600_000;

/// What was unlinked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unlinked {
    /// Files that are gone.
    pub files: u64,
    /// Files that a snapshot reaches again, and that stay.
    pub needed: u64,
}

/// Writes down that these files are to be unlinked at `due_ms`, in place of what the run owed before.
///
/// # Errors
/// Database errors.
pub fn owe(catalog: &Catalog, table: &Table, run: Uuid, due_ms: i64, files: Vec<String>) -> Result<()> {
    let (run, ident, uuid) = (run.to_string(), table.ident.clone(), table.metadata.uuid());
    let owed = |(part, files): (usize, &[String])| Owed {
        run: run.clone(),
        part: part as i64,
        table: uuid,
        ident: ident.clone(),
        due_ms,
        files: files.to_vec(),
    };
    let rows: Vec<Owed> = files.chunks(PART).enumerate().map(owed).collect();
    catalog.owe(&run, &rows)
}

/// What a round did.
#[derive(Debug, Default)]
pub struct Round {
    /// What was unlinked.
    pub unlinked: Unlinked,
    /// Tables of which a row failed, and the first failure of each; it is tried again.
    pub failed: BTreeMap<Uuid, Error>,
    /// Tables that were looked at.
    pub tables: BTreeMap<Uuid, Arc<Table>>,
}

impl Round {
    /// What was unlinked, unless a row of this table failed.
    ///
    /// # Errors
    /// That failure.
    pub fn of(mut self, table: Uuid) -> Result<Unlinked> {
        self.failed.remove(&table).map_or(Ok(self.unlinked), Err)
    }

    /// What was unlinked, unless a row failed.
    ///
    /// # Errors
    /// One of the failures.
    pub fn whole(self) -> Result<Unlinked> {
        self.failed.into_values().next().map_or(Ok(self.unlinked), Err)
    }

    fn take(&mut self, catalog: &Catalog, owed: &Owed, now_ms: i64, settled: Result<Settled>) -> Result<()> {
        match settled {
            Ok(Settled::Done(done)) => {
                catalog.settle_owed(owed)?;
                self.unlinked.files += done.files;
                self.unlinked.needed += done.needed;
            }
            Ok(Settled::Waits(until_ms)) => catalog.put_off(owed, until_ms)?,
            Err(error) => {
                tracing::warn!(table = %owed.ident, %error, "files that expired are not unlinked yet; it is tried again");
                catalog.put_off(owed, now_ms.saturating_add(AGAIN_MS))?;
                self.failed.entry(owed.table).or_insert(error);
            }
        }
        Ok(())
    }
}

/// Unlinks what is due. A row that fails is put off, and the others go on.
///
/// # Errors
/// Database errors, and the first failure of a row when all have been tried.
pub fn unlink_due(catalog: &Catalog, now_ms: i64) -> Result<Unlinked> {
    unlink_due_with(catalog, now_ms, &mut Reach::default())?.whole()
}

/// The same from what has been read before, of tables that may have changed since.
///
/// # Errors
/// Database errors.
pub fn unlink_due_with(catalog: &Catalog, now_ms: i64, reach: &mut Reach) -> Result<Round> {
    let mut round = Round::default();
    // Each turn settles a row or puts it off beyond now.
    let mut needed = Needed { of: None, tables: BTreeMap::new(), reach };
    while let Some(owed) = catalog.owed(now_ms)? {
        let settled = settle(catalog, &owed, now_ms, &mut needed);
        round.take(catalog, &owed, now_ms, settled)?;
    }
    round.tables = needed.tables;
    Ok(round)
}

/// Unlinks what a table owes and is due by `due_ms`, whenever it was to be looked at again.
///
/// # Errors
/// Database errors, and the first failure of a row when all have been tried.
pub fn unlink_of(catalog: &Catalog, table: Uuid, due_ms: i64, reach: &mut Reach) -> Result<Unlinked> {
    let (mut round, now_ms) = (Round::default(), catalog.store().system().clock.now_ms());
    let mut needed = Needed { of: None, tables: BTreeMap::new(), reach };
    for owed in catalog.owed_of(table)?.into_iter().filter(|owed| owed.due_ms <= due_ms) {
        let settled = settle(catalog, &owed, now_ms, &mut needed);
        round.take(catalog, &owed, now_ms, settled)?;
    }
    round.of(table)
}

enum Settled {
    Done(Unlinked),
    Waits(i64),
}

fn settle(catalog: &Catalog, owed: &Owed, now_ms: i64, needed: &mut Needed<'_>) -> Result<Settled> {
    let Some(table) = find(catalog, owed)? else {
        if now_ms.saturating_sub(owed.due_ms) < WAIT_MS {
            return Ok(Settled::Waits(now_ms.saturating_add(LATER_MS)));
        }
        return Ok(Settled::Done(Unlinked::default()));
    };
    if may_collect(&table.metadata).is_err() {
        return Ok(Settled::Waits(now_ms.saturating_add(LATER_MS)));
    }
    let hashes = needed.of(catalog, &table)?;
    let is_needed = |file: &&String| hashes.contains(&hash_of(file));
    let gone: Vec<&str> = owed.files.iter().filter(|file| !is_needed(file)).map(String::as_str).collect();
    catalog.store().delete_durably(&gone)?;
    let files = gone.len() as u64;
    let done = Unlinked { files, needed: owed.files.len() as u64 - files };
    match done.needed > 0 && now_ms.saturating_sub(owed.due_ms) < LATER_MS {
        true => Ok(Settled::Waits(now_ms.saturating_add(AGAIN_MS))),
        false => Ok(Settled::Done(done)),
    }
}

/// The table a row is of, by whatever name it has now.
fn find(catalog: &Catalog, owed: &Owed) -> Result<Option<Arc<Table>>> {
    let is_it = |ident: &TableIdent| match catalog.load(ident) {
        Ok(table) if table.metadata.uuid() == owed.table => Ok(Some(table)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    if let Some(table) = is_it(&owed.ident)? {
        return Ok(Some(table));
    }
    for ident in catalog.tables()? {
        if let Some(table) = is_it(&ident)? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// What a table and those in its folders need, read once for all rows of a round.
struct Needed<'a> {
    of: Option<(String, HashSet<u64>)>,
    tables: BTreeMap<Uuid, Arc<Table>>,
    reach: &'a mut Reach,
}

impl Needed<'_> {
    fn of(&mut self, catalog: &Catalog, table: &Arc<Table>) -> Result<&HashSet<u64>> {
        let known = self.of.as_ref().is_some_and(|(location, _)| *location == table.metadata_location);
        if !known {
            let mut hashes = self.reach.all(catalog.store(), &table.metadata)?;
            for neighbour in catalog.neighbours(&own_folders(&table.metadata))? {
                let Some(ident) = neighbour.ident.filter(|ident| *ident != table.ident) else { continue };
                let other = catalog.load(&ident)?;
                hashes.extend(self.reach.all(catalog.store(), &other.metadata)?);
            }
            let own = own_folders(&table.metadata);
            for dropped in catalog.dropped()? {
                if own_folders(&dropped).iter().any(|folder| overlaps(folder, &own)) {
                    hashes.extend(self.reach.still_there(catalog.store(), &dropped)?);
                }
            }
            self.tables.insert(table.metadata.uuid(), table.clone());
            self.of = Some((table.metadata_location.clone(), hashes));
        }
        let missing = || Error::new(Kind::Internal, "what is needed was not read");
        self.of.as_ref().map(|(_, hashes)| hashes).ok_or_else(missing)
    }
}
