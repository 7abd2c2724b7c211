//! What is done to a table by itself, and when: its policy. Pure.
//!
//! # Where it is said
//! Properties of the table, over those of its namespace (the nearest first), over the daemon's settings:
//!
//! | property | meaning |
//! |---|---|
//! | `laked.maintenance` | `on` or `off`; without it on for tables made from contracts, and off for others |
//! | `laked.maintenance.expire` | when snapshots expire |
//! | `laked.maintenance.compact` | when small files are merged |
//! | `laked.maintenance.manifests` | when files are listed anew by partition |
//! | `laked.maintenance.orphans` | when files that nothing names are removed |
//! | `laked.maintenance.min-inputs` | small files that a partition must have |
//! | `laked.maintenance.hot-files` | so many are merged even while more come |
//! | `laked.maintenance.deadline` | how long a run may take, as `1h` |
//!
//! # When
//! A [`Trigger`] is a text: `60 commits`, `500 files`, `1GiB` (of data, since the task was last looked at), `cooled 1m`
//! (a minute after files came), `cron */5 * * * *` (UTC), several joined by `or`; or `off`. A task that a property names is
//! done, whatever table it is, unless `laked.maintenance` is `off`.
//!
//! What cannot be understood is a problem, which is told (`lakectl health`, the log), and the next to say something is
//! followed: a bad text must neither stop the others' upkeep nor switch a table's off.

use std::collections::BTreeMap;
use std::fmt;

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};

use super::cron::Cron;
use crate::units::{AGES, SIZES, parse};

/// `on` or `off`, and the prefix of the rest.
pub const PROPERTY: &str = "laked.maintenance";
/// Tables made from contracts have this.
const CONTRACT: &str = "laked.contract.hash";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Snapshots expire.
    Expire,
    /// Small files are merged, deletes worked in.
    Compact,
    /// Files are listed anew by partition.
    Manifests,
    /// Files that nothing names are removed.
    Orphans,
}

impl Task {
    /// All of them, in the order in which they are done when several are due.
    pub const ALL: [Task; 4] = [Task::Expire, Task::Compact, Task::Manifests, Task::Orphans];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Task::Expire => "expire",
            Task::Compact => "compact",
            Task::Manifests => "manifests",
            Task::Orphans => "orphans",
        }
    }
}

/// When a task is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// After so many commits.
    pub commits: Option<u64>,
    /// After so many new data files.
    pub files: Option<u64>,
    /// After so many bytes of them.
    pub bytes: Option<u64>,
    /// When a commit is so old, in ms.
    pub cooled_ms: Option<i64>,
    /// At these times.
    pub cron: Vec<Cron>,
    text: String,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trigger {
    /// Reads a trigger; `None` for `off`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Option<Trigger>, String> {
        if text.trim() == "off" {
            return Ok(None);
        }
        let mut trigger = Trigger { text: text.trim().to_string(), ..Trigger::default() };
        for part in text.split(" or ") {
            trigger.add(part.trim()).map_err(|why| {
                let forms = "\"60 commits\", \"500 files\", \"1GiB\", \"cooled 1m\", \"cron */5 * * * *\"";
                format!("'{text}' does not say when: {why}; write {forms}, several with \"or\" between, or \"off\"")
            })?;
        }
        Ok(Some(trigger))
    }

    fn add(&mut self, part: &str) -> Result<(), String> {
        let counted = |unit: &str| {
            let number = part.strip_suffix(unit)?.trim_end();
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok()).flatten()
        };
        let positive = |number: u64| if number > 0 { Ok(Some(number)) } else { Err("nothing is never".to_string()) };
        if let Some(fields) = part.strip_prefix("cron ") {
            self.cron.push(Cron::parse(fields)?);
        } else if let Some(age) = part.strip_prefix("cooled ") {
            self.cooled_ms = Some(age_ms(age).ok_or_else(|| format!("'{age}' is no length of time"))?);
        } else if let Some(number) = counted("commits").or_else(|| counted("commit")) {
            self.commits = positive(number)?;
        } else if let Some(number) = counted("files").or_else(|| counted("file")) {
            self.files = positive(number)?;
        } else {
            self.bytes = positive(parse(part, &SIZES).ok_or_else(|| format!("'{part}' is none of these"))?)?;
        }
        Ok(())
    }
}

/// A length of time as `30s`, in ms.
fn age_ms(text: &str) -> Option<i64> {
    parse(text.trim(), &AGES).and_then(|ms| i64::try_from(ms).ok())
}

/// Whose tables are looked after that say nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// Those made from contracts.
    Contracts,
    /// All.
    All,
    /// None.
    None,
}

/// What the daemon's settings say.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Whose tables are looked after that say nothing of it.
    pub silent: Silent,
    /// When each task is due; those left out are off.
    pub triggers: BTreeMap<Task, Trigger>,
    /// Small files that a partition must have.
    pub min_inputs: usize,
    /// So many are merged even while more come.
    pub hot_files: usize,
    /// How long a run may take, in ms.
    pub deadline_ms: i64,
}

/// A table's policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// When each task is due; those left out are off.
    pub triggers: BTreeMap<Task, Trigger>,
    /// Why those that are off are.
    pub off: BTreeMap<Task, String>,
    /// Small files that a partition must have.
    pub min_inputs: usize,
    /// So many are merged even while more come.
    pub hot_files: usize,
    /// How long a run may take, in ms.
    pub deadline_ms: i64,
    /// What could not be understood.
    pub problems: Vec<String>,
}

impl Policy {
    /// Whether nothing is done by itself.
    pub fn is_idle(&self) -> bool {
        self.triggers.is_empty()
    }

    /// The policy of a table; `above` are its namespaces' properties, the nearest first.
    pub fn of(metadata: &TableMetadata, above: &[BTreeMap<String, String>], defaults: &Defaults) -> Policy {
        let mut said = Said { metadata, above, problems: Vec::new() };
        let switch = said.first("", |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            other => Err(format!("'{other}' is neither on nor off")),
        });
        let contracted = metadata.properties().contains_key(CONTRACT);
        let silent = match defaults.silent {
            Silent::All => true,
            Silent::Contracts => contracted,
            Silent::None => false,
        };
        let (mut triggers, mut off) = (BTreeMap::new(), BTreeMap::new());
        for task in Task::ALL {
            let own = said.first(&format!(".{}", task.name()), Trigger::parse);
            match (switch, own) {
                (Some(false), _) => drop(off.insert(task, format!("{PROPERTY} is off"))),
                (_, Some(Some(trigger))) => drop(triggers.insert(task, trigger)),
                (_, Some(None)) => drop(off.insert(task, format!("{PROPERTY}.{} is off", task.name()))),
                (switch, None) if switch.unwrap_or(silent) => match defaults.triggers.get(&task) {
                    Some(trigger) => drop(triggers.insert(task, trigger.clone())),
                    None => drop(off.insert(task, format!("maintenance.{} of the settings is off", task.name()))),
                },
                _ => drop(off.insert(task, unasked(contracted))),
            }
        }
        let count = |text: &str| text.parse::<usize>().map_err(|_| format!("'{text}' is no number"));
        let time = |text: &str| age_ms(text).filter(|ms| *ms > 0).ok_or_else(|| format!("'{text}' is no time, as 1h"));
        Policy {
            min_inputs: said.first(".min-inputs", count).unwrap_or(defaults.min_inputs).max(2),
            hot_files: said.first(".hot-files", count).unwrap_or(defaults.hot_files).max(2),
            deadline_ms: said.first(".deadline", time).unwrap_or(defaults.deadline_ms),
            problems: said.all_problems(),
            triggers,
            off,
        }
    }
}

fn unasked(contracted: bool) -> String {
    let what =
        if contracted { "maintenance.tables of the settings leaves it out" } else { "no contract made the table" };
    format!("{what}, and it does not ask: set {PROPERTY} to on")
}

/// What a table and its namespaces say.
struct Said<'a> {
    metadata: &'a TableMetadata,
    above: &'a [BTreeMap<String, String>],
    problems: Vec<String>,
}

const KNOWN: [&str; 7] = [".expire", ".compact", ".manifests", ".orphans", ".min-inputs", ".hot-files", ".deadline"];

impl Said<'_> {
    /// The first that can be read; what cannot is a problem.
    fn first<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let key = format!("{PROPERTY}{name}");
        let own = self.metadata.properties().get(&key);
        let texts = own.into_iter().chain(self.above.iter().filter_map(|properties| properties.get(&key)));
        for text in texts {
            match read(text) {
                Ok(value) => return Some(value),
                Err(why) => self.problems.push(format!("{key}: {why}")),
            }
        }
        None
    }

    /// The problems so far, and the properties that mean nothing.
    fn all_problems(mut self) -> Vec<String> {
        let own = self.metadata.properties().keys();
        let mut strays: Vec<&String> = own.chain(self.above.iter().flat_map(BTreeMap::keys)).collect();
        let is_stray =
            |key: &str| key.strip_prefix(PROPERTY).is_some_and(|rest| rest.starts_with('.') && !KNOWN.contains(&rest));
        strays.retain(|key| is_stray(key));
        strays.sort();
        self.problems.extend(strays.into_iter().map(|key| {
            format!("{key}: there is no such property; there are {PROPERTY} and, after it, {}", KNOWN.join(", "))
        }));
        self.problems
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::maintain::histories::History;

    pub fn trigger(text: &str) -> Trigger {
        Trigger::parse(text).expect("is read").expect("is on")
    }

    pub fn defaults() -> Defaults {
        let triggers = [(Task::Expire, "60 commits or cron */5 * * * *"), (Task::Compact, "cooled 1m")];
        Defaults {
            silent: Silent::Contracts,
            triggers: triggers.map(|(task, text)| (task, trigger(text))).into(),
            min_inputs: 5,
            hot_files: 20,
            deadline_ms: 3_600_000,
        }
    }

    fn policy(properties: &[(&str, &str)], above: &[&[(&str, &str)]]) -> Policy {
        let text = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        let above: Vec<BTreeMap<String, String>> = above.iter().map(|one| one.iter().map(text).collect()).collect();
        Policy::of(&History::new(1, properties).table().metadata, &above, &defaults())
    }

    fn on(policy: &Policy) -> Vec<(&'static str, String)> {
        policy.triggers.iter().map(|(task, trigger)| (task.name(), trigger.to_string())).collect()
    }

    #[test]
    fn triggers_are_read() {
        let all = trigger("60 commits or 1 file or 2 MiB or cooled 30s or cron */5 * * * * or cron 0 0 * * *");
        assert_eq!((all.commits, all.files, all.bytes), (Some(60), Some(1), Some(2 << 20)));
        assert_eq!((all.cooled_ms, all.cron.len()), (Some(30_000), 2));
        assert_eq!(Trigger::parse(" off "), Ok(None));
        for (text, said) in [
            ("", "none of these"),
            ("often", "none of these"),
            ("0 commits", "never"),
            ("-1 files", "none of these"),
            ("cooled", "none of these"),
            ("cooled soon", "no length of time"),
            ("cron 61 * * * *", "no minute"),
            ("5 commits or off", "none of these"),
            ("5 commits and 3 files", "none of these"),
        ] {
            let refused = Trigger::parse(text).expect_err(text);
            assert!(refused.contains(said) && refused.contains("\"off\""), "{text}: {refused}");
        }
    }

    #[test]
    fn a_contracts_table_is_looked_after_and_a_foreign_one_when_it_asks() {
        let own = policy(&[("laked.contract.hash", "x")], &[]);
        let both = [("expire", "60 commits or cron */5 * * * *".to_string()), ("compact", "cooled 1m".to_string())];
        assert_eq!((on(&own), own.problems.len()), (both.to_vec(), 0));
        assert!(own.off[&Task::Orphans].contains("settings"));
        let foreign = policy(&[], &[]);
        assert!(foreign.is_idle() && foreign.off[&Task::Expire].contains("laked.maintenance"), "{:?}", foreign.off);
        assert_eq!(on(&policy(&[("laked.maintenance", "on")], &[])), both.to_vec());
        assert_eq!(on(&policy(&[], &[&[], &[("laked.maintenance", "on")]])), both.to_vec(), "a namespace above asks");
        let one = policy(&[("laked.maintenance.compact", "9 files")], &[]);
        assert_eq!(on(&one), [("compact", "9 files".to_string())]);
        let off =
            policy(&[("laked.contract.hash", "x"), ("laked.maintenance", "off")], &[&[("laked.maintenance", "on")]]);
        assert!(off.is_idle() && off.off[&Task::Compact] == "laked.maintenance is off");
    }

    #[test]
    fn the_table_is_over_its_namespace_and_that_over_the_one_above() {
        let above: [&[(&str, &str)]; 2] = [
            &[("laked.maintenance.compact", "2 files"), ("laked.maintenance.deadline", "2m")],
            &[("laked.maintenance.compact", "3 files"), ("laked.maintenance.min-inputs", "7")],
        ];
        let below = policy(&[("laked.maintenance.deadline", "1m")], &above);
        assert_eq!(on(&below), [("compact", "2 files".to_string())]);
        assert_eq!((below.deadline_ms, below.min_inputs, below.hot_files), (60_000, 7, 20));
    }

    #[test]
    fn what_cannot_be_understood_is_told_and_the_next_is_followed() {
        let bad = policy(
            &[
                ("laked.contract.hash", "x"),
                ("laked.maintenance", "perhaps"),
                ("laked.maintenance.compact", "often"),
                ("laked.maintenance.deadline", "0s"),
                ("laked.maintenance.min-inputs", "-3"),
                ("laked.maintenance.sweep", "on"),
                ("laked.maintenances", "is another's"),
            ],
            &[&[("laked.maintenance.compact", "8 files")]],
        );
        assert_eq!(bad.triggers[&Task::Compact].to_string(), "8 files");
        assert_eq!((bad.deadline_ms, bad.min_inputs), (3_600_000, 5));
        let told: Vec<&str> = bad.problems.iter().filter_map(|text| text.split(": ").next()).collect();
        let keys = ["", ".compact", ".min-inputs", ".deadline", ".sweep"].map(|key| format!("{PROPERTY}{key}"));
        assert_eq!(told, keys);
    }
}
