//! What a sender hands over and what it is told: the parts of an entry that are kept beside its rows.

use serde::{Deserialize, Serialize};

use crate::flow::Reject;

/// How many reasons an answer lists.
pub const REASONS: usize = 10;

/// A refused record as it is kept until it is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The record's number within its entry, from 0.
    pub record: u64,
    /// The line it began on, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// Its text.
    pub raw: String,
    /// Every rule it breaks.
    pub broken: Vec<Rule>,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The reason code.
    pub code: String,
    /// The field to blame.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// For a person.
    pub detail: String,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        let rule = |b: crate::flow::Broken| Rule { code: b.code.to_owned(), field: b.field, detail: b.detail };
        Refusal {
            record: reject.record,
            line: reject.line,
            raw: reject.raw,
            broken: reject.broken.into_iter().map(rule).collect(),
        }
    }
}

/// Why one record was refused, as a sender is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The record's number, from 0.
    pub record: u64,
    /// Its line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// The first rule it breaks.
    #[serde(flatten)]
    pub rule: Rule,
}

/// The reasons of the first refusals.
pub fn reasons(refusals: &[Refusal]) -> Vec<Reason> {
    let first =
        |r: &Refusal| r.broken.first().map(|rule| Reason { record: r.record, line: r.line, rule: rule.clone() });
    refusals.iter().filter_map(first).take(REASONS).collect()
}

/// What a sender is told once its records are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Records that satisfy the contract: durable, and live after the next commit.
    pub accepted: u64,
    /// Records that do not: durable too, bound for quarantine.
    pub rejected: u64,
    /// The entry's number in its lane.
    pub entry: u64,
    /// The first reasons.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<Reason>,
}

/// Whether `bad` of `records` is more than the contract's limit allows. A source of few records cannot show a share,
/// so at least [`FEW`] are taken as its size: a bad record alone goes to quarantine and does not stop its sender.
pub fn over_limit(limit: f64, records: u64, bad: u64) -> bool {
    bad as f64 > limit * records.max(FEW) as f64
}

/// Whether a source need not be read to its end: it is over its limit by now, and has more bad records than
/// [`HOPELESS`] or than the limit allows of a million. What follows might dilute them, but garbage without an end must
/// not be taken in to find out.
pub fn is_hopeless(limit: f64, records: u64, bad: u64) -> bool {
    over_limit(limit, records, bad) && bad as f64 > (limit * 1e6).max(HOPELESS as f64)
}

/// Bad records that a source which is over its limit may have before it is stopped.
pub const HOPELESS: u64 = 100_000;

/// The size below which a source counts as this big.
pub const FEW: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_records_to_show_itself() {
        assert!(!over_limit(0.1, 1, 1));
        assert!(!over_limit(0.1, 1000, 100));
        assert!(over_limit(0.1, 1000, 101));
        assert!(over_limit(0.0, 1, 1));
    }

    #[test]
    fn a_source_is_stopped_early_only_if_it_is_over_its_limit_by_far() {
        assert!(!is_hopeless(0.1, HOPELESS, HOPELESS), "the rest may dilute them");
        assert!(is_hopeless(0.1, HOPELESS + 1, HOPELESS + 1));
        assert!(!is_hopeless(0.1, 10_000_000, 900_000), "many, but within the share");
        assert!(!is_hopeless(0.5, 400_000, 400_000), "half a million are allowed of a million");
        assert!(is_hopeless(0.5, 500_001, 500_001));
        assert!(!is_hopeless(1.0, u64::MAX, u64::MAX), "a limit of 1 takes everything");
    }
}
