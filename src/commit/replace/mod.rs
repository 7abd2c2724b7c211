//! Replacing data files by others with the same rows: what compaction commits (operation `replace`). An erase leaves rows
//! out, and is an `overwrite`, or a `delete` where whole files go.
//!
//! # Constraints
//! A reader sees the old files or the new ones. The new ones carry the sequence number of the snapshot that the old ones
//! were read at (specification, "Sequence Numbers"), so an equality delete that lands meanwhile still applies to their
//! rows. A delete by position names an old file and would be lost with it, so what it hits stays: a [`Part`] is replaced
//! whole or not at all, and a conflict drops the part, never the delete.
//!
//! # How it goes
//! `attempt` reads the table as it is, drops the parts that no longer hold, and makes manifests, list and change of the
//! rest. New files are published once, before the table is looked at, their names written down as an intent where there
//! is a log of them. Who loses a race begins anew with the table as it is then; the manifests of a lost attempt are
//! deleted. When nobody knows whether the catalog took a change, the very same one is sent again: as its parent is
//! required, only one of the two can take effect.
//!
//! # When a part no longer holds
//! One of its files is gone; a delete by position, or a deletion vector, has come for one; a delete that was left out of
//! the new files is gone, as after a rollback. Where files move to another spec, also: an equality delete has come for a
//! partition that is left, whose rows it would no longer hit, or for one that is entered, whose new rows it is not about.

mod attempt;
mod check;
mod manifests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use laked_catalog::store::{Staged, Store};
use laked_catalog::{Catalog, Change, Origin, Outcome as Answer, Refs, Turn};
use uuid::Uuid;

use self::attempt::{Attempt, attempt};
use self::check::Found;
pub use self::manifests::{Clustered, ListedManifest, Made, cluster, listed};
use super::committer::{Committer, NewFile};
use super::intents::{Intent, IntentTable, Intents};
use super::plan::stage;
use super::snapshot::{added_by, snapshot_id};
use crate::error::{Error, Kind, Result};

/// How often a commit is tried while others are faster, and how often an unknown outcome is looked into.
const TRIES: u32 = 200;
/// How long it is tried.
const LONGEST: Duration = Duration::from_secs(60);
/// The wait before the second try; doubled each time, up to the longest.
const WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// A delete file, or one deletion vector within a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeleteId {
    /// The file.
    pub location: String,
    /// Where the vector begins in it.
    pub offset: Option<i64>,
}

/// Files that take the place of others: of the same spec and partition, or moved to another spec.
#[derive(Debug)]
pub struct Part {
    /// The spec of the files that come.
    pub spec_id: i32,
    /// Locations of the data files that go.
    pub inputs: Vec<String>,
    /// The data files that come; none if all rows of the inputs are deleted.
    pub outputs: Vec<NewFile>,
    /// The deletes that the outputs have been cleared of.
    pub applied: Vec<DeleteId>,
}

/// A delete that is of no more use once the data files it applies to are gone.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The delete.
    pub delete: DeleteId,
    /// Every live data file that it applied to.
    pub targets: Vec<String>,
}

/// A replacement of data files of one table.
#[derive(Debug)]
pub struct Replacement {
    /// The table.
    pub ident: TableIdent,
    /// Its UUID.
    pub expect_uuid: Uuid,
    /// The schema the outputs were written with.
    pub schema_id: i32,
    /// The snapshot the inputs were read at.
    pub base: i64,
    /// Its sequence number, which the outputs get.
    pub sequence_number: i64,
    /// The manifests that listed its files.
    pub manifests: HashSet<String>,
    /// Its deletes.
    pub deletes: HashSet<DeleteId>,
    /// What takes the place of what.
    pub parts: Vec<Part>,
    /// Deletes that may go with them.
    pub spent: Vec<Spent>,
    /// Further fields of the snapshot's summary.
    pub summary: Vec<(String, String)>,
    /// Whether the outputs lack rows that were live: then it is no `replace`, and whoever reads changes must see it.
    pub removes_rows: bool,
}

/// What became of a replacement.
#[derive(Debug, Default)]
pub struct Replaced {
    /// The snapshot; `None` if no part held.
    pub snapshot_id: Option<i64>,
    /// The parts that were dropped, by number, and why; their outputs are gone.
    pub dropped: Vec<(usize, String)>,
}

/// Where tables are read and changed.
pub trait Tables {
    /// A table as it is now.
    ///
    /// # Errors
    /// `NotFound`; the catalog's.
    fn current(&self, ident: &TableIdent) -> Result<Current>;
    /// Changes a table.
    fn change(&self, change: Change) -> Answer;
    /// A turn for another attempt, where there are turns.
    fn turn(&self, _ident: &TableIdent) -> Option<Turn> {
        None
    }
}

/// A table as it is.
#[derive(Clone, Debug)]
pub struct Current {
    /// Its metadata.
    pub metadata: Arc<TableMetadata>,
    /// Its branches and tags.
    pub refs: Refs,
}

impl Tables for Catalog {
    fn current(&self, ident: &TableIdent) -> Result<Current> {
        let table = self.load(ident)?;
        Ok(Current { metadata: table.metadata.clone(), refs: table.refs.clone() })
    }

    fn change(&self, change: Change) -> Answer {
        self.commit(vec![change], Origin::Daemon)
    }

    fn turn(&self, ident: &TableIdent) -> Option<Turn> {
        Some(self.take_turn(vec![ident.clone()]))
    }
}

impl Committer {
    /// Replaces data files; the files are written down as an intent, so that a death leaves none of them behind.
    ///
    /// # Errors
    /// `Unknown`: nobody knows; nothing was deleted, and the next recovery settles it. Any other kind: nothing was
    /// committed and the new files are gone.
    pub fn replace(&self, replacement: Replacement) -> Result<Replaced> {
        let inner = self.inner();
        let pause = |time| inner.pause(time);
        replace(&inner.catalog, &inner.store, Some(&inner.intents), &pause, replacement)
    }

    /// Replaces manifests by others that list the same files.
    ///
    /// # Errors
    /// `Conflict` if one of them is gone: look at the table again; as [`Committer::replace`].
    pub fn cluster(&self, clustered: Clustered) -> Result<i64> {
        let inner = self.inner();
        let pause = |time| inner.pause(time);
        cluster(&inner.catalog, &inner.store, Some(&inner.intents), &pause, clustered)
    }
}

/// Replaces data files through a catalog, with a log of intents if there is one.
///
/// # Errors
/// As [`Committer::replace`]. Without a log a death between publishing and committing leaves orphans.
pub fn replace(
    tables: &dyn Tables,
    store: &Store,
    intents: Option<&Intents>,
    pause: &dyn Fn(Duration),
    replacement: Replacement,
) -> Result<Replaced> {
    let mut replacement = replacement;
    let mut staged = Vec::new();
    for part in &mut replacement.parts {
        let files = std::mem::take(&mut part.outputs).into_iter();
        staged.push(files.map(|file| (file.staged, file.data_file)).unzip());
    }
    let table = (replacement.ident.clone(), replacement.expect_uuid);
    let mut running = Running::new(tables, store, intents, pause, table, Work::Files(replacement))?;
    running.staged = staged;
    let ended = running.run();
    running.finish(&ended);
    ended
}

/// What is replaced.
enum Work {
    Files(Replacement),
    Manifests(Clustered),
}

/// A replacement on its way.
struct Running<'a> {
    tables: &'a dyn Tables,
    store: &'a Store,
    intents: Option<&'a Intents>,
    pause: &'a dyn Fn(Duration),
    ident: TableIdent,
    expect_uuid: Uuid,
    commit: Uuid,
    snapshot_id: i64,
    work: Work,
    /// For each part its files until they are published, and what the manifest says of them.
    staged: Vec<(Vec<Staged>, Vec<iceberg::spec::DataFile>)>,
    /// Every file that has its name, and is not known to be of use.
    published: BTreeSet<String>,
    dropped: Vec<(usize, String)>,
    /// What the last attempt read of the table.
    found: Found,
    begun: bool,
}

impl<'a> Running<'a> {
    fn new(
        tables: &'a dyn Tables,
        store: &'a Store,
        intents: Option<&'a Intents>,
        pause: &'a dyn Fn(Duration),
        (ident, expect_uuid): (TableIdent, Uuid),
        work: Work,
    ) -> Result<Self> {
        let ids = &store.system().ids;
        let (commit, current) = (ids.uuid(), tables.current(&ident)?);
        Ok(Running {
            tables,
            store,
            intents,
            pause,
            ident,
            expect_uuid,
            commit,
            snapshot_id: snapshot_id(&current.metadata, || ids.uuid()),
            work,
            staged: Vec::new(),
            published: BTreeSet::new(),
            dropped: Vec::new(),
            found: Found::default(),
            begun: false,
        })
    }

    fn run(&mut self) -> Result<Replaced> {
        let mut refusal = None;
        let data: Vec<Staged> = self.staged.iter_mut().flat_map(|(staged, _)| std::mem::take(staged)).collect();
        if !data.is_empty() {
            // Before the table is looked at: the less is between the look and the change, the fewer are faster.
            let current = self.current()?;
            self.publish(data, &current)?;
        }
        let clock = &self.store.system().clock;
        let began = clock.monotonic();
        for tried in 0..TRIES {
            if tried > 0 {
                if clock.monotonic() - began > LONGEST {
                    break;
                }
                (self.pause)(LONGEST_WAIT.min(WAIT * (1 << tried.min(10))));
            }
            let _turn = if tried > 0 { self.tables.turn(&self.ident) } else { None };
            let current = self.current()?;
            let Some(attempt) = attempt(self, &current, tried)? else {
                return Ok(Replaced { snapshot_id: None, dropped: std::mem::take(&mut self.dropped) });
            };
            self.publish(stage(self.store, &attempt.encoded)?, &current)?;
            match self.propose(&current, &attempt)? {
                None => {
                    attempt.used.iter().for_each(|location| {
                        self.published.remove(location);
                    });
                    let dropped = std::mem::take(&mut self.dropped);
                    return Ok(Replaced { snapshot_id: Some(self.snapshot_id), dropped });
                }
                Some(conflict) => refusal = Some(conflict),
            }
        }
        let why = "others committed to the table faster each time; nothing of this is kept: try again when fewer write";
        let lost = Error::new(Kind::Conflict, why).with("table", &self.ident);
        Err(match refusal {
            Some(refusal) => lost.because(refusal),
            None => lost,
        })
    }

    fn removes_rows(&self) -> bool {
        matches!(&self.work, Work::Files(replacement) if replacement.removes_rows)
    }

    fn current(&self) -> Result<Current> {
        let current = self.tables.current(&self.ident)?;
        if current.metadata.uuid() == self.expect_uuid {
            return Ok(current);
        }
        Err(Error::new(Kind::Conflict, "another table has this name now; its files are left as they are")
            .with("table", &self.ident))
    }

    /// Publishes files, their names written down before.
    fn publish(&mut self, files: Vec<Staged>, current: &Current) -> Result<()> {
        let names: Vec<String> = files.iter().map(|file| file.location().to_string()).collect();
        let (begun, commit, intents) = (self.begun, self.commit, self.intents);
        let intent = self.intent(&current.metadata, names.clone());
        let announce = || match intents {
            None => Ok(()),
            Some(intents) if begun => intents.more(commit, &names),
            Some(intents) => intents.begin(intent.clone()),
        };
        // From here on an intent may be open and a name be taken, whether publishing succeeds or not.
        let outcome = self.store.publish_after(files, &announce);
        self.begun = true;
        self.published.extend(names);
        outcome
    }

    fn intent(&self, metadata: &TableMetadata, files: Vec<String>) -> Intent {
        let ident = &self.ident;
        let mut name: Vec<String> = ident.namespace().iter().cloned().collect();
        name.push(ident.name().to_string());
        let (uuid, parent) = (metadata.uuid(), metadata.current_snapshot_id());
        let table = IntentTable { name, uuid, parent, snapshot: self.snapshot_id };
        Intent { commit: self.commit, tables: vec![table], files }
    }

    /// Sends a change until its outcome is known: nothing if it took effect, else why it is to be tried anew.
    fn propose(&mut self, current: &Current, attempt: &Attempt) -> Result<Option<Error>> {
        let mut unknown = None;
        for tried in 0..TRIES / 20 {
            let answer = self.tables.change(attempt.change(&self.ident, current));
            match answer {
                Answer::Committed(_) => return Ok(None),
                Answer::Conflict(error) | Answer::Refused(error) if unknown.is_some() => {
                    // An earlier try may be the one that was faster.
                    return if self.landed()? { Ok(None) } else { self.lost(attempt, error) };
                }
                Answer::Conflict(error) => return self.lost(attempt, error),
                Answer::Refused(error) => return Err(error),
                Answer::Unknown(error) => unknown = Some(error),
            }
            (self.pause)(LONGEST_WAIT.min(WAIT * (4 << tried.min(10))));
        }
        let why = "nobody knows whether the new files were committed; they are left where they are: look at the table's \
                   history, then compact again";
        let error = Error::new(Kind::Unknown, why).with("snapshot", self.snapshot_id);
        Err(match unknown {
            Some(cause) => error.because(cause),
            None => error,
        })
    }

    fn lost(&mut self, attempt: &Attempt, error: Error) -> Result<Option<Error>> {
        if error.kind() != Kind::Conflict {
            return Err(error);
        }
        let lost: Vec<&str> = attempt.encoded.iter().map(|file| file.location.as_str()).collect();
        self.store.delete_durably(&lost)?;
        lost.iter().for_each(|location| {
            self.published.remove(*location);
        });
        Ok(Some(error))
    }

    fn landed(&self) -> Result<bool> {
        let unknown = |error: Error| Error::new(Kind::Unknown, "a commit's outcome cannot be read").because(error);
        let current = self.tables.current(&self.ident).map_err(unknown)?;
        Ok(added_by(&current.metadata, self.commit, self.snapshot_id).is_some())
    }

    /// Removes what is of no use, unless nobody knows what is, and ends the intent.
    fn finish(&self, ended: &Result<Replaced>) {
        if !self.begun || matches!(ended, Err(error) if error.kind() == Kind::Unknown) {
            return;
        }
        let unused: Vec<&str> = self.published.iter().map(String::as_str).collect();
        match self.store.delete_durably(&unused) {
            Ok(()) => {
                if let Some(intents) = self.intents {
                    intents.end(self.commit);
                }
            }
            Err(error) => tracing::warn!(%error, "files of a replacement that are of no use are still there"),
        }
    }
}
