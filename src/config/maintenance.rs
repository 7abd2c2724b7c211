//! Settings of what is done to tables by itself.

use serde::{Deserialize, Serialize};

use super::{Age, Size};

/// What is done to tables by itself. Tables and namespaces say otherwise by properties, `laked.maintenance…`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Whose tables are looked after that say nothing of it.
    pub tables: Whose,
    /// When snapshots expire.
    pub expire: String,
    /// When small files are merged.
    pub compact: String,
    /// When files are listed anew by partition.
    pub manifests: String,
    /// When files that nothing names are removed.
    pub orphans: String,
    /// Small files that a partition must have to be merged.
    pub min_inputs: usize,
    /// So many are merged even while more come.
    pub hot_files: usize,
    /// Bytes that a compaction rewrites before it commits, and looks whether it may go on.
    pub step: Size,
    /// Threads that rewrite files.
    pub threads: usize,
    /// Memory that sorting and deletes may take, out of the one budget.
    pub memory: Size,
    /// Bytes a second that are rewritten, on average.
    pub rate: Size,
    /// It waits no longer than this for ingestion before it takes a step all the same.
    pub yield_most: Age,
    /// A run ends after this; what is left is done by another, after other tables had their turn.
    pub deadline: Age,
    /// How long runs are remembered; of each task on a table the last one is in any case.
    pub kept: Age,
}

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// Those made from contracts.
    Contracts,
    /// All.
    All,
    /// None.
    None,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            tables: Whose::Contracts,
            expire: "60 commits or cron */5 * * * *".into(),
            compact: "cooled 1m".into(),
            manifests: "off".into(),
            orphans: "cron 17 3 * * *".into(),
            min_inputs: 5,
            hot_files: 20,
            step: Size::mib(1024),
            threads: 1,
            memory: Size::mib(64),
            rate: Size::mib(100),
            yield_most: Age::seconds(300),
            deadline: Age::seconds(300),
            kept: Age::seconds(30 * 24 * 3600),
        }
    }
}
