//! Carrying an expiry out.

use std::collections::BTreeMap;
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::{Catalog, Change, Origin, Outcome};
use serde::{Deserialize, Serialize};

use super::{Figures, plan};
use crate::error::{Error, Kind, Result};
use crate::maintain::ledger::{self, Unlinked};
use crate::maintain::reach::{Reach, What};
use crate::maintain::retention::Asked;

/// How often a commit is tried while others are faster, and how long it waits before the second try; doubled each time.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(20);
/// An hour: readers that have begun end well.
const GRACE_MS: i64 = 3_600_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// What is to go.
    pub asked: Asked,
    /// How long files stay after their snapshots are gone.
    pub grace_ms: i64,
    /// Plan only.
    pub dry_run: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request { asked: Asked::default(), grace_ms: GRACE_MS, dry_run: false }
    }
}

/// What an expiry did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Snapshots that went, oldest first.
    pub snapshots: Vec<i64>,
    /// Snapshots that are left.
    pub kept: usize,
    /// Branches and tags that went.
    pub refs: Vec<String>,
    /// Files that nothing reaches any more, by what they are.
    pub files: BTreeMap<What, Figures>,
    /// Of them, those outside of the table's folders, which stay.
    pub outside: usize,
    /// When they are unlinked, in ms since 1970.
    pub due_ms: i64,
    /// What was due, of this expiry or an earlier one, and is unlinked now.
    pub unlinked: Unlinked,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// Plans, and unless it is a dry run carries the plan out and unlinks what is due.
///
/// # Errors
/// As [`plan`]; `NotFound`; `Conflict` if others were faster each time; `Unknown` if nobody can tell.
pub fn expire(catalog: &Catalog, ident: &TableIdent, request: &Request) -> Result<Report> {
    expire_with(catalog, ident, request, &mut Reach::default())
}

/// The same from what the table's last expiry has read, for one that comes every minute: lists and manifests never change,
/// so only new ones are read. Afterwards `reach` holds what the table reaches then.
///
/// # Errors
/// As [`expire`].
pub fn expire_with(catalog: &Catalog, ident: &TableIdent, request: &Request, reach: &mut Reach) -> Result<Report> {
    if request.grace_ms < 0 {
        return Err(Error::new(Kind::Invalid, "--grace is a length of time, from 0 on, as 1h"));
    }
    let (store, clock) = (catalog.store(), &catalog.store().system().clock);
    let now_ms = clock.now_ms();
    let due_ms = now_ms.saturating_add(request.grace_ms);
    let run = store.system().ids.uuid();
    for tried in 0..TRIES {
        let table = catalog.load(ident)?;
        let made = plan(store, &table.metadata, &table.refs, &request.asked, now_ms, reach)?;
        let figures = made.figures();
        let super::ExpirePlan { snapshots, kept, refs, files, outside, edit } = made;
        let (unlinked, dry_run) = (Unlinked::default(), request.dry_run);
        let mut report = Report { snapshots, kept, refs, files: figures, outside, due_ms, unlinked, dry_run };
        if dry_run {
            return Ok(report);
        }
        if !edit.is_empty() {
            ledger::owe(catalog, &table, run, due_ms, files.into_iter().map(|file| file.location).collect())?;
            let change = Change { ident: ident.clone(), requirements: edit.requirements, updates: edit.updates };
            match catalog.commit(vec![change], Origin::Rest) {
                Outcome::Committed(_) => {}
                Outcome::Conflict(_) if tried + 1 < TRIES => {
                    clock.pause(WAIT * (1 << tried));
                    continue;
                }
                Outcome::Conflict(error) | Outcome::Refused(error) => {
                    // Nothing took effect: the files are needed, and there is nothing to look at again.
                    let _ = catalog.owe(&run.to_string(), &[]);
                    return Err(error);
                }
                Outcome::Unknown(error) => return Err(error),
            }
        }
        // What fails of other tables is tried again, and no business of who expired this one.
        report.unlinked = ledger::unlink_due_with(catalog, clock.now_ms(), reach)?.of(table.metadata.uuid())?;
        match catalog.load(ident) {
            Ok(table) => reach.forget_all_but([table.metadata.as_ref()]),
            Err(_) => *reach = Reach::default(),
        }
        return Ok(report);
    }
    Err(Error::new(Kind::Internal, "an expiry without an end"))
}
