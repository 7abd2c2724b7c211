//! An Iceberg REST catalog on embedded SQLite, and the durable storage beneath it.
//!
//! This crate knows nothing of ingestion, contracts or maintenance: it also runs alone. The daemon plugs its rules in
//! through [`Guard`], and shares [`store`] and [`system`].

pub mod error;
pub mod store;
pub mod system;

pub use error::{Error, Kind, Result};
