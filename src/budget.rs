//! One memory budget for decode, open partitions and sort, in bytes.
//!
//! Stages reserve what they are about to hold and give it back by dropping the [`Reservation`]. The budget never
//! blocks: who gets no reservation flushes, spills, or answers 429.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shared count of bytes in use against a limit.
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes held; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { inner: Arc::new(Inner { limit, used: AtomicUsize::new(0) }) }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Bytes reserved now.
    pub fn used(&self) -> usize {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// Whether more is reserved than the limit allows.
    pub fn is_over(&self) -> bool {
        self.used() > self.inner.limit
    }

    /// Reserves `bytes`, or nothing if they do not fit.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.inner.limit);
        self.inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Reservation { inner: self.inner.clone(), bytes })
    }

    /// Reserves `bytes` even over the limit: for what is in memory already. The caller then looks at
    /// [`Budget::is_over`] and gives way.
    pub fn reserve(&self, bytes: usize) -> Reservation {
        self.inner.used.fetch_add(bytes, Ordering::Relaxed);
        Reservation { inner: self.inner.clone(), bytes }
    }
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds `bytes` from now on, more or fewer than before.
    pub fn resize(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.inner.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.inner.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_count_and_are_given_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_reserve(60).expect("fits");
        assert!(budget.try_reserve(41).is_none());
        first.resize(20);
        assert_eq!(budget.used(), 20);
        let second = budget.reserve(90);
        assert!(budget.is_over());
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }
}
