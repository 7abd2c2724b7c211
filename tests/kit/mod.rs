//! What the scenarios share.

pub mod daemon;
pub mod postgres;
pub mod readings;
pub mod wire;
