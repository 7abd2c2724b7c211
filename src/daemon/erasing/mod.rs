//! An erase from its beginning to its end: what is asked, in which order, and what is written down of it.
//!
//! 1. **Doors.** What was acknowledged before this moment is committed: the push lane's spool begins a new segment and the
//!    lane catches up with it, so that every older segment goes; files that wait in the inbox are taken in.
//! 2. **Finished files**, in `done/` and `duplicate/`, that hold such a record are removed, whole: their rows are in the
//!    table. Of a file in `failed/` no table holds the rest, so that takes `--remove-failed`.
//! 3. **The table, then its quarantine**: files are rewritten without the rows, manifests that remember the old files are
//!    written anew, older snapshots that reach either expire, their files are unlinked through the deletion ledger, and
//!    folders of partitions that are empty then go.
//! 4. **Names of files** hold partitions' values, so the log of intents and the catalog's database (SQLite's free pages and
//!    its log too) forget those that are gone.
//! 5. **A look at everything once more**, from the files, and the [`Certificate`].
//!
//! Each step looks for itself, so an erase that died is asked for again and goes on; its certificate, written durably after
//! each step, is found again by the condition. What arrives after the erase began is not part of it.

mod doors;
mod files;
mod leftovers;
mod record;
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::TableIdent;
use laked_catalog::{Catalog, Table};

use self::record::Record;
use self::tables::{Erasing, Place};
use super::doors::TableDoors;
use super::lake::Lake;
use crate::commit::Committer;
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::history::all_is_published;
use crate::ingest::quarantine;
use crate::maintain::erase::{Certificate, Condition, Request, Sought};
use crate::maintain::expire::may_collect;

/// Where an erase happens.
pub(super) struct Site<'a> {
    catalog: &'a Catalog,
    /// Nothing in a dry run of a lake that is not open.
    committer: Option<&'a Committer>,
    /// The table's doors, where they are open.
    doors: Option<Arc<TableDoors>>,
    folder: PathBuf,
    contract: Option<Arc<Contract>>,
    ident: &'a TableIdent,
    request: &'a Request,
}

impl Lake {
    /// Erases, or counts what would be.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the condition, or where `gc.enabled` is false; `Unavailable` if a lane does not catch up;
    /// `Conflict` while the same is erased already; those of reading and committing: what was done stays done, and asked
    /// for again it goes on.
    pub fn erase(&self, ident: &TableIdent, request: &Request) -> Result<Certificate> {
        let _alone = self.erasures.begin(ident, request)?;
        let folder = std::path::absolute(&self.settings().lake)?;
        let doors = self.table(&ident.to_string());
        let contract = doors.as_ref().map(|doors| doors.in_force.contract());
        Site { catalog: self.catalog(), committer: Some(self.committer()), doors, folder, contract, ident, request }
            .run()
    }
}

/// Erases that are under way, each by its table and condition: two would write one certificate.
#[derive(Debug, Default)]
pub(super) struct Erasures(Mutex<BTreeSet<(String, String)>>);

/// One of them; it ends with this.
pub(super) struct UnderWay<'a>(&'a Erasures, (String, String));

impl Erasures {
    fn begin(&self, ident: &TableIdent, request: &Request) -> Result<Option<UnderWay<'_>>> {
        if request.dry_run {
            return Ok(None);
        }
        let key = (ident.to_string(), request.condition.trim().to_string());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return Ok(Some(UnderWay(self, key)));
        }
        let message = "the same is erased from this table at the moment: wait for its end, then ask again if its \
                       certificate is not complete";
        Err(Error::new(Kind::Conflict, message).with("table", ident))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Erases from a table that has no contract, in a lake that no daemon has.
///
/// # Errors
/// As [`Lake::erase`].
pub fn erased(
    (catalog, committer, folder): (&Catalog, &Committer, &Path),
    ident: &TableIdent,
    request: &Request,
) -> Result<Certificate> {
    let folder = std::path::absolute(folder)?;
    Site { catalog, committer: Some(committer), doors: None, folder, contract: None, ident, request }.run()
}

/// Counts what would be erased of a lake that nobody has opened.
///
/// # Errors
/// As [`Lake::erase`].
pub fn counted(
    (catalog, folder): (&Catalog, &Path),
    contract: Option<Arc<Contract>>,
    ident: &TableIdent,
    request: &Request,
) -> Result<Certificate> {
    let request = Request { dry_run: true, ..request.clone() };
    let folder = std::path::absolute(folder)?;
    Site { catalog, committer: None, doors: None, folder, contract, ident, request: &request }.run()
}

impl Site<'_> {
    fn run(&self) -> Result<Certificate> {
        let table = self.catalog.load(self.ident)?;
        may_collect(&table.metadata)?;
        all_is_published(&table.metadata, &table.refs)?;
        if self.request.grace_ms < 0 {
            return Err(Error::new(Kind::Invalid, "--grace is a length of time, from 0 on, as 1h"));
        }
        let schema = table.metadata.current_schema();
        let predicate = crate::read::parse_where(&self.request.condition, schema)?;
        let condition = Arc::new(Condition::of(predicate, schema)?);
        let mut record = Record::open(self, &table)?;
        doors::drained(self, &mut record)?;
        files::removed(self, &condition, &mut record)?;
        let rows = Place { ident: self.ident.clone(), name: "table", older: "older-snapshots" };
        Erasing::of(self, rows, Sought::Rows(condition.clone())).run(&mut record)?;
        let refused = quarantine::ident(self.ident);
        match self.catalog.load(&refused) {
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) => self.refused(refused, &found, condition, &mut record)?,
        }
        self.others(&table, &mut record)?;
        if let Some(committer) = self.committer.filter(|_| !record.is_dry()) {
            committer.forget_ended()?;
            self.forget(&mut record)?;
        }
        record.end(self)
    }

    /// Leaves no byte in the catalog's database of what is gone: reports of runs name partitions and files.
    fn forget(&self, record: &mut Record) -> Result<()> {
        for ident in [self.ident, &quarantine::ident(self.ident)] {
            self.catalog.forget_reports(ident)?;
        }
        if !self.catalog.forget_deleted()? {
            let why = "somebody reads the database, so its log is not emptied and may name files that are gone: erase \
                       again";
            record.certificate.holds("the catalog's database", why);
        }
        Ok(())
    }

    fn refused(&self, ident: TableIdent, table: &Table, condition: Arc<Condition>, record: &mut Record) -> Result<()> {
        let schema = table.metadata.current_schema();
        let sought = Sought::texts(condition, self.request.remove_undecided, schema)?;
        let place = Place { ident, name: "quarantine", older: "quarantine-older-snapshots" };
        Erasing::of(self, place, sought).run(record)
    }

    /// What is told and not looked into.
    fn others(&self, table: &Table, record: &mut Record) -> Result<()> {
        leftovers::dropped(self, record)?;
        let derived = table.metadata.properties().iter().find(|(key, _)| key.starts_with("laked.derived"));
        if let Some((key, value)) = derived {
            let why = "derived from this table and not looked into: erase there too";
            record.certificate.holds(format!("{key} = {value}"), why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_erased_once_at_a_time() {
        let (erasures, ident) = (Erasures::default(), TableIdent::from_strs(["n", "t"]).expect("a name"));
        let of = |condition: &str| Request { condition: condition.into(), ..Request::default() };
        let first = erasures.begin(&ident, &of("who = 'a'")).expect("begins");
        let refused = erasures.begin(&ident, &of(" who = 'a'")).err().expect("is refused");
        assert_eq!(refused.kind(), Kind::Conflict);
        assert!(erasures.begin(&ident, &of("who = 'b'")).is_ok(), "somebody else");
        assert!(erasures.begin(&ident, &Request { dry_run: true, ..of("who = 'a'") }).is_ok(), "nothing is done");
        drop(first);
        assert!(erasures.begin(&ident, &of("who = 'a'")).is_ok());
    }
}
