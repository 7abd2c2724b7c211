use std::path::PathBuf;

use super::*;
use crate::store::Store;
use crate::system::System;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/").join(name)
}

fn written(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let mut file = disk.create(&path(name)).expect("is made");
    file.write_all(bytes).expect("is written");
    file
}

fn after_loss(disk: &SimulatedDisk, loss: Loss) -> SimulatedDisk {
    let disk = disk.copy();
    disk.lose_power(loss);
    assert!(disk.stat(&path("")).is_err(), "the process is dead");
    disk.restart()
}

fn content(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    disk.read(&path(name)).ok().map(|bytes| bytes.to_vec())
}

#[test]
fn a_power_cut_leaves_what_was_synced() {
    let disk = SimulatedDisk::new();
    written(&disk, "a", b"data").sync().expect("syncs");
    assert_eq!(content(&after_loss(&disk, Loss::All), "a"), None, "its name is not durable");
    assert_eq!(content(&after_loss(&disk, Loss::Bytes), "a"), Some(b"data".to_vec()));
    disk.sync_dir(&path("")).expect("syncs");
    let mut file = disk.append(&path("a")).expect("opens");
    file.write_all(b"more").expect("is written");
    assert_eq!(content(&after_loss(&disk, Loss::All), "a"), Some(b"data".to_vec()));
    assert_eq!(content(&after_loss(&disk, Loss::Torn), "a"), Some(b"datamo".to_vec()));
    disk.rename(&path("a"), &path("b")).expect("renames");
    let after = after_loss(&disk, Loss::All);
    assert_eq!((content(&after, "a"), content(&after, "b")), (Some(b"data".to_vec()), None));
    assert_eq!(content(&disk.restart(), "b"), Some(b"datamore".to_vec()), "a process that dies loses nothing");
}

#[test]
fn a_sync_that_failed_leaves_zeros_for_the_next_one() {
    let disk = SimulatedDisk::new();
    let mut file = written(&disk, "a", b"kept");
    file.sync().and_then(|()| disk.sync_dir(&path(""))).expect("syncs");
    file.write_all(b"lost").expect("is written");
    disk.arm(Fault::Before(DiskError::Io), 1);
    assert_eq!(file.sync().expect_err("fails").raw_os_error(), Some(5));
    file.write_all(b"next").and_then(|()| file.sync()).expect("goes on");
    assert_eq!(content(&disk, "a"), Some(b"keptlostnext".to_vec()));
    assert_eq!(content(&after_loss(&disk, Loss::All), "a"), Some(b"kept\0\0\0\0next".to_vec()));
}

#[test]
fn faults_befall_the_nth_operation_and_a_dead_process_does_nothing() {
    let disk = SimulatedDisk::new();
    disk.arm(Fault::After(DiskError::Full), 2);
    disk.make_dir(&path("one")).expect("is the first");
    assert_eq!(disk.make_dir(&path("two")).expect_err("fails").raw_os_error(), Some(28));
    assert!(disk.fired() && disk.stat(&path("two")).is_ok());
    disk.arm(Fault::Torn(DiskError::Full), 1);
    let mut file = disk.create(&path("f")).expect("is no write");
    file.write(b"torn").expect_err("fails");
    assert_eq!(content(&disk, "f"), Some(b"to".to_vec()));
    disk.arm(Fault::DeathBefore, 1);
    let lock = disk.lock(&path("lock")).expect("is free");
    file.write(b"x").expect_err("dies");
    assert!(disk.is_dead() && disk.read(&path("f")).is_err() && disk.remove(&path("f")).is_err());
    let next = disk.restart();
    next.lock(&path("lock")).expect("the dead hold nothing");
    drop((lock, file));
    assert!(disk.is_dead(), "the old handle stays dead");
    assert_eq!(content(&next.outside(), "f"), Some(b"to".to_vec()));
}

/// Files below a folder.
fn files(disk: &SimulatedDisk, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, stat) in disk.list(&path(folder)).unwrap_or_default() {
        let name = format!("{folder}/{}", name.to_string_lossy());
        if stat.is_dir { found.extend(files(disk, &name)) } else { found.push(name) }
    }
    found
}

#[test]
fn a_file_whose_making_reports_failure_is_not_there() {
    type Make = fn(&Store) -> crate::Result<()>;
    let ways: [(&str, Make); 2] = [
        ("published", |store| {
            let staged = ["t/a", "t/p=1/b"].map(|name| {
                let mut file = store.stage(&format!("file:///{name}"))?;
                file.write_all(b"bytes").map(|()| file).map_err(Error::from)
            });
            store.publish(staged.into_iter().collect::<crate::Result<_>>()?)
        }),
        ("placed", |store| store.place("file:///t/c", b"bytes").and_then(|placed| store.settle(placed))),
    ];
    for (name, make) in ways {
        for nth in 1.. {
            let disk = SimulatedDisk::new();
            ["lake", "t"].iter().for_each(|folder| disk.make_dir(&path(folder)).expect("is made"));
            let system = System { disk: Arc::new(disk.clone()), ..System::real() };
            let store = Store::local(system, path("lake/staging")).expect("opens");
            disk.arm(Fault::After(DiskError::Io), nth);
            let made = make(&store);
            if !disk.fired() {
                made.expect("nothing is wrong");
                break;
            }
            let settles = name == "placed" && nth > 2;
            let left = files(&disk, "t");
            assert!(made.is_err() && (left.is_empty() || settles), "{name}, {nth}: {left:?}");
            assert_eq!(files(&disk, "lake/staging"), Vec::<String>::new(), "{name}, {nth}");
        }
    }
}
