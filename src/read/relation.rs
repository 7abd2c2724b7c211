//! A planned table as a DuckDB relation: SQL text over `read_parquet`.
//!
//! `schema=MAP{field id: …}` maps columns by field id, so that a file written before a rename or an addition reads
//! right. Where delete files apply, each data file is joined with what the specification decides by: its location, its
//! sequence number and its partition. Position deletes are an anti-join on (location, row number); equality deletes one
//! on their columns, against older files of the same partition, or of every partition if their spec has none.
//!
//! Files that lack a column their partition has a value for are read apart, with that value as the column's default.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use iceberg::spec::{
    DataContentType, DataFileFormat, NestedField, NestedFieldRef, PrimitiveType, Schema, Struct, TableMetadata, Type,
};
use laked_catalog::plan::{Plan, PlannedFile};
use laked_catalog::store::Store;

use super::defaults::{self, Filled};
use super::vectors;
use crate::error::{Error, Kind, Result};

/// What a data file's name is called beside its columns.
const FILE: &str = "__laked_file";

/// What reading needs besides the plan.
pub struct Reading<'a> {
    /// The table.
    pub metadata: &'a TableMetadata,
    /// Where its files are.
    pub store: &'a Store,
    /// A folder of the query's own, which goes away with it.
    pub scratch: &'a Path,
}

/// The SELECT that gives the planned rows.
///
/// # Errors
/// `Invalid` for what cannot be read here: files that are not Parquet or not on this machine; `Corrupt` for a broken
/// deletion vector; storage errors.
pub fn select(plan: &Plan, reading: &Reading<'_>) -> Result<String> {
    let fields = plan.schema.as_struct().fields().iter();
    let wanted: Vec<String> = fields.map(|field| format!("d.{}", identifier(&field.name))).collect();
    select_of(plan, reading, &wanted, false)
}

/// The SELECT that gives some columns of the planned rows, then the path of the file a row is in and its number there,
/// from 0.
///
/// # Errors
/// As [`select`].
pub fn select_located(plan: &Plan, reading: &Reading<'_>, columns: &[&str]) -> Result<String> {
    let named = columns.iter().map(|name| format!("d.{}", identifier(name)));
    let place = [format!("d.{FILE}"), "d.file_row_number".to_string()];
    select_of(plan, reading, &named.chain(place).collect::<Vec<_>>(), true)
}

fn select_of(plan: &Plan, reading: &Reading<'_>, wanted: &[String], located: bool) -> Result<String> {
    let files: Vec<&PlannedFile> = plan.left().collect();
    if files.is_empty() {
        return Ok(nothing(&plan.schema));
    }
    let deletes = Deletes::of(plan, &files, reading)?;
    let mut columns =
        Columns { fields: plan.schema.as_struct().fields().to_vec(), filled: defaults::initial(&plan.schema)? };
    columns.fields.extend(deletes.dropped_keys(plan, reading.metadata)?);
    let rows = rows(plan, &files, &columns, reading, located || !deletes.is_empty())?;
    let select = format!("SELECT {} FROM {rows} d", wanted.join(", "));
    if deletes.is_empty() {
        return Ok(select);
    }
    Ok(format!("{select} JOIN {} WHERE {}", deletes.facts(&files, reading.store)?, deletes.conditions(&columns)?))
}

/// Columns to read, and values for files without them.
struct Columns {
    fields: Vec<NestedFieldRef>,
    filled: Filled,
}

/// The data files, all columns by field id.
fn rows(
    plan: &Plan,
    files: &[&PlannedFile],
    columns: &Columns,
    reading: &Reading<'_>,
    numbered: bool,
) -> Result<String> {
    let mut groups: BTreeMap<Filled, Vec<String>> = BTreeMap::new();
    for file in files {
        let spec = reading.metadata.partition_spec_by_id(file.spec_id);
        let mut filled = columns.filled.clone();
        if let Some(spec) = spec {
            filled.extend(defaults::of_partition(file, spec, &plan.schema, reading.store)?);
        }
        groups.entry(filled).or_default().push(path(file, reading.store)?);
    }
    let numbers = if numbered { format!(", filename='{FILE}', file_row_number=true") } else { String::new() };
    let read = |(filled, paths): (&Filled, &Vec<String>)| {
        let map = map_of(columns.fields.iter().map(AsRef::as_ref), filled);
        format!("read_parquet({}, schema={map}, hive_partitioning=false{numbers})", list(paths))
    };
    let parts: Vec<String> = groups.iter().map(read).collect();
    match parts.as_slice() {
        [one] => Ok(one.clone()),
        many => {
            let selects: Vec<String> = many.iter().map(|part| format!("SELECT * FROM {part}")).collect();
            Ok(format!("({})", selects.join(" UNION ALL ")))
        }
    }
}

fn path(file: &PlannedFile, store: &Store) -> Result<String> {
    let location = file.file.file_path();
    if file.file.file_format() != DataFileFormat::Parquet {
        return Err(Error::new(
            Kind::Invalid,
            "only Parquet files can be read here; use another engine for this table",
        )
        .with("file", location));
    }
    let path = store.local_path(location).and_then(|path| path.to_str().map(str::to_string));
    path.ok_or_else(|| Error::new(Kind::Invalid, "the file is not on this machine").with("file", location))
}

/// A partition: its spec and its value.
type Partition<'a> = (i32, &'a Struct);

/// An equality delete file: its path, its sequence number, the partition it holds for (none: all).
type ByValue = (String, i64, Option<usize>);

/// The deletes that apply to the files left.
#[derive(Default)]
struct Deletes<'a> {
    /// Paths of position delete files.
    positions: Vec<String>,
    /// By the columns they compare.
    equality: BTreeMap<BTreeSet<i32>, Vec<ByValue>>,
    partitions: HashMap<Partition<'a>, usize>,
}

impl<'a> Deletes<'a> {
    fn of(plan: &'a Plan, files: &[&'a PlannedFile], reading: &Reading<'_>) -> Result<Deletes<'a>> {
        let mut deletes = Deletes::default();
        if plan.deletes.is_empty() {
            return Ok(deletes);
        }
        for file in files {
            let next = deletes.partitions.len();
            deletes.partitions.entry((file.spec_id, file.file.partition())).or_insert(next);
        }
        let left: HashMap<&str, i64> = files.iter().map(|file| (file.file.file_path(), file.sequence_number)).collect();
        let oldest = files.iter().map(|file| file.sequence_number).min().unwrap_or(i64::MAX);
        let mut bitmaps = Vec::new();
        for delete in &plan.deletes {
            let referenced = delete.file.referenced_data_file();
            if referenced.as_ref().is_some_and(|data| !left.contains_key(data.as_str())) {
                continue;
            }
            match (delete.file.content_type(), referenced) {
                (DataContentType::EqualityDeletes, _) if delete.sequence_number > oldest => {
                    deletes.add_equality(delete, reading)?;
                }
                (DataContentType::PositionDeletes, Some(data))
                    if delete.file.file_format() == DataFileFormat::Puffin =>
                {
                    bitmaps.push((data, vectors::read(reading.store, &delete.file)?));
                }
                (DataContentType::PositionDeletes, _) if delete.sequence_number >= oldest => {
                    deletes.positions.push(path(delete, reading.store)?);
                }
                _ => {}
            }
        }
        if !bitmaps.is_empty() {
            let rewritten = vectors::rewrite(&bitmaps, reading.scratch)?;
            deletes.positions.push(rewritten.to_string_lossy().into_owned());
        }
        Ok(deletes)
    }

    fn add_equality(&mut self, delete: &PlannedFile, reading: &Reading<'_>) -> Result<()> {
        let spec = reading.metadata.partition_spec_by_id(delete.spec_id);
        let everywhere = spec.is_none_or(|spec| spec.fields().is_empty());
        let partition = match self.partitions.get(&(delete.spec_id, delete.file.partition())) {
            _ if everywhere => None,
            Some(number) => Some(*number),
            // No file of that partition is read.
            None => return Ok(()),
        };
        let columns = delete.file.equality_ids().unwrap_or_default().into_iter().collect();
        let entry = (path(delete, reading.store)?, delete.sequence_number, partition);
        self.equality.entry(columns).or_default().push(entry);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.equality.is_empty()
    }

    /// Columns that equality deletes compare and the schema has no more: read beside the others.
    fn dropped_keys(&self, plan: &Plan, metadata: &TableMetadata) -> Result<Vec<NestedFieldRef>> {
        let ids: BTreeSet<i32> = self.equality.keys().flatten().copied().collect();
        let missing = ids.into_iter().filter(|id| plan.schema.as_struct().field_by_id(*id).is_none());
        let find = |id: i32| {
            let mut schemas = metadata.schemas_iter();
            let field = schemas.find_map(|schema| schema.as_struct().field_by_id(id)).ok_or_else(|| {
                Error::new(Kind::Invalid, "an equality delete names a nested or unknown column; use another engine")
                    .with("field id", id)
            })?;
            Ok(NestedField::optional(id, format!("__laked_{id}"), field.field_type.as_ref().clone()).into())
        };
        missing.map(find).collect()
    }

    /// The join with what is known of each data file.
    fn facts(&self, files: &[&PlannedFile], store: &Store) -> Result<String> {
        let row = |file: &&PlannedFile| {
            let (name, location) = (text(&path(file, store)?), text(file.file.file_path()));
            let partition = self.partitions.get(&(file.spec_id, file.file.partition())).copied().unwrap_or_default();
            Ok(format!("({name}, {location}, {}::BIGINT, {partition}::BIGINT)", file.sequence_number))
        };
        let rows = files.iter().map(row).collect::<Result<Vec<String>>>()?.join(", ");
        Ok(format!("(VALUES {rows}) f(name, location, sequence, part) ON f.name = d.{FILE}"))
    }

    fn conditions(&self, columns: &Columns) -> Result<String> {
        let mut conditions = Vec::new();
        if !self.positions.is_empty() {
            conditions.push(format!(
                "NOT EXISTS (SELECT 1 FROM read_parquet({}, hive_partitioning=false) p \
                 WHERE p.pos = d.file_row_number AND p.file_path = f.location)",
                list(&self.positions)
            ));
        }
        for (ids, files) in &self.equality {
            conditions.push(equality(columns, ids, files)?);
        }
        Ok(conditions.join(" AND "))
    }
}

fn equality(columns: &Columns, ids: &BTreeSet<i32>, files: &[ByValue]) -> Result<String> {
    let fields: Vec<&NestedField> =
        columns.fields.iter().filter(|field| ids.contains(&field.id)).map(AsRef::as_ref).collect();
    if ids.is_empty() {
        return Err(Error::new(Kind::Corrupt, "an equality delete file names no columns"));
    }
    let same: Vec<String> = fields
        .iter()
        .map(|field| identifier(&field.name))
        .map(|name| format!("e.{name} IS NOT DISTINCT FROM d.{name}"))
        .collect();
    let paths: Vec<String> = files.iter().map(|(path, ..)| path.clone()).collect();
    let row = |(path, sequence, partition): &ByValue| {
        let partition = partition.map_or("NULL".to_string(), |number| number.to_string());
        format!("({}, {sequence}::BIGINT, {partition}::BIGINT)", text(path))
    };
    Ok(format!(
        "NOT EXISTS (SELECT 1 FROM read_parquet({}, schema={}, hive_partitioning=false, filename='{FILE}') e \
         JOIN (VALUES {}) g(name, sequence, part) ON g.name = e.{FILE} \
         WHERE {} AND g.sequence > f.sequence AND (g.part IS NULL OR g.part = f.part))",
        list(&paths),
        map_of(fields.iter().copied(), &Filled::new()),
        files.iter().map(row).collect::<Vec<_>>().join(", "),
        same.join(" AND "),
    ))
}

fn nothing(schema: &Schema) -> String {
    let fields = schema.as_struct().fields().iter();
    let columns: Vec<String> =
        fields.map(|field| format!("NULL::{} AS {}", duck_type(&field.field_type), identifier(&field.name))).collect();
    format!("SELECT {} WHERE false", columns.join(", "))
}

fn list(paths: &[String]) -> String {
    let texts: Vec<String> = paths.iter().map(|path| text(path)).collect();
    format!("[{}]", texts.join(", "))
}

fn map_of<'a>(fields: impl Iterator<Item = &'a NestedField>, filled: &Filled) -> String {
    let entry = |field: &NestedField| {
        let (name, kind) = (text(&field.name), text(&duck_type(&field.field_type)));
        let value = filled.get(&field.id).map_or("NULL".to_string(), |value| text(value));
        format!("{}: {{name: {name}, type: {kind}, default_value: {value}}}", field.id)
    };
    format!("MAP {{{}}}", fields.map(entry).collect::<Vec<_>>().join(", "))
}

fn duck_type(kind: &Type) -> String {
    match kind {
        Type::Primitive(kind) => primitive(kind),
        Type::List(list) => format!("{}[]", duck_type(&list.element_field.field_type)),
        Type::Map(map) => {
            format!("MAP({}, {})", duck_type(&map.key_field.field_type), duck_type(&map.value_field.field_type))
        }
        Type::Struct(fields) => {
            let fields = fields.fields().iter();
            let fields: Vec<String> =
                fields.map(|field| format!("{} {}", identifier(&field.name), duck_type(&field.field_type))).collect();
            format!("STRUCT({})", fields.join(", "))
        }
    }
}

fn primitive(kind: &PrimitiveType) -> String {
    let name = match kind {
        PrimitiveType::Boolean => "BOOLEAN",
        PrimitiveType::Int => "INTEGER",
        PrimitiveType::Long => "BIGINT",
        PrimitiveType::Float => "FLOAT",
        PrimitiveType::Double => "DOUBLE",
        PrimitiveType::Decimal { precision, scale } => return format!("DECIMAL({precision}, {scale})"),
        PrimitiveType::Date => "DATE",
        PrimitiveType::Time => "TIME",
        PrimitiveType::Timestamp => "TIMESTAMP",
        PrimitiveType::Timestamptz | PrimitiveType::TimestamptzNs => "TIMESTAMP WITH TIME ZONE",
        PrimitiveType::TimestampNs => "TIMESTAMP_NS",
        PrimitiveType::String => "VARCHAR",
        PrimitiveType::Uuid => "UUID",
        _ => "BLOB",
    };
    name.to_string()
}

/// A quoted SQL text.
pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A quoted SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
