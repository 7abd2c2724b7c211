//! Metadata whose file is not durable yet, kept in the transaction that points to it.
//!
//! So a commit waits for the disk once. There is a row at most for each table: a move forgets the one of the location it
//! leaves, since nothing but a metadata log names that file from then on. Only where the database lies on the same disk;
//! elsewhere the rows of a restored backup are all there are.

use bytes::Bytes;

use super::session::Session;
use super::{State, Swap};
use crate::error::Result;

/// Keeps and forgets what a move that was made says.
pub(super) fn follow(session: &mut dyn Session, swap: &Swap) -> Result<()> {
    if let Some(from) = &swap.from {
        session.execute("DELETE FROM unsynced WHERE location = ?1", &[from.into()])?;
    }
    if let Some(body) = &swap.body {
        let insert = "INSERT INTO unsynced (location, body) VALUES (?1, ?2)";
        session.execute(insert, &[(&swap.to).into(), body.as_ref().into()])?;
    }
    Ok(())
}

impl State {
    /// Whether it lies on the disk that the metadata files lie on: then it takes bodies with moves.
    pub fn is_embedded(&self) -> bool {
        self.engine.is_embedded()
    }

    /// What the file at a location holds, if that may not be durable.
    pub fn body(&self, location: &str) -> Result<Option<Bytes>> {
        let sql = "SELECT body FROM unsynced WHERE location = ?1";
        self.read(|session| {
            session.first(sql, &[location.into()])?.map(|mut row| row.bytes(0).map(Bytes::from)).transpose()
        })
    }

    /// The locations of files that may not be durable.
    pub fn unsynced(&self) -> Result<Vec<String>> {
        let sql = "SELECT location FROM unsynced ORDER BY location";
        self.read(|session| session.query(sql, &[])?.iter_mut().map(|row| row.text(0)).collect())
    }

    /// Forgets what those files hold: they are durable, or of no use.
    pub fn forget_bodies(&self, locations: &[String]) -> Result<()> {
        if locations.is_empty() {
            return Ok(());
        }
        self.transact(|session| {
            locations.iter().try_for_each(|location| {
                session.execute("DELETE FROM unsynced WHERE location = ?1", &[location.into()]).map(drop)
            })
        })
    }
}
