//! All that a table's retained snapshots reach.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use iceberg::spec::{Manifest, ManifestEntryRef, ManifestFile, ManifestList};
use laked_catalog::Table;
use laked_catalog::store::Store;

/// A live file and the spec of the manifest that lists it.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its manifest entry.
    pub entry: ManifestEntryRef,
    /// The partition spec.
    pub spec_id: i32,
}

/// Lists, manifests and files of all retained snapshots. What cannot be read is noted in `broken`.
#[derive(Debug, Default)]
pub struct Tree {
    /// Each snapshot's manifests.
    pub snapshots: BTreeMap<i64, Vec<ManifestFile>>,
    /// Every manifest by its location.
    pub manifests: BTreeMap<String, ManifestFile>,
    /// Every live file by its location.
    pub files: BTreeMap<String, Live>,
    /// Manifest lists.
    pub lists: BTreeSet<String>,
    /// Live files that one snapshot lists more than once, and what could not be read.
    pub broken: Vec<String>,
}

impl Tree {
    /// Reads it; each manifest once, however many snapshots list it.
    pub fn read(table: &Table, store: &Store) -> Tree {
        let mut tree = Tree::default();
        let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for snapshot in table.metadata.snapshots() {
            let location = snapshot.manifest_list();
            tree.lists.insert(location.to_string());
            let bytes = store.read(location).map_err(|error| error.to_string());
            let list = bytes.and_then(|bytes| {
                ManifestList::parse_with_version(&bytes, table.metadata.format_version()).map_err(|e| e.to_string())
            });
            match list {
                Err(error) => tree.broken.push(format!("manifest list {location}: {error}")),
                Ok(list) => {
                    let manifests = list.entries().to_vec();
                    manifests.iter().for_each(|manifest| tree.add(manifest, store, &mut live));
                    tree.note_doubles(snapshot.snapshot_id(), &manifests, &live);
                    tree.snapshots.insert(snapshot.snapshot_id(), manifests);
                }
            }
        }
        tree
    }

    fn add(&mut self, manifest: &ManifestFile, store: &Store, live: &mut BTreeMap<String, Vec<String>>) {
        let path = &manifest.manifest_path;
        if self.manifests.contains_key(path) {
            return;
        }
        self.manifests.insert(path.clone(), manifest.clone());
        let read: iceberg::Result<Manifest> = block_on(manifest.load_manifest(&store.file_io()));
        match read {
            Err(error) => self.broken.push(format!("manifest {path}: {error}")),
            Ok(read) => {
                let alive = read.entries().iter().filter(|entry| entry.is_alive());
                for entry in alive {
                    let file = entry.file_path().to_string();
                    live.entry(path.clone()).or_default().push(file.clone());
                    self.files.insert(file, Live { entry: entry.clone(), spec_id: manifest.partition_spec_id });
                }
            }
        }
    }

    fn note_doubles(&mut self, id: i64, manifests: &[ManifestFile], live: &BTreeMap<String, Vec<String>>) {
        let mut seen = BTreeSet::new();
        let listed = manifests.iter().filter_map(|manifest| live.get(&manifest.manifest_path)).flatten();
        for file in listed {
            if !seen.insert(file) {
                self.broken.push(format!("snapshot {id} lists {file} twice: its rows are read twice"));
            }
        }
    }
}

/// The locations of everything a table needs: what no one may delete.
pub fn reachable(table: &Table, tree: &Tree) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = tree.lists.clone();
    all.extend(tree.manifests.keys().cloned());
    all.extend(tree.files.keys().cloned());
    all.insert(table.metadata_location.clone());
    all.extend(table.metadata.statistics_iter().map(|statistics| statistics.statistics_path.clone()));
    all
}
