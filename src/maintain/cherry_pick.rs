//! Cherry-picking: what a snapshot elsewhere added, added to `main` too.
//!
//! A snapshot that comes straight from the current one becomes the current one, and nothing is written. Of another, which
//! must be an append, the files it added are appended by a snapshot of their own that names it (`source-snapshot-id`, as
//! Iceberg's Java does; of a write-audit-publish snapshot `published-wap-id` too). What is shown already is refused: a
//! snapshot that the current one comes from, one that was picked before, a `wap.id` that was published.
//!
//! A manifest and a list are written and durable before the commit, their names in a [`Journal`] before them: who loses
//! deletes them, and so does whoever opens the lake after a death. Only format 2 is appended to: format 1 has no sequence numbers, and in format 3 rows have ids, which a file that
//! is in two snapshots' first lists would have twice.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, ManifestList, ManifestListWriter, ManifestStatus,
    ManifestWriterBuilder, Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary, TableMetadata,
    UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use laked_catalog::store::{Store, kind_of};
use laked_catalog::{Catalog, Change, Origin, Outcome, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Edit;
use crate::error::{Error, Kind, Result};
use crate::history::{ancestry, figure};

const SOURCE: &str = "source-snapshot-id";
const WAP: &str = "wap.id";
const PUBLISHED: &str = "published-wap-id";
/// How often a commit is tried while others are faster, and how long it waits before the second try; doubled each time.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// The snapshot.
    pub snapshot: i64,
    /// Plan only.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was picked, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The current snapshot before.
    pub from: Option<i64>,
    /// The current snapshot then; none if it is not made yet.
    pub to: Option<i64>,
    /// Whether the snapshot itself became the current one.
    pub fast_forward: bool,
    /// Files it added.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Pick<'a> {
    /// `main` moves to it.
    Forward(&'a Snapshot),
    /// Its files are appended.
    Append(&'a Snapshot),
}

/// Plans a pick. Pure.
///
/// # Errors
/// `NotFound` if there is no such snapshot; `Invalid` if it is shown already or cannot be picked.
pub fn plan(metadata: &TableMetadata, id: i64) -> Result<Pick<'_>> {
    let picked = metadata.snapshot_by_id(id).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("snapshot {id} is not in the table; see `lakectl snapshots`"))
    })?;
    let current = metadata.current_snapshot_id();
    let field = |snapshot: &Snapshot, key: &str| snapshot.summary().additional_properties.get(key).cloned();
    let refuse = |why: String| Err(Error::new(Kind::Invalid, why));
    let wap = field(picked, WAP);
    for shown in current.into_iter().flat_map(|current| ancestry(metadata, current)) {
        let by = shown.snapshot_id();
        if by == id {
            return refuse(format!("snapshot {id} is shown already: the current one comes from it"));
        }
        if field(shown, SOURCE) == Some(id.to_string()) {
            return refuse(format!("snapshot {id} was picked already, by {by}"));
        }
        if wap.is_some() && [field(shown, WAP), field(shown, PUBLISHED)].contains(&wap) {
            return refuse(format!("{WAP} {} was published already, by {by}", wap.unwrap_or_default()));
        }
    }
    if picked.parent_snapshot_id() == current {
        return Ok(Pick::Forward(picked));
    }
    if picked.summary().operation != Operation::Append {
        let operation = picked.summary().operation.as_str();
        return refuse(format!("snapshot {id} is of operation {operation}: only appends are picked beside others"));
    }
    if metadata.format_version() != FormatVersion::V2 {
        return refuse("only tables of format 2 are picked into; a branch can be fast-forwarded".into());
    }
    Ok(Pick::Append(picked))
}

/// What a pick would do.
///
/// # Errors
/// As [`plan`].
pub fn preview(catalog: &Catalog, ident: &TableIdent, request: &Request) -> Result<Report> {
    let table = catalog.load(ident)?;
    Ok(plan(&table.metadata, request.snapshot)?.report(&table.metadata, true))
}

impl Pick<'_> {
    fn report(&self, metadata: &TableMetadata, dry_run: bool) -> Report {
        let (Pick::Forward(picked) | Pick::Append(picked)) = self;
        Report {
            from: metadata.current_snapshot_id(),
            to: None,
            fast_forward: matches!(self, Pick::Forward(_)),
            files: figure(picked, "added-data-files"),
            rows: figure(picked, "added-records"),
            bytes: figure(picked, "added-files-size"),
            dry_run,
        }
    }
}

/// What a pick is about to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The pick.
    pub run: Uuid,
    /// The table.
    pub ident: TableIdent,
    /// Its UUID.
    pub table: Uuid,
    /// The current snapshot, from which it starts.
    pub parent: Option<i64>,
    /// The snapshot to be.
    pub snapshot: i64,
    /// Every file.
    pub files: Vec<String>,
}

/// Where picks write down what they publish, so that a death leaves nothing behind.
pub trait Journal {
    /// Writes it down, durably. Gives the fields by which the snapshot is told afterwards.
    ///
    /// # Errors
    /// Storage errors; nothing is to be published then.
    fn begin(&self, announced: Announced) -> Result<Vec<(String, String)>>;
    /// The pick is over, and nobody doubts how: what it has not used is removed.
    fn end(&self, run: Uuid);
}

/// Plans, and unless it is a dry run commits.
///
/// # Errors
/// As [`plan`]; `Corrupt` for manifests that cannot be read; `Conflict` if others were faster each time; `Unknown`.
pub fn cherry_pick(catalog: &Catalog, ident: &TableIdent, request: &Request, journal: &dyn Journal) -> Result<Report> {
    let clock = &catalog.store().system().clock;
    for tried in 0..TRIES {
        let table = catalog.load(ident)?;
        let pick = plan(&table.metadata, request.snapshot)?;
        let mut report = pick.report(&table.metadata, request.dry_run);
        if request.dry_run {
            return Ok(report);
        }
        let (run, outcome) = match pick {
            Pick::Forward(picked) => {
                report.to = Some(picked.snapshot_id());
                (None, commit(catalog, ident, forward(&table, picked.snapshot_id())))
            }
            Pick::Append(picked) => {
                let appending = Appending::of(catalog.store(), &table, picked)?;
                report.to = Some(appending.id);
                let appended = appending.publish(&table, picked, journal);
                let run = appending.run;
                let edit = appended.inspect_err(|_| journal.end(run))?;
                (Some(run), commit(catalog, ident, edit))
            }
        };
        if let (Some(run), false) = (run, matches!(outcome, Outcome::Unknown(_))) {
            journal.end(run);
        }
        match outcome {
            Outcome::Committed(_) => return Ok(report),
            Outcome::Conflict(_) if tried + 1 < TRIES => clock.pause(WAIT * (1 << tried)),
            Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => return Err(error),
        }
    }
    Err(Error::new(Kind::Internal, "a pick without an end"))
}

fn forward(table: &Table, id: i64) -> Edit {
    let held = table.refs.get(MAIN_BRANCH).map(|main| main.retention.clone());
    let reference = SnapshotReference::new(id, held.unwrap_or(SnapshotRetention::branch(None, None, None)));
    let mut edit = Edit::of(&table.metadata);
    let snapshot_id = table.metadata.current_snapshot_id();
    edit.requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.into(), snapshot_id });
    edit.updates.push(TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference });
    edit
}

fn unreadable(error: iceberg::Error) -> Error {
    Error::new(kind_of(&error), "a manifest cannot be read or written").because(error)
}

pub(super) fn manifests_of(store: &Store, metadata: &TableMetadata, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
    let bytes = store.read(snapshot.manifest_list())?;
    let list = ManifestList::parse_with_version(&bytes, metadata.format_version()).map_err(unreadable)?;
    Ok(list.consume_entries().into_iter().collect())
}

/// The files a snapshot added, by their spec.
pub(super) fn added(
    store: &Store,
    metadata: &TableMetadata,
    picked: &Snapshot,
) -> Result<BTreeMap<i32, Vec<DataFile>>> {
    let id = picked.snapshot_id();
    let mut added: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
    for manifest in manifests_of(store, metadata, picked)?.iter().filter(|manifest| manifest.added_snapshot_id == id) {
        let read = block_on(manifest.load_manifest(&store.file_io())).map_err(unreadable)?;
        let own = read.entries().iter();
        let own = own.filter(|entry| entry.status() == ManifestStatus::Added && entry.snapshot_id() == Some(id));
        added.entry(manifest.partition_spec_id).or_default().extend(own.map(|entry| entry.data_file().clone()));
    }
    added.retain(|_, files| !files.is_empty());
    Ok(added)
}

fn commit(catalog: &Catalog, ident: &TableIdent, edit: Edit) -> Outcome {
    let change = Change { ident: ident.clone(), requirements: edit.requirements, updates: edit.updates };
    catalog.commit(vec![change], Origin::Rest)
}

/// An append of what a snapshot added, before anything of it is written.
struct Appending<'a> {
    store: &'a Store,
    run: Uuid,
    id: i64,
    /// By their spec, each with the place of its manifest.
    added: BTreeMap<i32, (String, Vec<DataFile>)>,
    list: String,
}

impl<'a> Appending<'a> {
    fn of(store: &'a Store, table: &Table, picked: &Snapshot) -> Result<Self> {
        let metadata = &table.metadata;
        let run = store.system().ids.uuid();
        let (high, low) = run.as_u64_pair();
        let id = ((high ^ low) & (u64::MAX >> 1)).cast_signed();
        let folder = metadata.properties().get("write.metadata.path").cloned();
        let folder = folder.unwrap_or_else(|| format!("{}/metadata", metadata.location()));
        let placed = |(spec, files)| (spec, (format!("{folder}/{run}-m{spec}.avro"), files));
        let added = added(store, metadata, picked)?.into_iter().map(placed).collect();
        Ok(Self { store, run, id, added, list: format!("{folder}/snap-{id}-{run}.avro") })
    }

    /// Writes manifests and a list, announced before; gives the change.
    fn publish(&self, table: &Table, picked: &Snapshot, journal: &dyn Journal) -> Result<Edit> {
        let metadata = &table.metadata;
        let (id, parent) = (self.id, metadata.current_snapshot_id());
        let files = self.added.values().map(|(location, _)| location.clone()).chain([self.list.clone()]).collect();
        let (run, ident, table_uuid) = (self.run, table.ident.clone(), metadata.uuid());
        let fields = journal.begin(Announced { run, ident, table: table_uuid, parent, snapshot: id, files })?;
        let mut manifests = Vec::new();
        for (spec, (location, files)) in &self.added {
            manifests.push(write_manifest(self.store, metadata, id, (*spec, files), location)?);
        }
        if let Some(current) = metadata.current_snapshot() {
            manifests.extend(manifests_of(self.store, metadata, current)?);
        }
        self.write_list(metadata, manifests)?;
        let mut summary = summary(metadata, picked, self.added.values().flat_map(|(_, files)| files));
        summary.additional_properties.extend(fields);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(self.store.system().clock.now_ms().max(metadata.last_updated_ms()))
            .with_manifest_list(self.list.clone())
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build();
        let mut edit = forward(table, id);
        edit.updates.insert(0, TableUpdate::AddSnapshot { snapshot });
        Ok(edit)
    }

    fn write_list(&self, metadata: &TableMetadata, manifests: Vec<ManifestFile>) -> Result<()> {
        let (io, list) = (FileIO::new_with_memory(), &self.list);
        let (parent, sequence) = (metadata.current_snapshot_id(), metadata.next_sequence_number());
        let encoded = || -> iceberg::Result<bytes::Bytes> {
            let output = block_on(io.new_output(list)?.writer())?;
            let mut writer = ManifestListWriter::v2(output, self.id, parent, sequence);
            writer.add_manifests(manifests.into_iter())?;
            block_on(writer.close())?;
            block_on(io.new_input(list)?.read())
        };
        self.store.put(list, &encoded().map_err(unreadable)?)
    }
}

fn write_manifest(
    store: &Store,
    metadata: &TableMetadata,
    id: i64,
    (spec, files): (i32, &[DataFile]),
    location: &str,
) -> Result<ManifestFile> {
    let gone = || Error::new(Kind::Corrupt, "a manifest's partition spec is not in the table").with("spec", spec);
    let spec = metadata.partition_spec_by_id(spec).ok_or_else(gone)?.as_ref().clone();
    let io = FileIO::new_with_memory();
    let write = || -> iceberg::Result<(ManifestFile, bytes::Bytes)> {
        let output = io.new_output(location)?;
        let schema = metadata.current_schema().clone();
        let mut writer = ManifestWriterBuilder::new(output, Some(id), schema, spec).build_v2_data();
        for file in files {
            writer.add_file(file.clone(), UNASSIGNED_SEQUENCE_NUMBER)?;
        }
        let manifest = block_on(writer.write_manifest_file())?;
        Ok((manifest, block_on(io.new_input(location)?.read())?))
    };
    let (mut manifest, bytes) = write().map_err(unreadable)?;
    let sequence = metadata.next_sequence_number();
    (manifest.sequence_number, manifest.min_sequence_number) = (sequence, sequence);
    store.put(location, &bytes)?;
    Ok(manifest)
}

fn summary<'a>(metadata: &TableMetadata, picked: &Snapshot, files: impl Iterator<Item = &'a DataFile>) -> Summary {
    let [count, rows, bytes] = files.fold([0, 0, 0], |[count, rows, bytes], file| {
        [count + 1, rows + file.record_count(), bytes + file.file_size_in_bytes()]
    });
    let mut fields = HashMap::from([(SOURCE.to_string(), picked.snapshot_id().to_string())]);
    let wap = picked.summary().additional_properties.get(WAP);
    fields.extend(wap.map(|wap| (PUBLISHED.to_string(), wap.clone())));
    let parts = [("data-files", count), ("records", rows), ("files-size", bytes)];
    for (name, more) in parts {
        fields.insert(format!("added-{name}"), more.to_string());
        // A total that the parent does not state stays unstated.
        let before = metadata.current_snapshot().map_or(Some(0), |parent| {
            parent.summary().additional_properties.get(&format!("total-{name}"))?.parse::<u64>().ok()
        });
        fields.extend(before.map(|before| (format!("total-{name}"), (before + more).to_string())));
    }
    for name in ["total-delete-files", "total-position-deletes", "total-equality-deletes"] {
        let before = metadata.current_snapshot().and_then(|at| at.summary().additional_properties.get(name));
        fields.extend(before.map(|before| (name.to_string(), before.clone())));
    }
    Summary { operation: Operation::Append, additional_properties: fields }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::histories::History;

    struct Nowhere;

    impl Journal for Nowhere {
        fn begin(&self, announced: Announced) -> Result<Vec<(String, String)>> {
            assert!(announced.files.len() == 2 && announced.parent.is_some(), "{announced:?}");
            Ok(Vec::new())
        }

        fn end(&self, _: Uuid) {}
    }

    fn current(history: &History) -> i64 {
        history.table().metadata.current_snapshot_id().expect("a snapshot")
    }

    #[test]
    fn a_pick_shows_what_the_snapshot_added_and_only_once() {
        let mut history = History::new(1, &[]);
        history.append(MAIN_BRANCH);
        history.append("side");
        let first = history.table().refs["side"].snapshot_id;
        history.append("side");
        let second = history.table().refs["side"].snapshot_id;
        history.append(MAIN_BRANCH);
        let pick = |history: &History, snapshot, dry_run| {
            cherry_pick(&history.catalog, &history.ident, &Request { snapshot, dry_run }, &Nowhere)
        };
        let before = current(&history);
        let dry = pick(&history, second, true).expect("plans");
        assert_eq!((current(&history), dry.to, dry.fast_forward), (before, None, false));
        let done = pick(&history, second, false).expect("is picked");
        let table = history.table();
        assert_eq!((done.from, done.to), (Some(before), table.metadata.current_snapshot_id()));
        let shown = added(history.store(), &table.metadata, table.metadata.current_snapshot().expect("one"));
        let source = table.metadata.snapshot_by_id(second).expect("is there");
        let wanted = added(history.store(), &table.metadata, source).expect("reads");
        assert_eq!(shown.expect("reads"), wanted, "what it added, and nothing else");
        let manifests = manifests_of(history.store(), &table.metadata, table.metadata.current_snapshot().expect("one"));
        assert_eq!(manifests.expect("reads").len(), 3, "two that were there, and one");
        for (id, said) in [(second, "picked already"), (before, "shown already"), (77, "not in the table")] {
            let error = pick(&history, id, false).expect_err("is refused");
            assert!(error.to_string().contains(said), "{error}");
        }
        pick(&history, first, false).expect("its sister can be picked too");
    }

    #[test]
    fn what_comes_straight_from_the_current_one_becomes_it() {
        let mut history = History::new(2, &[]);
        history.append(MAIN_BRANCH);
        history.append("side");
        let side = history.table().refs["side"].snapshot_id;
        let files = history.files();
        let request = Request { snapshot: side, dry_run: false };
        let done = cherry_pick(&history.catalog, &history.ident, &request, &Nowhere).expect("is picked");
        assert_eq!((done.fast_forward, current(&history)), (true, side));
        assert_eq!(history.files(), files, "nothing is written");
    }
}
