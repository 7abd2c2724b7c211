//! The committer: the protocol of the module's head, for any number of tables at once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iceberg::TableIdent;
use iceberg::spec::DataFile;
use laked_catalog::store::{Staged, Store};
use laked_catalog::{Catalog, Change, Companions, Origin, Outcome as Answer, Table};
use uuid::Uuid;

use super::intents::{Intent, IntentTable, Intents};
use super::manifests::Known;
use super::marks::marks_of;
use super::plan::{Part, Planned, fits, plan, refresh, remember, stage};
use super::recover::clean_up;
use super::retry::Backoff;
use super::snapshot::{added_by, snapshot_id};
use crate::error::{Error, Kind, Result};
use crate::flow::{Committed, LaneId, Mark, Marks};
use crate::history::ingest_tip;

/// A sealed file.
#[derive(Debug)]
pub struct NewFile {
    /// The file, not yet published.
    pub staged: Staged,
    /// What its manifest says of it.
    pub data_file: DataFile,
}

/// A lane's mark, moved by a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The lane.
    pub lane: LaneId,
    /// The mark in the table when the rows were taken; `None` if it had none.
    pub from: Option<Mark>,
    /// The mark then.
    pub to: Mark,
}

/// What one table gets.
#[derive(Debug)]
pub struct Append {
    /// The table.
    pub ident: TableIdent,
    /// The table's UUID when the lane was opened.
    pub expect_uuid: Uuid,
    /// The schema the files were written with.
    pub schema_id: i32,
    /// The partition spec they were written with.
    pub spec_id: i32,
    /// The files; none just moves the marks.
    pub files: Vec<NewFile>,
    /// The marks that move with them.
    pub marks: Vec<Advance>,
    /// Lanes that are drained and gone: their marks are removed.
    pub retire: Vec<LaneId>,
    /// Further fields of the snapshot's summary.
    pub summary: Vec<(String, String)>,
}

/// How a commit ended.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    /// All tables have it; in the order of the appends.
    Committed(Vec<Committed>),
    /// A mark is not where the rows were taken from: they may be in the table already. The files are deleted; go on
    /// from these marks.
    Moved(Vec<(TableIdent, Marks)>),
    /// Schema or spec changed so that the files no longer fit. They are deleted; write the rows anew.
    Rewrite(Error),
}

type Wait = Arc<dyn Fn(Duration) + Send + Sync>;
type Slot = Arc<Mutex<Option<Known>>>;

/// Commits to the tables of one lake. Shared by all lanes; commits of one table queue, others run side by side.
#[derive(Clone)]
pub struct Committer {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub catalog: Catalog,
    pub store: Store,
    pub intents: Intents,
    wait: Wait,
    tables: Mutex<HashMap<TableIdent, Slot>>,
    /// Commits whose outcome nobody knows yet.
    unknown: Mutex<BTreeMap<Uuid, Vec<TableIdent>>>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("intents", &self.inner.intents).finish_non_exhaustive()
    }
}

impl Inner {
    /// Lets the calling thread wait before another try.
    pub fn pause(&self, time: Duration) {
        (self.wait)(time);
    }
}

/// A commit on its way: what stays the same over its attempts.
struct Running<'a> {
    commit: Uuid,
    expected: Vec<(TableIdent, Uuid)>,
    parts: Vec<Part>,
    advances: Vec<Vec<Advance>>,
    known: Vec<MutexGuard<'a, Option<Known>>>,
    /// Data files until they are published.
    staged: Vec<Staged>,
    begun: bool,
    attempts: usize,
}

/// One attempt's end.
enum Step {
    Done(Outcome),
    Again(Error),
}

impl Committer {
    /// A committer of the catalog's tables, with its intents in `folder`. Call [`Committer::recover`] before the first
    /// commit.
    ///
    /// # Errors
    /// As [`Intents::open`].
    pub fn new(catalog: Catalog, store: Store, folder: PathBuf) -> Result<Committer> {
        let clock = store.system().clock.clone();
        Self::with_wait(catalog, store, folder, Arc::new(move |time| clock.pause(time)))
    }

    /// Leaves nothing in the log of intents but what is open: ended ones name files, and partitions' values with them.
    ///
    /// # Errors
    /// Storage errors.
    pub fn forget_ended(&self) -> Result<()> {
        self.inner.intents.compact()
    }

    /// The same with another way to wait between tries: tests do not wait at all.
    ///
    /// # Errors
    /// As [`Intents::open`].
    pub fn with_wait(catalog: Catalog, store: Store, folder: PathBuf, wait: Wait) -> Result<Committer> {
        let intents = Intents::open(store.disk().clone(), folder)?;
        Ok(Committer {
            inner: Arc::new(Inner {
                catalog,
                store,
                intents,
                wait,
                tables: Mutex::default(),
                unknown: Mutex::default(),
            }),
        })
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Writes down what a commit that somebody else makes is about to publish, so that a death leaves none of it behind.
    /// Its snapshot carries the field [`COMMIT_ID`](super::COMMIT_ID).
    ///
    /// # Errors
    /// Storage errors; the intent then does not exist.
    pub fn announce(&self, intent: Intent) -> Result<()> {
        self.inner.intents.begin(intent)
    }

    /// Ends such an intent, once nobody doubts what became of the commit: what it has not used is removed.
    pub fn settle(&self, commit: Uuid) {
        clean_up(&self.inner, commit);
    }

    /// The intents that are open: commits on their way, or of unknown outcome.
    pub fn pending(&self) -> Vec<Intent> {
        self.inner.intents.pending()
    }

    /// Commits to all tables or none.
    ///
    /// # Errors
    /// `Unknown`: nobody knows; nothing was deleted, the caller acknowledges nothing, reads the marks again and goes on
    /// from there. Any other kind: nothing was committed and the files are gone.
    pub fn commit(&self, appends: Vec<Append>) -> Result<Outcome> {
        let slots: Vec<Slot> = appends.iter().map(|append| self.slot(&append.ident)).collect();
        let mut order: Vec<usize> = (0..appends.len()).collect();
        order.sort_by(|&a, &b| appends[a].ident.cmp(&appends[b].ident));
        if order.windows(2).any(|pair| appends[pair[0]].ident == appends[pair[1]].ident) {
            return Err(Error::new(Kind::Internal, "a commit names a table twice"));
        }
        let mut held: BTreeMap<usize, MutexGuard<'_, Option<Known>>> = BTreeMap::new();
        for index in order {
            held.insert(index, slots[index].lock().unwrap_or_else(PoisonError::into_inner));
        }
        let mut running = self.prepare(appends, held.into_values().collect())?;
        let ended = self.run(&mut running);
        self.finish(&running, ended)
    }

    fn slot(&self, ident: &TableIdent) -> Slot {
        let mut tables = self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.entry(ident.clone()).or_default().clone()
    }

    fn prepare<'a>(&self, appends: Vec<Append>, known: Vec<MutexGuard<'a, Option<Known>>>) -> Result<Running<'a>> {
        let ids = &self.inner.store.system().ids;
        let commit = ids.uuid();
        let mut running = Running {
            commit,
            expected: Vec::new(),
            parts: Vec::new(),
            advances: Vec::new(),
            known,
            staged: Vec::new(),
            begun: false,
            attempts: 0,
        };
        for append in appends {
            let table = self.inner.catalog.load(&append.ident)?;
            let (staged, files): (Vec<_>, Vec<_>) =
                append.files.into_iter().map(|file| (file.staged, file.data_file)).unzip();
            running.staged.extend(staged);
            running.parts.push(Part {
                commit,
                snapshot_id: snapshot_id(&table.metadata, || ids.uuid()),
                schema_id: append.schema_id,
                spec_id: append.spec_id,
                files,
                marks: append.marks.iter().map(|advance| (advance.lane, advance.to)).collect(),
                retire: append.retire,
                summary: append.summary,
            });
            running.expected.push((append.ident, append.expect_uuid));
            running.advances.push(append.marks);
        }
        Ok(running)
    }

    fn run(&self, running: &mut Running<'_>) -> Result<Outcome> {
        let mut backoff: Option<Backoff> = None;
        for attempt in 0.. {
            // Who lost once would lose to somebody faster each time.
            let again = || running.expected.iter().map(|(ident, _)| ident.clone()).collect();
            let turn = (attempt > 0).then(|| self.inner.catalog.take_turn(again()));
            let tables = self.load(running)?;
            let waits = backoff.get_or_insert_with(|| match tables.first() {
                Some(table) => Backoff::of_conflicts(&table.metadata),
                None => Backoff::none(),
            });
            let step = self.attempt(running, &tables, attempt)?;
            drop(turn);
            match step {
                Step::Done(outcome) => return Ok(outcome),
                Step::Again(error) => match waits.next() {
                    Some(wait) => (self.inner.wait)(wait),
                    None => return Err(error),
                },
            }
        }
        Err(Error::new(Kind::Internal, "a commit without an end"))
    }

    fn load(&self, running: &Running<'_>) -> Result<Vec<Arc<Table>>> {
        let load = |(ident, uuid): &(TableIdent, Uuid)| {
            let table = self.inner.catalog.load(ident)?;
            if table.metadata.uuid() == *uuid {
                return Ok(table);
            }
            Err(Error::new(
                Kind::Invalid,
                "another table has this name now; what was taken in was meant for the old one",
            )
            .with("table", ident)
            .with("expected", uuid)
            .with("found", table.metadata.uuid()))
        };
        running.expected.iter().map(load).collect()
    }

    fn attempt(&self, running: &mut Running<'_>, tables: &[Arc<Table>], attempt: usize) -> Result<Step> {
        if let Some(outcome) = obstacle(running, tables)? {
            return Ok(Step::Done(outcome));
        }
        running.attempts += 1;
        let now = self.inner.store.system().clock.now_ms();
        let mut planned = Vec::with_capacity(tables.len());
        for ((part, known), table) in running.parts.iter().zip(&mut running.known).zip(tables) {
            refresh(known, table, &self.inner.store)?;
            let known = known.as_ref().ok_or_else(|| Error::new(Kind::Internal, "a table's manifests are unknown"))?;
            planned.push(plan(part, table, known, &self.inner.store, now, attempt)?);
        }
        self.propose(running, tables, planned)
    }

    /// Hands the commit's files and changes to the catalog, again while nobody knows what became of them.
    fn propose(&self, running: &mut Running<'_>, tables: &[Arc<Table>], planned: Vec<Planned>) -> Result<Step> {
        let mut waits = match tables.first() {
            Some(table) => Backoff::of_unknowns(&table.metadata),
            None => Backoff::none(),
        };
        let mut error = match self.publish(running, tables, &planned)? {
            Answer::Committed(after) => return Ok(Step::Done(self.committed(running, planned, &after))),
            Answer::Conflict(error) => return Ok(Step::Again(error)),
            Answer::Refused(error) => return Err(error),
            Answer::Unknown(error) => error,
        };
        while let Some(wait) = waits.next() {
            (self.inner.wait)(wait);
            match self.inner.catalog.commit(changes(&planned, tables), Origin::Daemon) {
                Answer::Committed(after) => return Ok(Step::Done(self.committed(running, planned, &after))),
                // The first try landed, or can no longer land: this one had the same parent and snapshot ids.
                Answer::Conflict(refusal) | Answer::Refused(refusal) => match self.landed(running)? {
                    Some(after) => return Ok(Step::Done(self.committed(running, planned, &after))),
                    None if refusal.kind() == Kind::Conflict => return Ok(Step::Again(refusal)),
                    None => return Err(refusal),
                },
                Answer::Unknown(again) => error = again,
            }
        }
        let why = "nobody knows whether a commit took effect; it is resolved by the next one";
        Err(Error::new(Kind::Unknown, why).with("commit", running.commit).because(error))
    }

    /// Commits with the files that are not published yet; an intent is durable before the first of them has its name.
    fn publish(&self, running: &mut Running<'_>, tables: &[Arc<Table>], planned: &[Planned]) -> Result<Answer> {
        let sealed = running.staged.len();
        let mut files = std::mem::take(&mut running.staged);
        for planned in planned {
            files.extend(stage(&self.inner.store, &planned.files)?);
        }
        let names: Vec<String> = files.iter().map(|file| file.location().to_string()).collect();
        let (commit, announced) = (running.commit, AtomicBool::new(running.begun));
        let announce = || {
            if announced.load(Ordering::Acquire) {
                return self.inner.intents.more(commit, &names);
            }
            let tables = running.parts.iter().zip(tables).map(|(part, table)| intent_table(part, table)).collect();
            self.inner.intents.begin(Intent { commit, tables, files: names.clone() })?;
            announced.store(true, Ordering::Release);
            Ok(())
        };
        let mut companions = Companions { files, announce: &announce };
        let answer = self.inner.catalog.commit_with(changes(planned, tables), Origin::Daemon, &mut companions);
        // What was not published serves the next attempt, but for its manifests, which are this one's.
        let mut unpublished = companions.files;
        unpublished.truncate(sealed);
        running.staged = unpublished;
        running.begun = announced.into_inner();
        Ok(answer)
    }

    /// The tables, if they have our snapshots.
    fn landed(&self, running: &Running<'_>) -> Result<Option<Vec<Arc<Table>>>> {
        let unknown = |error: Error| Error::new(Kind::Unknown, "a commit's outcome cannot be read").because(error);
        let tables = self.load(running).map_err(unknown)?;
        let ours =
            |(part, table): (&Part, &Arc<Table>)| added_by(&table.metadata, running.commit, part.snapshot_id).is_some();
        Ok(running.parts.iter().zip(&tables).all(ours).then_some(tables))
    }

    /// The catalog has it: from here on nothing may fail.
    fn committed(&self, running: &mut Running<'_>, planned: Vec<Planned>, after: &[Arc<Table>]) -> Outcome {
        let mut done = Vec::with_capacity(after.len());
        for (((part, planned), known), table) in running.parts.iter().zip(planned).zip(&mut running.known).zip(after) {
            done.push(part.committed(&table.metadata));
            if let Some(known) = known.as_mut() {
                remember(part, planned, known, table);
            }
        }
        Outcome::Committed(done)
    }

    /// Ends the intent as the commit ended.
    fn finish(&self, running: &Running<'_>, ended: Result<Outcome>) -> Result<Outcome> {
        let unknown = || self.inner.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        match &ended {
            _ if !running.begun => {}
            Err(error) if error.kind() == Kind::Unknown => {
                unknown().insert(running.commit, running.expected.iter().map(|(ident, _)| ident.clone()).collect());
            }
            Ok(Outcome::Committed(_)) if running.attempts == 1 => self.inner.intents.end(running.commit),
            _ => clean_up(&self.inner, running.commit),
        }
        if matches!(ended, Ok(Outcome::Committed(_))) {
            // This commit moved the branches, so that an older one that has not landed by now never will.
            let ours = |tables: &Vec<TableIdent>| running.expected.iter().any(|(ident, _)| tables.contains(ident));
            let decided: Vec<Uuid> =
                unknown().extract_if(.., |_, tables| ours(tables)).map(|(commit, _)| commit).collect();
            decided.into_iter().for_each(|commit| clean_up(&self.inner, commit));
        }
        ended
    }
}

fn changes(planned: &[Planned], tables: &[Arc<Table>]) -> Vec<Change> {
    planned.iter().zip(tables).map(|(planned, table)| planned.change(table)).collect()
}

fn intent_table(part: &Part, table: &Table) -> IntentTable {
    let mut name: Vec<String> = table.ident.namespace().iter().cloned().collect();
    name.push(table.ident.name().to_string());
    let parent = ingest_tip(&table.metadata, &table.refs).map(|tip| tip.snapshot_id());
    IntentTable { name, uuid: table.metadata.uuid(), parent, snapshot: part.snapshot_id }
}

/// Why files that were sealed for an earlier state of their tables cannot be committed now.
fn obstacle(running: &Running<'_>, tables: &[Arc<Table>]) -> Result<Option<Outcome>> {
    let mut moved = false;
    let mut marks = Vec::with_capacity(tables.len());
    for ((part, advances), table) in running.parts.iter().zip(&running.advances).zip(tables) {
        let found = marks_of(&table.metadata)?;
        moved |= advances.iter().any(|advance| found.get(&advance.lane).copied() != advance.from);
        marks.push((table.ident.clone(), found));
        if part.files.is_empty() {
            continue;
        }
        if let Err(error) = fits(&table.metadata, part.schema_id, part.spec_id) {
            return Ok(Some(Outcome::Rewrite(error.with("table", &table.ident))));
        }
    }
    Ok(moved.then_some(Outcome::Moved(marks)))
}
