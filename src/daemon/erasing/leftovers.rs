//! What is left beside a table that is clean: empty folders, whose names may be values; files that no snapshot names; what
//! dropped tables left.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use iceberg::TableIdent;
use laked_catalog::Table;
use laked_catalog::store::{Disk, path_of};
use uuid::Uuid;

use super::Site;
use super::record::Record;
use crate::commit::{Committer, Intent};
use crate::error::{Error, Result};
use crate::maintain::expire::own_folders;
use crate::maintain::orphans;

/// Commits to a table that are under way, or of unknown outcome, or whose files could not be removed.
pub(super) fn open_commits(site: &Site<'_>, ident: &TableIdent) -> Vec<Intent> {
    let name: Vec<&str> = ident.namespace().iter().map(String::as_str).chain([ident.name()]).collect();
    let mut open = site.committer.map(Committer::pending).unwrap_or_default();
    open.retain(|intent| intent.tables.iter().any(|table| table.name == name));
    open
}

/// Removes empty folders where the table's data goes, durably. Those who write there make them again
/// ([`laked_catalog::store::Store::publish`]).
pub(super) fn swept(site: &Site<'_>, table: &Table) -> Result<()> {
    let disk = site.catalog.store().disk();
    let location = table.metadata.location();
    for folder in own_folders(&table.metadata) {
        let others = || site.catalog.neighbours(std::slice::from_ref(&folder));
        let place = match folder == location {
            true => format!("{location}/data"),
            // Metadata, which is there.
            false if table.metadata_location.starts_with(&folder) => continue,
            false if others()?.iter().any(|near| near.ident.as_ref() != Some(&table.ident)) => continue,
            false => folder.clone(),
        };
        sweep(disk.as_ref(), &path_of(&place)?).map_err(|error| {
            Error::new(Error::from(error).kind(), "folders that are empty were not removed: erase again")
                .with("folder", &place)
        })?;
    }
    Ok(())
}

/// Removes the empty folders within a folder; whether it is empty then.
fn sweep(disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
    let listed = match disk.list(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        listed => listed?,
    };
    let (all, mut removed) = (listed.len(), 0);
    for (name, _) in listed.into_iter().filter(|(_, stat)| stat.is_dir) {
        let inner = folder.join(name);
        if sweep(disk, &inner)? {
            match disk.remove_dir(&inner) {
                // Somebody has put a file there.
                Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => removed += 1,
            }
        }
    }
    if removed > 0 {
        disk.sync_dir(folder)?;
    }
    Ok(removed == all)
}

/// Tells of files that no snapshot names: writers that died leave them, and nobody knows what is in them. `open` are the
/// commits that were open when the erase began.
pub(super) fn strays(site: &Site<'_>, ident: &TableIdent, open: &[Uuid], record: &mut Record) -> Result<()> {
    site.catalog.remove_lost_metadata(ident)?;
    let request = orphans::Request { older_than_ms: 0, force: true, dry_run: true };
    let pending = || site.committer.map(Committer::pending).unwrap_or_default();
    let in_flight = || pending().into_iter().flat_map(|intent| intent.files).collect();
    let found = orphans::remove_orphans(site.catalog, ident, &request, &in_flight)?;
    if found.files > 0 {
        let why = "no snapshot names them, so they were not looked into: a commit may be under way, or its writer died; \
                   `lakectl remove-orphans` removes them";
        record.certificate.holds(format!("{ident}: {} files", found.files), why);
    }
    let store = site.catalog.store();
    let begun = open_commits(site, ident).into_iter().filter(|intent| open.contains(&intent.commit));
    let files: HashSet<String> = begun.flat_map(|intent| intent.files).filter(|file| store.len(file).is_ok()).collect();
    if !files.is_empty() {
        let why = "a commit from before the erase has not ended, and they were not looked into: erase again; if it is \
                   told again, restart laked, which settles the commit, and then erase";
        record.certificate.holds(format!("{ident}: {} files", files.len()), why);
    }
    Ok(())
}

/// Tells of tables that were dropped: their files are there, and nobody looks into them.
pub(super) fn dropped(site: &Site<'_>, record: &mut Record) -> Result<()> {
    let back: Vec<String> = site.catalog.dropped()?.iter().map(|metadata| metadata.location().to_string()).collect();
    if !back.is_empty() {
        let why = "dropped less than a day ago and not looked into: bring it back with `lakectl table undrop`, erase \
                   there, and drop it again; after the day its files are there still";
        record.certificate.holds(format!("dropped tables: {}", back.join(", ")), why);
    }
    let mut left = site.catalog.left_behind()?;
    left.retain(|folder| !back.contains(folder));
    if !left.is_empty() {
        let why = "tables were dropped there for good without their files, which are not looked into: look at them, and \
                   remove the folder";
        record.certificate.holds(format!("folders of dropped tables: {}", left.join(", ")), why);
    }
    Ok(())
}
