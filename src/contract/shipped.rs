//! The contracts the binary carries, and those of a folder.

use std::path::{Path, PathBuf};

use laked_catalog::store::Disk;

use super::Contract;
use crate::error::{Error, Kind, Result};

/// The JSON Schema of the contract language, for editors.
pub const JSON_SCHEMA: &str = include_str!("../../schemas/contract.schema.json");

/// The shipped contracts as (path below `schemas/`, text).
pub const SHIPPED: [(&str, &str); 6] = [
    ("glucose/cgm_readings.toml", include_str!("../../schemas/glucose/cgm_readings.toml")),
    ("market/broker_tx.toml", include_str!("../../schemas/market/broker_tx.toml")),
    ("market/funding_rates.toml", include_str!("../../schemas/market/funding_rates.toml")),
    ("market/ohlcv.toml", include_str!("../../schemas/market/ohlcv.toml")),
    ("market/prices.toml", include_str!("../../schemas/market/prices.toml")),
    ("world/gdp.toml", include_str!("../../schemas/world/gdp.toml")),
];

/// The contracts that the binary carries, for a lake without a schemas folder.
pub fn shipped() -> Vec<Contract> {
    let parse = |(path, text): (&str, &str)| Contract::parse(text, path).expect("invariant: shipped contracts parse");
    SHIPPED.into_iter().map(parse).collect()
}

/// Reads the contracts `<namespace>/<table>.toml` of a folder, in the order of their paths. Names that begin with a
/// dot are passed over. The error lists every mistake of every file; two files of one table are a mistake too.
pub fn load_dir(disk: &dyn Disk, folder: &Path) -> Result<Vec<Contract>> {
    let mut contracts: Vec<(PathBuf, Contract)> = Vec::new();
    let mut mistakes = Vec::new();
    for path in files(disk, folder)? {
        match load(disk, &path) {
            Ok(contract) => match contracts.iter().find(|(_, other)| other.ident() == contract.ident()) {
                Some((first, _)) => {
                    let (table, first) = (contract.id(), first.display());
                    mistakes.push(format!("{}: {table} has a contract already: {first}; keep one", path.display()));
                }
                None => contracts.push((path, contract)),
            },
            Err(error) if error.kind() == Kind::Invalid => mistakes.push(error.message().to_owned()),
            Err(error) => return Err(error),
        }
    }
    if !mistakes.is_empty() {
        return Err(Error::new(Kind::Invalid, mistakes.join("\n")));
    }
    Ok(contracts.into_iter().map(|(_, contract)| contract).collect())
}

/// The same, held against the folder's [`super::Lock`].
///
/// # Errors
/// `Invalid` too for a contract whose version was published with another text.
pub fn load_published(disk: &dyn Disk, folder: &Path) -> Result<Vec<Contract>> {
    let contracts = load_dir(disk, folder)?;
    let lock = super::Lock::load(disk, folder)?;
    let refused: Vec<String> =
        contracts.iter().filter_map(|contract| lock.check(contract).err()).map(|e| e.to_string()).collect();
    if refused.is_empty() { Ok(contracts) } else { Err(Error::new(Kind::Invalid, refused.join("\n"))) }
}

/// Reads the contract of one file.
pub fn load(disk: &dyn Disk, path: &Path) -> Result<Contract> {
    let origin = path.display().to_string();
    let bytes = disk.read(path).map_err(|error| Error::from(error).with("contract", &origin))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Contract::parse(text.trim_start_matches('\u{feff}'), &origin),
        Err(error) => {
            let at = error.valid_up_to();
            Err(Error::new(Kind::Invalid, format!("{origin}: not UTF-8 at byte {at}; save the file as UTF-8")))
        }
    }
}

/// The contract files of a folder, in order.
pub fn files(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>> {
    let list =
        |folder: &Path| disk.list(folder).map_err(|error| Error::from(error).with("schemas folder", folder.display()));
    let mut files = Vec::new();
    for (name, stat) in list(folder)? {
        if !stat.is_dir || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let namespace = folder.join(name);
        for (name, stat) in list(&namespace)? {
            let path = namespace.join(&name);
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if stat.is_file && !hidden && path.extension().is_some_and(|ending| ending == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
