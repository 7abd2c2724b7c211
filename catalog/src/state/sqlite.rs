//! SQLite: one file beside the warehouse, WAL, `synchronous=FULL`.
//!
//! One connection writes; a few others read, so that a load never waits for a commit's sync. In memory there is one
//! connection for both.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::migrations::{self, Dialect};
use super::pool::Pool;
use super::session::{Engine, Row, Session, Value, Work};
use crate::error::{Error, Kind, Result};

/// Connections that read, at most.
const READERS: usize = 4;

/// Statements that a connection keeps prepared.
const PREPARED: usize = 128;

/// The database of one file, or of memory.
#[derive(Debug)]
pub struct Sqlite {
    writer: Mutex<Connection>,
    readers: Option<Pool<Connection>>,
}

pub fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Kind::Corrupt,
        _ => Kind::Unavailable,
    };
    Error::new(kind, "the catalog's database failed").because(error)
}

impl Sqlite {
    /// Opens a file, or memory, and brings its schema up to date.
    ///
    /// # Errors
    /// `Invalid` if a newer version wrote it; `Corrupt`; `Unavailable`.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let mut writer = match path {
            Some(path) => Connection::open(path),
            None => Connection::open_in_memory(),
        }
        .map_err(failed)?;
        prepare(&writer, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")?;
        migrate(&mut writer)?;
        let readers = path.map(|path| {
            let path: PathBuf = path.to_owned();
            Pool::new(READERS, move || {
                let reader = Connection::open(&path).map_err(failed)?;
                prepare(&reader, "PRAGMA query_only=ON;")?;
                Ok(reader)
            })
        });
        Ok(Self { writer: Mutex::new(writer), readers })
    }

    /// Everything into the one file, with no log beside it, and closed.
    ///
    /// # Errors
    /// Database errors.
    pub fn into_one_file(self) -> Result<()> {
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        writer.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).map_err(failed)?;
        writer.close().map_err(|(_, error)| failed(error))
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prepare(connection: &Connection, pragmas: &str) -> Result<()> {
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection
        .execute_batch("PRAGMA busy_timeout=10000;")
        .and_then(|()| connection.execute_batch(pragmas))
        .map_err(failed)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    for (reached, sql) in migrations::after(found, Dialect::Sqlite)? {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.pragma_update(None, "user_version", reached).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

impl Engine for Sqlite {
    fn is_embedded(&self) -> bool {
        true
    }

    fn read(&self, work: Work<'_>) -> Result<()> {
        let Some(readers) = &self.readers else { return work(&mut Over(&self.writer())) };
        let (reader, _) = readers.take()?;
        let result = work(&mut Over(&reader));
        readers.put(Some(reader));
        result
    }

    fn snapshot(&self, work: Work<'_>) -> Result<()> {
        self.read(&mut |session| {
            session.execute("BEGIN", &[])?;
            let done = work(session);
            session.execute("ROLLBACK", &[])?;
            done
        })
    }

    /// The file without its free pages, and an empty log beside it. (`secure_delete` would cost each commit instead.)
    fn forget(&self) -> Result<bool> {
        let writer = self.writer();
        writer.execute_batch("VACUUM").map_err(failed)?;
        // It does not fail if somebody reads from the log: it says so in its first column.
        let busy: i64 = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(failed)?;
        Ok(busy == 0)
    }

    fn transaction(&self, work: Work<'_>) -> Result<()> {
        let mut connection = self.writer();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        work(&mut Over(&transaction))?;
        transaction.commit().map_err(failed)
    }
}

/// Statements over a connection.
struct Over<'a>(&'a Connection);

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value_of(value: ValueRef<'_>) -> Result<Value<'static>> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text)
                .map_err(|error| Error::new(Kind::Corrupt, "text in the catalog's database").because(error))?;
            Value::Text(text.to_owned().into())
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned().into()),
        ValueRef::Real(_) => return Err(Error::new(Kind::Corrupt, "the catalog's database holds a fraction")),
    })
}

impl Session for Over<'_> {
    fn execute(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<u64> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let changed = statement.execute(params_from_iter(parameters)).map_err(failed)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn query(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let columns = statement.column_count();
        let mut found = statement.query(params_from_iter(parameters)).map_err(failed)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(failed)? {
            let value = |column| row.get_ref(column).map_err(failed).and_then(value_of);
            rows.push(Row((0..columns).map(value).collect::<Result<_>>()?));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_somebody_reads_is_not_emptied_and_that_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sqlite = Sqlite::open(Some(&folder.path().join("catalog.db"))).expect("opens");
        let write = |text: &str| {
            let sql = "UPDATE settled SET count = count + 1";
            sqlite.transaction(&mut |session| session.execute(sql, &[]).map(drop)).expect(text);
        };
        sqlite.writer().execute_batch("PRAGMA busy_timeout=0").expect("is set");
        write("the first");
        sqlite
            .snapshot(&mut |reader| {
                reader.query("SELECT count FROM settled", &[])?;
                write("one that the reader does not see");
                assert!(!sqlite.forget()?, "the log is in use");
                Ok(())
            })
            .expect("reads");
        assert!(sqlite.forget().expect("forgets"));
        assert_eq!(std::fs::metadata(folder.path().join("catalog.db-wal")).expect("is there").len(), 0);
    }

    #[test]
    fn what_is_committed_is_durable_and_every_table_is_strict() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sqlite = Sqlite::open(Some(&folder.path().join("catalog.db"))).expect("opens");
        let writer = sqlite.writer();
        let text = |sql: &str| writer.query_row(sql, [], |row| row.get::<_, String>(0)).expect("answers");
        let number = |sql: &str| writer.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("answers");
        assert_eq!(text("PRAGMA journal_mode"), "wal");
        assert_eq!(number("PRAGMA synchronous"), 2, "2 is FULL: the log is synced with each transaction");
        let own = "FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'";
        assert_eq!(
            number("PRAGMA user_version"),
            migrations::after(0, Dialect::Sqlite).expect("known").last().expect("some").0
        );
        assert!(number(&format!("SELECT count(*) {own}")) > 4);
        assert_eq!(
            number(&format!("SELECT count(*) {own} AND strict = 0")),
            0,
            "{}",
            text(&format!("SELECT group_concat(name) {own} AND strict = 0"))
        );
    }
}
