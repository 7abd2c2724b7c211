//! Where a table's files are rewritten, and who commits it.

use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::store::{Store, path_of};
use laked_catalog::system::System;
use laked_catalog::{Change, Outcome};

use crate::cli::change::Place;
use crate::commit::replace::{Clustered, Current, Replaced, Replacement, Tables, cluster, replace};
use crate::error::{Error, Kind, Result};
use crate::maintain::orphans::staging::Staging;
use crate::read::{Source, SourceTable};

/// Where it is done.
pub enum Work<'a> {
    /// Beside a daemon: a staging folder of its own within the table's.
    Beside { source: &'a Source, store: Store, staging: Staging },
    /// In a lake that no daemon has.
    Within(Place<'a>, Store),
}

impl<'a> Work<'a> {
    /// Opens it for a table.
    ///
    /// # Errors
    /// `Invalid` if the table's files are elsewhere; those of the lake.
    pub fn open(source: &'a Source, table: &SourceTable) -> Result<Work<'a>> {
        match Place::open(source)? {
            Place::Daemon(source) => {
                let system = System::real();
                let folder = path_of(table.metadata.location())?;
                let elsewhere = |error| {
                    let message = "the table's files are not on this machine: run lakectl where the lake is";
                    Error::new(Kind::Invalid, message).with("folder", folder.display()).because(Error::from(error))
                };
                system.disk.stat(&folder).map_err(elsewhere)?;
                let id = system.ids.uuid().simple().to_string();
                let staging = Staging::begin(system.disk.as_ref(), &folder, &id)?;
                let store = Store::local(system, staging.folder().to_path_buf())?;
                Ok(Work::Beside { source, store, staging })
            }
            Place::Lake { catalog, store, committer, _lock } => {
                let own = store.clone();
                Ok(Work::Within(Place::Lake { catalog, store, committer, _lock }, own))
            }
        }
    }

    /// Where files are read, and staged.
    pub fn store(&self) -> &Store {
        match self {
            Work::Beside { store, .. } | Work::Within(_, store) => store,
        }
    }

    /// Commits a replacement.
    ///
    /// # Errors
    /// Those of [`replace`].
    pub fn replace(&self, replacement: Replacement) -> Result<Replaced> {
        match self {
            Work::Within(Place::Lake { committer, .. }, _) => committer.replace(replacement),
            Work::Within(Place::Daemon(source), store) | Work::Beside { source, store, .. } => {
                let clock = System::real().clock;
                replace(&Remote { source }, store, None, &|time: Duration| clock.pause(time), replacement)
            }
        }
    }

    /// Replaces manifests.
    ///
    /// # Errors
    /// Those of [`cluster`].
    pub fn cluster(&self, clustered: Clustered) -> Result<i64> {
        match self {
            Work::Within(Place::Lake { committer, .. }, _) => committer.cluster(clustered),
            Work::Within(Place::Daemon(source), store) | Work::Beside { source, store, .. } => {
                let clock = System::real().clock;
                cluster(&Remote { source }, store, None, &|time: Duration| clock.pause(time), clustered)
            }
        }
    }

    /// Removes the folder, as far as it is empty.
    pub fn close(self) {
        if let Work::Beside { store, staging, .. } = self {
            staging.end(store.disk().as_ref());
        }
    }
}

/// A daemon's tables.
struct Remote<'a> {
    source: &'a Source,
}

impl Tables for Remote<'_> {
    fn current(&self, ident: &TableIdent) -> Result<Current> {
        let table = self.source.table(ident)?;
        Ok(Current { metadata: table.metadata, refs: table.refs })
    }

    fn change(&self, change: Change) -> Outcome {
        match self.source.commit(&change.ident, &change.requirements, &change.updates) {
            Ok(()) => Outcome::Committed(Vec::new()),
            Err(error) => match error.kind() {
                Kind::Conflict => Outcome::Conflict(error),
                // Who does not answer may have taken it.
                Kind::Unknown | Kind::Unavailable => Outcome::Unknown(error),
                _ => Outcome::Refused(error),
            },
        }
    }
}
