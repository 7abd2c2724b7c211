//! Where a client may have files lie: in the warehouse, and in the roots that were allowed besides.
//!
//! The store refuses everything outside of its roots, whoever asks: what is read, written and deleted for a client lies
//! within, also what a manifest names. Here a request is refused before it does anything, with the reason, for what it
//! says where files are or will be. A symbolic link below a root is refused too: it may lead anywhere.
//!
//! A caller with a scope names nothing outside of his namespaces' folders and the table's own: by registering another
//! namespace's files, or by a purge of what a manifest of his says, he would get at tables that are not his.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};

use super::Catalog;
use crate::access::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::store::path_of;

/// Properties that say where files go.
const PATHS: [&str; 4] =
    ["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"];

impl Catalog {
    /// The catalog as a caller may use it.
    #[must_use]
    pub fn for_caller(&self, caller: &Caller) -> Catalog {
        let within = match &caller.scope {
            Scope::All => None,
            Scope::Within(namespaces) => Some(namespaces.clone().into()),
        };
        Catalog { inner: self.inner.clone(), within, asked: self.asked.clone() }
    }

    /// The scope of this handle's caller, as the state keeps it with what is done for him later.
    pub(super) fn scope_text(&self) -> Result<Option<String>> {
        let text = self.within.as_ref().map(|within| serde_json::to_string(&**within)).transpose();
        text.map_err(|error| Error::new(Kind::Internal, "writing a scope down").because(error))
    }

    /// The catalog as the caller may use it whose scope was kept.
    pub(super) fn within_text(&self, scope: Option<&str>) -> Result<Catalog> {
        let within: Option<Vec<NamespaceIdent>> = scope
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| Error::new(Kind::Corrupt, "a kept scope cannot be read").because(error))?;
        Ok(Catalog { inner: self.inner.clone(), within: within.map(Into::into), asked: None })
    }

    /// Refuses a location outside of the roots, and for a caller with a scope outside of his and of `own` folders.
    pub(crate) fn admit(&self, location: &str, own: &[String]) -> Result<()> {
        self.inner.store.admit(location)?;
        let Some(within) = &self.within else { return Ok(()) };
        let path = path_of(location)?;
        let lies_in = |folder: &str| path_of(folder).is_ok_and(|folder| path.starts_with(folder));
        let mut of_scope = within.iter().map(|namespace| self.folder_now(namespace));
        if own.iter().any(|folder| lies_in(folder)) || of_scope.any(|folder| lies_in(&folder)) {
            return Ok(());
        }
        let message = "this lies outside of the token's namespaces: leave the location out, or ask for another token";
        Err(Error::new(Kind::Forbidden, message).with("location", location))
    }

    /// Where a namespace's tables go: as it says, or as it would.
    fn folder_now(&self, namespace: &NamespaceIdent) -> String {
        let said = self.namespace(namespace).ok().and_then(|mut properties| properties.remove("location"));
        said.unwrap_or_else(|| self.folder_of(namespace))
    }

    /// The folders that are a table's or a view's own: its namespace's, and where it lies.
    pub(super) fn own_folders(&self, ident: &TableIdent, lies: Option<&str>) -> Vec<String> {
        if self.within.is_none() {
            return Vec::new();
        }
        lies.map(str::to_string).into_iter().chain([self.folder_now(ident.namespace())]).collect()
    }

    /// Refuses a namespace's `location` outside of the roots.
    pub(super) fn admit_namespace(&self, properties: &BTreeMap<String, String>) -> Result<()> {
        properties.get("location").map_or(Ok(()), |location| self.admit(location, &[]))
    }

    /// Refuses a folder, or properties that name one, outside of the roots.
    pub(super) fn admit_folder(
        &self,
        location: &str,
        properties: &HashMap<String, String>,
        own: &[String],
    ) -> Result<()> {
        self.admit(location, own)?;
        self.admit_paths(properties, own)
    }

    fn admit_paths(&self, properties: &HashMap<String, String>, own: &[String]) -> Result<()> {
        PATHS.iter().filter_map(|path| properties.get(*path)).try_for_each(|folder| self.admit(folder, own))
    }

    /// Refuses updates that name a file or folder outside of the roots.
    pub(super) fn admit_updates(&self, updates: &[TableUpdate], own: &[String]) -> Result<()> {
        updates.iter().try_for_each(|update| match update {
            TableUpdate::SetLocation { location } => self.admit(location, own),
            TableUpdate::SetProperties { updates } => self.admit_paths(updates, own),
            TableUpdate::AddSnapshot { snapshot } => self.admit(snapshot.manifest_list(), own),
            TableUpdate::SetStatistics { statistics } => self.admit(&statistics.statistics_path, own),
            TableUpdate::SetPartitionStatistics { partition_statistics } => {
                self.admit(&partition_statistics.statistics_path, own)
            }
            _ => Ok(()),
        })
    }

    /// Refuses a whole table that comes from a file: all that it names.
    pub(super) fn admit_table(&self, metadata: &TableMetadata, own: &[String]) -> Result<()> {
        self.admit_folder(metadata.location(), metadata.properties(), own)?;
        metadata.snapshots().try_for_each(|snapshot| self.admit(snapshot.manifest_list(), own))?;
        metadata.metadata_log().iter().try_for_each(|log| self.admit(&log.metadata_file, own))?;
        metadata.statistics_iter().try_for_each(|file| self.admit(&file.statistics_path, own))
    }
}
