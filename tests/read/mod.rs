//! Reading what the stages wrote and what others did to it.

mod cli;
pub mod deletes;
mod explain;
pub mod lake;
mod schema;
mod sql;
