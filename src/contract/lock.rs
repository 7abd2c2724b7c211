//! `schemas/contracts.lock`: which versions of contracts were published, and with what text.
//!
//! ```toml
//! [[contract]]
//! id = "glucose.cgm_readings"
//! version = 1
//! hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! ```
//! Sorted by id and version, so that two people's additions merge. A line never changes: records, producers and tables
//! name a version, so it must stand for one text for ever. `lakectl contract lock` adds lines, `lakectl apply` does so
//! for what it has applied; both refuse a file whose text is not the one that its version was published with, as the
//! daemon does. The hash is what `sha256sum` says of the file. A folder without the file has nothing to guard.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use laked_catalog::store::Disk;
use serde::{Deserialize, Serialize};

use super::Contract;
use crate::error::{Error, Kind, Result};

/// The file's name.
pub const LOCK: &str = "contracts.lock";

const HEAD: &str = "# Published versions of contracts; `lakectl contract lock` adds them. A line never changes.\n";

/// The versions that were published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<(String, u32), String>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    contract: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    version: u32,
    hash: String,
}

impl Lock {
    /// Reads a lock. `origin` is its path, for messages.
    ///
    /// # Errors
    /// `Invalid` if it cannot be read, or says two things of a version.
    pub fn parse(text: &str, origin: &str) -> Result<Lock> {
        let unfit = |error: toml::de::Error| Error::new(Kind::Invalid, format!("{origin}: {}", error.message()));
        let File { contract } = toml::from_str(text).map_err(unfit)?;
        let mut lock = Lock::default();
        for Line { id, version, hash } in contract {
            let key = (id, version);
            match lock.0.get(&key) {
                Some(held) if *held != hash => {
                    let message = "says two things of a version; keep the line that was published";
                    let message = format!("{origin}: {message}: {} version {}", key.0, key.1);
                    return Err(Error::new(Kind::Invalid, message));
                }
                _ => drop(lock.0.insert(key, hash)),
            }
        }
        Ok(lock)
    }

    /// The lock of a schemas folder; nothing is published where there is none.
    ///
    /// # Errors
    /// As [`Lock::parse`]; storage errors.
    pub fn load(disk: &dyn Disk, folder: &Path) -> Result<Lock> {
        let path = folder.join(LOCK);
        let origin = path.display().to_string();
        match disk.read(&path) {
            Ok(bytes) => Lock::parse(&String::from_utf8_lossy(&bytes), &origin),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lock::default()),
            Err(error) => Err(Error::from(error).with("lock", origin)),
        }
    }

    /// Holds a contract against what was published.
    ///
    /// # Errors
    /// `Invalid` if its version has another text, or a later one was published.
    pub fn check(&self, contract: &Contract) -> Result<()> {
        let (id, version) = (contract.id(), contract.version);
        let last = self.0.range((id.clone(), 0)..=(id.clone(), u32::MAX)).next_back().map(|((_, last), _)| *last);
        let Some(last) = last else { return Ok(()) };
        let next = last.saturating_add(1);
        let refuse = |why: String| Err(Error::new(Kind::Invalid, format!("{id}: {why} ({LOCK})")));
        match self.0.get(&(id.clone(), version)) {
            Some(hash) if hash == contract.hash() && version == last => Ok(()),
            Some(hash) if hash != contract.hash() => {
                refuse(format!("version {version} was published with another text: raise the version to {next}"))
            }
            _ if version < last => {
                refuse(format!("version {last} was published after version {version}: raise the version to {next}"))
            }
            _ => Ok(()),
        }
    }

    /// Publishes a version. Whether that was new.
    ///
    /// # Errors
    /// As [`Lock::check`].
    pub fn publish(&mut self, contract: &Contract) -> Result<bool> {
        self.check(contract)?;
        Ok(self.0.insert((contract.id(), contract.version), contract.hash().to_owned()).is_none())
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        self.0.iter().fold(HEAD.to_owned(), |mut out, ((id, version), hash)| {
            let _ = write!(out, "\n[[contract]]\nid = {}\nversion = {version}\nhash = \"{hash}\"\n", quoted(id));
            out
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::shipped;
    use super::*;

    fn of(table: &str, version: u32, kind: &str) -> Contract {
        let text = format!("[table]\nversion = {version}\n[fields]\nn = \"{kind}\"\n");
        Contract::parse(&text, &format!("s/{table}.toml")).unwrap()
    }

    #[test]
    fn a_published_version_keeps_its_text() {
        let mut lock = Lock::default();
        assert!(lock.publish(&of("b", 1, "int")).unwrap());
        assert!(!lock.publish(&of("b", 1, "int")).unwrap(), "it is there");
        assert!(lock.publish(&of("a", 3, "int")).unwrap());
        let said = |lock: &Lock, contract: Contract| lock.check(&contract).unwrap_err().to_string();
        assert!(said(&lock, of("b", 1, "long")).contains("raise the version to 2"));
        assert!(said(&lock, of("a", 2, "int")).contains("version 3 was published after version 2"));
        lock.publish(&of("b", 2, "long")).unwrap();
        assert!(said(&lock, of("b", 1, "int")).contains("raise the version to 3"));
        lock.check(&of("new", 1, "int")).unwrap();
        assert_eq!(Lock::parse(&lock.text(), "x").unwrap(), lock);
        let text = lock.text();
        let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("id")).collect();
        assert_eq!(ids, ["id = \"s.a\"", "id = \"s.b\"", "id = \"s.b\""]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let line = |hash: &str| format!("[[contract]]\nid = \"a.b\"\nversion = 1\nhash = \"{hash}\"\n");
        let twice = Lock::parse(&format!("{}{}", line("x"), line("y")), "s/contracts.lock").unwrap_err().to_string();
        assert!(twice.contains("s/contracts.lock") && twice.contains("a.b version 1"), "{twice}");
        assert!(Lock::parse("[[contract]]\nid = 3", "s/contracts.lock").is_err());
        assert_eq!(Lock::parse("", "x").unwrap(), Lock::default());
    }

    #[test]
    fn the_shipped_contracts_are_published() {
        let text = include_str!("../../schemas/contracts.lock");
        let lock = Lock::parse(text, "schemas/contracts.lock").unwrap();
        let mut again = lock.clone();
        for contract in shipped() {
            assert!(!again.publish(&contract).unwrap(), "run `lakectl contract lock schemas`: {}", contract.id());
        }
        assert_eq!(lock.text(), text, "sorted, and nothing else in it");
    }
}
