//! What one table's contract makes of it: pure.

use std::collections::HashMap;

use iceberg::spec::{Schema, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use serde::Serialize;

use crate::contract::{self, Contract, Lock, Rule, Stamp};
use crate::error::Result;
use crate::maintain::Edit;
use crate::maintain::schema::{Change, Line, NewColumn, Nulls, Place, evolve_schema};

/// How a table stands to its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does not exist yet.
    Missing,
    /// It is as the contract says, but for what is kept.
    Same,
    /// It is to be changed, or was.
    Changes,
    /// The contract cannot be its.
    Refused,
}

/// A version of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// Its hash.
    pub hash: String,
}

/// A property that the contract says otherwise than its version before did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Property {
    /// Its name.
    pub key: String,
    /// As it is.
    pub before: Option<String>,
    /// As it will be.
    pub after: String,
}

/// The plan of one table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Planned {
    /// `namespace.table`.
    pub table: String,
    /// How it stands.
    pub state: State,
    /// The contract it has.
    pub before: Option<Version>,
    /// The contract it is held against.
    pub after: Version,
    /// Columns that differ.
    pub fields: Vec<Line>,
    /// Rules that differ; none if the table does not carry its contract's text.
    pub rules: Vec<Rule>,
    /// Properties that differ.
    pub properties: Vec<Property>,
    /// Differences that stay as they are, and why.
    pub kept: Vec<String>,
    /// Differences of layout, which are never applied.
    pub layout: Vec<String>,
    /// Why it is refused.
    pub refused: Vec<String>,
    /// The commit.
    #[serde(skip)]
    pub edit: Edit,
}

impl Planned {
    /// Of a table that does not exist yet.
    pub fn missing(contract: &Contract, lock: &Lock) -> Planned {
        let refused: Vec<String> = lock.check(contract).err().iter().map(ToString::to_string).collect();
        let state = if refused.is_empty() { State::Missing } else { State::Refused };
        Planned { state, refused, ..Planned::of(contract) }
    }

    fn of(contract: &Contract) -> Planned {
        Planned {
            table: contract.id(),
            state: State::Same,
            before: None,
            after: Version { version: contract.version, hash: contract.hash().to_owned() },
            fields: Vec::new(),
            rules: Vec::new(),
            properties: Vec::new(),
            kept: Vec::new(),
            layout: Vec::new(),
            refused: Vec::new(),
            edit: Edit::default(),
        }
    }

    /// Whether it cannot be applied.
    pub fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Whether there is something to apply.
    pub fn is_change(&self) -> bool {
        self.state == State::Changes
    }

    /// Why it is refused, a line each.
    pub fn reasons(&self) -> Vec<String> {
        self.refused.iter().map(|reason| format!("{}: {reason}", self.table)).collect()
    }
}

/// Plans a table: its columns, its properties and its contract in one edit, which holds for the schema it was made from.
///
/// # Errors
/// None but for a table that cannot be read; what the contract cannot have is in the plan.
pub fn planned(contract: &Contract, metadata: &TableMetadata, lock: &Lock) -> Result<Planned> {
    let mut plan = Planned::of(contract);
    let stamp = Stamp::of(&plan.table, metadata.properties());
    let old = stamp.as_ref().and_then(|stamp| stamp.contract(contract.ident()).ok().flatten());
    plan.before = stamp.as_ref().map(|stamp| Version { version: stamp.version, hash: stamp.hash.clone() });
    plan.refused.extend(lock.check(contract).err().iter().map(ToString::to_string));
    if let Some(stamp) = &stamp {
        plan.refused.extend(contract::succeeds(stamp, old.as_ref(), contract));
    }
    plan.rules = old.as_ref().map(|old| contract::rules(old, contract)).unwrap_or_default();
    plan.layout = contract::unlike(contract, metadata);
    plan.columns(contract, old.as_ref(), metadata);
    plan.set_properties(contract, old.as_ref(), metadata);
    let carries = stamp.is_some_and(|stamp| stamp.text.is_some() && stamp.hash == contract.hash());
    let mut set: HashMap<String, String> =
        plan.properties.iter().map(|property| (property.key.clone(), property.after.clone())).collect();
    if !carries || old.is_none() {
        set.extend(contract.stamp());
    }
    if !set.is_empty() {
        let current_schema_id = metadata.current_schema_id();
        let on_schema = TableRequirement::CurrentSchemaIdMatch { current_schema_id };
        if !plan.edit.requirements.contains(&on_schema) {
            plan.edit.requirements.push(on_schema);
        }
        plan.edit.updates.push(TableUpdate::SetProperties { updates: set });
    }
    plan.state = match (plan.refused.is_empty(), plan.edit.is_empty()) {
        (false, _) => State::Refused,
        (true, false) => State::Changes,
        (true, true) => State::Same,
    };
    if plan.is_refused() {
        plan.edit = Edit::default();
    }
    Ok(plan)
}

impl Planned {
    fn columns(&mut self, contract: &Contract, old: Option<&Contract>, metadata: &TableMetadata) {
        let found = contract::changes(contract, old, metadata.current_schema());
        self.kept.extend(found.kept);
        self.refused.extend(found.refused);
        let changes: Vec<(String, Change)> = found.changes.into_iter().map(change).collect();
        let planned = match evolve_schema(metadata, &changes, Nulls::Unknown) {
            Ok(planned) => planned,
            Err(error) => return self.refused.push(error.to_string()),
        };
        let current = metadata.current_schema().as_ref();
        let after: &Schema = match planned.edit.updates.first() {
            Some(TableUpdate::AddSchema { schema }) => schema,
            _ => current,
        };
        if self.refused.is_empty() {
            self.refused.extend(contract::takes(contract, current, after));
        }
        self.fields = planned.lines;
        self.edit = planned.edit;
    }

    /// Properties that this version says otherwise than the one before are set, unless somebody has changed them since.
    fn set_properties(&mut self, contract: &Contract, old: Option<&Contract>, metadata: &TableMetadata) {
        let had = old.map(Contract::own_properties).unwrap_or_default();
        let own = contract.own_properties();
        for key in had.keys().filter(|key| !own.iter().any(|(own, _)| own == *key)) {
            // Somebody may rely on it, and nobody can tell.
            if let Some(is) = metadata.properties().get(key) {
                self.kept.push(format!("the property `{key}` is `{is}`, no longer in the contract: the table's holds"));
            }
        }
        for (key, after) in own {
            let is = metadata.properties().get(&key);
            if is == Some(&after) {
                continue;
            }
            match (old, had.get(&key)) {
                (Some(_), before) if before != Some(&after) && is == before => {
                    self.properties.push(Property { key, before: is.cloned(), after });
                }
                _ => {
                    let is = is.map_or_else(|| "not set".to_owned(), |is| format!("`{is}`"));
                    self.kept
                        .push(format!("the property `{key}` is {is}, `{after}` in the contract: the table's holds"));
                }
            }
        }
    }
}

fn change(change: contract::Change) -> (String, Change) {
    match change {
        contract::Change::Add { name, to, doc, after } => {
            let place = Some(after.map_or(Place::First, Place::After));
            let column = NewColumn { field_type: to, required: false, doc, default: None, place };
            (name, Change::Add(Box::new(column)))
        }
        contract::Change::Rename { from, to } => (from, Change::Rename(to)),
        contract::Change::Widen { name, to } => (name, Change::Widen(to)),
        contract::Change::Optional { name } => (name, Change::Optional),
        contract::Change::Describe { name, doc } => (name, Change::Doc(doc)),
    }
}
