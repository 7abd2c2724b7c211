//! What the catalog remembers, in SQLite or PostgreSQL: namespaces and the pointer from each table to its metadata file.
//!
//! Numbered migrations; a namespace's levels are joined by U+001F, the protocol's own separator, and names sort by
//! bytes. Statements are written once for both databases ([`session`]) and grouped by what they are about: a module
//! each, which adds its methods to [`State`]. Moving pointers is one transaction of compare-and-set updates.

mod access;
mod answers;
mod copy;
mod database;
mod deletions;
mod dropped;
mod group;
mod migrations;
mod namespaces;
mod pages;
mod pointers;
mod pool;
mod postgres;
mod runs;
mod session;
mod sqlite;
#[cfg(test)]
mod tests;
mod unsynced;

pub use access::TokenRow;
pub use answers::LIFETIME_MS;
pub use copy::Copied;
pub use database::{Database, PostgresUrl};
pub use deletions::DeletionRow;
pub use dropped::Dropped;
pub use pointers::{Kept, Pointer, Sort, Swap};
pub use runs::{Keep, RUNNING, RunRow, Which};

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use answers::Effect;
use session::{Engine, Session};

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
    engine: Arc<dyn Engine>,
    wire: Option<Arc<dyn Wire>>,
    group: Arc<group::Group>,
    /// The answer that is kept with whatever this handle changes.
    answer: Option<Arc<Kept>>,
}

impl State {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// `Invalid` if a newer version wrote it, or PostgreSQL does not let us in; `Corrupt`; `Unavailable`.
    pub fn open(database: &Database) -> Result<State> {
        let engine: Arc<dyn Engine> = match database {
            Database::File(path) => Arc::new(sqlite::Sqlite::open(Some(path))?),
            Database::Memory => Arc::new(sqlite::Sqlite::open(None)?),
            Database::Postgres(url) => Arc::new(postgres::Postgres::open(url)?),
        };
        Ok(State { engine, wire: None, group: Arc::default(), answer: None })
    }

    /// The same state, reached through `wire`: for tests.
    #[must_use]
    pub fn through(&self, wire: Arc<dyn Wire>) -> State {
        State { engine: self.engine.clone(), wire: Some(wire), group: Arc::default(), answer: None }
    }

    /// Reads; each statement sees what was committed before it.
    fn read<T>(&self, work: impl Fn(&mut dyn Session) -> Result<T>) -> Result<T> {
        self.wire.as_ref().map_or(Ok(()), |wire| wire.query())?;
        let mut value = None;
        self.engine.read(&mut |session| {
            value = Some(work(session)?);
            Ok(())
        })?;
        value.ok_or_else(|| Error::new(Kind::Internal, "a query that was not made"))
    }

    /// Changes something in one transaction, and keeps this handle's answer with it if that took effect.
    fn transact<T: Effect>(&self, work: impl Fn(&mut dyn Session) -> Result<T>) -> Result<T> {
        self.transaction(|session| {
            let done = work(session)?;
            if let Some(answer) = self.answer.as_ref().filter(|_| done.took_effect()) {
                answers::keep(session, answer)?;
            }
            Ok(done)
        })
    }

    /// Reads and writes in one transaction; transactions run one after another.
    ///
    /// # Errors
    /// `Unknown` if the work was done and its end failed: it may have taken effect, or do so at the next start.
    fn transaction<T>(&self, work: impl Fn(&mut dyn Session) -> Result<T>) -> Result<T> {
        let mut done = false;
        let told = self.attempt(|session| {
            let value = work(session)?;
            done = true;
            Ok(value)
        });
        told.map_err(|error| match done {
            true => Error::new(Kind::Unknown, "the change may have taken effect or not: look before asking again")
                .because(error),
            false => error,
        })
    }

    /// The same for a caller that looks for itself at what became of it: an error does not tell.
    fn attempt<T>(&self, mut work: impl FnMut(&mut dyn Session) -> Result<T>) -> Result<T> {
        let mut value = None;
        let mut run = || {
            self.engine.transaction(&mut |session| {
                value = Some(work(session)?);
                Ok(())
            })
        };
        match &self.wire {
            Some(wire) => wire.transaction(&mut run)?,
            None => run()?,
        }
        value.ok_or_else(|| Error::new(Kind::Internal, "a transaction that was not made"))
    }

    /// Leaves no byte of rows that were deleted: in SQLite's file and log. Commits wait so long; PostgreSQL looks after itself.
    /// `false` if somebody reads for too long, and the log is as it was.
    ///
    /// # Errors
    /// Database errors.
    pub fn forget(&self) -> Result<bool> {
        self.engine.forget()
    }

    /// A durable write that changes nothing anyone reads: after it, nothing that failed before can still take effect.
    /// On SQLite it overwrites what a failed sync left in the log; on PostgreSQL it waits for the lock that every
    /// transaction holds until it has ended.
    pub fn settle(&self) -> Result<()> {
        self.transact(|session| session.execute("UPDATE settled SET count = count + 1", &[]).map(drop))
    }
}
