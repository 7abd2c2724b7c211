//! Which deletes apply to which data files (specification, "Scan Planning").
//!
//! A position delete file applies to files of its own spec and partition that are not younger; one that names its data
//! file, and every deletion vector, to that file only. Where a vector applies it stands for all position deletes. An
//! equality delete file applies to older files of its own spec and partition, or to all older files if its spec has no
//! partitions.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, Struct, TableMetadata, Transform};
use laked_catalog::plan::PlannedFile;

/// The deletes of a snapshot, by what they apply to. They go by their numbers.
#[derive(Debug, Default)]
pub struct Applying<'a> {
    deletes: &'a [PlannedFile],
    by_file: HashMap<String, Vec<usize>>,
    by_partition: HashMap<(i32, &'a Struct), Vec<usize>>,
    everywhere: Vec<usize>,
}

/// How a delete is told from others: its file, and where in it a vector begins.
pub fn id_of(delete: &DataFile) -> (String, Option<i64>) {
    (delete.file_path().to_string(), delete.content_offset())
}

pub(super) fn is_equality(delete: &PlannedFile) -> bool {
    delete.file.content_type() == DataContentType::EqualityDeletes
}

pub(super) fn is_vector(delete: &PlannedFile) -> bool {
    delete.file.file_format() == DataFileFormat::Puffin
}

impl<'a> Applying<'a> {
    /// Of a table's delete files.
    pub fn of(metadata: &TableMetadata, deletes: &'a [PlannedFile]) -> Self {
        let mut applying = Applying { deletes, ..Applying::default() };
        for (number, delete) in deletes.iter().enumerate() {
            let spec = metadata.partition_spec_by_id(delete.spec_id);
            let anywhere = spec.is_none_or(|spec| spec.fields().iter().all(|f| f.transform == Transform::Void));
            match delete.file.referenced_data_file() {
                Some(data) if !is_equality(delete) => applying.by_file.entry(data).or_default().push(number),
                _ if is_equality(delete) && anywhere => applying.everywhere.push(number),
                _ => {
                    let partition = (delete.spec_id, delete.file.partition());
                    applying.by_partition.entry(partition).or_default().push(number);
                }
            }
        }
        applying
    }

    /// Those that apply to a data file, in order.
    pub fn to(&self, data: &PlannedFile) -> Vec<usize> {
        if self.deletes.is_empty() {
            return Vec::new();
        }
        let partition = (data.spec_id, data.file.partition());
        let lists =
            [self.by_file.get(data.file.file_path()), self.by_partition.get(&partition), Some(&self.everywhere)];
        let applies = |number: &usize| {
            let delete = &self.deletes[*number];
            match is_equality(delete) {
                true => delete.sequence_number > data.sequence_number,
                false => delete.sequence_number >= data.sequence_number,
            }
        };
        let mut found: Vec<usize> = lists.into_iter().flatten().flatten().copied().filter(applies).collect();
        if found.iter().any(|&number| is_vector(&self.deletes[number])) {
            found.retain(|&number| is_vector(&self.deletes[number]) || is_equality(&self.deletes[number]));
        }
        found.sort_unstable();
        found
    }
}
