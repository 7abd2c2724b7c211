//! Which of a branch's files are new to readers, and to be held to the contract of now.
//!
//! What ingestion brought was held to the contract that its snapshot names, at the door; a later version may be stricter,
//! and old rows need not hold it. Files of snapshots that name no contract were written by other engines. Of a snapshot
//! that has expired the next kept one that names a contract stands in, because versions only rise; so a file that
//! another engine wrote under an earlier version, in a snapshot that has expired since, passes: that is told.

use std::collections::HashSet;
use std::fmt;

use iceberg::spec::TableMetadata;
use serde::Serialize;

use crate::contract::property;
use crate::error::Result;
use crate::history::ancestry;
use crate::read::duck::files;
use crate::read::plan::PlannedFile;

/// New files that were held to an earlier version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Earlier {
    /// Files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Those files whose snapshot has expired.
    pub of_expired_snapshots: u64,
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Earlier { files, rows, of_expired_snapshots: expired } = self;
        write!(f, "{rows} rows in {files} files came under an earlier version of the contract, and were held to that")?;
        match expired {
            0 => Ok(()),
            _ => write!(f, " (of {expired} files the snapshot has expired: the next one says so)"),
        }
    }
}

/// What is asked of each file.
#[derive(Debug)]
pub struct News<'a> {
    /// Files that readers see.
    shown: HashSet<String>,
    /// The branch's snapshots, oldest first: sequence number, and the hash of the contract it names.
    line: Vec<(i64, Option<&'a str>)>,
    /// The hash of the contract of now.
    hash: String,
    earlier: Earlier,
}

impl<'a> News<'a> {
    /// Of the branch up to a snapshot.
    ///
    /// # Errors
    /// Storage errors.
    pub fn of(metadata: &'a TableMetadata, upto: i64, hash: &str) -> Result<News<'a>> {
        let shown = files(metadata, metadata.current_snapshot())?;
        Ok(News::beside(metadata, upto, hash, shown))
    }

    fn beside(metadata: &'a TableMetadata, upto: i64, hash: &str, shown: HashSet<String>) -> News<'a> {
        let named = ancestry(metadata, upto).map(|snapshot| {
            let hash = snapshot.summary().additional_properties.get(property::HASH);
            (snapshot.sequence_number(), hash.map(String::as_str))
        });
        let mut line: Vec<_> = named.collect();
        line.reverse();
        News { shown, line, hash: hash.to_string(), earlier: Earlier::default() }
    }

    /// Whether the file is to be held to the contract; one that was held to an earlier version is counted.
    pub fn wants(&mut self, file: &PlannedFile) -> bool {
        let is_new = !self.shown.contains(file.file.file_path());
        is_new && self.is_of_now(file.sequence_number, file.file.record_count())
    }

    fn is_of_now(&mut self, sequence_number: i64, rows: u64) -> bool {
        let later = &self.line[self.line.partition_point(|(number, _)| *number < sequence_number)..];
        let is_kept = later.first().is_some_and(|(number, _)| *number == sequence_number);
        let named = match is_kept {
            true => later.first().and_then(|(_, hash)| *hash),
            false => later.iter().find_map(|(_, hash)| *hash),
        };
        if named.is_none_or(|named| named == self.hash) {
            return true;
        }
        self.earlier.files += 1;
        self.earlier.rows += rows;
        self.earlier.of_expired_snapshots += u64::from(!is_kept);
        false
    }

    /// What was held to an earlier version, if anything was.
    pub fn earlier(self) -> Option<Earlier> {
        Some(self.earlier).filter(|earlier| earlier.files > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_to_the_contract_of_now_unless_its_snapshot_names_another() {
        // Of 3 and 5 the snapshots have expired; 4 is another engine's.
        let line = vec![(1, Some("old")), (2, Some("old")), (4, None), (6, Some("old")), (7, None), (8, Some("now"))];
        let wanted = |number| {
            let (line, hash) = (line.clone(), "now".to_string());
            let mut news = News { shown: HashSet::new(), line, hash, earlier: Earlier::default() };
            (news.is_of_now(number, 10), news.earlier().map(|earlier| (earlier.rows, earlier.of_expired_snapshots)))
        };
        let (told, expired) = (Some((10, 0)), Some((10, 1)));
        let found: Vec<_> = (1..=9).map(wanted).collect();
        let held = (true, None);
        assert_eq!(
            found,
            [(false, told), (false, told), (false, expired), held, (false, expired), (false, told), held, held, held]
        );
    }
}
