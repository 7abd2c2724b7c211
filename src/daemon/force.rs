//! The contract in force of each table: what doors hold records to, lanes hold files to, and foreign commits are held to.
//!
//! It is the one that the table carries (`laked.contract.text`); a table that carries none is held to the one of the
//! schemas folder. It changes with the commit that puts another into the table, while the table is still locked: who
//! has the commit's answer has the new contract in force. A request under way ends by the one it began with, and a commit
//! is of one contract, so that no record is lost or judged twice; what waits in the spool was judged when it came.
//!
//! A version that a table carries only rises here: a look at a table may be older than the commit that was heard of
//! meanwhile. The folder's gives way to the first that the table carries, whatever its number.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use laked_catalog::{Origin, Table, Watch};
use serde::Serialize;

use crate::contract::{self, Contract, Stamp};
use crate::telemetry;

/// A contract of the schemas folder that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its version.
    pub version: u32,
    /// Its hash.
    pub hash: String,
    /// What for, or why it cannot be.
    pub reason: String,
}

/// What is told of a table's contract.
#[derive(Clone, Debug, Serialize)]
pub struct ContractStatus {
    /// The version in force.
    pub version: u32,
    /// Its hash.
    pub hash: String,
    /// The folder's, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

#[derive(Debug)]
struct State {
    contract: Arc<Contract>,
    /// Whether the table carries it.
    carried: bool,
    waiting: Option<Waiting>,
    /// The hash of a text that could not be used, so that it is told once.
    unfit: Option<String>,
}

impl State {
    /// Whether what the table carries is to be in force instead.
    fn gives_way_to(&self, stamp: &Stamp) -> bool {
        let is_read = stamp.text.is_some() && self.unfit.as_ref() != Some(&stamp.hash);
        is_read && (!self.carried || stamp.version > self.contract.version)
    }

    /// The folder has this contract; `stamp` is what the table says of its own.
    fn given(&mut self, stamp: Option<&Stamp>, given: &Contract) {
        let waiting = (given.hash() != self.contract.hash()).then(|| {
            let refused = stamp.map(|stamp| contract::succeeds(stamp, Some(&self.contract), given));
            let refused = refused.unwrap_or_default().join(". ");
            let plain = || format!("`lakectl apply {}` puts it in force", given.id());
            let reason = Some(refused).filter(|reason| !reason.is_empty()).unwrap_or_else(plain);
            Waiting { version: given.version, hash: given.hash().to_owned(), reason }
        });
        if waiting != self.waiting {
            telemetry::contract_waits(&given.id(), waiting.as_ref().map(|of| (of.version, of.reason.as_str())));
        }
        self.waiting = waiting;
    }
}

/// One table's contract in force.
#[derive(Debug)]
pub struct InForce(RwLock<State>);

impl InForce {
    /// Of a table as it is now; `given` is the folder's contract.
    pub fn of(table: &Table, given: Arc<Contract>) -> InForce {
        let carried = contract::carried(&table.ident, &table.metadata).unwrap_or_else(|error| {
            tracing::error!(table = %table.ident, %error, "the folder's contract is in force instead");
            None
        });
        let is_carried = carried.is_some();
        let contract = carried.map_or_else(|| given.clone(), Arc::new);
        telemetry::contract_in_force(&contract.id(), contract.version);
        let state = State { contract, carried: is_carried, waiting: None, unfit: None };
        let in_force = InForce(RwLock::new(state));
        in_force.given(table, &given);
        in_force
    }

    /// The contract.
    pub fn contract(&self) -> Arc<Contract> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contract.clone()
    }

    /// What is told of it.
    pub fn status(&self) -> ContractStatus {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (version, hash) = (state.contract.version, state.contract.hash().to_owned());
        ContractStatus { version, hash, waiting: state.waiting.clone() }
    }

    /// The schemas folder has this contract for the table now.
    pub fn given(&self, table: &Table, given: &Contract) {
        let stamp = Stamp::of(&given.id(), table.metadata.properties());
        self.0.write().unwrap_or_else(PoisonError::into_inner).given(stamp.as_ref(), given);
    }

    /// The table is this now: puts the contract in force that it carries, if that is a later one.
    fn follow(&self, table: &Table) {
        let Some(stamp) = Stamp::of(&table.ident.to_string(), table.metadata.properties()) else { return };
        if !self.0.read().unwrap_or_else(PoisonError::into_inner).gives_way_to(&stamp) {
            return;
        }
        let read = stamp.contract(&table.ident);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(Some(contract)) if state.gives_way_to(&stamp) => {
                telemetry::contract_in_force(&contract.id(), contract.version);
                if state.waiting.as_ref().is_some_and(|waiting| waiting.hash == contract.hash()) {
                    state.waiting = None;
                    telemetry::contract_waits(&contract.id(), None);
                }
                let before = std::mem::replace(&mut state.contract, Arc::new(contract));
                if !std::mem::replace(&mut state.carried, true) {
                    state.given(Some(&stamp), &before);
                }
            }
            Err(error) => {
                tracing::error!(table = %table.ident, %error, "the contract in force stays");
                state.unfit = Some(stamp.hash);
            }
            _ => {}
        }
    }
}

/// The contracts in force of all tables that have doors.
#[derive(Debug, Default)]
pub struct Force(RwLock<BTreeMap<String, Arc<InForce>>>);

impl Force {
    /// Takes up a table.
    pub fn add(&self, name: String, in_force: Arc<InForce>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, in_force);
    }

    /// One table's.
    pub fn of(&self, name: &str) -> Option<Arc<InForce>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A table is this now, whoever changed it.
    pub fn follow(&self, table: &Table) {
        if let Some(in_force) = self.of(&table.ident.to_string()) {
            in_force.follow(table);
        }
    }
}

impl Watch for Force {
    fn committed(&self, table: &Arc<Table>, _: Origin) {
        self.follow(table);
    }
}
