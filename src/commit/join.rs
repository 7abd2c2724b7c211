//! Which old manifests a commit joins, and how.
//!
//! A list names every manifest of the table, and every commit writes a list, so manifests must stay few; but what is joined
//! is written again. So joining goes by tiers: `commit.manifest.min-count-to-merge` manifests (100) of fewer files than that
//! become one, ten such become one, and so on, up to an eighth of `commit.manifest.target-size-bytes`. A file's entry is
//! written again once a tier. Java joins everything up to the full target, which writes an almost full manifest again
//! every hundred commits.
//!
//! The lowest tier is encoded from what is known in memory. In what that makes, each entry spells out all it would
//! inherit, so the tiers above copy its bytes ([`Container`]): a commit that joins ten thousand entries costs little more
//! than another. Only of manifests that this process wrote is that known; others are decoded and encoded.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use iceberg::spec::{
    Datum, FieldSummary, FormatVersion, ManifestContentType, ManifestFile, PrimitiveType, TableMetadata,
};
use laked_catalog::store::Store;

use super::container::{Container, Records};
use super::manifests::{Encoded, Known, Target, of_old};
use crate::error::Result;

/// Manifests of a tier above the lowest that are joined, unless fewer of the lowest are.
const ABOVE: usize = 10;

/// When manifests are joined; Iceberg's table properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joining {
    pub enabled: bool,
    pub least: usize,
    pub target: u64,
}

impl Joining {
    /// From `commit.manifest-merge.enabled`, `commit.manifest.min-count-to-merge`, `commit.manifest.target-size-bytes`.
    /// Off for format 1 and 3: there entries inherit what a joined manifest would have to spell out.
    pub fn of(metadata: &TableMetadata) -> Self {
        let property = |name: &str| metadata.properties().get(name);
        let enabled = property("commit.manifest-merge.enabled").is_none_or(|value| value != "false");
        let number = |name: &str, default: u64| property(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        Joining {
            enabled: enabled && metadata.format_version() == FormatVersion::V2,
            least: usize::try_from(number("commit.manifest.min-count-to-merge", 100)).unwrap_or(100).max(2),
            target: number("commit.manifest.target-size-bytes", 8 << 20),
        }
    }

    /// The tier of a manifest of so many files.
    fn tier(self, files: u64) -> u32 {
        let least = self.least as u64;
        if files < least { 0 } else { 1 + (files / least).ilog(self.enough(1) as u64) }
    }

    /// How many of a tier are joined.
    fn enough(self, tier: u32) -> usize {
        if tier == 0 { self.least } else { self.least.min(ABOVE) }
    }
}

/// Which manifests to join now, by index: small ones of one spec, of the lowest tier that has enough of them.
pub(super) fn to_join(manifests: &[ManifestFile], spec_id: i32, joining: Joining) -> Vec<usize> {
    let small = |manifest: &ManifestFile| {
        joining.enabled
            && manifest.content == ManifestContentType::Data
            && manifest.partition_spec_id == spec_id
            && length(manifest) < joining.target / 8
    };
    let mut tiers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, manifest) in manifests.iter().enumerate().filter(|(_, manifest)| small(manifest)) {
        let files = [manifest.added_files_count, manifest.existing_files_count].into_iter().flatten().map(u64::from);
        tiers.entry(joining.tier(files.sum())).or_default().push(index);
    }
    let Some((_, mut chosen)) = tiers.into_iter().find(|(tier, held)| held.len() >= joining.enough(*tier)) else {
        return Vec::new();
    };
    let mut total = 0;
    chosen.retain(|index| {
        total += length(&manifests[*index]);
        total <= joining.target
    });
    if chosen.len() < 2 { Vec::new() } else { chosen }
}

fn length(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(u64::MAX / 1024)
}

/// One manifest of the live entries of several.
pub(super) fn join(
    target: &Target<'_>,
    manifests: &[&ManifestFile],
    known: &Known,
    store: &Store,
) -> Result<(ManifestFile, Encoded)> {
    if let Some(copied) = copied(target, manifests, known, store)? {
        return Ok(copied);
    }
    let mut entries = Vec::new();
    for manifest in manifests {
        entries.extend(known.live(manifest, store)?);
    }
    of_old(target, &entries)
}

/// The same by copying entries; `None` if one of the manifests may have an entry that inherits, or if their heads differ.
fn copied(
    target: &Target<'_>,
    manifests: &[&ManifestFile],
    known: &Known,
    store: &Store,
) -> Result<Option<(ManifestFile, Encoded)>> {
    if !manifests.iter().all(|manifest| known.spelled.contains(&manifest.manifest_path)) {
        return Ok(None);
    }
    let files = manifests.iter().map(|manifest| store.read(&manifest.manifest_path)).collect::<Result<Vec<_>>>()?;
    let Some(parts) = files.iter().map(|file| Container::of(file)).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let existing: u64 = manifests.iter().filter_map(|manifest| manifest.existing_files_count).map(u64::from).sum();
    let records = parts.iter().fold(Records::default(), |all, part| all.and(&part.records));
    let (Some(first), Some(kinds)) = (parts.first(), kinds(target)) else { return Ok(None) };
    if records.count != existing || parts.iter().any(|part| part.metadata != first.metadata) {
        return Ok(None);
    }
    let Some(partitions) = merged(&kinds, manifests) else { return Ok(None) };
    let bytes = first.with(&records);
    let manifest = ManifestFile {
        manifest_path: target.location.clone(),
        manifest_length: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        partition_spec_id: target.spec.spec_id(),
        content: ManifestContentType::Data,
        sequence_number: target.sequence_number,
        min_sequence_number: manifests.iter().map(|one| one.min_sequence_number).min().unwrap_or(0),
        added_snapshot_id: target.snapshot_id,
        added_files_count: Some(0),
        existing_files_count: u32::try_from(existing).ok(),
        deleted_files_count: Some(0),
        added_rows_count: Some(0),
        existing_rows_count: manifests.iter().map(|one| one.existing_rows_count).sum(),
        deleted_rows_count: Some(0),
        partitions: Some(partitions),
        key_metadata: None,
        first_row_id: None,
    };
    Ok(Some((manifest, Encoded { location: target.location.clone(), bytes })))
}

/// The types of the partition's values.
fn kinds(target: &Target<'_>) -> Option<Vec<PrimitiveType>> {
    let partition = target.spec.partition_type(target.schema).ok()?;
    partition.fields().iter().map(|field| field.field_type.as_primitive_type().cloned()).collect()
}

/// What several manifests' partition summaries come to.
fn merged(kinds: &[PrimitiveType], manifests: &[&ManifestFile]) -> Option<Vec<FieldSummary>> {
    let one = |(number, kind): (usize, &PrimitiveType)| {
        let all = manifests.iter().map(|manifest| manifest.partitions.as_ref()?.get(number));
        let all = all.collect::<Option<Vec<&FieldSummary>>>()?;
        let lower: Vec<_> = all.iter().filter_map(|summary| summary.lower_bound.as_ref()).collect();
        let upper: Vec<_> = all.iter().filter_map(|summary| summary.upper_bound.as_ref()).collect();
        let nan = all.iter().map(|summary| summary.contains_nan).collect::<Option<Vec<bool>>>();
        Some(FieldSummary {
            contains_null: all.iter().any(|summary| summary.contains_null),
            contains_nan: nan.map(|nan| nan.contains(&true)),
            lower_bound: furthest(&lower, kind, Ordering::Less)?.cloned(),
            upper_bound: furthest(&upper, kind, Ordering::Greater)?.cloned(),
        })
    };
    kinds.iter().enumerate().map(one).collect()
}

/// The least or the greatest bound; `None` if two cannot be compared.
fn furthest<'a, B: AsRef<[u8]>>(bounds: &[&'a B], kind: &PrimitiveType, wanted: Ordering) -> Option<Option<&'a B>> {
    let mut best: Option<(Datum, &B)> = None;
    for bound in bounds {
        let value = Datum::try_from_bytes(bound.as_ref(), kind.clone()).ok()?;
        let further = match &best {
            None => true,
            Some((held, _)) => value.partial_cmp(held)? == wanted,
        };
        if further {
            best = Some((value, bound));
        }
    }
    Some(best.map(|(_, bound)| bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: u32) -> ManifestFile {
        ManifestFile {
            manifest_path: "m".into(),
            manifest_length: 5000 + 700 * i64::from(files),
            partition_spec_id: 0,
            content: ManifestContentType::Data,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            added_files_count: Some(files),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(1),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    const JOINING: Joining = Joining { enabled: true, least: 100, target: 8 << 20 };

    /// Manifests of `commits` commits of one file, the entries that were written again, and the most manifests there were.
    fn after(commits: usize) -> (Vec<u32>, usize, usize) {
        let (mut sizes, mut written, mut most) = (Vec::new(), 0, 0);
        for _ in 0..commits {
            let manifests: Vec<ManifestFile> = sizes.iter().map(|size| manifest(*size)).collect();
            let chosen = to_join(&manifests, 0, JOINING);
            if !chosen.is_empty() {
                let joined: u32 = chosen.iter().map(|index| sizes[*index]).sum();
                written += joined as usize;
                let mut index = 0;
                sizes.retain(|_| {
                    index += 1;
                    !chosen.contains(&(index - 1))
                });
                sizes.insert(0, joined);
            }
            sizes.insert(0, 1);
            most = most.max(sizes.len());
        }
        (sizes, written, most)
    }

    #[test]
    fn manifests_stay_few_and_an_entry_is_written_again_three_times() {
        let (sizes, written, most) = after(30_000);
        assert_eq!(sizes.iter().sum::<u32>(), 30_000);
        assert!(most < 125, "{most} manifests");
        assert!(written < 3 * 30_000, "{written} entries were written again");
        assert_eq!(sizes.iter().max(), Some(&10_000));
    }

    #[test]
    fn others_are_left_alone() {
        let mut manifests: Vec<ManifestFile> = (0..100).map(|_| manifest(1)).collect();
        assert_eq!(to_join(&manifests, 0, JOINING).len(), 100);
        assert!(to_join(&manifests, 1, JOINING).is_empty(), "another spec's");
        assert!(to_join(&manifests, 0, Joining { enabled: false, ..JOINING }).is_empty());
        manifests[7].content = ManifestContentType::Deletes;
        assert!(to_join(&manifests, 0, JOINING).is_empty(), "one too few");
        let large: Vec<ManifestFile> = (0..200).map(|_| manifest(20_000)).collect();
        assert!(to_join(&large, 0, JOINING).is_empty());
    }

    #[test]
    fn bounds_go_as_far_as_the_furthest() {
        let bytes = |value: i32| Some(value.to_le_bytes().to_vec().into());
        let summary = |lower, upper| FieldSummary {
            contains_null: false,
            contains_nan: Some(false),
            lower_bound: bytes(lower),
            upper_bound: bytes(upper),
        };
        let with = |summary: FieldSummary| ManifestFile { partitions: Some(vec![summary]), ..manifest(1) };
        let nothing =
            FieldSummary { contains_null: true, contains_nan: Some(false), lower_bound: None, upper_bound: None };
        let all = [with(summary(-3, 300)), with(nothing), with(summary(2, 17))];
        let all: Vec<&ManifestFile> = all.iter().collect();
        let expected = FieldSummary { contains_null: true, ..summary(-3, 300) };
        assert_eq!(merged(&[PrimitiveType::Int], &all), Some(vec![expected]));
        assert_eq!(merged(&[PrimitiveType::Int], &[&manifest(1)]), None, "one that has no summaries");
    }
}
