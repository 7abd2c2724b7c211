//! The tables that are looked after, with what is to come of each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::{Catalog, Run, RunState, WhichRuns};
use uuid::Uuid;

use super::is_due;
use crate::error::{Kind, Result};
use crate::maintain::policy::{Defaults, Policy, Task};
use crate::maintain::schedule::{Due, Facts, Next, Past, next};
use crate::telemetry::maintenance as telemetry;

/// A table is looked at again after this at the latest: its namespace's properties may have changed.
const AGAIN_MS: i64 = 600_000;
/// When one that could not be read is looked at again.
const PUT_OFF_MS: i64 = 60_000;
/// Runs of each task that are read to learn what was done before: pauses after failures do not double as often.
const RUNS: usize = 20;

/// So long what was read of namespaces is fresh, and for so many of them.
const FRESH: Duration = Duration::from_secs(1);
const NAMESPACES: usize = 10_000;

/// What was done of each task.
pub type Pasts = BTreeMap<Task, Past>;

/// A table that is looked after.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub ident: TableIdent,
    /// Its UUID: another table may have the name by now.
    pub uuid: Uuid,
    /// Its policy.
    pub policy: Policy,
    /// What its metadata says.
    pub facts: Facts,
    /// What was done.
    pub past: Pasts,
    /// What is to come, task by task.
    pub next: Vec<Next>,
}

impl Known {
    /// A table as it is now, given the properties of the namespaces `above` it and how it was `before`; `None` if there is
    /// none.
    ///
    /// # Errors
    /// Database errors; `Corrupt`.
    pub fn of(
        catalog: &Catalog,
        (defaults, above): (&Defaults, &Properties),
        ident: &TableIdent,
        before: Option<Known>,
        began_ms: i64,
    ) -> Result<Option<Known>> {
        let table = match catalog.load(ident) {
            Err(error) if error.kind() == Kind::NotFound && !error.concerns("location") => return Ok(None),
            loaded => loaded?,
        };
        let policy = Policy::of(&table.metadata, above, defaults);
        let (now_ms, uuid) = (catalog.store().system().clock.now_ms(), table.metadata.uuid());
        if policy.is_idle() {
            let (facts, past) = (Facts::default(), Pasts::new());
            let next = to_come(&policy, &facts, &past, now_ms);
            return Ok(Some(Known { ident: ident.clone(), uuid, policy, facts, past, next }));
        }
        let mut facts = Facts::of(&table.metadata, &table.refs, now_ms);
        let mut past = match before.filter(|before| before.uuid == uuid) {
            Some(before) => {
                facts.seen(&before.facts);
                before.past
            }
            None => remembered(catalog, ident, uuid, began_ms)?,
        };
        for task in policy.triggers.keys() {
            past.entry(*task).or_insert_with(|| Past { began_ms, ..Past::default() });
        }
        past.values_mut().for_each(|past| past.follow(&facts, now_ms));
        let next = to_come(&policy, &facts, &past, now_ms);
        Ok(Some(Known { ident: ident.clone(), uuid, policy, facts, past, next }))
    }

    /// When it is to be looked at again.
    fn wake_ms(&self, now_ms: i64) -> i64 {
        let at = |next: &Next| match next.due {
            Due::At(at) => Some(at),
            _ => None,
        };
        self.next.iter().filter_map(at).min().unwrap_or(i64::MAX).min(now_ms.saturating_add(AGAIN_MS))
    }
}

/// The properties of a namespace and of those above it, the nearest first.
pub type Properties = Vec<BTreeMap<String, String>>;

/// Namespaces' properties as they were read a moment ago: each commit asks for them.
#[derive(Debug, Default)]
pub struct Above {
    read: HashMap<NamespaceIdent, Properties>,
    at: Duration,
}

impl Above {
    /// Those above a table.
    ///
    /// # Errors
    /// Database errors.
    pub fn of(&mut self, catalog: &Catalog, namespace: &NamespaceIdent) -> Result<Properties> {
        let now = catalog.store().system().clock.monotonic();
        if now.saturating_sub(self.at) >= FRESH || self.read.len() >= NAMESPACES {
            (self.read, self.at) = (HashMap::new(), now);
        }
        if let Some(found) = self.read.get(namespace) {
            return Ok(found.clone());
        }
        let found = above(catalog, namespace)?;
        self.read.insert(namespace.clone(), found.clone());
        Ok(found)
    }
}

fn above(catalog: &Catalog, namespace: &NamespaceIdent) -> Result<Properties> {
    let mut found = Vec::new();
    let mut at = Some(namespace.clone());
    while let Some(namespace) = at {
        match catalog.namespace(&namespace) {
            Ok(properties) => found.push(properties),
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        at = namespace.parent();
    }
    Ok(found)
}

fn to_come(policy: &Policy, facts: &Facts, past: &Pasts, now_ms: i64) -> Vec<Next> {
    let never = Past { began_ms: now_ms, ..Past::default() };
    Task::ALL.into_iter().map(|task| next(task, policy, facts, past.get(&task).unwrap_or(&never), now_ms)).collect()
}

/// What the ledger tells of each task; runs of another table that had the name do not count.
fn remembered(catalog: &Catalog, ident: &TableIdent, uuid: Uuid, began_ms: i64) -> Result<Pasts> {
    let (mut pasts, uuid) = (Pasts::new(), uuid.to_string());
    for task in Task::ALL {
        let mut runs = catalog.runs(&WhichRuns { table: Some(ident), task: Some(task.name()), before: None }, RUNS)?;
        runs.retain(|run| run.table_uuid.is_empty() || run.table_uuid == uuid);
        pasts.extend(past_of(&runs, began_ms).map(|past| (task, past)));
    }
    Ok(pasts)
}

/// What a task's runs tell, the newest first.
fn past_of(runs: &[Run], began_ms: i64) -> Option<Past> {
    let last = runs.first()?;
    let is_bad = |run: &&Run| matches!(run.state, RunState::CutOff | RunState::Failed);
    let bad = runs.iter().take_while(is_bad).count();
    // The first that is cut off is taken up at once.
    let failed = if last.state == RunState::CutOff { bad - 1 } else { bad };
    let done = runs.iter().find(|run| !is_bad(run));
    Some(Past {
        began_ms,
        last_ms: Some(last.ended_ms.unwrap_or(last.began_ms)),
        sequence: done.map_or(0, |run| run.sequence),
        failed: u32::try_from(failed).unwrap_or(u32::MAX),
        reason: last.report["error"].as_str().unwrap_or(last.state.word()).to_string(),
        cut_off: (last.state == RunState::CutOff).then(|| last.id.clone()),
        goes_on: matches!(last.state, RunState::Stopped | RunState::Overdue),
        ..Past::default()
    })
}

/// All of them.
#[derive(Debug)]
pub struct Tables {
    /// Since when the daemon looks after them, in ms since 1970.
    pub began_ms: i64,
    known: HashMap<TableIdent, (Known, i64)>,
    /// Those that could not be read, and when they are tried again.
    put_off: HashMap<TableIdent, i64>,
}

impl Tables {
    /// None yet.
    pub fn new(began_ms: i64) -> Tables {
        Tables { began_ms, known: HashMap::new(), put_off: HashMap::new() }
    }

    /// A table as it was when it was last looked at.
    pub fn known(&self, ident: &TableIdent) -> Option<Known> {
        self.known.get(ident).map(|(known, _)| known.clone())
    }

    /// Tasks that fail as nothing should: somebody has to look into them.
    pub fn ailments(&self) -> Vec<String> {
        let broken = self.known.values().flat_map(|(known, _)| known.past.iter().map(move |past| (known, past)));
        let broken = broken.filter(|(_, (_, past))| past.broken);
        let told = |(known, (task, past)): (&Known, (&Task, &Past))| {
            format!("maintenance of {}, {}, fails: {}; look into the log", known.ident, task.name(), past.reason)
        };
        broken.map(told).collect()
    }

    /// Keeps a table, or forgets it if it is gone or nobody is to look after it.
    pub fn put(&mut self, ident: &TableIdent, known: Option<Known>, now_ms: i64) {
        self.put_off.remove(ident);
        let before = self.known.remove(ident);
        let Some(known) = known.filter(|known| !known.policy.is_idle()) else {
            if before.is_some() {
                telemetry::forgotten(&ident.to_string());
            }
            return;
        };
        let told = before.is_some_and(|(before, _)| before.policy.problems == known.policy.problems);
        for problem in known.policy.problems.iter().filter(|_| !told) {
            tracing::warn!(table = %ident, problem, "a property of the table's upkeep is passed over");
        }
        let expirable = known.facts.expirable.as_ref().and_then(|count| count.as_ref().ok().copied());
        let (commits, problems) = (known.facts.commits.len(), known.policy.problems.len());
        telemetry::scheduled(&ident.to_string(), commits, expirable.unwrap_or(0), problems);
        let wake_ms = known.wake_ms(now_ms);
        self.known.insert(ident.clone(), (known, wake_ms));
    }

    /// Puts a table off that cannot be read.
    pub fn put_off(&mut self, ident: &TableIdent, now_ms: i64) {
        let again_ms = now_ms.saturating_add(PUT_OFF_MS);
        match self.known.get_mut(ident) {
            Some((known, wake_ms)) => {
                known.next.retain(|next| !is_due(next));
                *wake_ms = again_ms;
            }
            None => drop(self.put_off.insert(ident.clone(), again_ms)),
        }
    }

    /// Notes what was done.
    pub fn note(&mut self, ident: &TableIdent, task: Task, past: Past) {
        if let Some((known, _)) = self.known.get_mut(ident) {
            known.past.insert(task, past);
            known.next.retain(|next| next.task != task);
        }
    }

    /// Those whose time has come.
    pub fn ripe(&self, now_ms: i64) -> Vec<TableIdent> {
        let known = self.known.iter().map(|(ident, (_, wake_ms))| (ident, *wake_ms));
        let off = self.put_off.iter().map(|(ident, again_ms)| (ident, *again_ms));
        known.chain(off).filter(|(_, at)| *at <= now_ms).map(|(ident, _)| ident.clone()).collect()
    }

    /// The task that is due and has waited longest.
    pub fn most_urgent(&self) -> Option<(Known, Next)> {
        let since = |known: &Known, task| known.past.get(&task).and_then(|past| past.last_ms).unwrap_or(0);
        let due = self.known.values().flat_map(|(known, _)| {
            known
                .next
                .iter()
                .filter(|next| is_due(next))
                .map(move |next| ((since(known, next.task), next.task), known, next))
        });
        due.min_by_key(|(waits, ..)| *waits).map(|(_, known, next)| (known.clone(), next.clone()))
    }

    /// How long nothing is due.
    pub fn sleep(&self, now_ms: i64) -> Duration {
        let first = self.known.values().map(|(_, wake_ms)| *wake_ms).chain(self.put_off.values().copied()).min();
        let left = first.map_or(i64::MAX, |first| first.saturating_sub(now_ms));
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    /// How many tables there are, and how many tasks are due.
    pub fn figures(&self) -> (usize, usize) {
        let due = self.known.values().flat_map(|(known, _)| &known.next).filter(|next| is_due(next)).count();
        (self.known.len(), due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintain::histories::{History, START_MS};
    use crate::maintain::policy::tests::defaults;

    fn run(id: &str, state: RunState, sequence: i64) -> Run {
        Run {
            id: id.into(),
            owner: "file:///lake/warehouse".into(),
            table: TableIdent::from_strs(["n", "t"]).expect("a name"),
            table_uuid: String::new(),
            task: "compact".into(),
            state,
            why: String::new(),
            began_ms: 10,
            ended_ms: Some(20),
            deadline_ms: 30,
            sequence,
            report: serde_json::json!({ "error": "no disk" }),
        }
    }

    #[test]
    fn the_ledger_tells_what_was_done_before() {
        let past = |runs: &[Run]| past_of(runs, 99);
        assert_eq!(past(&[]), None);
        let done = past(&[run("b", RunState::Done, 7), run("a", RunState::CutOff, 3)]).expect("a past");
        assert_eq!((done.sequence, done.failed, done.cut_off, done.last_ms), (7, 0, None, Some(20)));
        let cut = past(&[run("b", RunState::CutOff, 7), run("a", RunState::Done, 3)]).expect("a past");
        assert_eq!((cut.sequence, cut.failed, cut.cut_off.as_deref()), (3, 0, Some("b")));
        let again = [run("c", RunState::CutOff, 7), run("b", RunState::CutOff, 7), run("a", RunState::Done, 3)];
        assert_eq!(past(&again).map(|past| past.failed), Some(1), "it waits before it may kill the daemon again");
        let failed = past(&[run("b", RunState::Failed, 7)]).expect("a past");
        assert_eq!((failed.failed, failed.reason.as_str()), (1, "no disk"));
        for (state, goes_on) in [
            (RunState::Stopped, true),
            (RunState::Overdue, true),
            (RunState::Done, false),
            (RunState::Cancelled, false),
        ] {
            let past = past(&[run("b", state, 7)]).expect("a past");
            assert_eq!((past.goes_on, past.failed), (goes_on, 0), "{state:?}");
        }
    }

    /// A daemon that starts finds when a rare task was done, however often others were; and of this very table.
    #[test]
    fn a_rare_task_is_remembered_and_a_table_made_again_has_no_past() {
        let history = History::new(1, &[("laked.maintenance", "on")]);
        let (catalog, ident) = (&history.catalog, &history.ident);
        let known = |began_ms| {
            Known::of(catalog, (&defaults(), &Vec::new()), ident, None, began_ms).expect("is read").expect("is there")
        };
        let uuid = known(0).uuid.to_string();
        let mut begun = 0;
        let mut wrote = |task: &str| {
            begun += 1;
            let id = format!("{begun:06}");
            let run =
                Run { id: id.clone(), task: task.into(), table_uuid: uuid.clone(), ..run("", RunState::Running, 0) };
            let run = Run { began_ms: START_MS + begun, ended_ms: None, deadline_ms: START_MS * 2, ..run };
            assert!(catalog.begin_run(&run).expect("writes"));
            catalog.end_run(&id, RunState::Done, &serde_json::json!({})).expect("writes");
        };
        wrote("orphans");
        (0..300).for_each(|_| wrote("compact"));
        catalog.forget_runs(START_MS + 301).expect("forgets");
        assert_eq!(catalog.runs(&WhichRuns::default(), 1000).expect("lists").len(), 2, "the newest of each");
        let told = known(7).past;
        assert!(told.contains_key(&Task::Orphans) && told[&Task::Compact].last_ms.is_some(), "{told:?}");
        catalog.drop_table(ident).expect("drops");
        history.create(ident, &[("laked.maintenance", "on")]);
        let again = known(7);
        assert!(!again.past.contains_key(&Task::Orphans) && again.past[&Task::Compact].last_ms.is_none());
    }

    #[test]
    fn what_was_seen_of_the_table_that_had_the_name_before_does_not_count() {
        let mut history = History::new(1, &[("laked.maintenance", "on")]);
        (0..3).for_each(|_| history.append(iceberg::spec::MAIN_BRANCH));
        let known = |history: &History, before| {
            Known::of(&history.catalog, (&defaults(), &Vec::new()), &history.ident, before, START_MS)
                .expect("is read")
                .expect("is there")
        };
        let mut before = known(&history, None);
        let came = |known: &Known| known.past[&Task::Compact].came[0];
        assert_eq!((came(&before), came(&known(&history, Some(before.clone())))), (3, 3), "each is counted once");
        before.past.values_mut().for_each(|past| past.last_ms = Some(START_MS));
        history.catalog.drop_table(&history.ident).expect("drops");
        history.create(&history.ident, &[("laked.maintenance", "on")]);
        let again = known(&history, Some(before));
        assert_eq!((came(&again), again.past[&Task::Compact].last_ms), (0, None));
    }

    #[test]
    fn namespaces_are_read_again_after_a_moment() {
        let history = History::new(1, &[]);
        let namespace = history.ident.namespace();
        let mut above = Above::default();
        let mut seen = || above.of(&history.catalog, namespace).expect("reads")[0].contains_key("laked.maintenance");
        assert!(!seen());
        let set = BTreeMap::from([("laked.maintenance".to_string(), "on".to_string())]);
        history.catalog.update_namespace(namespace, &[], &set).expect("sets");
        assert!(!seen(), "it was read just now");
        history.clock.advance(FRESH);
        assert!(seen());
    }
}
