//! What the scenarios share.

pub mod daemon;
pub mod postgres;
pub mod wire;
