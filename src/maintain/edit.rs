//! What a plan changes of a table: one commit of the Iceberg REST protocol.

use iceberg::spec::TableMetadata;
use iceberg::{TableRequirement, TableUpdate};

use crate::error::{Error, Kind, Result};

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

    /// A table's metadata as it would be then: for plans of what follows.
    ///
    /// # Errors
    /// `Invalid` if an update does not fit the table.
    pub fn applied(&self, metadata: &TableMetadata) -> Result<TableMetadata> {
        let unfit = |error| Error::new(Kind::Invalid, "the change does not fit the table").because(error);
        let builder = metadata.clone().into_builder(None);
        let builder = self.updates.iter().cloned().try_fold(builder, |builder, update| update.apply(builder));
        Ok(builder.map_err(unfit)?.build().map_err(unfit)?.metadata)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }
}
