//! New tables: created, staged, registered, or born of a first commit; and where their files go.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use iceberg::spec::{FormatVersion, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use sha2::{Digest, Sha256};

use super::evolve::{Built, Moment, apply, refused};
use super::{Catalog, Reply, key, plausible, taken};
use crate::document::{Refs, Said, foreign};
use crate::error::{Error, Kind, Result};
use crate::state::{Sort, Swap};
use crate::table::{Companions, CreateTable, Origin, Outcome, Proposal, Table};

impl Catalog {
    /// The metadata a new table would have; nothing is kept.
    ///
    /// # Errors
    /// `NotFound` without its namespace; `Exists`; `Invalid` for a schema, spec or order that do not fit.
    pub fn stage_table(&self, ident: &TableIdent, create: CreateTable) -> Result<TableMetadata> {
        self.refuse_taken(Sort::Table, ident)?;
        let location = match create.location {
            Some(location) => location.trim_end_matches('/').to_string(),
            None => self.fresh_location(ident)?,
        };
        self.admit_folder(&location, &create.properties, &self.own_folders(ident, None))?;
        let mut properties = create.properties;
        let version = match properties.remove("format-version").as_deref() {
            None | Some("2") => FormatVersion::V2,
            Some("1") => FormatVersion::V1,
            Some("3") => FormatVersion::V3,
            Some(other) => {
                return Err(Error::new(Kind::Invalid, "format-version is 1, 2 or 3").with("found", other));
            }
        };
        let spec = create.spec.unwrap_or_else(|| UnboundPartitionSpec::builder().build());
        let order = create.sort_order.unwrap_or_else(SortOrder::unsorted_order);
        let built = TableMetadataBuilder::new(create.schema, spec, order, location, version, properties)
            .map(|builder| builder.assign_uuid(self.inner.store.system().ids.uuid()))
            .and_then(|builder| apply(builder, &[], Refs::new(), &Moment::first(self.now_ms(), version)));
        Ok(built.map_err(|error| refused(error, ident))?.metadata)
    }

    /// Makes a table.
    ///
    /// # Errors
    /// As [`Catalog::stage_table`]; guard and storage errors.
    pub fn create_table(&self, ident: &TableIdent, create: CreateTable, origin: Origin) -> Result<Arc<Table>> {
        self.create_said(ident, create, &Said::default(), origin)
    }

    /// Makes a table of which `said` holds what the types of `create` have no place for.
    pub(crate) fn create_said(
        &self,
        ident: &TableIdent,
        create: CreateTable,
        said: &Said,
        origin: Origin,
    ) -> Result<Arc<Table>> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let after = self.stage_table(ident, create)?;
        let built = Built { metadata: after, refs: Refs::new() };
        let next = self.next(ident.clone(), None, built, &[], said, origin)?;
        match self.publish(vec![next], origin, &mut Companions::none()) {
            Outcome::Committed(mut tables) => {
                tables.pop().ok_or_else(|| Error::new(Kind::Internal, "a commit without its table"))
            }
            Outcome::Conflict(_) => Err(taken("Table", ident)),
            Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
        }
    }

    /// Registers the table that a metadata file describes.
    ///
    /// # Errors
    /// `Exists`; `NotFound`; `Corrupt`; storage errors; the guard's.
    pub fn register_table(&self, ident: &TableIdent, location: String) -> Result<Arc<Table>> {
        self.refuse_taken(Sort::Table, ident)?;
        self.register(ident, None, location)
    }

    /// Registers a table in the place of one that may be there; its files stay.
    ///
    /// # Errors
    /// As [`Catalog::register_table`]; `Exists` only for a view of that name; `Conflict` if the table changes meanwhile.
    pub fn register_over(&self, ident: &TableIdent, location: String) -> Result<Arc<Table>> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        match self.load(ident) {
            Ok(before) => self.register(ident, Some(&before), location),
            Err(error) if error.kind() == Kind::NotFound => self.register_table(ident, location),
            Err(error) => Err(error),
        }
    }

    fn register(&self, ident: &TableIdent, before: Option<&Table>, location: String) -> Result<Arc<Table>> {
        let own = self.own_folders(ident, None);
        self.admit(&location, &own)?;
        self.inner.settling.settle(&location)?;
        let table = Arc::new(self.read_foreign(ident, location.clone())?);
        self.admit_table(&table.metadata, &own)?;
        if let Some(guard) = self.inner.guard.get() {
            let before = before.map(|table| table.metadata.as_ref());
            guard.check(&Proposal { ident, before, after: &table.metadata, origin: Origin::Rest })?;
        }
        let (namespace, name) = (key(ident.namespace()), ident.name().to_string());
        let from = before.map(|table| table.metadata_location.clone());
        let swap = Swap { sort: Sort::Table, namespace, name, from, to: location, body: None };
        let reply = || Reply::Table(ident.clone(), table.metadata_location.clone());
        if !self.point(&[swap], reply)? {
            return Err(match before {
                None => taken("Table", ident),
                Some(_) => Error::new(Kind::Conflict, "the table has changed: read it again").with("table", ident),
            });
        }
        self.remember(&table);
        self.inner.settling.follow_durable(&table.metadata_location);
        Ok(table)
    }

    /// Reads metadata that was not written here.
    fn read_foreign(&self, ident: &TableIdent, location: String) -> Result<Table> {
        let no_table = |error: Error| Error::new(Kind::Invalid, "the file is no table's metadata").because(error);
        let json = self.read_json(&location)?;
        plausible::text(&json).map_err(no_table)?;
        let metadata: TableMetadata = foreign::read(&json).map_err(no_table)?;
        plausible::metadata(&metadata)?;
        Self::taken_apart(ident, location, metadata, json).map_err(no_table)
    }

    /// A staged table's first commit carries all of it as updates.
    pub(super) fn build_new(&self, ident: &TableIdent, updates: Vec<TableUpdate>) -> iceberg::Result<Built> {
        let mut parts = NewTable::default();
        let rest: Vec<TableUpdate> = updates.into_iter().filter_map(|update| parts.take(update)).collect();
        let location = match parts.location {
            Some(location) => location,
            None => self.fresh_location(ident).map_err(|error| {
                iceberg::Error::new(iceberg::ErrorKind::Unexpected, "choosing a location").with_source(error)
            })?,
        };
        let schema = parts.schema.ok_or_else(|| {
            iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "a new table needs an add-schema update")
        })?;
        let spec = parts.spec.unwrap_or_else(|| UnboundPartitionSpec::builder().build());
        let order = parts.order.unwrap_or_else(SortOrder::unsorted_order);
        let version = parts.version.unwrap_or(FormatVersion::V2);
        let builder = TableMetadataBuilder::new(schema, spec, order, location, version, HashMap::new())?;
        let uuid = parts.uuid.unwrap_or_else(|| self.inner.store.system().ids.uuid());
        apply(builder.assign_uuid(uuid), &rest, Refs::new(), &Moment::first(self.now_ms(), version))
    }

    pub(super) fn folder_of(&self, namespace: &NamespaceIdent) -> String {
        namespace.iter().fold(self.inner.warehouse.clone(), |folder, level| format!("{folder}/{}", file_name(level)))
    }

    /// A folder nobody has files in: names come back, files don't mix.
    pub(super) fn fresh_location(&self, ident: &TableIdent) -> Result<String> {
        let namespace = self.namespace(ident.namespace())?;
        let folder = namespace.get("location").cloned().unwrap_or_else(|| self.folder_of(ident.namespace()));
        let location = format!("{}/{}", folder.trim_end_matches('/'), file_name(ident.name()));
        if self.inner.store.list(&location)?.is_empty() {
            return Ok(location);
        }
        Ok(format!("{location}-{}", self.inner.store.system().ids.uuid().simple()))
    }
}

/// Bytes of a folder's name, at most: file systems end at 255, and a suffix of 33 may follow.
const FOLDER: usize = 200;

/// A name as one path component: everything but letters, digits, `_`, `-` and inner dots is written as `%XX`. A name that
/// is too long for a folder ends in its digest.
fn file_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => text.push(char::from(byte)),
            b'.' if i > 0 => text.push('.'),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    if text.len() > FOLDER {
        text.truncate(FOLDER - 33);
        text.push('-');
        for byte in Sha256::digest(name).iter().take(16) {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// What `TableMetadataBuilder::new` wants, picked out of a first commit's updates.
#[derive(Default)]
struct NewTable {
    uuid: Option<uuid::Uuid>,
    version: Option<FormatVersion>,
    schema: Option<iceberg::spec::Schema>,
    spec: Option<UnboundPartitionSpec>,
    order: Option<SortOrder>,
    location: Option<String>,
    /// The first of each is what the builder starts with, so setting it as current says nothing.
    schema_set: bool,
    spec_set: bool,
    order_set: bool,
}

impl NewTable {
    /// Keeps what it wants of an update and gives the others back.
    fn take(&mut self, update: TableUpdate) -> Option<TableUpdate> {
        match update {
            TableUpdate::AssignUuid { uuid } => self.uuid = Some(uuid),
            TableUpdate::UpgradeFormatVersion { format_version } => self.version = Some(format_version),
            TableUpdate::AddSchema { schema } if self.schema.is_none() => self.schema = Some(schema),
            TableUpdate::AddSpec { spec } if self.spec.is_none() => self.spec = Some(spec),
            TableUpdate::AddSortOrder { sort_order } if self.order.is_none() => self.order = Some(sort_order),
            TableUpdate::SetLocation { location } => {
                self.location = Some(location.trim_end_matches('/').to_string());
            }
            TableUpdate::SetCurrentSchema { .. } if !std::mem::replace(&mut self.schema_set, true) => {}
            TableUpdate::SetDefaultSpec { .. } if !std::mem::replace(&mut self.spec_set, true) => {}
            TableUpdate::SetDefaultSortOrder { .. } if !std::mem::replace(&mut self.order_set, true) => {}
            other => return Some(other),
        }
        None
    }
}
