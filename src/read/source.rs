//! Where table metadata comes from: a running daemon's REST catalog, or a lake's own database, opened to read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use laked_catalog::store::{Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Database, Refs, Settings};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::remote::Remote;
use crate::error::{Error, Kind, Result};

/// Where to read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A running daemon.
    Daemon(Remote),
    /// A lake's directory on this machine.
    Lake(PathBuf),
}

/// A table to read.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// Its name.
    pub ident: TableIdent,
    /// Its metadata when asked.
    pub metadata: Arc<TableMetadata>,
    /// Where that metadata lies.
    pub metadata_location: String,
    /// Its branches and tags.
    pub refs: Refs,
}

#[derive(Deserialize)]
struct Namespaces {
    namespaces: Vec<NamespaceIdent>,
}

#[derive(Deserialize)]
struct Tables {
    identifiers: Vec<TableIdent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded {
    metadata_location: String,
    metadata: Box<RawValue>,
}

/// What the `iceberg` crate's metadata has no getter for.
#[derive(Deserialize)]
struct Referring {
    #[serde(default)]
    refs: Option<Refs>,
}

impl Loaded {
    fn table(&self, ident: &TableIdent) -> Result<SourceTable> {
        let unreadable = |error| Error::new(Kind::Invalid, "the daemon's metadata cannot be read").because(error);
        let metadata: TableMetadata = serde_json::from_str(self.metadata.get()).map_err(unreadable)?;
        let Referring { refs } = serde_json::from_str(self.metadata.get()).map_err(unreadable)?;
        Ok(SourceTable {
            ident: ident.clone(),
            metadata: Arc::new(metadata),
            metadata_location: self.metadata_location.clone(),
            refs: refs.unwrap_or_default(),
        })
    }
}

impl Source {
    /// Every table, in order.
    ///
    /// # Errors
    /// `Unavailable` if the daemon does not answer; database errors.
    pub fn tables(&self) -> Result<Vec<TableIdent>> {
        let mut found = Vec::new();
        match self {
            Source::Lake(folder) => {
                let catalog = open_catalog(folder)?;
                for namespace in catalog.list_namespaces()? {
                    found.extend(catalog.list_tables(&namespace)?);
                }
            }
            Source::Daemon(remote) => {
                let mut pending = remote.get::<Namespaces>("/v1/namespaces")?.namespaces;
                while let Some(namespace) = pending.pop() {
                    let path = path_of(&namespace);
                    found.extend(remote.get::<Tables>(&format!("/v1/namespaces/{path}/tables"))?.identifiers);
                    pending.extend(remote.get::<Namespaces>(&format!("/v1/namespaces?parent={path}"))?.namespaces);
                }
            }
        }
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    /// A table as it is now.
    ///
    /// # Errors
    /// `NotFound`, with the names there are; `Unavailable`; `Corrupt`.
    pub fn table(&self, ident: &TableIdent) -> Result<SourceTable> {
        let loaded = match self {
            Source::Lake(folder) => open_catalog(folder)?.load(ident).map(|table| SourceTable {
                ident: ident.clone(),
                metadata: table.metadata.clone(),
                metadata_location: table.metadata_location.clone(),
                refs: table.refs.clone(),
            }),
            Source::Daemon(remote) => {
                let (namespace, name) = (path_of(ident.namespace()), escape(ident.name()));
                let path = format!("/v1/namespaces/{namespace}/tables/{name}");
                remote.get::<Loaded>(&path).and_then(|loaded| loaded.table(ident))
            }
        };
        match loaded {
            Err(error) if error.kind() == Kind::NotFound => Err(self.no_such_table(ident)),
            other => other,
        }
    }

    /// Commits updates through a daemon's catalog.
    ///
    /// # Errors
    /// `Conflict` if a requirement does not hold; `Invalid` with the daemon's words; `Unavailable`.
    pub fn commit(&self, ident: &TableIdent, requirements: &[TableRequirement], updates: &[TableUpdate]) -> Result<()> {
        let Source::Daemon(remote) = self else {
            return Err(Error::new(Kind::Internal, "a lake's own catalog commits by itself"));
        };
        let path = format!("/v1/namespaces/{}/tables/{}", path_of(ident.namespace()), escape(ident.name()));
        let body = serde_json::json!({ "requirements": requirements, "updates": updates });
        remote.post(&path, &body).map(drop)
    }

    /// Brings back the table of that name that was dropped last.
    ///
    /// # Errors
    /// `NotFound` if none was dropped within a day; `Conflict` if the name is taken; `Unavailable`.
    pub fn undrop(&self, ident: &TableIdent) -> Result<()> {
        let remote = match self {
            Source::Lake(folder) => return open_catalog(folder)?.undrop_table(ident).map(drop),
            Source::Daemon(remote) => remote,
        };
        let table = format!("/v1/namespaces/{}/tables/{}", path_of(ident.namespace()), escape(ident.name()));
        match remote.post(&format!("{table}/undrop"), &serde_json::Value::Null) {
            Err(error) if error.kind() == Kind::NotFound => {
                let message = "no table of that name was dropped within a day; a purged one cannot come back";
                Err(Error::new(Kind::NotFound, message).with("table", ident))
            }
            result => result.map(drop),
        }
    }

    fn no_such_table(&self, ident: &TableIdent) -> Error {
        let names: Vec<String> = self.tables().unwrap_or_default().iter().map(ToString::to_string).collect();
        let known = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        Error::new(Kind::NotFound, format!("there is no table {ident}; there are: {known}"))
    }
}

/// A table's name from text: the last dot separates the table from its namespace.
///
/// # Errors
/// `Invalid` without a namespace.
pub fn ident_of(text: &str) -> Result<TableIdent> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(Error::new(Kind::Invalid, format!("'{text}' is not a table: write it as namespace.table")));
    }
    TableIdent::from_strs(parts).map_err(|error| Error::new(Kind::Invalid, "not a table's name").because(error))
}

/// The catalog of a lake on this machine, to be read beside a running daemon.
///
/// # Errors
/// `NotFound` if there is no lake; database errors.
pub fn open_catalog(folder: &Path) -> Result<Catalog> {
    let database = folder.join("catalog.db");
    let system = System::real();
    if system.disk.stat(&database).is_err() {
        return Err(Error::new(
            Kind::NotFound,
            "there is no lake here: give --lake the directory that `laked --lake` was given",
        )
        .with("looked for", database.display()));
    }
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let settings =
        Settings { database: Database::File(database), warehouse: location_of(&absolute.join("warehouse"))? };
    Catalog::open(settings, Store::read_only(system))
}

fn path_of(namespace: &NamespaceIdent) -> String {
    namespace.iter().map(|level| escape(level)).collect::<Vec<_>>().join("%1F")
}

/// A table as two parts of a URL's path.
pub fn table_path(ident: &TableIdent) -> String {
    format!("{}/{}", path_of(ident.namespace()), escape(ident.name()))
}

/// A text as a part of a URL's path.
pub fn escape(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
