//! Numbers that no honest client sends, refused before the `iceberg` crate reckons with them: it adds and subtracts
//! without looking, and would panic or wrap around. And JSON that is nested too deep to be read again.

use iceberg::TableUpdate;
use iceberg::spec::{Schema, Snapshot, TableMetadata, UnboundPartitionSpec};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// The end of the year 9999, in ms since 1970.
const LAST_MS: i64 = 253_402_300_799_999;

/// Ids of columns from here on are the format's own (reserved field ids).
const RESERVED_IDS: i32 = i32::MAX - 200;

/// Sequence numbers, row ids, ids of orders.
const MOST: i64 = i64::MAX / 4;

/// Ids of schemas and specs; the next one must be there too.
const MOST_ID: i32 = i32::MAX - 200;

/// Levels of JSON, at most. Readers end at 128 (`serde_json`'s limit), and what is kept of a request comes a few levels
/// deeper in the metadata, and in the answer.
const LEVELS: usize = 120;

/// Refuses text whose arrays and objects are nested too deep. Whether it is JSON is not looked at.
///
/// # Errors
/// `Invalid`.
pub(crate) fn nesting(json: &[u8]) -> Result<()> {
    let (mut level, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => level += 1,
            b']' | b'}' if !quoted => level = level.saturating_sub(1),
            _ => {}
        }
        if level > LEVELS {
            return Err(Error::new(Kind::Invalid, format!("JSON is nested at most {LEVELS} levels deep")));
        }
    }
    Ok(())
}

fn within(what: &'static str, value: i64, most: i64) -> Result<()> {
    if (0..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, format!("{what} is not between 0 and {most}: {value}")))
}

fn row_id(what: &'static str, value: Option<u64>) -> Result<()> {
    value.map_or(Ok(()), |value| within(what, i64::try_from(value).unwrap_or(i64::MAX), MOST))
}

fn snapshot(snapshot: &Snapshot) -> Result<()> {
    within("a snapshot's timestamp-ms", snapshot.timestamp_ms(), LAST_MS)?;
    within("a snapshot's sequence-number", snapshot.sequence_number(), MOST)?;
    row_id("a snapshot's first-row-id", snapshot.first_row_id())?;
    row_id("a snapshot's added-rows", snapshot.added_rows_count())
}

fn schema(schema: &Schema) -> Result<()> {
    within("a schema's id", i64::from(schema.schema_id().max(0)), i64::from(MOST_ID))?;
    within("a column's id", i64::from(schema.highest_field_id()), i64::from(RESERVED_IDS))
}

fn spec(spec: &UnboundPartitionSpec) -> Result<()> {
    let ids = spec.fields().iter().filter_map(|field| field.field_id);
    ids.map(i64::from).try_for_each(|id| within("a partition field's id", id, i64::from(RESERVED_IDS)))
}

/// Checks the numbers of updates.
///
/// # Errors
/// `Invalid`.
pub(super) fn updates(updates: &[TableUpdate]) -> Result<()> {
    updates.iter().try_for_each(|update| match update {
        TableUpdate::AddSnapshot { snapshot: added } => snapshot(added),
        TableUpdate::AddSchema { schema: added } => schema(added),
        TableUpdate::AddSpec { spec: added } => spec(added),
        TableUpdate::AddSortOrder { sort_order } => within("a sort order's id", sort_order.order_id, MOST),
        _ => Ok(()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Times {
    last_updated_ms: i64,
    #[serde(default)]
    snapshot_log: Option<Vec<Time>>,
    #[serde(default)]
    metadata_log: Option<Vec<Time>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Time {
    timestamp_ms: i64,
}

/// Checks a text that is about to be read as metadata: its depth, and its times, which the crate compares while it reads.
///
/// # Errors
/// `Invalid`.
pub(super) fn text(json: &[u8]) -> Result<()> {
    nesting(json)?;
    let times: Times = serde_json::from_slice(json)
        .map_err(|error| Error::new(Kind::Invalid, "times cannot be read").because(error))?;
    within("last-updated-ms", times.last_updated_ms, LAST_MS)?;
    let logs = [times.snapshot_log, times.metadata_log];
    let mut entries = logs.iter().flatten().flatten();
    entries.try_for_each(|entry| within("a log's timestamp-ms", entry.timestamp_ms, LAST_MS))
}

/// Checks the numbers of metadata that was not written here.
///
/// # Errors
/// `Invalid`.
pub(super) fn metadata(metadata: &TableMetadata) -> Result<()> {
    within("last-sequence-number", metadata.last_sequence_number(), MOST)?;
    within("last-column-id", i64::from(metadata.last_column_id()), i64::from(RESERVED_IDS))?;
    within("last-partition-id", i64::from(metadata.last_partition_id()), i64::from(RESERVED_IDS))?;
    row_id("next-row-id", Some(metadata.next_row_id()))?;
    metadata.snapshots().try_for_each(|one| snapshot(one))?;
    metadata.schemas_iter().try_for_each(|one| schema(one))?;
    metadata.partition_specs_iter().try_for_each(|one| within("a spec's id", one.spec_id().into(), MOST_ID.into()))?;
    metadata.sort_orders_iter().try_for_each(|one| within("a sort order's id", one.order_id, MOST))
}
