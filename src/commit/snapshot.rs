//! A snapshot's summary, with the names Java's writers use, so that other engines' tools read it. Pure.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, Operation, Snapshot, Struct, Summary, TableMetadata};
use uuid::Uuid;

use crate::flow::Committed;

/// The summary field that carries a commit's id: how an unknown outcome is recognised.
pub const COMMIT_ID: &str = "laked.commit-id";

/// What an append adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
    pub partitions: u64,
}

impl Added {
    pub fn of<'a>(files: impl Iterator<Item = &'a DataFile>) -> Self {
        let mut added = Added::default();
        let mut partitions: HashSet<&Struct> = HashSet::new();
        for file in files {
            added.files += 1;
            added.rows += file.record_count();
            added.bytes += file.file_size_in_bytes();
            partitions.insert(file.partition());
        }
        added.partitions = partitions.len() as u64;
        added
    }
}

/// Totals after an append: the parent's plus `added`. A total the parent does not state stays unstated, as in Java:
/// a wrong one would be worse.
fn totals(parent: Option<&Snapshot>, added: Added, summary: &mut HashMap<String, String>) {
    let fields = [
        ("total-data-files", added.files),
        ("total-records", added.rows),
        ("total-files-size", added.bytes),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    for (name, more) in fields {
        let before = match parent {
            None => Some(0),
            Some(parent) => parent.summary().additional_properties.get(name).and_then(|text| text.parse::<u64>().ok()),
        };
        if let Some(total) = before.and_then(|before| before.checked_add(more)) {
            summary.insert(name.to_string(), total.to_string());
        }
    }
}

/// The summary of an append. `own` are the fields of the commit: marks, its id, what the caller adds.
pub(super) fn summary(parent: Option<&Snapshot>, added: Added, own: &[(String, String)]) -> Summary {
    let mut fields: HashMap<String, String> = own.iter().cloned().collect();
    if added.files > 0 {
        fields.insert("added-data-files".into(), added.files.to_string());
        fields.insert("added-records".into(), added.rows.to_string());
        fields.insert("added-files-size".into(), added.bytes.to_string());
    }
    fields.insert("changed-partition-count".into(), added.partitions.to_string());
    fields.insert("engine-name".into(), "laked".into());
    fields.insert("engine-version".into(), env!("CARGO_PKG_VERSION").into());
    totals(parent, added, &mut fields);
    Summary { operation: Operation::Append, additional_properties: fields }
}

/// What a replacement adds and removes.
#[derive(Clone, Debug, Default)]
pub(super) struct Balance {
    added: [u64; 3],
    removed: [u64; 3],
    /// Delete files, positions and keys that are removed.
    deletes: [u64; 3],
    partitions: HashSet<Struct>,
}

impl Balance {
    /// A data file comes.
    pub fn adds(&mut self, file: &DataFile) {
        count(&mut self.added, [1, file.record_count(), file.file_size_in_bytes()]);
    }

    /// A data or delete file goes.
    pub fn removes(&mut self, file: &DataFile) {
        match file.content_type() {
            DataContentType::Data => count(&mut self.removed, [1, file.record_count(), file.file_size_in_bytes()]),
            DataContentType::PositionDeletes => {
                count(&mut self.deletes, [1, file.record_count(), 0]);
                self.removed[2] += file.file_size_in_bytes();
            }
            DataContentType::EqualityDeletes => {
                count(&mut self.deletes, [1, 0, file.record_count()]);
                self.removed[2] += file.file_size_in_bytes();
            }
        }
        self.partitions.insert(file.partition().clone());
    }
}

fn count(sums: &mut [u64; 3], more: [u64; 3]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// The summary of a replacement; `removes_rows` if rows go with it.
pub(super) fn replaced(
    parent: Option<&Snapshot>,
    balance: &Balance,
    own: &[(String, String)],
    removes_rows: bool,
) -> Summary {
    let mut fields: HashMap<String, String> = own.iter().cloned().collect();
    let Balance { added, removed, deletes, partitions } = balance;
    let said = [
        ("added-data-files", added[0]),
        ("added-records", added[1]),
        ("added-files-size", added[2]),
        ("deleted-data-files", removed[0]),
        ("deleted-records", removed[1]),
        ("removed-files-size", removed[2]),
        ("removed-delete-files", deletes[0]),
        ("removed-position-deletes", deletes[1]),
        ("removed-equality-deletes", deletes[2]),
    ];
    fields.extend(said.iter().filter(|(_, sum)| *sum > 0).map(|(name, sum)| ((*name).to_string(), sum.to_string())));
    fields.insert("changed-partition-count".into(), partitions.len().to_string());
    fields.insert("engine-name".into(), "laked".into());
    fields.insert("engine-version".into(), env!("CARGO_PKG_VERSION").into());
    let totals = [
        ("total-data-files", added[0], removed[0]),
        ("total-records", added[1], removed[1]),
        ("total-files-size", added[2], removed[2]),
        ("total-delete-files", 0, deletes[0]),
        ("total-position-deletes", 0, deletes[1]),
        ("total-equality-deletes", 0, deletes[2]),
    ];
    for (name, more, less) in totals {
        let before = parent.and_then(|parent| parent.summary().additional_properties.get(name)?.parse::<u64>().ok());
        if let Some(total) = before.and_then(|before| (before + more).checked_sub(less)) {
            fields.insert(name.into(), total.to_string());
        }
    }
    let operation = match (removes_rows, added[0]) {
        (false, _) => Operation::Replace,
        (true, 0) => Operation::Delete,
        (true, _) => Operation::Overwrite,
    };
    Summary { operation, additional_properties: fields }
}

/// A snapshot id from a UUID's bits, as Java makes them; never negative, never one the table has.
pub(super) fn snapshot_id(metadata: &TableMetadata, mut fresh: impl FnMut() -> Uuid) -> i64 {
    loop {
        let (high, low) = fresh().as_u64_pair();
        let id = i64::try_from((high ^ low) & (u64::MAX >> 1)).unwrap_or_default();
        if id > 0 && metadata.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

/// What a commit of ours did to a table, told from its snapshot; `None` if it is not there.
pub fn added_by(metadata: &TableMetadata, commit: Uuid, snapshot_id: i64) -> Option<Committed> {
    let snapshot = metadata.snapshot_by_id(snapshot_id)?;
    let fields = &snapshot.summary().additional_properties;
    if fields.get(COMMIT_ID) != Some(&commit.to_string()) {
        return None;
    }
    let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(Committed {
        snapshot_id,
        sequence_number: snapshot.sequence_number(),
        rows: number("added-records"),
        files: number("added-data-files"),
        bytes: number("added-files-size"),
    })
}
