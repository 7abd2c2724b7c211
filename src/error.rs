//! The crate's error: the catalog's, whose kinds the design shares, plus what only ingestion knows.
//!
//! Both crates speak of the same kinds, so there is one type; `laked_catalog::Error` is re-exported under this name
//! and other libraries' errors are given a kind where they are met.

pub use laked_catalog::{Error, Kind, Result};
