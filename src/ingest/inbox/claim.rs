//! Claims: a file taken from the inbox is its own spool entry.
//!
//! ```text
//! DIR/spool/<ns>.<table>/inbox/
//!   epoch.json
//!   000000000007-readings.csv.gz       the file, under the number of its entry
//!   000000000007.claim                 its claim record (JSON), durable before its first commit
//!   hashes                             what was ingested in the last 30 days: a JSON line each
//! ```
//! The rename is the claim. The record pins the bytes: should they change afterwards (a writer that still had the file
//! open), the file fails instead of being ingested as something it was not when it was judged.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use laked_catalog::store::Disk;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::ingest::durable;

/// The longest file name most file systems take, in bytes.
const NAME_MAX: usize = 255;
const DIGITS: usize = 12;

/// A claimed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its entry in the lane.
    pub entry: u64,
    /// Its name, as it was dropped.
    pub name: OsString,
    /// Where it is.
    pub path: PathBuf,
    /// Its record, once its bytes were read.
    pub record: Option<Record>,
    /// When it was claimed, in ms since 1970; if only the file tells of it, when the inbox was opened.
    pub since_ms: i64,
}

/// What is pinned of a claimed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Length in bytes.
    pub len: u64,
    /// XXH3-128 of the bytes, in hex.
    pub hash: String,
    /// Hash of the contract it is held to.
    pub contract: String,
    /// When it was claimed, in ms since 1970.
    pub at_ms: i64,
    /// Why it goes to `failed/` once the mark has passed it: what the table holds of it stays there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The name of a claimed file: the entry's number and as much of the name's end as fits (the end tells the format).
pub fn claimed_name(entry: u64, name: &OsStr) -> OsString {
    let text = name.to_string_lossy();
    let room = NAME_MAX - DIGITS - 1;
    let mut start = text.len().saturating_sub(room);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("{entry:0DIGITS$}-{}", &text[start..]).into()
}

/// The entry and the name in a claimed file's name.
pub fn parse_name(claimed: &OsStr) -> Option<(u64, OsString)> {
    let text = claimed.to_str()?;
    let (number, name) = text.split_once('-')?;
    (number.len() == DIGITS && !name.is_empty()).then_some(())?;
    Some((number.parse().ok()?, name.into()))
}

fn record_path(dir: &Path, entry: u64) -> PathBuf {
    dir.join(format!("{entry:0DIGITS$}.claim"))
}

/// Writes a claim's record, durable.
pub fn write_record(disk: &dyn Disk, dir: &Path, entry: u64, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec(record)
        .map_err(|e| Error::new(Kind::Internal, "a claim's record cannot be written").because(e))?;
    durable::replace(disk, &record_path(dir, entry), &bytes)
}

/// Removes a claim's record: the file has left the spool.
pub fn remove_record(disk: &dyn Disk, dir: &Path, entry: u64) -> Result<()> {
    durable::remove(disk, &record_path(dir, entry))
}

/// The claims in `dir`, by entry; also entries whose file is gone but whose record is not, as numbers only.
pub fn list(disk: &dyn Disk, dir: &Path, now_ms: i64) -> Result<(Vec<Claim>, Vec<u64>)> {
    let listed = disk.list(dir).map_err(|e| Error::from(e).with("folder", dir.display()))?;
    let (mut claims, mut records) = (Vec::new(), Vec::new());
    for (name, stat) in listed.iter().filter(|(_, stat)| stat.is_file) {
        if let Some((entry, original)) = parse_name(name) {
            claims.push(Claim { entry, name: original, path: dir.join(name), record: None, since_ms: now_ms });
        } else if let Some(number) = name.to_str().and_then(|n| n.strip_suffix(".claim")?.parse::<u64>().ok()) {
            records.push((number, stat.len));
        }
    }
    claims.sort_by_key(|c| c.entry);
    let mut orphans = Vec::new();
    for (entry, _) in records {
        let path = record_path(dir, entry);
        match claims.iter_mut().find(|c| c.entry == entry) {
            None => orphans.push(entry),
            Some(claim) => {
                let bytes = disk.read(&path).map_err(|e| Error::from(e).with("file", path.display()))?;
                let record: Record = serde_json::from_slice(&bytes).map_err(|e| {
                    Error::new(Kind::Corrupt, "a claim's record cannot be read").with("file", path.display()).because(e)
                })?;
                claim.since_ms = record.at_ms;
                claim.record = Some(record);
            }
        }
    }
    Ok((claims, orphans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_tells_entry_and_name() {
        let claimed = claimed_name(7, OsStr::new("a-b.csv.gz"));
        assert_eq!(claimed, "000000000007-a-b.csv.gz");
        assert_eq!(parse_name(&claimed), Some((7, "a-b.csv.gz".into())));
        assert_eq!(parse_name(OsStr::new("7-a.csv")), None);
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        let long = format!("{}é.csv", "x".repeat(251));
        let claimed = claimed_name(1, OsStr::new(&long));
        assert!(claimed.len() <= NAME_MAX);
        assert!(claimed.to_str().unwrap().ends_with("xé.csv"));
    }
}
