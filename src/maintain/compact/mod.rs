//! Compaction: small files become large ones, and deletes are worked into the data they hit.
//!
//! [`plan`](plan()) is a pure function of what a snapshot's manifests say: which files of which partition are to be
//! written anew, and which deletes apply to them. [`rewrite`](rewrite()) reads those files and stages new ones; who runs
//! it commits them as a replacement (`commit::replace`). Files keep the partition spec they have, and their rows;
//! [`moves`] plans the same for files of older specs, whose rows are to be written under the table's.
//!
//! # How rows are rewritten
//! `positions` turns every delete into row numbers: position deletes and deletion vectors as they are, equality deletes by
//! reading the columns they compare, in as many passes as memory asks for. Where the table has no sort order, whole row
//! groups are copied without decoding them (`copy`); else `decode` reads the rows by field id, leaves out the deleted
//! ones, and gives them to a `write::Rewriter`, which appends them, or merges files that are in the table's order already
//! and sorts others, all by the table's order or along a curve through several columns (`curve`). Rows of format 3 keep
//! their ids and the sequence number of their last change: written down as columns.

mod copy;
mod curve;
mod decode;
mod deletes;
mod input;
pub(super) mod literal;
mod matching;
mod nested;
mod plan;
mod positions;
mod rewrite;

pub use curve::placed;
pub use deletes::{Applying, id_of};
pub use matching::{Erased, matching};
pub use plan::{Group, Input, LeftOut, Options, Order, Plan, chosen, is_small, movable, moves, plan};
pub use rewrite::{Job, Rewritten, count_erased, rewrite};
