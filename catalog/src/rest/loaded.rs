//! The answer to create, load and commit: where the metadata lies, and its text untouched.
//!
//! The ETag is of the metadata's location and of which snapshots are asked for: a table's metadata has a new location
//! whenever it changes.

use std::collections::{BTreeSet, HashMap};

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Answer;
use crate::error::{Error, Kind, Result};
use crate::table::Table;

/// Which snapshots a load answers with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    All,
    /// Only those that a branch or tag points to.
    Refs,
}

impl Snapshots {
    /// # Errors
    /// `Invalid` for a word the protocol does not have.
    pub fn asked(parameters: &HashMap<String, String>) -> Result<Snapshots> {
        match parameters.get("snapshots").map(|word| word.to_ascii_lowercase()).as_deref() {
            None | Some("" | "all") => Ok(Snapshots::All),
            Some("refs") => Ok(Snapshots::Refs),
            Some(_) => Err(Error::new(Kind::Invalid, "the parameter 'snapshots' is 'all' or 'refs'")),
        }
    }
}

/// The answer to create, load and commit, or 304 where the client has it already.
pub fn loaded(table: &Table, snapshots: Snapshots, held: Option<&str>) -> Answer {
    let etag = etag(table, snapshots);
    if held.is_some_and(|held| held == "*" || held.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let location = serde_json::to_string(&table.metadata_location).map_err(unserialisable)?;
    let mut body = Vec::with_capacity(table.document.len() + location.len() + 64);
    body.extend_from_slice(b"{\"metadata-location\":");
    body.extend_from_slice(location.as_bytes());
    body.extend_from_slice(b",\"metadata\":");
    match snapshots {
        Snapshots::All => table.document.parts().for_each(|part| body.extend_from_slice(part)),
        Snapshots::Refs => body.extend_from_slice(&referenced(table)?),
    }
    body.extend_from_slice(b",\"config\":{}}");
    let headers = [(header::CONTENT_TYPE, "application/json".to_string()), (header::ETAG, etag)];
    Ok((headers, Body::from(body)).into_response())
}

fn etag(table: &Table, snapshots: Snapshots) -> String {
    let mut hash = Sha256::new_with_prefix(&table.metadata_location);
    hash.update([u8::from(snapshots == Snapshots::Refs)]);
    let hash = hash.finalize();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[derive(Deserialize)]
struct Referenced {
    #[serde(rename = "snapshot-id")]
    id: i64,
}

/// The metadata with the snapshots that refs point to and no others; all else untouched.
fn referenced(table: &Table) -> Result<Bytes> {
    let json = table.json()?;
    let mut document: HashMap<&str, &RawValue> = serde_json::from_slice(&json).map_err(unserialisable)?;
    let refs: HashMap<String, Referenced> = match document.get("refs") {
        Some(refs) => serde_json::from_str(refs.get()).map_err(unserialisable)?,
        None => HashMap::new(),
    };
    let kept: BTreeSet<i64> = refs.values().map(|one| one.id).collect();
    let all: Vec<&RawValue> = match document.get("snapshots") {
        Some(all) => serde_json::from_str(all.get()).map_err(unserialisable)?,
        None => Vec::new(),
    };
    let held = |raw: &&RawValue| serde_json::from_str::<Referenced>(raw.get()).is_ok_and(|one| kept.contains(&one.id));
    let some: Vec<&RawValue> = all.into_iter().filter(held).collect();
    let text = serde_json::value::to_raw_value(&some).map_err(unserialisable)?;
    document.insert("snapshots", &text);
    serde_json::to_vec(&document).map(Bytes::from).map_err(unserialisable)
}

fn unserialisable(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "serialising a table").because(error)
}
