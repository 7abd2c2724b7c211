//! What is done next to a table by itself, and why, or why not. Pure: a function of its policy, of what its metadata
//! says, of what was done before, and of the time. The daemon acts by it, and `lakectl health` shows it.
//!
//! A due task is *looked at*: whether there is anything to do takes reading manifests, which the schedule does not. So that
//! looking costs little, a look comes no sooner than [`RARELY`] times what the last one took, and one that failed is tried
//! again after a pause that doubles up to an hour.
//!
//! # Commits that are gone
//! What commits bring is added up as they are seen ([`Past::follow`]), because their snapshots expire. Of those that nobody
//! saw, sequence numbers tell, which have no gaps: what is missing was a commit, of one file at least, and no younger than
//! the next that is kept. Format 1 has no sequence numbers: the snapshots' times stand for them, and have gaps.
//!
//! # Clocks
//! They step back, and others' are wrong. Nothing that was noted is later than now, and a snapshot that says it is from the
//! future came when it was first seen.
//!
//! # Cooling
//! `cooled 1m` is due a minute after a commit, and not again within that minute. What a look finds too fresh is looked at
//! again: only commits that had cooled at the last look count as seen.

use iceberg::spec::{FormatVersion, Operation, TableMetadata};
use laked_catalog::Refs;
use serde::{Deserialize, Serialize};

use super::expire::may_collect;
use super::policy::{Policy, Task, Trigger};
use super::retention::{Asked, kept};
use crate::error::{Error, Kind};
use crate::history::all_is_published;

/// Looks take a twentieth of the time at most.
const RARELY: i64 = 20;
/// After this a run goes on that left something; others have had their turn by then.
const ON_MS: i64 = 1000;
/// The pause after a failure; doubled with each further one, up to the longest. Also until a table is looked at again that
/// another daemon has.
const PAUSE_MS: i64 = 60_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;

/// A snapshot that is kept, as the schedule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its sequence number; in format 1 its time.
    pub sequence: i64,
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// Data files that it added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it only put other files in the place of some, as compaction does: it gives no reason for another look.
    pub replaces: bool,
}

/// What a table's metadata says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The snapshots that are kept, oldest first.
    pub commits: Vec<Commit>,
    /// The last sequence number; in format 1 the latest time.
    pub sequence: i64,
    /// Whether those have no gaps: not in format 1.
    pub numbered: bool,
    /// Snapshots that are past their retention, or why that cannot be told.
    pub expirable: Option<Result<usize, String>>,
    /// Why files are not collected.
    pub keeps_all: Option<String>,
    /// Why files are not written anew.
    pub waits: Option<String>,
}

impl Facts {
    /// Reads them.
    pub fn of(metadata: &TableMetadata, refs: &Refs, now_ms: i64) -> Facts {
        let told = |summary: &iceberg::spec::Summary, key: &str| {
            summary.additional_properties.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let numbered = metadata.format_version() != FormatVersion::V1;
        let mut commits: Vec<Commit> = metadata
            .snapshots()
            .map(|snapshot| Commit {
                sequence: if numbered { snapshot.sequence_number() } else { snapshot.timestamp_ms() },
                at_ms: snapshot.timestamp_ms().min(now_ms),
                files: told(snapshot.summary(), "added-data-files"),
                bytes: told(snapshot.summary(), "added-files-size"),
                replaces: snapshot.summary().operation == Operation::Replace,
            })
            .collect();
        commits.sort_unstable_by_key(|commit| commit.sequence);
        let expirable = kept(metadata, refs, &Asked::default(), now_ms);
        let latest = commits.last().map_or(0, |commit| commit.sequence);
        Facts {
            commits,
            sequence: if numbered { metadata.last_sequence_number() } else { latest },
            numbered,
            expirable: Some(expirable.map(|kept| kept.gone.len() + kept.refs.len()).map_err(|e| e.to_string())),
            keeps_all: may_collect(metadata).err().map(|error| error.to_string()),
            waits: all_is_published(metadata, refs).err().map(|error| error.to_string()),
        }
    }

    /// A commit that was seen `before` is no younger than it was then.
    pub fn seen(&mut self, before: &Facts) {
        for commit in &mut self.commits {
            if let Ok(found) = before.commits.binary_search_by_key(&commit.sequence, |commit| commit.sequence) {
                commit.at_ms = commit.at_ms.min(before.commits[found].at_ms);
            }
        }
    }

    /// Commits, files and bytes that came after a sequence number.
    fn since(&self, sequence: i64) -> [u64; 3] {
        let (mut sums, mut kept) = ([0; 3], 0);
        for commit in self.commits.iter().filter(|commit| commit.sequence > sequence) {
            kept += 1;
            if !commit.replaces {
                sums = [sums[0] + 1, sums[1] + commit.files, sums[2] + commit.bytes];
            }
        }
        let all = u64::try_from(self.sequence.saturating_sub(sequence)).unwrap_or(0);
        let gone = if self.numbered { all.saturating_sub(kept) } else { 0 };
        [sums[0] + gone, sums[1] + gone, sums[2]]
    }

    /// When the first commit came after a sequence number, at the latest, in ms since 1970.
    fn first_after(&self, sequence: i64) -> Option<i64> {
        let mut expected = sequence.saturating_add(1);
        for commit in self.commits.iter().filter(|commit| commit.sequence > sequence) {
            if !commit.replaces || self.numbered && commit.sequence > expected {
                return Some(commit.at_ms);
            }
            expected = commit.sequence.saturating_add(1);
        }
        None
    }
}

/// What was done of a task before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Since when somebody looks after the table, in ms since 1970.
    pub began_ms: i64,
    /// When the last look ended.
    pub last_ms: Option<i64>,
    /// How long it took, in ms, without what followed.
    pub took_ms: i64,
    /// Commits, files and bytes that came since that look, up to `sequence`.
    pub came: [u64; 3],
    /// The table's sequence number up to which they are counted; at first that of the look.
    pub sequence: i64,
    /// The last that had cooled by then.
    pub cooled: i64,
    /// What that look found besides what was done.
    pub found: String,
    /// How often it failed since it last did not, and the last reason.
    pub failed: u32,
    /// See `failed`.
    pub reason: String,
    /// Whether it failed as nothing should: somebody has to look into it.
    pub broken: bool,
    /// A run that a death cut off.
    pub cut_off: Option<String>,
    /// Whether the last run left something to be done.
    pub goes_on: bool,
    /// Not before this, because another daemon has a run of the table.
    pub again_ms: Option<i64>,
}

/// A look at a table that ended without a failure.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// When it began, in ms since 1970.
    pub began_ms: i64,
    /// When it and what followed ended.
    pub ended_ms: i64,
    /// How long it took by itself.
    pub took_ms: i64,
    /// Whether it left something to be done.
    pub goes_on: bool,
    /// What it found besides what was done.
    pub found: String,
}

impl Past {
    /// What came since the last look. Sequence numbers only fall where it is another table.
    fn came(&self, facts: &Facts) -> [u64; 3] {
        let more = facts.since(if self.sequence > facts.sequence { 0 } else { self.sequence });
        [0, 1, 2].map(|at| self.came[at].saturating_add(more[at]))
    }

    /// Adds up what came, and notes that it is no later than now, whatever the clock said before.
    pub fn follow(&mut self, facts: &Facts, now_ms: i64) {
        self.came = self.came(facts);
        if self.sequence > facts.sequence {
            self.cooled = 0;
        }
        self.sequence = facts.sequence;
        self.began_ms = self.began_ms.min(now_ms);
        self.last_ms = self.last_ms.map(|last| last.min(now_ms));
        self.again_ms = self.again_ms.map(|again| again.min(now_ms.saturating_add(PAUSE_MS)));
    }

    /// Notes a look that ended without a failure.
    pub fn looked(&mut self, facts: &Facts, trigger: &Trigger, look: Look) {
        let cooled_ms = look.began_ms.saturating_sub(trigger.cooled_ms.unwrap_or(0));
        let cooled = facts.commits.iter().take_while(|commit| commit.at_ms <= cooled_ms).map(|commit| commit.sequence);
        *self = Past {
            began_ms: self.began_ms,
            last_ms: Some(look.ended_ms),
            took_ms: look.took_ms,
            sequence: facts.sequence,
            cooled: cooled.last().unwrap_or(self.cooled).max(self.cooled),
            goes_on: look.goes_on,
            found: look.found,
            ..Past::default()
        };
    }

    /// Notes that another daemon is at it: it is tried again in a minute, for the reasons it was due for.
    pub fn held(&mut self, now_ms: i64) {
        self.again_ms = Some(now_ms.saturating_add(PAUSE_MS));
    }

    /// Notes a look that failed.
    pub fn failed(&mut self, error: &Error, ended_ms: i64) {
        self.last_ms = Some(ended_ms);
        self.failed = self.failed.saturating_add(1);
        self.reason = error.to_string();
        self.broken = error.kind() == Kind::Internal;
        (self.cut_off, self.again_ms) = (None, None);
    }
}

/// When a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "due", content = "at-ms")]
pub enum Due {
    /// Now.
    Now,
    /// Then, in ms since 1970.
    At(i64),
    /// When more is committed.
    OnCommits,
    /// Never.
    Off,
}

/// What is to come of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Next {
    /// The task.
    pub task: Task,
    /// When it is due.
    #[serde(flatten)]
    pub due: Due,
    /// Why, or why not.
    pub why: String,
}

/// What is to come of a task on a table.
pub fn next(task: Task, policy: &Policy, facts: &Facts, past: &Past, now_ms: i64) -> Next {
    let (mut due, mut why) = judged(task, policy, facts, past, now_ms);
    if let (Some(again), Due::Now | Due::At(_)) = (past.again_ms.filter(|again| *again > now_ms), due) {
        let at = if let Due::At(at) = due { at.max(again) } else { again };
        (due, why) = (Due::At(at), format!("another daemon has a run of this table; {why}"));
    }
    if !past.found.is_empty() && matches!(due, Due::At(_) | Due::OnCommits) {
        why = format!("{why}; the last look found: {}", past.found);
    }
    Next { task, due, why }
}

fn judged(task: Task, policy: &Policy, facts: &Facts, past: &Past, now_ms: i64) -> (Due, String) {
    let Some(trigger) = policy.triggers.get(&task) else {
        return (Due::Off, policy.off.get(&task).cloned().unwrap_or_default());
    };
    let removes = matches!(task, Task::Expire | Task::Orphans);
    let held = if removes { &facts.keeps_all } else { &facts.waits };
    if let Some(why) = held {
        return (Due::Off, why.clone());
    }
    let note = match (task, &facts.expirable) {
        (Task::Expire, Some(Err(why))) => return (Due::Off, why.clone()),
        (Task::Expire, Some(Ok(count))) => format!("{count} snapshots and refs are past their retention; "),
        _ => String::new(),
    };
    if past.failed > 0 {
        let pause = PAUSE_MS.saturating_mul(1 << (past.failed - 1).min(10)).min(LONGEST_PAUSE_MS);
        let again = past.last_ms.unwrap_or(now_ms).saturating_add(pause);
        let due = if again <= now_ms { Due::Now } else { Due::At(again) };
        return (due, format!("the last {} runs failed, and it is tried again: {}", past.failed, past.reason));
    }
    if let Some(run) = &past.cut_off {
        return (Due::Now, format!("run {run} was cut off, and is planned anew"));
    }
    if past.goes_on {
        let again = past.last_ms.unwrap_or(now_ms).saturating_add(ON_MS);
        let due = if again <= now_ms { Due::Now } else { Due::At(again) };
        return (due, "the last run left some for another".into());
    }
    let (due, why) = triggered(trigger, facts, past, now_ms);
    (rarely(due, past, now_ms), format!("{note}{why}"))
}

/// Not sooner than looks may come.
fn rarely(due: Due, past: &Past, now_ms: i64) -> Due {
    let soonest = past.last_ms.map_or(i64::MIN, |last| last.saturating_add(past.took_ms.saturating_mul(RARELY)));
    match due {
        Due::Now if soonest > now_ms => Due::At(soonest),
        Due::At(at) => Due::At(at.max(soonest)),
        due => due,
    }
}

fn triggered(trigger: &Trigger, facts: &Facts, past: &Past, now_ms: i64) -> (Due, String) {
    let [commits, files, bytes] = past.came(facts);
    let counts =
        [(trigger.commits, commits, "commits"), (trigger.files, files, "files"), (trigger.bytes, bytes, "bytes")];
    for (wanted, found, unit) in counts {
        if let Some(wanted) = wanted.filter(|wanted| found >= *wanted) {
            return (Due::Now, format!("{found} {unit} came since the last look, {wanted} are enough"));
        }
    }
    let base = past.last_ms.unwrap_or(past.began_ms);
    let crons = trigger.cron.iter().filter_map(|cron| Some((cron.after(base)?, format!("by the clock ({cron})"))));
    let first = crons.chain(cooling(trigger, facts, past)).min_by_key(|(at, _)| *at);
    match first {
        Some((at, why)) if at <= now_ms => (Due::Now, why),
        Some((at, why)) => (Due::At(at), why),
        None => {
            let wanted =
                counts.iter().filter_map(|(wanted, found, unit)| Some(format!("{found} of {} {unit}", (*wanted)?)));
            let wanted: Vec<String> = wanted.collect();
            let nothing = || "nothing was committed since the last look".to_string();
            (Due::OnCommits, if wanted.is_empty() { nothing() } else { format!("{} came", wanted.join(", ")) })
        }
    }
}

/// When the oldest commit that was too fresh, or not there, has cooled.
fn cooling(trigger: &Trigger, facts: &Facts, past: &Past) -> Option<(i64, String)> {
    let cool_ms = trigger.cooled_ms?;
    let first_ms = facts.first_after(if past.cooled > facts.sequence { 0 } else { past.cooled })?;
    let least = past.last_ms.unwrap_or(past.began_ms);
    let at = first_ms.max(least).saturating_add(cool_ms);
    Some((at, format!("files that came have cooled for {} s", cool_ms as f64 / 1000.0)))
}

#[cfg(test)]
mod tests;
