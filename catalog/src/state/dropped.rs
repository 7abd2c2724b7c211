//! Tables that were dropped: for a day they can come back; those to be purged are listed until their files are gone.

use super::State;
use super::pointers::Sort;
use super::session::{Row, Session, Value};
use crate::error::{Error, Kind, Result};

/// A table that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What this drop is called; names come back.
    pub id: String,
    pub namespace: String,
    pub name: String,
    pub metadata_location: String,
    /// When, in milliseconds since 1970.
    pub dropped_ms: i64,
    /// The namespaces of who dropped it, as JSON, if he had a scope: a purge deletes nothing that he may not.
    pub within: Option<String>,
}

/// How long a dropped table can come back, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn read(mut row: Row) -> Result<Dropped> {
    let (id, namespace, name, metadata_location) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?);
    let within = if matches!(row.0.get(5), Some(Value::Null)) { None } else { Some(row.text(5)?) };
    Ok(Dropped { id, namespace, name, metadata_location, dropped_ms: row.integer(4)?, within })
}

impl State {
    /// Forgets the table if it is still where `dropped` says, remembering that it was there; `false` if it is not.
    ///
    /// # Errors
    /// Database errors.
    pub fn drop_table(&self, dropped: &Dropped, purge: bool) -> Result<bool> {
        let Dropped { id, namespace, name, metadata_location, dropped_ms, within } = dropped;
        let delete = "DELETE FROM tables WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3 AND sort = ?4";
        let found = [namespace.into(), name.into(), metadata_location.into(), Sort::Table.text().into()];
        let insert = "INSERT INTO dropped (id, namespace, name, metadata_location, dropped_ms, purge, within)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = [
            id.into(),
            namespace.into(),
            name.into(),
            metadata_location.into(),
            (*dropped_ms).into(),
            i64::from(purge).into(),
            within.as_deref().into(),
        ];
        let forget = "DELETE FROM dropped WHERE purge = 0 AND dropped_ms < ?1";
        self.transact(|session| {
            session.execute(forget, &[dropped_ms.saturating_sub(DAY_MS).into()])?;
            let there = session.execute(delete, &found)? == 1;
            if there {
                session.execute(insert, &values)?;
            }
            Ok(there)
        })
    }

    /// Brings back the table of that name that was dropped last, if that is less than a day ago; where its metadata
    /// lies.
    ///
    /// # Errors
    /// `Exists` if the name is taken; `NotFound` without its namespace; database errors.
    pub fn undrop(&self, namespace: &str, name: &str, now_ms: i64) -> Result<Option<String>> {
        self.transact(|session| undrop(session, namespace, name, now_ms.saturating_sub(DAY_MS)))
    }

    /// Tables whose files are still to be deleted, some of them, in order of when they were dropped and their ids, after
    /// `after`.
    ///
    /// # Errors
    /// Database errors.
    pub fn purges(&self, after: (i64, &str)) -> Result<Vec<Dropped>> {
        let sql = "SELECT id, namespace, name, metadata_location, dropped_ms, within FROM dropped
                   WHERE purge = 1 AND (dropped_ms, id) > (?1, ?2) ORDER BY dropped_ms, id LIMIT 100";
        let parameters = [after.0.into(), after.1.into()];
        self.read(|session| session.query(sql, &parameters)?.into_iter().map(read).collect())
    }

    /// The metadata locations of tables that can still come back.
    ///
    /// # Errors
    /// Database errors.
    pub fn may_come_back(&self, now_ms: i64) -> Result<Vec<String>> {
        let sql = "SELECT metadata_location FROM dropped WHERE purge = 0 AND dropped_ms >= ?1";
        let since: Value<'_> = now_ms.saturating_sub(DAY_MS).into();
        self.read(|session| {
            session.query(sql, std::slice::from_ref(&since))?.iter_mut().map(|row| row.text(0)).collect()
        })
    }

    /// A table's files are gone.
    ///
    /// # Errors
    /// Database errors.
    pub fn purged(&self, id: &str) -> Result<()> {
        self.transact(|session| session.execute("DELETE FROM dropped WHERE id = ?1", &[id.into()]).map(drop))
    }
}

fn undrop(session: &mut dyn Session, namespace: &str, name: &str, since_ms: i64) -> Result<Option<String>> {
    let sql = "SELECT id, namespace, name, metadata_location, dropped_ms, within FROM dropped
               WHERE namespace = ?1 AND name = ?2 AND purge = 0 AND dropped_ms >= ?3 ORDER BY dropped_ms DESC, id DESC
               LIMIT 1";
    let Some(row) = session.first(sql, &[namespace.into(), name.into(), since_ms.into()])? else { return Ok(None) };
    let Dropped { id, metadata_location, .. } = read(row)?;
    let taken = "SELECT name FROM tables WHERE namespace = ?1 AND name = ?2";
    if session.first(taken, &[namespace.into(), name.into()])?.is_some() {
        return Err(Error::new(Kind::Exists, "a table or view has that name: rename it first").with("name", name));
    }
    let insert = "INSERT INTO tables (namespace, name, metadata_location, sort)
                  SELECT name, ?2, ?3, ?4 FROM namespaces WHERE name = ?1";
    let values = [namespace.into(), name.into(), (&metadata_location).into(), Sort::Table.text().into()];
    if session.execute(insert, &values)? == 0 {
        let message = "the table's namespace has been dropped too: make it again first";
        return Err(Error::new(Kind::NotFound, message).with("namespace", namespace));
    }
    session.execute("DELETE FROM dropped WHERE id = ?1", &[(&id).into()])?;
    Ok(Some(metadata_location))
}
