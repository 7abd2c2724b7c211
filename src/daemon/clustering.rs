//! A table's manifests clustered by partition: read, planned, ready to be committed.

use iceberg::TableIdent;
use iceberg::spec::{ManifestContentType, TableMetadata};
use laked_catalog::store::Store;

use crate::commit::replace::{Clustered, ListedManifest, Made, listed};
use crate::error::Result;
use crate::maintain::manifests::{Clustering, Listed, cluster};

/// What is to be done.
#[derive(Debug)]
pub struct Clusters {
    /// Manifests that there are.
    pub before: usize,
    /// Which of them go, and what comes; nothing to do where nothing comes.
    pub plan: Clustering,
    /// The change.
    pub clustered: Clustered,
}

/// Plans the manifests of a table as it was loaded.
///
/// # Errors
/// `Corrupt` if one cannot be read; storage errors.
pub fn clusters(store: &Store, (ident, metadata): (&TableIdent, &TableMetadata)) -> Result<Clusters> {
    let manifests = listed(store, metadata)?;
    let plan = cluster(&manifests.iter().map(of).collect::<Vec<_>>());
    let clustered = Clustered {
        ident: ident.clone(),
        expect_uuid: metadata.uuid(),
        replaced: plan.replaced.iter().map(|number| manifests[*number].manifest.manifest_path.clone()).collect(),
        made: plan.made.iter().map(|files| made(&manifests, files)).collect(),
        summary: Vec::new(),
    };
    Ok(Clusters { before: manifests.len(), plan, clustered })
}

fn of(listed: &ListedManifest) -> Listed {
    Listed {
        spec_id: listed.manifest.partition_spec_id,
        deletes: listed.manifest.content == ManifestContentType::Deletes,
        partitions: listed.entries.iter().map(|entry| entry.data_file.partition().clone()).collect(),
    }
}

fn made(manifests: &[ListedManifest], files: &[(usize, usize)]) -> Made {
    let first = &manifests[files[0].0].manifest;
    Made {
        spec_id: first.partition_spec_id,
        content: first.content,
        entries: files.iter().map(|(manifest, file)| manifests[*manifest].entries[*file].clone()).collect(),
    }
}
