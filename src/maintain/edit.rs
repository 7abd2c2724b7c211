//! What a plan changes of a table: one commit of the Iceberg REST protocol.

use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};

/// Requirements and updates; nothing to do where there are no updates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// What must hold: where it does not, somebody was faster, and the plan is made anew.
    pub requirements: Vec<TableRequirement>,
    /// What is changed, in order.
    pub updates: Vec<TableUpdate>,
}

impl Edit {
    /// An edit of this very table; the plan adds what else it depends on.
    pub fn of(metadata: &TableMetadata) -> Edit {
        Edit { requirements: vec![TableRequirement::UuidMatch { uuid: metadata.uuid() }], updates: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }
}
