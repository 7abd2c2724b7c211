//! Request bodies about tables, each read twice: as the catalog's types, and for what these have no place for.

use std::collections::HashMap;

use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::catalog::nesting;
use crate::document::{Said, foreign};
use crate::error::{Error, Kind, Result};
use crate::table::{Change, CreateTable};

/// Reads a JSON body; the message says what does not fit and where.
///
/// # Errors
/// `Invalid`.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    nesting(body)?;
    serde_json::from_slice(body)
        .map_err(|error| Error::new(Kind::Invalid, "the request body does not fit").because(error))
}

/// Reads a part of a body, column types that the crate does not know included.
///
/// # Errors
/// `Invalid`.
pub fn part<T: serde::de::DeserializeOwned>(raw: &RawValue, what: &str) -> Result<T> {
    foreign::read(raw.get().as_bytes())
        .map_err(|error| Error::new(Kind::Invalid, format!("the request's {what} does not fit")).because(error))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateForm<'a> {
    name: String,
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(default)]
    location: Option<String>,
    #[serde(default, borrow)]
    partition_spec: Option<&'a RawValue>,
    #[serde(default, borrow)]
    write_order: Option<&'a RawValue>,
    #[serde(default)]
    stage_create: Option<bool>,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

/// A request to make a table, or to show what it would be.
pub struct Create {
    pub name: String,
    pub table: CreateTable,
    pub stage: bool,
    pub said: Said,
}

impl Create {
    /// # Errors
    /// `Invalid`.
    pub fn read(body: &[u8]) -> Result<Create> {
        let form: CreateForm<'_> = parse(body)?;
        let mut said = Said::default();
        let value = |raw: Option<&RawValue>| -> Value {
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        said.hear_new(&value(Some(form.schema)), &value(form.partition_spec), &value(form.write_order));
        let table = CreateTable {
            schema: part::<Schema>(form.schema, "schema")?,
            spec: form.partition_spec.map(|raw| part::<UnboundPartitionSpec>(raw, "partition-spec")).transpose()?,
            sort_order: form.write_order.map(|raw| part::<SortOrder>(raw, "write-order")).transpose()?,
            location: form.location,
            properties: form.properties.unwrap_or_default(),
        };
        Ok(Create { name: form.name, table, stage: form.stage_create == Some(true), said })
    }
}

#[derive(Deserialize)]
struct CommitForm<'a> {
    #[serde(default)]
    identifier: Option<TableIdent>,
    #[serde(default)]
    requirements: Option<Vec<TableRequirement>>,
    #[serde(default, borrow)]
    updates: Option<Vec<&'a RawValue>>,
}

impl CommitForm<'_> {
    fn read(self, ident: TableIdent) -> Result<(Change, Said)> {
        let (mut updates, mut said) = (Vec::new(), Said::default());
        for raw in self.updates.unwrap_or_default() {
            let update: TableUpdate = part(raw, "update")?;
            said.hear(&update, raw.get());
            updates.push(update);
        }
        Ok((Change { ident, requirements: self.requirements.unwrap_or_default(), updates }, said))
    }
}

/// A commit of one table.
///
/// # Errors
/// `Invalid`, also if the body names another table.
pub fn commit(body: &[u8], ident: TableIdent) -> Result<(Change, Said)> {
    let form: CommitForm<'_> = parse(body)?;
    if form.identifier.as_ref().is_some_and(|named| *named != ident) {
        return Err(
            Error::new(Kind::Invalid, "the body's 'identifier' is not the table of the path").with("table", ident)
        );
    }
    form.read(ident)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TransactionForm<'a> {
    #[serde(borrow)]
    table_changes: Vec<CommitForm<'a>>,
}

/// A commit of several tables.
///
/// # Errors
/// `Invalid`, also if a change does not name its table.
pub fn transaction(body: &[u8]) -> Result<(Vec<Change>, Vec<Said>)> {
    let form: TransactionForm<'_> = parse(body)?;
    let named = |mut change: CommitForm<'_>| match change.identifier.take() {
        Some(ident) => change.read(ident),
        None => Err(Error::new(Kind::Invalid, "each table change of a transaction names its table: 'identifier'")),
    };
    let changes: Result<Vec<(Change, Said)>> = form.table_changes.into_iter().map(named).collect();
    Ok(changes?.into_iter().unzip())
}

/// A metadata file to become a table or view.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Register {
    pub name: String,
    pub metadata_location: String,
    /// Whether a table of that name gives way.
    #[serde(default)]
    pub overwrite: Option<bool>,
}

/// A new name for a table or view.
#[derive(Deserialize)]
pub struct Rename {
    pub source: TableIdent,
    pub destination: TableIdent,
}
