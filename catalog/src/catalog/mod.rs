//! The catalog: tables by name, changed by compare-and-set.
//!
//! A commit holds the locks of its tables (so that this process's commits queue instead of colliding), checks the
//! requirements against the metadata in memory, applies the updates, asks the guard, writes `metadata.json` durably and
//! moves all pointers in one SQLite transaction; small files may become durable after it ([`settling`]). Who loses deletes
//! the metadata file he wrote. After the move the version hint follows, for readers that look at the folder, and metadata
//! files that fell out of the log are deleted with the next commit or in the background.

mod answers;
mod cache;
#[cfg(all(test, feature = "simulation"))]
mod clock_tests;
mod commit;
mod confine;
mod create;
mod deletions;
mod drops;
mod evolve;
mod gzip;
mod leftovers;
mod listing;
mod names;
mod plausible;
mod recovery;
#[cfg(all(test, feature = "simulation"))]
mod reply_tests;
mod runs;
mod settling;
#[cfg(all(test, feature = "simulation"))]
mod settling_tests;
#[cfg(test)]
mod tests;
mod turns;
mod view_document;
mod views;

pub(crate) use answers::{Asked, Reply};
use cache::Cache;
pub use deletions::{Neighbour, Owed};
pub(crate) use plausible::nesting;
pub use recovery::{Found, Problem, Rebuilt};
pub use runs::{Run, RunState, WhichRuns};
use settling::Settling;
pub use turns::Turn;
use turns::Turns;
pub(crate) use view_document::ViewSaid;
pub use views::{CreateView, View};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use iceberg::spec::TableMetadata;
use iceberg::{NamespaceIdent, TableIdent};
use serde_json::json;

use crate::access::Tokens;
use crate::document::{Document, foreign, refs_of};
use crate::error::{Error, Kind, Result};
use crate::hint;
use crate::state::{Database, Pointer, Sort, State};
use crate::store::Store;
use crate::table::{Guard, Table, Watch};

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
    /// The namespaces of a caller with a scope: what he names lies in their folders.
    within: Option<Arc<[NamespaceIdent]>>,
    /// The request that this handle serves, if it may come again.
    asked: Option<Arc<Asked>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    store: Store,
    tokens: Tokens,
    warehouse: String,
    cache: Cache,
    locks: Mutex<HashMap<TableIdent, Arc<Mutex<()>>>>,
    guard: OnceLock<Arc<dyn Guard>>,
    watches: RwLock<Vec<Arc<dyn Watch>>>,
    settling: Settling,
    /// Held by who deletes the files of purged tables.
    purging: Mutex<()>,
    turns: Turns,
}

/// Locks that are kept at least, whether they are held or not.
const LOCKS: usize = 1024;

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
    Error::new(Kind::NotFound, format!("Table does not exist: {}", text_of(ident)))
}

fn no_namespace(namespace: &NamespaceIdent) -> Error {
    Error::new(Kind::NotFound, format!("Namespace does not exist: {}", namespace.join(".")))
        .with("namespace", namespace.join("."))
}

/// A missing metadata file, in the words of the protocol's reference.
pub(crate) fn missing(error: Error, location: &str) -> Error {
    if error.kind() != Kind::NotFound {
        return error;
    }
    Error::new(Kind::NotFound, format!("Failed to open input stream for file: {location}")).with("location", location)
}

fn unreadable(location: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Corrupt, "metadata cannot be read").with("location", location).because(cause)
}

fn taken(what: &str, ident: &TableIdent) -> Error {
    Error::new(Kind::Exists, format!("{what} already exists: {}", text_of(ident)))
}

/// `namespace.table`, as the messages of the protocol's reference name it.
fn text_of(ident: &TableIdent) -> String {
    format!("{}.{}", ident.namespace().join("."), ident.name())
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
        let tokens = Tokens::new(state.clone(), store.system().clone());
        let (cache, locks) = (Cache::default(), Mutex::default());
        let (guard, watches) = (OnceLock::new(), RwLock::default());
        let (settling, turns) = (Settling::new(state.clone(), store.clone()), Turns::default());
        let purging = Mutex::default();
        let inner = Inner { state, store, tokens, warehouse, cache, locks, guard, watches, settling, purging, turns };
        Catalog { inner: Arc::new(inner), within: None, asked: None }
    }

    /// Plugs in the rule that may refuse commits; the first one stays.
    pub fn guard(&self, guard: Arc<dyn Guard>) {
        let _ = self.inner.guard.set(guard);
    }

    /// Tells `watch`, too, of each commit from now on.
    pub fn watch(&self, watch: Arc<dyn Watch>) {
        self.inner.watches.write().unwrap_or_else(PoisonError::into_inner).push(watch);
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Who may use it.
    pub fn tokens(&self) -> &Tokens {
        &self.inner.tokens
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
        listing::check_namespace(namespace)?;
        if let Some(parent) = namespace.parent() {
            match self.asked(None).create_namespace(&parent, BTreeMap::new()) {
                Err(error) if error.kind() == Kind::Exists => {}
                result => result?,
            }
        }
        self.admit_namespace(&properties)?;
        let mut properties = properties;
        properties.entry("location".to_string()).or_insert_with(|| self.folder_of(namespace));
        let reply = || Reply::Text(json!({ "namespace": namespace, "properties": properties }).to_string());
        if self.answering(reply)?.add_namespace(&key(namespace), &properties)? {
            return Ok(());
        }
        Err(Error::new(Kind::Exists, format!("Namespace already exists: {}", namespace.join("."))))
    }

    /// A namespace's properties.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn namespace(&self, namespace: &NamespaceIdent) -> Result<BTreeMap<String, String>> {
        self.inner.state.namespace(&key(namespace))?.ok_or_else(|| no_namespace(namespace))
    }

    /// Removes an empty namespace.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not empty; database errors.
    pub fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let found = self.answering(|| Reply::Empty)?.remove_namespace(&key(namespace))?;
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
        let names = self.inner.state.names(Sort::Table, &key(namespace))?;
        Ok(names.into_iter().map(|name| TableIdent::new(namespace.clone(), name)).collect())
    }

    /// A table as it is now; read once, then served from memory until its pointer moves.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if its metadata cannot be read as such; storage errors.
    pub fn load(&self, ident: &TableIdent) -> Result<Arc<Table>> {
        let pointer = self.inner.state.pointer(Sort::Table, &key(ident.namespace()), ident.name())?;
        let location = pointer.ok_or_else(|| no_table(ident))?;
        if let Some(table) = self.cached(ident).filter(|table| table.metadata_location == location) {
            return Ok(table);
        }
        let table = Arc::new(self.read(ident, location)?);
        self.remember(&table);
        Ok(table)
    }

    /// A table as it is now, if that needs no more than a look at memory and at a database on this disk: some
    /// microseconds, so an asynchronous caller need not change threads for it. `None` if it takes [`Catalog::load`].
    ///
    /// # Errors
    /// `NotFound`; database errors; storage errors.
    pub(crate) fn at_hand(&self, ident: &TableIdent) -> Result<Option<Arc<Table>>> {
        if !self.inner.state.is_embedded() {
            return Ok(None);
        }
        let Some(table) = self.cached(ident) else { return Ok(None) };
        let pointer = self.inner.state.pointer(Sort::Table, &key(ident.namespace()), ident.name())?;
        let location = pointer.ok_or_else(|| no_table(ident))?;
        Ok(Some(table).filter(|table| table.metadata_location == location))
    }

    fn read(&self, ident: &TableIdent, location: String) -> Result<Table> {
        let (metadata, json): (TableMetadata, Bytes) = self.read_document(&location)?;
        Self::taken_apart(ident, location, metadata, json)
    }

    fn taken_apart(ident: &TableIdent, location: String, metadata: TableMetadata, json: Bytes) -> Result<Table> {
        let refs = refs_of(&json, &metadata)?;
        let metadata = Arc::new(metadata);
        Ok(Table { ident: ident.clone(), metadata, metadata_location: location, refs, document: Document::read(json) })
    }

    /// Reads a metadata file of a table or a view.
    fn read_document<T: serde::de::DeserializeOwned>(&self, location: &str) -> Result<(T, Bytes)> {
        let json = self.read_json(location)?;
        let metadata = foreign::read(&json).map_err(|error| unreadable(location, error))?;
        Ok((metadata, json))
    }

    /// A metadata file's text, gzipped or not.
    fn read_json(&self, location: &str) -> Result<Bytes> {
        let bytes = match self.body(location)? {
            Some(body) => body,
            None => self.inner.store.read(location).map_err(|error| missing(error, location))?,
        };
        gzip::unpack(bytes).map_err(|error| unreadable(location, error))
    }

    /// What a metadata file holds that may not be durable: after a power cut it may not even be there.
    fn body(&self, location: &str) -> Result<Option<Bytes>> {
        if self.inner.state.is_embedded() { self.inner.state.body(location) } else { Ok(None) }
    }

    /// That a table's metadata has not gone, though it may be served from memory.
    ///
    /// # Errors
    /// `NotFound`; storage errors.
    pub(crate) fn find_metadata(&self, location: &str) -> Result<()> {
        match self.inner.store.len(location) {
            Err(error) if error.kind() == Kind::NotFound && self.body(location)?.is_none() => {
                Err(missing(error, location))
            }
            Err(error) if error.kind() != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn cached(&self, ident: &TableIdent) -> Option<Arc<Table>> {
        self.inner.cache.get(ident)
    }

    fn remember(&self, table: &Arc<Table>) {
        self.inner.cache.put(table);
    }

    fn forget(&self, ident: &TableIdent) {
        self.inner.cache.forget(ident);
    }

    /// Renames a table; its files stay where they are.
    ///
    /// # Errors
    /// `NotFound`, also for the new namespace; `Exists`; database errors.
    pub fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        let found = self.rename(Sort::Table, from, to)?;
        if found { Ok(()) } else { Err(no_table(from)) }
    }

    fn rename(&self, sort: Sort, from: &TableIdent, to: &TableIdent) -> Result<bool> {
        let lock = self.lock_of(from);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.namespace(to.namespace())?;
        if from == to {
            return Ok(self.inner.state.pointer(sort, &key(from.namespace()), from.name())?.is_some());
        }
        let (old, new) = (key(from.namespace()), key(to.namespace()));
        listing::check(to.name())?;
        let Some(location) = self.inner.state.pointer(sort, &old, from.name())? else { return Ok(false) };
        match self.answering(|| Reply::Empty)?.rename(sort, (&old, from.name()), (&new, to.name())) {
            Err(error) if error.kind() == Kind::Exists => {
                let what = if self.view_is_there(to)? { "View" } else { "Table" };
                let (from, to) = (text_of(from), text_of(to));
                Err(Error::new(Kind::Exists, format!("Cannot rename {from} to {to}. {what} already exists")))
            }
            result => {
                self.forget(from);
                if matches!(result, Ok(true)) {
                    self.renamed(sort, from, Some(to), &location);
                }
                result
            }
        }
    }

    fn view_is_there(&self, ident: &TableIdent) -> Result<bool> {
        Ok(self.inner.state.pointer(Sort::View, &key(ident.namespace()), ident.name())?.is_some())
    }

    /// Refuses a name for a new table or view, in the words of the protocol's reference.
    fn refuse_taken(&self, sort: Sort, ident: &TableIdent) -> Result<()> {
        listing::check(ident.name())?;
        self.namespace(ident.namespace())?;
        for (held, own, other) in
            [(Sort::View, "View", "View with same name"), (Sort::Table, "Table", "Table with same name")]
        {
            if self.inner.state.pointer(held, &key(ident.namespace()), ident.name())?.is_some() {
                return Err(taken(if held == sort { own } else { other }, ident));
            }
        }
        Ok(())
    }

    /// Brings what is on disk up to every table's pointer: its metadata file, its version hint, its name. A crash may have
    /// come between. No table is read for it.
    ///
    /// # Errors
    /// Database errors; storage errors. A hint that cannot be written is tried again with the next commit.
    pub fn repair_hints(&self) -> Result<()> {
        let pointers = self.inner.state.pointers()?;
        let left = self.inner.settling.recover(&pointers.iter().map(|pointer| pointer.location.as_str()).collect())?;
        let durable = |pointer: &&Pointer| pointer.sort == Sort::Table && !left.contains(&pointer.location);
        for pointer in pointers.iter().filter(durable) {
            hint::point(&self.inner.store, &pointer.location);
        }
        self.repair_names(&pointers)
    }

    pub(crate) fn lock_of(&self, ident: &TableIdent) -> Arc<Mutex<()>> {
        let mut locks = self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds go, so that names which are asked for once do not stay for ever.
        if locks.len() >= LOCKS && locks.len() == locks.capacity() {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            let kept = 2 * locks.len().max(LOCKS);
            locks.shrink_to(kept);
        }
        locks.entry(ident.clone()).or_default().clone()
    }
}
