//! From metadata and updates to the next metadata: the `iceberg` crate's builder, under this process's clock.
//!
//! The builder reads the system's clock itself, and has no setter. But it takes the time of a snapshot that is added;
//! so where a change adds none, a snapshot of our time, of no rows, goes in before the updates and out again at once.
//! A clock that has stepped back is not followed: time in metadata never runs backwards.

use std::collections::HashMap;

use iceberg::spec::{FormatVersion, MAIN_BRANCH, Operation, Snapshot, Summary, TableMetadata, TableMetadataBuilder};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use crate::document::{Refs, refs_after};
use crate::error::{Error, Kind, Result};
use crate::table::Table;

/// Metadata that a builder made, with the refs it does not show.
pub(super) struct Built {
    pub metadata: TableMetadata,
    pub refs: Refs,
}

/// The snapshot that carries the time; no client makes a negative id.
const TIMEKEEPER: i64 = i64::MIN;

/// What the time of a change depends on.
pub(super) struct Moment {
    now_ms: i64,
    sequence_number: i64,
    version: FormatVersion,
    next_row_id: u64,
    tells: bool,
}

impl Moment {
    /// For a table that is being made.
    pub fn first(now_ms: i64, version: FormatVersion) -> Self {
        Self { now_ms, sequence_number: 0, version, next_row_id: 0, tells: true }
    }

    /// For a change of `metadata` by `updates`.
    pub fn after(metadata: &TableMetadata, updates: &[TableUpdate], now_ms: i64) -> Self {
        let last = metadata.history().last();
        Self {
            now_ms: now_ms.max(metadata.last_updated_ms()).max(last.map_or(i64::MIN, |entry| entry.timestamp_ms)),
            sequence_number: metadata.last_sequence_number(),
            version: metadata.format_version(),
            next_row_id: metadata.next_row_id(),
            tells: asks_for_time(updates) && log_fits(metadata),
        }
    }

    fn tell(&self, builder: TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder> {
        let summary = Summary { operation: Operation::Replace, additional_properties: HashMap::new() };
        let timekeeper = Snapshot::builder()
            .with_snapshot_id(TIMEKEEPER)
            .with_sequence_number(self.sequence_number)
            .with_timestamp_ms(self.now_ms)
            .with_manifest_list("")
            .with_summary(summary);
        let timekeeper = match self.version {
            FormatVersion::V3 => timekeeper.with_row_range(self.next_row_id, 0).build(),
            _ => timekeeper.build(),
        };
        Ok(builder.add_snapshot(timekeeper)?.remove_snapshots(&[TIMEKEEPER]))
    }
}

/// The builder refuses to remove a snapshot where the log does not fit the snapshots.
fn log_fits(metadata: &TableMetadata) -> bool {
    let log = metadata.history();
    let current = metadata.current_snapshot_id();
    let fits = current.is_none() || current == log.last().map(|entry| entry.snapshot_id);
    fits && log.iter().all(|entry| metadata.snapshot_by_id(entry.snapshot_id).is_some())
}

/// Whether the builder would look at the system's clock.
fn asks_for_time(updates: &[TableUpdate]) -> bool {
    let telling = updates.iter().find_map(|update| match update {
        TableUpdate::AddSnapshot { .. } => Some(false),
        TableUpdate::SetSnapshotRef { ref_name, .. } if ref_name == MAIN_BRANCH => Some(true),
        _ => None,
    });
    telling.unwrap_or(true)
}

/// Applies updates.
pub(super) fn apply(
    builder: TableMetadataBuilder,
    updates: &[TableUpdate],
    refs: Refs,
    moment: &Moment,
) -> iceberg::Result<Built> {
    let builder = if moment.tells && asks_for_time(updates) { moment.tell(builder)? } else { builder };
    let builder = updates.iter().cloned().try_fold(builder, |builder, update| update.apply(builder))?;
    let metadata = builder.build()?.metadata;
    Ok(Built { refs: refs_after(refs, updates, &metadata), metadata })
}

pub(super) fn refused(error: iceberg::Error, ident: &TableIdent) -> Error {
    Error::new(Kind::Invalid, "the change does not fit the table").with("table", ident).because(error)
}

/// Checks one requirement.
///
/// # Errors
/// `Conflict` if it does not hold.
pub(super) fn check(requirement: &TableRequirement, ident: &TableIdent, before: Option<&Table>) -> Result<()> {
    let refusal =
        || Error::new(Kind::Conflict, format!("Requirement failed: {}", broken(requirement))).with("table", ident);
    // The crate forgets refs in format 1.
    if let (TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id }, Some(table)) = (requirement, before) {
        let held = table.refs.get(r#ref).map(|reference| reference.snapshot_id);
        return if held == *snapshot_id { Ok(()) } else { Err(refusal()) };
    }
    let held = before.map(|table| table.metadata.as_ref());
    requirement.check(held).map_err(|error| refusal().because(error))
}

/// What a requirement that does not hold means, in the words of the protocol's reference: clients show them.
fn broken(requirement: &TableRequirement) -> String {
    match requirement {
        TableRequirement::NotExist => "table already exists".into(),
        TableRequirement::UuidMatch { .. } => "UUID does not match".into(),
        TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id: None } => {
            format!("branch or tag {ref} was created concurrently")
        }
        TableRequirement::RefSnapshotIdMatch { r#ref, .. } => format!("branch or tag {ref} has changed"),
        TableRequirement::LastAssignedFieldIdMatch { .. } => "last assigned field id changed".into(),
        TableRequirement::CurrentSchemaIdMatch { .. } => "current schema changed".into(),
        TableRequirement::LastAssignedPartitionIdMatch { .. } => "last assigned partition id changed".into(),
        TableRequirement::DefaultSpecIdMatch { .. } => "default partition spec changed".into(),
        TableRequirement::DefaultSortOrderIdMatch { .. } => "default sort order changed".into(),
    }
}
