//! A turn at a table: who lost a commit to somebody faster gets to make the next.
//!
//! Ingestion prepares a commit (manifests, files made durable) while a client elsewhere may commit to the same table in a
//! loop, each time in a fraction of that time: each attempt of ours would lose. So an attempt after the first is made in a
//! turn. While somebody has one, commits by REST to its tables wait at the door, at most [`MOST`], before they take any
//! lock. A turn follows a lost commit, so a client's commit came between any two: both go on.
//!
//! Only for this process's own commits. A client that lost need not come back, cannot be told from another when it does,
//! and could make everybody wait by losing on purpose; clients wait a random while before they try again, which is theirs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use iceberg::TableIdent;

use super::Catalog;

/// How long a turn keeps others waiting, at most: on a disk that syncs in 8 ms a commit takes some 20 ms.
const MOST: Duration = Duration::from_millis(500);

/// The turns under way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashMap<TableIdent, Taken>>,
}

#[derive(Debug)]
struct Taken {
    /// Time of the monotonic clock.
    until: Duration,
    waiting: Vec<Thread>,
}

impl Turns {
    fn taken(&self) -> MutexGuard<'_, HashMap<TableIdent, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn at some tables; dropping it ends it.
#[derive(Debug)]
pub struct Turn {
    catalog: Catalog,
    tables: Vec<TableIdent>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.catalog.inner.turns.taken();
        for table in &self.tables {
            taken.remove(table).into_iter().flat_map(|turn| turn.waiting).for_each(|thread| thread.unpark());
        }
    }
}

impl Catalog {
    /// Takes a turn at tables, for another attempt at a commit that was lost. One caller at a time for each table. A
    /// commit by REST that is under way ends first, so that what is loaded in the turn stays as it is.
    pub fn take_turn(&self, tables: Vec<TableIdent>) -> Turn {
        let until = self.inner.store.system().clock.monotonic() + MOST;
        let mut taken = self.inner.turns.taken();
        taken.extend(tables.iter().map(|table| (table.clone(), Taken { until, waiting: Vec::new() })));
        drop(taken);
        for table in &tables {
            drop(self.lock_of(table).lock().unwrap_or_else(PoisonError::into_inner));
        }
        Turn { catalog: self.clone(), tables }
    }

    /// Whether somebody has a turn at the table, and has not had it for too long.
    pub(super) fn is_in_turn(&self, table: &TableIdent) -> bool {
        let now = self.inner.store.system().clock.monotonic();
        self.inner.turns.taken().get(table).is_some_and(|turn| now < turn.until)
    }

    /// Waits while somebody has a turn at the table, or until that has lasted for long enough.
    pub(super) fn give_way(&self, table: &TableIdent) {
        let clock = &self.inner.store.system().clock;
        loop {
            let now = clock.monotonic();
            let mut taken = self.inner.turns.taken();
            let Some(turn) = taken.get_mut(table).filter(|turn| now < turn.until) else { return };
            let (left, own) = (turn.until - now, std::thread::current());
            if turn.waiting.iter().all(|thread| thread.id() != own.id()) {
                turn.waiting.push(own);
            }
            drop(taken);
            clock.pause(left);
        }
    }
}

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;

    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
    use iceberg::{NamespaceIdent, TableUpdate};

    use super::*;
    use crate::state::{Database, State};
    use crate::store::{SimulatedDisk, Store};
    use crate::system::{SimulatedClock, System};
    use crate::table::{Change, CreateTable, Origin, Outcome};

    fn ident(name: &str) -> TableIdent {
        TableIdent::from_strs(["n", name]).expect("valid")
    }

    fn catalog() -> (Arc<SimulatedClock>, Catalog) {
        let clock = Arc::new(SimulatedClock::at(1_000_000_000_000));
        let system = System { disk: Arc::new(SimulatedDisk::new()), clock: clock.clone(), ..System::real() };
        let store = Store::local(system, "/staging".into()).expect("opens");
        let catalog = Catalog::over(State::open(&Database::Memory).expect("opens"), "file:///warehouse".into(), store);
        catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("is made");
        for name in ["a", "b"] {
            let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into();
            let schema = Schema::builder().with_fields(vec![field]).build().expect("valid");
            let properties = HashMap::new();
            let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties };
            catalog.create_table(&ident(name), create, Origin::Daemon).expect("is made");
        }
        (clock, catalog)
    }

    /// Commits, and gives how long that waited by the clock, which moves only when somebody waits.
    fn waited(clock: &SimulatedClock, catalog: &Catalog, name: &str, origin: Origin) -> Duration {
        let before = crate::system::Clock::monotonic(clock);
        let updates = vec![TableUpdate::SetProperties { updates: [("v".to_string(), "1".to_string())].into() }];
        let outcome = catalog.commit(vec![Change { ident: ident(name), requirements: Vec::new(), updates }], origin);
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
        crate::system::Clock::monotonic(clock) - before
    }

    #[test]
    fn a_turn_keeps_clients_from_its_tables_and_no_longer_than_it_may() {
        let (clock, catalog) = catalog();
        assert_eq!(waited(&clock, &catalog, "a", Origin::Rest), Duration::ZERO);
        let turn = catalog.take_turn(vec![ident("a")]);
        assert_eq!(waited(&clock, &catalog, "b", Origin::Rest), Duration::ZERO, "another table's");
        assert_eq!(waited(&clock, &catalog, "a", Origin::Daemon), Duration::ZERO, "whose turn it is");
        clock.advance(MOST / 2);
        assert_eq!(waited(&clock, &catalog, "a", Origin::Rest), MOST / 2, "the rest of the turn's time");
        assert_eq!(waited(&clock, &catalog, "a", Origin::Rest), Duration::ZERO, "it has lasted long enough");
        drop(turn);
        drop(catalog.take_turn(vec![ident("a")]));
        assert_eq!(waited(&clock, &catalog, "a", Origin::Rest), Duration::ZERO, "it is over");
    }
}
