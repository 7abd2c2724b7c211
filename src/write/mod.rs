//! Rows in, Parquet files out.
mod conform;
mod encode;
mod gather;
mod layout;
mod metrics;
mod path;
mod route;
mod settings;
mod sort;

pub use layout::Layout;
