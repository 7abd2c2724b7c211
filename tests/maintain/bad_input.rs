//! Bad input, verb by verb: exit code 2, nothing printed, nothing changed, and what is possible said.
//!
//! A verb that `lakectl` lists is here, or among those that look after no table, or are tested where they are written.

use std::collections::BTreeSet;

use super::{Lake, TABLE};

/// Verbs of other topics, whose bad input is in tests of their own.
const ELSEWHERE: [&str; 19] = [
    "query",
    "table",
    "evolve-schema",
    "ingest",
    "quarantine",
    "contract",
    "sample",
    "demo",
    "doctor",
    "token",
    "catalog",
    "completions",
    "help",
    "apply",
    "audit",
    "erase",
    "maintenance",
    "plan",
    "publish",
];

/// What is asked for, and words of the answer; `TABLE` has one snapshot, a tag `v1`, columns n, place, at.
const CASES: [(&[&str], &str); 58] = [
    (&["history", "probe.none"], TABLE),
    (&["history", "readings"], "namespace.table"),
    (&["snapshots", "probe.none"], TABLE),
    (&["files", "probe.none"], TABLE),
    (&["files", TABLE, "--at", "7"], "snapshot"),
    (&["files", TABLE, "--at", "soon"], "--at"),
    (&["partitions", "probe.none"], TABLE),
    (&["partitions", TABLE, "--at", "7"], "snapshot"),
    (&["refs", "probe.none"], TABLE),
    (&["health", "probe.none"], TABLE),
    (&["explain", "probe.none", "--where", "n = 1"], TABLE),
    (&["explain", TABLE, "--where", "nowhere = 1"], "nowhere"),
    (&["evolve-partition", "probe.none", "place"], TABLE),
    (&["evolve-partition", TABLE, "nowhere"], "fields: n, place, at"),
    (&["evolve-partition", TABLE, "week(at)"], "bucket[N](f)"),
    (&["evolve-partition", TABLE, "bucket(-1, n)"], "bucket"),
    (&["evolve-partition", TABLE, "day(at) as place"], "as a column is"),
    (&["evolve-partition", TABLE, "month(at)", "--rewrite", "nowhere = 1"], "nowhere"),
    (&["evolve-partition", TABLE, "month(at)", "--rewrite-before", "soon"], "timestamptz"),
    (&["evolve-partition", TABLE, "month(at)", "--rewrite", "", "--max-bytes", "-1"], "--max-bytes"),
    (&["expire", "probe.none"], TABLE),
    (&["expire", TABLE, "--older-than", "-5d"], "no length of time"),
    (&["expire", TABLE, "--grace", "-1h"], "no length of time"),
    (&["expire", TABLE, "--retain-last", "-1"], "--retain-last 1"),
    (&["expire", TABLE, "--snapshot", "7"], "not in the table"),
    (&["expire", TABLE, "--snapshot", "CURRENT"], "the current snapshot"),
    (&["remove-orphans", "probe.none"], TABLE),
    (&["remove-orphans", TABLE, "--older-than", "-3d"], "no length of time"),
    (&["remove-orphans", TABLE, "--older-than", "1h"], "--force"),
    (&["rollback", "probe.none", "--to", "7"], TABLE),
    (&["rollback", TABLE, "--to", "7"], "lakectl snapshots"),
    (&["rollback", TABLE, "--to", "-7"], "--to"),
    (&["rollback", TABLE, "--to", "2001-01-01"], "as old as that"),
    (&["rollback", TABLE], "--to"),
    (&["set-current", "probe.none", "7"], TABLE),
    (&["set-current", TABLE, "7"], "lakectl snapshots"),
    (&["set-current", TABLE, "v1"], "v1"),
    (&["cherry-pick", "probe.none", "7"], TABLE),
    (&["cherry-pick", TABLE, "7"], "lakectl snapshots"),
    (&["cherry-pick", TABLE, "CURRENT"], "shown already"),
    (&["branch", "create", "probe.none", "b"], TABLE),
    (&["branch", "create", TABLE, "v1"], "already"),
    (&["branch", "create", TABLE, ""], "needs a name"),
    (&["branch", "create", TABLE, "b", "--min-snapshots", "0"], "from 1"),
    (&["branch", "drop", TABLE, "none"], "there are: main, v1"),
    (&["branch", "drop", TABLE, "main"], "cannot be dropped"),
    (&["branch", "fast-forward", TABLE, "main", "none"], "there are: main, v1"),
    (&["branch", "list", "probe.none"], TABLE),
    (&["tag", "create", TABLE, "v2", "--at", "7"], "lakectl snapshots"),
    (&["tag", "create", TABLE, "v2", "--keep", "-1d"], "--keep"),
    (&["tag", "drop", TABLE, "none"], "there are: main, v1"),
    (&["compact", "probe.none"], TABLE),
    (&["compact", "readings"], "namespace.table"),
    (&["compact", TABLE, "--where", "nowhere = 1"], "nowhere"),
    (&["compact", TABLE, "--max-bytes", "-1"], "--max-bytes"),
    (&["compact", TABLE, "--min-inputs", "-1"], "--min-inputs"),
    (&["rewrite-manifests", "probe.none"], TABLE),
    (&["rewrite-manifests", "readings"], "namespace.table"),
];

fn holds(lake: &Lake) {
    let current = lake.metadata()["current-snapshot-id"].to_string();
    for (words, said) in CASES {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "CURRENT" { current.as_str() } else { word }).collect();
        lake.refuses(&words, said);
    }
}

#[test]
fn every_verb_says_what_is_possible_and_changes_nothing() {
    let mut lake = Lake::new();
    lake.send(0..1);
    lake.lakectl(&["tag", "create", TABLE, "v1"]);
    holds(&lake);
    lake.stop();
    holds(&lake);
    let help = lake.lakectl(&["--help"]);
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let verb = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let listed = commands.lines().filter(verb).filter_map(|line| line.split_whitespace().next());
    let known: BTreeSet<&str> = CASES.iter().map(|(words, _)| words[0]).chain(ELSEWHERE).collect();
    let missing: Vec<&str> = listed.filter(|verb| !known.contains(verb)).collect();
    assert!(missing.is_empty(), "no bad input is tried with {missing:?}");
}
