//! The database made again from the warehouse.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::NamespaceIdent;
use serde::Serialize;

use super::{Problem, Survey, Tip};
use crate::catalog::names::{Record, folder_of};
use crate::catalog::{Catalog, Reply, SEPARATOR};
use crate::error::{Error, Kind, Result};
use crate::state::{Sort, Swap};

/// A table or view whose place is certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Its namespace's levels.
    pub namespace: Vec<String>,
    /// Its name.
    pub name: String,
    /// `table` or `view`.
    pub sort: &'static str,
    /// Its last metadata file.
    pub location: String,
    /// Whether the name was written down; otherwise it is that of its folder.
    pub named: bool,
}

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Those it points to again.
    pub found: Vec<Found>,
    /// Names that the catalog holds, and are left as they are.
    pub kept: Vec<String>,
    /// Folders of what was dropped before.
    pub dropped: Vec<String>,
    /// What a person has to decide.
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// Finds every table and view of the warehouse, and, unless `dry`, points to those that are certain. What the
    /// catalog holds already stays as it is. Properties of namespaces are not found again, but for their locations.
    ///
    /// # Errors
    /// Database errors; storage errors.
    pub fn rebuild(&self, dry: bool) -> Result<Rebuilt> {
        let survey = self.survey()?;
        let mut rebuilt = Rebuilt::default();
        let mut named = BTreeMap::<(Vec<String>, String), Vec<(Found, Sort)>>::new();
        for (uuid, tips) in &survey.tips {
            let dropped =
                |tip: &&Tip| survey.records.get(folder_of(&tip.location)).is_some_and(|record| record.dropped);
            let (gone, live): (Vec<&Tip>, Vec<&Tip>) = tips.iter().partition(dropped);
            rebuilt.dropped.extend(gone.iter().map(|tip| folder_of(&tip.location).to_string()));
            match live.as_slice() {
                [] => {}
                [tip] => match self.certain(&survey, tip) {
                    Ok((found, sort)) => {
                        let key = (found.namespace.clone(), found.name.clone());
                        named.entry(key).or_default().push((found, sort));
                    }
                    Err(problem) => rebuilt.problems.push(problem),
                },
                several => rebuilt.problems.push(self.undecided(uuid, several)),
            }
        }
        rebuilt.problems.extend(lost_folders(&survey));
        for ((namespace, name), mut found) in named {
            match found.pop() {
                Some(one) if found.is_empty() => self.point_again(one, dry, &mut rebuilt)?,
                last => {
                    let locations = found.into_iter().chain(last).map(|(found, _)| found.location).collect();
                    let subject = format!("{}.{name}", namespace.join("."));
                    rebuilt.problems.push(Problem { kind: "name-taken", subject, locations, advice: NAME_TAKEN });
                }
            }
        }
        Ok(rebuilt)
    }

    /// A tip that nothing speaks against, with its name.
    fn certain(&self, survey: &Survey, tip: &Tip) -> Result<(Found, Sort), Problem> {
        let folder = folder_of(&tip.location);
        let problem = |kind, other: Option<&String>, advice| {
            let locations = std::iter::once(&tip.location).chain(other).cloned().collect();
            Problem { kind, subject: folder.to_string(), locations, advice }
        };
        if let Some(other) = survey.clouded(tip) {
            return Err(problem("unreadable", Some(other), UNREADABLE));
        }
        if !tip.belongs {
            return Err(problem("misplaced", None, MISPLACED));
        }
        let record = survey.records.get(folder);
        let name = match record {
            Some(Record { namespace, name, .. }) => Some((namespace.clone(), name.clone())),
            None => self.name_of_folder(folder),
        };
        let Some((namespace, name)) = name else { return Err(problem("nameless", None, NAMELESS)) };
        let location = tip.location.clone();
        Ok((Found { namespace, name, sort: tip.sort.word(), location, named: record.is_some() }, tip.sort))
    }

    fn undecided(&self, uuid: &str, tips: &[&Tip]) -> Problem {
        let folders: BTreeSet<&str> = tips.iter().map(|tip| folder_of(&tip.location)).collect();
        let hinted = folders.iter().filter_map(|folder| self.hinted(folder)).map(|file| format!("hinted: {file}"));
        let locations = tips.iter().map(|tip| tip.location.clone()).chain(hinted).collect();
        Problem { kind: "two-tips", subject: uuid.to_string(), locations, advice: TWO_TIPS }
    }

    /// `<warehouse>/a/b/t/metadata` was made for the table `a.b.t`.
    fn name_of_folder(&self, folder: &str) -> Option<(Vec<String>, String)> {
        let path = folder.strip_prefix(self.warehouse())?.strip_prefix('/')?.strip_suffix("/metadata")?;
        let mut levels: Vec<String> = path.split('/').map(decoded).collect::<Option<_>>()?;
        let name = levels.pop()?;
        (!levels.is_empty()).then_some((levels, name))
    }

    fn point_again(&self, (found, sort): (Found, Sort), dry: bool, rebuilt: &mut Rebuilt) -> Result<()> {
        let namespace = found.namespace.join(&SEPARATOR.to_string());
        let held = |sort| self.inner.state.pointer(sort, &namespace, &found.name);
        if held(Sort::Table)?.is_some() || held(Sort::View)?.is_some() {
            rebuilt.kept.push(format!("{}.{}", found.namespace.join("."), found.name));
            return Ok(());
        }
        if !dry {
            let ident = NamespaceIdent::from_vec(found.namespace.clone())
                .map_err(|error| Error::new(Kind::Corrupt, "a name on disk").because(error))?;
            match self.create_namespace(&ident, BTreeMap::new()) {
                Err(error) if error.kind() == Kind::Exists => {}
                result => result?,
            }
            let to = found.location.clone();
            let swap = Swap { sort, namespace, name: found.name.clone(), from: None, to, body: None };
            if !self.point(&[swap], || Reply::Empty)? {
                return Err(Error::new(Kind::Conflict, "somebody else changes the catalog: stop the daemon first"));
            }
        }
        rebuilt.found.push(found);
        Ok(())
    }
}

const TWO_TIPS: &str = "look at both, and register the one that is right; the hint names what the catalog had last";
const NAME_TAKEN: &str = "register all but one under other names";
const UNREADABLE: &str = "bring the damaged file back, or register the other one and lose what it held";
const MISPLACED: &str = "the file speaks of another folder than it lies in: a copy? register the original";
const NAMELESS: &str = "no name was written down and the folder gives none: register it under a name";
const LOST: &str = "none of its metadata files can be read: bring one back from a copy";

/// Folders that have metadata files, and not one that can be read.
fn lost_folders(survey: &Survey) -> Vec<Problem> {
    let readable: BTreeSet<&str> = survey.tips.values().flatten().map(|tip| folder_of(&tip.location)).collect();
    let mut lost = BTreeMap::<&str, Vec<String>>::new();
    for file in survey.unreadable.iter().filter(|file| !readable.contains(folder_of(file))) {
        lost.entry(folder_of(file)).or_default().push(file.clone());
    }
    let problem = |(folder, locations): (&str, _)| Problem {
        kind: "unreadable",
        subject: folder.to_string(),
        locations,
        advice: LOST,
    };
    lost.into_iter().map(problem).collect()
}

/// The name that a path component was made of.
fn decoded(component: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (hex, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
