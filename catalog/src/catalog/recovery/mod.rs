//! What lies in the warehouse, seen without the database: for checking the database, and for making it again.
//!
//! A [`Survey`] finds the **tip** of each table: the metadata file that comes last. Files are looked at from the highest
//! number down. A file that a later one's metadata log names is its past and is not even read. A file whose number that
//! log gives to another file, or that is older than the log, lost its swap or fell out: the chain went past it. What
//! remains beside a tip is a second tip, and which of the two the catalog pointed to nobody can say; it is reported, with
//! what the version hint says.

mod check;
mod rebuild;
#[cfg(test)]
mod tests;

pub use rebuild::{Found, Rebuilt};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::{Record, folder_of};
use super::{Catalog, gzip};
use crate::error::Result;
use crate::hint;
use crate::state::Sort;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind: a stable word.
    pub kind: &'static str,
    /// The table, view or folder.
    pub subject: String,
    /// The files or names it is about.
    pub locations: Vec<String>,
    /// What to do.
    pub advice: &'static str,
}

/// What is read of a metadata file here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Gist {
    #[serde(alias = "view-uuid")]
    table_uuid: Option<String>,
    /// Only views have it.
    current_version_id: Option<i64>,
    location: String,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
    #[serde(default)]
    metadata_log: Option<Vec<Logged>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Logged {
    metadata_file: String,
}

/// A metadata file that nothing comes after.
#[derive(Debug)]
struct Tip {
    location: String,
    uuid: String,
    sort: Sort,
    /// Whether its own words agree with the folder it lies in.
    belongs: bool,
    /// The numbers in its log, with the files that have them.
    log: BTreeSet<String>,
    oldest: Option<u64>,
}

impl Tip {
    fn of(location: &str, gist: Gist) -> Option<Tip> {
        let uuid = gist.table_uuid?.to_ascii_lowercase();
        let sort = if gist.current_version_id.is_some() { Sort::View } else { Sort::Table };
        let own = format!("{}/metadata", gist.location.trim_end_matches('/'));
        let set = gist.properties.as_ref().and_then(|properties| properties.get("write.metadata.path"));
        let folder = folder_of(location);
        let belongs = folder == own || set.is_some_and(|set| set.trim_end_matches('/') == folder);
        let log: BTreeSet<String> =
            gist.metadata_log.into_iter().flatten().map(|logged| logged.metadata_file).collect();
        let oldest = log.iter().filter_map(|file| hint::version(file)).min();
        Some(Tip { location: location.to_string(), uuid, sort, belongs, log, oldest })
    }

    /// Whether the chain that ends here went past that file.
    fn passed(&self, location: &str) -> bool {
        let number = hint::version(location);
        if self.log.contains(location) {
            return true;
        }
        if self.sort == Sort::View {
            return number < hint::version(&self.location);
        }
        let taken = self.log.iter().any(|file| hint::version(file) == number);
        taken || self.oldest.is_some_and(|oldest| number.is_none_or(|number| number < oldest))
    }
}

/// The warehouse as it lies there.
#[derive(Debug, Default)]
struct Survey {
    /// Tips by UUID; more than one is a problem.
    tips: BTreeMap<String, Vec<Tip>>,
    /// Files that are no metadata of anything, though they are called so.
    unreadable: Vec<String>,
    /// Names on disk, by folder.
    records: BTreeMap<String, Record>,
    /// Every folder with metadata files.
    folders: BTreeSet<String>,
}

impl Survey {
    /// Takes in the next file, in falling order of numbers.
    fn take(&mut self, catalog: &Catalog, location: &str) {
        let passed = |tip: &Tip| tip.log.contains(location);
        if self.tips.values().flatten().any(passed) {
            return;
        }
        let Some(tip) = catalog.gist(location).and_then(|gist| Tip::of(location, gist)) else {
            self.unreadable.push(location.to_string());
            return;
        };
        let known = self.tips.entry(tip.uuid.clone()).or_default();
        if !known.iter().any(|later| later.passed(location)) {
            known.push(tip);
        }
    }

    /// A file that cannot be read, and would come after this tip if it could.
    fn clouded(&self, tip: &Tip) -> Option<&String> {
        let after = |file: &&String| {
            folder_of(file) == folder_of(&tip.location) && hint::version(file) >= hint::version(&tip.location)
        };
        self.unreadable.iter().find(after)
    }
}

impl Catalog {
    fn gist(&self, location: &str) -> Option<Gist> {
        let json = gzip::unpack(self.inner.store.read(location).ok()?).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// Looks through the warehouse, and the folders outside of it that are written down.
    fn survey(&self) -> Result<Survey> {
        let mut survey = Survey { records: self.records()?, ..Survey::default() };
        let outside = survey.records.keys().filter(|folder| !folder.starts_with(self.warehouse()));
        let roots: Vec<&str> = std::iter::once(self.warehouse()).chain(outside.map(String::as_str)).collect();
        let mut files = BTreeMap::<String, Vec<(u64, String)>>::new();
        for root in roots {
            for entry in self.inner.store.list(root)? {
                let name = entry.location.rsplit('/').next().unwrap_or_default();
                if name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz") {
                    let number = hint::version(&entry.location).unwrap_or(0);
                    files.entry(folder_of(&entry.location).to_string()).or_default().push((number, entry.location));
                }
            }
        }
        // A folder at a time: the logs of its tips are few, whatever the warehouse holds.
        for (folder, mut files) in files {
            files.sort_unstable_by(|a, b| b.cmp(a));
            let mut here = Survey::default();
            files.iter().for_each(|(_, location)| here.take(self, location));
            survey.unreadable.append(&mut here.unreadable);
            for (uuid, tips) in here.tips {
                survey.tips.entry(uuid).or_default().extend(tips);
            }
            survey.folders.insert(folder);
        }
        for tips in survey.tips.values_mut() {
            settle_moves(tips);
        }
        Ok(survey)
    }

    /// The file that a folder's version hint names.
    fn hinted(&self, folder: &str) -> Option<String> {
        let stem = self.inner.store.read(&format!("{folder}/version-hint.text")).ok()?;
        let stem = String::from_utf8(stem.to_vec()).ok()?;
        Some(format!("{folder}/{}.metadata.json", stem.trim()))
    }
}

/// A table that moved to another folder has a tip in each, and the later one's log names the earlier.
fn settle_moves(tips: &mut Vec<Tip>) {
    let named: BTreeSet<String> = tips.iter().flat_map(|tip| tip.log.iter().cloned()).collect();
    tips.retain(|tip| !named.contains(&tip.location));
    tips.sort_by(|a, b| a.location.cmp(&b.location));
}
