//! Deletes as row numbers of the files they hit.
//!
//! Equality deletes are held as a hash table of the rows they name (in Arrow's row format, in which null equals null), as
//! much of it as memory allows; the files are scanned for it, of each only the columns that are compared, and then the
//! next part is held. So any amount of equality deletes is worked in, at the price of further scans.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, TableMetadata, Type};
use laked_catalog::plan::PlannedFile;
use laked_catalog::store::Store;
use roaring::RoaringTreemap;

use super::decode::{Decoder, Wanted};
use super::deletes::{is_equality, is_vector};
use super::input::{File, corrupt};
use super::plan::{Group, Input};
use crate::error::{Error, Kind, Result};
use crate::read::vectors;

/// What a row of an equality delete costs besides its bytes.
const ENTRY: usize = 64;

/// The deleted rows of each file of a group, in the order of its files.
///
/// # Errors
/// `Corrupt` for a delete file that cannot be read; `Invalid` for one that compares a nested column; storage errors.
pub(super) fn deleted(
    store: &Store,
    metadata: &TableMetadata,
    deletes: &[PlannedFile],
    group: &Group,
    memory: usize,
) -> Result<Vec<RoaringTreemap>> {
    let mut deleted = vec![RoaringTreemap::new(); group.inputs.len()];
    let by_location: HashMap<&str, usize> =
        group.inputs.iter().enumerate().map(|(at, input)| (input.file.file.file_path(), at)).collect();
    let mut equality: BTreeMap<Vec<i32>, Vec<&PlannedFile>> = BTreeMap::new();
    for number in group.deletes() {
        let delete = &deletes[number];
        if is_equality(delete) {
            let mut ids = delete.file.equality_ids().unwrap_or_default();
            ids.sort_unstable();
            equality.entry(ids).or_default().push(delete);
        } else if is_vector(delete) {
            let data = delete.file.referenced_data_file().unwrap_or_default();
            if let Some(&at) = by_location.get(data.as_str()) {
                deleted[at] |= vectors::read(store, &delete.file)?;
            }
        } else {
            let applies = |at: usize| group.inputs[at].deletes.contains(&number);
            named(store, delete, &mut |location, row| {
                if let Some(&at) = by_location.get(location).filter(|at| applies(**at)) {
                    deleted[at].insert(row);
                }
            })?;
        }
    }
    for (ids, files) in equality {
        let keys = Keys::of(metadata, &ids)?;
        keys.work_in(store, metadata, &files, group, memory, &mut deleted)?;
    }
    Ok(deleted)
}

/// Tells every row that a position delete file names.
fn named(store: &Store, delete: &PlannedFile, tell: &mut dyn FnMut(&str, u64)) -> Result<()> {
    let column = |id, name: &str, kind| NestedFieldRef::new(NestedField::required(id, name, Type::Primitive(kind)));
    let columns =
        [column(2_147_483_546, "file_path", PrimitiveType::String), column(2_147_483_545, "pos", PrimitiveType::Long)];
    let (schema, arrow) = form(columns)?;
    let wanted = Wanted { by_name: true, ..Wanted::exactly(&schema, &arrow) };
    let location = delete.file.file_path();
    let mut decoder = Decoder::open(&File::open(store, location)?, location, &wanted, None, None)?;
    while let Some(batch) = decoder.next()? {
        let (paths, rows) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        if paths.null_count() + rows.null_count() > 0 {
            return Err(corrupt(location, "a position delete without file or row"));
        }
        for (path, row) in paths.iter().zip(rows.values()) {
            let row = u64::try_from(*row).map_err(|_| corrupt(location, "a row number below zero"))?;
            tell(path.unwrap_or_default(), row);
        }
    }
    Ok(())
}

fn form(fields: impl IntoIterator<Item = NestedFieldRef>) -> Result<(Schema, SchemaRef)> {
    let wrong = |error| Error::new(Kind::Invalid, "a delete file's columns make no schema").because(error);
    let schema = Schema::builder().with_fields(fields).build().map_err(wrong)?;
    let arrow = Arc::new(schema_to_arrow_schema(&schema).map_err(wrong)?);
    Ok((schema, arrow))
}

/// The columns that equality deletes compare.
struct Keys {
    schema: Schema,
    arrow: SchemaRef,
    converter: RowConverter,
}

/// Rows that are deleted, and the youngest sequence number that they are deleted with.
type Deleted = HashMap<Box<[u8]>, i64>;

impl Keys {
    fn of(metadata: &TableMetadata, ids: &[i32]) -> Result<Self> {
        let nested = |id: i32| {
            Error::new(Kind::Invalid, "an equality delete compares a nested or unknown column; use another engine")
                .with("field id", id)
        };
        let field = |&id: &i32| {
            let mut schemas = std::iter::once(metadata.current_schema()).chain(metadata.schemas_iter());
            let found = schemas.find_map(|schema| schema.as_struct().field_by_id(id)).ok_or_else(|| nested(id))?;
            // A row without the column has null there, whatever the schema says.
            Ok(NestedField { required: false, ..found.as_ref().clone() }.into())
        };
        if ids.is_empty() {
            return Err(Error::new(Kind::Corrupt, "an equality delete file names no columns"));
        }
        let (schema, arrow) = form(ids.iter().map(field).collect::<Result<Vec<NestedFieldRef>>>()?)?;
        let fields = arrow.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields);
        let converter =
            converter.map_err(|error| Error::new(Kind::Invalid, "columns that cannot be compared").because(error))?;
        Ok(Self { schema, arrow, converter })
    }

    fn work_in(
        &self,
        store: &Store,
        metadata: &TableMetadata,
        files: &[&PlannedFile],
        group: &Group,
        memory: usize,
        found: &mut [RoaringTreemap],
    ) -> Result<()> {
        let (mut held, mut bytes) = (Deleted::new(), 0);
        for delete in files {
            let location = delete.file.file_path();
            let wanted = Wanted::exactly(&self.schema, &self.arrow);
            let mut decoder = Decoder::open(&File::open(store, location)?, location, &wanted, None, None)?;
            while let Some(batch) = decoder.next()? {
                for row in &self.rows(&batch, location)? {
                    let youngest = held.entry(row.as_ref().into()).or_insert_with(|| {
                        bytes += row.as_ref().len() + ENTRY;
                        i64::MIN
                    });
                    *youngest = (*youngest).max(delete.sequence_number);
                }
                if bytes > memory {
                    self.scan(store, metadata, group, &held, found)?;
                    (held, bytes) = (Deleted::new(), 0);
                }
            }
        }
        if held.is_empty() { Ok(()) } else { self.scan(store, metadata, group, &held, found) }
    }

    fn scan(
        &self,
        store: &Store,
        metadata: &TableMetadata,
        group: &Group,
        held: &Deleted,
        found: &mut [RoaringTreemap],
    ) -> Result<()> {
        let youngest = held.values().copied().max().unwrap_or(i64::MIN);
        for (Input { file, .. }, found) in group.inputs.iter().zip(found) {
            if youngest <= file.sequence_number {
                continue;
            }
            let location = file.file.file_path();
            let mut decoder = Decoder::columns(store, metadata, file, (&self.schema, &self.arrow))?;
            let mut first = 0;
            while let Some(batch) = decoder.next()? {
                for (at, row) in self.rows(&batch, location)?.iter().enumerate() {
                    if held.get(row.as_ref()).is_some_and(|&sequence| sequence > file.sequence_number) {
                        found.insert(first + at as u64);
                    }
                }
                first = decoder.row();
            }
        }
        Ok(())
    }

    fn rows(&self, batch: &RecordBatch, location: &str) -> Result<arrow::row::Rows> {
        self.converter.convert_columns(batch.columns()).map_err(|error| corrupt(location, error))
    }
}
