//! Copies of the whole state: backup, restore, and the way from one database to the other.
//!
//! A backup is an SQLite file with the state's own schema, whichever database it was taken of: one form to look into with
//! any SQLite shell, to restore from, and to move with. It is read at one moment, beside everything that goes on, and
//! restored in one transaction.

use std::path::Path;

use super::session::{Engine, Session, Value};
use super::sqlite::Sqlite;
use super::{State, migrations};
use crate::error::{Error, Kind, Result};

/// Rows read at a time.
const PAGE: usize = 256;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Namespaces.
    pub namespaces: u64,
    /// Tables and views.
    pub tables: u64,
}

impl State {
    /// Writes the whole state, as it is at one moment, to a new SQLite file. The file is durable, its name is not yet.
    ///
    /// # Errors
    /// Database errors of either side; what is at `file` is of no use then.
    pub fn back_up(&self, file: &Path) -> Result<Copied> {
        let target = Sqlite::open(Some(file))?;
        let mut copied = Copied::default();
        self.engine.snapshot(&mut |from| {
            target.transaction(&mut |to| {
                copied = replace_all(from, to)?;
                Ok(())
            })
        })?;
        target.into_one_file()?;
        Ok(copied)
    }

    /// Takes over the state of a backup; everything else is forgotten.
    ///
    /// # Errors
    /// `Conflict` if there are namespaces and `over` is not set; `Invalid` if `file` is no backup; database errors.
    pub fn restore(&self, file: &Path, over: bool) -> Result<Copied> {
        let source = Sqlite::open(Some(file)).map_err(|error| {
            Error::new(Kind::Invalid, "this is no backup of a catalog").with("file", file.display()).because(error)
        })?;
        let mut copied = Copied::default();
        self.engine.transaction(&mut |to| {
            if !over && to.first("SELECT name FROM namespaces LIMIT 1", &[])?.is_some() {
                let message = "the catalog is not empty: --force forgets what it holds";
                return Err(Error::new(Kind::Conflict, message));
            }
            source.snapshot(&mut |from| {
                copied = replace_all(from, to)?;
                Ok(())
            })
        })?;
        Ok(copied)
    }
}

fn replace_all(from: &mut dyn Session, to: &mut dyn Session) -> Result<Copied> {
    for (table, ..) in migrations::TABLES.iter().rev() {
        to.execute(&format!("DELETE FROM {table}"), &[])?;
    }
    let mut copied = Copied::default();
    for (table, keys, columns) in migrations::TABLES {
        let rows = copy_table(from, to, table, *keys, columns)?;
        match *table {
            "namespaces" => copied.namespaces = rows,
            "tables" => copied.tables = rows,
            _ => {}
        }
    }
    Ok(copied)
}

fn copy_table(from: &mut dyn Session, to: &mut dyn Session, table: &str, keys: usize, columns: &[&str]) -> Result<u64> {
    let places = |count: usize| (1..=count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    let (key, all) = (columns[..keys].join(", "), columns.join(", "));
    let first = format!("SELECT {all} FROM {table} ORDER BY {key} LIMIT {PAGE}");
    let next = format!("SELECT {all} FROM {table} WHERE ({key}) > ({}) ORDER BY {key} LIMIT {PAGE}", places(keys));
    let insert = format!("INSERT INTO {table} ({all}) VALUES ({})", places(columns.len()));
    let (mut copied, mut after) = (0, Vec::<Value<'static>>::new());
    loop {
        let rows = if after.is_empty() { from.query(&first, &[])? } else { from.query(&next, &after)? };
        for row in &rows {
            copied += to.execute(&insert, &row.0)?;
        }
        match rows.into_iter().nth(PAGE - 1) {
            Some(last) => after = last.0.into_iter().take(keys).collect(),
            None => return Ok(copied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A migration that adds a table or a column adds it to what a backup holds.
    #[test]
    fn a_backup_holds_every_table_and_column() {
        let sqlite = Sqlite::open(None).expect("opens");
        let mut found = Vec::new();
        sqlite
            .read(&mut |session| {
                let tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
                for mut row in session.query(tables, &[])? {
                    let table = row.text(0)?;
                    let columns = "SELECT name, pk FROM pragma_table_info(?1) ORDER BY pk = 0, pk, name";
                    let mut rows = session.query(columns, &[(&table).into()])?;
                    let columns = rows.iter_mut().map(|row| Ok((row.text(0)?, row.integer(1)? > 0)));
                    found.push((table, columns.collect::<Result<Vec<_>>>()?));
                }
                Ok(())
            })
            .expect("reads");
        let mut listed: Vec<(String, Vec<(String, bool)>)> = migrations::TABLES
            .iter()
            .map(|(table, keys, columns)| {
                let mut columns: Vec<_> =
                    columns.iter().enumerate().map(|(at, name)| ((*name).to_string(), at < *keys)).collect();
                columns[*keys..].sort();
                ((*table).to_string(), columns)
            })
            .collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}
