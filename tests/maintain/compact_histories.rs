//! Random histories: appends, deletes of every sort, evolution with and without a move of what is there, compaction,
//! expiry, rollback, branches, against a list of rows.
//!
//! The rows at every snapshot that is kept must be those of the list when it was made, just those must be gone that an
//! expiry said, compaction and moves must be done when they say so, and the lake must be sound. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iceberg::TableUpdate;
use iceberg::spec::{Literal, SnapshotReference, SnapshotRetention, Struct, UnboundPartitionSpec};
use laked::history::ancestry;
use laked::maintain::compact::Order;
use laked::maintain::retention::Asked;
use laked::maintain::rollback::{To, rollback, set_current};
use laked::maintain::{Edit, expire, refs};
use laked::read::PlannedFile;
use laked::read::duck::At;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::compact::{TABLE, by_part, create, equality, is_done, is_sound, manner, positions, rows};
use crate::read::lake::{Lake, ident};

const HISTORIES: u64 = 16;
const EVENTS: usize = 20;

/// A row as the model knows it.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    part: &'static str,
    n: i64,
    /// The spec of its file, which compaction keeps and a move does not.
    spec: i32,
}

/// Numbers that look random: a multiply and a fold (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % sides
    }

    fn part(&mut self) -> &'static str {
        ["a", "b", "c"][self.roll(3) as usize]
    }
}

pub struct History {
    pub lake: Lake,
    pub dice: Dice,
    pub rows: Vec<Row>,
    next: i64,
    pub seen: BTreeMap<i64, Vec<Row>>,
    pub expired: BTreeSet<i64>,
    names: usize,
    tally: BTreeMap<&'static str, usize>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let lake = Lake::new();
        let small = [("write.parquet.row-group-limit", "16"), ("write.target-file-size-bytes", "9000")];
        create(&lake, Some(by_part()), !seed.is_multiple_of(3), &small);
        let (rows, seen) = (Vec::new(), BTreeMap::new());
        let (expired, tally) = (BTreeSet::new(), BTreeMap::new());
        Self { lake, dice: Dice(seed), rows, next: 0, seen, expired, names: 0, tally }
    }

    fn spec(&self) -> i32 {
        self.lake.metadata(TABLE).default_partition_spec_id()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("d{}.parquet", self.names)
    }

    pub fn event(&mut self) {
        match self.dice.roll(16) {
            0..6 => self.append(),
            6 => self.delete_by_value(),
            7 | 8 => self.delete_by_position(),
            9 => self.evolve(),
            10 => self.relocate(),
            11 => self.expire(),
            12 => self.roll_back(),
            13 => self.branch(),
            _ => self.compact(),
        }
        self.remember();
    }

    fn append(&mut self) {
        let (part, spec, count) = (self.dice.part(), self.spec(), 1 + self.dice.roll(60));
        let mut batch = Vec::new();
        for _ in 0..count {
            batch.push((self.dice.roll(50) as i64, self.next));
            self.rows.push(Row { id: batch[batch.len() - 1].0, part, n: self.next, spec });
            self.next += 1;
        }
        self.lake.append(TABLE, vec![rows(part, &batch)]);
    }

    /// In a partition, or everywhere if the spec of now has none.
    fn delete_by_value(&mut self) {
        let ids: Vec<i64> = (0..1 + self.dice.roll(5)).map(|_| self.dice.roll(50) as i64).collect();
        let (part, spec, name) = (self.dice.part(), self.spec(), self.name());
        let partitioned = !self.lake.metadata(TABLE).default_partition_spec().fields().is_empty();
        let partition = match partitioned {
            true => Struct::from_iter([Some(Literal::string(part))]),
            false => Struct::empty(),
        };
        let delete = equality(&self.lake, &name, &ids, partition);
        self.lake.foreign(TABLE, vec![delete]);
        let hit = |row: &Row| ids.contains(&row.id) && (!partitioned || row.spec == spec && row.part == part);
        self.rows.retain(|row| !hit(row));
    }

    /// Of a file of the spec of now: a manifest is of one spec.
    fn delete_by_position(&mut self) {
        let spec = self.spec();
        let files: Vec<PlannedFile> = self.lake.files(TABLE).into_iter().filter(|file| file.spec_id == spec).collect();
        if files.is_empty() {
            return;
        }
        let file = &files[self.dice.roll(files.len() as u64) as usize];
        let numbers = numbers_of(&self.lake, file);
        let mut hit: Vec<i64> =
            (0..1 + self.dice.roll(8)).map(|_| self.dice.roll(numbers.len() as u64) as i64).collect();
        hit.sort_unstable();
        hit.dedup();
        let (says_so, name) = (self.dice.roll(2) == 0, self.name());
        let delete = positions(&self.lake, &name, file, &hit, says_so);
        self.lake.foreign(TABLE, vec![delete]);
        let gone: Vec<i64> = hit.iter().map(|&at| numbers[at as usize]).collect();
        self.rows.retain(|row| !gone.contains(&row.n));
    }

    fn evolve(&mut self) {
        let metadata = self.lake.metadata(TABLE);
        let spec = match metadata.default_partition_spec().fields().is_empty() {
            true => by_part(),
            false => UnboundPartitionSpec::builder().build(),
        };
        self.lake.change(TABLE, vec![TableUpdate::AddSpec { spec }, TableUpdate::SetDefaultSpec { spec_id: -1 }]);
    }

    fn compact(&mut self) {
        let mut manner = manner(2 + self.dice.roll(3) as usize);
        if self.dice.roll(3) == 0 {
            manner.options.order = Order::AsTheyAre;
        }
        let bound = self.dice.roll(3) == 0;
        manner.options.max_bytes = bound.then(|| 10_000 + self.dice.roll(20_000));
        let mut rest = 0;
        while self.lake.compact(TABLE, &manner).snapshot_id.is_some() {
            self.did("compactions");
            self.remember();
            rest += 1;
            assert!(rest < 30, "it does not come to an end");
            if !bound {
                is_done(&self.lake, &manner);
                break;
            }
        }
    }

    /// Moves what has another spec to the table's, step by step; where nothing has, the spec is another first.
    fn relocate(&mut self) {
        let spec = self.spec();
        if self.lake.files(TABLE).iter().all(|file| file.spec_id == spec) {
            self.evolve();
        }
        let mut manner = manner(1);
        manner.options.max_bytes = (self.dice.roll(2) == 0).then(|| self.dice.roll(20_000));
        for step in 0.. {
            let stepped = self.lake.relocate_while(TABLE, &manner, || {});
            if stepped.snapshot_id.is_none() {
                break;
            }
            assert!(step < 50, "it does not come to an end");
            self.did("moves");
            self.remember();
        }
        let spec = self.spec();
        assert!(self.lake.files(TABLE).iter().all(|file| file.spec_id == spec), "all is moved");
        self.rows.iter_mut().for_each(|row| row.spec = spec);
    }

    /// Takes old snapshots out, and unlinks their files at once.
    fn expire(&mut self) {
        let retain_last = Some(1 + self.dice.roll(4) as i64);
        let asked = Asked { older_than_ms: Some(0), retain_last, ..Asked::default() };
        let request = expire::Request { asked, grace_ms: 0, dry_run: false };
        let report = expire::expire(&self.lake.catalog, &ident(TABLE), &request).expect("expires");
        self.expired.extend(&report.snapshots);
        if !report.snapshots.is_empty() {
            self.did("expiries");
        }
    }

    fn apply(&self, edit: Edit) {
        if !edit.is_empty() {
            self.lake.change(TABLE, edit.updates);
        }
    }

    /// To any ancestor.
    fn roll_back(&mut self) {
        let metadata = self.lake.metadata(TABLE);
        let Some(current) = metadata.current_snapshot_id() else { return };
        let line: Vec<i64> = ancestry(&metadata, current).map(|snapshot| snapshot.snapshot_id()).collect();
        let target = line[self.dice.roll(line.len() as u64) as usize];
        let table = self.lake.catalog.load(&ident(TABLE)).expect("is there");
        self.apply(rollback(&metadata, &table.refs, To::Snapshot(target), false).expect("plans").edit);
        self.rows = self.seen[&target].clone();
        self.did("rollbacks");
    }

    /// What is current becomes a branch, and any snapshot that is kept becomes current: the lines part.
    fn branch(&mut self) {
        let table = self.lake.catalog.load(&ident(TABLE)).expect("is there");
        let Some(current) = table.metadata.current_snapshot_id() else { return };
        let reference = SnapshotReference::new(current, SnapshotRetention::branch(None, None, None));
        let name = self.name();
        self.apply(refs::create(&table.metadata, &table.refs, &name, reference).expect("plans").edit);
        let mut kept: Vec<i64> = table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).collect();
        kept.sort_by_key(|id| table.metadata.snapshot_by_id(*id).map(|snapshot| snapshot.sequence_number()));
        let target = kept[self.dice.roll(kept.len() as u64) as usize];
        let table = self.lake.catalog.load(&ident(TABLE)).expect("is there");
        self.apply(set_current(&table.metadata, &table.refs, target, false).expect("plans").edit);
        self.rows = self.seen[&target].clone();
        self.did("branches");
    }

    fn did(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// What the snapshot of now holds, by the model.
    pub fn remember(&mut self) {
        if let Some(snapshot) = self.lake.metadata(TABLE).current_snapshot_id() {
            self.seen.insert(snapshot, self.rows.clone());
        }
    }

    pub fn holds(&self) {
        let metadata = self.lake.metadata(TABLE);
        let kept: BTreeSet<i64> = metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).collect();
        let wanted = self.seen.keys().copied().filter(|id| !self.expired.contains(id)).collect();
        assert_eq!(kept, wanted, "just what expired is gone");
        for snapshot in kept {
            let mut rows = self.seen[&snapshot].clone();
            rows.sort_by_key(|row| row.n);
            let told: Vec<String> = rows.iter().map(|row| format!("{},{},{}", row.n, row.id, row.part)).collect();
            let found = self.lake.rows_at("select n, id, part from ns.t order by n", &At::Snapshot(snapshot));
            assert_eq!(found, told, "snapshot {snapshot}");
        }
        is_sound(&self.lake);
    }
}

/// The rows' own numbers, in the order of the file.
fn numbers_of(lake: &Lake, file: &PlannedFile) -> Vec<i64> {
    use arrow::array::AsArray;
    let bytes = lake.store.read(file.file.file_path()).expect("reads");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("opens").build().expect("reads");
    let column = |batch: arrow::array::RecordBatch| {
        let numbers =
            batch.column_by_name("n").expect("a column").as_primitive::<arrow::datatypes::Int64Type>().clone();
        numbers.values().to_vec()
    };
    reader.flat_map(|batch| column(batch.expect("reads"))).collect()
}

#[test]
fn rows_at_every_snapshot_are_those_of_a_list() {
    let mut tally: HashMap<&str, usize> = HashMap::new();
    for seed in 0..HISTORIES {
        let told = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            (0..EVENTS).for_each(|_| history.event());
            history.compact();
            history.remember();
            history.holds();
            history.tally
        });
        let told = told.unwrap_or_else(|_| panic!("seed {seed}: see above"));
        told.into_iter().for_each(|(what, count)| *tally.entry(what).or_default() += count);
    }
    for what in ["compactions", "moves", "expiries", "rollbacks", "branches"] {
        assert!(tally.get(what).is_some_and(|count| *count >= 5), "{what}: {tally:?}");
    }
}
