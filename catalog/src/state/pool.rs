//! A bounded number of connections, opened when first needed and used by one thread at a time.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Connections of one kind.
pub struct Pool<C> {
    most: usize,
    open: Box<dyn Fn() -> Result<C> + Send + Sync>,
    slots: Mutex<Slots<C>>,
    freed: Condvar,
}

struct Slots<C> {
    idle: Vec<C>,
    /// Idle ones and those in use.
    open: usize,
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool(most {})", self.most)
    }
}

impl<C> Pool<C> {
    /// A pool of at most `most` connections.
    pub fn new(most: usize, open: impl Fn() -> Result<C> + Send + Sync + 'static) -> Self {
        let slots = Mutex::new(Slots { idle: Vec::new(), open: 0 });
        Self { most, open: Box::new(open), slots, freed: Condvar::new() }
    }

    fn slots(&self) -> MutexGuard<'_, Slots<C>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection; waits for one if all are in use. The flag says whether it was used before, and so may have died.
    ///
    /// # Errors
    /// Those of opening one.
    pub fn take(&self) -> Result<(C, bool)> {
        let full = |slots: &mut Slots<C>| slots.idle.is_empty() && slots.open >= self.most;
        let mut slots = self.freed.wait_while(self.slots(), full).unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slots.idle.pop() {
            return Ok((connection, true));
        }
        slots.open += 1;
        drop(slots);
        // Should opening panic, the slot is given back as well.
        let slot = Slot(self);
        let connection = (self.open)()?;
        std::mem::forget(slot);
        Ok((connection, false))
    }

    /// Gives a connection back, or says that it is gone.
    pub fn put(&self, connection: Option<C>) {
        let mut slots = self.slots();
        match connection {
            Some(connection) => slots.idle.push(connection),
            None => slots.open -= 1,
        }
        self.freed.notify_one();
    }

    /// Takes out every connection that nobody uses.
    pub fn drain(&self) -> Vec<C> {
        let mut slots = self.slots();
        slots.open -= slots.idle.len();
        std::mem::take(&mut slots.idle)
    }
}

struct Slot<'a, C>(&'a Pool<C>);

impl<C> Drop for Slot<'_, C> {
    fn drop(&mut self) {
        self.0.put(None);
    }
}
