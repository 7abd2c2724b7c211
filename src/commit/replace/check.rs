//! Which parts of a replacement still hold, against the table as it is.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, Datum, ManifestContentType, ManifestFile, PrimitiveLiteral};
use laked_catalog::store::Store;

use super::attempt::{Entries, entries_of, id_of};
use super::{DeleteId, Part, Replacement};
use crate::commit::manifests::read_manifest;
use crate::error::Result;

/// The column of a position delete file that names data files.
const FILE_PATH: i32 = 2_147_483_546;

/// What was looked at.
#[derive(Default)]
pub(super) struct Found {
    /// Entries of the manifests that list inputs, and of all that list deletes.
    pub read: Entries,
    /// Inputs that are live.
    live: HashMap<String, (i32, iceberg::spec::Struct)>,
    /// Deletes that are live.
    deletes: HashSet<DeleteId>,
    /// Deletes that have come since, with their sequence numbers and specs.
    fresh: Vec<(DataFile, i64, i32)>,
}

/// Reads the manifests that matter: those with deletes, those that listed the inputs, and where an input is missing
/// all that are new.
pub(super) fn find(replacement: &Replacement, store: &Store, listed: &[ManifestFile]) -> Result<Found> {
    let mut found = Found::default();
    let inputs: HashSet<&str> =
        replacement.parts.iter().flat_map(|part| part.inputs.iter().map(String::as_str)).collect();
    let data = |manifest: &&ManifestFile| manifest.content == ManifestContentType::Data;
    for manifest in listed.iter().filter(|manifest| !data(manifest)) {
        found.take_deletes(replacement, store, manifest)?;
    }
    let (old, new): (Vec<_>, Vec<_>) =
        listed.iter().filter(data).partition(|manifest| replacement.manifests.contains(&manifest.manifest_path));
    for manifest in old.into_iter().chain(new) {
        if found.live.len() == inputs.len() {
            break;
        }
        let entries = entries_of(manifest, &read_manifest(store, manifest)?)?;
        let ours: Vec<_> = entries.iter().filter(|entry| inputs.contains(entry.file_path())).collect();
        if ours.is_empty() {
            continue;
        }
        for entry in ours {
            let partition = (manifest.partition_spec_id, entry.data_file.partition().clone());
            found.live.insert(entry.file_path().to_string(), partition);
        }
        found.read.insert(manifest.manifest_path.clone(), entries);
    }
    Ok(found)
}

impl Found {
    fn take_deletes(&mut self, replacement: &Replacement, store: &Store, manifest: &ManifestFile) -> Result<()> {
        let entries = entries_of(manifest, &read_manifest(store, manifest)?)?;
        for entry in &entries {
            let id = id_of(&entry.data_file);
            if !replacement.deletes.contains(&id) {
                let sequence = entry.sequence_number.unwrap_or(manifest.sequence_number);
                self.fresh.push((entry.data_file.clone(), sequence, manifest.partition_spec_id));
            }
            self.deletes.insert(id);
        }
        self.read.insert(manifest.manifest_path.clone(), entries);
        Ok(())
    }
}

/// The parts that no longer hold, and why.
pub(super) fn judge(replacement: &Replacement, found: &Found) -> BTreeMap<usize, String> {
    let broken = |(number, part): (usize, &Part)| {
        let lost = part.inputs.iter().find(|input| !found.live.contains_key(*input));
        let gone = part.applied.iter().find(|delete| !found.deletes.contains(delete));
        let hit = || found.fresh.iter().find(|fresh| hits(replacement, part, found, fresh));
        let why = match (lost, gone) {
            (Some(input), _) => Some(format!("{input} was replaced or removed meanwhile")),
            (_, Some(delete)) => Some(format!("{} was removed meanwhile", delete.location)),
            _ => hit().map(|(file, ..)| format!("{} deletes rows of it since", file.file_path())),
        };
        why.map(|why| (number, why))
    };
    replacement.parts.iter().enumerate().filter_map(broken).collect()
}

/// Whether a delete that has come since would be lost with the part's inputs.
fn hits(replacement: &Replacement, part: &Part, found: &Found, fresh: &(DataFile, i64, i32)) -> bool {
    let (delete, sequence, spec_id) = fresh;
    if delete.content_type() == DataContentType::EqualityDeletes {
        // A newer one applies to the outputs as it did to the inputs.
        return *sequence <= replacement.sequence_number;
    }
    match named(delete) {
        Some(location) => part.inputs.contains(&location),
        // It may name any file of its partition.
        None => part.inputs.iter().any(|input| {
            found.live.get(input).is_some_and(|(spec, value)| spec == spec_id && value == delete.partition())
        }),
    }
}

/// The one data file that a position delete file is about, if its entry tells.
fn named(delete: &DataFile) -> Option<String> {
    let bound = |bounds: &HashMap<i32, Datum>| match bounds.get(&FILE_PATH)?.literal() {
        PrimitiveLiteral::String(text) => Some(text.clone()),
        _ => None,
    };
    delete.referenced_data_file().or_else(|| {
        let (low, high) = (bound(delete.lower_bounds())?, bound(delete.upper_bounds())?);
        (low == high).then_some(low)
    })
}
