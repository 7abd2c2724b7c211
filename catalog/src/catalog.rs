//! The catalog: tables by name, changed by compare-and-set.
//!
//! A commit holds the locks of its tables (so that this process's commits queue instead of colliding), checks the
//! requirements against the metadata in memory, applies the updates, asks the guard, writes `metadata.json` durably and
//! moves all pointers in one SQLite transaction. Who loses deletes the metadata file he wrote. After the move the version hint
//! follows, for readers that look at the folder, and metadata files that fell out of the log are deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use iceberg::spec::{FormatVersion, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};

use crate::error::{Error, Kind, Result};
use crate::hint;
use crate::state::{Database, State, Swap};
use crate::store::Store;
use crate::table::{Change, CreateTable, Guard, Origin, Outcome, Proposal, Table, serialise};

/// What a catalog is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its database.
    pub database: Database,
    /// Where tables go: `file:///…`, without a slash at the end.
    pub warehouse: String,
}

/// The catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    store: Store,
    warehouse: String,
    cache: Mutex<HashMap<TableIdent, Arc<Table>>>,
    locks: Mutex<HashMap<TableIdent, Arc<Mutex<()>>>>,
    guard: OnceLock<Arc<dyn Guard>>,
}

/// The separator of a namespace's levels, in the database and in the protocol's paths.
const SEPARATOR: char = '\u{1f}';

fn key(namespace: &NamespaceIdent) -> String {
    let mut text = String::new();
    for (i, level) in namespace.iter().enumerate() {
        if i > 0 {
            text.push(SEPARATOR);
        }
        text.push_str(level);
    }
    text
}

fn no_table(ident: &TableIdent) -> Error {
    Error::new(Kind::NotFound, "there is no such table").with("table", ident)
}

fn no_namespace(namespace: &NamespaceIdent) -> Error {
    Error::new(Kind::NotFound, "there is no such namespace").with("namespace", namespace.join("."))
}

fn refused(error: iceberg::Error, ident: &TableIdent) -> Error {
    Error::new(Kind::Invalid, "the change does not fit the table").with("table", ident).because(error)
}

/// A new table's or a change's next metadata, not yet written.
struct Next {
    ident: TableIdent,
    before: Option<Arc<Table>>,
    after: TableMetadata,
    location: String,
    json: Bytes,
}

impl Catalog {
    /// Opens the database at once; tables are read when asked for.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn open(settings: Settings, store: Store) -> Result<Catalog> {
        Ok(Self::over(State::open(&settings.database)?, settings.warehouse, store))
    }

    /// A catalog over a state that is open already.
    pub fn over(state: State, warehouse: String, store: Store) -> Catalog {
        let (cache, locks) = (Mutex::default(), Mutex::default());
        Catalog { inner: Arc::new(Inner { state, store, warehouse, cache, locks, guard: OnceLock::new() }) }
    }

    /// Plugs in the rule that may refuse commits; the first one stays.
    pub fn guard(&self, guard: Arc<dyn Guard>) {
        let _ = self.inner.guard.set(guard);
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Where tables go.
    pub fn warehouse(&self) -> &str {
        &self.inner.warehouse
    }

    /// Makes a namespace; its `location` is filled in. Parents are made too.
    ///
    /// # Errors
    /// `Exists`; database errors.
    pub fn create_namespace(&self, namespace: &NamespaceIdent, properties: BTreeMap<String, String>) -> Result<()> {
        if let Some(parent) = namespace.parent() {
            match self.create_namespace(&parent, BTreeMap::new()) {
                Err(error) if error.kind() == Kind::Exists => {}
                result => result?,
            }
        }
        let mut properties = properties;
        properties.entry("location".to_string()).or_insert_with(|| self.folder_of(namespace));
        if self.inner.state.add_namespace(&key(namespace), &properties)? {
            return Ok(());
        }
        Err(Error::new(Kind::Exists, "there is a namespace of that name").with("namespace", namespace.join(".")))
    }

    /// A namespace's properties.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn namespace(&self, namespace: &NamespaceIdent) -> Result<BTreeMap<String, String>> {
        self.inner.state.namespace(&key(namespace))?.ok_or_else(|| no_namespace(namespace))
    }

    /// Replaces a namespace's properties.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn set_namespace(&self, namespace: &NamespaceIdent, properties: &BTreeMap<String, String>) -> Result<()> {
        let found = self.inner.state.set_namespace(&key(namespace), properties)?;
        if found { Ok(()) } else { Err(no_namespace(namespace)) }
    }

    /// Removes an empty namespace.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not empty; database errors.
    pub fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let found = self.inner.state.remove_namespace(&key(namespace))?;
        if found { Ok(()) } else { Err(no_namespace(namespace)) }
    }

    /// Every namespace, in order.
    ///
    /// # Errors
    /// Database errors.
    pub fn list_namespaces(&self) -> Result<Vec<NamespaceIdent>> {
        let names = self.inner.state.namespaces()?;
        Ok(names.iter().filter_map(|name| NamespaceIdent::from_strs(name.split(SEPARATOR)).ok()).collect())
    }

    /// A namespace's tables, in order.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.namespace(namespace)?;
        let names = self.inner.state.tables(&key(namespace))?;
        Ok(names.into_iter().map(|name| TableIdent::new(namespace.clone(), name)).collect())
    }

    /// A table as it is now; read once, then served from memory until its pointer moves.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if its metadata cannot be read as such; storage errors.
    pub fn load(&self, ident: &TableIdent) -> Result<Arc<Table>> {
        let pointer = self.inner.state.pointer(&key(ident.namespace()), ident.name())?;
        let location = pointer.ok_or_else(|| no_table(ident))?;
        if let Some(table) = self.cached(ident).filter(|table| table.metadata_location == location) {
            return Ok(table);
        }
        let table = Arc::new(self.read(ident, location)?);
        self.remember(&table);
        Ok(table)
    }

    fn read(&self, ident: &TableIdent, location: String) -> Result<Table> {
        let bytes = self.inner.store.read(&location)?;
        let metadata = parse_metadata(&bytes).map_err(|error| {
            Error::new(Kind::Corrupt, "table metadata cannot be read").with("location", &location).because(error)
        })?;
        Ok(Table::new(ident.clone(), metadata, location, None))
    }

    fn cached(&self, ident: &TableIdent) -> Option<Arc<Table>> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner).get(ident).cloned()
    }

    fn remember(&self, table: &Arc<Table>) {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(table.ident.clone(), table.clone());
    }

    fn forget(&self, ident: &TableIdent) {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(ident);
    }

    /// The metadata a new table would have; nothing is kept.
    ///
    /// # Errors
    /// `NotFound` without its namespace; `Exists`; `Invalid` for a schema, spec or order that do not fit.
    pub fn stage_table(&self, ident: &TableIdent, create: CreateTable) -> Result<TableMetadata> {
        self.namespace(ident.namespace())?;
        if self.inner.state.pointer(&key(ident.namespace()), ident.name())?.is_some() {
            return Err(Error::new(Kind::Exists, "there is a table of that name").with("table", ident));
        }
        let location = match create.location {
            Some(location) => location.trim_end_matches('/').to_string(),
            None => self.fresh_location(ident)?,
        };
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
            .and_then(|builder| builder.assign_uuid(self.inner.store.system().ids.uuid()).build());
        Ok(built.map_err(|error| refused(error, ident))?.metadata)
    }

    /// Makes a table.
    ///
    /// # Errors
    /// As [`Catalog::stage_table`]; guard and storage errors.
    pub fn create_table(&self, ident: &TableIdent, create: CreateTable, origin: Origin) -> Result<Arc<Table>> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let after = self.stage_table(ident, create)?;
        let next = self.next(ident.clone(), None, after, origin)?;
        match self.publish(vec![next]) {
            Outcome::Committed(mut tables) => {
                tables.pop().ok_or_else(|| Error::new(Kind::Internal, "a commit without its table"))
            }
            Outcome::Conflict(_) => Err(Error::new(Kind::Exists, "there is a table of that name").with("table", ident)),
            Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
        }
    }

    /// Registers the table that a metadata file describes.
    ///
    /// # Errors
    /// `Exists`; `NotFound`; `Corrupt`; storage errors.
    pub fn register_table(&self, ident: &TableIdent, location: String) -> Result<Arc<Table>> {
        self.namespace(ident.namespace())?;
        let table = Arc::new(self.read(ident, location.clone())?);
        let (namespace, name) = (key(ident.namespace()), ident.name().to_string());
        if !self.inner.state.swap(&[Swap { namespace, name, from: None, to: location }])? {
            return Err(Error::new(Kind::Exists, "there is a table of that name").with("table", ident));
        }
        self.remember(&table);
        hint::follow(&self.inner.store, &table);
        Ok(table)
    }

    /// Forgets a table; its files stay.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn drop_table(&self, ident: &TableIdent) -> Result<()> {
        let dropped = self.inner.state.remove_table(&key(ident.namespace()), ident.name())?;
        self.forget(ident);
        dropped.map(drop).ok_or_else(|| no_table(ident))
    }

    /// Renames a table; its files stay where they are.
    ///
    /// # Errors
    /// `NotFound`, also for the new namespace; `Exists`; database errors.
    pub fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.namespace(to.namespace())?;
        let (old, new) = (key(from.namespace()), key(to.namespace()));
        let found = self.inner.state.rename_table((&old, from.name()), (&new, to.name()))?;
        self.forget(from);
        if found { Ok(()) } else { Err(no_table(from)) }
    }

    /// Commits changes of one or several tables, all or none.
    pub fn commit(&self, changes: Vec<Change>, origin: Origin) -> Outcome {
        let idents: BTreeSet<&TableIdent> = changes.iter().map(|change| &change.ident).collect();
        if idents.len() < changes.len() {
            return Outcome::Refused(Error::new(Kind::Invalid, "a commit names a table twice: join its changes"));
        }
        let locks: Vec<_> = idents.into_iter().map(|ident| self.lock_of(ident)).collect();
        let _held: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        let prepared: Result<Vec<Next>> = changes.into_iter().map(|change| self.prepare(change, origin)).collect();
        match prepared {
            Ok(next) => self.publish(next),
            Err(error) if error.kind() == Kind::Conflict => Outcome::Conflict(error),
            Err(error) => Outcome::Refused(error),
        }
    }

    fn prepare(&self, change: Change, origin: Origin) -> Result<Next> {
        let Change { ident, requirements, updates } = change;
        let creates = requirements.iter().any(|requirement| matches!(requirement, TableRequirement::NotExist));
        let before = match self.load(&ident) {
            Ok(table) => Some(table),
            Err(error) if error.kind() == Kind::NotFound && creates => None,
            Err(error) => return Err(error),
        };
        for requirement in &requirements {
            requirement.check(before.as_ref().map(|table| table.metadata.as_ref())).map_err(|error| {
                Error::new(Kind::Conflict, "a requirement does not hold").with("table", &ident).because(error)
            })?;
        }
        let after = match &before {
            Some(table) => {
                let metadata = TableMetadata::clone(&table.metadata);
                apply(metadata.into_builder(Some(table.metadata_location.clone())), updates)
            }
            None => self.build_new(&ident, updates),
        };
        self.next(ident.clone(), before, after.map_err(|error| refused(error, &ident))?, origin)
    }

    /// A staged table's first commit carries all of it as updates.
    fn build_new(&self, ident: &TableIdent, updates: Vec<TableUpdate>) -> iceberg::Result<TableMetadata> {
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
        apply(builder.assign_uuid(parts.uuid.unwrap_or_else(|| self.inner.store.system().ids.uuid())), rest)
    }

    fn next(
        &self,
        ident: TableIdent,
        before: Option<Arc<Table>>,
        after: TableMetadata,
        origin: Origin,
    ) -> Result<Next> {
        if let Some(guard) = self.inner.guard.get() {
            let before = before.as_ref().map(|table| table.metadata.as_ref());
            guard.check(&Proposal { ident: &ident, before, after: &after, origin })?;
        }
        let number = before.as_ref().map_or(0, |table| hint::version(&table.metadata_location).map_or(0, |n| n + 1));
        let folder = after.location().trim_end_matches('/');
        let location = format!("{folder}/metadata/{number:05}-{}.metadata.json", self.inner.store.system().ids.uuid());
        let json = serialise(&after)?;
        Ok(Next { ident, before, after, location, json })
    }

    /// Writes the metadata files, moves the pointers, follows up. The tables' locks are held.
    fn publish(&self, next: Vec<Next>) -> Outcome {
        if let Err(error) = self.write_metadata(&next) {
            return Outcome::Refused(error);
        }
        let swaps: Vec<Swap> = next
            .iter()
            .map(|next| Swap {
                namespace: key(next.ident.namespace()),
                name: next.ident.name().to_string(),
                from: next.before.as_ref().map(|table| table.metadata_location.clone()),
                to: next.location.clone(),
            })
            .collect();
        let moved = self.inner.state.swap(&swaps).or_else(|error| self.resolve(&swaps, error));
        match moved {
            Ok(true) => Outcome::Committed(next.into_iter().map(|next| self.follow_up(next)).collect()),
            Ok(false) => {
                for next in &next {
                    let _ = self.inner.store.delete(&next.location);
                }
                Outcome::Conflict(Error::new(Kind::Conflict, "somebody else committed first: read the table again"))
            }
            Err(error) => Outcome::Unknown(error),
        }
    }

    fn write_metadata(&self, next: &[Next]) -> Result<()> {
        use std::io::Write as _;
        let mut files = Vec::with_capacity(next.len());
        for next in next {
            let mut file = self.inner.store.stage(&next.location)?;
            file.write_all(&next.json)?;
            files.push(file);
        }
        self.inner.store.publish(files)
    }

    /// The transaction failed, perhaps after it took effect: one look tells, because nobody else sends it late.
    fn resolve(&self, swaps: &[Swap], error: Error) -> Result<bool> {
        let Some(first) = swaps.first() else { return Err(error) };
        match self.inner.state.pointer(&first.namespace, &first.name) {
            Ok(pointer) => Ok(pointer.as_deref() == Some(first.to.as_str())),
            Err(again) => Err(Error::new(Kind::Unknown, "the commit's outcome cannot be read").because(again)),
        }
    }

    fn follow_up(&self, next: Next) -> Arc<Table> {
        let Next { ident, before, after, location, json } = next;
        let table = Arc::new(Table::new(ident, after, location, Some(json)));
        self.remember(&table);
        hint::follow(&self.inner.store, &table);
        if let Some(before) = before {
            self.delete_old_metadata(&before, &table);
        }
        table
    }

    /// `write.metadata.delete-after-commit.enabled`, on unless set to false: files that fell out of the metadata log.
    fn delete_old_metadata(&self, before: &Table, after: &Table) {
        let properties = after.metadata.properties();
        if properties.get("write.metadata.delete-after-commit.enabled").is_some_and(|value| value == "false") {
            return;
        }
        let kept: BTreeSet<&str> = after.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str()).collect();
        for log in before.metadata.metadata_log() {
            let ours = log.metadata_file.starts_with(after.metadata.location());
            if ours && !kept.contains(log.metadata_file.as_str()) {
                let _ = self.inner.store.delete(&log.metadata_file);
            }
        }
    }

    /// Brings every table's version hint up to its pointer: a crash may have come between the two.
    ///
    /// # Errors
    /// Database errors; a table that cannot be read is skipped, its readers will say so.
    pub fn repair_hints(&self) -> Result<()> {
        for namespace in self.list_namespaces()? {
            for ident in self.list_tables(&namespace)? {
                if let Ok(table) = self.load(&ident) {
                    hint::follow(&self.inner.store, &table);
                }
            }
        }
        Ok(())
    }

    fn lock_of(&self, ident: &TableIdent) -> Arc<Mutex<()>> {
        let mut locks = self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(ident.clone()).or_default().clone()
    }

    fn folder_of(&self, namespace: &NamespaceIdent) -> String {
        namespace.iter().fold(self.inner.warehouse.clone(), |folder, level| format!("{folder}/{}", file_name(level)))
    }

    /// A folder nobody has files in: names come back, files don't mix.
    fn fresh_location(&self, ident: &TableIdent) -> Result<String> {
        let namespace = self.namespace(ident.namespace())?;
        let folder = namespace.get("location").cloned().unwrap_or_else(|| self.folder_of(ident.namespace()));
        let location = format!("{}/{}", folder.trim_end_matches('/'), file_name(ident.name()));
        if self.inner.store.list(&location)?.is_empty() {
            return Ok(location);
        }
        Ok(format!("{location}-{}", self.inner.store.system().ids.uuid().simple()))
    }
}

/// A name as one path component: everything but letters, digits, `_`, `-` and inner dots is written as `%XX`.
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
    text
}

fn apply(builder: TableMetadataBuilder, updates: Vec<TableUpdate>) -> iceberg::Result<TableMetadata> {
    let builder = updates.into_iter().try_fold(builder, |builder, update| update.apply(builder))?;
    Ok(builder.build()?.metadata)
}

fn parse_metadata(bytes: &Bytes) -> std::result::Result<TableMetadata, Box<dyn std::error::Error + Send + Sync>> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(serde_json::from_reader(flate2::read::MultiGzDecoder::new(bytes.as_ref()))?);
    }
    Ok(serde_json::from_slice(bytes)?)
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
            TableUpdate::SetCurrentSchema { .. }
            | TableUpdate::SetDefaultSpec { .. }
            | TableUpdate::SetDefaultSortOrder { .. } => {}
            other => return Some(other),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::location_of;
    use crate::system::System;
    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::local(System::real(), folder.path().join("staging")).expect("opens");
        let warehouse = location_of(&folder.path().join("warehouse")).expect("UTF-8");
        let settings = Settings { database: Database::File(folder.path().join("catalog.db")), warehouse };
        let catalog = Catalog::open(settings, store).expect("opens");
        catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("makes");
        (folder, catalog)
    }

    fn new_table() -> CreateTable {
        let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
        let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
        CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() }
    }

    fn ident(name: &str) -> TableIdent {
        TableIdent::from_strs(["n", name]).expect("valid")
    }

    fn set(name: &str, value: u32, requirements: Vec<TableRequirement>) -> Change {
        let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), value.to_string())].into() }];
        Change { ident: ident(name), requirements, updates }
    }

    fn committed(outcome: Outcome) -> Vec<Arc<Table>> {
        match outcome {
            Outcome::Committed(tables) => tables,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_tables_move_together_or_not_at_all() {
        let (_folder, catalog) = catalog();
        for name in ["a", "b"] {
            catalog.create_table(&ident(name), new_table(), Origin::Daemon).expect("makes");
        }
        let wrong = TableRequirement::UuidMatch { uuid: uuid::Uuid::nil() };
        let outcome = catalog.commit(vec![set("a", 1, vec![]), set("b", 1, vec![wrong])], Origin::Daemon);
        assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
        let value = |name| catalog.load(&ident(name)).expect("loads").metadata.properties().get("v").cloned();
        assert_eq!((value("a"), value("b")), (None, None));
        let tables = committed(catalog.commit(vec![set("b", 2, vec![]), set("a", 2, vec![])], Origin::Daemon));
        assert_eq!(tables.iter().map(|table| table.ident.name()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!((value("a"), value("b")), (Some("2".into()), Some("2".into())));
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_and_the_hint_follows() {
        let (folder, catalog) = catalog();
        catalog.create_table(&ident("a"), new_table(), Origin::Daemon).expect("makes");
        for n in 0..3 {
            let _ = committed(catalog.commit(vec![set("a", n, vec![])], Origin::Daemon));
        }
        let before = catalog.load(&ident("a")).expect("loads");
        let settings = Settings {
            database: Database::File(folder.path().join("catalog.db")),
            warehouse: catalog.warehouse().to_string(),
        };
        let again = Catalog::open(settings, catalog.store().clone()).expect("opens");
        let after = again.load(&ident("a")).expect("loads");
        assert_eq!(after.metadata, before.metadata);
        let name = after.metadata_location.rsplit('/').next().expect("has a name");
        assert!(name.starts_with("00003-"), "{name}");
        let hint = format!("{}/metadata/version-hint.text", after.metadata.location());
        let read = || String::from_utf8(again.store().read(&hint).expect("is there").to_vec()).expect("UTF-8");
        assert_eq!(format!("{}.metadata.json", read()), name);
        again.store().replace(&hint, b"00000-old").expect("replaces");
        again.repair_hints().expect("repairs");
        assert_eq!(format!("{}.metadata.json", read()), name);
    }

    #[test]
    fn a_name_comes_back_but_files_do_not_mix() {
        let (_folder, catalog) = catalog();
        let first = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect("makes");
        let taken = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect_err("taken");
        assert_eq!(taken.kind(), Kind::Exists);
        catalog.drop_table(&ident("a/b")).expect("drops");
        let second = catalog.create_table(&ident("a/b"), new_table(), Origin::Daemon).expect("makes");
        assert_ne!(first.metadata.location(), second.metadata.location());
        assert!(first.metadata.location().ends_with("/n/a%2Fb"), "{}", first.metadata.location());
    }

    #[test]
    fn old_metadata_files_are_deleted_after_a_commit() {
        let (_folder, catalog) = catalog();
        let mut create = new_table();
        create.properties.insert("write.metadata.previous-versions-max".into(), "2".into());
        let table = catalog.create_table(&ident("a"), create, Origin::Daemon).expect("makes");
        for n in 0..6 {
            let _ = committed(catalog.commit(vec![set("a", n, vec![])], Origin::Daemon));
        }
        let files = catalog.store().list(&format!("{}/metadata", table.metadata.location())).expect("lists");
        let json = files.iter().filter(|file| file.location.ends_with(".json")).count();
        assert_eq!(json, 3, "the current one and two before it: {files:?}");
    }
}
