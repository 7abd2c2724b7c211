//! A table as the catalog serves it, and the values that change one.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use crate::document::{Document, Refs};
use crate::error::{Error, Result};
use crate::store::Staged;

/// A table at one metadata file.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub ident: TableIdent,
    /// Its metadata.
    pub metadata: Arc<TableMetadata>,
    /// Where that metadata lies.
    pub metadata_location: String,
    /// Its branches and tags; the `iceberg` crate keeps them to itself.
    pub refs: Refs,
    pub(crate) document: Document,
}

impl Table {
    /// The metadata as JSON, as its file holds it.
    ///
    /// # Errors
    /// None today.
    pub fn json(&self) -> Result<Bytes> {
        Ok(self.document.json())
    }
}

/// A new table.
#[derive(Debug)]
pub struct CreateTable {
    /// Its schema; field ids are assigned anew.
    pub schema: Schema,
    /// Its partition spec; unpartitioned if absent.
    pub spec: Option<UnboundPartitionSpec>,
    /// Its sort order; unsorted if absent.
    pub sort_order: Option<SortOrder>,
    /// Where it lies; the catalog chooses if absent.
    pub location: Option<String>,
    /// Its properties; `format-version` is taken out of them.
    pub properties: HashMap<String, String>,
}

/// A change of one table.
#[derive(Debug)]
pub struct Change {
    /// The table.
    pub ident: TableIdent,
    /// What must hold.
    pub requirements: Vec<TableRequirement>,
    /// What is changed, in order.
    pub updates: Vec<TableUpdate>,
}

/// Files that become visible together with a commit's metadata: they are synced beside it, which saves the commit a
/// wait for the disk.
pub struct Companions<'a> {
    /// The files. Taken when they are published, or failed to be; still there if the commit ended before that.
    pub files: Vec<Staged>,
    /// What must be durable before any of them has its name; not called again once they are published.
    pub announce: &'a (dyn Fn() -> Result<()> + Sync),
}

impl Companions<'_> {
    /// None.
    pub fn none() -> Companions<'static> {
        Companions { files: Vec::new(), announce: &|| Ok(()) }
    }
}

/// How a commit went.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    /// It took effect; the tables as they are now, in the order of the changes.
    Committed(Vec<Arc<Table>>),
    /// A requirement does not hold, or somebody else was faster: read again, rebase.
    Conflict(Error),
    /// It did not take effect, and nothing of it is left. The error's kind says whether it can later: `Unavailable`
    /// may pass, anything else needs another change.
    Refused(Error),
    /// Nobody knows, not even after another look: resolve before anything else.
    Unknown(Error),
}

/// Who changes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process.
    Daemon,
    /// A client of the REST interface.
    Rest,
}

/// A change about to be committed.
#[derive(Debug)]
pub struct Proposal<'a> {
    /// The table.
    pub ident: &'a TableIdent,
    /// Its metadata now; `None` for a new table.
    pub before: Option<&'a TableMetadata>,
    /// Its metadata then.
    pub after: &'a TableMetadata,
    /// Who asks.
    pub origin: Origin,
}

/// Who is told of each commit, after it took effect and while its tables are still locked: be quick.
pub trait Watch: Send + Sync + std::fmt::Debug {
    /// A table has changed or was made.
    fn committed(&self, table: &Arc<Table>, origin: Origin);
}

/// A rule that may refuse a commit.
pub trait Guard: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// Why the change is refused and how to do it instead.
    fn check(&self, proposal: &Proposal<'_>) -> Result<()>;
}
