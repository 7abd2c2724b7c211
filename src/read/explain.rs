//! What each of the four prunings skips: partitions, files by their bounds, row groups, columns.
//!
//! Every figure is counted on the table's own manifests and footers: the manifests of the snapshot are read whole, and
//! the footers of those files that partition and bounds leave. A column is read if it is selected, or if the condition
//! names it and partition values alone do not decide it.

use std::collections::{BTreeSet, HashMap, HashSet};

use iceberg::spec::{PrimitiveType, Schema, TableMetadata, Transform, Type};
use laked_catalog::store::Store;
use parquet::basic::LogicalType;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde::Serialize;

use super::footer::footer;
use super::plan::{Plan, PlannedFile};
use super::predicate::Predicate;
use super::prune::{Value, View, may_match};
use crate::error::Result;

/// Partitions, files, row groups and bytes at one point of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Distinct partitions.
    pub partitions: u64,
    /// Data files.
    pub files: u64,
    /// Row groups; known only once footers are read.
    pub row_groups: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a scan would read after each pruning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Manifests of the snapshot.
    pub manifests: u64,
    /// Those a scan reads.
    pub manifests_read: u64,
    /// The whole snapshot.
    pub table: Amount,
    /// After pruning by partition values.
    pub after_partitions: Amount,
    /// After pruning by column bounds of files.
    pub after_bounds: Amount,
    /// After pruning by row groups' statistics; bytes are those of all columns.
    pub after_row_groups: Amount,
    /// After leaving out columns.
    pub after_columns: Amount,
    /// The columns that are read.
    pub columns: Vec<String>,
}

/// Explains a plan made with `whole` manifests; `selected` are the columns asked for, all if empty.
///
/// # Errors
/// `Corrupt` if a footer cannot be read; storage errors.
pub fn explain(
    store: &Store,
    metadata: &TableMetadata,
    plan: &Plan,
    pruned: &Plan,
    predicate: &Predicate,
    selected: &[i32],
) -> Result<Explained> {
    let columns = columns_read(metadata, &plan.schema, predicate, selected);
    let mut explained = Explained {
        manifests: plan.manifests as u64,
        manifests_read: pruned.manifests_read as u64,
        table: amount(plan.files.iter()),
        after_partitions: amount(plan.files.iter().filter(|file| file.by_partition)),
        after_bounds: amount(plan.left()),
        after_row_groups: Amount::default(),
        after_columns: Amount::default(),
        columns: columns.iter().filter_map(|id| plan.schema.name_by_field_id(*id)).map(str::to_string).collect(),
    };
    let mut kept = Vec::new();
    for file in plan.left() {
        let footer = footer(store, file.file.file_path())?;
        explained.after_bounds.row_groups += footer.num_row_groups() as u64;
        let groups = footer.row_groups().iter().filter(|group| {
            let views = RowGroup::of(group, &plan.schema);
            may_match(predicate, &|column| views.view(column).into_iter().collect())
        });
        let mut any = false;
        for group in groups {
            any = true;
            let after = &mut explained.after_row_groups;
            after.row_groups += 1;
            after.bytes += group.columns().iter().map(|column| unsigned(column.compressed_size())).sum::<u64>();
            explained.after_columns.bytes += group
                .columns()
                .iter()
                .filter(|column| columns.contains(&column.column_descr().self_type().get_basic_info().id()))
                .map(|column| unsigned(column.compressed_size()))
                .sum::<u64>();
        }
        if any {
            kept.push(file);
        }
    }
    let left = amount(kept.into_iter());
    explained.after_row_groups =
        Amount { bytes: explained.after_row_groups.bytes, row_groups: explained.after_row_groups.row_groups, ..left };
    explained.after_columns = Amount { bytes: explained.after_columns.bytes, ..explained.after_row_groups };
    Ok(explained)
}

fn amount<'a>(files: impl Iterator<Item = &'a PlannedFile>) -> Amount {
    let (mut amount, mut partitions) = (Amount::default(), HashSet::new());
    for file in files {
        amount.files += 1;
        amount.bytes += file.file.file_size_in_bytes();
        partitions.insert((file.spec_id, format!("{:?}", file.file.partition())));
    }
    amount.partitions = partitions.len() as u64;
    amount
}

fn columns_read(metadata: &TableMetadata, schema: &Schema, predicate: &Predicate, selected: &[i32]) -> BTreeSet<i32> {
    let all = || schema.as_struct().fields().iter().map(|field| field.id).collect();
    let mut columns: BTreeSet<i32> = if selected.is_empty() { all() } else { selected.iter().copied().collect() };
    let decided = |column: &i32| {
        let specs: Vec<_> = metadata.partition_specs_iter().collect();
        specs.iter().all(|spec| {
            let mut fields = spec.fields().iter();
            fields.any(|field| field.source_id == *column && field.transform == Transform::Identity)
        })
    };
    columns.extend(predicate.columns().into_iter().filter(|column| !decided(column)));
    columns
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A row group's statistics by field id.
struct RowGroup {
    views: HashMap<i32, View>,
}

impl RowGroup {
    fn of(group: &RowGroupMetaData, schema: &Schema) -> RowGroup {
        let mut views = HashMap::new();
        for column in group.columns() {
            let info = column.column_descr().self_type().get_basic_info();
            let Some(statistics) = column.statistics().filter(|_| info.has_id()) else { continue };
            let kind = schema.field_by_id(info.id()).map(|field| field.field_type.as_ref().clone());
            let Some(Type::Primitive(kind)) = kind else { continue };
            let (lower, upper) = bounds(statistics, &kind, column.column_descr().logical_type_ref());
            let nulls = statistics.null_count_opt();
            let view = View {
                transform: Transform::Identity,
                lower,
                upper,
                all_null: nulls == Some(unsigned(column.num_values())) && column.num_values() > 0,
                may_be_null: nulls != Some(0),
                may_be_nan: matches!(kind, PrimitiveType::Float | PrimitiveType::Double),
            };
            views.insert(info.id(), view);
        }
        RowGroup { views }
    }

    fn view(&self, column: i32) -> Option<View> {
        self.views.get(&column).cloned()
    }
}

fn bounds(
    statistics: &Statistics,
    kind: &PrimitiveType,
    logical: Option<&LogicalType>,
) -> (Option<Value>, Option<Value>) {
    let number = |min: Option<i128>, max: Option<i128>| (min.map(Value::Number), max.map(Value::Number));
    let real = |min: Option<f64>, max: Option<f64>| (min.map(Value::Real), max.map(Value::Real));
    // A timestamp in another unit than the table's would compare wrongly.
    if matches!(kind, PrimitiveType::Timestamp | PrimitiveType::Timestamptz)
        && !matches!(logical, Some(LogicalType::Timestamp { unit: parquet::basic::TimeUnit::MICROS, .. }))
    {
        return (None, None);
    }
    match statistics {
        Statistics::Int32(s) => number(s.min_opt().map(|v| i128::from(*v)), s.max_opt().map(|v| i128::from(*v))),
        Statistics::Int64(s) => number(s.min_opt().map(|v| i128::from(*v)), s.max_opt().map(|v| i128::from(*v))),
        Statistics::Float(s) => real(s.min_opt().map(|v| f64::from(*v)), s.max_opt().map(|v| f64::from(*v))),
        Statistics::Double(s) => real(s.min_opt().copied(), s.max_opt().copied()),
        Statistics::ByteArray(_) if *kind == PrimitiveType::String => {
            let text =
                |bytes: Option<&[u8]>| bytes.map(|bytes| Value::Text(String::from_utf8_lossy(bytes).into_owned()));
            (text(statistics.min_bytes_opt()), text(statistics.max_bytes_opt()))
        }
        _ => (None, None),
    }
}
