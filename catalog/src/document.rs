//! A table's metadata as JSON, written without serialising again what has not changed.
//!
//! A commit adds one snapshot to thousands. The `iceberg` crate serialises by deep-cloning all of them, which makes a
//! commit slower with each that came before. Here a [`Document`] knows where each snapshot's text lies in it, and the
//! next one copies those texts: snapshots never change, so the same `Arc` means the same text. What remains (schemas,
//! logs, properties) is small.
//!
//! The crate has no getter for refs, so they are kept beside the metadata ([`Refs`]) and follow the changes that the
//! builder reports.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use iceberg::TableUpdate;
use iceberg::spec::{
    EncryptedKey, FormatVersion, MAIN_BRANCH, MetadataLog, PartitionSpec, PartitionStatisticsFile, Schema, Snapshot,
    SnapshotLog, SnapshotRef, SnapshotReference, SnapshotRetention, SortOrder, StatisticsFile, Summary, TableMetadata,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Branches and tags by name.
pub type Refs = BTreeMap<String, SnapshotReference>;

/// The JSON text of a table's metadata.
#[derive(Debug)]
pub struct Document {
    json: Bytes,
    spans: Vec<Span>,
}

/// Where a snapshot's text lies; between neighbours is one comma.
#[derive(Debug)]
struct Span {
    snapshot: SnapshotRef,
    start: usize,
    end: usize,
}

impl Document {
    /// A document as it was read.
    pub fn read(json: Bytes) -> Self {
        Self { json, spans: Vec::new() }
    }

    /// The text.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Writes `metadata`, taking from `previous` the snapshots they share.
    ///
    /// # Errors
    /// `Internal` if something in it has no JSON form.
    pub fn write(metadata: &TableMetadata, refs: &Refs, previous: Option<&Document>) -> Result<Self> {
        if metadata.format_version() == FormatVersion::V1 {
            return Ok(Self::read(serde_json::to_vec(metadata).map_err(unserialisable)?.into()));
        }
        let expected = previous.map_or(0, |previous| previous.json.len());
        let mut writer = Writer { json: Vec::with_capacity(expected + 8192), spans: Vec::new() };
        serde_json::to_writer(&mut writer.json, &Head::of(metadata, refs)).map_err(unserialisable)?;
        writer.json.pop();
        writer.json.extend_from_slice(b",\"snapshots\":[");
        if let Some(previous) = previous {
            writer.copy(metadata, previous);
        }
        writer.add_new(metadata)?;
        writer.json.extend_from_slice(b"]}");
        Ok(Self { json: writer.json.into(), spans: writer.spans })
    }
}

struct Writer {
    json: Vec<u8>,
    spans: Vec<Span>,
}

impl Writer {
    /// Copies what is still there, whole runs at a time.
    fn copy(&mut self, metadata: &TableMetadata, previous: &Document) {
        let kept = |span: &&Span| {
            metadata
                .snapshot_by_id(span.snapshot.snapshot_id())
                .is_some_and(|held| std::sync::Arc::ptr_eq(held, &span.snapshot))
        };
        for run in
            previous.spans.chunk_by(|a, b| kept(&a) == kept(&b)).filter(|run| run.first().is_some_and(|s| kept(&s)))
        {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            self.comma();
            let start = self.json.len();
            self.json.extend_from_slice(&previous.json[first.start..last.end]);
            self.spans.extend(run.iter().map(|span| Span {
                snapshot: span.snapshot.clone(),
                start: start + span.start - first.start,
                end: start + span.end - first.start,
            }));
        }
    }

    fn add_new(&mut self, metadata: &TableMetadata) -> Result<()> {
        if self.spans.len() == metadata.snapshots().len() {
            return Ok(());
        }
        let held: HashSet<i64> = self.spans.iter().map(|span| span.snapshot.snapshot_id()).collect();
        let mut fresh: Vec<&SnapshotRef> =
            metadata.snapshots().filter(|snapshot| !held.contains(&snapshot.snapshot_id())).collect();
        fresh.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms(), snapshot.snapshot_id()));
        for snapshot in fresh {
            self.comma();
            let start = self.json.len();
            serde_json::to_writer(&mut self.json, &SnapshotForm::of(snapshot)).map_err(unserialisable)?;
            self.spans.push(Span { snapshot: snapshot.clone(), start, end: self.json.len() });
        }
        Ok(())
    }

    fn comma(&mut self) {
        if !self.spans.is_empty() {
            self.json.push(b',');
        }
    }
}

fn unserialisable(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "serialising table metadata").because(error)
}

/// All of a metadata document but its snapshots.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Head<'a> {
    format_version: FormatVersion,
    table_uuid: uuid::Uuid,
    location: &'a str,
    last_sequence_number: i64,
    last_updated_ms: i64,
    last_column_id: i32,
    schemas: Vec<&'a Schema>,
    current_schema_id: i32,
    partition_specs: Vec<&'a PartitionSpec>,
    default_spec_id: i32,
    last_partition_id: i32,
    properties: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_snapshot_id: Option<i64>,
    snapshot_log: &'a [SnapshotLog],
    metadata_log: &'a [MetadataLog],
    sort_orders: Vec<&'a SortOrder>,
    default_sort_order_id: i64,
    refs: &'a Refs,
    statistics: Vec<&'a StatisticsFile>,
    partition_statistics: Vec<&'a PartitionStatisticsFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_row_id: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    encryption_keys: Vec<&'a EncryptedKey>,
}

impl<'a> Head<'a> {
    fn of(metadata: &'a TableMetadata, refs: &'a Refs) -> Self {
        let mut schemas: Vec<&Schema> = metadata.schemas_iter().map(AsRef::as_ref).collect();
        schemas.sort_by_key(|schema| schema.schema_id());
        let mut partition_specs: Vec<&PartitionSpec> = metadata.partition_specs_iter().map(AsRef::as_ref).collect();
        partition_specs.sort_by_key(|spec| spec.spec_id());
        let mut sort_orders: Vec<&SortOrder> = metadata.sort_orders_iter().map(AsRef::as_ref).collect();
        sort_orders.sort_by_key(|order| order.order_id);
        Self {
            format_version: metadata.format_version(),
            table_uuid: metadata.uuid(),
            location: metadata.location(),
            last_sequence_number: metadata.last_sequence_number(),
            last_updated_ms: metadata.last_updated_ms(),
            last_column_id: metadata.last_column_id(),
            schemas,
            current_schema_id: metadata.current_schema_id(),
            partition_specs,
            default_spec_id: metadata.default_partition_spec_id(),
            last_partition_id: metadata.last_partition_id(),
            properties: metadata.properties().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            current_snapshot_id: metadata.current_snapshot_id(),
            snapshot_log: metadata.history(),
            metadata_log: metadata.metadata_log(),
            sort_orders,
            default_sort_order_id: metadata.default_sort_order_id(),
            refs,
            statistics: metadata.statistics_iter().collect(),
            partition_statistics: metadata.partition_statistics_iter().collect(),
            next_row_id: (metadata.format_version() == FormatVersion::V3).then(|| metadata.next_row_id()),
            encryption_keys: metadata.encryption_keys_iter().collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapshotForm<'a> {
    snapshot_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_snapshot_id: Option<i64>,
    sequence_number: i64,
    timestamp_ms: i64,
    manifest_list: &'a str,
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_row_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
}

impl<'a> SnapshotForm<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot_id: snapshot.snapshot_id(),
            parent_snapshot_id: snapshot.parent_snapshot_id(),
            sequence_number: snapshot.sequence_number(),
            timestamp_ms: snapshot.timestamp_ms(),
            manifest_list: snapshot.manifest_list(),
            summary: snapshot.summary(),
            schema_id: snapshot.schema_id(),
            first_row_id: snapshot.first_row_id(),
            added_rows: snapshot.added_rows_count(),
            key_id: snapshot.encryption_key_id(),
        }
    }
}

/// The refs of a document that was read.
///
/// # Errors
/// `Corrupt` if they cannot be read as such.
pub fn refs_of(json: &[u8], metadata: &TableMetadata) -> Result<Refs> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(default)]
        refs: Option<Refs>,
    }
    let only: Only = serde_json::from_slice(json)
        .map_err(|error| Error::new(Kind::Corrupt, "the refs in table metadata cannot be read").because(error))?;
    let mut refs = only.refs.unwrap_or_default();
    add_main(&mut refs, metadata);
    Ok(refs)
}

/// The refs after the changes that a builder reports.
pub fn refs_after(mut refs: Refs, changes: &[TableUpdate], metadata: &TableMetadata) -> Refs {
    for change in changes {
        match change {
            TableUpdate::SetSnapshotRef { ref_name, reference } => {
                refs.insert(ref_name.clone(), reference.clone());
            }
            TableUpdate::RemoveSnapshotRef { ref_name } => {
                refs.remove(ref_name);
            }
            TableUpdate::RemoveSnapshots { snapshot_ids } => {
                let removed: HashSet<&i64> = snapshot_ids.iter().collect();
                refs.retain(|_, reference| !removed.contains(&reference.snapshot_id));
            }
            _ => {}
        }
    }
    add_main(&mut refs, metadata);
    refs
}

/// Tables of format 1 may have a current snapshot and no refs.
fn add_main(refs: &mut Refs, metadata: &TableMetadata) {
    if let Some(id) = metadata.current_snapshot_id().filter(|_| !refs.contains_key(MAIN_BRANCH)) {
        refs.insert(MAIN_BRANCH.into(), SnapshotReference::new(id, SnapshotRetention::branch(None, None, None)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{NestedField, Operation, PrimitiveType, TableMetadataBuilder, Type, UnboundPartitionSpec};
    use std::collections::HashMap;

    fn snapshot(id: i64, parent: Option<i64>, base: i64) -> Snapshot {
        let summary = Summary { operation: Operation::Append, additional_properties: HashMap::new() };
        Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(id)
            .with_timestamp_ms(base + id)
            .with_manifest_list(format!("file:///t/metadata/snap-{id}.avro"))
            .with_summary(summary)
            .with_schema_id(0)
            .build()
    }

    fn empty() -> TableMetadata {
        let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
        let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
        let (spec, order) = (UnboundPartitionSpec::builder().build(), SortOrder::unsorted_order());
        let properties = HashMap::from([("k".to_string(), "v".to_string())]);
        TableMetadataBuilder::new(schema, spec, order, "file:///t".into(), FormatVersion::V2, properties)
            .and_then(TableMetadataBuilder::build)
            .expect("builds")
            .metadata
    }

    fn add(id: i64, branch: &str, base: i64) -> Vec<TableUpdate> {
        let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
        let parent = (id > 1).then_some(id - 1);
        vec![
            TableUpdate::AddSnapshot { snapshot: snapshot(id, parent, base) },
            TableUpdate::SetSnapshotRef { ref_name: branch.into(), reference },
        ]
    }

    /// Each document, whatever was copied into it, says what the crate's own serialiser says.
    #[test]
    fn documents_say_what_the_metadata_is() {
        let base = empty().last_updated_ms();
        let mut steps: Vec<Vec<TableUpdate>> = (1..=6).map(|id| add(id, "main", base)).collect();
        steps.push(add(7, "audit", base));
        steps.push(vec![TableUpdate::RemoveSnapshots { snapshot_ids: vec![1, 3, 4] }]);
        steps.push(vec![TableUpdate::RemoveSnapshotRef { ref_name: "audit".into() }]);
        steps.push(add(8, "main", base));
        let (mut metadata, mut refs) = (empty(), Refs::new());
        let mut document = Document::write(&metadata, &refs, None).expect("writes");
        for updates in steps {
            let builder = metadata.into_builder(Some("file:///t/metadata/x.metadata.json".into()));
            let builder = updates.into_iter().try_fold(builder, |builder, update| update.apply(builder));
            let built = builder.and_then(TableMetadataBuilder::build).expect("builds");
            refs = refs_after(refs, &built.changes, &built.metadata);
            metadata = built.metadata;
            document = Document::write(&metadata, &refs, Some(&document)).expect("writes");
            let parsed: TableMetadata = serde_json::from_slice(document.json()).expect("parses");
            assert_eq!(parsed, metadata);
            assert_eq!(refs_of(document.json(), &metadata).expect("reads"), refs);
        }
        assert_eq!(refs.keys().collect::<Vec<_>>(), ["main"]);
        assert_eq!(document.spans.len(), 5);
    }
}
