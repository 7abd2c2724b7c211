//! What the machine gives: time, ids, the disk. One seam, so that tests can hold all three still.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

#[cfg(feature = "simulation")]
mod simulated;
#[cfg(feature = "simulation")]
pub use simulated::{SimulatedClock, SimulatedIds};

use crate::store::{Disk, OsDisk};

/// Time. Wall time is for what is stored; monotonic time is for ages and deadlines.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z. May step back.
    fn now_ms(&self) -> i64;
    /// Time since an arbitrary moment; never steps back.
    fn monotonic(&self) -> Duration;
    /// Lets the calling thread wait that long, or until it is unparked.
    fn pause(&self, time: Duration);
}

/// Fresh identifiers.
pub trait Ids: Send + Sync + std::fmt::Debug {
    /// A UUID nobody has: version 7, so that names sort by age.
    fn uuid(&self) -> Uuid;
}

/// The seams of one process, cheap to clone.
#[derive(Clone, Debug)]
pub struct System {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers.
    pub ids: Arc<dyn Ids>,
    /// The local disk.
    pub disk: Arc<dyn Disk>,
}

impl System {
    /// The machine itself.
    pub fn real() -> System {
        System { clock: Arc::new(SystemClock::default()), ids: Arc::new(RandomIds), disk: Arc::new(OsDisk) }
    }
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::park_timeout(time);
    }
}

/// Random identifiers.
#[derive(Debug, Default)]
pub struct RandomIds;

#[allow(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
impl Ids for RandomIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
