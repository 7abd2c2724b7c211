//! Watching the inboxes: events mark folders dirty, scans decide.
//!
//! Events may be lost or late, so every folder is also swept at a fixed interval; without a working notifier (a
//! network file system, no more watches) the interval is all there is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use laked_catalog::system::Clock;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::Inbox;
use crate::error::{Error, Result};

/// Folders are swept this often even if nothing is heard of them.
const INTERVAL: Duration = Duration::from_secs(10);

enum Told {
    Event(Event),
    Stop,
}

/// The thread that sweeps inboxes; stops when dropped.
pub struct Watch {
    stop: SyncSender<Told>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    /// Watches and sweeps `inboxes`; files are looked at again after `settle`.
    pub fn start(inboxes: Vec<Arc<Inbox>>, settle: Duration, clock: Arc<dyn Clock>) -> Result<Watch> {
        let (sender, receiver) = sync_channel(1024);
        let events = sender.clone();
        // A full channel drops events: the interval makes up for it.
        let heard = move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                let _ = events.try_send(Told::Event(event));
            }
        };
        let mut watcher = notify::recommended_watcher(heard).inspect_err(|error| {
            tracing::warn!(%error, "inbox: no events from the file system; folders are swept instead");
        });
        for inbox in &inboxes {
            if let Ok(watcher) = &mut watcher
                && let Err(error) = watcher.watch(inbox.folder(), RecursiveMode::NonRecursive)
            {
                tracing::warn!(%error, folder = %inbox.folder().display(), "inbox: not watched; it is swept instead");
            }
        }
        let thread = std::thread::Builder::new()
            .name("inbox".into())
            .spawn(move || sweep(&inboxes, &receiver, settle, clock.as_ref(), watcher.ok()))
            .map_err(Error::from)?;
        Ok(Watch { stop: sender, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.stop.send(Told::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sweep(
    inboxes: &[Arc<Inbox>],
    told: &Receiver<Told>,
    settle: Duration,
    clock: &dyn Clock,
    watcher: Option<RecommendedWatcher>,
) {
    let by_folder: BTreeMap<PathBuf, &Arc<Inbox>> =
        inboxes.iter().map(|inbox| (inbox.folder().to_owned(), inbox)).collect();
    loop {
        let mut waiting = false;
        for inbox in inboxes {
            match inbox.sweep() {
                Ok(more) => waiting |= more,
                Err(error) => {
                    tracing::error!(%error, folder = %inbox.folder().display(), "inbox: not swept");
                    waiting = true;
                }
            }
        }
        let wait = if waiting { settle.min(INTERVAL) } else { INTERVAL };
        if !listen(&by_folder, told, wait, clock) {
            break;
        }
    }
    drop(watcher);
}

/// Listens until a file is whole by an event, or `wait` is over; false to stop. A file that is being written makes
/// events all the time, and they must neither cause a scan each nor keep off the next one.
fn listen(
    by_folder: &BTreeMap<PathBuf, &Arc<Inbox>>,
    told: &Receiver<Told>,
    wait: Duration,
    clock: &dyn Clock,
) -> bool {
    let until = clock.monotonic() + wait;
    let mut dirty = false;
    loop {
        let left = if dirty { Duration::ZERO } else { until.saturating_sub(clock.monotonic()) };
        match told.recv_timeout(left) {
            Ok(Told::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Told::Event(event)) => dirty |= note(by_folder, &event),
        }
    }
}

/// Files whose writer closed them, or that were renamed into place, need no second look.
fn note(by_folder: &BTreeMap<PathBuf, &Arc<Inbox>>, event: &Event) -> bool {
    let closed = matches!(
        event.kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
    );
    for path in event.paths.iter().filter(|_| closed) {
        let inbox = path.parent().and_then(|folder| by_folder.get(folder));
        if let (Some(inbox), Some(name)) = (inbox, path.file_name()) {
            inbox.closed_by_writer(name);
        }
    }
    closed
}
