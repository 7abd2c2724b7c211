//! Finished files with records of the person: decoded by the table's contract, and removed.

use std::sync::Arc;

use laked_catalog::store::Disk;

use super::Site;
use super::record::Record;
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::ingest::decode::{self, Input};
use crate::ingest::inbox::{Finished, finished, remove};
use crate::maintain::erase::{Condition, Finding, finding};

/// What a file holds.
#[derive(Default)]
struct Told {
    /// Records that satisfy the condition.
    rows: u64,
    /// Refused records of which it cannot be told.
    undecided: u64,
    /// Why it could not be read to its end.
    broken: Option<String>,
}

/// Looks through the finished files, and removes those that hold such records.
pub(super) fn removed(site: &Site<'_>, condition: &Condition, record: &mut Record) -> Result<()> {
    let system = site.catalog.store().system();
    let files = finished(system.disk.as_ref(), &site.folder, &site.ident.to_string())?;
    let Some(contract) = &site.contract else {
        if !files.is_empty() {
            let why =
                "they were not looked into, because the table's contract is not here: give --schemas, or remove them";
            record.certificate.holds(format!("{} finished files", files.len()), why);
        }
        return Ok(());
    };
    for file in files {
        let told = match told(system.disk.as_ref(), contract, condition, &file) {
            Err(error) if error.kind() == Kind::NotFound => continue,
            told => told?,
        };
        judge(site, &file, &told, record)?;
    }
    record.save()
}

fn judge(site: &Site<'_>, file: &Finished, told: &Told, record: &mut Record) -> Result<()> {
    let (disk, place) = (site.catalog.store().system().disk.clone(), format!("{}/{}", file.folder, file.name));
    let undecided = told.undecided > 0 || told.broken.is_some();
    let goes = told.rows > 0 || undecided && site.request.remove_undecided;
    if goes && (file.folder != "failed" || site.request.remove_failed) {
        if !record.is_dry() {
            remove(disk.as_ref(), file)?;
        }
        record.certificate.at(file.folder).add(told.rows, 1, file.bytes);
        return if record.is_dry() { Ok(()) } else { record.save() };
    }
    if told.rows > 0 {
        let why = format!(
            "{} of its records are sought, and no table holds the others: take them out and drop it again, or erase with \
             --remove-failed",
            told.rows
        );
        record.certificate.holds(place, why);
    } else if undecided {
        let why = match &told.broken {
            Some(why) => format!("it cannot be read to its end ({why}): look at it, or erase with --remove-undecided"),
            None => format!(
                "{} refused records of which it cannot be told: look at them, or erase with --remove-undecided",
                told.undecided
            ),
        };
        record.certificate.holds(place, why);
    }
    Ok(())
}

fn told(disk: &dyn Disk, contract: &Arc<Contract>, condition: &Condition, file: &Finished) -> Result<Told> {
    let mut told = Told::default();
    let fail = |error: std::io::Error| Error::from(error).with("file", file.path.display());
    let opened = disk.open(&file.path).map_err(fail)?;
    let decoder = decode::of_name(&file.name).and_then(|(format, packing)| {
        decode::open(contract.clone(), format, packing, Input::Random(opened), decode::Options::default())
    });
    let decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => return Ok(Told { broken: Some(error.to_string()), ..told }),
    };
    for batch in decoder {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Corrupt) => {
                told.broken = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        };
        told.rows += condition.mask(&batch.batch)?.true_count() as u64;
        for reject in &batch.rejects {
            let whole = reject.raw.len() < decode::RAW - 4 && !reject.broken.iter().any(|b| b.code == "utf8");
            match finding(condition, &reject.raw, whole) {
                Finding::Yes => told.rows += 1,
                Finding::Undecided => told.undecided += 1,
                Finding::No => {}
            }
        }
    }
    Ok(told)
}
