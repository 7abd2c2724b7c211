//! What lies where in a document, and what in it the `iceberg` crate's types have no place for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{
    EncryptedKey, FormatVersion, MetadataLog, PartitionSpec, PartitionStatisticsFile, Schema, SnapshotLog, SortOrder,
    StatisticsFile, TableMetadata,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::blocks::Blocks;
use super::overlay::is_strange;
use super::piece::Piece;

/// Where a piece's text lies; between neighbours are a comma and perhaps white space.
#[derive(Debug)]
pub struct Span<T> {
    pub item: Arc<T>,
    pub start: usize,
    pub end: usize,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        Self { item: self.item.clone(), start: self.start, end: self.end }
    }
}

/// The pieces of a document, and its strange fields.
#[derive(Debug, Default)]
pub struct Held {
    pub version: Option<FormatVersion>,
    pub schemas: Vec<Span<Schema>>,
    pub specs: Vec<Span<PartitionSpec>>,
    pub orders: Vec<Span<SortOrder>>,
    pub snapshots: Blocks,
    /// Whole fields at the top.
    pub fields: BTreeMap<String, Box<RawValue>>,
    /// Fields of refs, by the ref's name.
    pub refs: BTreeMap<String, Map<String, Value>>,
    /// Elements of the other lists, by their canonical text.
    pub items: HashMap<String, Value>,
}

/// The fields of a ref that have a place.
pub const REF: [&str; 5] = ["snapshot-id", "type", "min-snapshots-to-keep", "max-snapshot-age-ms", "max-ref-age-ms"];

/// Whether a document of that version has its field from us.
pub fn writes(version: FormatVersion, field: &str) -> bool {
    match field {
        "schema" | "partition-spec" => version == FormatVersion::V1,
        "last-sequence-number" => version != FormatVersion::V1,
        "next-row-id" | "encryption-keys" => version == FormatVersion::V3,
        _ => matches!(
            field,
            "format-version"
                | "table-uuid"
                | "location"
                | "last-updated-ms"
                | "last-column-id"
                | "schemas"
                | "current-schema-id"
                | "partition-specs"
                | "default-spec-id"
                | "last-partition-id"
                | "properties"
                | "current-snapshot-id"
                | "snapshot-log"
                | "metadata-log"
                | "sort-orders"
                | "default-sort-order-id"
                | "refs"
                | "statistics"
                | "partition-statistics"
                | "snapshots"
        ),
    }
}

impl Held {
    /// Takes a text apart whose metadata was read as `metadata`.
    ///
    /// # Errors
    /// If it is no JSON object: then `metadata` is not from it.
    pub fn find(json: &Bytes, metadata: &TableMetadata) -> serde_json::Result<Held> {
        let version = metadata.format_version();
        let top: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
        let mut held = Held {
            version: Some(version),
            schemas: spans(json, top.get("schemas"), metadata)?,
            specs: spans(json, top.get("partition-specs"), metadata)?,
            orders: spans(json, top.get("sort-orders"), metadata)?,
            snapshots: Blocks::of(json, spans(json, top.get("snapshots"), metadata)?),
            ..Held::default()
        };
        if let Some(refs) = top.get("refs") {
            held.find_refs(refs)?;
        }
        held.find_items::<StatisticsFile>(top.get("statistics"))?;
        held.find_items::<PartitionStatisticsFile>(top.get("partition-statistics"))?;
        held.find_items::<EncryptedKey>(top.get("encryption-keys"))?;
        held.find_items::<SnapshotLog>(top.get("snapshot-log"))?;
        held.find_items::<MetadataLog>(top.get("metadata-log"))?;
        let strange = top.into_iter().filter(|(field, _)| !writes(version, field));
        held.fields = strange.map(|(field, raw)| (field, raw.to_owned())).collect();
        Ok(held)
    }

    fn find_refs(&mut self, refs: &RawValue) -> serde_json::Result<()> {
        let all: Option<BTreeMap<String, Map<String, Value>>> = serde_json::from_str(refs.get())?;
        for (name, mut fields) in all.unwrap_or_default() {
            fields.retain(|field, _| !REF.contains(&field.as_str()));
            if !fields.is_empty() {
                self.refs.insert(name, fields);
            }
        }
        Ok(())
    }

    fn find_items<T: DeserializeOwned + Serialize>(&mut self, list: Option<&&RawValue>) -> serde_json::Result<()> {
        for raw in elements(list)? {
            let known: T = serde_json::from_str(raw.get())?;
            let known = serde_json::to_string(&known)?;
            // Most lists are as we wrote them: then the texts are the same.
            if known == raw.get() {
                continue;
            }
            let value: Value = serde_json::from_str(raw.get())?;
            if is_strange(&serde_json::from_str(&known)?, &value) {
                self.items.insert(known, value);
            }
        }
        Ok(())
    }
}

fn elements<'a>(list: Option<&&'a RawValue>) -> serde_json::Result<Vec<&'a RawValue>> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let all: Option<Vec<&RawValue>> = serde_json::from_str(list.get())?;
    Ok(all.unwrap_or_default())
}

fn spans<T: Piece>(
    json: &[u8],
    list: Option<&&RawValue>,
    metadata: &TableMetadata,
) -> serde_json::Result<Vec<Span<T>>> {
    let mut found = Vec::new();
    for raw in elements(list)? {
        let id = T::id_in(raw.get())?;
        // What a list holds twice counts once, as the last: that is what the crate reads.
        let Some(item) = T::by_id(metadata, id) else { continue };
        let start = raw.get().as_ptr().addr().saturating_sub(json.as_ptr().addr());
        found.push(Span { item: item.clone(), start, end: start + raw.get().len() });
    }
    Ok(found)
}
