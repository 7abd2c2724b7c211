//! Intents: which files a commit is about to publish, written down before the first of them has its name.
//!
//! # Form on disk
//! `DIR/intents/<number>.log`, one JSON object a line: `{"begin": {…}}` with the commit, its tables, snapshot ids and
//! files; `{"more": {…}}` with files a rebase adds; `{"end": "<commit>"}`. A last line that is cut off was never
//! synced, so nothing was published under it; it is ignored.
//!
//! # How it works
//! `begin` and `more` append and fsync: one fsync a commit, where a file for each would cost two. `end` appends only;
//! it becomes durable with the next `begin`, and a crash before that makes recovery look at a commit that is over. A log
//! over [`MOST_BYTES`], or one whose append failed (what the disk holds of it is then unknown), is replaced by a new
//! one that holds the open intents, synced with its folder before the old one is removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use laked_catalog::store::{Disk, DiskFile, make_dirs, sync_parents};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};

/// A log longer than this is replaced.
const MOST_BYTES: u64 = 4 << 20;

/// A commit on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The commit; also in each snapshot's summary.
    pub commit: Uuid,
    /// Its tables.
    pub tables: Vec<IntentTable>,
    /// Every file it may have published: data files, manifests, manifest lists.
    pub files: Vec<String>,
}

/// One table of an [`Intent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentTable {
    /// Its namespace's levels and its name.
    pub name: Vec<String>,
    /// Its UUID.
    pub uuid: Uuid,
    /// The snapshot it was based on at first.
    pub parent: Option<i64>,
    /// The snapshot to be.
    pub snapshot: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begin(Intent),
    More { commit: Uuid, files: Vec<String> },
    End(Uuid),
}

/// The log of intents.
#[derive(Debug)]
pub struct Intents {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: BTreeMap<Uuid, Intent>,
    number: u64,
    log: Option<Log>,
}

struct Log {
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn failed(error: std::io::Error, path: &Path) -> Error {
    let cause = Error::from(error);
    let kind = if cause.kind() == Kind::Corrupt { Kind::Corrupt } else { Kind::Unavailable };
    Error::new(kind, "the log of intents cannot be written or read; check the disk")
        .with("path", path.display())
        .because(cause)
}

impl Intents {
    /// Opens the folder, made if missing, and reads what is open.
    ///
    /// # Errors
    /// `Corrupt` for a line that is neither whole nor the last; storage errors.
    pub fn open(disk: Arc<dyn Disk>, folder: PathBuf) -> Result<Self> {
        let io = |error| failed(error, &folder);
        make_dirs(disk.as_ref(), &folder).and_then(|fresh| sync_parents(disk.as_ref(), &fresh)).map_err(io)?;
        let mut open = BTreeMap::new();
        let logs = logs(disk.as_ref(), &folder).map_err(io)?;
        for (_, path) in &logs {
            let bytes = disk.read(path).map_err(|error| failed(error, path))?;
            replay(&bytes, path, &mut open)?;
        }
        let number = logs.last().map_or(0, |(number, _)| *number);
        Ok(Self { disk, folder, state: Mutex::new(State { open, number, log: None }) })
    }

    /// The intents that are not ended, oldest first.
    pub fn pending(&self) -> Vec<Intent> {
        self.lock().open.values().cloned().collect()
    }

    /// Writes an intent down, durably.
    ///
    /// # Errors
    /// Storage errors; the intent then does not exist.
    pub fn begin(&self, intent: Intent) -> Result<()> {
        let mut state = self.lock();
        let commit = intent.commit;
        let line = encode(&Line::Begin(intent.clone()))?;
        state.open.insert(commit, intent);
        self.durable(&mut state, &line).inspect_err(|_| {
            state.open.remove(&commit);
        })
    }

    /// Adds files to an intent, durably.
    ///
    /// # Errors
    /// Storage errors; the files must then not be published.
    pub fn more(&self, commit: Uuid, files: &[String]) -> Result<()> {
        let mut state = self.lock();
        if let Some(intent) = state.open.get_mut(&commit) {
            intent.files.extend_from_slice(files);
        }
        let line = encode(&Line::More { commit, files: files.to_vec() })?;
        self.durable(&mut state, &line)
    }

    /// Ends an intent; durable with the next one. A failure is made good by the next `begin`, which writes a new log.
    pub fn end(&self, commit: Uuid) {
        let mut state = self.lock();
        state.open.remove(&commit);
        let written = encode(&Line::End(commit)).is_ok_and(|line| match &mut state.log {
            Some(log) => log.append(&line).is_ok(),
            None => false,
        });
        if !written {
            state.log = None;
        }
    }

    /// Replaces all logs by one that holds only what is open.
    ///
    /// # Errors
    /// Storage errors; the old logs still hold.
    pub fn compact(&self) -> Result<()> {
        let mut state = self.lock();
        self.rotate(&mut state)
    }

    fn durable(&self, state: &mut State, line: &[u8]) -> Result<()> {
        match &mut state.log {
            Some(log) if log.bytes < MOST_BYTES => {
                let written = log.append(line).and_then(|()| log.file.sync());
                written.map_err(|error| {
                    state.log = None;
                    failed(error, &self.folder)
                })
            }
            _ => self.rotate(state),
        }
    }

    fn rotate(&self, state: &mut State) -> Result<()> {
        let disk = self.disk.as_ref();
        let number = state.number + 1;
        let path = self.folder.join(format!("{number:010}.log"));
        state.number = number;
        let fresh = self.write_log(state, &path).map_err(|error| failed(error, &path))?;
        let logs = logs(disk, &self.folder).map_err(|error| failed(error, &self.folder))?;
        for (_, path) in logs.iter().filter(|(older, _)| *older < number) {
            disk.remove(path).map_err(|error| failed(error, path))?;
        }
        // What they name is forgotten, after a power cut too.
        disk.sync_dir(&self.folder).map_err(|error| failed(error, &self.folder))?;
        state.log = Some(fresh);
        Ok(())
    }

    fn write_log(&self, state: &State, path: &Path) -> std::io::Result<Log> {
        let mut log = Log { file: self.disk.create(path)?, bytes: 0 };
        let written = state
            .open
            .values()
            .try_for_each(|intent| log.append(&encode(&Line::Begin(intent.clone())).map_err(std::io::Error::other)?));
        match written.and_then(|()| log.file.sync()).and_then(|()| self.disk.sync_dir(&self.folder)) {
            Ok(()) => Ok(log),
            Err(error) => {
                let _ = self.disk.remove(path);
                Err(error)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }
}

fn encode(line: &Line) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)
        .map_err(|error| Error::new(Kind::Internal, "an intent cannot be serialised").because(error))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn logs(disk: &dyn Disk, folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for (name, stat) in disk.list(folder)? {
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|text| text.parse().ok());
        if let Some(number) = number.filter(|_| stat.is_file) {
            found.push((number, folder.join(&name)));
        }
    }
    found.sort();
    Ok(found)
}

fn replay(bytes: &[u8], path: &Path, open: &mut BTreeMap<Uuid, Intent>) -> Result<()> {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        match serde_json::from_slice(line) {
            Ok(Line::Begin(intent)) => {
                open.insert(intent.commit, intent);
            }
            Ok(Line::More { commit, files }) => {
                if let Some(intent) = open.get_mut(&commit) {
                    intent.files.extend(files);
                }
            }
            Ok(Line::End(commit)) => {
                open.remove(&commit);
            }
            Err(_) if lines.peek().is_none() => return Ok(()),
            Err(error) => {
                return Err(Error::new(Kind::Corrupt, "a line of the log of intents cannot be read")
                    .with("path", path.display())
                    .because(error));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use laked_catalog::store::OsDisk;

    use super::*;

    fn intent(n: u128) -> Intent {
        Intent { commit: Uuid::from_u128(n), tables: Vec::new(), files: vec![format!("file:///{n}")] }
    }

    fn reopen(folder: &Path) -> Intents {
        Intents::open(Arc::new(OsDisk), folder.to_path_buf()).expect("opens")
    }

    #[test]
    fn what_is_begun_and_not_ended_is_found_again() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("intents");
        let intents = reopen(&folder);
        (1..=3).for_each(|n| intents.begin(intent(n)).expect("is written"));
        intents.more(Uuid::from_u128(3), &["file:///list".into()]).expect("is written");
        intents.end(Uuid::from_u128(2));
        let found = reopen(&folder);
        let commits: Vec<u128> = found.pending().iter().map(|intent| intent.commit.as_u128()).collect();
        assert_eq!(commits, [1, 3]);
        assert_eq!(found.pending()[1].files.len(), 2);
        found.compact().expect("compacts");
        assert_eq!(reopen(&folder).pending().len(), 2);
        assert_eq!(logs(&OsDisk, &folder).expect("lists").len(), 1);
    }

    #[test]
    fn a_cut_off_last_line_is_no_intent_but_a_broken_one_before_it_is_corruption() {
        let mut open = BTreeMap::new();
        let mut bytes = encode(&Line::Begin(intent(1))).expect("encodes");
        let whole = bytes.len();
        bytes.extend(encode(&Line::Begin(intent(2))).expect("encodes"));
        replay(&bytes[..bytes.len() - 4], Path::new("x"), &mut open).expect("reads");
        assert_eq!(open.len(), 1);
        bytes[whole - 3] = b'?';
        assert_eq!(replay(&bytes, Path::new("x"), &mut open).expect_err("broken").kind(), Kind::Corrupt);
    }
}
