//! A purge deletes what is the table's and nothing else, whatever the table's manifests say; a dropped table keeps all.

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, ManifestWriterBuilder, Operation, Struct};
use iceberg::{NamespaceIdent, TableIdent};
use serde_json::{Value, json};

use super::snapshots::commit_snapshot;
use super::{Client, create, set};
use crate::Catalog;
use crate::access::{Caller, Role, Scope};

fn ident(namespace: &str, name: &str) -> TableIdent {
    TableIdent::from_strs([namespace, name]).expect("valid")
}

/// Commits a snapshot of a table whose manifest names these files.
pub fn append(catalog: &Catalog, ident: &TableIdent, files: &[&str]) {
    commit_snapshot(catalog, ident, Operation::Append, |next| {
        let (schema, spec) =
            (next.metadata.current_schema().clone(), next.metadata.default_partition_spec().as_ref().clone());
        let mut writer = ManifestWriterBuilder::new(next.output("m"), Some(next.id), schema, spec).build_v2_data();
        for file in files {
            let file = DataFileBuilder::default()
                .content(DataContentType::Data)
                .file_path((*file).to_string())
                .file_format(DataFileFormat::Parquet)
                .file_size_in_bytes(1)
                .record_count(1)
                .partition(Struct::empty())
                .partition_spec_id(0)
                .build();
            writer.add_file(file.expect("a file"), next.sequence).expect("adds");
        }
        vec![next.sealed(writer)]
    });
}

/// Namespaces `n` and `o`, tables `t`, `other` and `gone` in `n` and `t` in `o`, each with a data file.
struct Place {
    client: Client,
    /// The warehouse.
    root: String,
}

impl Place {
    async fn new() -> Place {
        let client = Client::new();
        let root = client.catalog.warehouse().to_string();
        for (namespace, tables) in [("n", &["t", "other", "gone"][..]), ("o", &["t"])] {
            client.post("/v1/namespaces", json!({"namespace": [namespace]})).await.ok();
            for table in tables {
                client.post(&format!("/v1/namespaces/{namespace}/tables"), create(table)).await.ok();
                let file = format!("{root}/{namespace}/{table}/data/own.parquet");
                client.catalog.store().put(&file, b"rows").expect("writes");
                append(&client.catalog, &ident(namespace, table), &[&file]);
            }
        }
        Place { client, root }
    }

    fn put(&self, path: &str) -> String {
        let location = format!("{}/{path}", self.root);
        self.client.catalog.store().put(&location, b"rows").expect("writes");
        location
    }

    fn is_there(&self, path: &str) -> bool {
        self.client.catalog.store().len(&format!("{}/{path}", self.root)).is_ok()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let found = self.client.catalog.store().list(&format!("{}/{folder}", self.root)).expect("lists");
        found.into_iter().map(|file| file.location).collect()
    }
}

#[tokio::test]
async fn a_purge_leaves_what_is_not_the_tables() {
    let place = Place::new().await;
    let Place { client, root } = &place;
    let (stray, shared) = (place.put("n/t/data/nobody-names-it.parquet"), place.put("imported/x.parquet"));
    // Its manifest names files of others: of a table that is there, and of one that can still come back.
    let [other, gone] = ["other", "gone"].map(|table| format!("{root}/n/{table}/data/own.parquet"));
    let metadata = client.catalog.load(&ident("n", "other")).expect("loads").metadata_location.clone();
    append(&client.catalog, &ident("n", "t"), &[&other, &gone, &metadata, &shared, "s3://bucket/x.parquet"]);
    client.call("DELETE", "/v1/namespaces/n/tables/gone", Value::Null).await.ok();
    client.call("DELETE", "/v1/namespaces/n/tables/t?purgeRequested=true", Value::Null).await.ok();
    client.catalog.finish_purges().expect("is done");
    assert_eq!(place.files("n/t"), [stray], "all that the table names is gone, and nothing else");
    assert!(!place.is_there("imported/x.parquet"), "it lay in no other table's folder");
    assert!(place.is_there("n/other/data/own.parquet") && place.is_there("n/gone/data/own.parquet"));
    client.get("/v1/namespaces/n/tables/other").await.ok();
    client.post("/v1/namespaces/n/tables/gone/undrop", Value::Null).await.ok();
    client.post("/v1/namespaces/n/tables/gone", set("a", "b")).await.ok();
    client.post("/v1/namespaces/n/tables/t/undrop", Value::Null).await.fails(404, "NoSuchTableException");
}

#[tokio::test]
async fn a_purge_has_the_rights_of_who_asked_even_after_a_restart() {
    let place = Place::new().await;
    let imported = place.put("imported/x.parquet");
    append(&place.client.catalog, &ident("n", "t"), &[&imported]);
    let scope = Scope::of(vec![NamespaceIdent::new("n".into())]);
    let caller = Caller { name: "ingest".into(), role: Role::Writer, scope };
    place.client.catalog.for_caller(&caller).purge_table(&ident("n", "t")).expect("is forgotten");
    let place = Place { client: place.client.restarted(), root: place.root };
    place.client.catalog.finish_purges().expect("is done");
    assert_eq!(place.files("n/t"), Vec::<String>::new());
    assert!(place.is_there("imported/x.parquet"), "it lies outside of his namespaces");
}

#[tokio::test]
async fn two_names_for_one_folder_keep_its_files_until_the_last_goes() {
    let place = Place::new().await;
    let at = place.client.catalog.load(&ident("o", "t")).expect("loads").metadata_location.clone();
    place.client.post("/v1/namespaces/o/register", json!({"name": "twin", "metadata-location": at})).await.ok();
    let before = place.files("o/t");
    place.client.call("DELETE", "/v1/namespaces/o/tables/t?purgeRequested=true", Value::Null).await.ok();
    place.client.catalog.finish_purges().expect("is done");
    assert_eq!(place.files("o/t"), before);
    place.client.call("DELETE", "/v1/namespaces/o/tables/twin?purgeRequested=true", Value::Null).await.ok();
    place.client.catalog.finish_purges().expect("is done");
    assert_eq!(place.files("o/t"), Vec::<String>::new());
}

#[tokio::test]
async fn what_may_not_be_collected_stays() {
    let place = Place::new().await;
    place.client.post("/v1/namespaces/o/tables/t", set("gc.enabled", "false")).await.ok();
    place.client.call("DELETE", "/v1/namespaces/o/tables/t?purgeRequested=True", Value::Null).await.ok();
    place.client.catalog.finish_purges().expect("is done");
    assert_eq!(place.files("o/t"), [format!("{}/o/t/data/own.parquet", place.root)]);
}

#[tokio::test]
async fn a_load_with_refs_holds_the_snapshots_they_point_to() {
    let place = Place::new().await;
    append(&place.client.catalog, &ident("o", "t"), &[]);
    let path = "/v1/namespaces/o/tables/t";
    let all = place.client.get(&format!("{path}?snapshots=all")).await.ok();
    let some = place.client.get(&format!("{path}?snapshots=refs")).await.ok();
    let ids = |answer: &Value| -> Vec<i64> {
        let snapshots = answer["metadata"]["snapshots"].as_array().expect("a list");
        snapshots.iter().filter_map(|snapshot| snapshot["snapshot-id"].as_i64()).collect()
    };
    assert_eq!((ids(&all), ids(&some)), (vec![100, 200], vec![200]));
    let without = |mut answer: Value| {
        answer["metadata"]["snapshots"].take();
        answer
    };
    assert_eq!(without(all.clone()), without(some), "all else is the same");
    assert_eq!(place.client.get(path).await.ok(), all);
}
