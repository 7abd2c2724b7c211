//! A document's snapshots: thousands of texts of which a commit adds one.
//!
//! The texts lie in blocks of some [`BLOCK`] bytes, each shared by all documents that hold it. A commit that removes no
//! snapshot takes the blocks over without looking at what is in them, but for the last one, to which it adds: what it
//! costs does not depend on how many snapshots there are. Where snapshots are removed, the blocks that keep all theirs
//! are taken over as well.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{Snapshot, SnapshotRef, TableMetadata};

use super::held::Span;

/// A block that is longer takes no more.
const BLOCK: usize = 64 << 10;

/// The snapshots of a document, in its order.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    blocks: Vec<Arc<Block>>,
    len: usize,
}

/// Some of them, separated by a comma and perhaps white space.
#[derive(Debug)]
struct Block {
    text: Bytes,
    spans: Vec<Span<Snapshot>>,
}

impl Blocks {
    /// Those of a text that was taken apart.
    pub fn of(json: &Bytes, spans: Vec<Span<Snapshot>>) -> Blocks {
        let mut blocks = Blocks { blocks: Vec::new(), len: spans.len() };
        let mut rest = spans.into_iter().peekable();
        while let Some(first) = rest.peek().map(|span| span.start) {
            let mut some = Vec::new();
            while let Some(span) = rest.next_if(|span| span.start < first + BLOCK) {
                some.push(Span { item: span.item, start: span.start - first, end: span.end - first });
            }
            let end = some.last().map_or(0, |span| span.end);
            blocks.blocks.push(Arc::new(Block { text: json.slice(first..first + end), spans: some }));
        }
        blocks
    }

    /// How many snapshots.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The texts of the blocks; one comma belongs between neighbours.
    pub fn texts(&self) -> impl Iterator<Item = &Bytes> {
        self.blocks.iter().map(|block| &block.text)
    }

    /// The ids.
    pub fn ids(&self) -> HashSet<i64> {
        self.blocks.iter().flat_map(|block| &block.spans).map(|span| span.item.snapshot_id()).collect()
    }

    /// A snapshot's text.
    pub fn text_of(&self, snapshot: &SnapshotRef) -> Option<&[u8]> {
        self.blocks.iter().find_map(|block| {
            let span = block.spans.iter().find(|span| Arc::ptr_eq(&span.item, snapshot))?;
            Some(&block.text[span.start..span.end])
        })
    }

    /// Those that `metadata` still has.
    pub fn kept_in(&self, metadata: &TableMetadata) -> Blocks {
        let is_kept = |span: &Span<Snapshot>| {
            metadata.snapshot_by_id(span.item.snapshot_id()).is_some_and(|held| Arc::ptr_eq(held, &span.item))
        };
        let mut kept = Blocks::default();
        for block in &self.blocks {
            if block.spans.iter().all(is_kept) {
                kept.len += block.spans.len();
                kept.blocks.push(block.clone());
                continue;
            }
            for span in block.spans.iter().filter(|span| is_kept(span)) {
                kept.push(span.item.clone(), &block.text[span.start..span.end]);
            }
        }
        kept
    }

    /// Adds one at the end.
    pub fn push(&mut self, item: SnapshotRef, text: &[u8]) {
        self.len += 1;
        let (mut all, mut spans) = (Vec::new(), Vec::new());
        if let Some(last) = self.blocks.pop_if(|last| last.text.len() < BLOCK) {
            all.reserve_exact(last.text.len() + 1 + text.len());
            all.extend_from_slice(&last.text);
            all.push(b',');
            spans.extend(last.spans.iter().map(Span::clone));
        }
        let start = all.len();
        all.extend_from_slice(text);
        spans.push(Span { item, start, end: all.len() });
        self.blocks.push(Arc::new(Block { text: all.into(), spans }));
    }
}
