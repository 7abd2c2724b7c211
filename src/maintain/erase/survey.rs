//! Where a table has what is sought: which files of which of its snapshots.
//!
//! Every manifest of every kept snapshot is looked at once, and of the files that pruning cannot exclude the columns of the
//! condition are read. A row counts whether a delete hit it or not: its bytes are there. Besides rows there are
//!
//! - **equality delete files**, whose rows are values of the person's rows; one that has any is worked into the files it
//!   applies to, and is gone with them;
//! - **entries of removed files** in manifests, with the bounds of their columns. A manifest that names a removed file
//!   which held such rows is written anew without it; if that file is no longer there, its bounds and its partition decide;
//! - **entries whose partition has the values**, as in a table that is partitioned by the person's column: of removed files,
//!   and of deletes by position, which are worked into the files they apply to.
//!
//! What was read stays known, so that the looks after each step read only what is new.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{DataContentType, ManifestFile, TableMetadata};
use laked_catalog::Refs;
use laked_catalog::plan::{self, NamedFile, Plan as Scan, PlannedFile};
use laked_catalog::store::Store;

use super::bounds::{is_partition, tell};
use super::sought::Sought;
use crate::error::{Error, Kind, Result};
use crate::maintain::compact::{Applying, Erased, id_of, matching};

/// What has been read of a table so far.
#[derive(Debug)]
pub struct Survey {
    sought: Sought,
    lists: HashMap<String, Vec<ManifestFile>>,
    named: HashMap<String, Vec<Entry>>,
    found: Erased,
    /// Removed files that are no longer there.
    gone: HashSet<String>,
    undecided: HashMap<String, u64>,
    /// The current snapshot's files, as the last look planned them: by snapshot and schema.
    scan: Option<((i64, i32), Arc<Scan>)>,
}

/// What a manifest says of a file.
#[derive(Debug)]
struct Entry {
    named: NamedFile,
    /// Whether its partition has the values that are sought.
    is_partition: bool,
    /// Whether its partition or its bounds have them.
    tells: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Findings {
    /// All of the current snapshot's files; nothing if the table has none.
    pub scan: Option<Arc<Scan>>,
    /// Data files of the current snapshot that are to be rewritten.
    pub files: BTreeSet<String>,
    /// Those that have such rows themselves, and their rows.
    pub rows: Vec<(String, u64)>,
    /// Manifests of the current snapshot that are to be written anew, without the files that they say are gone.
    pub stale: BTreeSet<String>,
    /// Deletes that have such rows, or such a partition, and apply to nothing: by file, and for a deletion vector by where
    /// it begins in it.
    pub spent: BTreeSet<(String, Option<i64>)>,
    /// Other snapshots that reach such a file or manifest, oldest first; and of them those a branch or tag shows.
    pub snapshots: Vec<i64>,
    /// Branches and tags that show one of those.
    pub refs: Vec<(String, i64)>,
    /// Files of those snapshots that have such rows and are not the current one's, and their rows.
    pub older: Vec<(String, u64)>,
    /// Records in files of the current snapshot of which it cannot be told.
    pub undecided: u64,
}

impl Findings {
    /// Whether the current snapshot has nothing of it.
    pub fn is_current_clean(&self) -> bool {
        self.files.is_empty() && self.stale.is_empty() && self.spent.is_empty()
    }

    /// Snapshots that can expire: nothing shows them.
    pub fn expirable(&self) -> Vec<i64> {
        let shown: HashSet<i64> = self.refs.iter().map(|(_, id)| *id).collect();
        self.snapshots.iter().copied().filter(|id| !shown.contains(id)).collect()
    }
}

impl Survey {
    /// A look for this.
    pub fn new(sought: Sought) -> Survey {
        let (lists, named, found) = (HashMap::new(), HashMap::new(), Erased::new());
        Survey { sought, lists, named, found, gone: HashSet::new(), undecided: HashMap::new(), scan: None }
    }

    /// The rows of each file that has any.
    pub fn rows(&self) -> &Erased {
        &self.found
    }

    /// Looks at a table as it is.
    ///
    /// # Errors
    /// `Invalid` for files that are not Parquet; `Corrupt`; storage errors.
    pub fn look(&mut self, store: &Store, metadata: &TableMetadata, refs: &Refs) -> Result<Findings> {
        let mut findings = Findings::default();
        let listed = self.listed(store, metadata)?;
        self.read(store, metadata, &listed)?;
        let current = metadata.current_snapshot_id();
        if let Some(snapshot) = metadata.current_snapshot() {
            let key = (snapshot.snapshot_id(), metadata.current_schema_id());
            let scan = match self.scan.take().filter(|(of, _)| *of == key) {
                Some((_, scan)) => scan,
                None => Arc::new(plan::plan(store, metadata, Some(snapshot), self.sought.predicate(), true)?),
            };
            self.scan = Some((key, scan.clone()));
            self.look_at_current(metadata, &scan, &listed[&snapshot.snapshot_id()], &mut findings);
            findings.scan = Some(scan);
        }
        let reached: HashSet<&String> = current.iter().flat_map(|id| listed[id].iter()).collect();
        let now: HashSet<String> = reached.iter().flat_map(|manifest| self.held_by(manifest)).collect();
        let mut older: BTreeSet<String> = BTreeSet::new();
        let mut others: Vec<_> = metadata.snapshots().filter(|one| Some(one.snapshot_id()) != current).collect();
        others.sort_by_key(|one| (one.sequence_number(), one.timestamp_ms()));
        for snapshot in others {
            let manifests = &listed[&snapshot.snapshot_id()];
            if manifests.iter().any(|manifest| self.is_tainted(manifest)) {
                findings.snapshots.push(snapshot.snapshot_id());
                older.extend(manifests.iter().flat_map(|manifest| self.held_by(manifest)));
            }
        }
        let rows = |file: String| (self.found[&file].len(), file);
        let older = older.into_iter().filter(|file| !now.contains(file)).map(rows);
        findings.older = older.map(|(rows, file)| (file, rows)).collect();
        let tainted: HashSet<i64> = findings.snapshots.iter().copied().collect();
        let shown = refs.iter().map(|(name, reference)| (name.clone(), reference.snapshot_id));
        findings.refs = shown.filter(|(_, id)| tainted.contains(id)).collect();
        Ok(findings)
    }

    fn look_at_current(&self, metadata: &TableMetadata, scan: &Scan, manifests: &[String], findings: &mut Findings) {
        let has = |file: &PlannedFile| self.found.get(file.file.file_path()).map_or(0, |rows| rows.len());
        for file in scan.files.iter().filter(|file| has(file) > 0) {
            findings.rows.push((file.file.file_path().to_string(), has(file)));
            findings.files.insert(file.file.file_path().to_string());
        }
        let predicate = self.sought.predicate();
        let is_touched = |delete: &PlannedFile| has(delete) > 0 || is_partition(predicate, metadata, delete);
        let touched: HashSet<usize> = (0..scan.deletes.len()).filter(|&at| is_touched(&scan.deletes[at])).collect();
        if !touched.is_empty() {
            let applying = Applying::of(metadata, &scan.deletes);
            let mut spent = touched.clone();
            for file in &scan.files {
                let hits: Vec<usize> = applying.to(file).into_iter().filter(|at| touched.contains(at)).collect();
                if !hits.is_empty() {
                    findings.files.insert(file.file.file_path().to_string());
                    spent.retain(|at| !hits.contains(at));
                }
            }
            findings.spent = spent.iter().map(|&at| id_of(&scan.deletes[at].file)).collect();
        }
        let remembers = |manifest: &&String| self.remembers(manifest);
        findings.stale = manifests.iter().filter(remembers).cloned().collect();
        let unjudged = |file: &PlannedFile| self.undecided.get(file.file.file_path()).copied().unwrap_or(0);
        findings.undecided = scan.files.iter().map(unjudged).sum();
    }

    /// The manifests of every snapshot.
    fn listed(&mut self, store: &Store, metadata: &TableMetadata) -> Result<HashMap<i64, Vec<String>>> {
        let mut listed = HashMap::new();
        for snapshot in metadata.snapshots() {
            let list = snapshot.manifest_list();
            if !self.lists.contains_key(list) {
                self.lists.insert(list.to_string(), plan::manifests(store, metadata, snapshot)?);
            }
            let names = self.lists[list].iter().map(|manifest| manifest.manifest_path.clone()).collect();
            listed.insert(snapshot.snapshot_id(), names);
        }
        Ok(listed)
    }

    /// Reads what was not read yet: manifests, then the files that are part of the table, then the removed ones.
    fn read(&mut self, store: &Store, metadata: &TableMetadata, listed: &HashMap<i64, Vec<String>>) -> Result<()> {
        let kept: HashSet<&String> = listed.values().flatten().collect();
        for manifest in self.lists.values().flatten().filter(|manifest| kept.contains(&manifest.manifest_path)) {
            if !self.named.contains_key(&manifest.manifest_path) {
                let predicate = self.sought.predicate();
                let entry = |named: NamedFile| Entry {
                    is_partition: is_partition(predicate, metadata, &named.file),
                    tells: tell(predicate, metadata, &named.file),
                    named,
                };
                let named = plan::named(store, metadata, manifest, predicate)?.into_iter().map(entry).collect();
                self.named.insert(manifest.manifest_path.clone(), named);
            }
        }
        let entries = kept.iter().flat_map(|manifest| &self.named[*manifest]);
        let named: Vec<NamedFile> = entries.map(|entry| entry.named.clone()).collect();
        for alive in [true, false] {
            for one in named.iter().filter(|one| one.alive == alive) {
                self.read_file(store, metadata, one)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, store: &Store, metadata: &TableMetadata, one: &NamedFile) -> Result<()> {
        let (file, location) = (&one.file, one.file.file.file_path());
        let known: Option<HashSet<i32>> = match file.file.content_type() {
            DataContentType::Data => None,
            DataContentType::EqualityDeletes => {
                Some(file.file.equality_ids().unwrap_or_default().into_iter().collect())
            }
            // Row numbers tell nothing of anybody; its partition may.
            DataContentType::PositionDeletes => return Ok(()),
        };
        if self.found.contains_key(location) || self.gone.contains(location) {
            return Ok(());
        }
        let mut undecided = 0;
        let (sought, columns) = (&self.sought, self.sought.columns());
        let found =
            matching(store, metadata, file, columns, &mut |batch| sought.mask(batch, known.as_ref(), &mut undecided));
        match found {
            Ok(rows) => {
                self.undecided.insert(location.to_string(), undecided);
                self.found.insert(location.to_string(), rows);
            }
            Err(error) if error.kind() == Kind::NotFound && !one.alive => drop(self.gone.insert(location.to_string())),
            Err(error) if error.kind() == Kind::NotFound => {
                let message = "a file that a snapshot reaches is missing: run `lakectl doctor`, expire that snapshot";
                return Err(Error::new(Kind::Corrupt, message).because(error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn entries(&self, manifest: &str) -> impl Iterator<Item = &Entry> {
        self.named.get(manifest).into_iter().flatten()
    }

    /// Data files that a manifest says are part of the table, and that have such rows.
    fn held_by(&self, manifest: &str) -> Vec<String> {
        let alive = self.entries(manifest).filter(|one| one.named.alive && !one.is_delete());
        alive.map(Entry::location).filter(|file| self.has(file)).map(str::to_string).collect()
    }

    fn has(&self, file: &str) -> bool {
        self.found.get(file).is_some_and(|rows| !rows.is_empty())
    }

    /// Whether a manifest names a removed file that had such rows, or has such a partition.
    fn remembers(&self, manifest: &str) -> bool {
        self.entries(manifest).filter(|one| !one.named.alive).any(|one| {
            let file = one.location();
            one.is_partition || self.has(file) || self.gone.contains(file) && one.tells
        })
    }

    fn is_tainted(&self, manifest: &str) -> bool {
        let alive = |one: &Entry| one.named.alive && (self.has(one.location()) || one.is_delete() && one.is_partition);
        self.remembers(manifest) || self.entries(manifest).any(alive)
    }
}

impl Entry {
    fn location(&self) -> &str {
        self.named.file.file.file_path()
    }

    fn is_delete(&self) -> bool {
        self.named.file.file.content_type() != DataContentType::Data
    }
}
