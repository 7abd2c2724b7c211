//! Answers kept with what they answer, for as long as a client may repeat its request.
//!
//! A handle that [`State::answering`] makes keeps its answer in the very transaction of what it changes: either both
//! are there after a crash, or neither. Where requests share a transaction (`group.rs`) each brings its own. What has
//! expired goes with each answer that comes, a few at a time, and makes way for a later answer of its key.

use std::sync::Arc;

use super::session::Session;
use super::{Kept, State};
use crate::error::{Error, Kind, Result};

/// How long a client may repeat a request, in milliseconds.
pub const LIFETIME_MS: i64 = 30 * 60 * 1000;

/// For requests that are under way, and clocks that differ.
const GRACE_MS: i64 = 5 * 60 * 1000;

/// Whether a transaction changed what it was asked to.
pub trait Effect {
    fn took_effect(&self) -> bool;
}

impl Effect for () {
    fn took_effect(&self) -> bool {
        true
    }
}

impl Effect for bool {
    fn took_effect(&self) -> bool {
        *self
    }
}

impl<T> Effect for Option<T> {
    fn took_effect(&self) -> bool {
        self.is_some()
    }
}

impl State {
    /// The same state, whose changes keep `answer`: each transaction that takes effect, so use it for one.
    #[must_use]
    pub fn answering(&self, answer: Kept) -> State {
        State { answer: Some(Arc::new(answer)), ..self.clone() }
    }

    /// Keeps an answer to what changed nothing; `false` if its key has one.
    ///
    /// # Errors
    /// Database errors.
    pub fn keep(&self, answer: &Kept) -> Result<bool> {
        match self.transact(|session| keep(session, answer)) {
            Err(error) if error.kind() == Kind::Conflict => Ok(false),
            result => result.map(|()| true),
        }
    }
}

/// Whether no answer of its key is there that has not expired.
///
/// # Errors
/// Database errors.
pub fn is_free(session: &mut dyn Session, answer: &Kept) -> Result<bool> {
    let oldest = answer.kept_ms.saturating_sub(LIFETIME_MS);
    let sql = "SELECT key FROM answers WHERE key = ?1 AND kept_ms >= ?2";
    Ok(session.first(sql, &[(&answer.key).into(), oldest.into()])?.is_none())
}

/// Keeps an answer, and forgets a few that have expired.
///
/// # Errors
/// `Conflict` if its key has one; database errors.
pub fn keep(session: &mut dyn Session, answer: &Kept) -> Result<()> {
    if !is_free(session, answer)? {
        return Err(Error::new(Kind::Conflict, "a request of that key has been answered"));
    }
    let Kept { key, request, status, body, kept_ms } = answer;
    let expired = kept_ms.saturating_sub(LIFETIME_MS + GRACE_MS);
    let forget = "DELETE FROM answers WHERE key = ?1
                  OR key IN (SELECT key FROM answers WHERE kept_ms < ?2 ORDER BY kept_ms LIMIT 16)";
    session.execute(forget, &[key.into(), expired.into()])?;
    let keep = "INSERT INTO answers (key, request, status, body, kept_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = [key.into(), request.as_slice().into(), (*status).into(), body.as_slice().into(), (*kept_ms).into()];
    session.execute(keep, &values).map(drop)
}
