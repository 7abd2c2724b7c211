//! Idempotency keys: what was answered to whom, for a day.
//!
//! A key is *running* from the moment its first request is looked at until that request is durable or given up, and
//! *done* afterwards. Who comes with a running key waits; who comes with a done one gets its answer, or 422 if the
//! body differs. Done keys are rebuilt at open from the entries' headers in the segments and from the key files that
//! outlive them. The number of keys is bounded: beyond it a new key is refused until old ones expire.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ingest::entry::Answer;

/// A key with what it stands for, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The sender's key.
    pub key: String,
    /// XXH3-128 of the body, in hex.
    pub body: String,
    /// When it was answered, in ms since 1970.
    pub at_ms: i64,
    /// The answer.
    pub answer: Answer,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Begin {
    /// Nothing: the caller runs, and holds the key meanwhile.
    First(KeyGuard),
    /// Another request runs with it: wait until the receiver's sender is gone, then ask again.
    Running(watch::Receiver<()>),
    /// Answered: the body's hash and the answer.
    Done(Arc<KeyRecord>),
    /// Too many keys are remembered.
    Full,
}

#[derive(Debug)]
enum Slot {
    Running(watch::Receiver<()>),
    Done(Arc<KeyRecord>),
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<String, Slot>,
    done: VecDeque<Arc<KeyRecord>>,
}

/// The keys of one spool; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    table: Arc<Mutex<Table>>,
    limit: usize,
    kept_ms: i64,
}

/// A running key. Dropped without [`KeyGuard::done`], the key is free again and who waits for it may try.
#[derive(Debug)]
pub struct KeyGuard {
    keys: Keys,
    /// The sender's key.
    pub key: String,
    _running: watch::Sender<()>,
}

impl Keys {
    /// No keys yet; at most `limit` are remembered, each for `kept_ms` milliseconds.
    pub fn new(limit: usize, kept_ms: i64) -> Self {
        Self { table: Arc::default(), limit, kept_ms }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of `key` at `now_ms`.
    pub fn begin(&self, key: &str, now_ms: i64) -> Begin {
        let mut table = self.lock();
        self.expire(&mut table, now_ms);
        match table.slots.get(key) {
            Some(Slot::Running(receiver)) => return Begin::Running(receiver.clone()),
            Some(Slot::Done(record)) => return Begin::Done(record.clone()),
            None if table.slots.len() >= self.limit => return Begin::Full,
            None => {}
        }
        let (running, receiver) = watch::channel(());
        table.slots.insert(key.to_owned(), Slot::Running(receiver));
        Begin::First(KeyGuard { keys: self.clone(), key: key.to_owned(), _running: running })
    }

    /// Remembers a key that was answered before.
    pub fn restore(&self, record: KeyRecord, now_ms: i64) {
        if record.at_ms + self.kept_ms > now_ms {
            self.insert(record);
        }
    }

    fn insert(&self, record: KeyRecord) {
        let record = Arc::new(record);
        let mut table = self.lock();
        let old = table.slots.insert(record.key.clone(), Slot::Done(record.clone()));
        if !matches!(old, Some(Slot::Done(_))) {
            table.done.push_back(record);
        }
    }

    fn expire(&self, table: &mut Table, now_ms: i64) {
        while table.done.front().is_some_and(|r| r.at_ms + self.kept_ms <= now_ms) {
            if let Some(old) = table.done.pop_front() {
                table.slots.remove(&old.key);
            }
        }
    }

    /// The live keys of the entries from `first` up to `end`.
    pub fn between(&self, first: u64, end: u64, now_ms: i64) -> Vec<Arc<KeyRecord>> {
        let mut table = self.lock();
        self.expire(&mut table, now_ms);
        table.done.iter().filter(|r| (first..end).contains(&r.answer.entry)).cloned().collect()
    }

    /// Forgets why records were refused.
    pub fn forget_reasons(&self) {
        let mut table = self.lock();
        let Table { slots, done } = &mut *table;
        for record in done.iter_mut().filter(|r| !r.answer.reasons.is_empty()) {
            let mut quiet = KeyRecord::clone(record);
            quiet.answer.reasons.clear();
            *record = Arc::new(quiet);
            slots.insert(record.key.clone(), Slot::Done(record.clone()));
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl KeyGuard {
    /// The request is durable: its answer is the key's from now on.
    pub fn done(self, record: KeyRecord) {
        self.keys.insert(record);
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        let mut table = self.keys.lock();
        if matches!(table.slots.get(&self.key), Some(Slot::Running(_))) {
            table.slots.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, at_ms: i64) -> KeyRecord {
        KeyRecord { key: key.into(), body: "00".into(), at_ms, answer: Answer { accepted: 1, ..Answer::default() } }
    }

    #[test]
    fn the_second_waits_and_gets_the_first_answer() {
        let keys = Keys::new(10, 1000);
        let Begin::First(first) = keys.begin("a", 0) else { panic!("free") };
        let Begin::Running(waiting) = keys.begin("a", 0) else { panic!("running") };
        assert!(waiting.has_changed().is_ok());
        first.done(record("a", 5));
        assert!(waiting.has_changed().is_err(), "the first is over");
        let Begin::Done(answer) = keys.begin("a", 6) else { panic!("done") };
        assert_eq!(answer.answer.accepted, 1);
    }

    #[test]
    fn a_key_given_up_is_free_again() {
        let keys = Keys::new(10, 1000);
        let first = keys.begin("a", 0);
        drop(first);
        assert!(matches!(keys.begin("a", 0), Begin::First(_)));
    }

    #[test]
    fn keys_expire_and_are_bounded() {
        let keys = Keys::new(2, 1000);
        keys.restore(record("a", 0), 1);
        keys.restore(record("b", 500), 501);
        keys.restore(record("old", -1000), 1);
        assert!(matches!(keys.begin("c", 999), Begin::Full));
        assert!(matches!(keys.begin("a", 1000), Begin::First(_)));
        assert!(matches!(keys.begin("b", 1000), Begin::Done(_)));
    }
}
