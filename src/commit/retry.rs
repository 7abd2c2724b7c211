//! How often and how long apart a commit is tried again: Iceberg's `commit.retry.*` and `commit.status-check.*`.

use std::time::Duration;

use iceberg::spec::TableMetadata;

/// A bounded, doubling wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    retries: u32,
    least: u64,
    most: u64,
    total: u64,
    tried: u32,
    waited: u64,
}

impl Backoff {
    fn of(metadata: &TableMetadata, prefix: &str, retries: u64, least: u64) -> Self {
        let number = |name: &str, default: u64| {
            metadata.properties().get(&format!("{prefix}.{name}")).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        Backoff {
            retries: u32::try_from(number("num-retries", retries)).unwrap_or(u32::MAX),
            least: number("min-wait-ms", least),
            most: number("max-wait-ms", 60_000),
            total: number("total-timeout-ms", 1_800_000),
            tried: 0,
            waited: 0,
        }
    }

    /// No second try.
    pub fn none() -> Self {
        Backoff { retries: 0, least: 0, most: 0, total: 0, tried: 0, waited: 0 }
    }

    /// Between commits that lost to another one.
    pub fn of_conflicts(metadata: &TableMetadata) -> Self {
        Self::of(metadata, "commit.retry", 4, 100)
    }

    /// Between attempts to learn how a commit went.
    pub fn of_unknowns(metadata: &TableMetadata) -> Self {
        Self::of(metadata, "commit.status-check", 3, 1000)
    }

    /// How long to wait before the next try; `None` when the tries are used up.
    pub fn next(&mut self) -> Option<Duration> {
        if self.tried >= self.retries || self.waited >= self.total {
            return None;
        }
        let wait = self.least.saturating_mul(1 << self.tried.min(20)).min(self.most);
        self.tried += 1;
        self.waited = self.waited.saturating_add(wait);
        Some(Duration::from_millis(wait))
    }
}
