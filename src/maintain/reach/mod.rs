//! What snapshots reach: manifest lists, manifests, data and delete files, statistics.
//!
//! Each list and each manifest is read once, however many snapshots name it, and what was read stays, so that a plan that
//! has to be made anew reads only what is new. Of files that are only looked up (those of kept snapshots) a 64-bit hash
//! stays, eight bytes a file: two names with one hash would keep a file too many, never one too few.
//!
//! A list or manifest that cannot be read is an error where it matters that nothing is missed, and is passed over where
//! it only would have named more to remove.

mod avro;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use iceberg::spec::{FormatVersion, Manifest, ManifestList, TableMetadata};
use laked_catalog::store::{Store, path_of, side_by_side};
use serde::{Deserialize, Serialize};

use self::avro::{Cell, Decoder, Failed, Wanted};
use crate::error::{Error, Kind, Result};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Rows.
    Data,
    /// Position deletes, equality deletes, deletion vectors.
    Deletes,
    /// A manifest.
    Manifest,
    /// A manifest list.
    ManifestList,
    /// A file of statistics.
    Statistics,
}

/// A file that a snapshot reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where it is.
    pub location: String,
    /// What it is.
    pub what: What,
    /// Its length, where that is told; 0 for a manifest list.
    pub bytes: u64,
    /// Its rows; 0 for what has none.
    pub rows: u64,
}

const LIST: &[Wanted] = &[&[(500, "manifest_path")], &[(501, "manifest_length")]];
const MANIFEST: &[Wanted] = &[
    &[(0, "status")],
    &[(2, "data_file"), (134, "content")],
    &[(2, "data_file"), (100, "file_path")],
    &[(2, "data_file"), (103, "record_count")],
    &[(2, "data_file"), (104, "file_size_in_bytes")],
];
/// Files that are remembered from one plan to the next, at most: 16 MB.
const MOST: usize = 2 << 20;
/// An entry's status for a file that is no longer there.
const DELETED: i64 = 2;

/// A manifest as a list names it.
#[derive(Clone, Debug)]
struct Named {
    location: String,
    bytes: u64,
}

/// What a manifest lists that is alive.
#[derive(Debug)]
enum Live {
    Hashes(Vec<u64>),
    Files(Vec<Reached>),
}

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Reach {
    manifests: Vec<Named>,
    numbers: HashMap<String, usize>,
    lists: HashMap<String, Vec<usize>>,
    live: HashMap<usize, Live>,
    /// Lists and manifests that were read.
    pub read: usize,
}

/// What a location is looked up by: engines write `file:/x` and `file:///x` for one file, and `x//y` for `x/y`.
pub fn hash_of(location: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    match path_of(location) {
        Ok(path) => path.hash(&mut hasher),
        Err(_) => location.hash(&mut hasher),
    }
    hasher.finish()
}

/// The statistics files of a table, each with its snapshot.
pub fn statistics(metadata: &TableMetadata) -> impl Iterator<Item = (i64, Reached)> {
    let reached = |location: &String, bytes: i64| {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        Reached { location: location.clone(), what: What::Statistics, bytes, rows: 0 }
    };
    let whole = metadata
        .statistics_iter()
        .map(move |file| (file.snapshot_id, reached(&file.statistics_path, file.file_size_in_bytes)));
    let parts = metadata
        .partition_statistics_iter()
        .map(move |file| (file.snapshot_id, reached(&file.statistics_path, file.file_size_in_bytes)));
    whole.chain(parts)
}

impl Reach {
    /// All that `gone` snapshots reach and the others of the table do not.
    ///
    /// # Errors
    /// `Corrupt` or storage errors if it cannot be told what the others reach.
    pub fn only(&mut self, store: &Store, metadata: &TableMetadata, gone: &HashSet<i64>) -> Result<Vec<Reached>> {
        let is_gone = |id: i64| gone.contains(&id);
        let lists = |wanted: bool| {
            let snapshots = metadata.snapshots().filter(move |snapshot| is_gone(snapshot.snapshot_id()) == wanted);
            snapshots.map(|snapshot| snapshot.manifest_list()).collect::<Vec<&str>>()
        };
        let (kept_lists, gone_lists) = (lists(false), lists(true));
        let version = metadata.format_version();
        let kept = self.listed(store, version, &kept_lists, true)?;
        let found = self.listed(store, version, &gone_lists, false)?;
        let only: Vec<usize> = found.difference(&kept).copied().collect();
        self.load(store, &only, true, false)?;
        let kept: Vec<usize> = kept.into_iter().collect();
        self.load(store, &kept, false, true)?;
        let mut needed: HashSet<u64> = kept_lists.iter().map(|list| hash_of(list)).collect();
        needed.extend(kept.iter().map(|number| hash_of(&self.manifests[*number].location)));
        needed.extend(kept.iter().flat_map(|number| self.hashes(*number)));
        needed.extend(statistics(metadata).filter(|(id, _)| !is_gone(*id)).map(|(_, file)| hash_of(&file.location)));
        let list = |location: &&str| Reached {
            location: (*location).to_string(),
            what: What::ManifestList,
            bytes: 0,
            rows: 0,
        };
        let mut all: Vec<Reached> = gone_lists.iter().map(list).collect();
        for number in &only {
            let Named { location, bytes } = self.manifests[*number].clone();
            all.push(Reached { location, what: What::Manifest, bytes, rows: 0 });
            if let Some(Live::Files(files)) = self.live.get(number) {
                all.extend(files.iter().cloned());
            }
        }
        all.extend(statistics(metadata).filter(|(id, _)| is_gone(*id)).map(|(_, file)| file));
        // What is named twice is there once.
        let mut seen = HashSet::new();
        all.retain(|file| {
            let hash = hash_of(&file.location);
            !needed.contains(&hash) && seen.insert(hash)
        });
        Ok(all)
    }

    /// Hashes of the locations of all that the table's snapshots reach.
    ///
    /// # Errors
    /// `Corrupt` or storage errors if it cannot be told.
    pub fn all(&mut self, store: &Store, metadata: &TableMetadata) -> Result<HashSet<u64>> {
        let lists: Vec<&str> = metadata.snapshots().map(|snapshot| snapshot.manifest_list()).collect();
        self.reached(store, metadata, &lists, true)
    }

    /// The same of what is there still: an older metadata file names snapshots whose files are gone by now.
    ///
    /// # Errors
    /// Storage errors.
    pub fn still_there(&mut self, store: &Store, metadata: &TableMetadata) -> Result<HashSet<u64>> {
        let lists: Vec<&str> = metadata.snapshots().map(|snapshot| snapshot.manifest_list()).collect();
        self.reached(store, metadata, &lists, false)
    }

    fn reached(&mut self, store: &Store, metadata: &TableMetadata, lists: &[&str], all: bool) -> Result<HashSet<u64>> {
        let found = self.listed(store, metadata.format_version(), lists, all)?;
        let named: Vec<usize> = found.into_iter().collect();
        self.load(store, &named, false, all)?;
        let mut reached: HashSet<u64> = lists.iter().map(|list| hash_of(list)).collect();
        reached.extend(named.iter().map(|number| hash_of(&self.manifests[*number].location)));
        reached.extend(named.iter().flat_map(|number| self.hashes(*number)));
        reached.extend(statistics(metadata).map(|(_, file)| hash_of(&file.location)));
        Ok(reached)
    }

    /// Forgets what was read, but for the lists of some tables and the manifests in them: so much is worth to be kept for
    /// the tables' next plan, which reads what is new since. Of more than [`MOST`] files nothing is kept.
    pub fn forget_all_but<'a>(&mut self, tables: impl IntoIterator<Item = &'a TableMetadata>) {
        let old = std::mem::take(self);
        if old.is_large() {
            return;
        }
        for snapshot in tables.into_iter().flat_map(TableMetadata::snapshots) {
            let list = snapshot.manifest_list();
            let Some(numbers) = old.lists.get(list) else { continue };
            let numbers = numbers.iter().map(|number| self.number(old.manifests[*number].clone())).collect();
            self.lists.insert(list.to_string(), numbers);
        }
        for (number, live) in old.live {
            let Some(number) = self.numbers.get(&old.manifests[number].location) else { continue };
            let hashes = match live {
                Live::Hashes(hashes) => hashes,
                Live::Files(files) => files.iter().map(|file| hash_of(&file.location)).collect(),
            };
            self.live.insert(*number, Live::Hashes(hashes));
        }
    }

    /// Whether it is more than is kept from one plan to the next.
    pub fn is_large(&self) -> bool {
        let files = |live: &Live| match live {
            Live::Hashes(hashes) => hashes.len(),
            Live::Files(files) => files.len(),
        };
        self.live.values().map(files).sum::<usize>() > MOST
    }

    fn hashes(&self, number: usize) -> Vec<u64> {
        match self.live.get(&number) {
            Some(Live::Hashes(hashes)) => hashes.clone(),
            Some(Live::Files(files)) => files.iter().map(|file| hash_of(&file.location)).collect(),
            None => Vec::new(),
        }
    }

    /// The manifests of lists, by number.
    fn listed(&mut self, store: &Store, version: FormatVersion, lists: &[&str], all: bool) -> Result<HashSet<usize>> {
        let missing: Vec<&str> = lists.iter().copied().filter(|list| !self.lists.contains_key(*list)).collect();
        let found = each(store, &missing, LIST, |store, decoder, list| {
            tolerated(read_list(store, decoder, list, version), all)
        })?;
        for (list, found) in missing.into_iter().zip(found) {
            let Some(found) = found else { continue };
            self.read += 1;
            let numbers = found.into_iter().map(|named| self.number(named)).collect();
            self.lists.insert(list.to_string(), numbers);
        }
        Ok(lists.iter().filter_map(|list| self.lists.get(*list)).flatten().copied().collect())
    }

    fn number(&mut self, named: Named) -> usize {
        if let Some(number) = self.numbers.get(&named.location) {
            return *number;
        }
        let number = self.manifests.len();
        self.numbers.insert(named.location.clone(), number);
        self.manifests.push(named);
        number
    }

    /// Reads manifests that are not read yet; in full, or as hashes.
    fn load(&mut self, store: &Store, numbers: &[usize], full: bool, all: bool) -> Result<()> {
        let missing = |number: &&usize| match self.live.get(number) {
            None => true,
            Some(Live::Hashes(_)) => full,
            Some(Live::Files(_)) => false,
        };
        let missing: Vec<usize> = numbers.iter().filter(missing).copied().collect();
        let named = missing.iter().map(|number| &self.manifests[*number]);
        let lengths: HashMap<&str, u64> = named.map(|named| (named.location.as_str(), named.bytes)).collect();
        let locations: Vec<&str> = missing.iter().map(|number| self.manifests[*number].location.as_str()).collect();
        let found = each(store, &locations, MANIFEST, |store, decoder, location| {
            tolerated(read_manifest(store, decoder, location, lengths[location], full), all)
        })?;
        for (number, live) in missing.into_iter().zip(found) {
            if let Some(live) = live {
                self.read += 1;
                self.live.insert(number, live);
            }
        }
        Ok(())
    }
}

/// What is gone already, or broken, is passed over unless all is needed.
fn tolerated<T>(read: Result<T>, all: bool) -> Result<Option<T>> {
    match read {
        Err(error) if !all && matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => {
            tracing::warn!(%error, "what this names stays where it is");
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn read_list(store: &Store, decoder: &mut Decoder, location: &str, version: FormatVersion) -> Result<Vec<Named>> {
    let bytes = store.read(location)?;
    let mut found = Vec::new();
    let rows = decoder.rows(&bytes, &mut |row| {
        if let [Cell::Text(location), bytes] = *row {
            found.push(Named { location: location.to_string(), bytes: unsigned(bytes) });
        } else {
            found.push(Named { location: String::new(), bytes: 0 });
        }
    });
    match rows {
        Ok(()) if found.iter().any(|named| named.location.is_empty()) => Err(broken(location, "it names no manifest")),
        Ok(()) => Ok(found),
        Err(Failed::Broken(why)) => Err(broken(location, why)),
        Err(Failed::Codec(_)) => {
            let list = ManifestList::parse_with_version(&bytes, version);
            let list = list.map_err(|error| broken(location, "it cannot be read").because(error))?;
            let named = |one: iceberg::spec::ManifestFile| Named {
                location: one.manifest_path,
                bytes: u64::try_from(one.manifest_length).unwrap_or(0),
            };
            Ok(list.consume_entries().into_iter().map(named).collect())
        }
    }
}

fn read_manifest(store: &Store, decoder: &mut Decoder, location: &str, len: u64, full: bool) -> Result<Live> {
    let bytes = store.read(location)?;
    // A file that is cut off between two blocks reads well, and short.
    if len != 0 && len != bytes.len() as u64 {
        return Err(broken(location, "it has not the length that its list says"));
    }
    let (mut files, mut hashes, mut nameless) = (Vec::new(), Vec::new(), false);
    let rows = decoder.rows(&bytes, &mut |row| match *row {
        [Cell::Number(DELETED), ..] => {}
        [_, content, Cell::Text(location), rows, bytes] if full => {
            let what = if unsigned(content) == 0 { What::Data } else { What::Deletes };
            let (bytes, rows) = (unsigned(bytes), unsigned(rows));
            files.push(Reached { location: location.to_string(), what, bytes, rows });
        }
        [_, _, Cell::Text(location), ..] => hashes.push(hash_of(location)),
        _ => nameless = true,
    });
    match rows {
        Ok(()) if nameless => Err(broken(location, "an entry names no file")),
        Ok(()) if full => Ok(Live::Files(files)),
        Ok(()) => Ok(Live::Hashes(hashes)),
        Err(Failed::Broken(why)) => Err(broken(location, why)),
        Err(Failed::Codec(_)) => by_the_crate(&bytes, location),
    }
}

fn by_the_crate(bytes: &[u8], location: &str) -> Result<Live> {
    let manifest = Manifest::parse_avro(bytes);
    let manifest = manifest.map_err(|error| broken(location, "it cannot be read").because(error))?;
    let live = manifest.entries().iter().filter(|entry| entry.is_alive());
    let reached = live.map(|entry| Reached {
        location: entry.file_path().to_string(),
        what: if entry.data_file().content_type() as i32 == 0 { What::Data } else { What::Deletes },
        bytes: entry.file_size_in_bytes(),
        rows: entry.record_count(),
    });
    Ok(Live::Files(reached.collect()))
}

fn unsigned(cell: Cell<'_>) -> u64 {
    match cell {
        Cell::Number(number) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    }
}

fn broken(location: &str, why: &'static str) -> Error {
    Error::new(Kind::Corrupt, "a manifest or manifest list cannot be read").with("location", location).with("why", why)
}

/// Reads files side by side; the results in order.
fn each<T: Send>(
    store: &Store,
    locations: &[&str],
    wanted: &'static [Wanted],
    read: impl Fn(&Store, &mut Decoder, &str) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    side_by_side(
        store,
        locations.len(),
        8,
        || Decoder::of(wanted),
        |decoder, number| read(store, decoder, locations[number]),
    )
}
