//! Answers that are kept for a client that asks again: the catalog's side of `Idempotency-Key`.
//!
//! A handle that [`Catalog::asked`] makes serves one request. Whatever it changes keeps the answer in the same
//! transaction, so a client that never saw it gets it again, after a restart too, and nothing is done twice. The answer
//! that holds a table or view is kept as the place of its metadata; its text is read again when it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iceberg::TableIdent;
use serde::{Deserialize, Serialize};

use super::{Catalog, View};
use crate::error::{Error, Kind, Result};
use crate::state::{Kept, LIFETIME_MS, State};
use crate::table::Table;

/// A request that may come again.
#[derive(Debug)]
pub(crate) struct Asked {
    key: String,
    request: Vec<u8>,
    /// Whether it may change several tables: then its answer holds none.
    is_transaction: bool,
    kept: AtomicBool,
}

/// What was answered.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// No content.
    Empty,
    /// JSON.
    Text(String),
    /// A table as it lay there.
    Table(TableIdent, String),
    /// A view as it lay there.
    View(TableIdent, String),
}

/// An answer that was kept.
pub(crate) struct Answered {
    pub status: u16,
    pub reply: Reply,
    /// Whether it answered the same request.
    pub is_same: bool,
}

impl Asked {
    pub fn new(key: String, request: Vec<u8>, is_transaction: bool) -> Arc<Asked> {
        Arc::new(Asked { key, request, is_transaction, kept: AtomicBool::new(false) })
    }

    /// Whether an answer was kept with what the request changed.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }
}

impl Catalog {
    /// A handle for one request that may come again.
    pub(crate) fn asked(&self, asked: Option<Arc<Asked>>) -> Catalog {
        Catalog { inner: self.inner.clone(), within: self.within.clone(), asked }
    }

    pub(super) fn is_transaction(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.is_transaction)
    }

    fn answer_of(&self, asked: &Asked, status: u16, reply: &Reply) -> Result<Kept> {
        let body = serde_json::to_vec(reply)
            .map_err(|error| Error::new(Kind::Internal, "writing an answer down").because(error))?;
        let (key, request) = (asked.key.clone(), asked.request.clone());
        Ok(Kept { key, request, status: status.into(), body, kept_ms: self.now_ms() })
    }

    /// The state for a change that is answered with `reply`.
    pub(super) fn answering(&self, reply: impl FnOnce() -> Reply) -> Result<State> {
        let Some(asked) = &self.asked else { return Ok(self.inner.state.clone()) };
        let reply = reply();
        let status = if reply == Reply::Empty { 204 } else { 200 };
        let answer = self.answer_of(asked, status, &reply)?;
        asked.kept.store(true, Ordering::Release);
        Ok(self.inner.state.answering(answer))
    }

    /// Keeps the answer to a request that changed nothing.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) fn keep_answer(&self, asked: &Asked, status: u16, reply: &Reply) -> Result<()> {
        let answer = self.answer_of(asked, status, reply)?;
        self.inner.state.keep(&answer).map(drop)
    }

    /// The answer to a request that came before, if it has not expired.
    ///
    /// # Errors
    /// Database errors; `Corrupt`.
    pub(crate) fn answered(&self, asked: &Asked) -> Result<Option<Answered>> {
        let oldest = self.now_ms().saturating_sub(LIFETIME_MS);
        let Some(kept) = self.inner.state.answer(&asked.key)?.filter(|kept| kept.kept_ms >= oldest) else {
            return Ok(None);
        };
        let reply = serde_json::from_slice(&kept.body)
            .map_err(|error| Error::new(Kind::Corrupt, "a kept answer cannot be read").because(error))?;
        let status = u16::try_from(kept.status).unwrap_or(500);
        Ok(Some(Answered { status, reply, is_same: kept.request == asked.request }))
    }

    /// The table that was answered with; as it is now, if that metadata has fallen out of its log.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub(crate) fn table_at(&self, ident: &TableIdent, location: String) -> Result<Arc<Table>> {
        match self.read(ident, location) {
            Err(error) if error.kind() == Kind::NotFound => self.load(ident),
            result => result.map(Arc::new),
        }
    }

    /// The view that was answered with; as it is now, if that metadata is gone.
    ///
    /// # Errors
    /// As [`Catalog::load_view`].
    pub(crate) fn view_at(&self, ident: &TableIdent, location: String) -> Result<View> {
        match self.read_view(ident, location) {
            Err(error) if error.kind() == Kind::NotFound => self.load_view(ident),
            result => result,
        }
    }
}
