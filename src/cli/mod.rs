//! One file for each command of `lakectl`.

pub mod contract;
pub mod demo;
pub mod sample;
