//! laked keeps Apache Iceberg tables: records come in, are held to a contract, and are committed exactly once.
//!
//! Data flows one way, through sibling stages that exchange the plain values of [`flow`] and never import one
//! another: [`ingest`] (arrive) → [`contract`] (admit) → [`write`](mod@write) (seal) → [`commit`] → [`maintain`] →
//! [`read`]. Only [`daemon`] knows the order.

pub mod budget;
pub mod cli;
pub mod commit;
pub mod config;
pub mod contract;
pub mod daemon;
pub mod error;
pub mod flow;
pub mod history;
pub mod ingest;
pub mod maintain;
pub mod read;
pub mod sample;
pub mod telemetry;
pub mod units;
pub mod write;
