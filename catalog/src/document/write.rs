//! Writing a document: copied where it is as it was, serialised anew where it is not.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{FormatVersion, PartitionSpec, Schema, Snapshot, SnapshotRef, SortOrder, TableMetadata};
use serde::Serialize;
use serde_json::Value;

use super::blocks::Blocks;
use super::held::{Held, REF, Span, writes};
use super::overlay::overlay;
use super::piece::{Few, Piece};
use super::said::Said;
use super::{Previous, Refs};
use crate::error::{Error, Kind, Result};

/// A document that is being written.
pub struct Writer<'a> {
    json: Vec<u8>,
    metadata: &'a TableMetadata,
    said: &'a Said,
    previous: Option<(Previous<'a>, &'a Held)>,
    held: Held,
}

pub fn unserialisable(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "serialising table metadata").because(error)
}

impl<'a> Writer<'a> {
    pub fn new(metadata: &'a TableMetadata, said: &'a Said, previous: Option<(Previous<'a>, &'a Held)>) -> Self {
        let held = Held { version: Some(metadata.format_version()), ..Held::default() };
        Self { json: Vec::with_capacity(8192), metadata, said, previous, held }
    }

    /// Writes all but the snapshots, whose texts are in what is held, and the two brackets after them.
    ///
    /// # Errors
    /// `Internal` if something in it has no JSON form.
    pub fn write(mut self, refs: &Refs) -> Result<(Bytes, Held)> {
        self.json.push(b'{');
        self.write_head().and_then(|()| self.write_rest(refs)).map_err(unserialisable)?;
        // It is kept for as long as the table is: no longer than it is, or thousands of tables keep what they never used.
        self.json.shrink_to_fit();
        Ok((self.json.into(), self.held))
    }

    fn write_head(&mut self) -> serde_json::Result<()> {
        let metadata = self.metadata;
        let version = metadata.format_version();
        self.field("format-version", &version)?;
        self.field("table-uuid", &metadata.uuid())?;
        self.field("location", metadata.location())?;
        if version != FormatVersion::V1 {
            self.field("last-sequence-number", &metadata.last_sequence_number())?;
        }
        self.field("last-updated-ms", &metadata.last_updated_ms())?;
        self.field("last-column-id", &metadata.last_column_id())?;
        self.pieces::<Schema>()?;
        self.field("current-schema-id", &metadata.current_schema_id())?;
        self.pieces::<PartitionSpec>()?;
        self.field("default-spec-id", &metadata.default_partition_spec_id())?;
        if version == FormatVersion::V1 {
            self.write_current()?;
        }
        self.field("last-partition-id", &metadata.last_partition_id())?;
        let properties: std::collections::BTreeMap<&String, &String> = metadata.properties().iter().collect();
        self.field("properties", &properties)?;
        metadata.current_snapshot_id().map_or(Ok(()), |id| self.field("current-snapshot-id", &id))
    }

    /// Format 1 has the current schema and spec a second time, for readers older than the lists.
    fn write_current(&mut self) -> serde_json::Result<()> {
        let schema = self.text_of::<Schema>(i64::from(self.metadata.current_schema_id()))?;
        self.field("schema", &schema)?;
        let spec = self.text_of::<PartitionSpec>(i64::from(self.metadata.default_partition_spec_id()))?;
        self.field("partition-spec", &spec.and_then(|spec| spec.get("fields").cloned()))
    }

    fn text_of<T: Few>(&self, id: i64) -> serde_json::Result<Option<Value>> {
        let found = T::spans(&self.held).iter().find(|span| span.item.id() == id);
        found.map(|span| serde_json::from_slice(&self.json[span.start..span.end])).transpose()
    }

    fn write_rest(&mut self, refs: &Refs) -> serde_json::Result<()> {
        let metadata = self.metadata;
        self.items("snapshot-log", metadata.history())?;
        self.items("metadata-log", metadata.metadata_log())?;
        self.pieces::<SortOrder>()?;
        self.field("default-sort-order-id", &metadata.default_sort_order_id())?;
        self.write_refs(refs)?;
        let mut statistics: Vec<_> = metadata.statistics_iter().collect();
        statistics.sort_by_key(|file| file.snapshot_id);
        self.items("statistics", &statistics)?;
        let mut statistics: Vec<_> = metadata.partition_statistics_iter().collect();
        statistics.sort_by_key(|file| file.snapshot_id);
        self.items("partition-statistics", &statistics)?;
        if metadata.format_version() == FormatVersion::V3 {
            self.field("next-row-id", &metadata.next_row_id())?;
            let mut keys: Vec<_> = metadata.encryption_keys_iter().collect();
            keys.sort_by_key(|key| key.key_id());
            if !keys.is_empty() {
                self.items("encryption-keys", &keys)?;
            }
        }
        self.strange_fields()?;
        self.snapshots()
    }

    fn key(&mut self, name: &str) -> serde_json::Result<()> {
        if self.json.last() != Some(&b'{') {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, name)?;
        self.json.push(b':');
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> serde_json::Result<()> {
        self.key(name)?;
        serde_json::to_writer(&mut self.json, value)
    }

    /// Fields at the top that have no place in the crate's types, as they were.
    fn strange_fields(&mut self) -> serde_json::Result<()> {
        let Some((_, previous)) = self.previous else { return Ok(()) };
        let version = self.metadata.format_version();
        for (name, raw) in previous.fields.iter().filter(|(name, _)| !writes(version, name)) {
            // The two that only format 1 writes say nothing in a later one.
            if previous.version == Some(FormatVersion::V1) && writes(FormatVersion::V1, name) {
                continue;
            }
            self.field(name, raw)?;
            self.held.fields.insert(name.clone(), raw.clone());
        }
        Ok(())
    }

    fn write_refs(&mut self, refs: &Refs) -> serde_json::Result<()> {
        for (name, raw) in &self.said.refs {
            let mut fields = raw.as_object().cloned().unwrap_or_default();
            fields.retain(|field, _| !REF.contains(&field.as_str()) && field != "action" && field != "ref-name");
            self.held.refs.entry(name.clone()).or_default().append(&mut fields);
        }
        if let Some((_, previous)) = self.previous {
            for (name, fields) in &previous.refs {
                let kept = self.held.refs.entry(name.clone()).or_default();
                for (field, value) in fields {
                    kept.entry(field.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        self.held.refs.retain(|name, fields| refs.contains_key(name) && !fields.is_empty());
        if self.held.refs.is_empty() {
            return self.field("refs", refs);
        }
        let mut all = serde_json::to_value(refs)?;
        for (name, fields) in &self.held.refs {
            if let Some(Value::Object(known)) = all.get_mut(name) {
                known.extend(fields.clone());
            }
        }
        self.field("refs", &all)
    }

    /// A list whose elements are small; what one of them had beyond the crate's type stays with it.
    fn items<T: Serialize>(&mut self, name: &str, list: &[T]) -> serde_json::Result<()> {
        let strange = |text: &String| {
            let said = self.said.items.iter().rev().find(|(known, _)| known == text).map(|(_, raw)| raw);
            said.or_else(|| self.previous.and_then(|(_, previous)| previous.items.get(text)))
        };
        let none = self.said.items.is_empty() && self.previous.is_none_or(|(_, previous)| previous.items.is_empty());
        if none {
            return self.field(name, list);
        }
        let (mut all, mut kept) = (Vec::with_capacity(list.len()), Vec::new());
        for item in list {
            let text = serde_json::to_string(item)?;
            let mut value: Value = serde_json::from_str(&text)?;
            if let Some(raw) = strange(&text) {
                overlay(&mut value, raw);
                kept.push((text, value.clone()));
            }
            all.push(value);
        }
        self.held.items.extend(kept);
        self.field(name, &all)
    }

    /// The pieces of which there are few: those that are as they were are copied, whole runs at a time; then the new
    /// ones.
    fn pieces<T: Few>(&mut self) -> serde_json::Result<()> {
        self.key(T::FIELD)?;
        self.json.push(b'[');
        if let Some((previous, held)) = self.previous.filter(|(_, held)| self.is_same_version(held)) {
            self.copy::<T>(&previous.document.text, held);
        }
        if T::spans(&self.held).len() < T::count(self.metadata) {
            self.add_new::<T>()?;
        }
        self.json.push(b']');
        Ok(())
    }

    fn is_same_version(&self, held: &Held) -> bool {
        held.version == Some(self.metadata.format_version())
    }

    /// The snapshots, which come last: the text ends with the bracket that opens their list.
    fn snapshots(&mut self) -> serde_json::Result<()> {
        self.key(Snapshot::FIELD)?;
        self.json.push(b'[');
        let metadata = self.metadata;
        let (mut kept, fresh) = match self.previous.filter(|(_, held)| self.is_same_version(held)) {
            Some((previous, held)) => match previous.only_adds(held.snapshots.len(), metadata) {
                Some(fresh) => (held.snapshots.clone(), fresh),
                None => self.compared(held.snapshots.kept_in(metadata)),
            },
            None => self.compared(Blocks::default()),
        };
        for snapshot in fresh {
            let old = self.previous.and_then(|(_, held)| held.snapshots.text_of(snapshot));
            kept.push(snapshot.clone(), &self.new_text::<Snapshot>(snapshot, old)?);
        }
        self.held.snapshots = kept;
        Ok(())
    }

    /// What is kept, and what of the metadata is not in it.
    fn compared(&self, kept: Blocks) -> (Blocks, Vec<&'a SnapshotRef>) {
        let written = kept.ids();
        let mut fresh = Snapshot::all(self.metadata);
        fresh.retain(|snapshot| !written.contains(&snapshot.snapshot_id()));
        fresh.sort_by_key(|snapshot| snapshot.rank());
        (kept, fresh)
    }

    fn copy<T: Few>(&mut self, text: &[u8], previous: &Held) {
        let metadata = self.metadata;
        let is_kept =
            |span: &Span<T>| T::by_id(metadata, span.item.id()).is_some_and(|held| Arc::ptr_eq(held, &span.item));
        let spans = T::spans(previous);
        for run in spans.chunk_by(|a, b| is_kept(a) == is_kept(b)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            if !is_kept(first) {
                continue;
            }
            self.comma();
            let start = self.json.len();
            self.json.extend_from_slice(&text[first.start..last.end]);
            T::spans_mut(&mut self.held).extend(run.iter().map(|span| Span {
                item: span.item.clone(),
                start: start + span.start - first.start,
                end: start + span.end - first.start,
            }));
        }
    }

    fn add_new<T: Few>(&mut self) -> serde_json::Result<()> {
        let written: HashSet<i64> = T::spans(&self.held).iter().map(|span| span.item.id()).collect();
        let mut fresh = T::all(self.metadata);
        fresh.retain(|piece| !written.contains(&piece.id()));
        fresh.sort_by_key(|piece| piece.rank());
        for piece in fresh {
            let old = self.previous.and_then(|(previous, held)| {
                let span = T::spans(held).iter().find(|span| Arc::ptr_eq(&span.item, piece))?;
                Some(&previous.document.text[span.start..span.end])
            });
            let text = self.new_text::<T>(piece, old)?;
            self.comma();
            let start = self.json.len();
            self.json.extend_from_slice(&text);
            T::spans_mut(&mut self.held).push(Span { item: piece.clone(), start, end: start + text.len() });
        }
        Ok(())
    }

    /// A piece, with what is known of it beyond the crate's type: from its text, if another version of the format makes
    /// it written anew, or from the request that brings it.
    fn new_text<T: Piece>(&self, piece: &Arc<T>, old: Option<&[u8]>) -> serde_json::Result<Vec<u8>> {
        let text = piece.form(self.metadata.format_version())?;
        let said = T::said(self.said);
        if old.is_none() && said.is_empty() {
            return Ok(text);
        }
        let mut known: Value = serde_json::from_slice(&text)?;
        match old {
            Some(old) => overlay(&mut known, &serde_json::from_slice(old)?),
            None => {
                if let Some(raw) = said.iter().find(|raw| T::is_meant(&known, raw)) {
                    overlay(&mut known, raw);
                }
            }
        }
        serde_json::to_vec(&known)
    }

    fn comma(&mut self) {
        if self.json.last() != Some(&b'[') {
            self.json.push(b',');
        }
    }
}
