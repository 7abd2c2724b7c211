//! The threads that do requests' work where it may block: few, and the one that worked last works next.
//!
//! tokio's own take turns. After a crowd each of them is woken often enough to stay, and keeps what its allocator keeps of
//! the largest answer it ever made: one client who listed ten thousand tables again and again held 240 MB that way, of
//! which 15 were alive. Here a single client is served by a single thread, and the others end after [`REST`].
//!
//! Jobs wait in the order in which they came. As many can wait as there are requests, which the listener bounds.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread rests before it ends.
const REST: Duration = Duration::from_secs(1);

/// What a thread does; it answers by itself.
type Job = Box<dyn FnOnce() + Send>;

/// Threads that live as long as there is work for them.
pub struct Workers {
    most: usize,
    rest: Duration,
    shared: Mutex<Shared>,
}

struct Shared {
    waiting: VecDeque<Job>,
    /// Those who rest, each with its number; who rested last is last.
    resting: Vec<(usize, SyncSender<Job>)>,
    threads: usize,
    /// Threads there ever were: the next one's number.
    begun: usize,
}

impl Workers {
    /// At most `most` threads, at least one.
    pub const fn new(most: usize) -> Workers {
        let shared = Shared { waiting: VecDeque::new(), resting: Vec::new(), threads: 0, begun: 0 };
        Workers { most, rest: REST, shared: Mutex::new(shared) }
    }

    /// Has a thread do `job`, at once or when one is free. Where not a single thread can be started, it is dropped.
    pub fn run(&'static self, job: Job) {
        let mut shared = self.lock();
        let Some((_, worker)) = shared.resting.pop() else {
            shared.waiting.push_back(job);
            return self.begin(&mut shared);
        };
        // It rests until it gets this, or finds itself gone from the list: then this is there already.
        let sent = worker.try_send(job);
        debug_assert!(sent.is_ok(), "who rests has room for one job");
    }

    fn begin(&'static self, shared: &mut Shared) {
        if shared.threads >= self.most {
            return;
        }
        let number = shared.begun;
        let thread = std::thread::Builder::new().name(format!("request {number}"));
        if thread.spawn(move || self.work(number)).is_ok() {
            shared.begun += 1;
            shared.threads += 1;
        } else if shared.threads == 0 {
            shared.waiting.clear();
        }
    }

    fn work(&self, number: usize) {
        let (sender, jobs) = sync_channel(1);
        while let Some(job) = self.next(number, &sender, &jobs) {
            // Who asked learns of a panic by the answer that never comes.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// The next job, or none when the thread has rested for long enough; it is counted out then.
    fn next(&self, number: usize, sender: &SyncSender<Job>, jobs: &Receiver<Job>) -> Option<Job> {
        {
            let mut shared = self.lock();
            if let Some(job) = shared.waiting.pop_front() {
                return Some(job);
            }
            shared.resting.push((number, sender.clone()));
        }
        if let Ok(job) = jobs.recv_timeout(self.rest) {
            return Some(job);
        }
        let mut shared = self.lock();
        let Some(at) = shared.resting.iter().position(|(resting, _)| *resting == number) else {
            // Chosen in the very moment in which it gave up.
            return jobs.try_recv().ok();
        };
        shared.resting.remove(at);
        shared.threads -= 1;
        None
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Barrier};

    use super::*;

    fn workers(most: usize, rest: Duration) -> &'static Workers {
        Box::leak(Box::new(Workers { rest, ..Workers::new(most) }))
    }

    #[test]
    fn as_many_at_once_as_may_be_and_no_more() {
        let workers = workers(3, REST);
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, ends) = channel();
        // Three at a time have to meet: fewer threads would never end.
        let meet = Arc::new(Barrier::new(3));
        for _ in 0..300 {
            let (at_once, most, meet, done) = (at_once.clone(), most.clone(), meet.clone(), done.clone());
            workers.run(Box::new(move || {
                most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                meet.wait();
                at_once.fetch_sub(1, Ordering::SeqCst);
                done.send(()).expect("awaited");
            }));
        }
        drop(done);
        assert_eq!(ends.iter().count(), 300);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_thread_that_ends_leaves_no_job_behind() {
        let workers = workers(2, Duration::ZERO);
        for n in 0..20_000 {
            let (done, end) = channel();
            workers.run(Box::new(move || done.send(n).expect("awaited")));
            assert_eq!(end.recv(), Ok(n));
        }
        assert!(workers.lock().begun > 1, "no thread ended: the race was not run");
    }

    #[test]
    fn who_worked_last_works_next_and_a_panic_ends_no_thread() {
        let workers = workers(4, Duration::from_secs(600));
        let meet = Arc::new(Barrier::new(5));
        for _ in 0..4 {
            let meet = meet.clone();
            workers.run(Box::new(move || {
                meet.wait();
            }));
        }
        meet.wait();
        let rested = |count| {
            while workers.lock().resting.len() < count {
                std::thread::yield_now()
            }
        };
        rested(4);
        let mut names = Vec::new();
        for n in 0..100 {
            let (done, end) = channel();
            workers.run(Box::new(move || {
                done.send(std::thread::current().name().map(str::to_owned)).expect("awaited");
                assert!(n % 10 > 0, "some jobs panic");
            }));
            names.push(end.recv().expect("a name"));
            rested(4);
        }
        names.dedup();
        assert_eq!(names.len(), 1);
        assert_eq!(workers.lock().begun, 4);
    }
}
