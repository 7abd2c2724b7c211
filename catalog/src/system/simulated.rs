//! Time that stands still until it is told to move, and identifiers that are the same in each run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use uuid::{Builder, Uuid};

use super::{Clock, Ids};

/// A clock that moves when it is told to, and when somebody waits for it.
#[derive(Debug)]
pub struct SimulatedClock {
    wall_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

impl SimulatedClock {
    /// A clock that shows `now_ms`, in ms since 1970.
    pub fn at(now_ms: i64) -> Self {
        Self { wall_ms: AtomicI64::new(now_ms), monotonic_us: AtomicU64::new(0) }
    }

    /// Sets the wall's clock, also back; the monotonic one stays.
    pub fn set(&self, now_ms: i64) {
        self.wall_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.wall_ms.fetch_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::SeqCst))
    }

    fn pause(&self, time: Duration) {
        self.advance(time);
    }
}

/// UUIDs of version 7 that count up from a seed.
#[derive(Debug)]
pub struct SimulatedIds {
    next: AtomicU64,
}

impl SimulatedIds {
    /// Identifiers after `seed`; two seeds that are far apart give different ones.
    pub fn after(seed: u64) -> Self {
        Self { next: AtomicU64::new(seed) }
    }
}

impl Ids for SimulatedIds {
    fn uuid(&self) -> Uuid {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        // SplitMix64: what is derived from a part of a UUID should differ as well.
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
        random[8..].copy_from_slice(&number.to_be_bytes()[6..]);
        Builder::from_unix_timestamp_millis(number, &random).into_uuid()
    }
}
