//! Which delete files apply to which data files (Iceberg specification, scan planning).
//!
//! A position delete file applies to files of its own spec and partition that are not younger; one that names its data
//! file, and every deletion vector, to that file only. Where a deletion vector applies it stands for all position
//! deletes. An equality delete file applies to older files of its own spec and partition, or to all older files if its
//! spec has no partitions.

use std::collections::{BTreeSet, HashMap};

use iceberg::spec::{DataContentType, DataFileFormat, Struct};
use serde_json::Value as Json;

use super::content::describe;
use super::snapshot::PlannedFile;
use super::spec::Spec;

/// What an entry costs beside its description, in bytes.
const ENTRY: usize = 200;

/// The delete files of a scan, by what they apply to.
#[derive(Debug, Default)]
pub struct Deletes {
    entries: Vec<Entry>,
    by_file: HashMap<String, Vec<usize>>,
    by_partition: HashMap<(i32, Struct), Vec<usize>>,
    everywhere: Vec<usize>,
    weight: usize,
}

#[derive(Debug)]
struct Entry {
    sequence_number: i64,
    equality: bool,
    vector: bool,
    json: Json,
}

impl Deletes {
    /// Adds a delete file.
    pub fn add(&mut self, delete: &PlannedFile, spec: &Spec) {
        let number = self.entries.len();
        let equality = delete.file.content_type() == DataContentType::EqualityDeletes;
        let json = describe(delete, spec, &BTreeSet::new());
        self.weight += ENTRY + 2 * delete.file.file_path().len();
        let vector = delete.file.file_format() == DataFileFormat::Puffin;
        self.entries.push(Entry { sequence_number: delete.sequence_number, equality, vector, json });
        match delete.file.referenced_data_file() {
            Some(data) if !equality => self.by_file.entry(data).or_default().push(number),
            _ if equality && spec.is_unpartitioned() => self.everywhere.push(number),
            _ => {
                let partition = (delete.spec_id, delete.file.partition().clone());
                self.by_partition.entry(partition).or_default().push(number);
            }
        }
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The delete files that apply to a data file, by number.
    pub fn of(&self, data: &PlannedFile) -> Vec<usize> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let partition = (data.spec_id, data.file.partition().clone());
        let lists =
            [self.by_file.get(data.file.file_path()), self.by_partition.get(&partition), Some(&self.everywhere)];
        let applies = |number: &usize| {
            self.entries.get(*number).is_some_and(|entry| match entry.equality {
                true => entry.sequence_number > data.sequence_number,
                false => entry.sequence_number >= data.sequence_number,
            })
        };
        let mut found: Vec<usize> = lists.into_iter().flatten().flatten().copied().filter(applies).collect();
        let is = |number: &usize, what: fn(&Entry) -> bool| self.entries.get(*number).is_some_and(what);
        if found.iter().any(|number| is(number, |entry| entry.vector)) {
            found.retain(|number| is(number, |entry| entry.vector || entry.equality));
        }
        found
    }

    /// A delete file's description.
    pub fn describe(&self, number: usize) -> Option<&Json> {
        self.entries.get(number).map(|entry| &entry.json)
    }
}
