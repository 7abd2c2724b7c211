//! The ledger of maintenance runs, as values. The catalog keeps it because it has the database; who runs what is not its
//! business.

use iceberg::TableIdent;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::deletions::ident_of;
use super::{Catalog, key};
use crate::error::{Error, Kind, Result};
use crate::state::{Keep, RUNNING, RunRow, Which};

/// Runs that are kept, at most; but for the newest of each task on a table.
const MOST: i64 = 10_000;
/// A run that is so long past its deadline has no daemon any more: steps are not interrupted, but end within this.
const NEVER_MS: i64 = 3_600_000;

/// Whether a run goes on, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// It did all there was to do.
    Done,
    /// It met an error.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// Its deadline came.
    Overdue,
    /// Its daemon was stopped.
    Stopped,
    /// Its daemon died.
    CutOff,
}

const WORDS: [(RunState, &str); 7] = [
    (RunState::Running, RUNNING),
    (RunState::Done, "done"),
    (RunState::Failed, "failed"),
    (RunState::Cancelled, "cancelled"),
    (RunState::Overdue, "overdue"),
    (RunState::Stopped, "stopped"),
    (RunState::CutOff, "cut-off"),
];

impl RunState {
    /// The word for it, in the database, in JSON and in metrics.
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|(state, _)| *state == self).map_or(RUNNING, |(_, word)| word)
    }
}

/// A run of one task on one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The daemon whose it is, by its warehouse; not in JSON.
    #[serde(skip)]
    pub owner: String,
    /// The table, by the name it had; in JSON `ns.table`.
    #[serde(with = "dotted")]
    pub table: TableIdent,
    /// Its UUID; empty where it was not written down. Another table may have had the name before.
    pub table_uuid: String,
    /// What was done.
    pub task: String,
    /// Whether it goes on, or how it ended.
    pub state: RunState,
    /// Why it was begun.
    pub why: String,
    /// When, in ms since 1970.
    pub began_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// When it is given up.
    pub deadline_ms: i64,
    /// The table's last sequence number when it began.
    pub sequence: i64,
    /// What came of it.
    pub report: Value,
}

/// A table's name with dots between its levels.
mod dotted {
    use super::{Deserialize, TableIdent};

    pub fn serialize<S: serde::Serializer>(table: &TableIdent, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(table)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<TableIdent, D::Error> {
        TableIdent::from_strs(String::deserialize(from)?.split('.')).map_err(serde::de::Error::custom)
    }
}

impl Run {
    fn of(row: RunRow) -> Result<Run> {
        let bad = |what: &'static str| Error::new(Kind::Corrupt, "a row of the ledger of runs").with("of", what);
        let state = WORDS.iter().find(|(_, known)| *known == row.state).map(|(state, _)| *state);
        Ok(Run {
            id: row.id,
            owner: row.owner,
            table: ident_of(&row.namespace, &row.name)?,
            table_uuid: row.table_uuid,
            task: row.task,
            state: state.ok_or_else(|| bad("an unknown state"))?,
            why: row.why,
            began_ms: row.began_ms,
            ended_ms: row.ended_ms,
            deadline_ms: row.deadline_ms,
            sequence: row.sequence,
            report: serde_json::from_slice(&row.report).map_err(|_| bad("no report"))?,
        })
    }
}

/// Which runs are asked for; all by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct WhichRuns<'a> {
    /// Of this table, by the name it had.
    pub table: Option<&'a TableIdent>,
    /// Of this task.
    pub task: Option<&'a str>,
    /// Older than this one.
    pub before: Option<&'a Run>,
}

fn bytes_of(report: &Value) -> Vec<u8> {
    report.to_string().into_bytes()
}

impl Catalog {
    /// Writes down that a run begins; `false`, and nothing is done, while another one of its table goes on.
    ///
    /// # Errors
    /// Database errors.
    pub fn begin_run(&self, run: &Run) -> Result<bool> {
        let row = RunRow {
            id: run.id.clone(),
            owner: run.owner.clone(),
            namespace: key(run.table.namespace()),
            name: run.table.name().to_string(),
            task: run.task.clone(),
            state: run.state.word().to_string(),
            why: run.why.clone(),
            began_ms: run.began_ms,
            ended_ms: run.ended_ms,
            deadline_ms: run.deadline_ms,
            sequence: run.sequence,
            report: bytes_of(&run.report),
            table_uuid: run.table_uuid.clone(),
        };
        self.inner.state.begin_run(&row)
    }

    /// Forgets runs that began before `kept_from_ms`, and all but the last ten thousand; of each task on a table that there
    /// is the newest stays. What goes on and is long past its deadline was cut off: whoever began it did not come back.
    /// To be called while no run of this daemon goes on.
    ///
    /// # Errors
    /// Database errors.
    pub fn forget_runs(&self, kept_from_ms: i64) -> Result<()> {
        let now_ms = self.now_ms();
        let late_ms = now_ms.saturating_sub(NEVER_MS);
        self.inner.state.cut_off_late_runs(late_ms, RunState::CutOff.word(), now_ms)?;
        self.inner.state.forget_runs(Keep { from_ms: kept_from_ms, most: MOST })
    }

    /// Writes down how a run ended.
    ///
    /// # Errors
    /// Database errors.
    pub fn end_run(&self, id: &str, state: RunState, report: &Value) -> Result<()> {
        self.inner.state.end_run(id, state.word(), self.now_ms(), &bytes_of(report))
    }

    /// Empties what a table's runs that have ended say of their reasons and results: they name partitions and files.
    ///
    /// # Errors
    /// Database errors.
    pub fn forget_reports(&self, table: &TableIdent) -> Result<()> {
        let table = (key(table.namespace()), table.name());
        self.inner.state.reword_runs((&table.0, table.1), "forgotten, as an erase asked for", &bytes_of(&json!({})))
    }

    /// Writes down that whatever this daemon had begun was cut off, and gives it: for a daemon that starts.
    ///
    /// # Errors
    /// Database errors.
    pub fn cut_off_runs(&self) -> Result<Vec<Run>> {
        let word = RunState::CutOff.word();
        self.inner.state.cut_off_runs(self.warehouse(), word, self.now_ms())?.into_iter().map(Run::of).collect()
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub fn runs(&self, which: &WhichRuns<'_>, most: usize) -> Result<Vec<Run>> {
        let table = which.table.map(|ident| (key(ident.namespace()), ident.name()));
        let table = table.as_ref().map(|(namespace, name)| (namespace.as_str(), *name));
        let before = which.before.map(|run| (run.began_ms, run.id.as_str()));
        let which = Which { table, task: which.task, before };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.inner.state.runs(&which, most)?.into_iter().map(Run::of).collect()
    }

    /// A run by its id.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn run(&self, id: &str) -> Result<Run> {
        let none =
            || Error::new(Kind::NotFound, "there is no such run: see `lakectl maintenance list`").with("run", id);
        self.inner.state.run(id)?.map(Run::of).transpose()?.ok_or_else(none)
    }
}
