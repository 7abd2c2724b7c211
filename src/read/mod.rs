//! Reading: planning a scan, pruning, explaining, and SQL by embedded DuckDB (the one place that names it).
//!
//! A plan is made once per table, by the planner that the catalog's clients use too (`laked_catalog::plan`): manifest
//! list, then the manifests that can match, then their files, then (only to explain) the footers of the files that are
//! left. DuckDB gets the list of files and a map from field id to column, so that renamed and added columns read right,
//! and delete files as anti-joins.

mod answer;
mod defaults;
pub mod duck;
pub mod explain;
mod footer;
mod parse;
mod pushdown;
pub mod relation;
pub mod remote;
pub mod source;
pub mod vectors;

pub use laked_catalog::plan::{self, Plan, PlannedFile, Predicate};
pub use parse::parse_where;
pub use source::{Source, SourceTable};
