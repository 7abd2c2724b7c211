//! Which small files the schedule merges: those that are ripe. Pure.
//!
//! Who asks for a compaction gets all of it. The schedule comes again and again, so it must not write the same rows anew
//! each time. Of the small files of a partition it takes the smallest ones, as many as there are such that the largest of
//! them is no larger than the others together: so a row is written anew only into a file of twice the size of the one it
//! was in, a logarithm's times in its life. What is left are fewer than [`Ripeness::min_inputs`] files, and beyond them
//! files that are each larger than all the smaller ones together.
//!
//! A partition is taken when its newest small file has cooled, because more may be about to come; but where they keep
//! coming, when there are [`Ripeness::hot_files`] of them. Files that deletes hit are left to the plan of compaction, which
//! has its own measure for them.

use std::collections::HashMap;

use iceberg::spec::{SnapshotRef, Struct, TableMetadata};
use laked_catalog::plan::{Plan, PlannedFile};

use super::compact::{Applying, is_small};
use super::health::target_of;
use super::schedule::Commit;

/// When files are ripe.
#[derive(Clone, Copy, Debug)]
pub struct Ripeness<'a> {
    /// Small files that a partition must have.
    pub min_inputs: usize,
    /// So many are merged even while more come.
    pub hot_files: usize,
    /// A file that came after this may get company, in ms since 1970.
    pub cooled_ms: i64,
    /// The time: a snapshot that says it is from the future is from now …
    pub now_ms: i64,
    /// … or from when it was first seen. By sequence number.
    pub seen: &'a [Commit],
}

/// Partitions whose small files are left as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Their newest file has not cooled.
    pub cooling: usize,
    /// They are too few, or each is larger than all the smaller ones together.
    pub few: usize,
}

/// When files came, by the sequence numbers of the snapshots that are left.
struct Ages(Vec<(i64, i64)>);

impl Ages {
    fn of(metadata: &TableMetadata, ripeness: &Ripeness<'_>) -> Ages {
        let seen = |sequence: i64| {
            let found = ripeness.seen.binary_search_by_key(&sequence, |commit| commit.sequence).ok()?;
            Some(ripeness.seen[found].at_ms)
        };
        let age = |snapshot: &SnapshotRef| {
            let (sequence, said_ms) = (snapshot.sequence_number(), snapshot.timestamp_ms());
            (sequence, seen(sequence).unwrap_or(ripeness.now_ms).min(said_ms))
        };
        let mut ages: Vec<(i64, i64)> = metadata.snapshots().map(age).collect();
        ages.sort_unstable();
        Ages(ages)
    }

    /// When a file came, at the latest: its snapshot may have expired.
    fn at_ms(&self, sequence_number: i64) -> i64 {
        let at = self.0.partition_point(|(number, _)| *number < sequence_number);
        self.0.get(at).map_or(i64::MAX, |(_, ms)| *ms)
    }
}

/// Leaves in a whole scan only what is ripe; gives how many partitions have small files that are left.
pub fn choose(metadata: &TableMetadata, scan: &mut Plan, ripeness: &Ripeness<'_>) -> Left {
    let (target, ages) = (target_of(metadata), Ages::of(metadata, ripeness));
    let applying = Applying::of(metadata, &scan.deletes);
    let is_hit = |file: &PlannedFile| !applying.to(file).is_empty();
    let mut partitions: HashMap<(i32, Struct), Vec<usize>> = HashMap::new();
    for (number, file) in scan.files.iter().enumerate() {
        if file.by_bounds && is_small(file, target) {
            partitions.entry((file.spec_id, file.file.partition().clone())).or_default().push(number);
        }
    }
    let (mut unripe, mut left) = (Vec::new(), Left::default());
    for mut small in partitions.into_values() {
        small.sort_by_key(|number| scan.files[*number].file.file_size_in_bytes());
        let sizes: Vec<u64> = small.iter().map(|number| scan.files[*number].file.file_size_in_bytes()).collect();
        let newest = small.iter().map(|number| ages.at_ms(scan.files[*number].sequence_number)).max();
        let cooled = newest.is_none_or(|newest| newest <= ripeness.cooled_ms);
        let fits = taken(&sizes, ripeness.min_inputs);
        let kept = if cooled || fits >= ripeness.hot_files { fits } else { 0 };
        left.cooling += usize::from(kept == 0 && fits > 0);
        left.few += usize::from(fits == 0 && small.len() > 1);
        unripe.extend(small.into_iter().skip(kept).filter(|number| !is_hit(&scan.files[*number])));
    }
    for number in unripe {
        scan.files[number].by_bounds = false;
    }
    left
}

/// How many of the smallest are taken; `sizes` rise.
fn taken(sizes: &[u64], least: usize) -> usize {
    let mut below = 0;
    let mut most = 0;
    for (number, size) in sizes.iter().enumerate() {
        if number + 1 >= least && *size <= below {
            most = number + 1;
        }
        below += size;
    }
    most
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use iceberg::spec::MAIN_BRANCH;
    use laked_catalog::plan::{Predicate, plan};
    use proptest::prelude::*;

    use super::*;
    use crate::maintain::histories::History;

    #[test]
    fn a_large_file_waits_for_as_much_as_it_holds() {
        for (sizes, expected) in [
            (&[1, 1, 1, 1][..], 0),
            (&[1, 1, 1, 1, 1], 5),
            (&[1, 1, 1, 1, 400], 0),
            (&[1, 1, 1, 1, 1, 400], 5),
            (&[1, 2, 4, 8, 15], 5),
            (&[1, 2, 4, 8, 16], 0),
            (&[1, 1, 1, 1, 1, 100, 100], 7),
            (&[100, 100, 100, 100, 399, 399], 6),
            (&[0, 0, 0, 0, 0], 5),
            (&[], 0),
        ] {
            assert_eq!(taken(sizes, 5), expected, "{sizes:?}");
        }
    }

    proptest! {
        /// However files come, each row is written anew a logarithm's times, and few files are left.
        #[test]
        fn rows_are_not_written_anew_for_ever(sizes in prop::collection::vec(1..1000u64, 1..400), batch in 1..40usize) {
            let mut files: Vec<u64> = Vec::new();
            let mut written = 0;
            for come in sizes.chunks(batch) {
                files.extend(come);
                files.sort_unstable();
                let count = taken(&files, 5);
                let merged: u64 = files.drain(..count).sum();
                written += merged;
                files.extend((count > 0).then_some(merged));
                files.sort_unstable();
                prop_assert_eq!(taken(&files, 5), 0, "a fixed point");
            }
            let total: u64 = sizes.iter().sum();
            let times = u64::from(total.ilog2()) + 1;
            prop_assert!(written <= total * times, "{written} for {total}");
            prop_assert!(files.len() <= 4 + usize::try_from(times).expect("small"), "{} files", files.len());
        }
    }

    #[test]
    fn a_partition_is_left_while_more_come_unless_there_are_many() {
        let mut history = History::new(1, &[]);
        let left = |history: &History, hot_files| {
            let (metadata, now) = (history.table().metadata.clone(), history.store().system().clock.now_ms());
            let whole = plan(history.store(), &metadata, metadata.current_snapshot(), &Predicate::True, true);
            let mut scan = whole.expect("plans");
            let ripeness = Ripeness { min_inputs: 5, hot_files, cooled_ms: now - 60_000, now_ms: now, seen: &[] };
            let left = choose(&metadata, &mut scan, &ripeness);
            (scan.left().count() == scan.files.len(), scan.left().count() == 0, left.cooling)
        };
        while history.model.len() < 12 {
            history.append(MAIN_BRANCH);
        }
        assert_eq!(left(&history, 1000), (false, true, 1), "more may come");
        assert_eq!(left(&history, 5), (true, false, 0), "many are there");
        history.clock.advance(Duration::from_secs(61));
        assert_eq!(left(&history, 1000), (true, false, 0), "they have cooled");
        history.append(MAIN_BRANCH);
        assert_eq!(left(&history, 1000), (false, true, 1), "one has not");
    }

    #[test]
    fn what_says_that_it_is_from_the_future_cools_since_it_was_seen() {
        let mut history = History::new(1, &[]);
        while history.model.len() < 12 {
            history.append(MAIN_BRANCH);
        }
        let metadata = history.table().metadata.clone();
        let hour = 3_600_000;
        let now = history.store().system().clock.now_ms() - hour;
        let seen: Vec<Commit> = metadata
            .snapshots()
            .map(|snapshot| Commit {
                sequence: snapshot.sequence_number(),
                at_ms: now - 60_000,
                files: 1,
                bytes: 1,
                replaces: false,
            })
            .collect();
        let left = |seen: &[Commit]| {
            let whole = plan(history.store(), &metadata, metadata.current_snapshot(), &Predicate::True, true);
            let ripeness = Ripeness { min_inputs: 5, hot_files: 1000, cooled_ms: now - 60_000, now_ms: now, seen };
            choose(&metadata, &mut whole.expect("plans"), &ripeness).cooling
        };
        let mut in_order = seen;
        in_order.sort_unstable_by_key(|commit| commit.sequence);
        assert_eq!((left(&[]), left(&in_order)), (1, 0));
    }
}
