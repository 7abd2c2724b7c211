//! Snapshots as a client makes them: manifests, their list, one commit.

use std::collections::HashMap;

use futures::executor::block_on;
use iceberg::TableIdent;
use iceberg::TableUpdate;
use iceberg::io::OutputFile;
use iceberg::spec::{
    MAIN_BRANCH, ManifestFile, ManifestListWriter, ManifestWriter, Operation, Snapshot, SnapshotReference,
    SnapshotRetention, Summary, TableMetadata,
};

use crate::Catalog;
use crate::table::{Change, Origin, Outcome};

/// The snapshot that is being made.
pub struct Next<'a> {
    pub catalog: &'a Catalog,
    pub metadata: &'a TableMetadata,
    pub id: i64,
    pub sequence: i64,
}

impl Next<'_> {
    fn location(&self, what: &str) -> String {
        format!("{}/metadata/{}-{what}.avro", self.metadata.location(), self.id)
    }

    /// Where a manifest of it goes.
    pub fn output(&self, what: &str) -> OutputFile {
        self.catalog.store().file_io().new_output(self.location(what)).expect("a name")
    }

    /// A manifest that is written.
    pub fn sealed(&self, writer: ManifestWriter) -> ManifestFile {
        let mut manifest = block_on(writer.write_manifest_file()).expect("writes");
        manifest.sequence_number = self.sequence;
        manifest
    }
}

/// Commits a snapshot of these manifests; gives its id.
pub fn commit_snapshot(
    catalog: &Catalog,
    ident: &TableIdent,
    operation: Operation,
    manifests: impl FnOnce(&Next<'_>) -> Vec<ManifestFile>,
) -> i64 {
    let table = catalog.load(ident).expect("loads");
    let metadata = &table.metadata;
    let (sequence, parent) = (metadata.next_sequence_number(), metadata.current_snapshot_id());
    let next = Next { catalog, metadata, id: sequence * 100, sequence };
    let manifests = manifests(&next);
    let mut list =
        ManifestListWriter::v2(block_on(next.output("list").writer()).expect("opens"), next.id, parent, sequence);
    list.add_manifests(manifests.into_iter()).expect("adds");
    block_on(list.close()).expect("closes");
    let snapshot = Snapshot::builder()
        .with_snapshot_id(next.id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(next.location("list"))
        .with_summary(Summary { operation, additional_properties: HashMap::new() })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(next.id, SnapshotRetention::branch(None, None, None));
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference },
    ];
    let change = Change { ident: ident.clone(), requirements: Vec::new(), updates };
    let outcome = catalog.commit(vec![change], Origin::Rest);
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    next.id
}
