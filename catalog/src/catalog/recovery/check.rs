//! Whether the database and the warehouse say the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{Problem, Survey};
use crate::catalog::names::folder_of;
use crate::catalog::{Catalog, SEPARATOR};
use crate::error::Result;
use crate::state::{Pointer, Sort};

impl Catalog {
    /// What does not fit: pointers to nothing, to what cannot be read, to another's folder, to what is not the last; two
    /// names for one table; folders that nothing points to.
    ///
    /// # Errors
    /// Database errors; storage errors.
    pub fn check(&self) -> Result<Vec<Problem>> {
        let (pointers, survey) = (self.inner.state.pointers()?, self.survey()?);
        let mut problems = Vec::new();
        let mut uuids = BTreeMap::<String, Vec<String>>::new();
        for pointer in &pointers {
            let name = text_of(pointer);
            let read = self.inner.store.len(&pointer.location).map(|_| self.gist(&pointer.location));
            let gist = match read {
                Err(_) => {
                    problems.push(problem("missing", &name, &[&pointer.location], MISSING));
                    continue;
                }
                Ok(gist) => gist,
            };
            let Some(tip) = gist.and_then(|gist| super::Tip::of(&pointer.location, gist)) else {
                problems.push(problem("unreadable", &name, &[&pointer.location], MISSING));
                continue;
            };
            if !tip.belongs || tip.sort != pointer.sort {
                problems.push(problem("misplaced", &name, &[&pointer.location], MISPLACED));
            }
            problems.extend(later(&survey, &tip.uuid, pointer));
            uuids.entry(tip.uuid).or_default().push(name);
        }
        for (uuid, names) in uuids.iter().filter(|(_, names)| names.len() > 1) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            problems.push(problem("twice", uuid, &names, TWICE));
        }
        problems.extend(unclaimed(&survey, &pointers));
        Ok(problems)
    }
}

const MISSING: &str = "bring the file back from a copy; or drop the table and register its last whole metadata file";
const MISPLACED: &str = "the file speaks of another folder or kind than its name: look who copied it";
const TWICE: &str = "two names change one table behind each other's back: drop one without purging";
const BEHIND: &str = "a crash left the file of a commit that never took effect, and it may go; or the database is older than the warehouse \
     (a backup was restored): then register the later file with overwrite";
const UNCLAIMED: &str = "register its last metadata file, or delete the folder";

fn problem(kind: &'static str, subject: &str, locations: &[&str], advice: &'static str) -> Problem {
    let locations = locations.iter().map(|text| (*text).to_string()).collect();
    Problem { kind, subject: subject.to_string(), locations, advice }
}

fn text_of(pointer: &Pointer) -> String {
    format!("{}.{}", pointer.namespace.replace(SEPARATOR, "."), pointer.name)
}

/// A tip whose past the pointer is: a restored backup forgot what came after it.
fn later(survey: &Survey, uuid: &str, pointer: &Pointer) -> Option<Problem> {
    let tips = survey.tips.get(uuid)?;
    let after = |tip: &&super::Tip| tip.location != pointer.location && tip.log.contains(&pointer.location);
    let locations: Vec<&str> = tips.iter().filter(after).map(|tip| tip.location.as_str()).collect();
    // A commit that a crash cut off leaves one file behind, which the next commit's log will pass.
    (!locations.is_empty()).then(|| problem("behind", &text_of(pointer), &locations, BEHIND))
}

fn unclaimed(survey: &Survey, pointers: &[Pointer]) -> Vec<Problem> {
    let claimed: BTreeSet<&str> = pointers.iter().map(|pointer| folder_of(&pointer.location)).collect();
    let dropped = |folder: &str| survey.records.get(folder).is_some_and(|record| record.dropped);
    let moved = |folder: &str| {
        let tips = || survey.tips.values().flatten();
        !tips().any(|tip| folder_of(&tip.location) == folder)
            && tips().any(|tip| tip.log.iter().any(|file| folder_of(file) == folder))
    };
    let nobodys = survey.folders.iter().filter(|folder| !claimed.contains(folder.as_str()));
    let nobodys = nobodys.filter(|folder| !dropped(folder) && !moved(folder));
    nobodys.map(|folder| problem("unclaimed", folder, &[], UNCLAIMED)).collect()
}

impl Sort {
    /// As a person says it.
    pub fn word(self) -> &'static str {
        match self {
            Sort::Table => "table",
            Sort::View => "view",
        }
    }
}
