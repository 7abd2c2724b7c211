//! The pointer from each table and view to its metadata file, moved by compare-and-set.

use bytes::Bytes;

use super::State;
use super::session::Row;
use crate::error::{Error, Kind, Result};

/// What a name stands for; tables and views share one space of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Table,
    View,
}

impl Sort {
    pub(super) fn text(self) -> &'static str {
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
    /// What the file at `to` holds, if it is not durable yet: kept with the move ([`State::body`]).
    pub body: Option<Bytes>,
}

/// A name and what it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub sort: Sort,
    pub namespace: String,
    pub name: String,
    pub location: String,
}

/// The answer to a request, kept with what the request changed, so that the same request gets it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What the client calls the request.
    pub key: String,
    /// A digest of the request: the same key with another one is a mistake.
    pub request: Vec<u8>,
    /// The HTTP status answered.
    pub status: i64,
    /// The body answered.
    pub body: Vec<u8>,
    /// When it was kept, in milliseconds since 1970.
    pub kept_ms: i64,
}

impl State {
    /// The metadata location of a table or view.
    pub fn pointer(&self, sort: Sort, namespace: &str, name: &str) -> Result<Option<String>> {
        let sql = "SELECT metadata_location FROM tables WHERE namespace = ?1 AND name = ?2 AND sort = ?3";
        let parameters = [namespace.into(), name.into(), sort.text().into()];
        self.read(|session| session.first(sql, &parameters)?.map(|mut row| row.text(0)).transpose())
    }

    /// A namespace's tables or views, in order.
    pub fn names(&self, sort: Sort, namespace: &str) -> Result<Vec<String>> {
        let sql = "SELECT name FROM tables WHERE namespace = ?1 AND sort = ?2 ORDER BY name";
        let parameters = [namespace.into(), sort.text().into()];
        self.read(|session| session.query(sql, &parameters)?.iter_mut().map(|row| row.text(0)).collect())
    }

    /// Every table and view, in order of namespace and name.
    pub fn pointers(&self) -> Result<Vec<Pointer>> {
        let sql = "SELECT sort, namespace, name, metadata_location FROM tables ORDER BY namespace, name";
        let pointer = |row: &mut Row| {
            let sort = if row.text(0)? == Sort::View.text() { Sort::View } else { Sort::Table };
            Ok(Pointer { sort, namespace: row.text(1)?, name: row.text(2)?, location: row.text(3)? })
        };
        self.read(|session| session.query(sql, &[])?.iter_mut().map(pointer).collect())
    }

    /// The answer kept under a key.
    pub fn answer(&self, key: &str) -> Result<Option<Kept>> {
        let sql = "SELECT request, status, body, kept_ms FROM answers WHERE key = ?1";
        let kept = |mut row: Row| {
            let (request, status, body) = (row.bytes(0)?, row.integer(1)?, row.bytes(2)?);
            Ok(Kept { key: key.to_string(), request, status, body, kept_ms: row.integer(3)? })
        };
        self.read(|session| session.first(sql, &[key.into()])?.map(kept).transpose())
    }

    /// Forgets a table or view; `false` if there is none.
    pub fn remove(&self, sort: Sort, namespace: &str, name: &str) -> Result<bool> {
        let sql = "DELETE FROM tables WHERE namespace = ?1 AND name = ?2 AND sort = ?3";
        let parameters = [namespace.into(), name.into(), sort.text().into()];
        self.transact(|session| Ok(session.execute(sql, &parameters)? == 1))
    }

    /// Renames a table or view; `false` if there is none.
    ///
    /// # Errors
    /// `Exists` if the new name is taken; `NotFound` without the new namespace.
    pub fn rename(&self, sort: Sort, from: (&str, &str), to: (&str, &str)) -> Result<bool> {
        let sql = "UPDATE tables SET namespace = ?3, name = ?4 WHERE namespace = ?1 AND name = ?2 AND sort = ?5";
        let parameters = [from.0.into(), from.1.into(), to.0.into(), to.1.into(), sort.text().into()];
        self.transact(|session| {
            if session.first("SELECT name FROM namespaces WHERE name = ?1", &[to.0.into()])?.is_none() {
                return Err(Error::new(Kind::NotFound, "the new namespace does not exist").with("namespace", to.0));
            }
            let taken = "SELECT name FROM tables WHERE namespace = ?1 AND name = ?2";
            if from != to && session.first(taken, &[to.0.into(), to.1.into()])?.is_some() {
                return Err(Error::new(Kind::Exists, "the new name is taken").with("name", to.1));
            }
            Ok(session.execute(sql, &parameters)? == 1)
        })
    }
}
