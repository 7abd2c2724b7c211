//! Which parts of a replacement still hold, against the table as it is.
//!
//! Manifests never change, so what one attempt read of them serves the next: then only those are read that others have
//! written meanwhile. Were all of them read anew, whoever commits faster than that would win each time.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, Datum, ManifestContentType, ManifestEntry, ManifestFile, PartitionSpecRef,
    PrimitiveLiteral, SchemaRef, Struct, TableMetadata, Transform,
};
use laked_catalog::store::Store;

use super::attempt::{entries_of, id_of};
use super::{DeleteId, Part, Replacement};
use crate::commit::manifests::read_manifest;
use crate::error::Result;

/// The column of a position delete file that names data files.
const FILE_PATH: i32 = 2_147_483_546;

/// What a manifest says: its live entries, and the schema and spec in which all their bounds and values can be read.
pub(super) struct Listed {
    pub entries: Vec<ManifestEntry>,
    pub schema: SchemaRef,
    pub spec: PartitionSpecRef,
}

impl Listed {
    fn read(store: &Store, manifest: &ManifestFile) -> Result<Self> {
        let own = read_manifest(store, manifest)?;
        let spec = PartitionSpecRef::new(own.metadata().partition_spec().clone());
        Ok(Self { entries: entries_of(manifest, &own)?, schema: own.metadata().schema().clone(), spec })
    }
}

/// What was looked at.
#[derive(Default)]
pub(super) struct Found {
    /// The manifests that list inputs, and all that list deletes.
    pub read: HashMap<String, Listed>,
    /// Data manifests that list none.
    others: HashSet<String>,
    /// Inputs that are live.
    live: HashMap<String, (i32, Struct)>,
    /// Deletes that are live.
    deletes: HashSet<DeleteId>,
    /// Deletes that have come since, with their sequence numbers and specs.
    fresh: Vec<(DataFile, i64, i32)>,
}

/// Reads the manifests that matter: those with deletes, those that listed the inputs, and where an input is missing
/// all that are new; but for those that were read before.
pub(super) fn find(replacement: &Replacement, store: &Store, listed: &[ManifestFile], before: Found) -> Result<Found> {
    let mut known = before.read;
    let mut found = Found { others: before.others, ..Found::default() };
    let inputs: HashSet<&str> =
        replacement.parts.iter().flat_map(|part| part.inputs.iter().map(String::as_str)).collect();
    let mut read = |manifest: &ManifestFile| match known.remove(&manifest.manifest_path) {
        Some(listed) => Ok(listed),
        None => Listed::read(store, manifest),
    };
    let data = |manifest: &&ManifestFile| manifest.content == ManifestContentType::Data;
    for manifest in listed.iter().filter(|manifest| !data(manifest)) {
        found.take_deletes(replacement, manifest, read(manifest)?);
    }
    let (old, new): (Vec<_>, Vec<_>) =
        listed.iter().filter(data).partition(|manifest| replacement.manifests.contains(&manifest.manifest_path));
    for manifest in old.into_iter().chain(new) {
        if found.live.len() == inputs.len() {
            break;
        }
        if found.others.contains(&manifest.manifest_path) {
            continue;
        }
        found.take_data(&inputs, manifest, read(manifest)?);
    }
    Ok(found)
}

impl Found {
    fn take_deletes(&mut self, replacement: &Replacement, manifest: &ManifestFile, listed: Listed) {
        for entry in &listed.entries {
            let id = id_of(&entry.data_file);
            if !replacement.deletes.contains(&id) {
                let sequence = entry.sequence_number.unwrap_or(manifest.sequence_number);
                self.fresh.push((entry.data_file.clone(), sequence, manifest.partition_spec_id));
            }
            self.deletes.insert(id);
        }
        self.read.insert(manifest.manifest_path.clone(), listed);
    }

    fn take_data(&mut self, inputs: &HashSet<&str>, manifest: &ManifestFile, listed: Listed) {
        let path = manifest.manifest_path.clone();
        let before = self.live.len();
        for entry in listed.entries.iter().filter(|entry| inputs.contains(entry.file_path())) {
            let partition = (manifest.partition_spec_id, entry.data_file.partition().clone());
            self.live.insert(entry.file_path().to_string(), partition);
        }
        match self.live.len() > before {
            true => drop(self.read.insert(path, listed)),
            false => drop(self.others.insert(path)),
        }
    }
}

/// A part and what is asked of it.
struct Asked<'a> {
    replacement: &'a Replacement,
    part: &'a Part,
    outputs: &'a [DataFile],
    found: &'a Found,
    metadata: &'a TableMetadata,
}

/// The parts that no longer hold, and why; `outputs` are the files of each.
pub(super) fn judge(
    replacement: &Replacement,
    outputs: &[&[DataFile]],
    found: &Found,
    metadata: &TableMetadata,
) -> BTreeMap<usize, String> {
    let broken = |(number, part): (usize, &Part)| {
        let asked = Asked { replacement, part, outputs: outputs[number], found, metadata };
        let lost = part.inputs.iter().find(|input| !found.live.contains_key(*input));
        let gone = part.applied.iter().find(|delete| !found.deletes.contains(delete));
        let hit = || found.fresh.iter().find(|fresh| asked.is_hit(fresh));
        let why = match (lost, gone) {
            (Some(input), _) => Some(format!("{input} was replaced or removed meanwhile")),
            (_, Some(delete)) => Some(format!("{} was removed meanwhile", delete.location)),
            _ => hit().map(|(file, ..)| format!("{} deletes rows of it since", file.file_path())),
        };
        why.map(|why| (number, why))
    };
    replacement.parts.iter().enumerate().filter_map(broken).collect()
}

impl Asked<'_> {
    /// Whether a delete that has come since would be lost with the part's inputs, or hit rows that it is not about.
    fn is_hit(&self, fresh: &(DataFile, i64, i32)) -> bool {
        let (delete, sequence, spec_id) = fresh;
        if delete.content_type() == DataContentType::EqualityDeletes {
            // A newer one applies to outputs of the same partition as it did to the inputs; one of all partitions always.
            return *sequence <= self.replacement.sequence_number
                || !self.is_everywhere(*spec_id)
                    && (self.is_left(delete, *spec_id) || self.is_entered(delete, *spec_id));
        }
        match named(delete) {
            Some(location) => self.part.inputs.contains(&location),
            // It may name any file of its partition.
            None => self.inputs().any(|(spec, value)| spec == spec_id && value == delete.partition()),
        }
    }

    fn inputs(&self) -> impl Iterator<Item = &(i32, Struct)> {
        self.part.inputs.iter().filter_map(|input| self.found.live.get(input))
    }

    /// Whether an equality delete of this spec applies to all partitions.
    fn is_everywhere(&self, spec_id: i32) -> bool {
        let spec = self.metadata.partition_spec_by_id(spec_id);
        spec.is_some_and(|spec| spec.fields().iter().all(|field| field.transform == Transform::Void))
    }

    /// Whether rows leave the delete's partition.
    fn is_left(&self, delete: &DataFile, spec_id: i32) -> bool {
        let moves = spec_id != self.part.spec_id;
        moves && self.inputs().any(|(spec, value)| *spec == spec_id && value == delete.partition())
    }

    /// Whether rows of other specs enter the delete's partition.
    fn is_entered(&self, delete: &DataFile, spec_id: i32) -> bool {
        spec_id == self.part.spec_id
            && self.inputs().any(|(spec, _)| *spec != spec_id)
            && self.outputs.iter().any(|output| output.partition() == delete.partition())
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
