//! Dropping tables, bringing them back, and deleting the files of those that are purged.
//!
//! A drop moves the table's pointer to a list of what was dropped, where it stays for a day. A purge is put on the same
//! list and done after the answer, with the rights of who asked; what a crash cuts short is found there and finished at
//! the next start. Who purges cannot undrop.

use std::sync::{Arc, PoisonError};

use iceberg::{NamespaceIdent, TableIdent};

use super::{Catalog, Reply, SEPARATOR, key, no_table};
use crate::error::{Error, Kind, Result};
use crate::purge::{self, Others};
use crate::state::{Dropped, Sort};
use crate::table::Table;

impl Catalog {
    /// Forgets a table; its files stay, and for a day it can be brought back.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn drop_table(&self, ident: &TableIdent) -> Result<()> {
        self.forget_table(ident, false, |_| Reply::Empty).map(drop)
    }

    /// Forgets a table for good; [`Catalog::finish_purges`] deletes its files.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn purge_table(&self, ident: &TableIdent) -> Result<()> {
        self.forget_table(ident, true, |_| Reply::Empty).map(drop)
    }

    /// Forgets a table and returns it as it was last; its files stay.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt`; storage and database errors.
    pub fn unregister_table(&self, ident: &TableIdent) -> Result<Arc<Table>> {
        // Read under the lock of the forgetting below, so that no commit of ours comes between.
        let location = self.forget_table(ident, false, |at| Reply::Table(ident.clone(), at.to_string()))?;
        self.table_at(ident, location)
    }

    fn forget_table(&self, ident: &TableIdent, purge: bool, reply: impl Fn(&str) -> Reply) -> Result<String> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let (namespace, name) = (key(ident.namespace()), ident.name());
        loop {
            let Some(location) = self.inner.state.pointer(Sort::Table, &namespace, name)? else {
                self.forget(ident);
                return Err(no_table(ident));
            };
            self.inner.settling.settle(&location)?;
            let dropped = Dropped {
                id: self.inner.store.system().ids.uuid().to_string(),
                namespace: namespace.clone(),
                name: name.to_string(),
                metadata_location: location.clone(),
                dropped_ms: self.now_ms(),
                within: self.scope_text()?,
            };
            // Another daemon may have committed meanwhile: then the table has moved on, and each look is at a later one.
            if self.answering(|| reply(&location))?.drop_table(&dropped, purge)? {
                self.forget(ident);
                self.renamed(Sort::Table, ident, None, &location);
                return Ok(location);
            }
        }
    }

    /// Brings back the table of that name that was dropped last.
    ///
    /// # Errors
    /// `NotFound` if none was dropped within a day, or its namespace is gone; `Exists` if the name is taken.
    pub fn undrop_table(&self, ident: &TableIdent) -> Result<Arc<Table>> {
        let lock = self.lock_of(ident);
        let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.answering(|| Reply::Empty)?;
        if state.undrop(&key(ident.namespace()), ident.name(), self.now_ms())?.is_none() {
            let message = "no table of that name was dropped within a day; a purged one cannot come back";
            return Err(Error::new(Kind::NotFound, message).with("table", super::text_of(ident)));
        }
        let table = self.load(ident)?;
        self.renamed(Sort::Table, ident, Some(ident), &table.metadata_location);
        self.inner.settling.follow_durable(&table.metadata_location);
        Ok(table)
    }

    /// Deletes the files of tables that were purged, until none is left.
    ///
    /// # Errors
    /// Storage and database errors; a table whose metadata cannot be read is left on the list and logged.
    pub fn finish_purges(&self) -> Result<()> {
        let _one = self.inner.purging.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = (i64::MIN, String::new());
        loop {
            let listed = self.inner.state.purges((after.0, &after.1))?;
            let Some(last) = listed.last() else { return Ok(()) };
            after = (last.dropped_ms, last.id.clone());
            for dropped in &listed {
                if let Err(error) = self.purge_one(dropped) {
                    let table = dropped.name.as_str();
                    tracing::warn!(table, %error, "a purge is not done; it goes on at the next one or start");
                }
            }
        }
    }

    fn purge_one(&self, dropped: &Dropped) -> Result<()> {
        if let Some(table) = self.files_of(dropped)? {
            let pointers = self.inner.state.pointers()?.into_iter().map(|pointer| pointer.location);
            let others = Others::of(pointers.chain(self.inner.state.may_come_back(self.now_ms())?));
            purge::delete_reachable(&self.within_text(dropped.within.as_deref())?, &table, &others)?;
        }
        self.strike(&dropped.metadata_location)?;
        self.inner.state.purged(&dropped.id)
    }

    /// The table to be purged, or nothing if its metadata is gone already: that goes last.
    fn files_of(&self, dropped: &Dropped) -> Result<Option<Table>> {
        let namespace = NamespaceIdent::from_strs(dropped.namespace.split(SEPARATOR))
            .map_err(|error| Error::new(Kind::Corrupt, "a dropped table's namespace").because(error))?;
        let ident = TableIdent::new(namespace, dropped.name.clone());
        match self.read(&ident, dropped.metadata_location.clone()) {
            Ok(table) => Ok(Some(table)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
