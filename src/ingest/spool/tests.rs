//! The spool on a real folder, and on a disk that fails on demand.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use laked_catalog::store::{Disk, DiskFile, DiskLock, DiskRead, OsDisk, Stat};
use laked_catalog::system::System;
use uuid::Uuid;

use super::*;
use crate::budget::Budget;
use crate::error::{Kind, Result};
use crate::flow::{Mark, Marks};

const TABLE: Uuid = Uuid::from_u128(7);

fn place(dir: &Path) -> Place {
    // No memory: every group is read back from the disk.
    let bounds = Bounds { segment_bytes: 2000, ..Bounds::default() };
    Place { dir: dir.into(), system: System::real(), budget: Budget::new(0), bounds, table: TABLE }
}

fn parcel(numbers: &[i64]) -> Parcel {
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as _)]).unwrap();
    let answer = Answer { accepted: numbers.len() as u64, ..Answer::default() };
    let head = Head {
        at_ms: System::real().clock.now_ms(),
        source: "test".into(),
        contract: "c".into(),
        answer,
        key: None,
        refusals: Vec::new(),
        spill: None,
    };
    Parcel { head, batch: Some(batch), spill: None, guard: None, reservation: None }
}

fn send(spool: &Spool, numbers: &[i64]) -> Result<Answer> {
    spool.append(parcel(numbers)).expect("not busy").blocking_recv().expect("answered")
}

/// Everything from `from` on: the entries' numbers and their rows.
fn read(spool: &Spool, from: u64) -> Result<(Vec<u64>, Vec<i64>)> {
    let (mut entries, mut rows, mut at) = (Vec::new(), Vec::new(), from);
    while let Next::Group(group) = spool.next(at, Some(std::time::Duration::ZERO))? {
        entries.extend(group.heads.iter().map(|h| h.answer.entry));
        let batch = group.batch.expect("rows");
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().expect("longs");
        rows.extend(column.values().iter());
        at = entries.last().expect("an entry") + 1;
    }
    Ok((entries, rows))
}

fn marks(spool: &Spool, entry: u64) -> Marks {
    Marks::from([(spool.lane(), Mark { entry, record: 0 })])
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut names: Vec<_> = OsDisk.list(dir).unwrap().into_iter().map(|(n, _)| dir.join(n)).collect();
    names.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    names.sort();
    names
}

fn overwrite(path: &Path, bytes: &[u8]) {
    OsDisk.remove(path).unwrap();
    OsDisk.create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn what_was_answered_is_there_after_a_restart_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    for n in 0..20 {
        assert_eq!(send(&spool, &[n, -n]).unwrap().entry, n as u64);
    }
    let lane = spool.lane();
    drop(spool);
    assert!(segments(dir.path()).len() > 1, "segments roll by size");
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    assert_eq!(spool.lane(), lane);
    let (entries, rows) = read(&spool, 0).unwrap();
    assert_eq!(entries, (0..20).collect::<Vec<_>>());
    assert_eq!(rows, (0..20).flat_map(|n| [n, -n]).collect::<Vec<_>>());
    assert_eq!(send(&spool, &[5]).unwrap().entry, 20);
}

#[test]
fn many_senders_share_groups_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    let tickets: Vec<_> = (0..500).map(|n| spool.append(parcel(&[n])).expect("not busy")).collect();
    let answered: Vec<u64> = tickets.into_iter().map(|t| t.blocking_recv().unwrap().unwrap().entry).collect();
    assert_eq!(answered, (0..500).collect::<Vec<_>>());
    let (entries, rows) = read(&spool, 0).unwrap();
    assert_eq!(entries.len(), 500);
    assert_eq!(rows, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_torn_tail_is_cut_at_every_length_and_damage_before_the_end_halts() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(Place { bounds: Bounds::default(), ..place(dir.path()) }, &Marks::new()).unwrap();
    send(&spool, &[1]).unwrap();
    let path = segments(dir.path()).remove(0);
    let whole_first = OsDisk.stat(&path).unwrap().len as usize;
    send(&spool, &[2]).unwrap();
    drop(spool);
    let bytes = OsDisk.read(&path).unwrap();
    for cut in (whole_first..bytes.len()).step_by(37) {
        overwrite(&path, &bytes[..cut]);
        let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
        assert_eq!(read(&spool, 0).unwrap().1, [1], "cut at {cut}");
        assert_eq!(OsDisk.stat(&path).unwrap().len as usize, whole_first);
    }
    let mut damaged = bytes.to_vec();
    damaged[whole_first - 1] ^= 1;
    overwrite(&path, &damaged);
    assert_eq!(Spool::open(place(dir.path()), &Marks::new()).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn covered_segments_go_and_their_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    for n in 0..20 {
        let mut parcel = parcel(&[n]);
        parcel.head.key = Some((format!("key{n}"), "00".into()));
        let Begin::First(guard) = spool.keys().begin(&format!("key{n}"), 0) else { panic!("free") };
        parcel.guard = Some(guard);
        spool.append(parcel).unwrap().blocking_recv().unwrap().unwrap();
    }
    let before = segments(dir.path()).len();
    spool.covered(Mark { entry: 20, record: 0 }).unwrap();
    assert_eq!((spool.status().entries, spool.status().bytes), (0, 0));
    assert!(before > 2 && segments(dir.path()).len() == 1);
    let marks = marks(&spool, 20);
    drop(spool);
    let spool = Spool::open(place(dir.path()), &marks).unwrap();
    for n in 0..20 {
        let Begin::Done(record) = spool.keys().begin(&format!("key{n}"), 0) else { panic!("key{n} is forgotten") };
        assert_eq!(record.answer.entry, n);
    }
    assert_eq!(send(&spool, &[20]).unwrap().entry, 20);
}

#[test]
fn a_mark_beyond_the_end_means_a_new_epoch_and_a_gap_halts() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    for n in 0..20 {
        send(&spool, &[n]).unwrap();
    }
    let beyond = marks(&spool, 21);
    let old = spool.lane();
    spool.covered(Mark { entry: 20, record: 0 }).unwrap();
    let behind = marks(&spool, 3);
    drop(spool);
    let gap = Spool::open(place(dir.path()), &behind).err().unwrap();
    assert_eq!(gap.kind(), Kind::Corrupt);
    assert_eq!(
        Spool::open(place(dir.path()), &Marks::new()).err().unwrap().kind(),
        Kind::Corrupt,
        "the mark is missing"
    );
    let spool = Spool::open(place(dir.path()), &beyond).unwrap();
    assert_ne!(spool.lane(), old);
    assert_eq!(send(&spool, &[1]).unwrap().entry, 0);
    drop(spool);
    let other = Place { table: Uuid::from_u128(8), ..place(dir.path()) };
    assert_eq!(Spool::open(other, &Marks::new()).err().unwrap().kind(), Kind::Corrupt, "another table's");
}

#[test]
fn a_spilled_entry_is_read_in_pieces_and_one_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    let mut given_up = spool.spill().unwrap();
    given_up.write(&parcel(&[0]).batch.unwrap(), Vec::new(), 1).unwrap();
    drop(given_up);
    let mut spill = spool.spill().unwrap();
    for n in 0..3 {
        spill.write(&parcel(&[n]).batch.unwrap(), Vec::new(), 1).unwrap();
    }
    spill.finish().unwrap();
    let whole = Parcel { batch: None, spill: Some(spill), ..parcel(&[0, 1, 2]) };
    spool.append(whole).unwrap().blocking_recv().unwrap().unwrap();
    drop(spool);
    let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
    let Next::Group(group) = spool.next(0, None).unwrap() else { panic!("an entry") };
    let name = group.heads[0].spill.clone().unwrap();
    assert_eq!(spool.pieces(&name).unwrap().map(|p| p.unwrap().records).sum::<u64>(), 3);
    let spills =
        || OsDisk.list(dir.path()).unwrap().iter().filter(|(n, _)| n.to_string_lossy().starts_with("big-")).count();
    assert_eq!(spills(), 1);
    spool.covered(Mark { entry: 1, record: 0 }).unwrap();
    assert_eq!(spills(), 0);
}

/// The disk of the machine, but writes (1) or syncs (2) fail while told to; a failing write writes half.
#[derive(Debug, Default)]
struct Failing(Arc<AtomicU8>);

struct FailingFile(Box<dyn DiskFile>, Arc<AtomicU8>);

fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.load(Ordering::SeqCst) == 1 {
            self.0.write_all(&bytes[..bytes.len() / 2])?;
            return Err(no_space());
        }
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for FailingFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) == 2 { Err(no_space()) } else { self.0.sync() }
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        // A disk that fails to sync may refuse to cut as well: what was written stays.
        if self.1.load(Ordering::SeqCst) == 2 { Err(no_space()) } else { self.0.truncate(len) }
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FailingFile(OsDisk.create(path)?, self.0.clone())))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.append(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
        OsDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_dir(path)
    }
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.make_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<(std::ffi::OsString, Stat)>> {
        OsDisk.list(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        OsDisk.stat(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        OsDisk.lock(path)
    }
}

#[test]
fn a_failed_write_or_sync_keeps_nothing_and_the_spool_goes_on() {
    for fault in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let switch = Arc::new(AtomicU8::new(0));
        let mut at = place(dir.path());
        at.bounds = Bounds::default();
        at.system.disk = Arc::new(Failing(switch.clone()));
        let spool = Spool::open(at, &Marks::new()).unwrap();
        send(&spool, &[1]).unwrap();
        switch.store(fault, Ordering::SeqCst);
        assert_eq!(send(&spool, &[2]).unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(send(&spool, &[3]).unwrap_err().kind(), Kind::Unavailable);
        switch.store(0, Ordering::SeqCst);
        assert_eq!(send(&spool, &[4]).unwrap().entry, 1);
        drop(spool);
        let spool = Spool::open(place(dir.path()), &Marks::new()).unwrap();
        assert_eq!(read(&spool, 0).unwrap().1, [1, 4], "fault {fault}");
    }
}

#[test]
fn after_a_roll_every_segment_goes_that_a_mark_covers_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(Place { bounds: Bounds::default(), ..place(dir.path()) }, &Marks::new()).unwrap();
    assert_eq!(spool.roll().blocking_recv().unwrap().unwrap(), 0, "there is nothing to leave");
    (0..3).for_each(|n| assert_eq!(send(&spool, &[n]).unwrap().entry, n as u64));
    let before = segments(dir.path());
    for _ in 0..2 {
        assert_eq!(spool.roll().blocking_recv().unwrap().unwrap(), 3);
        assert_eq!(segments(dir.path()).len(), before.len() + 1, "one that is empty is rolled no further");
    }
    spool.covered(Mark { entry: 2, record: 0 }).unwrap();
    assert!(before.iter().all(|path| segments(dir.path()).contains(path)), "entry 2 is in none but it");
    spool.covered(Mark { entry: 3, record: 0 }).unwrap();
    assert!(!before.iter().any(|path| segments(dir.path()).contains(path)));
    let covered = marks(&spool, 3);
    drop(spool);
    let spool = Spool::open(place(dir.path()), &covered).unwrap();
    assert_eq!(send(&spool, &[9]).unwrap().entry, 3);
    assert_eq!(read(&spool, 3).unwrap().1, [9]);
}

#[test]
fn what_senders_were_told_of_refused_records_is_forgotten_and_their_keys_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(Place { bounds: Bounds::default(), ..place(dir.path()) }, &Marks::new()).unwrap();
    let mut refused = parcel(&[1]);
    let rule = crate::ingest::entry::Rule { code: "range".into(), field: None, detail: "zq7 is out of range".into() };
    refused.head.answer.reasons = vec![crate::ingest::entry::Reason { record: 0, line: None, rule }];
    refused.head.key = Some(("key".into(), "body".into()));
    refused.guard = match spool.keys().begin("key", 0) {
        Begin::First(guard) => Some(guard),
        other => panic!("{other:?}"),
    };
    spool.append(refused).expect("not busy").blocking_recv().unwrap().unwrap();
    spool.roll().blocking_recv().unwrap().unwrap();
    spool.covered(Mark { entry: 1, record: 0 }).unwrap();
    let told = |dir: &Path| {
        let files = OsDisk.list(dir).unwrap().into_iter().map(|(name, _)| OsDisk.read(&dir.join(name)).unwrap());
        files.filter(|bytes| bytes.windows(3).any(|window| window == b"zq7")).count()
    };
    assert_eq!(told(dir.path()), 1, "the key outlives its segment");
    spool.forget_reasons().unwrap();
    assert_eq!(told(dir.path()), 0);
    let covered = marks(&spool, 1);
    drop(spool);
    let spool = Spool::open(place(dir.path()), &covered).unwrap();
    let Begin::Done(record) = spool.keys().begin("key", System::real().clock.now_ms()) else { panic!("it is known") };
    assert_eq!((record.answer.accepted, record.answer.reasons.len()), (1, 0));
}
