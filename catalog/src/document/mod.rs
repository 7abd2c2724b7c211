//! A table's metadata as JSON, written without serialising again what has not changed, and without losing what the
//! `iceberg` crate has no place for.
//!
//! A commit adds one snapshot to thousands. The `iceberg` crate serialises by deep-cloning all of them, which makes a
//! commit slower with each that came before. Here a [`Document`] knows where each schema's, spec's and order's text lies
//! in it, and the next one copies those texts: such pieces never change, so the same `Arc` means the same text, down to
//! its white space. Snapshots' texts lie in [`blocks`] that documents share. What remains (logs, properties, refs) is small.
//!
//! Fields that the crate's types do not have are kept as they came: those of a piece with its text, those at the top
//! and those of refs, logs, statistics and keys beside it ([`held`]), those of a request until its pieces are written
//! ([`Said`]). A document that was read is taken apart at the first commit after it, not when it is loaded.
//!
//! Column types that the crate cannot read have stand-ins in its eyes ([`foreign`]).
//!
//! The crate has no getter for refs, and forgets all but `main` in format 1, so they are kept beside the metadata
//! ([`Refs`]) and follow the updates.

mod blocks;
pub mod foreign;
mod held;
mod overlay;
mod piece;
mod said;
#[cfg(test)]
mod tests;
mod write;

pub use overlay::{fits, overlay};
pub use said::Said;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IoSlice, Write};
use std::sync::OnceLock;

use bytes::Bytes;
use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use blocks::Blocks;
use held::Held;
use write::Writer;

/// Branches and tags by name.
pub type Refs = BTreeMap<String, SnapshotReference>;

/// The JSON text of a table's metadata.
#[derive(Debug)]
pub struct Document {
    /// All of it, or, if this process wrote it, all up to the snapshots, whose texts are among what is held.
    text: Bytes,
    is_whole: bool,
    held: OnceLock<Held>,
}

/// What a document is written from.
#[derive(Clone, Copy)]
pub struct Previous<'a> {
    /// The document before.
    pub document: &'a Document,
    /// Its metadata.
    pub metadata: &'a TableMetadata,
    /// What has been done since.
    pub updates: &'a [TableUpdate],
}

impl Previous<'_> {
    /// The snapshots that were added to so many, if none was removed.
    fn only_adds<'m>(&self, before: usize, after: &'m TableMetadata) -> Option<Vec<&'m SnapshotRef>> {
        let mut added = Vec::new();
        for update in self.updates {
            match update {
                TableUpdate::AddSnapshot { snapshot } => added.push(after.snapshot_by_id(snapshot.snapshot_id())?),
                TableUpdate::RemoveSnapshots { .. } => return None,
                _ => {}
            }
        }
        (before + added.len() == after.snapshots().len()).then_some(added)
    }
}

impl Document {
    /// A document as it was read.
    pub fn read(json: Bytes) -> Self {
        Self { text: json, is_whole: true, held: OnceLock::new() }
    }

    /// The text, in parts.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let snapshots = self.held.get().filter(|_| !self.is_whole).map(|held| &held.snapshots);
        let blocks = snapshots.into_iter().flat_map(Blocks::texts).enumerate();
        let separated = blocks.flat_map(|(i, text)| [if i > 0 { &b","[..] } else { &[] }, text.as_ref()]);
        let end: &[u8] = if self.is_whole { &[] } else { b"]}" };
        std::iter::once(self.text.as_ref()).chain(separated).chain([end])
    }

    /// Writes the text, in one call where the file takes it: page by page, many small writes cost twice as much.
    ///
    /// # Errors
    /// The file's.
    pub fn write_to(&self, file: &mut impl Write) -> io::Result<()> {
        let mut parts: Vec<IoSlice<'_>> = self.parts().filter(|part| !part.is_empty()).map(IoSlice::new).collect();
        let mut rest = parts.as_mut_slice();
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The text.
    pub fn json(&self) -> Bytes {
        if self.is_whole {
            return self.text.clone();
        }
        let mut json = Vec::with_capacity(self.len());
        self.parts().for_each(|part| json.extend_from_slice(part));
        json.into()
    }

    /// The text's length in bytes.
    pub fn len(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    /// Writes `metadata`, taking from `previous` what they share, and from `said` what is new and strange.
    ///
    /// # Errors
    /// `Internal` if something in it has no JSON form.
    pub fn write(metadata: &TableMetadata, refs: &Refs, said: &Said, previous: Option<Previous<'_>>) -> Result<Self> {
        let previous = match previous {
            Some(previous) => Some((previous, previous.document.held(previous.metadata)?)),
            None => None,
        };
        let (text, held) = Writer::new(metadata, said, previous).write(refs)?;
        Ok(Self { text, is_whole: false, held: OnceLock::from(held) })
    }

    fn held(&self, metadata: &TableMetadata) -> Result<&Held> {
        if let Some(held) = self.held.get() {
            return Ok(held);
        }
        let found = Held::find(&self.text, metadata)
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
