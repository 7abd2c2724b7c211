//! What every disk, and the store on it, must hold to: one set of checks, run over the machine's disk and the
//! simulated one, so that what is proven over the second is said of the first as well.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, Staged, Store, location_of};
use crate::error::Kind;
use crate::system::System;

/// A disk and an empty folder on it.
struct Bench {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Bench {
    fn put(&self, name: &str, bytes: &[u8]) {
        let mut file = self.disk.create(&self.root.join(name)).expect("is made");
        file.write_all(bytes).and_then(|()| file.sync()).expect("is written");
    }

    fn names(&self) -> Vec<String> {
        let listed = self.disk.list(&self.root).expect("lists");
        let mut names: Vec<String> = listed.into_iter().map(|(name, _)| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Vec<u8> {
        self.disk.read(&self.root.join(name)).expect("reads").to_vec()
    }

    fn store(&self) -> (Store, String) {
        let system = System { disk: self.disk.clone(), ..System::real() };
        let store = Store::local(system, self.root.join("staging")).expect("opens");
        (store, location_of(&self.root).expect("UTF-8"))
    }
}

fn on_machine(check: fn(&Bench)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check(&Bench { disk: Arc::new(super::OsDisk), root: folder.path().to_path_buf() });
}

#[cfg(feature = "simulation")]
fn on_simulation(check: fn(&Bench)) {
    let root = PathBuf::from("/bench");
    let disk = super::SimulatedDisk::new();
    disk.make_dir(&root).expect("is made");
    check(&Bench { disk: Arc::new(disk), root });
}

macro_rules! on_each {
    ($($check:ident),+ $(,)?) => {
        mod machine { $(#[test] fn $check() { super::on_machine(super::$check) })+ }
        #[cfg(feature = "simulation")]
        mod simulation { $(#[test] fn $check() { super::on_simulation(super::$check) })+ }
    };
}

on_each!(
    a_file_is_made_once_and_grows_at_its_end,
    renames_replace_or_refuse,
    removal,
    folders,
    a_file_is_read_at_any_offset,
    a_lock_is_held_once,
    the_store_publishes_if_absent_and_replaces,
    the_store_publishes_all_or_none,
    the_store_lists_and_deletes,
);

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("must fail"),
        Err(error) => error.kind(),
    }
}

fn a_file_is_made_once_and_grows_at_its_end(bench: &Bench) {
    bench.put("a", b"one");
    let path = bench.root.join("a");
    assert_eq!(kind(bench.disk.create(&path)), ErrorKind::AlreadyExists);
    let mut file = bench.disk.append(&path).expect("opens");
    file.write_all(b" two").expect("is written");
    assert_eq!(bench.read("a"), b"one two");
    file.truncate(3).and_then(|()| file.write_all(b"!")).expect("is cut, and goes on there");
    assert_eq!(bench.read("a"), b"one!");
    assert_eq!(bench.disk.stat(&path).expect("is there").len, 4);
    bench.disk.append(&bench.root.join("b")).expect("is made");
    assert_eq!(bench.names(), ["a", "b"]);
    assert_eq!(kind(bench.disk.create(&bench.root.join("none/x"))), ErrorKind::NotFound);
}

fn renames_replace_or_refuse(bench: &Bench) {
    let path = |name: &str| bench.root.join(name);
    bench.put("a", b"a");
    bench.put("b", b"b");
    assert_eq!(kind(bench.disk.rename_new(&path("a"), &path("b"))), ErrorKind::AlreadyExists);
    assert_eq!((bench.read("a"), bench.read("b")), (b"a".to_vec(), b"b".to_vec()));
    bench.disk.rename_new(&path("a"), &path("c")).expect("is free");
    bench.disk.rename(&path("c"), &path("b")).expect("replaces");
    assert_eq!((bench.names(), bench.read("b")), (vec!["b".to_string()], b"a".to_vec()));
    assert_eq!(kind(bench.disk.rename(&path("none"), &path("b"))), ErrorKind::NotFound);
    assert_eq!(kind(bench.disk.rename_new(&path("b"), &path("none/b"))), ErrorKind::NotFound);
    bench.disk.sync_dir(&bench.root).expect("is durable");
}

fn removal(bench: &Bench) {
    bench.put("a", b"still read");
    let path = bench.root.join("a");
    let open = bench.disk.open(&path).expect("opens");
    bench.disk.remove(&path).expect("is there");
    assert_eq!(kind(bench.disk.remove(&path)), ErrorKind::NotFound);
    assert_eq!(kind(bench.disk.open(&path)), ErrorKind::NotFound);
    let mut buffer = [0; 5];
    assert_eq!(open.read_at(0, &mut buffer).expect("what is open can be read"), 5);
    bench.put("a", b"another");
    assert_eq!(bench.read("a"), b"another");
}

fn folders(bench: &Bench) {
    let path = bench.root.join("d");
    bench.disk.make_dir(&path).expect("is made");
    assert_eq!(kind(bench.disk.make_dir(&path)), ErrorKind::AlreadyExists);
    assert_eq!(kind(bench.disk.make_dir(&bench.root.join("none/d"))), ErrorKind::NotFound);
    let stat = bench.disk.stat(&path).expect("is there");
    assert!(stat.is_dir && !stat.is_file && stat.len == 0, "{stat:?}");
    bench.put("d/x", b"x");
    bench.disk.remove_dir(&path).expect_err("is not empty");
    bench.disk.remove(&path.join("x")).and_then(|()| bench.disk.remove_dir(&path)).expect("is empty");
    assert_eq!(kind(bench.disk.list(&path)), ErrorKind::NotFound);
    assert_eq!(kind(bench.disk.stat(&path)), ErrorKind::NotFound);
    assert_eq!(kind(bench.disk.sync_dir(&path)), ErrorKind::NotFound);
}

fn a_file_is_read_at_any_offset(bench: &Bench) {
    bench.put("a", b"0123456789");
    let file = bench.disk.open(&bench.root.join("a")).expect("opens");
    assert_eq!((file.len(), file.is_empty()), (10, false));
    let mut buffer = [0; 4];
    for (offset, wanted) in [(0, 4), (7, 3), (10, 0), (99, 0)] {
        assert_eq!(file.read_at(offset, &mut buffer).expect("reads"), wanted, "at {offset}");
    }
    assert_eq!(&buffer[..3], b"789");
}

fn a_lock_is_held_once(bench: &Bench) {
    let path = bench.root.join("lock");
    let held = bench.disk.lock(&path).expect("is free");
    assert_eq!(kind(bench.disk.lock(&path)), ErrorKind::WouldBlock);
    drop(held);
    bench.disk.lock(&path).expect("is free again");
}

fn the_store_publishes_if_absent_and_replaces(bench: &Bench) {
    let (store, base) = bench.store();
    let location = format!("{base}/t/country=a+b%2F/x.bin");
    store.put(&location, b"first").expect("publishes");
    assert_eq!(store.put(&location, b"second").expect_err("taken").kind(), Kind::Exists);
    assert_eq!(store.read(&location).expect("reads").as_ref(), b"first");
    assert_eq!(store.read_range(&location, 1..3).expect("reads").as_ref(), b"ir");
    store.replace(&location, b"third").expect("replaces");
    assert_eq!((store.len(&location).expect("is there"), store.list(&base).expect("lists").len()), (5, 1));
}

fn the_store_publishes_all_or_none(bench: &Bench) {
    let (store, base) = bench.store();
    let name = |n: u32| format!("{base}/t/p={}/{n}", n % 3);
    store.put(&name(7), b"here").expect("publishes");
    let stage = |range: std::ops::Range<u32>| -> Vec<Staged> {
        range.map(|n| store.stage(&name(n)).expect("stages")).collect()
    };
    assert_eq!(store.publish(stage(0..20)).expect_err("7 is taken").kind(), Kind::Exists);
    assert_eq!(store.list(&base).expect("lists").len(), 1, "the others are gone again");
    store.publish(stage(20..40)).expect("publishes");
    assert_eq!(store.list(&base).expect("lists").len(), 21);
}

fn the_store_lists_and_deletes(bench: &Bench) {
    let (store, base) = bench.store();
    assert!(store.list(&format!("{base}/none")).expect("an empty list").is_empty());
    for name in ["b/2", "a", "b/1"] {
        store.put(&format!("{base}/t/{name}"), b"x").expect("publishes");
    }
    let names = |store: &Store| -> Vec<String> {
        let found = store.list(&format!("{base}/t")).expect("lists");
        found.iter().map(|entry| entry.location[base.len()..].to_string()).collect()
    };
    assert_eq!(names(&store), ["/t/a", "/t/b/1", "/t/b/2"]);
    let location = format!("{base}/t/a");
    store.delete(&location).and_then(|()| store.delete(&location)).expect("deletes, twice");
    assert_eq!(names(&store), ["/t/b/1", "/t/b/2"]);
    assert_eq!(store.len(&location).expect_err("gone").kind(), Kind::NotFound);
    assert_eq!(store.len(&format!("{base}/t/b")).expect_err("a folder").kind(), Kind::NotFound);
    let left = store.disk().list(Path::new(&bench.root).join("staging").as_path()).expect("lists");
    assert!(left.is_empty(), "nothing is left staged: {left:?}");
}
