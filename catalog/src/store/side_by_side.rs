//! Many reads on a few threads: decoding is what reading many manifests costs.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Store;
use crate::error::{Error, Kind, Result};

/// Does `work` for each number below `count`, with what `begin` makes for each thread; the results in order. As many
/// threads as there are cores, but each has `share` to do at least; a disk that wants its calls in order gets them so.
///
/// # Errors
/// One of the work's; the others' results are dropped.
pub fn side_by_side<S, T: Send>(
    store: &Store,
    count: usize,
    share: usize,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(store.disk().parallel_syncs()).min(count.div_ceil(share.max(1)));
    if threads <= 1 {
        let mut own = begin();
        return (0..count).map(|number| work(&mut own, number)).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, T)>> {
        let (mut own, mut found) = (begin(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(found);
            }
            found.push((number, work(&mut own, number)?));
        }
    };
    let mut found = Vec::with_capacity(count);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let panicked = |_| Error::new(Kind::Internal, "a thread that reads manifests panicked");
            found.extend(worker.join().map_err(panicked)??);
        }
        Ok(())
    })?;
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::System;

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        let store = Store::read_only(System::real());
        for share in [0, 1, 8, 1000] {
            let squares = side_by_side(&store, 100, share, || (), |(), number| Ok(number * number));
            assert_eq!(squares.expect("works"), (0..100).map(|number| number * number).collect::<Vec<_>>());
        }
        let fails = |(): &mut (), number| if number == 70 { Err(Error::new(Kind::Corrupt, "it")) } else { Ok(()) };
        assert_eq!(side_by_side(&store, 100, 1, || (), fails).expect_err("fails").kind(), Kind::Corrupt);
    }
}
