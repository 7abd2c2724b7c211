//! A planned table as a DuckDB relation: SQL text over `read_parquet`.
//!
//! `schema=MAP{field id: …}` maps columns by field id, so that a file written before a rename or an addition reads
//! right. Position deletes are an anti-join on (file, row number), equality deletes one on their columns against files
//! with a lower sequence number (Iceberg specification, scan planning).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use iceberg::spec::{DataContentType, DataFileFormat, NestedField, PrimitiveType, Schema, Type};
use laked_catalog::store::Store;

use super::plan::{Plan, PlannedFile};
use crate::error::{Error, Kind, Result};

/// The SELECT that gives the planned rows.
///
/// # Errors
/// `Invalid` for what cannot be read here: files that are not Parquet, deletion vectors.
pub fn select(plan: &Plan, store: &Store) -> Result<String> {
    let files: Vec<&PlannedFile> = plan.left().collect();
    if files.is_empty() {
        return Ok(nothing(&plan.schema));
    }
    let paths = files.iter().map(|file| path(file, store)).collect::<Result<Vec<_>>>()?;
    let columns: Vec<String> = plan.schema.as_struct().fields().iter().map(|field| identifier(&field.name)).collect();
    let list = paths.iter().map(|path| text(path)).collect::<Vec<_>>().join(", ");
    let read = format!("read_parquet([{list}], schema={}, hive_partitioning=false", schema_map(&plan.schema));
    if plan.deletes.is_empty() {
        return Ok(format!("SELECT {} FROM {read})", columns.join(", ")));
    }
    let mut sql =
        format!("SELECT {} FROM {read}, filename=true, file_row_number=true) d WHERE true", columns.join(", "));
    sql.push_str(&position_deletes(plan, store)?);
    sql.push_str(&equality_deletes(plan, &files, &paths, store)?);
    Ok(sql)
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

fn position_deletes(plan: &Plan, store: &Store) -> Result<String> {
    let positions: Vec<&PlannedFile> = of_kind(plan, DataContentType::PositionDeletes).collect();
    if positions.is_empty() {
        return Ok(String::new());
    }
    let list = positions.iter().map(|file| path(file, store).map(|path| text(&path))).collect::<Result<Vec<_>>>()?;
    Ok(format!(
        " AND NOT EXISTS (SELECT 1 FROM read_parquet([{}], hive_partitioning=false) p \
         WHERE p.pos = d.file_row_number AND regexp_replace(p.file_path, '^file:/*', '/') = d.filename)",
        list.join(", ")
    ))
}

fn equality_deletes(plan: &Plan, files: &[&PlannedFile], paths: &[String], store: &Store) -> Result<String> {
    let mut by_key: BTreeMap<(i64, Vec<i32>), Vec<String>> = BTreeMap::new();
    for file in of_kind(plan, DataContentType::EqualityDeletes) {
        let key = (file.sequence_number, file.file.equality_ids().unwrap_or_default());
        by_key.entry(key).or_default().push(text(&path(file, store)?));
    }
    let mut sql = String::new();
    for ((sequence, ids), deletes) in by_key {
        let older = files.iter().zip(paths).filter(|(file, _)| file.sequence_number < sequence);
        let older: Vec<String> = older.map(|(_, path)| text(path)).collect();
        let names = ids.iter().filter_map(|id| plan.schema.field_by_id(*id)).map(|field| identifier(&field.name));
        let same: Vec<String> = names.map(|name| format!("e.{name} IS NOT DISTINCT FROM d.{name}")).collect();
        if older.is_empty() || same.is_empty() {
            continue;
        }
        let _ = write!(
            sql,
            " AND NOT (d.filename IN ({}) AND EXISTS (SELECT 1 FROM read_parquet([{}], schema={}, hive_partitioning=false) e WHERE {}))",
            older.join(", "),
            deletes.join(", "),
            keys_map(&plan.schema, &ids),
            same.join(" AND "),
        );
    }
    Ok(sql)
}

fn of_kind(plan: &Plan, kind: DataContentType) -> impl Iterator<Item = &PlannedFile> {
    plan.deletes.iter().filter(move |file| file.file.content_type() == kind)
}

fn nothing(schema: &Schema) -> String {
    let fields = schema.as_struct().fields().iter();
    let columns: Vec<String> =
        fields.map(|field| format!("NULL::{} AS {}", duck_type(&field.field_type), identifier(&field.name))).collect();
    format!("SELECT {} WHERE false", columns.join(", "))
}

fn schema_map(schema: &Schema) -> String {
    map_of(schema.as_struct().fields().iter().map(AsRef::as_ref))
}

fn keys_map(schema: &Schema, ids: &[i32]) -> String {
    map_of(ids.iter().filter_map(|id| schema.field_by_id(*id)).map(AsRef::as_ref))
}

fn map_of<'a>(fields: impl Iterator<Item = &'a NestedField>) -> String {
    let entry = |field: &NestedField| {
        let (name, kind) = (text(&field.name), text(&duck_type(&field.field_type)));
        format!("{}: {{name: {name}, type: {kind}, default_value: NULL}}", field.id)
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
