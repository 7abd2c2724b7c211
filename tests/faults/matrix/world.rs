//! The machine a scenario runs on, the process that is alive on it, and what its senders were told.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iceberg::TableIdent;
use iceberg::spec::Transform;
use laked::config::{Age, Inbox, Settings};
use laked::daemon::clustering::clusters;
use laked::daemon::compaction::{Manner, planned_move, step};
use laked::daemon::erasing::erased;
use laked::daemon::{Lake, Lane};
use laked::flow::{Door, Format, Mark, Packing};
use laked::ingest::decode::{self, Input, Options};
use laked::ingest::entry::Answer;
use laked::ingest::push::Denied;
use laked::ingest::spool::Begin;
use laked::maintain::compact::{self, Order};
use laked::maintain::erase;
use laked::maintain::partition::{Term, evolve_partition};
use laked::maintain::retention::Asked;
use laked::maintain::rollback::{To, rollback};
use laked::maintain::{Edit, cherry_pick, expire, ledger, orphans};
use laked::read::Predicate;
use laked_catalog::error::{Error, Kind, Result};
use laked_catalog::store::{Disk, SimulatedDisk};
use laked_catalog::system::{SimulatedClock, SimulatedIds, System};
use laked_catalog::{Change, Database, Origin, Outcome, State};

pub const TABLE: &str = "n.t";
pub const LAKE: &str = "/lake";
const CONTRACT: &str = r#"
[table]
version = 1
partition = ["region"]
sort = ["id"]

[fields]
id     = { type = "string", required = true }
region = { type = "string", required = true, enum = ["N", "S"] }
value  = { type = "long", required = true, range = [0, 100] }
"#;

/// A machine with one process of the daemon, or none.
pub struct World {
    pub disk: SimulatedDisk,
    pub state: State,
    clock: Arc<SimulatedClock>,
    ids: Arc<SimulatedIds>,
    process: Option<Process>,
    /// What each request was answered first.
    pub answers: BTreeMap<usize, Answer>,
    /// The ids of the records that were acknowledged: good ones, and ones the contract refuses.
    pub good: Vec<String>,
    pub bad: Vec<String>,
    /// The record that was erased.
    pub erased: Option<String>,
    /// The snapshot that was rolled back.
    aside: Option<i64>,
}

struct Process {
    lake: Lake,
    push: Lane,
    files: Lane,
}

/// The records of request or file `number`. From 4 on some are refused; of 6 all are. Those of 2 are of two partitions.
fn records(number: usize) -> Vec<(String, bool)> {
    let good = |n: usize| number < 4 || (number < 6 && n.is_multiple_of(2));
    (0..4).map(|n| (format!("r{number}-{n}"), good(n))).collect()
}

fn body(number: usize) -> String {
    let line = |(n, (id, good)): (usize, (String, bool))| {
        let (region, value) = (["N", "S"][usize::from(number == 2) * n % 2], if good { n } else { 999 });
        format!("{{\"id\":\"{id}\",\"region\":\"{region}\",\"value\":{value}}}\n")
    };
    records(number).into_iter().enumerate().map(line).collect()
}

fn settings() -> Settings {
    let inbox = Inbox { settle: Age::seconds(0), ..Inbox::default() };
    Settings { lake: LAKE.into(), schemas: "/schemas".into(), inbox, ..Settings::default() }
}

impl World {
    /// A machine with a contract on it, and no lake.
    pub fn new() -> World {
        let disk = SimulatedDisk::new();
        let outside = disk.outside();
        for folder in ["/schemas", "/schemas/n"] {
            outside.make_dir(Path::new(folder)).expect("is made");
        }
        put(&outside, Path::new("/schemas/n/t.toml"), CONTRACT);
        for folder in ["/schemas", "/"] {
            outside.sync_dir(Path::new(folder)).expect("is durable");
        }
        World {
            disk,
            state: State::open(&Database::Memory).expect("opens"),
            clock: Arc::new(SimulatedClock::at(1_750_000_000_000)),
            ids: Arc::new(SimulatedIds::after(1_750_000_000_000)),
            process: None,
            answers: BTreeMap::new(),
            good: Vec::new(),
            bad: Vec::new(),
            erased: None,
            aside: None,
        }
    }

    pub fn system(&self, disk: SimulatedDisk) -> System {
        System { clock: self.clock.clone(), ids: self.ids.clone(), disk: Arc::new(disk) }
    }

    /// Starts the daemon if it does not run.
    ///
    /// # Errors
    /// As [`Lake::still`]; the process is over then.
    fn process(&mut self) -> Result<&mut Process> {
        if self.process.is_none() {
            let state = self.state.through(self.disk.wire());
            let lake = Lake::still(settings(), self.system(self.disk.clone()), Some(state))?;
            let halted = || Error::new(Kind::Corrupt, format!("a lane is halted: {:?}", lake.ailments()));
            let push = lake.lane(TABLE, Door::Push).ok_or_else(halted)?;
            let files = lake.lane(TABLE, Door::Inbox).ok_or_else(halted)?;
            self.process = Some(Process { lake, push, files });
        }
        self.process.as_mut().ok_or_else(|| Error::new(Kind::Internal, "no process"))
    }

    /// Ends the process, if it lives, as `kill -9` does; the next one is started when it is needed.
    pub fn restart(&mut self) {
        // The dead one's handle fails from now on: what its destructors try has no effect.
        let next = self.disk.restart();
        self.process = None;
        self.disk = next;
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Opens the lake and its lanes, unless they are.
    pub fn open(&mut self) -> Result<()> {
        self.process().map(drop)
    }

    /// Sends request `number` as the HTTP door does, with its key.
    pub fn push(&mut self, number: usize) -> Result<()> {
        let answer = self.process()?.push(number)?;
        match self.answers.get(&number) {
            Some(first) => assert_eq!(*first, answer, "a key replays its first answer"),
            None => self.acknowledge(number, Some(answer)),
        }
        Ok(())
    }

    fn acknowledge(&mut self, number: usize, answer: Option<Answer>) {
        let (good, bad): (Vec<_>, Vec<_>) = records(number).into_iter().partition(|(_, good)| *good);
        self.good.extend(good.into_iter().map(|(id, _)| id));
        self.bad.extend(bad.into_iter().map(|(id, _)| id));
        self.answers.extend(answer.map(|answer| (number, answer)));
    }

    /// Takes in and commits what there is, of both lanes.
    pub fn catch_up(&mut self) -> Result<()> {
        let process = self.process()?;
        process.push.catch_up()?;
        process.files.catch_up()
    }

    /// Compacts the table.
    pub fn compact(&mut self) -> Result<()> {
        let options = compact::Options { least_inputs: 2, max_bytes: None, order: Order::OfTable };
        let manner = Manner { options, predicate: Predicate::True, threads: 1, memory: 1 << 20 };
        let ident = TableIdent::from_strs(TABLE.split('.')).expect("a name");
        self.process()?.lake.compact(&ident, &manner).map(drop)
    }

    /// Gives the table another spec, and moves its files to it.
    pub fn relocate(&mut self) -> Result<()> {
        let options = compact::Options { least_inputs: 1, max_bytes: None, order: Order::OfTable };
        let manner = Manner { options, predicate: Predicate::True, threads: 1, memory: 1 << 20 };
        let term = |source_id, name: &str, transform| Term { source_id, transform, name: name.into(), is_named: false };
        let terms = [term(2, "region", Transform::Identity), term(1, "id_bucket", Transform::Bucket(2))];
        let ident = self.ident();
        let lake = &self.process()?.lake;
        let edit = evolve_partition(&lake.catalog().load(&ident)?.metadata, &terms)?.edit;
        commit(lake, &ident, edit)?;
        loop {
            let table = lake.catalog().load(&ident)?;
            let replace = |replacement| lake.committer().replace(replacement);
            let store = lake.catalog().store();
            let planned = planned_move(store, &table.metadata, &manner)?;
            let stepped = step(store, (&ident, &table.metadata), planned, &manner, &replace, &|_, _| {})?;
            if stepped.snapshot_id.is_none() {
                return Ok(());
            }
        }
    }

    /// Lists the table's files by partition.
    pub fn cluster(&mut self) -> Result<()> {
        let ident = self.ident();
        let lake = &self.process()?.lake;
        let table = lake.catalog().load(&ident)?;
        let clusters = clusters(lake.catalog().store(), (&ident, &table.metadata))?;
        match clusters.plan.made.is_empty() {
            true => Ok(()),
            false => lake.committer().cluster(clusters.clustered).map(drop),
        }
    }

    /// Takes the last snapshot out of sight; another try finds it so.
    pub fn roll_back(&mut self) -> Result<()> {
        let ident = self.ident();
        let table = self.process()?.lake.catalog().load(&ident)?;
        let current = table.metadata.current_snapshot().expect("there is one");
        let aside = *self.aside.get_or_insert(current.snapshot_id());
        if current.snapshot_id() != aside {
            return Ok(());
        }
        let parent = current.parent_snapshot_id().expect("it has one");
        let edit = rollback(&table.metadata, &table.refs, To::Snapshot(parent), false)?.edit;
        commit(&self.process()?.lake, &ident, edit)
    }

    /// Picks what was taken out of sight; another try may find it picked.
    pub fn pick(&mut self) -> Result<()> {
        let (ident, snapshot) = (self.ident(), self.aside.expect("something was rolled back"));
        let request = cherry_pick::Request { snapshot, dry_run: false };
        match self.process()?.lake.pick(&ident, &request) {
            Err(error) if error.kind() == Kind::Invalid && error.to_string().contains("already") => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Erases a record, until its certificate says that nothing holds it: as who erases alone, without the doors.
    pub fn erase(&mut self) -> Result<()> {
        let (ident, id) = (self.ident(), "r1-1");
        let request = erase::Request { condition: format!("id = '{id}'"), ..erase::Request::default() };
        let lake = &self.process()?.lake;
        let done = erased((lake.catalog(), lake.committer(), Path::new(LAKE)), &ident, &request)?;
        let held: Vec<_> = done.held.iter().filter(|held| !held.place.starts_with("spool")).collect();
        if !held.is_empty() {
            return Err(Error::new(Kind::Unavailable, format!("it is held: {held:?}")));
        }
        self.good.retain(|good| good != id);
        self.erased = Some(id.to_string());
        Ok(())
    }

    fn ident(&self) -> TableIdent {
        TableIdent::from_strs(TABLE.split('.')).expect("a name")
    }

    /// The push lane's mark, as who waits for a commit is told.
    pub fn pushed(&self) -> Mark {
        self.process.as_ref().map(|process| process.push.mark()).unwrap_or_default()
    }

    /// Bytes in the push lane's spool that no mark covers.
    pub fn backlog(&self) -> u64 {
        let door = self.process.as_ref().and_then(|process| process.lake.table(TABLE)?.push().ok());
        door.map_or(0, |door| door.spool.status().bytes)
    }

    /// Looks through the inbox often enough to hold its files to be whole.
    pub fn sweep(&mut self) -> Result<()> {
        let process = self.process()?;
        process.lake.sweep().and_then(|()| process.lake.sweep())
    }

    /// Takes all snapshots of the table but the current one out, a moment after the last commit.
    pub fn expire(&mut self) -> Result<()> {
        self.clock.advance(Duration::from_millis(1));
        let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
        let ident = TableIdent::from_strs(["n", "t"]).expect("a name");
        let request = expire::Request { asked, ..expire::Request::default() };
        expire::expire(self.process()?.lake.catalog(), &ident, &request).map(drop)
    }

    /// Leaves files behind, one of them where a data file goes, and removes all that nothing names, young or old.
    pub fn tidy(&mut self) -> Result<()> {
        let lake = &self.process()?.lake;
        let ident = TableIdent::from_strs(["n", "t"]).expect("a name");
        let location = lake.catalog().load(&ident)?.metadata.location().to_owned();
        let folder = laked_catalog::store::path_of(&location)?;
        for file in ["metadata/lost.avro", "data/lost.parquet"] {
            // There already, if this is another try.
            if self.disk.outside().stat(&folder.join(file)).is_err() {
                put(&self.disk.outside(), &folder.join(file), "lost");
            }
        }
        let lake = &self.process()?.lake;
        let request = orphans::Request { older_than_ms: 0, force: true, dry_run: false };
        orphans::remove_orphans(lake.catalog(), &ident, &request, &|| lake.in_flight()).map(drop)
    }

    /// Lets two hours pass and unlinks what is due.
    pub fn unlink(&mut self) -> Result<()> {
        self.clock.advance(Duration::from_secs(7200));
        let now = self.system(self.disk.clone()).clock.now_ms();
        ledger::unlink_due(self.process()?.lake.catalog(), now).map(drop)
    }

    /// Drops file `number` into the inbox, whole and durable; 2 is the same bytes as 1 once more, 3 no records at all.
    /// What is durable in the inbox counts as acknowledged.
    pub fn drop_file(&mut self, number: usize) {
        let inbox: PathBuf = Path::new(LAKE).join("inbox").join(TABLE);
        let text = match number {
            2 => body(1),
            3 => "this is no record\n".repeat(200),
            number => body(number),
        };
        put(&self.disk.outside(), &inbox.join(format!("{number}.ndjson")), &text);
        if number < 2 {
            self.acknowledge(number, None);
        }
    }
}

impl Process {
    fn push(&self, number: usize) -> Result<Answer> {
        let halted = |reason: String| Error::new(Kind::Corrupt, reason);
        let door = self.lake.table(TABLE).ok_or_else(|| halted("no table".into()))?.push().map_err(halted)?;
        let guard = match door.spool.keys().begin(&format!("key-{number}"), door.system.clock.now_ms()) {
            Begin::First(guard) => guard,
            Begin::Done(record) => return Ok(record.answer.clone()),
            other => panic!("a key is neither free nor done: {other:?}"),
        };
        let input = Input::Stream(Box::new(Cursor::new(body(number))));
        let options = Options { batch_records: 64, ..Options::default() };
        let decoder = decode::open(door.contract.clone(), Format::Ndjson, Packing::Plain, input, options)?;
        let gathered = door.gather("matrix", decoder).map_err(|denied| match denied {
            Denied::Failed(error) => error,
            over => panic!("{over:?}"),
        })?;
        let busy = |busy| Error::new(Kind::Unavailable, format!("{busy:?}"));
        let ticket = door.append(gathered, Some((guard, number as u128))).map_err(busy)?;
        ticket.blocking_recv().map_err(|_| Error::new(Kind::Unavailable, "the spool is gone"))?
    }
}

/// Commits as a person's tool does.
fn commit(lake: &Lake, ident: &TableIdent, edit: Edit) -> Result<()> {
    if edit.is_empty() {
        return Ok(());
    }
    let change = Change { ident: ident.clone(), requirements: edit.requirements, updates: edit.updates };
    match lake.catalog().commit(vec![change], Origin::Rest) {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict(error) | Outcome::Refused(error) | Outcome::Unknown(error) => Err(error),
    }
}

fn put(disk: &SimulatedDisk, path: &Path, text: &str) {
    let mut file = disk.create(path).expect("is made");
    file.write_all(text.as_bytes()).and_then(|()| file.sync()).expect("is written");
    disk.sync_dir(path.parent().expect("a folder")).expect("is durable");
}
