//! What a request says beyond the types of the `iceberg` crate: kept until the document is written.

use iceberg::TableUpdate;
use serde::Serialize;
use serde_json::Value;

use super::overlay::is_strange;

/// The strange parts of a request's updates, as they came.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub(super) schemas: Vec<Value>,
    pub(super) specs: Vec<Value>,
    pub(super) orders: Vec<Value>,
    pub(super) snapshots: Vec<Value>,
    /// By the name of the ref.
    pub(super) refs: Vec<(String, Value)>,
    /// Statistics and keys: the canonical text of each, and what was said.
    pub(super) items: Vec<(String, Value)>,
}

impl Said {
    /// Keeps what `raw`, the text of `update`, says beyond it.
    pub fn hear(&mut self, update: &TableUpdate, raw: &str) {
        if !matches!(
            update,
            TableUpdate::AddSchema { .. }
                | TableUpdate::AddSpec { .. }
                | TableUpdate::AddSortOrder { .. }
                | TableUpdate::AddSnapshot { .. }
                | TableUpdate::SetSnapshotRef { .. }
                | TableUpdate::SetStatistics { .. }
                | TableUpdate::SetPartitionStatistics { .. }
                | TableUpdate::AddEncryptionKey { .. }
        ) {
            return;
        }
        let (Ok(known), Ok(raw)) = (serde_json::to_value(update), serde_json::from_str::<Value>(raw)) else { return };
        if !is_strange(&known, &raw) {
            return;
        }
        let part = |key: &str| raw.get(key).cloned().unwrap_or_default();
        match update {
            TableUpdate::AddSchema { .. } => self.schemas.push(part("schema")),
            TableUpdate::AddSpec { .. } => self.specs.push(part("spec")),
            TableUpdate::AddSortOrder { .. } => self.orders.push(part("sort-order")),
            TableUpdate::AddSnapshot { .. } => self.snapshots.push(part("snapshot")),
            TableUpdate::SetSnapshotRef { ref_name, .. } => self.refs.push((ref_name.clone(), raw.clone())),
            TableUpdate::SetStatistics { statistics } => self.item(statistics, part("statistics")),
            TableUpdate::SetPartitionStatistics { partition_statistics } => {
                self.item(partition_statistics, part("partition-statistics"));
            }
            TableUpdate::AddEncryptionKey { encryption_key } => self.item(encryption_key, part("encryption-key")),
            _ => {}
        }
    }

    fn item(&mut self, known: &impl Serialize, raw: Value) {
        if let Ok(text) = serde_json::to_string(known) {
            self.items.push((text, raw));
        }
    }

    /// Keeps what a request to make a table says of its schema, spec and order.
    pub fn hear_new(&mut self, schema: &Value, spec: &Value, order: &Value) {
        let parts = [(schema, &mut self.schemas), (spec, &mut self.specs), (order, &mut self.orders)];
        for (raw, kept) in parts {
            if raw.is_object() {
                kept.push(raw.clone());
            }
        }
    }
}
