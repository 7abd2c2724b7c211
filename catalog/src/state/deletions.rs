//! The deletion ledger: files that are to be unlinked later.

use super::State;
use super::session::Row;
use crate::error::Result;

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionRow {
    /// What owes it, and the row's number in it.
    pub run: String,
    pub part: i64,
    /// The table's UUID, and the name it had.
    pub table: String,
    pub namespace: String,
    pub name: String,
    /// When it is due, in ms since 1970; and when it is looked at, which is later if it was put off.
    pub due_ms: i64,
    pub again_ms: i64,
    /// The locations, as a JSON list.
    pub files: Vec<u8>,
}

const COLUMNS: &str = "run, part, table_uuid, namespace, name, due_ms, again_ms, files";

fn deletion(row: &mut Row) -> Result<DeletionRow> {
    Ok(DeletionRow {
        run: row.text(0)?,
        part: row.integer(1)?,
        table: row.text(2)?,
        namespace: row.text(3)?,
        name: row.text(4)?,
        due_ms: row.integer(5)?,
        again_ms: row.integer(6)?,
        files: row.bytes(7)?,
    })
}

impl State {
    /// Replaces all that a run owes, in one transaction.
    pub fn set_deletions(&self, run: &str, rows: &[DeletionRow]) -> Result<()> {
        let sql = format!("INSERT INTO deletions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
        self.transact(|session| {
            session.execute("DELETE FROM deletions WHERE run = ?1", &[run.into()])?;
            for row in rows {
                let files = row.files.as_slice().into();
                let texts = [(&row.table).into(), (&row.namespace).into(), (&row.name).into()];
                let [table, namespace, name] = texts;
                let (run, part) = ((&row.run).into(), row.part.into());
                let values = [run, part, table, namespace, name, row.due_ms.into(), row.again_ms.into(), files];
                session.execute(&sql, &values)?;
            }
            Ok(())
        })
    }

    /// The row that is to be looked at first, if its time has come.
    pub fn deletion_at(&self, now_ms: i64) -> Result<Option<DeletionRow>> {
        let sql = format!("SELECT {COLUMNS} FROM deletions WHERE again_ms <= ?1 ORDER BY again_ms, run, part LIMIT 1");
        self.read(|session| session.first(&sql, &[now_ms.into()])?.map(|mut row| deletion(&mut row)).transpose())
    }

    /// When the next row is to be looked at.
    pub fn next_deletion_ms(&self) -> Result<Option<i64>> {
        let sql = "SELECT again_ms FROM deletions ORDER BY again_ms LIMIT 1";
        self.read(|session| session.first(sql, &[])?.map(|mut row| row.integer(0)).transpose())
    }

    /// All that is owed of a table.
    pub fn deletions_of(&self, table: &str) -> Result<Vec<DeletionRow>> {
        let sql = format!("SELECT {COLUMNS} FROM deletions WHERE table_uuid = ?1 ORDER BY due_ms, run, part");
        self.read(|session| session.query(&sql, &[table.into()])?.iter_mut().map(deletion).collect())
    }

    /// Puts a row off.
    pub fn put_off_deletion(&self, run: &str, part: i64, again_ms: i64) -> Result<()> {
        let sql = "UPDATE deletions SET again_ms = ?3 WHERE run = ?1 AND part = ?2";
        self.transact(|session| session.execute(sql, &[run.into(), part.into(), again_ms.into()]).map(drop))
    }

    /// Ends a row.
    pub fn end_deletion(&self, run: &str, part: i64) -> Result<()> {
        let sql = "DELETE FROM deletions WHERE run = ?1 AND part = ?2";
        self.transact(|session| session.execute(sql, &[run.into(), part.into()]).map(drop))
    }
}
