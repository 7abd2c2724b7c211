//! Which files are listed together: manifests clustered by partition, of a size that serves pruning. Pure.
//!
//! A query reads the manifests whose partition summaries may match, each of them whole. So a manifest should span few
//! partitions, and hold few entries; but each is a line of the list that every query and every commit reads. Between the
//! two lies a number of entries that grows with the square root of the table's files. A partition is parted only if it
//! alone has more. Manifests that list exactly what they would list stay as they are, so that a plan is a fixed point.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use iceberg::spec::Struct;

/// Entries of a manifest, at least and at most.
const LEAST: usize = 200;
const MOST: usize = 20_000;
/// Entries of a manifest for each of the square root of all.
const FACTOR: usize = 3;

/// A manifest as it is.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The partition spec of its files.
    pub spec_id: i32,
    /// Whether it lists deletes.
    pub deletes: bool,
    /// The partitions of its live files.
    pub partitions: Vec<Struct>,
}

/// What is to be done; files go by the number of their manifest, and their number in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clustering {
    /// Manifests that are replaced.
    pub replaced: Vec<usize>,
    /// Files of each new one.
    pub made: Vec<Vec<(usize, usize)>>,
}

/// Plans the manifests of a snapshot.
pub fn cluster(listed: &[Listed]) -> Clustering {
    let mut kinds: BTreeMap<(bool, i32), Vec<(usize, usize)>> = BTreeMap::new();
    for (number, manifest) in listed.iter().enumerate() {
        let files = kinds.entry((manifest.deletes, manifest.spec_id)).or_default();
        files.extend((0..manifest.partitions.len()).map(|file| (number, file)));
    }
    let mut plan = Clustering::default();
    for (_, mut files) in kinds {
        let partition = |(manifest, file): &(usize, usize)| &listed[*manifest].partitions[*file];
        files.sort_by(|a, b| compare(partition(a), partition(b)));
        let most = (FACTOR * files.len().isqrt()).clamp(LEAST, MOST);
        let mut made: Vec<(usize, usize)> = Vec::new();
        for same in files.chunk_by(|a, b| partition(a) == partition(b)) {
            if made.len() + same.len() > most && !made.is_empty() {
                plan.made.push(std::mem::take(&mut made));
            }
            for part in same.chunks(most) {
                made.extend(part);
                if same.len() > most {
                    plan.made.push(std::mem::take(&mut made));
                }
            }
        }
        if !made.is_empty() {
            plan.made.push(made);
        }
    }
    let kept: Vec<usize> = plan.made.iter().filter_map(|made| same_as(listed, made)).collect();
    plan.made.retain(|made| same_as(listed, made).is_none());
    plan.replaced = (0..listed.len()).filter(|number| !kept.contains(number)).collect();
    plan
}

/// The manifest that lists exactly these files.
fn same_as(listed: &[Listed], files: &[(usize, usize)]) -> Option<usize> {
    let (first, _) = files.first()?;
    let same = listed[*first].partitions.len() == files.len() && files.iter().all(|(manifest, _)| manifest == first);
    same.then_some(*first)
}

/// By the values of their fields, null first.
fn compare(a: &Struct, b: &Struct) -> Ordering {
    let value = |value: Option<&iceberg::spec::Literal>| value.and_then(iceberg::spec::Literal::as_primitive_literal);
    let pairs = a.iter().zip(b.iter()).map(|(a, b)| value(a).partial_cmp(&value(b)).unwrap_or(Ordering::Equal));
    pairs.fold(Ordering::Equal, Ordering::then)
}

#[cfg(test)]
mod tests {
    use iceberg::spec::Literal;

    use super::*;

    fn at(part: i32) -> Struct {
        Struct::from_iter([Some(Literal::int(part))])
    }

    fn manifest(parts: impl Iterator<Item = i32>) -> Listed {
        Listed { spec_id: 0, deletes: false, partitions: parts.map(at).collect() }
    }

    /// The manifests after a plan, and how many of them list files of a partition.
    fn after(listed: &[Listed], plan: &Clustering) -> Vec<Listed> {
        let kept = (0..listed.len()).filter(|number| !plan.replaced.contains(number)).map(|n| listed[n].clone());
        let made = plan.made.iter().map(|files| Listed {
            partitions: files.iter().map(|(manifest, file)| listed[*manifest].partitions[*file].clone()).collect(),
            ..listed[files[0].0].clone()
        });
        kept.chain(made).collect()
    }

    #[test]
    fn a_partition_is_found_in_few_entries_and_a_plan_is_a_fixed_point() {
        let mixed: Vec<Listed> =
            (0..144).map(|number| manifest((0..694).map(move |file| (file * 7 + number) % 144))).collect();
        let plan = cluster(&mixed);
        let clustered = after(&mixed, &plan);
        let all: usize = clustered.iter().map(|manifest| manifest.partitions.len()).sum();
        let read: usize = clustered.iter().filter(|m| m.partitions.contains(&at(7))).map(|m| m.partitions.len()).sum();
        assert!(all == 144 * 694 && read * 50 < all, "{read} of {all}");
        assert_eq!(cluster(&clustered), Clustering::default());
        assert!(cluster(&[]) == Clustering::default());
    }

    #[test]
    fn one_partition_with_many_files_is_parted_and_small_ones_share() {
        let listed = [manifest((0..1000).map(|_| 1)), manifest(0..100)];
        let sizes: Vec<usize> = cluster(&listed).made.iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1100);
        assert!(sizes.iter().all(|size| *size <= 200), "{sizes:?}");
    }

    #[test]
    fn specs_and_deletes_stay_apart() {
        let mut listed = [manifest(0..3), manifest(0..3), manifest(0..3)];
        (listed[1].spec_id, listed[2].deletes) = (1, true);
        assert_eq!(cluster(&listed), Clustering::default());
    }
}
