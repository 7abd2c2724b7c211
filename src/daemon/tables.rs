//! The lake's tables: made from contracts where they are missing, each with its quarantine table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::{NamespaceIdent, TableIdent};
use laked_catalog::{Catalog, CreateTable, Origin, Table};

use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::ingest::quarantine;
use crate::maintain::policy;
use crate::maintain::retention::LADDER;

/// The table of a contract, made if it is missing.
pub fn ensure(catalog: &Catalog, contract: &Contract) -> Result<Arc<Table>> {
    let create = || CreateTable {
        schema: contract.iceberg_schema().clone(),
        spec: Some(contract.partition_spec().clone()),
        sort_order: Some(contract.sort_order().clone()),
        location: None,
        properties: contract.properties(),
    };
    ensure_table(catalog, contract.ident(), create)
}

/// The quarantine table beside it, made if it is missing.
pub fn ensure_quarantine(catalog: &Catalog, contract: &Contract) -> Result<Arc<Table>> {
    let (schema, spec) = (quarantine::schema()?, quarantine::partition_spec()?);
    let properties = HashMap::from([
        ("format-version".to_owned(), "2".to_owned()),
        ("write.metadata.delete-after-commit.enabled".to_owned(), "true".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), "100".to_owned()),
        // As its table: a producer that is refused commits to it each time.
        (LADDER.to_owned(), contract.properties().remove(LADDER).unwrap_or_default()),
        (policy::PROPERTY.to_owned(), "on".to_owned()),
        ("comment".to_owned(), format!("Records that the contract of {} refused", contract.id())),
    ]);
    let create = || CreateTable { schema, spec: Some(spec), sort_order: None, location: None, properties };
    ensure_table(catalog, &quarantine::ident(contract.ident()), create)
}

fn ensure_table(catalog: &Catalog, ident: &TableIdent, create: impl FnOnce() -> CreateTable) -> Result<Arc<Table>> {
    match catalog.load(ident) {
        Err(e) if e.kind() == Kind::NotFound => {}
        loaded => return loaded,
    }
    let levels = ident.namespace().as_ref();
    for depth in 1..=levels.len() {
        let namespace = NamespaceIdent::from_strs(&levels[..depth])
            .map_err(|e| Error::new(Kind::Invalid, "a namespace's name").because(e))?;
        match catalog.create_namespace(&namespace, BTreeMap::new()) {
            Err(e) if e.kind() != Kind::Exists => return Err(e),
            _ => {}
        }
    }
    match catalog.create_table(ident, create(), Origin::Daemon) {
        Err(e) if e.kind() == Kind::Exists => catalog.load(ident),
        made => made,
    }
}
