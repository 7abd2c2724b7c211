//! What wakes the worker: commits. Bounded: of too many tables it only notes that it missed some.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use iceberg::TableIdent;
use laked_catalog::{Origin, Table, Watch};

use crate::daemon::lane::Stop;

/// Tables that are noted at a time.
const MOST: usize = 10_000;

/// The tables that changed.
#[derive(Debug, Default)]
pub struct Wake {
    noted: Mutex<Noted>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Noted {
    changed: HashSet<TableIdent>,
    missed: bool,
    awake: bool,
}

impl Wake {
    fn change(&self, change: impl FnOnce(&mut Noted)) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut noted);
        noted.awake = true;
        self.told.notify_all();
    }

    /// Wakes it for nothing that changed.
    pub fn wake(&self) {
        self.change(|_| {});
    }

    /// What changed since this was asked last, and whether there was more.
    pub fn take(&self) -> (HashSet<TableIdent>, bool) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.awake = false;
        (std::mem::take(&mut noted.changed), std::mem::take(&mut noted.missed))
    }

    /// Sleeps until it is woken, at most `most`, at least `least` unless the daemon stops.
    pub fn sleep(&self, most: Duration, least: Duration, stop: &Stop) {
        stop.pause(least);
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |noted: &mut Noted| !noted.awake && !stop.is_stopping();
        drop(self.told.wait_timeout_while(noted, most.saturating_sub(least), asleep));
    }
}

impl Watch for Wake {
    fn committed(&self, table: &Arc<Table>, _: Origin) {
        self.change(|noted| match noted.changed.len() < MOST {
            true => drop(noted.changed.insert(table.ident.clone())),
            false => noted.missed = true,
        });
    }
}
