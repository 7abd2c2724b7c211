//! Commits: requirements, updates, the guard, the metadata file, the pointers' move, and what follows.
//!
//! The metadata files are durable before the move, or their bodies go with it and they follow ([`settling`](super::settling)).

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableRequirement, TableUpdate};

use super::evolve::{Built, Moment, apply, check, refused};
use super::names::folder_of;
use super::settling::BODY;
use super::{Catalog, Reply, gzip, key, plausible};
use crate::document::{Document, Previous, Refs, Said};
use crate::error::{Error, Kind, Result};
use crate::hint;
use crate::state::{Sort, Swap};
use crate::store::Placed;
use crate::table::{Change, Companions, Origin, Outcome, Proposal, Table};

/// A new table's or a change's next metadata, not yet written.
pub(super) struct Next {
    ident: TableIdent,
    before: Option<Arc<Table>>,
    after: TableMetadata,
    refs: Refs,
    location: String,
    document: Document,
}

/// A metadata file on disk.
enum Written {
    Durable,
    /// Not yet; what it holds goes with the pointer.
    Kept(Placed, Bytes),
}

impl Next {
    fn swap(&self, written: &Written) -> Swap {
        Swap {
            sort: Sort::Table,
            namespace: key(self.ident.namespace()),
            name: self.ident.name().to_string(),
            from: self.before.as_ref().map(|table| table.metadata_location.clone()),
            to: self.location.clone(),
            body: match written {
                Written::Durable => None,
                Written::Kept(_, body) => Some(body.clone()),
            },
        }
    }
}

impl Catalog {
    /// Commits changes of one or several tables, all or none.
    pub fn commit(&self, changes: Vec<Change>, origin: Origin) -> Outcome {
        self.commit_with(changes, origin, &mut Companions::none())
    }

    /// Commits changes together with files that they make reachable.
    pub fn commit_with(&self, changes: Vec<Change>, origin: Origin, companions: &mut Companions<'_>) -> Outcome {
        self.commit_said(changes, &[], origin, companions)
    }

    /// Commits changes of which `said`, in the same order, holds what their types have no place for.
    pub(crate) fn commit_said(
        &self,
        changes: Vec<Change>,
        said: &[Said],
        origin: Origin,
        companions: &mut Companions<'_>,
    ) -> Outcome {
        let nothing = Said::default();
        let idents: BTreeSet<&TableIdent> = changes.iter().map(|change| &change.ident).collect();
        if idents.len() < changes.len() {
            return Outcome::Refused(Error::new(Kind::Invalid, "a commit names a table twice: join its changes"));
        }
        let locks: Vec<_> = idents.iter().map(|ident| self.lock_of(ident)).collect();
        let _held = loop {
            if origin == Origin::Rest {
                idents.iter().for_each(|ident| self.give_way(ident));
            }
            let held: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner)).collect();
            // A turn may have begun between the door and the locks.
            if origin != Origin::Rest || !idents.iter().any(|ident| self.is_in_turn(ident)) {
                break held;
            }
        };
        let prepared: Result<Vec<Next>> = changes
            .into_iter()
            .zip(said.iter().chain(std::iter::repeat(&nothing)))
            .map(|(change, said)| self.prepare(change, said, origin))
            .collect();
        match prepared {
            Ok(next) => self.publish(next, origin, companions),
            Err(error) if error.kind() == Kind::Conflict => Outcome::Conflict(error),
            Err(error) => Outcome::Refused(error),
        }
    }

    fn prepare(&self, change: Change, said: &Said, origin: Origin) -> Result<Next> {
        let Change { ident, requirements, updates } = change;
        let creates = requirements.iter().any(|requirement| matches!(requirement, TableRequirement::NotExist));
        let before = match self.load(&ident) {
            Ok(table) => Some(table),
            Err(error) if error.kind() == Kind::NotFound && creates => {
                self.refuse_taken(Sort::Table, &ident)?;
                None
            }
            Err(error) => return Err(error),
        };
        if origin == Origin::Rest {
            let lies = before.as_ref().map(|table| table.metadata.location());
            self.admit_updates(&updates, &self.own_folders(&ident, lies))?;
        }
        requirements.iter().try_for_each(|requirement| check(requirement, &ident, before.as_deref()))?;
        plausible::updates(&updates)?;
        let after = match &before {
            Some(table) => {
                let metadata = TableMetadata::clone(&table.metadata);
                let moment = Moment::after(&metadata, &updates, self.now_ms());
                let builder = metadata.into_builder(Some(table.metadata_location.clone()));
                apply(builder, &updates, table.refs.clone(), &moment)
            }
            None => self.build_new(&ident, updates.clone()),
        };
        let built = after.map_err(|error| refused(error, &ident))?;
        self.next(ident, before, built, &updates, said, origin)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.inner.store.system().clock.now_ms()
    }

    pub(super) fn next(
        &self,
        ident: TableIdent,
        before: Option<Arc<Table>>,
        built: Built,
        updates: &[TableUpdate],
        said: &Said,
        origin: Origin,
    ) -> Result<Next> {
        let Built { metadata: after, refs } = built;
        if let Some(guard) = self.inner.guard.get() {
            let before = before.as_ref().map(|table| table.metadata.as_ref());
            guard.check(&Proposal { ident: &ident, before, after: &after, origin })?;
        }
        let number = before.as_ref().map_or(0, |table| hint::version(&table.metadata_location).map_or(0, |n| n + 1));
        let location = self.metadata_location(&after, number)?;
        let previous =
            before.as_ref().map(|table| Previous { document: &table.document, metadata: &table.metadata, updates });
        let document = Document::write(&after, &refs, said, previous)?;
        Ok(Next { ident, before, after, refs, location, document })
    }

    /// Where the metadata's next file goes: `write.metadata.path`, or the table's folder.
    fn metadata_location(&self, metadata: &TableMetadata, number: u64) -> Result<String> {
        let folder = match metadata.properties().get("write.metadata.path") {
            Some(folder) => folder.trim_end_matches('/').to_string(),
            None => format!("{}/metadata", metadata.location().trim_end_matches('/')),
        };
        let packed = if gzip::is_asked(metadata)? { gzip::MIDDLE } else { "" };
        Ok(format!("{folder}/{number:05}-{}{packed}.metadata.json", self.inner.store.system().ids.uuid()))
    }

    /// Writes the metadata files, moves the pointers, follows up. The tables' locks are held.
    pub(super) fn publish(&self, next: Vec<Next>, origin: Origin, companions: &mut Companions<'_>) -> Outcome {
        let written = if self.may_follow(&next, origin, companions) {
            self.place_metadata(&next)
        } else {
            let durable = || next.iter().map(|_| Written::Durable).collect();
            self.write_metadata(&next, companions).map(|()| durable())
        };
        let written = match written {
            Ok(written) => written,
            Err(error) => return Outcome::Refused(error),
        };
        let swaps: Vec<Swap> = next.iter().zip(&written).map(|(next, written)| next.swap(written)).collect();
        // A commit of one table answers with it, one of several with nothing.
        let reply = || match next.as_slice() {
            [one] if !self.is_transaction() => Reply::Table(one.ident.clone(), one.location.clone()),
            _ => Reply::Empty,
        };
        match self.point(&swaps, reply).or_else(|error| self.resolve(&swaps, error)) {
            Ok(true) => {
                let committed = next.into_iter().zip(written);
                Outcome::Committed(committed.map(|(next, written)| self.follow_up(next, written, origin)).collect())
            }
            Ok(false) => {
                self.take_back(&next);
                Outcome::Conflict(Error::new(Kind::Conflict, "somebody else committed first: read the table again"))
            }
            Err(error) if error.kind() == Kind::Unknown => Outcome::Unknown(error),
            Err(error) => {
                self.take_back(&next);
                Outcome::Refused(error)
            }
        }
    }

    /// The files of a change that did not take effect, and never will.
    fn take_back(&self, next: &[Next]) {
        for next in next {
            let _ = self.inner.store.delete(&next.location);
        }
    }

    /// Whether the metadata files may follow the move: [`settling`](super::settling) says when.
    fn may_follow(&self, next: &[Next], origin: Origin, companions: &Companions<'_>) -> bool {
        let is_small = |next: &Next| {
            let stays = |before: &Arc<Table>| folder_of(&before.metadata_location) == folder_of(&next.location);
            next.before.as_ref().is_some_and(stays) && next.document.len() <= BODY
        };
        origin == Origin::Rest
            && self.asked.is_none()
            && companions.files.is_empty()
            && self.inner.state.is_embedded()
            && next.iter().all(is_small)
            && self.inner.settling.has_room(next.len())
    }

    /// Writes the metadata files, not durably.
    fn place_metadata(&self, next: &[Next]) -> Result<Vec<Written>> {
        let mut written = Vec::with_capacity(next.len());
        for one in next {
            let placed = gzip::bytes(&one.document, &one.location)
                .and_then(|body| Ok(Written::Kept(self.inner.store.place(&one.location, &body)?, body)));
            match placed {
                Ok(placed) => written.push(placed),
                Err(error) => {
                    self.take_back(&next[..written.len()]);
                    return Err(error);
                }
            }
        }
        Ok(written)
    }

    fn write_metadata(&self, next: &[Next], companions: &mut Companions<'_>) -> Result<()> {
        let mut files = Vec::with_capacity(next.len() + companions.files.len());
        for next in next {
            let mut file = self.inner.store.stage(&next.location)?;
            gzip::write(&mut file, &next.document, &next.location)?;
            files.push(file);
        }
        let announces = !companions.files.is_empty();
        files.append(&mut companions.files);
        self.inner.store.publish_after(files, &|| {
            if announces {
                (companions.announce)()?;
            }
            self.inner.settling.sweep();
            Ok(())
        })
    }

    /// The transaction failed, perhaps after it took effect. A failed sync may leave its frames in the log, where they
    /// would take effect at the next start; a write of ours that succeeds after it overwrites them, and then one look
    /// tells the truth.
    fn resolve(&self, swaps: &[Swap], error: Error) -> Result<bool> {
        let Some(first) = swaps.first() else { return Err(error) };
        let looked = self
            .inner
            .state
            .settle()
            .and_then(|()| self.inner.state.pointer(first.sort, &first.namespace, &first.name));
        match looked {
            Ok(pointer) if pointer.as_deref() == Some(first.to.as_str()) => Ok(true),
            Ok(_) => Err(error),
            Err(again) => Err(Error::new(Kind::Unknown, "the commit's outcome cannot be read").because(again)),
        }
    }

    fn follow_up(&self, next: Next, written: Written, origin: Origin) -> Arc<Table> {
        let Next { ident, before, after, refs, location, document } = next;
        let table = Arc::new(Table { ident, metadata: Arc::new(after), metadata_location: location, refs, document });
        self.remember(&table);
        if let Some(before) = before {
            self.let_go(&before, &table);
        }
        match written {
            Written::Durable => self.inner.settling.follow_durable(&table.metadata_location),
            Written::Kept(placed, _) => self.inner.settling.follow(placed),
        }
        for watch in self.inner.watches.read().unwrap_or_else(PoisonError::into_inner).iter() {
            watch.committed(&table, origin);
        }
        table
    }

    /// `write.metadata.delete-after-commit.enabled`, on unless set to false: files that fell out of the metadata log are
    /// to be deleted.
    fn let_go(&self, before: &Table, after: &Table) {
        let properties = after.metadata.properties();
        if properties.get("write.metadata.delete-after-commit.enabled").is_some_and(|value| value == "false") {
            return;
        }
        let kept: BTreeSet<&str> = after.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str()).collect();
        let fallen = before.metadata.metadata_log().iter().map(|log| log.metadata_file.as_str());
        // What a log says may have come from elsewhere: only what lies in the table's folders is its own.
        let own = [after.metadata.location().trim_end_matches('/'), folder_of(&after.metadata_location)];
        let lies_in =
            |file: &str| own.iter().any(|folder| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')));
        let ours = fallen.filter(|file| lies_in(file) && !kept.contains(file));
        self.inner.settling.let_go(ours.map(str::to_string));
    }
}
