//! Scan planning through the protocol, over manifests whose data files need not exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, ManifestWriterBuilder, NestedField,
    Operation, PrimitiveType, Schema, Struct, Transform, Type, UnboundPartitionSpec,
};
use iceberg::{NamespaceIdent, TableIdent, TableUpdate};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::plan::{Settings, router};
use super::tests::snapshots::commit_snapshot;
use crate::catalog::{self, Catalog};
use crate::plan::Limits;
use crate::state::Database;
use crate::store::{Store, location_of};
use crate::system::System;
use crate::table::{Change, CreateTable, Origin, Outcome};

struct World {
    _folder: tempfile::TempDir,
    catalog: Catalog,
    router: Router,
}

/// A file of partition `p` with values `from..=to` of column `n`.
struct File {
    name: &'static str,
    content: DataContentType,
    partition: i32,
    bounds: (i64, i64),
}

fn data(name: &'static str, partition: i32, bounds: (i64, i64)) -> File {
    File { name, content: DataContentType::Data, partition, bounds }
}

fn delete(name: &'static str, content: DataContentType, partition: i32) -> File {
    File { name, content, partition, bounds: (0, 0) }
}

impl File {
    fn build(&self) -> DataFile {
        let bound = |value| {
            if self.content == DataContentType::Data {
                HashMap::from([(2, Datum::long(value))])
            } else {
                HashMap::new()
            }
        };
        let equality = (self.content == DataContentType::EqualityDeletes).then(|| vec![2]);
        DataFileBuilder::default()
            .content(self.content)
            .file_path(format!("file:///t/data/{}.parquet", self.name))
            .file_format(DataFileFormat::Parquet)
            .file_size_in_bytes(100)
            .record_count(10)
            .partition(Struct::from_iter([Some(Literal::int(self.partition))]))
            .partition_spec_id(0)
            .value_counts(HashMap::from([(2, 10)]))
            .null_value_counts(HashMap::from([(2, 0)]))
            .lower_bounds(bound(self.bounds.0))
            .upper_bounds(bound(self.bounds.1))
            .equality_ids(equality)
            .build()
            .expect("a file")
    }
}

fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["n", name]).expect("valid")
}

impl World {
    fn new(settings: Settings) -> World {
        Self::over(settings, System::real())
    }

    fn over(settings: Settings, system: System) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::local(system, folder.path().join("staging")).expect("opens");
        let warehouse = location_of(&folder.path().join("warehouse")).expect("UTF-8");
        let opened = catalog::Settings { database: Database::Memory, warehouse };
        let catalog = Catalog::open(opened, store).expect("opens");
        catalog.create_namespace(&NamespaceIdent::new("n".into()), BTreeMap::new()).expect("makes");
        for name in ["t", "other"] {
            catalog.create_table(&ident(name), table(), Origin::Daemon).expect("makes");
        }
        let router = router(catalog.clone(), settings);
        World { _folder: folder, catalog, router }
    }

    /// A snapshot that adds a manifest of data and one of deletes to what the table has.
    fn commit(&self, operation: Operation, files: &[File]) -> i64 {
        commit_snapshot(&self.catalog, &ident("t"), operation, |next| {
            let mut manifests = match next.metadata.current_snapshot() {
                Some(snapshot) => {
                    crate::plan::manifests_of(self.catalog.store(), next.metadata, snapshot).expect("lists")
                }
                None => Vec::new(),
            };
            for deletes in [false, true] {
                let chosen: Vec<&File> =
                    files.iter().filter(|file| (file.content != DataContentType::Data) == deletes).collect();
                if chosen.is_empty() {
                    continue;
                }
                let output = next.output(if deletes { "d" } else { "m" });
                let (schema, spec) =
                    (next.metadata.current_schema().clone(), next.metadata.default_partition_spec().as_ref().clone());
                let builder = ManifestWriterBuilder::new(output, Some(next.id), schema, spec);
                let mut writer = if deletes { builder.build_v2_deletes() } else { builder.build_v2_data() };
                chosen.iter().for_each(|file| writer.add_file(file.build(), next.sequence).expect("adds"));
                manifests.push(next.sealed(writer));
            }
            manifests
        })
    }

    fn change(&self, updates: Vec<TableUpdate>) {
        let change = Change { ident: ident("t"), requirements: Vec::new(), updates };
        let outcome = self.catalog.commit(vec![change], Origin::Daemon);
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }

    /// What a plan came to.
    async fn ended(&self, path: &str) -> Value {
        loop {
            let (status, answer) = self.send("GET", path, json!({})).await;
            assert_eq!(status, StatusCode::OK);
            if answer["status"] != "submitted" {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("/v1/namespaces/n/tables/{path}"));
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("answers");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn plan(&self, body: Value) -> Value {
        let (status, answer) = self.send("POST", "t/plan", body).await;
        assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("completed")), "{answer}");
        answer
    }

    /// The files of a plan, its plan tasks fetched as they come.
    async fn all(&self, answer: Value) -> Vec<String> {
        let (mut found, mut pages) = (Vec::new(), vec![answer]);
        while let Some(page) = pages.pop() {
            found.extend(names(&page));
            for task in page["plan-tasks"].as_array().into_iter().flatten() {
                let (status, page) = self.send("POST", "t/tasks", json!({ "plan-task": task })).await;
                assert_eq!(status, StatusCode::OK, "{page}");
                pages.push(page);
            }
        }
        found.sort();
        found
    }
}

fn table() -> CreateTable {
    let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
    let schema = Schema::builder()
        .with_fields(vec![field(1, "p", PrimitiveType::Int), field(2, "n", PrimitiveType::Long)])
        .build()
        .expect("valid");
    let spec = UnboundPartitionSpec::builder().add_partition_field(1, "p", Transform::Identity).expect("valid").build();
    CreateTable { schema, spec: Some(spec), sort_order: None, location: None, properties: HashMap::new() }
}

fn name(file: &Value) -> String {
    let path = file["file-path"].as_str().expect("a path");
    path.trim_start_matches("file:///t/data/").trim_end_matches(".parquet").to_string()
}

fn names(page: &Value) -> Vec<String> {
    page["file-scan-tasks"].as_array().into_iter().flatten().map(|task| name(&task["data-file"])).collect()
}

/// The delete files that a page's tasks refer to, by data file.
fn deletes(page: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let of = |task: &Value| -> BTreeSet<String> {
        let references = task["delete-file-references"].as_array().into_iter().flatten();
        references.map(|at| name(&page["delete-files"][at.as_u64().expect("a place") as usize])).collect()
    };
    let tasks = page["file-scan-tasks"].as_array().expect("tasks").iter();
    tasks.map(|task| (name(&task["data-file"]), of(task))).collect()
}

fn equals(column: &str, value: i64) -> Value {
    json!({ "type": "eq", "term": column, "value": value })
}

fn small_pages() -> Settings {
    let defaults = Settings::default();
    Settings { limits: Limits { files: 3, manifests: 2, ..defaults.limits }, ..defaults }
}

#[tokio::test]
async fn an_empty_table_has_a_plan() {
    let world = World::new(Settings::default());
    let answer = world.plan(json!({})).await;
    assert_eq!(answer["file-scan-tasks"], json!([]));
    assert!(answer.get("plan-tasks").is_none() && answer.get("delete-files").is_none());
}

#[tokio::test]
async fn partitions_and_bounds_leave_files_out_and_what_they_decide_is_not_asked_again() {
    let world = World::new(Settings::default());
    world.commit(Operation::Append, &[data("a", 1, (0, 9)), data("b", 1, (10, 19)), data("c", 2, (0, 9))]);
    let filter = json!({ "type": "and", "left": equals("p", 1), "right": equals("n", 12) });
    let answer = world.plan(json!({ "filter": filter, "select": ["n"], "stats-fields": ["n"] })).await;
    assert_eq!(names(&answer), ["b"]);
    let task = &answer["file-scan-tasks"][0];
    assert_eq!(task["residual-filter"], equals("n", 12));
    assert_eq!(task["data-file"]["partition"], json!([1]));
    assert_eq!(task["data-file"]["record-count"], 10);
    assert_eq!(task["data-file"]["value-counts"], json!({ "keys": [2], "values": [10] }));
    assert_eq!(task["data-file"]["lower-bounds"], json!({ "keys": [2], "values": ["0A00000000000000"] }));
    let answer = world.plan(json!({ "filter": equals("p", 2) })).await;
    assert_eq!(answer["file-scan-tasks"][0]["residual-filter"], true);
    assert!(answer["file-scan-tasks"][0]["data-file"].get("lower-bounds").is_none(), "nobody asked");
    assert!(world.plan(json!({})).await["file-scan-tasks"][0].get("residual-filter").is_none());
}

#[tokio::test]
async fn deletes_are_named_where_they_apply() {
    let world = World::new(Settings::default());
    let (positions, equality) = (DataContentType::PositionDeletes, DataContentType::EqualityDeletes);
    world.commit(Operation::Append, &[data("old1", 1, (0, 9)), data("old2", 2, (0, 9))]);
    let both = [data("new1", 1, (0, 9)), delete("pos1", positions, 1), delete("eq1", equality, 1)];
    world.commit(Operation::Overwrite, &both);
    world.commit(Operation::Append, &[data("last1", 1, (0, 9))]);
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let found = deletes(&world.plan(json!({})).await);
    assert_eq!(found["old1"], set(&["eq1", "pos1"]));
    assert_eq!(found["new1"], set(&["pos1"]), "equality deletes apply to older files only");
    assert_eq!((&found["old2"], &found["last1"]), (&set(&[]), &set(&[])), "another partition, a younger file");
    let answer = world.plan(json!({ "filter": equals("p", 2) })).await;
    assert!(answer.get("delete-files").is_none(), "only with a task that refers to them");
}

#[tokio::test]
async fn a_large_table_comes_page_by_page() {
    let world = World::new(small_pages());
    const NAMES: [&str; 11] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    world.commit(Operation::Append, &NAMES[..7].iter().map(|name| data(name, 1, (0, 9))).collect::<Vec<_>>());
    for (number, name) in NAMES.iter().enumerate().skip(7) {
        world.commit(Operation::Append, &[data(name, number as i32, (0, 9))]);
    }
    let answer = world.plan(json!({})).await;
    assert_eq!(names(&answer).len(), 3);
    let first = answer["plan-tasks"][0].clone();
    assert_eq!(world.all(answer.clone()).await, NAMES);
    let again = world.send("GET", &format!("t/plan/{}", answer["plan-id"].as_str().expect("an id")), json!({})).await;
    assert_eq!((again.0, &again.1), (StatusCode::OK, &answer), "whoever lost an answer asks again");
    let (status, error) = world.send("POST", "other/tasks", json!({ "plan-task": first })).await;
    assert_eq!((status, &error["error"]["type"]), (StatusCode::NOT_FOUND, &json!("NoSuchPlanTaskException")));
    for task in ["", "x", "x.1.2.3", &first.as_str().expect("a text").replace(".0.", ".99.")] {
        let (status, _) = world.send("POST", "t/tasks", json!({ "plan-task": task })).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{task}");
    }
    let enough = world.plan(json!({ "min-rows-requested": 15 })).await;
    assert_eq!((names(&enough).len(), enough.get("plan-tasks")), (2, None));
}

#[tokio::test]
async fn who_does_not_wait_polls_and_may_cancel() {
    let world = World::new(Settings { patience: std::time::Duration::ZERO, workers: 1, ..Settings::default() });
    world.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    let (status, answer) = world.send("POST", "t/plan", json!({})).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("submitted")));
    let path = format!("t/plan/{}", answer["plan-id"].as_str().expect("an id"));
    let done = world.ended(&path).await;
    assert_eq!((&done["status"], names(&done)), (&json!("completed"), vec!["a".to_string()]));

    let stuck = World::new(Settings { patience: std::time::Duration::ZERO, workers: 0, ..Settings::default() });
    let (_, answer) = stuck.send("POST", "t/plan", json!({})).await;
    let id = answer["plan-id"].as_str().expect("an id");
    assert_eq!(stuck.send("GET", &format!("t/plan/{id}"), json!({})).await.1["status"], "submitted");
    assert_eq!(stuck.send("DELETE", &format!("other/plan/{id}"), json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stuck.send("DELETE", &format!("t/plan/{id}"), json!({})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(stuck.send("GET", &format!("t/plan/{id}"), json!({})).await.1, json!({ "status": "cancelled" }));
    let (status, error) = stuck.send("GET", "t/plan/none", json!({})).await;
    assert_eq!((status, &error["error"]["type"]), (StatusCode::NOT_FOUND, &json!("NoSuchPlanIdException")));
}

#[tokio::test]
async fn what_contradicts_itself_or_the_table_is_refused() {
    let world = World::new(Settings::default());
    let id = world.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    for (body, words) in [
        (json!({ "snapshot-id": 5 }), "no such snapshot"),
        (json!({ "snapshot-id": id, "end-snapshot-id": id }), "excludes"),
        (json!({ "start-snapshot-id": id }), "needs an 'end-snapshot-id'"),
        (json!({ "start-snapshot-id": 7, "end-snapshot-id": id }), "no ancestor"),
        (json!({ "select": ["q"] }), "no column 'q'"),
        (json!({ "filter": equals("q", 1) }), "no column 'q'"),
        (json!({ "filter": equals("P", 1) }), "no column 'P'"),
        (json!({ "filter": { "type": "like", "term": "p", "value": 1 } }), "no expression of type 'like'"),
        (json!({ "filter": { "type": "eq", "term": "p", "value": "x" } }), "not a value of type int"),
        (json!({ "filter": { "type": "eq", "term": "p" } }), "lacks 'right'"),
        (json!({ "filter": { "type": "is-nan", "term": "p" } }), "has no NaN"),
        (json!({ "filter": { "type": "starts-with", "term": "p", "value": 1 } }), "does not begin"),
        (json!({ "filter": 5 }), "an expression is"),
    ] {
        let (status, error) = world.send("POST", "t/plan", body.clone()).await;
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(words), "{body}: {status} {message}");
    }
    let body = json!({ "filter": equals("P", 1), "case-sensitive": false, "select": ["N"] });
    assert_eq!(names(&world.plan(body).await), ["a"]);
    assert_eq!(world.send("POST", "none/plan", json!({})).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn appends_between_two_snapshots() {
    let world = World::new(small_pages());
    let first = world.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    let positions = delete("gone", DataContentType::PositionDeletes, 1);
    world.commit(Operation::Overwrite, &[data("x", 1, (0, 9)), positions]);
    let last = world.commit(Operation::Append, &[data("b", 1, (0, 9)), data("c", 2, (0, 9))]);
    world.commit(Operation::Append, &[data("d", 1, (0, 9))]);
    let after = world.plan(json!({ "start-snapshot-id": first, "end-snapshot-id": last })).await;
    assert!(after.get("delete-files").is_none());
    assert_eq!(world.all(after).await, ["b", "c"]);
    let whole = world.plan(json!({ "end-snapshot-id": last })).await;
    assert_eq!(world.all(whole).await, ["a", "b", "c"]);
    let then = world.plan(json!({ "snapshot-id": last })).await;
    assert_eq!(world.all(then).await, ["a", "b", "c", "x"]);
}

#[tokio::test]
async fn a_snapshot_is_read_with_its_own_names_if_asked() {
    let world = World::new(Settings::default());
    let id = world.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    let field = |id, name, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
    let fields = vec![field(1, "part", PrimitiveType::Long), field(2, "n", PrimitiveType::Long)];
    let schema = Schema::builder().with_fields(fields).with_schema_id(1).build().expect("valid");
    world.change(vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }]);
    let now = world.plan(json!({ "snapshot-id": id, "filter": equals("part", 1) })).await;
    assert_eq!((names(&now), &now["file-scan-tasks"][0]["data-file"]["partition"]), (vec!["a".into()], &json!([1])));
    let then = json!({ "snapshot-id": id, "filter": equals("p", 1), "use-snapshot-schema": true });
    assert_eq!(names(&world.plan(then).await), ["a"]);
    let (status, _) = world.send("POST", "t/plan", json!({ "snapshot-id": id, "filter": equals("p", 1) })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn plans_are_bounded() {
    let defaults = small_pages();
    let world = World::new(Settings { bounds: super::plans::Bounds { plans: 2, ..defaults.bounds }, ..defaults });
    let names = ["a", "b", "c", "d"];
    world.commit(Operation::Append, &names.map(|name| data(name, 1, (0, 9))));
    let first = world.plan(json!({})).await;
    let second = world.plan(json!({})).await;
    let (status, error) = world.send("POST", "t/plan", json!({})).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    assert_eq!(world.all(second.clone()).await, names);
    world.plan(json!({})).await;
    let (status, _) =
        world.send("GET", &format!("t/plan/{}", second["plan-id"].as_str().expect("an id")), json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "what was fetched whole made room");
    assert_eq!(world.all(first).await, names);

    let heavy = World::new(Settings { limits: Limits { weight: 1, ..defaults.limits }, ..defaults });
    heavy.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    let (status, error) = heavy.send("POST", "t/plan", json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
}

#[tokio::test]
async fn a_plan_that_fails_says_so_to_each_who_asks() {
    let settings = Settings { patience: std::time::Duration::ZERO, ..Settings::default() };
    let world = World::new(settings);
    world.commit(Operation::Append, &[data("a", 1, (0, 9))]);
    let table = world.catalog.load(&ident("t")).expect("loads");
    let list = table.metadata.current_snapshot().expect("there").manifest_list();
    world.catalog.store().delete(list).expect("deletes");
    let (_, answer) = world.send("POST", "t/plan", json!({})).await;
    let path = format!("t/plan/{}", answer["plan-id"].as_str().expect("an id"));
    let failed = world.ended(&path).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"]["code"].as_u64().is_some_and(|code| code >= 400), "{failed}");
}

#[cfg(feature = "simulation")]
#[tokio::test]
async fn plans_that_nobody_asks_for_end() {
    use crate::system::SimulatedClock;
    let clock = std::sync::Arc::new(SimulatedClock::at(0));
    let defaults = small_pages();
    let settings = Settings { bounds: super::plans::Bounds { plans: 1, ..defaults.bounds }, ..defaults };
    let world = World::over(settings, System { clock: clock.clone(), ..System::real() });
    world.commit(Operation::Append, &["a", "b", "c", "d"].map(|name| data(name, 1, (0, 9))));
    let path = |answer: &Value| format!("t/plan/{}", answer["plan-id"].as_str().expect("an id"));
    let first = world.plan(json!({})).await;
    assert_eq!(world.send("POST", "t/plan", json!({})).await.0, StatusCode::SERVICE_UNAVAILABLE);
    clock.advance(settings.bounds.idle);
    let second = world.plan(json!({})).await;
    assert_eq!(world.send("GET", &path(&first), json!({})).await.0, StatusCode::NOT_FOUND, "it was idle");
    clock.advance(settings.bounds.life - std::time::Duration::from_secs(1));
    assert_eq!(world.send("GET", &path(&second), json!({})).await.0, StatusCode::OK);
    clock.advance(settings.bounds.life);
    assert_eq!(world.send("GET", &path(&second), json!({})).await.0, StatusCode::NOT_FOUND);
}
