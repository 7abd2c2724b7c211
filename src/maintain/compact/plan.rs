//! What is to be compacted, or moved to the table's partition spec. Pure: a function of what the manifests say.
//!
//! A file is taken if it is below 75 % or above 180 % of the table's target size, or if deletes by position hit a third of
//! its rows. Files of one spec and partition are one [`Group`], which is written as one sequence of files: all but the last
//! reach the target, and the last is joined to the one before if it would be small. So of what a group becomes at most one
//! file is below 75 %, and only if the partition has no more; alone it is no group, and a plan is a fixed point.
//!
//! What is moved are all files of other specs, a group for each of their partitions, whose rows go to as many partitions
//! as they are of. A moved file has the table's spec, so it is not taken again.
//!
//! A step that is bounded takes at least one file that is moved, or as few of a partition as are worth it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{DataFileFormat, Struct, TableMetadata};
use laked_catalog::plan::{Plan as Scan, PlannedFile};

use super::deletes::{Applying, is_equality};
use crate::error::Result;
use crate::write::Layout;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files below the target that a partition must have.
    pub least_inputs: usize,
    /// Bytes of files that one step may rewrite.
    pub max_bytes: Option<u64>,
    /// How rows are put.
    pub order: Order,
}

/// How rows are put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the table's order, if it has one.
    OfTable,
    /// One file's after another's.
    AsTheyAre,
    /// Along a curve through these columns, by their field ids.
    ZOrder(Vec<i32>),
}

/// A data file that is rewritten.
#[derive(Clone, Debug)]
pub struct Input {
    /// The file.
    pub file: PlannedFile,
    /// The deletes that apply to it, by their numbers in the plan.
    pub deletes: Vec<usize>,
    /// Whether it is taken whatever else its partition has.
    pub alone: bool,
}

/// Files of one partition that are rewritten together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their spec.
    pub spec_id: i32,
    /// Its value.
    pub partition: Struct,
    /// The spec that their rows are written under.
    pub to_spec: i32,
    /// Where its files go, below the data: `country=TW/`.
    pub path: String,
    /// Whether they are put in the table's order.
    pub sorted: bool,
    /// Columns of the curve that they are put along, by their field ids; none for no curve.
    pub curve: Vec<i32>,
    /// The files, oldest first.
    pub inputs: Vec<Input>,
}

/// Files that would be rewritten, were it not for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Their partition, as a path.
    pub path: String,
    /// How many.
    pub files: usize,
    /// Why.
    pub why: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Groups, by spec and partition.
    pub groups: Vec<Group>,
    /// The snapshot's deletes.
    pub deletes: Vec<PlannedFile>,
    /// What is left out.
    pub left_out: Vec<LeftOut>,
    /// Whether the bound of bytes left something for another step.
    pub goes_on: bool,
}

impl Group {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.file.file.file_size_in_bytes()).sum()
    }

    /// Rows of its files, deleted ones too.
    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(|input| input.file.file.record_count()).sum()
    }

    /// How many of its files, the oldest first, have so many bytes at most.
    fn fitting(&self, most: u64) -> usize {
        let mut bytes = 0;
        let fits = |input: &&Input| {
            bytes += input.file.file.file_size_in_bytes();
            bytes <= most
        };
        self.inputs.iter().take_while(fits).count()
    }

    /// Deletes that apply to any of them, in order.
    pub fn deletes(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.inputs.iter().flat_map(|input| input.deletes.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Plans the compaction of those files of a whole scan that its condition leaves. Where rows go along a curve, every file
/// that is not `placed` on it is taken.
///
/// # Errors
/// `Invalid` for a property that cannot be read; `Corrupt` for a file whose spec is gone.
pub fn plan(
    metadata: &TableMetadata,
    scan: &Scan,
    options: &Options,
    placed: Option<&HashSet<String>>,
) -> Result<Plan> {
    let mut plan = Plan { deletes: scan.deletes.clone(), ..Plan::default() };
    let mut left = options.max_bytes.unwrap_or(u64::MAX);
    let is_stray = |file: &PlannedFile| placed.is_some_and(|placed| !placed.contains(file.file.file_path()));
    let taken = |file: &PlannedFile, deletes: &[usize], layout: &Layout| match is_stray(file) {
        true => is_parquet(file).then_some(true),
        false => takes(file, deletes, &scan.deletes, layout.target_file_size()),
    };
    for group in groups(metadata, (scan.left(), &scan.deletes), &options.order, &taken)? {
        if is_worth_it(&group, options.least_inputs) {
            plan.take(group, &mut left, options);
        }
    }
    Ok(plan)
}

/// A plan that rewrites just the chosen files of a whole scan, in the table's order, with all their deletes applied.
///
/// # Errors
/// As [`plan`].
pub fn chosen(metadata: &TableMetadata, scan: &Scan, is_chosen: &dyn Fn(&PlannedFile) -> bool) -> Result<Plan> {
    let taken = |file: &PlannedFile, _: &[usize], _: &Layout| is_chosen(file).then_some(true);
    let groups = groups(metadata, (scan.files.iter(), &scan.deletes), &Order::OfTable, &taken)?;
    Ok(Plan { groups, deletes: scan.deletes.clone(), ..Plan::default() })
}

/// Whether a file is of the one format that is written anew.
pub(super) fn is_parquet(file: &PlannedFile) -> bool {
    file.file.file_format() == DataFileFormat::Parquet
}

/// Whether rows can be written by the table's spec.
///
/// # Errors
/// `Invalid` if laked cannot.
pub fn movable(metadata: &TableMetadata) -> Result<()> {
    Layout::rewriting(metadata, metadata.default_partition_spec_id(), true)?.routing().map(drop)
}

/// Plans the move of those files of other specs, of those that a whole scan's condition leaves, to the table's spec.
///
/// # Errors
/// As [`plan`]; `Invalid` if laked cannot write by the table's spec.
pub fn moves(metadata: &TableMetadata, scan: &Scan, max_bytes: Option<u64>) -> Result<Plan> {
    let mut plan = Plan { deletes: scan.deletes.clone(), ..Plan::default() };
    let to_spec = metadata.default_partition_spec_id();
    movable(metadata)?;
    let taken =
        |file: &PlannedFile, _: &[usize], _: &Layout| (file.spec_id != to_spec && is_parquet(file)).then_some(true);
    let mut left = max_bytes.unwrap_or(u64::MAX);
    for mut group in groups(metadata, (scan.left(), &scan.deletes), &Order::OfTable, &taken)? {
        group.to_spec = to_spec;
        let (all, started) = (group.inputs.len(), !plan.groups.is_empty());
        group.inputs.truncate(group.fitting(left).max(usize::from(!started)));
        plan.goes_on |= group.inputs.len() < all;
        if !group.inputs.is_empty() {
            left = left.saturating_sub(group.bytes());
            plan.groups.push(group);
        }
    }
    let foreign = |file: &&PlannedFile| !is_parquet(file) && file.spec_id != to_spec;
    let files = scan.left().filter(foreign).count();
    if files > 0 {
        let why = "only Parquet files are written anew".to_string();
        plan.left_out.push(LeftOut { path: String::new(), files, why });
    }
    Ok(plan)
}

/// Tells whether a file is taken, given the deletes that apply to it and its spec's layout; if so, whether even alone.
type Taken<'a> = &'a dyn Fn(&PlannedFile, &[usize], &Layout) -> Option<bool>;

/// What is taken of files, with a snapshot's deletes, by spec and path.
fn groups<'a>(
    metadata: &TableMetadata,
    (files, deletes): (impl Iterator<Item = &'a PlannedFile>, &[PlannedFile]),
    order: &Order,
    taken: Taken<'_>,
) -> Result<Vec<Group>> {
    let applying = Applying::of(metadata, deletes);
    let mut layouts: BTreeMap<i32, Layout> = BTreeMap::new();
    let mut found: HashMap<(i32, &Struct), Group> = HashMap::new();
    for file in files {
        let layout = match layouts.entry(file.spec_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Layout::rewriting(metadata, file.spec_id, *order == Order::OfTable)?),
        };
        let deletes = applying.to(file);
        let Some(alone) = taken(file, &deletes, layout) else { continue };
        let curve = if let Order::ZOrder(columns) = order { columns.clone() } else { Vec::new() };
        let (spec_id, partition, sorted) = (file.spec_id, file.file.partition(), layout.is_sorted());
        let group = found.entry((spec_id, partition)).or_insert_with(|| {
            let path = layout.partition_path(partition);
            Group { spec_id, partition: partition.clone(), to_spec: spec_id, path, sorted, curve, inputs: Vec::new() }
        });
        group.inputs.push(Input { file: file.clone(), deletes, alone });
    }
    let mut groups: Vec<Group> = found.into_values().collect();
    for group in &mut groups {
        group.inputs.sort_by_key(|input| (input.file.sequence_number, input.file.file.file_path().to_string()));
    }
    // Two values may have one path: it is cut where it is too long.
    let first = |group: &Group| group.inputs[0].file.file.file_path().to_string();
    groups.sort_by_cached_key(|group| (group.spec_id, group.path.clone(), first(group)));
    Ok(groups)
}

/// Whether a file is to be rewritten; and if so, whether even alone.
fn takes(file: &PlannedFile, deletes: &[usize], all: &[PlannedFile], target: u64) -> Option<bool> {
    if !is_parquet(file) {
        return None;
    }
    let alone = is_large(file, target) || is_hit(file, deletes, all);
    (alone || is_small(file, target)).then_some(alone)
}

/// Below 75 % of the target, and of the format that is written anew.
pub fn is_small(file: &PlannedFile, target: u64) -> bool {
    is_parquet(file) && file.file.file_size_in_bytes() < target / 4 * 3
}

/// Above 180 % of the target, and of more than one row group: one cannot be parted.
fn is_large(file: &PlannedFile, target: u64) -> bool {
    file.file.file_size_in_bytes() > target / 5 * 9 && file.file.split_offsets().is_none_or(|offsets| offsets.len() > 1)
}

/// Whether a third of its rows are deleted by position.
fn is_hit(file: &PlannedFile, deletes: &[usize], all: &[PlannedFile]) -> bool {
    let by_position = deletes.iter().map(|&number| &all[number]).filter(|delete| !is_equality(delete));
    // A file of deletes that names no data file may be about others.
    let own = by_position.filter(|delete| delete.file.referenced_data_file().is_some());
    let rows: u64 = own.map(|delete| delete.file.record_count()).sum();
    rows > 0 && rows >= file.file.record_count() / 3
}

fn is_worth_it(group: &Group, least: usize) -> bool {
    group.inputs.len() >= least.max(2) || group.inputs.iter().any(|input| input.alone)
}

/// How many of its files, the oldest first, are worth it at least, of a group that is.
fn least_of(group: &Group, least: usize) -> usize {
    let all = group.inputs.len();
    let alone = group.inputs.iter().position(|input| input.alone).map_or(all, |at| at + 1);
    least.max(2).min(alone).min(all)
}

impl Plan {
    /// Takes a group, or as much of it as the bound still allows: its oldest files. Of the first one as many as are worth it
    /// in any case: files that are large for the bound would be left at every step.
    fn take(&mut self, mut group: Group, left: &mut u64, options: &Options) {
        let (all, fits) = (group.inputs.len(), group.fitting(*left));
        let least = if self.groups.is_empty() { least_of(&group, options.least_inputs) } else { 0 };
        let kept = fits.max(least);
        group.inputs.truncate(kept);
        if kept < all {
            self.goes_on = true;
            if kept == 0 || !is_worth_it(&group, options.least_inputs) {
                let why = format!("{all} files do not fit into this step any more: they are for another");
                self.left_out.push(LeftOut { path: group.path, files: all, why });
                return;
            }
        }
        *left = left.saturating_sub(group.bytes());
        self.groups.push(group);
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::MAIN_BRANCH;
    use laked_catalog::plan::{Predicate, plan as scan_of};

    use super::*;
    use crate::maintain::histories::History;

    #[test]
    fn files_that_are_large_for_the_bound_are_taken_all_the_same_as_few_as_are_worth_it() {
        let mut history = History::new(1, &[]);
        while history.model.len() < 12 {
            history.append(MAIN_BRANCH);
        }
        let metadata = history.table().metadata.clone();
        let scan = scan_of(history.store(), &metadata, metadata.current_snapshot(), &Predicate::True, true);
        let scan = scan.expect("plans");
        let all = scan.files.len();
        // Each file has one byte.
        for (bound, least_inputs, taken) in [(3, 5, 5), (0, 5, 5), (3, 1, 3), (1, 0, 2), (7, 5, 7), (1000, 5, all)] {
            let options = Options { least_inputs, max_bytes: Some(bound), order: Order::OfTable };
            let plan = plan(&metadata, &scan, &options, None).expect("plans");
            let groups: Vec<usize> = plan.groups.iter().map(|group| group.inputs.len()).collect();
            assert_eq!(
                (groups, plan.goes_on, plan.left_out.len()),
                (vec![taken], taken < all, 0),
                "{bound} {least_inputs}"
            );
        }
    }
}
