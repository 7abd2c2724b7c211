//! Another schema for a table, from now on.
//!
//! Nothing is rewritten: columns go by their ids, so that each file is read as the schema of today says (specification,
//! "Schema Evolution"). New fields get ids that no field of the table ever had. What older rows could not be read by is
//! refused: a required column without a default, a type that is not a promotion, the loss of a column that partitions,
//! an order or an identifier rest on. Names that differ in case only are refused too, since DuckDB, Trino and Spark do not
//! tell them apart. The edit asserts the schema and the last field id it was planned on.

mod show;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{FormatVersion, Literal, NestedField, NestedFieldRef, PrimitiveType, Schema, TableMetadata, Type};
use iceberg::{TableRequirement, TableUpdate};
use serde::Serialize;

pub use self::show::Line;
use self::show::differences;
use self::tree::{change_at, children, find, flat, numbered};
use super::Edit;
use crate::error::{Error, Kind, Result};

/// Where a column goes among its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// Before that one.
    Before(String),
    /// After that one.
    After(String),
}

/// A column that is asked for.
#[derive(Clone, Debug)]
pub struct NewColumn {
    /// Its type; the ids beneath do not matter.
    pub field_type: Type,
    /// Whether it must not be null.
    pub required: bool,
    /// What it means.
    pub doc: Option<String>,
    /// What rows have that do not say: those that are there, and those to come. Format 3.
    pub default: Option<serde_json::Value>,
    /// Where it goes; the end if not said.
    pub place: Option<Place>,
}

/// A change of one field, by its path.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new field; the path's last name is its own.
    Add(Box<NewColumn>),
    /// No longer there; its values stay in the files.
    Drop,
    /// Another name, of the last level.
    Rename(String),
    /// A wider type.
    Widen(Type),
    /// Another place among its siblings.
    Reorder(Place),
    /// What it means; empty for nothing.
    Doc(String),
    /// Not null from now on. Only where [`Nulls`] says that there are none.
    Require,
    /// May be null from now on.
    Optional,
}

/// Whether rows of the current snapshot have nulls in the column that is to be required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Nobody has looked.
    Unknown,
    /// None in that snapshot.
    NoneIn(i64),
    /// So many rows.
    Some(u64),
}

/// What evolving would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SchemaPlan {
    /// The fields that differ, as a diff.
    pub lines: Vec<Line>,
    /// The change.
    #[serde(skip)]
    pub edit: Edit,
}

/// Plans changes, in this order.
///
/// # Errors
/// `NotFound` for a field, with those there are; `Invalid` with what is possible.
pub fn evolve_schema(metadata: &TableMetadata, changes: &[(String, Change)], nulls: Nulls) -> Result<SchemaPlan> {
    let schema = metadata.current_schema();
    let mut work =
        Work { metadata, nulls, fields: schema.as_struct().fields().to_vec(), next: metadata.last_column_id() };
    for (path, change) in changes {
        work.apply(path, change)?;
    }
    let mut edit = Edit::of(metadata);
    let lines = differences(schema.as_struct().fields(), &work.fields);
    if !lines.is_empty() {
        edit.requirements.extend([
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
        ]);
        if let Nulls::NoneIn(id) = nulls {
            let r#ref = iceberg::spec::MAIN_BRANCH.to_string();
            edit.requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id: Some(id) });
        }
        let built = Schema::builder()
            .with_fields(work.fields)
            .with_identifier_field_ids(schema.identifier_field_ids())
            .build()
            .map_err(|error| Error::new(Kind::Invalid, "the fields are no schema").because(error))?;
        edit.updates = vec![TableUpdate::AddSchema { schema: built }, TableUpdate::SetCurrentSchema { schema_id: -1 }];
    }
    Ok(SchemaPlan { lines, edit })
}

/// A schema while it changes.
struct Work<'a> {
    metadata: &'a TableMetadata,
    nulls: Nulls,
    fields: Vec<NestedFieldRef>,
    /// The last id that was given.
    next: i32,
}

fn invalid(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}

impl Work<'_> {
    fn apply(&mut self, path: &str, change: &Change) -> Result<()> {
        if let Change::Add(column) = change {
            return self.add(path, column);
        }
        let Some(field) = find(&self.fields, path) else { return Err(self.no_field(path)) };
        if self.is_inner(path, &field) && !matches!(change, Change::Widen(_) | Change::Doc(_) | Change::Optional) {
            return Err(invalid(format!("`{path}` is the inside of a list or map, which has its name and place")));
        }
        match change {
            Change::Drop => self.may_drop(path, &field)?,
            Change::Require => self.may_require(path, &field)?,
            Change::Widen(to) => may_widen(path, &field.field_type, to)?,
            Change::Optional => self.may_be_optional(path, &field)?,
            _ => {}
        }
        let mut made = |fields: &mut Vec<NestedFieldRef>, at: usize| changed(fields, at, change);
        change_at(&mut self.fields, path, &mut made).map(drop)
    }

    fn no_field(&self, path: &str) -> Error {
        let names: Vec<String> = flat(&self.fields).into_iter().map(|(path, _)| path).collect();
        Error::new(Kind::NotFound, format!("there is no column `{path}`; there are {}", names.join(", ")))
    }

    /// Whether a field is the element of a list, or key or value of a map.
    fn is_inner(&self, path: &str, field: &NestedField) -> bool {
        let parent = path.strip_suffix(field.name.as_str()).and_then(|rest| rest.strip_suffix('.'));
        let parent = parent.and_then(|parent| find(&self.fields, parent));
        parent.is_some_and(|parent| !matches!(*parent.field_type, Type::Struct(_)))
    }

    fn add(&mut self, path: &str, column: &NewColumn) -> Result<()> {
        let parent = self.parent_of(path)?;
        let name = parent.as_deref().map_or(path, |parent| &path[parent.len() + 1..]).to_string();
        if name.trim().is_empty() {
            return Err(invalid("a column needs a name".to_string()));
        }
        let field_type = &column.field_type;
        if column.required && column.default.is_none() && self.metadata.current_snapshot().is_some() {
            let advice = "add it as an optional one, or with a --default (format 3)";
            return Err(invalid(format!(
                "the rows that are there have no `{path}`, so it cannot be required: {advice}"
            )));
        }
        self.next += 1;
        let id = self.next;
        let field_type = numbered(field_type, &mut self.next);
        let default = column.default.as_ref().map(|value| self.default_of(value, &field_type)).transpose()?;
        let mut field = NestedField::new(id, &name, field_type, column.required);
        field.doc.clone_from(&column.doc);
        (field.initial_default, field.write_default) = (default.clone(), default);
        let insert = |fields: &mut Vec<NestedFieldRef>| {
            free(fields, &name, None)?;
            let at = column.place.as_ref().map_or(Ok(fields.len()), |place| place_in(fields, place))?;
            fields.insert(at, Arc::new(field.clone()));
            Ok(())
        };
        match parent {
            None => insert(&mut self.fields),
            Some(parent) => {
                let mut within = |siblings: &mut Vec<NestedFieldRef>, at: usize| {
                    let mut fields = children(&siblings[at].field_type);
                    insert(&mut fields)?;
                    let field_type = Box::new(Type::Struct(iceberg::spec::StructType::new(fields)));
                    siblings[at] = Arc::new(NestedField { field_type, ..siblings[at].as_ref().clone() });
                    Ok(())
                };
                change_at(&mut self.fields, &parent, &mut within).map(drop)
            }
        }
    }

    /// The struct that a new field goes into: the longest path that is one; none for a column of the table.
    fn parent_of(&self, path: &str) -> Result<Option<String>> {
        let Some(dot) = path.rfind('.') else { return Ok(None) };
        match find(&self.fields, &path[..dot]) {
            Some(field) if matches!(*field.field_type, Type::Struct(_)) => Ok(Some(path[..dot].to_string())),
            Some(_) => Err(invalid(format!("`{}` is no struct, so nothing can be added to it", &path[..dot]))),
            None => Err(self.no_field(&path[..dot])),
        }
    }

    fn default_of(&self, value: &serde_json::Value, of: &Type) -> Result<Literal> {
        use PrimitiveType::{Boolean, Date, Decimal, Double, Float, Int, Long, String};
        if self.metadata.format_version() < FormatVersion::V3 {
            let version = self.metadata.format_version();
            return Err(invalid(format!(
                "format {version} has no defaults: add an optional column, or upgrade the table"
            )));
        }
        let plain = matches!(
            of.as_primitive_type(),
            Some(Boolean | Int | Long | Float | Double | Decimal { .. } | Date | String)
        );
        if !plain {
            return Err(invalid(format!(
                "a default of {of} cannot be given here: numbers, texts, booleans and dates can"
            )));
        }
        let literal = Literal::try_from_json(value.clone(), of);
        let fits = literal.as_ref().ok().and_then(Clone::clone);
        fits.ok_or_else(|| invalid(format!("{value} is no {of}, so it is no default of it")))
    }

    fn may_drop(&self, path: &str, field: &NestedField) -> Result<()> {
        let beneath: HashSet<i32> =
            flat(&children(&field.field_type)).iter().map(|(_, inner)| inner.id).chain([field.id]).collect();
        let refuse = |what: &str, instead: &str| Err(invalid(format!("`{path}` cannot go: {what}; {instead}")));
        if self.metadata.current_schema().identifier_field_ids().any(|id| beneath.contains(&id)) {
            return refuse("it is of the table's identifier", "take it out of the identifier first");
        }
        let rests = |id: i32| beneath.contains(&id);
        if self.metadata.default_partition_spec().fields().iter().any(|part| rests(part.source_id)) {
            return refuse("the table is partitioned by it", "run `lakectl evolve-partition` first");
        }
        let void = iceberg::spec::Transform::Void;
        let specs = self.metadata.partition_specs_iter();
        if specs.flat_map(|spec| spec.fields()).any(|part| rests(part.source_id) && part.transform != void) {
            return refuse("older files are partitioned by it", "rewrite them first, or readers cannot plan");
        }
        if self.metadata.default_sort_order().fields.iter().any(|by| rests(by.source_id)) {
            return refuse("the table is sorted by it", "give the table another sort order first");
        }
        Ok(())
    }

    fn may_require(&self, path: &str, field: &NestedField) -> Result<()> {
        let empty = self.metadata.current_snapshot().is_none();
        match self.nulls {
            _ if field.required || empty => Ok(()),
            Nulls::NoneIn(_) => Ok(()),
            Nulls::Unknown => {
                Err(invalid(format!("whether `{path}` has nulls is not known, so it cannot be required")))
            }
            Nulls::Some(rows) => {
                let advice = "give them values first";
                Err(invalid(format!("`{path}` is null in {rows} rows, so it cannot be required: {advice}")))
            }
        }
    }

    fn may_be_optional(&self, path: &str, field: &NestedField) -> Result<()> {
        if self.metadata.current_schema().identifier_field_ids().any(|id| id == field.id) {
            return Err(invalid(format!("`{path}` is of the table's identifier, which has no nulls")));
        }
        if self.is_inner(path, field) && field.name == "key" {
            return Err(invalid(format!("`{path}` is a map's key, which is never null")));
        }
        Ok(())
    }
}

/// Changes the field at `at` among its siblings.
fn changed(fields: &mut Vec<NestedFieldRef>, at: usize, change: &Change) -> Result<()> {
    let mut field = fields[at].as_ref().clone();
    match change {
        Change::Drop => {
            if fields.len() == 1 {
                return Err(invalid(format!("`{}` is the last one; a table or struct needs a column", field.name)));
            }
            fields.remove(at);
            return Ok(());
        }
        Change::Reorder(place) => {
            let field = fields.remove(at);
            let at = place_in(fields, place)?;
            fields.insert(at, field);
            return Ok(());
        }
        Change::Rename(to) => {
            free(fields, to, Some(at))?;
            field.name.clone_from(to);
        }
        Change::Widen(to) => *field.field_type = to.clone(),
        Change::Doc(doc) => field.doc = Some(doc.clone()).filter(|doc| !doc.is_empty()),
        Change::Require => field.required = true,
        Change::Optional => field.required = false,
        Change::Add(_) => {}
    }
    fields[at] = Arc::new(field);
    Ok(())
}

fn free(fields: &[NestedFieldRef], name: &str, own: Option<usize>) -> Result<()> {
    if name.trim().is_empty() {
        return Err(invalid("a column needs a name".to_string()));
    }
    let same =
        |(at, field): &(usize, &NestedFieldRef)| Some(*at) != own && field.name.to_lowercase() == name.to_lowercase();
    match fields.iter().enumerate().find(same) {
        None => Ok(()),
        Some((_, held)) if held.name == name => Err(invalid(format!("there is a column `{name}` already"))),
        Some((_, held)) => {
            let why = "engines that ignore case could not tell them apart";
            Err(invalid(format!("there is a column `{}`, and {why}: choose another name than `{name}`", held.name)))
        }
    }
}

fn place_in(fields: &[NestedFieldRef], place: &Place) -> Result<usize> {
    let of = |name: &str| {
        let names = || fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = fields.iter().position(|field| field.name == name);
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no column `{name}` beside it; there are {}", names()))
        })
    };
    match place {
        Place::First => Ok(0),
        Place::Before(name) => of(name),
        Place::After(name) => of(name).map(|at| at + 1),
    }
}

/// Promotions of the specification that hold in every format and under every transform.
fn may_widen(path: &str, from: &Type, to: &Type) -> Result<()> {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    let possible = match from.as_primitive_type() {
        Some(Int) => "long".to_string(),
        Some(Float) => "double".to_string(),
        Some(Decimal { precision, scale }) if *precision < 38 => {
            format!(
                "a decimal of more digits and the same scale, decimal({}, {scale}) to decimal(38, {scale})",
                precision + 1
            )
        }
        _ => "nothing".to_string(),
    };
    let fits = from == to
        || match (from.as_primitive_type(), to.as_primitive_type()) {
            (Some(Int), Some(Long)) | (Some(Float), Some(Double)) => true,
            (Some(Decimal { precision: p, scale: s }), Some(Decimal { precision, scale })) => {
                s == scale && p < precision
            }
            _ => false,
        };
    if fits { Ok(()) } else { Err(invalid(format!("`{path}` is {from} and can become {possible}, not {to}"))) }
}
