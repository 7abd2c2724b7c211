//! The pointer from each table and view to its metadata file, moved by compare-and-set.

use super::State;
use super::session::{Row, Session};
use crate::error::{Error, Kind, Result};

/// What a name stands for; tables and views share one space of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Moves pointers, all or none; `false` if one of them is not where it was. `kept` is remembered in the same
    /// transaction; a key that is there already is a conflict too.
    pub fn swap(&self, swaps: &[Swap], kept: Option<&Kept>) -> Result<bool> {
        let moved = self.transact(|session| {
            let kept = kept.map_or(Ok(true), |kept| keep(session, kept))?;
            if kept && swaps.iter().try_fold(true, |held, swap| Ok::<_, Error>(held && move_one(session, swap)?))? {
                return Ok(());
            }
            Err(Error::new(Kind::Conflict, "a pointer has moved"))
        });
        match moved {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
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

fn move_one(session: &mut dyn Session, swap: &Swap) -> Result<bool> {
    let Swap { sort, namespace, name, from, to } = swap;
    let changed = match from {
        Some(from) => session.execute(
            "UPDATE tables SET metadata_location = ?4 WHERE namespace = ?1 AND name = ?2 AND metadata_location = ?3
               AND sort = ?5",
            &[namespace.into(), name.into(), from.into(), to.into(), sort.text().into()],
        ),
        // Nothing is inserted where the namespace has gone.
        None => session.execute(
            "INSERT INTO tables (namespace, name, metadata_location, sort)
             SELECT name, ?2, ?3, ?4 FROM namespaces WHERE name = ?1 ON CONFLICT DO NOTHING",
            &[namespace.into(), name.into(), to.into(), sort.text().into()],
        ),
    };
    Ok(changed? == 1)
}

fn keep(session: &mut dyn Session, kept: &Kept) -> Result<bool> {
    let Kept { key, request, status, body, kept_ms } = kept;
    let sql = "INSERT INTO answers (key, request, status, body, kept_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO NOTHING";
    let parameters =
        [key.into(), request.as_slice().into(), (*status).into(), body.as_slice().into(), (*kept_ms).into()];
    Ok(session.execute(sql, &parameters)? == 1)
}
