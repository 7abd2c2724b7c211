//! A table's metadata as JSON, written without serialising again what has not changed, and without losing what the
//! `iceberg` crate has no place for.
//!
//! A commit adds one snapshot to thousands. The `iceberg` crate serialises by deep-cloning all of them, which makes a
//! commit slower with each that came before. Here a [`Document`] knows where each schema's, spec's, order's and
//! snapshot's text lies in it, and the next one copies those texts: such pieces never change, so the same `Arc` means
//! the same text, down to its white space. What remains (logs, properties, refs) is small.
//!
//! Fields that the crate's types do not have are kept as they came: those of a piece with its text, those at the top
//! and those of refs, logs, statistics and keys beside it ([`held`]), those of a request until its pieces are written
//! ([`Said`]). A document that was read is taken apart at the first commit after it, not when it is loaded.
//!
//! Column types that the crate cannot read have stand-ins in its eyes ([`foreign`]).
//!
//! The crate has no getter for refs, and forgets all but `main` in format 1, so they are kept beside the metadata
//! ([`Refs`]) and follow the updates.

pub mod foreign;
mod held;
mod overlay;
mod piece;
mod said;
#[cfg(test)]
mod tests;
mod write;

pub use said::Said;

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use bytes::Bytes;
use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use held::Held;
use write::Writer;

/// Branches and tags by name.
pub type Refs = BTreeMap<String, SnapshotReference>;

/// The JSON text of a table's metadata.
#[derive(Debug)]
pub struct Document {
    json: Bytes,
    held: OnceLock<Held>,
}

impl Document {
    /// A document as it was read.
    pub fn read(json: Bytes) -> Self {
        Self { json, held: OnceLock::new() }
    }

    /// The text.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Writes `metadata`, taking from `previous` what they share, and from `said` what is new and strange.
    ///
    /// # Errors
    /// `Internal` if something in it has no JSON form.
    pub fn write(
        metadata: &TableMetadata,
        refs: &Refs,
        said: &Said,
        previous: Option<(&Document, &TableMetadata)>,
    ) -> Result<Self> {
        let previous = match previous {
            Some((document, before)) => Some((document.json.as_ref(), document.held(before)?)),
            None => None,
        };
        let (json, held) = Writer::new(metadata, said, previous).write(refs)?;
        Ok(Self { json, held: OnceLock::from(held) })
    }

    fn held(&self, metadata: &TableMetadata) -> Result<&Held> {
        if let Some(held) = self.held.get() {
            return Ok(held);
        }
        let found = Held::find(&self.json, metadata)
            .map_err(|error| Error::new(Kind::Corrupt, "table metadata cannot be taken apart").because(error))?;
        Ok(self.held.get_or_init(|| found))
    }
}

/// The refs of a document that was read.
///
/// # Errors
/// `Corrupt` if they cannot be read as such.
pub fn refs_of(json: &[u8], metadata: &TableMetadata) -> Result<Refs> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(default)]
        refs: Option<Refs>,
    }
    let only: Only = serde_json::from_slice(json)
        .map_err(|error| Error::new(Kind::Corrupt, "the refs in table metadata cannot be read").because(error))?;
    let mut refs = only.refs.unwrap_or_default();
    add_main(&mut refs, metadata);
    Ok(refs)
}

/// The refs after updates that were found to fit.
pub fn refs_after(mut refs: Refs, updates: &[TableUpdate], metadata: &TableMetadata) -> Refs {
    for update in updates {
        match update {
            TableUpdate::SetSnapshotRef { ref_name, reference } => {
                refs.insert(ref_name.clone(), reference.clone());
            }
            TableUpdate::RemoveSnapshotRef { ref_name } => {
                refs.remove(ref_name);
            }
            TableUpdate::RemoveSnapshots { snapshot_ids } => {
                let removed: HashSet<&i64> = snapshot_ids.iter().collect();
                refs.retain(|_, reference| !removed.contains(&reference.snapshot_id));
            }
            _ => {}
        }
    }
    add_main(&mut refs, metadata);
    refs
}

/// Tables of format 1 may have a current snapshot and no refs.
fn add_main(refs: &mut Refs, metadata: &TableMetadata) {
    if let Some(id) = metadata.current_snapshot_id().filter(|_| !refs.contains_key(MAIN_BRANCH)) {
        refs.insert(MAIN_BRANCH.into(), SnapshotReference::new(id, SnapshotRetention::branch(None, None, None)));
    }
}
