//! Manifests and manifest lists, encoded in memory.
//!
//! A list names every manifest of the table, so the number of manifests must stay small and none may be read back for
//! a commit: what we wrote ourselves is kept in memory ([`Known`]). After a foreign commit the list is read again, unless the
//! snapshot is still ours (an expiry, a property); what is known of manifests that are listed still holds. What a list says of a manifest never changes, so its bytes are kept too: a
//! list costs what is new in it, however many manifests the table has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList,
    ManifestListWriter, ManifestStatus, ManifestWriterBuilder, PartitionSpecRef, SchemaRef, SnapshotRetention,
    TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use laked_catalog::Table;
use laked_catalog::store::{Store, kind_of};

use super::container::{Container, Records};
use crate::error::{Error, Kind, Result};
use crate::history::{ingest_branch, ingest_tip};

/// Manifests with more entries are read back when they are joined, instead of being kept.
const MOST_ENTRIES: usize = 64;
/// Entries kept for a table.
const MOST_KEPT: usize = 8192;

/// Wraps an error of the crate's Avro code.
pub(super) fn avro(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Corrupt, "a manifest cannot be written or read").because(error)
}

/// What is known of a table's manifests without reading them.
#[derive(Debug)]
pub(super) struct Known {
    /// The metadata file it holds for.
    pub metadata_location: String,
    /// The current snapshot's list; empty if there is none.
    pub list: String,
    /// The manifests in it, newest first.
    pub manifests: Vec<ManifestFile>,
    /// How `main` is retained: a commit sets the branch and must not drop that.
    pub retention: SnapshotRetention,
    /// Entries of manifests we wrote.
    pub entries: HashMap<String, Arc<Vec<ManifestEntry>>>,
    /// Manifests we joined: each of their entries spells out what others inherit.
    pub spelled: HashSet<String>,
    /// What the current list says of its manifests, if we wrote it.
    pub records: Option<Records>,
    kept: usize,
}

impl Known {
    fn nothing() -> Known {
        Known {
            metadata_location: String::new(),
            list: String::new(),
            manifests: Vec::new(),
            retention: SnapshotRetention::branch(None, None, None),
            entries: HashMap::new(),
            spelled: HashSet::new(),
            records: None,
            kept: 0,
        }
    }

    /// Reads the manifest list of the snapshot that the next commit comes upon, unless it is the one that is known.
    pub fn read(before: Option<Known>, table: &Table, store: &Store) -> Result<Known> {
        let metadata = &table.metadata;
        let list = ingest_tip(metadata, &table.refs).map_or("", |snapshot| snapshot.manifest_list());
        let retention = table.refs.get(ingest_branch(metadata)).map(|branch| branch.retention.clone());
        let retention = retention.unwrap_or(SnapshotRetention::branch(None, None, None));
        let metadata_location = table.metadata_location.clone();
        let before = before.unwrap_or_else(Known::nothing);
        // Another format may read the same list otherwise.
        let is_known = before.list == list && metadata.format_version() == FormatVersion::V2;
        let mut known = Known { metadata_location, retention, ..before };
        if !is_known {
            known.manifests = match list {
                "" => Vec::new(),
                list => read_list(store, list, metadata.format_version())?,
            };
            known.list = list.to_string();
            known.records = None;
            known.prune();
        }
        Ok(known)
    }

    /// Keeps the entries of a manifest we wrote, if they are few.
    pub fn keep(&mut self, path: &str, entries: Vec<ManifestEntry>) {
        if entries.len() <= MOST_ENTRIES && self.kept + entries.len() <= MOST_KEPT {
            self.kept += entries.len();
            self.entries.insert(path.to_string(), Arc::new(entries));
        }
    }

    /// Forgets the entries of manifests that are no longer listed.
    pub fn prune(&mut self) {
        let listed: HashSet<&str> = self.manifests.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
        self.entries.retain(|path, _| listed.contains(path.as_str()));
        self.spelled.retain(|path| listed.contains(path.as_str()));
        self.kept = self.entries.values().map(|entries| entries.len()).sum();
    }

    /// A manifest's live entries, with all they inherit.
    pub fn live(&self, manifest: &ManifestFile, store: &Store) -> Result<Vec<ManifestEntry>> {
        if let Some(entries) = self.entries.get(&manifest.manifest_path) {
            return Ok(entries.to_vec());
        }
        let read = read_manifest(store, manifest)?;
        let live = read.entries().iter().filter(|entry| entry.is_alive());
        Ok(live.map(|entry| ManifestEntry::clone(entry)).collect())
    }
}

/// Reads a manifest list.
pub(crate) fn read_list(store: &Store, location: &str, version: FormatVersion) -> Result<Vec<ManifestFile>> {
    let bytes = store.read(location)?;
    let list =
        ManifestList::parse_with_version(&bytes, version).map_err(|error| avro(error).with("location", location))?;
    Ok(list.consume_entries().into_iter().collect())
}

/// Reads a manifest; its entries inherit from the list.
pub(crate) fn read_manifest(store: &Store, manifest: &ManifestFile) -> Result<Manifest> {
    let read = block_on(manifest.load_manifest(&store.file_io()));
    read.map_err(|error| {
        let message = "a manifest cannot be read";
        Error::new(kind_of(&error), message).with("location", &manifest.manifest_path).because(error)
    })
}

/// An encoded file, not yet staged.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub location: String,
    pub bytes: Bytes,
}

/// What a manifest is written for.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub version: FormatVersion,
    pub schema: &'a SchemaRef,
    pub spec: &'a PartitionSpecRef,
    pub snapshot_id: i64,
    pub sequence_number: i64,
    pub location: String,
}

/// A manifest of new files.
pub(super) fn of_new<'a>(
    target: &Target<'_>,
    files: impl Iterator<Item = &'a DataFile>,
) -> Result<(ManifestFile, Encoded)> {
    encode(target, ManifestContentType::Data, |writer| {
        for file in files {
            writer.add_file(file.clone(), UNASSIGNED_SEQUENCE_NUMBER)?;
        }
        Ok(())
    })
}

/// A manifest of entries that are in the table already.
pub(super) fn of_old(target: &Target<'_>, entries: &[ManifestEntry]) -> Result<(ManifestFile, Encoded)> {
    encode(target, ManifestContentType::Data, |writer| keep(writer, entries))
}

/// A manifest of new files whose rows are as old as `data_sequence`.
pub(super) fn of_rewritten<'a>(
    target: &Target<'_>,
    data_sequence: i64,
    files: impl Iterator<Item = &'a DataFile>,
) -> Result<(ManifestFile, Encoded)> {
    encode(target, ManifestContentType::Data, |writer| {
        for file in files {
            writer.add_file(file.clone(), data_sequence)?;
        }
        Ok(())
    })
}

/// A manifest in the place of another: what stays of it, and what is removed with this snapshot.
pub(super) fn without(
    target: &Target<'_>,
    content: ManifestContentType,
    kept: &[ManifestEntry],
    removed: &[ManifestEntry],
) -> Result<(ManifestFile, Encoded)> {
    encode(target, content, |writer| {
        keep(writer, kept)?;
        for entry in removed {
            let (_, sequence) = inherited(entry)?;
            writer.add_delete_file(entry.data_file.clone(), sequence, entry.file_sequence_number)?;
        }
        Ok(())
    })
}

fn keep(writer: &mut iceberg::spec::ManifestWriter, entries: &[ManifestEntry]) -> iceberg::Result<()> {
    for entry in entries {
        let (snapshot, sequence) = inherited(entry)?;
        writer.add_existing_file(entry.data_file.clone(), snapshot, sequence, entry.file_sequence_number)?;
    }
    Ok(())
}

/// The snapshot and the sequence number that an entry has or inherited.
fn inherited(entry: &ManifestEntry) -> iceberg::Result<(i64, i64)> {
    let nothing = || iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "an entry that inherited nothing");
    entry.snapshot_id.zip(entry.sequence_number).ok_or_else(nothing)
}

fn encode(
    target: &Target<'_>,
    content: ManifestContentType,
    fill: impl FnOnce(&mut iceberg::spec::ManifestWriter) -> iceberg::Result<()>,
) -> Result<(ManifestFile, Encoded)> {
    let io = FileIO::new_with_memory();
    let write = || -> iceberg::Result<(ManifestFile, Bytes)> {
        let output = io.new_output(&target.location)?;
        let spec = target.spec.as_ref().clone();
        let builder = ManifestWriterBuilder::new(output, Some(target.snapshot_id), target.schema.clone(), spec);
        let mut writer = match (target.version, content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        };
        fill(&mut writer)?;
        let manifest = block_on(writer.write_manifest_file())?;
        let bytes = block_on(io.new_input(&target.location)?.read())?;
        Ok((manifest, bytes))
    };
    let (mut manifest, bytes) = write().map_err(avro)?;
    manifest.sequence_number = target.sequence_number;
    if manifest.min_sequence_number == UNASSIGNED_SEQUENCE_NUMBER {
        manifest.min_sequence_number = target.sequence_number;
    }
    Ok((manifest, Encoded { location: target.location.clone(), bytes }))
}

/// The entries of a new manifest as they will be inherited.
pub(super) fn entries_of<'a>(target: &Target<'_>, files: impl Iterator<Item = &'a DataFile>) -> Vec<ManifestEntry> {
    let entry = |file: &DataFile| ManifestEntry {
        status: ManifestStatus::Added,
        snapshot_id: Some(target.snapshot_id),
        sequence_number: Some(target.sequence_number),
        file_sequence_number: Some(target.sequence_number),
        data_file: file.clone(),
    };
    files.map(entry).collect()
}

/// A new snapshot, and the one it comes upon.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub snapshot: i64,
    pub parent: Option<i64>,
}

/// A manifest list of format 2: what an earlier list said of its manifests, behind the `new` ones.
pub(super) fn list_before(
    metadata: &TableMetadata,
    ids: Ids,
    location: String,
    new: &[ManifestFile],
    old: &Records,
) -> Result<Encoded> {
    let (encoded, _) = list(metadata, ids, location, new)?;
    let unread = || avro("a manifest list that was just written cannot be read");
    let parts = Container::of(&encoded.bytes).ok_or_else(unread)?;
    let bytes = parts.with(&parts.records.clone().and(old));
    Ok(Encoded { location: encoded.location, bytes })
}

/// What a list of format 2 says of its manifests, if it is what was to be written.
pub(super) fn records_of(metadata: &TableMetadata, list: &Encoded, manifests: usize) -> Option<Records> {
    let parts = Container::of(&list.bytes).filter(|_| metadata.format_version() == FormatVersion::V2)?;
    Some(parts.records).filter(|records| records.count == manifests as u64)
}

/// A manifest list; for format 3 also the first free row id after it.
pub(super) fn list(
    metadata: &TableMetadata,
    Ids { snapshot: snapshot_id, parent }: Ids,
    location: String,
    manifests: &[ManifestFile],
) -> Result<(Encoded, Option<u64>)> {
    let io = FileIO::new_with_memory();
    let sequence = metadata.next_sequence_number();
    let write = || -> iceberg::Result<(Bytes, Option<u64>)> {
        let output = block_on(io.new_output(&location)?.writer())?;
        let mut writer = match metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(output, snapshot_id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, snapshot_id, parent, sequence),
            FormatVersion::V3 => {
                ManifestListWriter::v3(output, snapshot_id, parent, sequence, Some(metadata.next_row_id()))
            }
        };
        writer.add_manifests(manifests.iter().cloned())?;
        let next = writer.next_row_id();
        block_on(writer.close())?;
        Ok((block_on(io.new_input(&location)?.read())?, next))
    };
    let (bytes, next) = write().map_err(avro)?;
    Ok((Encoded { location, bytes }, next))
}
