//! What each of the four prunings skips: partitions, files by their bounds, row groups, columns.
//!
//! Every figure is counted on the table's own manifests and footers: the manifests of the snapshot are read whole, and
//! the footers of those files that partition and bounds leave. A column is read if it is selected, or if the condition
//! names it and partition values alone do not decide it.

use std::collections::{BTreeSet, HashMap, HashSet};

use iceberg::spec::{PrimitiveType, Schema, TableMetadata, Transform, Type};
use laked_catalog::plan::{Plan, PlannedFile, Predicate, Value, View, may_match};
use laked_catalog::store::Store;
use parquet::basic::LogicalType;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde::Serialize;

use super::footer::footer;
use crate::error::Result;

/// Partitions, files, row groups and bytes at one point of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Distinct partitions.
    pub partitions: u64,
    /// Data files.
    pub files: u64,
    /// Row groups; not known before footers are read.
    pub row_groups: Option<u64>,
    /// Bytes: of files until their footers are read, then of their columns.
    pub bytes: u64,
}

/// Parts of an [`Amount`] in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Of the partitions.
    pub partitions: f64,
    /// Of the files.
    pub files: f64,
    /// Of the row groups, where they are known.
    pub row_groups: Option<f64>,
    /// Of the bytes.
    pub bytes: f64,
}

/// One pruning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What it goes by: `partitions`, `file bounds`, `row groups`, `columns`.
    pub by: &'static str,
    /// What is left to it.
    pub before: Amount,
    /// What it leaves.
    pub after: Amount,
    /// What it skips, in percent of what was left to it.
    pub skipped: Share,
}

/// What a scan would read after each pruning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// Manifests of the snapshot.
    pub manifests: u64,
    /// Those a scan reads.
    pub manifests_read: u64,
    /// Entries of the snapshot's manifests, as its list counts them.
    pub entries: u64,
    /// Those of the manifests that a scan reads.
    pub entries_read: u64,
    /// The columns that are read.
    pub columns: Vec<String>,
    /// The prunings, in their order.
    pub steps: [Step; 4],
}

impl Step {
    fn new(by: &'static str, before: Amount, after: Amount) -> Step {
        let percent = |before: u64, after: u64| match before {
            0 => 0.0,
            _ => before.saturating_sub(after) as f64 * 100.0 / before as f64,
        };
        let skipped = Share {
            partitions: percent(before.partitions, after.partitions),
            files: percent(before.files, after.files),
            row_groups: before.row_groups.zip(after.row_groups).map(|(before, after)| percent(before, after)),
            bytes: percent(before.bytes, after.bytes),
        };
        Step { by, before, after, skipped }
    }
}

/// Explains a plan of the whole table; `selected` are the columns asked for, all if empty.
///
/// # Errors
/// `Corrupt` if a footer cannot be read; storage errors.
pub fn explain(
    store: &Store,
    metadata: &TableMetadata,
    plan: &Plan,
    predicate: &Predicate,
    selected: &[i32],
) -> Result<Explained> {
    let columns = columns_read(metadata, &plan.schema, predicate, selected);
    let table = amount(plan.files.iter());
    let partitions = amount(plan.files.iter().filter(|file| file.by_partition));
    let mut bounds = amount(plan.left());
    let (mut all, mut kept) = (Groups::default(), Vec::new());
    let mut left = Groups::default();
    for file in plan.left() {
        let footer = footer(store, file.file.file_path())?;
        all.count += footer.num_row_groups() as u64;
        let before = left.count;
        for group in footer.row_groups() {
            let views = RowGroup::of(group, &plan.schema);
            if may_match(predicate, &|column| views.view(column).into_iter().collect()) {
                left.add(group, &columns);
            }
        }
        if left.count > before {
            kept.push(file);
        }
    }
    bounds.row_groups = Some(all.count);
    let groups = Amount { row_groups: Some(left.count), bytes: left.bytes, ..amount(kept.into_iter()) };
    let read = Amount { bytes: left.read, ..groups };
    Ok(Explained {
        manifests: plan.manifests as u64,
        manifests_read: plan.manifests_read as u64,
        entries: plan.entries[0],
        entries_read: plan.entries[1],
        columns: columns.iter().filter_map(|id| plan.schema.name_by_field_id(*id)).map(str::to_string).collect(),
        steps: [
            Step::new("partitions", table, partitions),
            Step::new("file bounds", partitions, bounds),
            Step::new("row groups", bounds, groups),
            Step::new("columns", groups, read),
        ],
    })
}

/// Row groups and the bytes of their columns.
#[derive(Default)]
struct Groups {
    count: u64,
    bytes: u64,
    /// Bytes of the columns that are read.
    read: u64,
}

impl Groups {
    fn add(&mut self, group: &RowGroupMetaData, columns: &BTreeSet<i32>) {
        self.count += 1;
        for column in group.columns() {
            let bytes = unsigned(column.compressed_size());
            self.bytes += bytes;
            // A nested column belongs to the column of the schema it is in.
            let root = column.column_descr().path().parts().first();
            let top = group.schema_descr().root_schema().get_fields().iter();
            let id = top.filter(|field| Some(&field.name().to_string()) == root).map(|field| field.get_basic_info());
            if id.filter(|info| info.has_id()).any(|info| columns.contains(&info.id())) {
                self.read += bytes;
            }
        }
    }
}

fn amount<'a>(files: impl Iterator<Item = &'a PlannedFile>) -> Amount {
    let (mut amount, mut partitions) = (Amount::default(), HashSet::new());
    for file in files {
        amount.files += 1;
        amount.bytes += file.file.file_size_in_bytes();
        partitions.insert((file.spec_id, file.file.partition()));
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
                all_nan: false,
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
