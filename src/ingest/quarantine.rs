//! Quarantine: the Iceberg table beside a table that holds what its contract refused, to be queried like any other.
//!
//! `<table>__rejected`, one row a record: when, from where, which entry and record, the line, the codes of every broken
//! rule (`range,missing`), the rules in full as JSON, the raw text, the hash of the contract. Partitioned by day.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::TableIdent;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec};

use super::entry::Refusal;
use crate::error::{Error, Kind, Result};
use crate::flow::LaneId;

/// What a quarantine table's name ends with.
pub const SUFFIX: &str = "__rejected";

const COLUMNS: [(&str, PrimitiveType, bool, &str); 10] = [
    ("rejected_at", PrimitiveType::Timestamptz, true, "When the record came"),
    ("source", PrimitiveType::String, true, "The file, or who sent it"),
    ("lane", PrimitiveType::String, true, "The door and the epoch of its spool"),
    ("entry", PrimitiveType::Long, true, "The entry's number in its lane"),
    ("record", PrimitiveType::Long, true, "The record's number in its entry, from 0"),
    ("line", PrimitiveType::Long, false, "The line it began on, from 1"),
    ("codes", PrimitiveType::String, true, "The codes of the rules it breaks, with commas between"),
    ("reasons", PrimitiveType::String, true, "The rules in full: a JSON array of {code, field, detail}"),
    ("raw", PrimitiveType::String, true, "Its text, cut at a bound"),
    ("contract", PrimitiveType::String, true, "The SHA-256 of the contract it was held to"),
];

/// A refused record with where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// Who sent it.
    pub source: &'a str,
    /// Its lane.
    pub lane: LaneId,
    /// Its entry.
    pub entry: u64,
    /// The hash of the contract.
    pub contract: &'a str,
    /// The record.
    pub refusal: &'a Refusal,
}

/// The quarantine table of a table.
pub fn ident(table: &TableIdent) -> TableIdent {
    TableIdent::new(table.namespace().clone(), format!("{}{SUFFIX}", table.name()))
}

/// Whether a table is a quarantine table.
pub fn is_quarantine(table: &TableIdent) -> bool {
    table.name().ends_with(SUFFIX)
}

/// The schema of every quarantine table.
pub fn schema() -> Result<Schema> {
    let fields = (1..).zip(COLUMNS).map(|(id, (name, kind, required, doc))| {
        Arc::new(NestedField::new(id, name, Type::Primitive(kind), required).with_doc(doc))
    });
    Schema::builder().with_fields(fields).build().map_err(internal)
}

/// Its partitioning: by day.
pub fn partition_spec() -> Result<UnboundPartitionSpec> {
    let spec = UnboundPartitionSpec::builder().add_partition_field(1, "rejected_at_day".to_owned(), Transform::Day);
    Ok(spec.map_err(internal)?.build())
}

static ARROW: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|(name, kind, required, _)| {
        let kind = match kind {
            PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PrimitiveType::Long => DataType::Int64,
            _ => DataType::Utf8,
        };
        Field::new(*name, kind, !required)
    });
    Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
});

/// The rows of refused records.
pub fn batch(refused: &[Refused<'_>]) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Refused<'_>) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(refused.iter().map(of)))
    };
    let number = |of: &dyn Fn(&Refused<'_>) -> Option<u64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(refused.iter().map(|r| of(r).and_then(|n| i64::try_from(n).ok()))))
    };
    let times = TimestampMicrosecondArray::from_iter_values(refused.iter().map(|r| r.at_ms.saturating_mul(1000)));
    let codes = |r: &Refused<'_>| r.refusal.broken.iter().map(|b| b.code.as_str()).collect::<Vec<_>>().join(",");
    let columns = vec![
        Arc::new(times.with_timezone("UTC")) as ArrayRef,
        text(&|r| r.source.to_owned()),
        text(&|r| r.lane.to_string()),
        number(&|r| Some(r.entry)),
        number(&|r| Some(r.refusal.record)),
        number(&|r| r.refusal.line),
        text(&codes),
        text(&|r| serde_json::to_string(&r.refusal.broken).unwrap_or_default()),
        text(&|r| r.refusal.raw.clone()),
        text(&|r| r.contract.to_owned()),
    ];
    RecordBatch::try_new(ARROW.clone(), columns).map_err(internal)
}

fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Internal, "the quarantine table").because(error)
}
