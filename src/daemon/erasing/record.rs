//! The certificate on disk: begun, found again, written after each step, ended.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use laked_catalog::Table;
use laked_catalog::store::Disk;

use super::Site;
use crate::error::{Error, Kind, Result};
use crate::ingest::durable;
use crate::maintain::erase::Certificate;

/// An erase as it is written down. Of a dry run nothing is.
pub(super) struct Record {
    pub certificate: Certificate,
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
}

impl Record {
    /// That of an erase of the same which did not end, or a new one.
    pub fn open(site: &Site<'_>, table: &Table) -> Result<Record> {
        let system = site.catalog.store().system();
        let (disk, condition) = (system.disk.clone(), &site.request.condition);
        let folder = site.folder.join("erasures");
        let id = system.ids.uuid().to_string();
        let fresh = Certificate::new(id, site.ident.to_string(), &table.metadata, condition, system.clock.now_ms());
        if site.request.dry_run {
            return Ok(Record { certificate: Certificate { dry_run: true, ..fresh }, disk, path: None });
        }
        durable::make_dirs(disk.as_ref(), &folder)?;
        let is_it = |certificate: &Certificate| certificate.is_open_for(&table.metadata, condition);
        let found = kept(disk.as_ref(), &folder)?.into_iter().find(is_it);
        let mut certificate = found.unwrap_or(fresh);
        // Told anew by each run.
        certificate.held.clear();
        certificate.undecided = 0;
        let path = folder.join(format!("{}.json", certificate.id));
        certificate.kept_at = Some(path.display().to_string());
        let record = Record { certificate, disk, path: Some(path) };
        record.save()?;
        Ok(record)
    }

    /// Whether nothing may be changed.
    pub fn is_dry(&self) -> bool {
        self.path.is_none()
    }

    /// Writes it down, durably.
    pub fn save(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_vec_pretty(&self.certificate)
            .map_err(|error| Error::new(Kind::Internal, "a certificate cannot be written").because(error))?;
        durable::replace(self.disk.as_ref(), path, &text)
    }

    /// The erase has ended.
    pub fn end(mut self, site: &Site<'_>) -> Result<Certificate> {
        self.certificate.end(site.catalog.store().system().clock.now_ms());
        self.save()?;
        Ok(self.certificate)
    }
}

/// The certificates there are. One that cannot be read is none that could go on.
fn kept(disk: &dyn Disk, folder: &std::path::Path) -> Result<Vec<Certificate>> {
    let fail = |error: io::Error| Error::from(error).with("folder", folder.display());
    let mut found = Vec::new();
    for (name, _) in disk.list(folder).map_err(fail)? {
        if name.to_string_lossy().ends_with(".json") {
            let text = disk.read(&folder.join(&name)).map_err(fail)?;
            found.extend(serde_json::from_slice::<Certificate>(&text).ok());
        }
    }
    Ok(found)
}
