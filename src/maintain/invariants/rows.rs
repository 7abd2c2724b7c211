//! I1, I6, I7: what became of rows, judged against what was sent, what was there before, and what the contract says.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Violation;

fn counted<K: Ord>(keys: impl IntoIterator<Item = K>) -> BTreeMap<K, i64> {
    let mut counts = BTreeMap::new();
    keys.into_iter().for_each(|key| *counts.entry(key).or_insert(0) += 1);
    counts
}

/// I1: every acknowledged row is live exactly once, or in quarantine. The promise of the whole. Rows that were sent and
/// not acknowledged may be there, once.
pub fn exactly_once<K: Ord + Display>(
    acknowledged: impl IntoIterator<Item = K>,
    live: impl IntoIterator<Item = K>,
    quarantined: impl IntoIterator<Item = K>,
) -> Vec<Violation> {
    let there = counted(live.into_iter().chain(quarantined));
    let twice = there.iter().filter(|(_, count)| **count > 1);
    let mut found: Vec<Violation> =
        twice.map(|(key, count)| Violation::of_lake("I1", format!("{key} is there {count} times"))).collect();
    let lost = acknowledged.into_iter().filter(|key| !there.contains_key(key));
    found.extend(lost.map(|key| Violation::of_lake("I1", format!("{key} was acknowledged and is lost"))));
    found
}

/// I6: maintenance keeps the multiset of rows.
pub fn same_rows<K: Ord + Display>(
    before: impl IntoIterator<Item = K>,
    after: impl IntoIterator<Item = K>,
) -> Vec<Violation> {
    let mut balance = counted(after);
    before.into_iter().for_each(|key| *balance.entry(key).or_insert(0) -= 1);
    let changed = balance.into_iter().filter(|(_, count)| *count != 0);
    changed.map(|(key, count)| Violation::of_lake("I6", format!("{key}: {count:+} rows"))).collect()
}

/// I7: each row satisfies the contract version recorded for its file. `broken` gives, for a file, the rules its rows
/// break under the contract that was in force.
pub fn rows_fit_their_contract<'a>(
    files: impl IntoIterator<Item = &'a str>,
    broken: impl Fn(&str) -> Vec<String>,
) -> Vec<Violation> {
    let judge = |file: &'a str| broken(file).into_iter().map(move |rule| format!("{file}: {rule}"));
    files.into_iter().flat_map(judge).map(|what| Violation::of_lake("I7", what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_doubled_rows_are_found() {
        assert!(exactly_once([1, 2, 3], [1, 3, 4], [2]).is_empty());
        let found = exactly_once([1, 2], [2, 3, 3], []);
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["I1: 3 is there 2 times", "I1: 1 was acknowledged and is lost"]);
        assert!(exactly_once([1], [1], [1]).len() == 1, "live and in quarantine is twice");
    }

    #[test]
    fn a_multiset_is_compared_with_its_counts() {
        assert!(same_rows([1, 1, 2], [2, 1, 1]).is_empty());
        assert_eq!(same_rows([1, 1], [1]).len(), 1);
        assert_eq!(same_rows([1], [1, 2]).len(), 1);
    }
}
