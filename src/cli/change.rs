//! Changing a table: the plan is made from the table as it is, committed, and made anew while somebody else is faster.
//!
//! Through a daemon a change is a commit of its REST catalog. A lake without one is locked first, so that none starts
//! meanwhile, and what its last daemon left open is settled: commits whose outcome it did not learn are told by their
//! snapshots, which a change may take away.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use iceberg::TableIdent;
use laked_catalog::store::{DiskLock, Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Database, Origin, Outcome, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commit::Committer;
use crate::error::{Error, Kind, Result};
use crate::maintain::Edit;
use crate::read::source::{ident_of, open_catalog, table_path};
use crate::read::{Source, SourceTable};

/// How often a change is tried while others are faster, and how long it waits before the second try; doubled each time.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(20);

/// The table, and whether it is to be changed.
#[derive(Args, Debug)]
pub struct Target {
    /// The table, as namespace.table.
    table: String,
    /// Print what would be done, and do nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
}

impl Target {
    /// The table's name.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn ident(&self) -> Result<TableIdent> {
        ident_of(&self.table)
    }

    /// Does what removes files: in the daemon, or here in a lake without one.
    ///
    /// # Errors
    /// `NotFound`, with the tables there are; the work's own.
    pub fn upkeep<Q: Serialize, A: DeserializeOwned>(
        &self,
        source: &Source,
        verb: &str,
        request: &Q,
        work: impl Fn(&Catalog, &TableIdent, &Q) -> Result<A>,
    ) -> Result<A> {
        self.upkeep_with(source, verb, request, |catalog, _, ident, request| work(catalog, ident, request))
    }

    /// The same for what also commits files: by a committer, but in a dry run.
    ///
    /// # Errors
    /// As [`Target::upkeep`].
    pub fn upkeep_with<Q: Serialize, A: DeserializeOwned>(
        &self,
        source: &Source,
        verb: &str,
        request: &Q,
        work: impl Fn(&Catalog, Option<&Committer>, &TableIdent, &Q) -> Result<A>,
    ) -> Result<A> {
        let ident = ident_of(&self.table)?;
        source.table(&ident)?;
        match (source, self.dry_run) {
            (Source::Daemon(remote), _) => {
                let body = serde_json::to_value(request)
                    .map_err(|error| Error::new(Kind::Internal, "a request").because(error))?;
                remote.ask(&format!("/maintain/{}/{verb}", table_path(&ident)), &body)
            }
            (Source::Lake(folder), true) => work(&open_catalog(folder)?, None, &ident, request),
            (Source::Lake(_), false) => match Place::open(source)? {
                Place::Lake { catalog, committer, .. } => work(&catalog, Some(&committer), &ident, request),
                Place::Daemon(_) => Err(Error::new(Kind::Internal, "a lake is no daemon")),
            },
        }
    }

    /// Plans and, unless it is a dry run, commits. Returns the plan that was shown or took effect.
    ///
    /// # Errors
    /// The plan's; `NotFound`; `Conflict` if others were faster each time; `Unknown` if nobody can tell.
    pub fn change<P>(
        &self,
        source: &Source,
        plan: impl Fn(&SourceTable) -> Result<P>,
        edit: impl Fn(&P) -> &Edit,
    ) -> Result<P> {
        change(source, &ident_of(&self.table)?, self.dry_run, plan, edit)
    }
}

/// [`Target::change`] of any table.
///
/// # Errors
/// The same.
pub fn change<P>(
    source: &Source,
    ident: &TableIdent,
    dry_run: bool,
    plan: impl Fn(&SourceTable) -> Result<P>,
    edit: impl Fn(&P) -> &Edit,
) -> Result<P> {
    let planned = plan(&source.table(ident)?)?;
    if dry_run || edit(&planned).is_empty() {
        return Ok(planned);
    }
    let place = Place::open(source)?;
    let clock = System::real().clock;
    let mut planned = match &place {
        Place::Daemon(_) => planned,
        // The daemon may have gone between the two.
        Place::Lake { .. } => plan(&source.table(ident)?)?,
    };
    for tried in 0..TRIES {
        match place.commit(ident, edit(&planned)) {
            Err(error) if error.kind() == Kind::Conflict && tried + 1 < TRIES => clock.pause(WAIT * (1 << tried)),
            done => return done.map(|()| planned),
        }
        planned = plan(&source.table(ident)?)?;
        if edit(&planned).is_empty() {
            return Ok(planned);
        }
    }
    Err(Error::new(Kind::Internal, "a change without an end"))
}

/// Where a change is committed.
pub enum Place<'a> {
    /// Through its catalog.
    Daemon(&'a Source),
    /// In a lake that no daemon has.
    Lake {
        /// Its catalog.
        catalog: Catalog,
        /// Its storage.
        store: Store,
        /// What commits files to it.
        committer: Committer,
        /// Held so long.
        _lock: Box<dyn DiskLock>,
    },
}

impl Place<'_> {
    /// Opens it; a lake is locked, and what its last daemon left open is settled.
    ///
    /// # Errors
    /// `Conflict` if a daemon has the lake; those of recovery.
    pub fn open(source: &Source) -> Result<Place<'_>> {
        match source {
            Source::Daemon(_) => Ok(Place::Daemon(source)),
            Source::Lake(folder) => open_lake(folder),
        }
    }

    /// Commits a change.
    ///
    /// # Errors
    /// `Conflict` if somebody was faster; `Unknown` if nobody can tell; the catalog's.
    pub fn commit(&self, ident: &TableIdent, edit: &Edit) -> Result<()> {
        let Edit { requirements, updates } = edit.clone();
        match self {
            Place::Daemon(source) => source.commit(ident, &requirements, &updates),
            Place::Lake { catalog, .. } => {
                let change = laked_catalog::Change { ident: ident.clone(), requirements, updates };
                match catalog.commit(vec![change], Origin::Rest) {
                    Outcome::Committed(_) => Ok(()),
                    Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
                }
            }
        }
    }
}

fn open_lake<'a>(folder: &Path) -> Result<Place<'a>> {
    let folder = std::path::absolute(folder)?;
    let system = System::real();
    let lock = system.disk.lock(&folder.join("lock")).map_err(|error| {
        Error::new(Kind::Conflict, "a running laked has this lake: leave --lake out and give its --url")
            .with("lake", folder.display())
            .because(error)
    })?;
    let store = Store::local(system, folder.join("staging"))?;
    let database = Database::File(folder.join("catalog.db"));
    let settings = Settings { database, warehouse: location_of(&folder.join("warehouse"))? };
    let catalog = Catalog::open(settings, store.clone())?;
    let committer = Committer::new(catalog.clone(), store.clone(), folder.join("intents"))?;
    committer.recover()?;
    Ok(Place::Lake { catalog, store, committer, _lock: lock })
}
