//! The doors of a table that is erased from: what they took in is committed, and their logs go.

use std::path::Path;
use std::time::Duration;

use laked_catalog::store::Disk;

use super::Site;
use super::record::Record;
use crate::daemon::doors::TableDoors;
use crate::daemon::progress::{LaneState, Progress};
use crate::error::{Error, Kind, Result};
use crate::ingest::inbox::is_ignored;

/// How long a lane may take to catch up: a commit waits for its age, and a large file is read first.
const MOST: Duration = Duration::from_secs(600);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// Brings all that was acknowledged into the table, and removes the logs it was kept in.
pub(super) fn drained(site: &Site<'_>, record: &mut Record) -> Result<()> {
    let Some(doors) = &site.doors else { return closed(site, record) };
    if !record.is_dry() {
        pushed(site, doors, record)?;
        dropped(site, doors, record)?;
        return record.save();
    }
    if doors.status().lanes.iter().any(|lane| lane.backlog > 0) {
        let why = "records wait for their commit and are not counted; an erase commits them first";
        record.certificate.holds("doors", why);
    }
    Ok(())
}

/// Tells of logs that nobody has opened.
fn closed(site: &Site<'_>, record: &mut Record) -> Result<()> {
    let disk = &site.catalog.store().system().disk;
    let spool = site.folder.join("spool").join(site.ident.to_string());
    let files: usize = ["push", "inbox"].iter().map(|door| waiting(disk.as_ref(), &spool.join(door))).sum();
    if files > 0 {
        let why = "not looked into, because the doors are not open here: an erase through laked, or with --schemas, commits \
                   what is in them and removes them";
        record.certificate.holds(format!("spool: {files} files"), why);
    }
    Ok(())
}

/// Segments, and files that were claimed.
fn waiting(disk: &dyn Disk, folder: &Path) -> usize {
    let is_data =
        |name: &str| name.ends_with(".seg") || name.starts_with("big-") || name.as_bytes().get(12) == Some(&b'-');
    let listed = disk.list(folder).unwrap_or_default();
    listed.iter().filter(|(name, stat)| stat.is_file && is_data(&name.to_string_lossy())).count()
}

fn pushed(site: &Site<'_>, doors: &TableDoors, record: &mut Record) -> Result<()> {
    let push = match doors.push() {
        Ok(push) => push,
        Err(reason) => {
            record.certificate.holds("spool", format!("its lane is halted, mend it first: {reason}"));
            return Ok(());
        }
    };
    let folder = site.folder.join("spool").join(&doors.name).join("push");
    let disk = site.catalog.store().system().disk.clone();
    let before = logs(disk.as_ref(), &folder)?;
    let ended = |_| Error::new(Kind::Unavailable, "the daemon is shutting down: erase again when it is back");
    let rolled = futures::executor::block_on(push.spool.roll()).map_err(ended)??;
    let progress = &doors.push_progress;
    await_lane(site, progress, "push", &|| progress.mark().entry >= rolled)?;
    push.spool.covered(progress.mark())?;
    push.spool.forget_reasons()?;
    let after = logs(disk.as_ref(), &folder)?;
    for (_, bytes) in before.iter().filter(|(name, _)| !after.iter().any(|(other, _)| other == name)) {
        record.certificate.at("spool").add(0, 1, *bytes);
    }
    Ok(())
}

/// Segments and what was too big for one.
fn logs(disk: &dyn Disk, folder: &Path) -> Result<Vec<(String, u64)>> {
    let listed = disk.list(folder).map_err(|error| Error::from(error).with("folder", folder.display()))?;
    let named = listed.into_iter().map(|(name, stat)| (name.to_string_lossy().into_owned(), stat.len));
    Ok(named.filter(|(name, _)| name.ends_with(".seg") || name.starts_with("big-")).collect())
}

/// Files that wait in the inbox and are whole are taken in; what is not is told.
fn dropped(site: &Site<'_>, doors: &TableDoors, record: &mut Record) -> Result<()> {
    let Some(inbox) = &doors.inbox else {
        let why = "its lane is halted: mend it, then erase again";
        record.certificate.holds("inbox", why);
        return Ok(());
    };
    inbox.sweep()?;
    let (_, next) = inbox.pending();
    let done = || inbox.oldest().is_none_or(|entry| entry >= next);
    await_lane(site, &doors.inbox_progress, "inbox", &done)?;
    let folder = inbox.folder();
    let disk = &site.catalog.store().system().disk;
    let listed = disk.list(folder).map_err(|error| Error::from(error).with("folder", folder.display()))?;
    let files = listed.iter().filter(|(_, stat)| stat.is_file);
    let (unfinished, waiting): (Vec<_>, Vec<_>) = files.partition(|(name, _)| is_ignored(name));
    if !unfinished.is_empty() || !waiting.is_empty() {
        let count = unfinished.len() + waiting.len();
        let why =
            "files that are not whole yet, or wait for their turn, were not looked into: erase again when they are in";
        record.certificate.holds(format!("inbox: {count} files"), why);
    }
    Ok(())
}

fn await_lane(site: &Site<'_>, progress: &Progress, lane: &str, done: &dyn Fn() -> bool) -> Result<()> {
    let clock = &site.catalog.store().system().clock;
    let since = clock.monotonic();
    while !done() {
        let status = progress.status();
        let late = clock.monotonic().saturating_sub(since) > MOST;
        let why = match status.state {
            LaneState::Halted { reason } => reason,
            LaneState::Closed => "the daemon is shutting down".to_string(),
            LaneState::Retrying { reason, .. } if late => reason,
            _ if late => "its commits take too long".to_string(),
            _ => {
                clock.pause(LOOK);
                continue;
            }
        };
        let message = "a lane does not catch up, so what it acknowledged cannot be erased yet; erase again when it has";
        return Err(Error::new(Kind::Unavailable, message).with("lane", lane).with("why", why));
    }
    Ok(())
}
