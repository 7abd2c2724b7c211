//! The version hint: a table that can be read from its folder alone.
//!
//! `<table>/metadata/version-hint.text` holds the name of the current metadata file without `.metadata.json`, as
//! `00012-<uuid>`, which DuckDB's `iceberg_scan` completes to a file name. It follows each commit, at
//! once or within moments (`catalog/settling.rs`), and never moves backwards; it is not fsynced, and repaired at start.

use crate::store::Store;

const SUFFIX: &str = ".metadata.json";

/// The number in a metadata file's name.
pub fn version(metadata_location: &str) -> Option<u64> {
    let name = metadata_location.rsplit('/').next()?;
    name.split('-').next()?.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// Points the hint to a metadata file, unless it does. If that fails, readers of the folder lag; nobody else notices.
pub fn point(store: &Store, metadata_location: &str) {
    let Some((folder, name)) = metadata_location.rsplit_once('/') else { return };
    let Some(stem) = name.strip_suffix(SUFFIX) else { return };
    let location = format!("{folder}/version-hint.text");
    if store.read(&location).is_ok_and(|held| held == stem) {
        return;
    }
    if let Err(error) = store.replace(&location, stem.as_bytes()) {
        tracing::warn!(metadata = metadata_location, %error, "the version hint lags behind; it is repaired at the next commit or start");
    }
}
