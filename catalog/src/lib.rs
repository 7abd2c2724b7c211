//! An Iceberg REST catalog on embedded SQLite, and the durable storage beneath it.
//!
//! This crate knows nothing of ingestion, contracts or maintenance: it also runs alone. The daemon plugs its rules in
//! through [`Guard`], and shares [`store`] and [`system`].

pub mod access;
mod catalog;
mod document;
pub mod error;
mod hint;
pub mod plan;
#[cfg(test)]
#[path = "../../tests/kit/postgres.rs"]
mod postgres_server;
mod purge;
pub mod rest;
mod state;
pub mod store;
pub mod system;
mod table;

pub use catalog::{
    Catalog, CreateView, Found, Neighbour, Owed, Problem, Rebuilt, Run, RunState, Settings, Turn, View, WhichRuns,
};
pub use document::Refs;
pub use error::{Error, Kind, Result};
pub use state::{Copied, Database, Kept, PostgresUrl, State, Wire};
pub use table::{Change, Companions, CreateTable, Guard, Origin, Outcome, Proposal, Table, Watch};
