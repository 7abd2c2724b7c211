//! A table as the catalog serves it, and the values that change one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use crate::error::{Error, Kind, Result};

/// A table at one metadata file.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub ident: TableIdent,
    /// Its metadata.
    pub metadata: Arc<TableMetadata>,
    /// Where that metadata lies.
    pub metadata_location: String,
    json: OnceLock<Bytes>,
}

impl Table {
    pub(crate) fn new(
        ident: TableIdent,
        metadata: TableMetadata,
        metadata_location: String,
        json: Option<Bytes>,
    ) -> Self {
        let cell = OnceLock::new();
        if let Some(json) = json {
            let _ = cell.set(json);
        }
        Self { ident, metadata: Arc::new(metadata), metadata_location, json: cell }
    }

    /// The metadata as JSON, as its file holds it.
    ///
    /// # Errors
    /// `Internal` if it cannot be serialised.
    pub fn json(&self) -> Result<Bytes> {
        if let Some(json) = self.json.get() {
            return Ok(json.clone());
        }
        let json = serialise(&self.metadata)?;
        Ok(self.json.get_or_init(|| json).clone())
    }
}

pub(crate) fn serialise(metadata: &TableMetadata) -> Result<Bytes> {
    let json = serde_json::to_vec(metadata);
    json.map(Bytes::from).map_err(|error| Error::new(Kind::Internal, "serialising table metadata").because(error))
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

/// How a commit went.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    /// It took effect; the tables as they are now, in the order of the changes.
    Committed(Vec<Arc<Table>>),
    /// A requirement does not hold, or somebody else was faster: read again, rebase.
    Conflict(Error),
    /// It can never succeed as it is.
    Refused(Error),
    /// Nobody knows: resolve before anything else.
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

/// A rule that may refuse a commit.
pub trait Guard: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// Why the change is refused and how to do it instead.
    fn check(&self, proposal: &Proposal<'_>) -> Result<()>;
}
