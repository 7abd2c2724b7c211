//! A panic of a foreign decoder is its source's fault, not the daemon's end.
//!
//! The `parquet` and `arrow` crates assert what a hostile file can break. Everything that decodes therefore runs inside
//! [`contain`], which turns a panic into `Invalid` for that source, and a run of maintenance, which decodes what others
//! wrote, inside [`contained`]. A panic anywhere else still ends the process ([`abort_elsewhere`]): a worker thread that died alone would leave a daemon that looks alive, while a process that
//! died is started again and recovers. What a contained decoder held is dropped with it and is never asked again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::abort;

use crate::error::{Error, Kind, Result};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs decoding work.
///
/// # Errors
/// The work's own; `Invalid` if it panicked.
pub(super) fn contain<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let why = "the data cannot be decoded: it is damaged, or made to break its reader; send a sound copy";
    contained(work).unwrap_or_else(|_| Err(Error::new(Kind::Invalid, why)))
}

/// Runs work whose panic, on this thread, is not the process' end; gives the words of the panic if it panicked. Whoever
/// calls this answers for what the work held.
///
/// # Errors
/// The words.
pub fn contained<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let outer = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    outcome.map_err(|panic| match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(words), _) => words.clone(),
        (None, Some(words)) => (*words).to_string(),
        (None, None) => "no words".to_string(),
    })
}

/// From now on a panic that nobody contains ends the process, after it is printed.
pub fn abort_elsewhere() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        print(panic);
        if !CONTAINED.get() {
            abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_sources_error() {
        let error = contain::<()>(|| panic!("out of range")).expect_err("contained");
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(!CONTAINED.get(), "only the decoder's own panics are contained");
        assert_eq!(contain(|| contain(|| Ok(7))).expect("nothing wrong"), 7);
        assert_eq!(contained(|| panic!("{} out of range", 7)), Err::<(), _>("7 out of range".to_string()));
    }
}
