//! The ledger of maintenance runs: what was done to which table, when, and how it ended.
//!
//! A run of a table is a claim to it: while it goes on and its deadline has not come, no daemon begins another on that
//! table. Transactions run one after another, so two that ask at once get one claim.

use super::State;
use super::session::{Row, Value};
use crate::error::Result;

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id; ids sort by when runs began.
    pub id: String,
    /// The daemon, by its warehouse.
    pub owner: String,
    /// The table, by the name it had.
    pub namespace: String,
    pub name: String,
    /// What was done.
    pub task: String,
    /// `running`, or how it ended.
    pub state: String,
    /// Why it was begun.
    pub why: String,
    /// Times in milliseconds since 1970.
    pub began_ms: i64,
    pub ended_ms: Option<i64>,
    pub deadline_ms: i64,
    /// The table's last sequence number when it began.
    pub sequence: i64,
    /// What came of it, as JSON.
    pub report: Vec<u8>,
    /// The table's UUID; empty in rows of before it was written down.
    pub table_uuid: String,
}

/// Which runs are asked for; all by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// Of this table.
    pub table: Option<(&'a str, &'a str)>,
    /// Of this task.
    pub task: Option<&'a str>,
    /// Older than the run that began then, with this id.
    pub before: Option<(i64, &'a str)>,
}

/// How many runs are kept, and from when on. Of each task on a table that there is, the newest is kept in any case: when a
/// task was done that is done once a month is to be known.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Those that began before this go, in milliseconds since 1970 …
    pub from_ms: i64,
    /// … and the oldest beyond so many.
    pub most: i64,
}

/// The state of a run that goes on.
pub const RUNNING: &str = "running";

const COLUMNS: &str =
    "id, owner, namespace, name, task, state, why, began_ms, ended_ms, deadline_ms, sequence, report, table_uuid";

fn run(row: &mut Row) -> Result<RunRow> {
    Ok(RunRow {
        id: row.text(0)?,
        owner: row.text(1)?,
        namespace: row.text(2)?,
        name: row.text(3)?,
        task: row.text(4)?,
        state: row.text(5)?,
        why: row.text(6)?,
        began_ms: row.integer(7)?,
        ended_ms: if matches!(row.0.get(8), Some(Value::Null)) { None } else { Some(row.integer(8)?) },
        deadline_ms: row.integer(9)?,
        sequence: row.integer(10)?,
        report: row.bytes(11)?,
        table_uuid: row.text(12)?,
    })
}

impl State {
    /// Begins a run; `false`, and nothing is done, while another one of that table goes on whose deadline has not come.
    pub fn begin_run(&self, row: &RunRow) -> Result<bool> {
        let held = "SELECT id FROM maintenance_runs
                    WHERE namespace = ?1 AND name = ?2 AND state = ?3 AND deadline_ms > ?4 LIMIT 1";
        let insert = format!(
            "INSERT INTO maintenance_runs ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        );
        self.transact(|session| {
            let [namespace, name] = [(&row.namespace).into(), (&row.name).into()];
            if session.first(held, &[namespace, name, RUNNING.into(), row.began_ms.into()])?.is_some() {
                return Ok(false);
            }
            let texts = [&row.id, &row.owner, &row.namespace, &row.name, &row.task, &row.state, &row.why];
            let mut values: Vec<Value<'_>> = texts.into_iter().map(Value::from).collect();
            values.extend([row.began_ms.into(), row.ended_ms.into(), row.deadline_ms.into(), row.sequence.into()]);
            values.extend([row.report.as_slice().into(), (&row.table_uuid).into()]);
            session.execute(&insert, &values)?;
            Ok(true)
        })
    }

    /// Forgets old runs; never one that goes on.
    pub fn forget_runs(&self, keep: Keep) -> Result<()> {
        let oldest = "SELECT began_ms FROM maintenance_runs ORDER BY began_ms DESC, id DESC LIMIT 1 OFFSET ?1";
        let forget = "DELETE FROM maintenance_runs WHERE began_ms <= ?1 AND state <> ?2 AND (
            EXISTS (SELECT 1 FROM maintenance_runs AS newer
                WHERE newer.namespace = maintenance_runs.namespace AND newer.name = maintenance_runs.name
                AND newer.task = maintenance_runs.task
                AND (newer.began_ms, newer.id) > (maintenance_runs.began_ms, maintenance_runs.id))
            OR NOT EXISTS (SELECT 1 FROM tables
                WHERE tables.namespace = maintenance_runs.namespace AND tables.name = maintenance_runs.name))";
        self.transact(|session| {
            let beyond = session.first(oldest, &[keep.most.into()])?;
            let beyond = beyond.map(|mut row| row.integer(0)).transpose()?.unwrap_or(i64::MIN);
            let until = beyond.max(keep.from_ms.saturating_sub(1));
            session.execute(forget, &[until.into(), RUNNING.into()]).map(drop)
        })
    }

    /// Ends a run that goes on.
    pub fn end_run(&self, id: &str, state: &str, ended_ms: i64, report: &[u8]) -> Result<()> {
        let sql = "UPDATE maintenance_runs SET state = ?2, ended_ms = ?3, report = ?4 WHERE id = ?1 AND state = ?5";
        let values = [id.into(), state.into(), ended_ms.into(), report.into(), RUNNING.into()];
        self.transact(|session| session.execute(sql, &values).map(drop))
    }

    /// Puts these in the place of why a table's runs that have ended were begun, and of what they reported.
    pub fn reword_runs(&self, (namespace, name): (&str, &str), why: &str, report: &[u8]) -> Result<()> {
        let sql =
            "UPDATE maintenance_runs SET why = ?3, report = ?4 WHERE namespace = ?1 AND name = ?2 AND state <> ?5";
        let values = [namespace.into(), name.into(), why.into(), report.into(), RUNNING.into()];
        self.transact(|session| session.execute(sql, &values).map(drop))
    }

    /// Ends whatever goes on of a daemon that has died, and gives it.
    pub fn cut_off_runs(&self, owner: &str, state: &str, now_ms: i64) -> Result<Vec<RunRow>> {
        let select = format!("SELECT {COLUMNS} FROM maintenance_runs WHERE owner = ?1 AND state = ?2 ORDER BY id");
        let found: Vec<RunRow> = self
            .read(|session| session.query(&select, &[owner.into(), RUNNING.into()])?.iter_mut().map(run).collect())?;
        if !found.is_empty() {
            let sql = "UPDATE maintenance_runs SET state = ?3, ended_ms = ?4 WHERE owner = ?1 AND state = ?2";
            let values = [owner.into(), RUNNING.into(), state.into(), now_ms.into()];
            self.transact(|session| session.execute(sql, &values).map(drop))?;
        }
        Ok(found)
    }

    /// Ends whatever goes on, of any daemon, whose deadline came before `late_ms`: it never came back.
    pub fn cut_off_late_runs(&self, late_ms: i64, state: &str, now_ms: i64) -> Result<()> {
        let sql = "UPDATE maintenance_runs SET state = ?2, ended_ms = ?3 WHERE state = ?4 AND deadline_ms < ?1";
        let values = [late_ms.into(), state.into(), now_ms.into(), RUNNING.into()];
        self.transact(|session| session.execute(sql, &values).map(drop))
    }

    /// Runs, newest first.
    pub fn runs(&self, which: &Which<'_>, most: i64) -> Result<Vec<RunRow>> {
        let (mut of, mut values): (String, Vec<Value<'_>>) = ("1 = 1".into(), Vec::new());
        if let Some((namespace, name)) = which.table {
            of += " AND namespace = ?1 AND name = ?2";
            values.extend([namespace.into(), name.into()]);
        }
        if let Some(task) = which.task {
            values.push(task.into());
            of += &format!(" AND task = ?{}", values.len());
        }
        if let Some((began_ms, id)) = which.before {
            values.extend([began_ms.into(), id.into()]);
            of += &format!(" AND (began_ms, id) < (?{}, ?{})", values.len() - 1, values.len());
        }
        values.push(most.into());
        let order = format!("ORDER BY began_ms DESC, id DESC LIMIT ?{}", values.len());
        let sql = format!("SELECT {COLUMNS} FROM maintenance_runs WHERE {of} {order}");
        self.read(|session| session.query(&sql, &values)?.iter_mut().map(run).collect())
    }

    /// A run by its id.
    pub fn run(&self, id: &str) -> Result<Option<RunRow>> {
        let sql = format!("SELECT {COLUMNS} FROM maintenance_runs WHERE id = ?1");
        self.read(|session| session.first(&sql, &[id.into()])?.map(|mut row| run(&mut row)).transpose())
    }
}
