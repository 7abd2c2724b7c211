//! The parts of a document that never change once they are there: schemas, specs, orders, snapshots.

use std::sync::Arc;

use iceberg::spec::{FormatVersion, PartitionSpec, Schema, Snapshot, SortOrder, Summary, TableMetadata};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::held::{Held, Span};
use super::overlay::fits;
use super::said::Said;

/// An element of one of the lists.
pub trait Piece: Sized {
    /// The list's name.
    const FIELD: &'static str;
    /// Its id.
    fn id(&self) -> i64;
    /// The id in its text.
    fn id_in(text: &str) -> serde_json::Result<i64>;
    /// The piece of that id.
    fn by_id(metadata: &TableMetadata, id: i64) -> Option<&Arc<Self>>;
    /// All of them, in no order.
    fn all(metadata: &TableMetadata) -> Vec<&Arc<Self>>;
    /// How many.
    fn count(metadata: &TableMetadata) -> usize;
    /// What new ones are ordered by.
    fn rank(&self) -> (i64, i64, i64) {
        (self.id(), 0, 0)
    }
    /// Its JSON as far as the crate knows it.
    fn form(&self, version: FormatVersion) -> serde_json::Result<Vec<u8>>;
    /// What a request said of new ones.
    fn said(said: &Said) -> &[Value];
    /// Whether that was said of this one.
    fn is_meant(known: &Value, raw: &Value) -> bool {
        fits(known, raw)
    }
}

/// A piece of which there are few: a document knows where each lies in its text.
pub trait Few: Piece {
    /// Where the pieces of a document lie.
    fn spans(held: &Held) -> &[Span<Self>];
    /// The same, to be filled.
    fn spans_mut(held: &mut Held) -> &mut Vec<Span<Self>>;
}

fn narrow(id: i64) -> i32 {
    i32::try_from(id).unwrap_or(i32::MIN)
}

/// The id that a text says under its name.
macro_rules! said_id {
    ($text:ident, $key:literal $(, $absent:ident)?) => {{
        #[derive(Deserialize)]
        struct Id {
            #[serde(rename = $key $(, $absent)?)]
            id: i64,
        }
        serde_json::from_str($text).map(|Id { id }| id)
    }};
}

/// The pieces of which there are few differ in nothing but names.
macro_rules! few {
    ($($piece:ty, $field:literal, $lies:ident, $key:literal $(or $absent:ident)?, |$one:ident| $id:expr, |$metadata:ident, $wanted:ident| $by:expr, $iter:ident;)*) => {$(
        impl Piece for $piece {
            const FIELD: &'static str = $field;

            fn id(&self) -> i64 {
                let $one = self;
                $id
            }

            fn id_in(text: &str) -> serde_json::Result<i64> {
                said_id!(text, $key $(, $absent)?)
            }

            fn by_id($metadata: &TableMetadata, $wanted: i64) -> Option<&Arc<Self>> {
                $by
            }

            fn all(metadata: &TableMetadata) -> Vec<&Arc<Self>> {
                metadata.$iter().collect()
            }

            fn count(metadata: &TableMetadata) -> usize {
                metadata.$iter().len()
            }

            fn form(&self, _version: FormatVersion) -> serde_json::Result<Vec<u8>> {
                serde_json::to_vec(self)
            }

            fn said(said: &Said) -> &[Value] {
                &said.$lies
            }
        }

        impl Few for $piece {
            fn spans(held: &Held) -> &[Span<Self>] {
                &held.$lies
            }

            fn spans_mut(held: &mut Held) -> &mut Vec<Span<Self>> {
                &mut held.$lies
            }
        }
    )*};
}

few! {
    // A schema of format 1 may have no id.
    Schema, "schemas", schemas, "schema-id" or default, |piece| i64::from(piece.schema_id()),
        |metadata, id| metadata.schema_by_id(narrow(id)), schemas_iter;
    PartitionSpec, "partition-specs", specs, "spec-id", |piece| i64::from(piece.spec_id()),
        |metadata, id| metadata.partition_spec_by_id(narrow(id)), partition_specs_iter;
    SortOrder, "sort-orders", orders, "order-id", |piece| piece.order_id,
        |metadata, id| metadata.sort_order_by_id(id), sort_orders_iter;
}

impl Piece for Snapshot {
    const FIELD: &'static str = "snapshots";

    fn id(&self) -> i64 {
        self.snapshot_id()
    }

    fn id_in(text: &str) -> serde_json::Result<i64> {
        said_id!(text, "snapshot-id")
    }

    fn by_id(metadata: &TableMetadata, id: i64) -> Option<&Arc<Self>> {
        metadata.snapshot_by_id(id)
    }

    fn all(metadata: &TableMetadata) -> Vec<&Arc<Self>> {
        metadata.snapshots().collect()
    }

    fn count(metadata: &TableMetadata) -> usize {
        metadata.snapshots().len()
    }

    fn rank(&self) -> (i64, i64, i64) {
        (self.sequence_number(), self.timestamp_ms(), self.snapshot_id())
    }

    fn form(&self, version: FormatVersion) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&SnapshotForm::of(self, version))
    }

    fn said(said: &Said) -> &[Value] {
        &said.snapshots
    }

    fn is_meant(known: &Value, raw: &Value) -> bool {
        known.get("snapshot-id") == raw.get("snapshot-id")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapshotForm<'a> {
    snapshot_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_snapshot_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<i64>,
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
    fn of(snapshot: &'a Snapshot, version: FormatVersion) -> Self {
        Self {
            snapshot_id: snapshot.snapshot_id(),
            parent_snapshot_id: snapshot.parent_snapshot_id(),
            sequence_number: (version != FormatVersion::V1).then(|| snapshot.sequence_number()),
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
