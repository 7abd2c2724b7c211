//! Names: what is allowed as one, lists of them a page at a time; and the properties of a namespace.
//!
//! Any text is a name, slashes, dots and blanks included, up to a length; what separates a namespace's levels in a path
//! (U+001F) is not. How a name becomes a folder is `create.rs`'s matter, how it is found
//! again without the database `names.rs`'s.

use std::collections::BTreeMap;

use iceberg::{NamespaceIdent, TableIdent};

use super::{Catalog, Reply, SEPARATOR, key};
use crate::error::{Error, Kind, Result};
use crate::state::Sort;

/// A name's length in bytes, at most.
const LENGTH: usize = 1024;

/// A namespace's levels, at most.
const LEVELS: usize = 32;

/// # Errors
/// `Invalid`.
pub(super) fn check(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LENGTH || name.contains([SEPARATOR, '\0']) {
        let message = format!("a name has 1 to {LENGTH} bytes, and neither U+001F nor a NUL among them");
        return Err(Error::new(Kind::Invalid, message).with("length", name.len()));
    }
    Ok(())
}

/// # Errors
/// `Invalid`.
pub(super) fn check_namespace(namespace: &NamespaceIdent) -> Result<()> {
    if namespace.len() > LEVELS {
        let message = format!("a namespace has at most {LEVELS} levels");
        return Err(Error::new(Kind::Invalid, message).with("levels", namespace.len()));
    }
    namespace.iter().try_for_each(|level| check(level))
}

/// What a change of a namespace's properties did, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Set.
    pub updated: Vec<String>,
    /// Removed.
    pub removed: Vec<String>,
    /// Not there to be removed.
    pub missing: Vec<String>,
}

impl Catalog {
    /// Names of a namespace's tables or views after `after`, in order, at most `most`.
    pub(crate) fn names_after(
        &self,
        sort: Sort,
        namespace: &NamespaceIdent,
        after: &str,
        most: usize,
    ) -> Result<Vec<String>> {
        self.namespace(namespace)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.inner.state.names_after(sort, &key(namespace), after, most)
    }

    /// Whether there is such a table; its metadata is not read.
    ///
    /// # Errors
    /// `NotFound`; database errors.
    pub fn exists(&self, ident: &TableIdent) -> Result<()> {
        let found = self.inner.state.pointer(Sort::Table, &key(ident.namespace()), ident.name())?;
        found.map(drop).ok_or_else(|| super::no_table(ident))
    }

    /// The namespaces right below `parent`, or those of one level, after the key `after`, at most `most`.
    pub(crate) fn children_after(
        &self,
        parent: Option<&NamespaceIdent>,
        after: &str,
        most: usize,
    ) -> Result<Vec<NamespaceIdent>> {
        parent.map_or(Ok(()), |parent| self.namespace(parent).map(drop))?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let names = self.inner.state.children_after(parent.map(key).as_deref(), after, most)?;
        Ok(names.iter().filter_map(|name| NamespaceIdent::from_strs(name.split(SEPARATOR)).ok()).collect())
    }

    /// Removes and sets properties of a namespace.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for a location outside of the roots; database errors.
    pub fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        removals: &[String],
        updates: &BTreeMap<String, String>,
    ) -> Result<Updated> {
        self.admit_namespace(updates)?;
        let lock = self.lock_of(&TableIdent::new(namespace.clone(), String::new()));
        let _held = lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            let before = self.namespace(namespace)?;
            let (mut after, mut done) = (before.clone(), Updated::default());
            for name in removals {
                let list = if after.remove(name).is_some() { &mut done.removed } else { &mut done.missing };
                list.push(name.clone());
            }
            done.updated = updates.keys().cloned().collect();
            after.extend(updates.clone());
            let state = self.answering(|| Reply::Text(done.json().to_string()))?;
            // Another daemon may have changed them meanwhile: whoever is turned back finds what that one made.
            if state.set_namespace(&key(namespace), &before, &after)? {
                return Ok(done);
            }
        }
    }
}

impl Updated {
    /// As the protocol answers it.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "updated": self.updated, "removed": self.removed, "missing": self.missing })
    }
}
