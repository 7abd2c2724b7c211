//! I2, I3, I4: commits are whole, and the files that snapshots need are there.

use std::collections::BTreeSet;

use iceberg::spec::{DataFileFormat, ManifestContentType};
use laked_catalog::Table;
use laked_catalog::store::Store;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::tree::Live;
use super::{Depth, Tree, Violation};
use crate::error::{Error, Kind, Result};

/// I2: a reader sees all of a commit or none: the rows a snapshot says it added are the ones its manifests added, and
/// the total it states is what its manifests hold.
pub fn whole_commits(table: &Table, tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for snapshot in table.metadata.snapshots() {
        let id = snapshot.snapshot_id();
        let Some(manifests) = tree.snapshots.get(&id) else { continue };
        let data = || manifests.iter().filter(|manifest| manifest.content == ManifestContentType::Data);
        let added: u64 = data()
            .filter(|manifest| manifest.added_snapshot_id == id)
            .map(|manifest| manifest.added_rows_count.unwrap_or(0))
            .sum();
        let total: u64 = data()
            .map(|manifest| manifest.added_rows_count.unwrap_or(0) + manifest.existing_rows_count.unwrap_or(0))
            .sum();
        for (name, counted) in [("added-records", added), ("total-records", total)] {
            let stated: Option<u64> =
                snapshot.summary().additional_properties.get(name).and_then(|text| text.parse().ok());
            if let Some(stated) = stated.filter(|&stated| stated != counted) {
                let what = format!("snapshot {id} states {name} {stated}, its manifests hold {counted}");
                found.push(Violation::of("I2", table, what));
            }
        }
    }
    found
}

/// I3: each file reachable from a retained snapshot exists with its recorded length; deep: it decodes and has its
/// recorded rows. A reader fails, or silently reads less, where this does not hold.
pub fn files_exist(table: &Table, tree: &Tree, store: &Store, depth: Depth) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut check = |location: &str, len: Option<u64>| match store.len(location) {
        Err(error) => found.push(Violation::of("I3", table, format!("{location}: {error}"))),
        Ok(actual) if len.is_some_and(|len| len != actual) => {
            let what = format!("{location} has {actual} bytes, {} are recorded", len.unwrap_or(0));
            found.push(Violation::of("I3", table, what));
        }
        Ok(_) => {}
    };
    tree.lists.iter().for_each(|list| check(list, None));
    for (location, manifest) in &tree.manifests {
        check(location, u64::try_from(manifest.manifest_length).ok());
    }
    tree.files.iter().for_each(|(location, live)| check(location, Some(live.entry.file_size_in_bytes())));
    if depth == Depth::Deep {
        let broken = tree.files.iter().filter_map(|(location, live)| {
            let counted = decoded_rows(store, location, live);
            let what = match counted {
                Ok(rows) if rows == live.entry.record_count() => return None,
                Ok(rows) => format!("{location} holds {rows} rows, {} are recorded", live.entry.record_count()),
                Err(error) => format!("{location}: {error}"),
            };
            Some(Violation::of("I3", table, what))
        });
        found.extend(broken);
    }
    found
}

fn decoded_rows(store: &Store, location: &str, live: &Live) -> Result<u64> {
    if live.entry.file_format() != DataFileFormat::Parquet {
        return Ok(live.entry.record_count());
    }
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Corrupt, "the file does not decode").with("location", location).because(error)
    };
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(store.read(location)?).map_err(|error| broken(error.into()))?;
    let reader = builder.build().map_err(|error| broken(error.into()))?;
    reader.map(|batch| Ok(batch.map_err(|error| broken(error.into()))?.num_rows() as u64)).sum()
}

/// I4: nothing reachable is ever deleted: of what was reachable before and still is now, all files are there.
pub fn nothing_needed_was_deleted(
    table: &Table,
    store: &Store,
    before: &BTreeSet<String>,
    now: &BTreeSet<String>,
) -> Vec<Violation> {
    let gone = before.intersection(now).filter(|location| store.len(location).is_err());
    gone.map(|location| Violation::of("I4", table, format!("{location} was deleted and is needed"))).collect()
}
