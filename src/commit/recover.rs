//! What becomes of a commit's files when it is over: leftovers of a committed one, everything of one that failed.
//!
//! A commit is told by its snapshot, whose summary holds the commit's id. Without the snapshot the commit did not take
//! effect, or its snapshot expired before the intent's end was durable; so where the branch has moved since, nothing
//! that any retained snapshot reaches is deleted. The catalog is this process's own database: a transaction of a dead
//! process cannot arrive late, so what the catalog says at open is final.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::Table;
use laked_catalog::store::Store;
use uuid::Uuid;

use super::committer::{Committer, Inner};
use super::intents::{Intent, IntentTable};
use super::manifests::{read_list, read_manifest};
use super::snapshot::added_by;
use crate::error::{Error, Kind, Result};
use crate::history::ingest_tip;

/// What [`Committer::recover`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Commits that had taken effect.
    pub committed: Vec<Uuid>,
    /// Commits that had not; their files are gone.
    pub removed: Vec<Uuid>,
    /// Commits whose table is gone; their files stay with it.
    pub left: Vec<Uuid>,
}

/// How an intent was settled.
enum Settled {
    Committed,
    Removed,
    Left,
}

impl Committer {
    /// Settles what an earlier process left open. To be called once, before the first commit.
    ///
    /// # Errors
    /// Storage and catalog errors: the lake must not be opened, since what is open may be half there.
    pub fn recover(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for intent in self.pending() {
            match settle(self.inner(), &intent, false)? {
                Settled::Committed => recovered.committed.push(intent.commit),
                Settled::Removed => recovered.removed.push(intent.commit),
                Settled::Left => recovered.left.push(intent.commit),
            }
        }
        self.inner().intents.compact()?;
        Ok(recovered)
    }
}

/// Settles a commit of this process that is over, and whose outcome is known. What cannot be deleted now stays an open
/// intent, for the next recovery.
pub(super) fn clean_up(inner: &Inner, commit: Uuid) {
    let found = inner.intents.pending().into_iter().find(|intent| intent.commit == commit);
    if let Some(Err(error)) = found.map(|intent| settle(inner, &intent, true)) {
        tracing::warn!(%commit, %error, "files of a commit that failed are still there; the next start removes them");
    }
}

fn settle(inner: &Inner, intent: &Intent, known_here: bool) -> Result<Settled> {
    let mut tables = Vec::with_capacity(intent.tables.len());
    for planned in &intent.tables {
        match inner.catalog.load(&ident_of(planned)?) {
            Ok(table) if table.metadata.uuid() == planned.uuid => tables.push((planned, table)),
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let landed = |(planned, table): &&(&IntentTable, Arc<Table>)| {
        added_by(&table.metadata, intent.commit, planned.snapshot).is_some()
    };
    let settled = if tables.iter().any(|table| landed(&table)) {
        delete(&inner.store, intent, &used_by(inner, intent, &tables)?)?;
        Settled::Committed
    } else if tables.len() < intent.tables.len() {
        Settled::Left
    } else {
        let moved = |(planned, table): &&(&IntentTable, Arc<Table>)| {
            let tip = ingest_tip(&table.metadata, &table.refs).map(|tip| tip.snapshot_id());
            !known_here && [table.metadata.current_snapshot_id(), tip].iter().any(|tip| *tip != planned.parent)
        };
        let mut used = HashSet::new();
        for (_, table) in tables.iter().filter(moved) {
            used.extend(reachable(&inner.store, table, &intent.files)?);
        }
        delete(&inner.store, intent, &used)?;
        Settled::Removed
    };
    inner.intents.end(intent.commit);
    Ok(settled)
}

fn ident_of(table: &IntentTable) -> Result<TableIdent> {
    let bad = || Error::new(Kind::Corrupt, "an intent names no table");
    let (name, levels) = table.name.split_last().ok_or_else(bad)?;
    let namespace = NamespaceIdent::from_strs(levels).map_err(|error| bad().because(error))?;
    Ok(TableIdent::new(namespace, name.clone()))
}

fn delete(store: &Store, intent: &Intent, used: &HashSet<String>) -> Result<()> {
    let unused: Vec<&str> = intent.files.iter().map(String::as_str).filter(|file| !used.contains(*file)).collect();
    // The intent ends after this, and with it the memory of these names.
    store.delete_durably(&unused)
}

/// What a committed intent's snapshots use of its files: all but the lists and manifests of attempts that lost.
fn used_by(inner: &Inner, intent: &Intent, tables: &[(&IntentTable, Arc<Table>)]) -> Result<HashSet<String>> {
    let mut used: HashSet<String> = intent.files.iter().filter(|file| !file.ends_with(".avro")).cloned().collect();
    for (planned, table) in tables {
        if let Some(snapshot) = table.metadata.snapshot_by_id(planned.snapshot) {
            let list = read_list(&inner.store, snapshot.manifest_list(), table.metadata.format_version())?;
            used.extend(list.into_iter().map(|manifest| manifest.manifest_path));
            used.insert(snapshot.manifest_list().to_string());
        }
    }
    Ok(used)
}

/// Which of `files` a retained snapshot of the table reaches.
fn reachable(store: &Store, table: &Table, files: &[String]) -> Result<HashSet<String>> {
    let wanted: HashSet<&str> = files.iter().map(String::as_str).collect();
    let mut used = HashSet::new();
    let mut seen = HashSet::new();
    for snapshot in table.metadata.snapshots() {
        used.insert(snapshot.manifest_list().to_string());
        for manifest in read_list(store, snapshot.manifest_list(), table.metadata.format_version())? {
            if !seen.insert(manifest.manifest_path.clone()) {
                continue;
            }
            for entry in read_manifest(store, &manifest)?.entries() {
                if entry.is_alive() && wanted.contains(entry.file_path()) {
                    used.insert(entry.file_path().to_string());
                }
            }
            used.insert(manifest.manifest_path);
        }
    }
    Ok(used)
}
