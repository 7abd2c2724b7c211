//! What the catalog remembers, in SQLite: namespaces and the pointer from each table to its metadata file.
//!
//! One file, WAL, `synchronous=FULL`, STRICT tables, numbered migrations (`user_version`). A namespace's levels are
//! joined by U+001F, the protocol's own separator. Moving pointers is one transaction of compare-and-set updates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::error::{Error, Kind, Result};

/// Migration n brings the schema from version n to n + 1; append only.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE namespaces (
        name TEXT PRIMARY KEY NOT NULL,
        properties TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tables (
        namespace TEXT NOT NULL REFERENCES namespaces (name),
        name TEXT NOT NULL,
        metadata_location TEXT NOT NULL,
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE tables ADD COLUMN sort TEXT NOT NULL DEFAULT 'table';
    CREATE TABLE answers (
        key TEXT PRIMARY KEY NOT NULL,
        request BLOB NOT NULL,
        status INTEGER NOT NULL,
        body BLOB NOT NULL,
        kept_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE settled (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL) STRICT;
    INSERT INTO settled VALUES (1, 0);
",
];

/// Where the state lies.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file, made if missing.
    File(PathBuf),
    /// Memory: for tests. The [`State`] handle survives a catalog that is opened anew over it.
    Memory,
}

/// What a name stands for; tables and views share one space of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Table,
    View,
}

impl Sort {
    fn text(self) -> &'static str {
        match self {
            Sort::Table => "table",
            Sort::View => "view",
        }
    }
}

/// A pointer's move, from the location it must hold now.
#[derive(Clone, Debug)]
pub struct Swap {
    pub sort: Sort,
    pub namespace: String,
    pub name: String,
    /// `None` for a table that must not exist yet.
    pub from: Option<String>,
    pub to: String,
}

/// What stands between a state and its database, so that tests can make the calls fail.
pub trait Wire: Send + Sync + std::fmt::Debug {
    /// A query is about to be made.
    ///
    /// # Errors
    /// The query fails, and is not made.
    fn query(&self) -> Result<()>;

    /// A transaction is about to be made; `run` makes it and commits it.
    ///
    /// # Errors
    /// The transaction fails, whether it was made or not.
    fn transaction(&self, run: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// The state; cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    connection: Arc<Mutex<Connection>>,
    wire: Option<Arc<dyn Wire>>,
}

fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Kind::Corrupt,
        _ => Kind::Unavailable,
    };
    Error::new(kind, "the catalog's database failed").because(error)
}

impl State {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// `Invalid` if a newer version wrote it; `Corrupt`; `Unavailable`.
    pub fn open(database: &Database) -> Result<State> {
        let mut connection = match database {
            Database::File(path) => Connection::open(path),
            Database::Memory => Connection::open_in_memory(),
        }
        .map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=10000;",
            )
            .map_err(failed)?;
        migrate(&mut connection)?;
        Ok(State { connection: Arc::new(Mutex::new(connection)), wire: None })
    }

    /// The same state, reached through `wire`: for tests.
    #[must_use]
    pub fn through(&self, wire: Arc<dyn Wire>) -> State {
        State { connection: self.connection.clone(), wire: Some(wire) }
    }

    fn held(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<MutexGuard<'_, Connection>> {
        self.wire.as_ref().map_or(Ok(()), |wire| wire.query())?;
        Ok(self.held())
    }

    fn transact<T>(&self, work: impl Fn(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut value = None;
        let mut run = || {
            let mut connection = self.held();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            value = Some(work(&transaction)?);
            transaction.commit().map_err(failed)
        };
        match &self.wire {
            Some(wire) => wire.transaction(&mut run)?,
            None => run()?,
        }
        value.ok_or_else(|| Error::new(Kind::Internal, "a transaction that was not made"))
    }

    /// Adds a namespace; `false` if it is there.
    pub fn add_namespace(&self, name: &str, properties: &BTreeMap<String, String>) -> Result<bool> {
        let text = encode(properties)?;
        let sql = "INSERT INTO namespaces (name, properties) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.transact(|transaction| Ok(transaction.execute(sql, params![name, text]).map_err(failed)? == 1))
    }

    /// A namespace's properties.
    pub fn namespace(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let sql = "SELECT properties FROM namespaces WHERE name = ?1";
        let text: Option<String> =
            self.connection()?.query_row(sql, params![name], |row| row.get(0)).optional().map_err(failed)?;
        text.map(|text| decode(&text)).transpose()
    }

    /// Every namespace, in order.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let connection = self.connection()?;
        let mut query = connection.prepare_cached("SELECT name FROM namespaces ORDER BY name").map_err(failed)?;
        let rows = query.query_map([], |row| row.get(0)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Changes a namespace's properties; `false` if there is none.
    pub fn set_namespace(&self, name: &str, properties: &BTreeMap<String, String>) -> Result<bool> {
        let text = encode(properties)?;
        let sql = "UPDATE namespaces SET properties = ?2 WHERE name = ?1";
        self.transact(|transaction| Ok(transaction.execute(sql, params![name, text]).map_err(failed)? == 1))
    }

    /// Removes an empty namespace; `false` if there is none.
    ///
    /// # Errors
    /// `Conflict` if it holds tables or namespaces.
    pub fn remove_namespace(&self, name: &str) -> Result<bool> {
        self.transact(|transaction| {
            let below = format!("{name}\u{1f}");
            let sql = "SELECT (SELECT count(*) FROM tables WHERE namespace = ?1)
                            + (SELECT count(*) FROM namespaces WHERE substr(name, 1, length(?2)) = ?2)";
            let held: i64 = transaction.query_row(sql, params![name, below], |row| row.get(0)).map_err(failed)?;
            if held > 0 {
                return Err(Error::new(Kind::Conflict, "the namespace is not empty: drop what it holds first"));
            }
            let removed =
                transaction.execute("DELETE FROM namespaces WHERE name = ?1", params![name]).map_err(failed)?;
            Ok(removed == 1)
        })
    }

    /// The metadata location of a table or view.
    pub fn pointer(&self, sort: Sort, namespace: &str, name: &str) -> Result<Option<String>> {
        let connection = self.connection()?;
        let sql = "SELECT metadata_location FROM tables WHERE namespace = ?1 AND name = ?2 AND sort = ?3";
        let mut query = connection.prepare_cached(sql).map_err(failed)?;
        query.query_row(params![namespace, name, sort.text()], |row| row.get(0)).optional().map_err(failed)
    }

    /// A namespace's tables or views, in order.
    pub fn names(&self, sort: Sort, namespace: &str) -> Result<Vec<String>> {
        let connection = self.connection()?;
        let sql = "SELECT name FROM tables WHERE namespace = ?1 AND sort = ?2 ORDER BY name";
        let mut query = connection.prepare_cached(sql).map_err(failed)?;
        let rows = query.query_map(params![namespace, sort.text()], |row| row.get(0)).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// A durable write that changes nothing anyone reads: after it, nothing that failed before can still take effect.
    pub fn settle(&self) -> Result<()> {
        self.transact(|transaction| {
            transaction.execute("UPDATE settled SET count = count + 1", []).map(drop).map_err(failed)
        })
    }

    /// Moves pointers, all or none; `false` if one of them is not where it was.
    pub fn swap(&self, swaps: &[Swap]) -> Result<bool> {
        let moved = self.transact(|transaction| {
            for swap in swaps {
                if !move_one(transaction, swap)? {
                    return Err(Error::new(Kind::Conflict, "a pointer has moved"));
                }
            }
            Ok(())
        });
        match moved {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets a table or view; `false` if there is none.
    pub fn remove(&self, sort: Sort, namespace: &str, name: &str) -> Result<bool> {
        self.transact(|transaction| {
            let sql = "DELETE FROM tables WHERE namespace = ?1 AND name = ?2 AND sort = ?3";
            Ok(transaction.execute(sql, params![namespace, name, sort.text()]).map_err(failed)? == 1)
        })
    }

    /// Renames a table or view; `false` if there is none.
    ///
    /// # Errors
    /// `Exists` if the new name is taken.
    pub fn rename(&self, sort: Sort, from: (&str, &str), to: (&str, &str)) -> Result<bool> {
        let sql = "UPDATE tables SET namespace = ?3, name = ?4 WHERE namespace = ?1 AND name = ?2 AND sort = ?5";
        self.transact(|transaction| match transaction.execute(sql, params![from.0, from.1, to.0, to.1, sort.text()]) {
            Ok(changed) => Ok(changed == 1),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                Err(Error::new(Kind::Exists, "the new name is taken").with("name", to.1))
            }
            Err(error) => Err(failed(error)),
        })
    }
}

fn move_one(transaction: &Transaction<'_>, swap: &Swap) -> Result<bool> {
    let Swap { sort, namespace, name, from, to } = swap;
    let changed = match from {
        Some(from) => transaction.execute(
            "UPDATE tables SET metadata_location = ?4 WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3
               AND sort = ?5",
            params![namespace, name, from, to, sort.text()],
        ),
        None => transaction.execute(
            "INSERT INTO tables (namespace, name, metadata_location, sort) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            params![namespace, name, to, sort.text()],
        ),
    };
    Ok(changed.map_err(failed)? == 1)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(Error::new(Kind::Invalid, "a newer version of laked wrote this catalog: run that version")
            .with("found", version)
            .with("known", MIGRATIONS.len()));
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        let reached = i64::try_from(number + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", reached).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn encode(properties: &BTreeMap<String, String>) -> Result<String> {
    serde_json::to_string(properties).map_err(|error| Error::new(Kind::Internal, "encoding properties").because(error))
}

fn decode(text: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(|error| Error::new(Kind::Corrupt, "a namespace's properties").because(error))
}
