//! Which bytes were ingested lately, so that the same file dropped twice is ingested once.
//!
//! A file of JSON lines, appended to and synced after each commit, rewritten at open without what is older than 30
//! days. A line cut short by a crash is dropped: its claim is still there, and is finished again.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use laked_catalog::store::{Disk, DiskFile};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ingest::durable;

const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    hash: String,
    entry: u64,
    at_ms: i64,
}

/// The hashes of one inbox.
pub struct Hashes {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Option<Box<dyn DiskFile>>,
    /// Whether the last line may be cut short.
    torn: bool,
    known: HashMap<String, (u64, i64)>,
}

impl Hashes {
    /// Reads the hashes in `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, now_ms: i64) -> Result<Hashes> {
        let path = dir.join("hashes");
        let text = match disk.read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(e) => return Err(Error::from(e).with("file", path.display())),
        };
        let (mut kept, mut known, mut dropped) = (Vec::new(), HashMap::new(), false);
        for line in text.split_inclusive(|&b| b == b'\n') {
            match serde_json::from_slice::<Line>(line) {
                Ok(found) if found.at_ms > now_ms - KEPT_MS && line.ends_with(b"\n") => {
                    kept.extend_from_slice(line);
                    known.insert(found.hash, (found.entry, found.at_ms));
                }
                _ => dropped = true,
            }
        }
        if dropped {
            durable::replace(disk.as_ref(), &path, &kept)?;
        } else if !known.is_empty() {
            // The last line may be one that a dying process wrote and did not sync.
            durable::sync_file(disk.as_ref(), &path)?;
        }
        Ok(Hashes { path, disk, file: None, torn: false, known })
    }

    /// The other entry that brought the same bytes less than 30 days ago.
    pub fn other(&self, hash: &str, entry: u64, now_ms: i64) -> Option<u64> {
        self.known.get(hash).filter(|(e, at)| *e != entry && *at > now_ms - KEPT_MS).map(|(e, _)| *e)
    }

    /// The last entry that is known to have been ingested.
    pub fn last_entry(&self) -> Option<u64> {
        self.known.values().map(|(entry, _)| *entry).max()
    }

    /// Remembers the bytes of an ingested entry, durably.
    pub fn add(&mut self, hash: &str, entry: u64, at_ms: i64) -> Result<()> {
        if self.known.get(hash).is_some_and(|(e, _)| *e == entry) {
            return Ok(());
        }
        let fail = |e: io::Error| Error::from(e).with("file", self.path.display());
        let fresh = self.file.is_none();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.disk.append(&self.path).map_err(fail)?,
        };
        let line = Line { hash: hash.to_owned(), entry, at_ms };
        let mut bytes = if self.torn { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut bytes, &line).map_err(|e| fail(e.into()))?;
        bytes.push(b'\n');
        self.torn = true;
        file.write_all(&bytes).and_then(|()| file.sync()).map_err(fail)?;
        if fresh {
            durable::sync_parent(self.disk.as_ref(), &self.path)?;
        }
        (self.file, self.torn) = (Some(file), false);
        self.known.insert(line.hash, (entry, at_ms));
        Ok(())
    }
}
