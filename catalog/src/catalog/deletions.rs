//! What is owed to the disk: files that expired and are unlinked later; and who lies in the same folders.
//!
//! The catalog keeps the ledger because it has the database; who fills it and who unlinks is not its business.

use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use uuid::Uuid;

use super::names::folder_of;
use super::{Catalog, SEPARATOR, key};
use crate::error::{Error, Kind, Result};
use crate::state::{DeletionRow, Sort};
use crate::store::path_of;

/// Files of a table that are to be unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// What owes them, and this row's number in it.
    pub run: String,
    /// See `run`.
    pub part: i64,
    /// The table.
    pub table: Uuid,
    /// The name it had.
    pub ident: TableIdent,
    /// When they are due, in ms since 1970.
    pub due_ms: i64,
    /// Where they are.
    pub files: Vec<String>,
}

/// A table whose files may lie in the same folders as another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name; `None` if it was dropped.
    pub ident: Option<TableIdent>,
    /// Where it lies.
    pub folder: String,
}

pub(super) fn ident_of(namespace: &str, name: &str) -> Result<TableIdent> {
    let namespace = NamespaceIdent::from_strs(namespace.split(SEPARATOR))
        .map_err(|error| Error::new(Kind::Corrupt, "a namespace without a name").because(error))?;
    Ok(TableIdent::new(namespace, name.to_string()))
}

impl Owed {
    fn of(row: DeletionRow) -> Result<Owed> {
        let bad = |what: &'static str| Error::new(Kind::Corrupt, "a row of the deletion ledger").with("of", what);
        let DeletionRow { run, part, table, namespace, name, due_ms, again_ms: _, files } = row;
        Ok(Owed {
            run,
            part,
            table: table.parse().map_err(|_| bad("no table"))?,
            ident: ident_of(&namespace, &name)?,
            due_ms,
            files: serde_json::from_slice(&files).map_err(|_| bad("no files"))?,
        })
    }

    fn row(&self) -> Result<DeletionRow> {
        let files = serde_json::to_vec(&self.files)
            .map_err(|error| Error::new(Kind::Internal, "writing the deletion ledger").because(error))?;
        Ok(DeletionRow {
            run: self.run.clone(),
            part: self.part,
            table: self.table.to_string(),
            namespace: key(self.ident.namespace()),
            name: self.ident.name().to_string(),
            due_ms: self.due_ms,
            again_ms: self.due_ms,
            files,
        })
    }
}

impl Catalog {
    /// Writes down what a run owes, durably, in place of what it owed before.
    ///
    /// # Errors
    /// Database errors.
    pub fn owe(&self, run: &str, owed: &[Owed]) -> Result<()> {
        let rows: Vec<DeletionRow> = owed.iter().map(Owed::row).collect::<Result<_>>()?;
        self.inner.state.set_deletions(run, &rows)
    }

    /// What is owed and due, one row at a time.
    ///
    /// # Errors
    /// Database errors.
    pub fn owed(&self, now_ms: i64) -> Result<Option<Owed>> {
        self.inner.state.deletion_at(now_ms)?.map(Owed::of).transpose()
    }

    /// All that is owed of a table.
    ///
    /// # Errors
    /// Database errors.
    pub fn owed_of(&self, table: Uuid) -> Result<Vec<Owed>> {
        self.inner.state.deletions_of(&table.to_string())?.into_iter().map(Owed::of).collect()
    }

    /// When something is to be looked at next, in ms since 1970.
    ///
    /// # Errors
    /// Database errors.
    pub fn next_owed_ms(&self) -> Result<Option<i64>> {
        self.inner.state.next_deletion_ms()
    }

    /// Puts a row off until then.
    ///
    /// # Errors
    /// Database errors.
    pub fn put_off(&self, owed: &Owed, again_ms: i64) -> Result<()> {
        self.inner.state.put_off_deletion(&owed.run, owed.part, again_ms)
    }

    /// A row's files are gone, durably, or needed: it ends.
    ///
    /// # Errors
    /// Database errors.
    pub fn settle_owed(&self, owed: &Owed) -> Result<()> {
        self.inner.state.end_deletion(&owed.run, owed.part)
    }

    /// Leaves no byte in the database of what it no longer says: locations of files that were owed, names of tables.
    /// `false` if somebody reads it for too long, and it may.
    ///
    /// # Errors
    /// Database errors.
    pub fn forget_deleted(&self) -> Result<bool> {
        self.inner.state.forget()
    }

    /// Every table, in order.
    ///
    /// # Errors
    /// Database errors.
    pub fn tables(&self) -> Result<Vec<TableIdent>> {
        let pointers = self.inner.state.pointers()?;
        let tables = pointers.iter().filter(|pointer| pointer.sort == Sort::Table);
        tables.map(|pointer| ident_of(&pointer.namespace, &pointer.name)).collect()
    }

    /// The table's metadata that a file holds.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it is none; storage errors.
    pub fn metadata_at(&self, location: &str) -> Result<TableMetadata> {
        self.read_document(location).map(|(metadata, _)| metadata)
    }

    /// Dropped tables that can still be brought back, as they were.
    ///
    /// # Errors
    /// Database errors; `Corrupt`; storage errors. One whose metadata is gone cannot come back.
    pub fn dropped(&self) -> Result<Vec<TableMetadata>> {
        let locations = self.inner.state.may_come_back(self.now_ms())?;
        let found = locations.iter().map(|location| self.metadata_at(location));
        found.filter(|found| !matches!(found, Err(error) if error.kind() == Kind::NotFound)).collect()
    }

    /// The tables, views and dropped tables that lie in one of these folders, below or above it, by where their metadata
    /// lies. Those that have the folders are among them.
    ///
    /// # Errors
    /// Database errors; storage errors.
    pub fn neighbours(&self, folders: &[String]) -> Result<Vec<Neighbour>> {
        let folders: Vec<_> = folders.iter().filter_map(|folder| path_of(folder).ok()).collect();
        let near = |folder: &str| {
            path_of(folder).is_ok_and(|path| folders.iter().any(|own| own.starts_with(&path) || path.starts_with(own)))
        };
        let mut found = Vec::new();
        for pointer in self.inner.state.pointers()? {
            let folder = table_folder(folder_of(&pointer.location));
            if near(folder) {
                let ident = Some(ident_of(&pointer.namespace, &pointer.name)?);
                found.push(Neighbour { ident, folder: folder.to_string() });
            }
        }
        let dropped = self.records()?.into_values().filter(|record| record.dropped);
        let dropped = dropped.map(|record| table_folder(&record.folder).to_string());
        found.extend(dropped.filter(|folder| near(folder)).map(|folder| Neighbour { ident: None, folder }));
        Ok(found)
    }
}

/// A table's folder, by that of its metadata.
pub(super) fn table_folder(metadata: &str) -> &str {
    metadata.strip_suffix("/metadata").unwrap_or(metadata)
}
