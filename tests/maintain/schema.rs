//! `lakectl evolve-schema`: columns change under a producer, and what would break readers or the contract is refused.

use std::sync::mpsc;

use super::{BODY, Lake, TABLE, await_body, produce};

fn columns(lake: &Lake) -> Vec<String> {
    let metadata = lake.metadata();
    let current = &metadata["current-schema-id"];
    let schemas = metadata["schemas"].as_array().expect("schemas");
    let schema = schemas.iter().find(|schema| schema["schema-id"] == *current).expect("the current one");
    let name = |field: &serde_json::Value| field["name"].as_str().expect("a name").to_string();
    schema["fields"].as_array().expect("fields").iter().map(name).collect()
}

fn evolve<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["evolve-schema", TABLE], words].concat()
}

#[test]
fn columns_change_under_a_producer_and_no_row_is_lost_or_doubled() {
    let lake = Lake::new();
    let (tell, told) = mpsc::channel();
    let url = lake.url().to_owned();
    let producer = std::thread::spawn(move || produce(&url, 0..60, &tell));
    await_body(&told, 5);
    let shown = lake.lakectl(&evolve(&["add", "note", "string", "--after", "n", "--doc", "Why.", "--dry-run"]));
    assert!(shown.contains("+ note: string -- Why.") && shown.contains("nothing was changed"), "{shown}");
    assert!(!columns(&lake).contains(&"note".to_string()));
    lake.lakectl(&evolve(&["add", "note", "string", "--after", "n", "--doc", "Why."]));
    assert_eq!(columns(&lake)[..2], ["n", "note"]);
    await_body(&told, 20);
    lake.lakectl(&evolve(&["add", "where", "struct<lat: float, lon: float>"]));
    lake.lakectl(&evolve(&["widen", "where.lat", "double"]));
    await_body(&told, 40);
    lake.lakectl(&evolve(&["rename", "note", "remark"]));
    lake.lakectl(&evolve(&["drop", "where"]));
    producer.join().expect("the producer ends well");
    assert_eq!(lake.numbers(), (0..60 * BODY).collect::<Vec<_>>());
    let nulls = lake.lakectl(&["query", "--format", "csv", &format!("select count(*), count(remark) from {TABLE}")]);
    assert_eq!(nulls.lines().nth(1), Some("600,0"));
}

#[test]
fn what_breaks_the_contract_or_readers_is_refused() {
    let mut lake = Lake::new();
    lake.send(0..1);
    for stopped in [false, true] {
        if stopped {
            lake.stop();
        }
        let schemas = lake.folder.schemas();
        let place: &[&str] = if stopped { &["--schemas", schemas.to_str().expect("UTF-8")] } else { &[] };
        let refuses = |words: &[&str], said: &str| {
            let before = lake.metadata();
            let (code, out, complaint) = lake.run(&[evolve(words), place.to_vec()].concat());
            assert!(code != 0 && out.is_empty() && complaint.contains(said), "{words:?}: {code} {complaint}");
            assert_eq!(lake.metadata(), before, "{words:?}");
        };
        refuses(&["rename", "n", "number"], "breaks the contract");
        refuses(&["optional", "n"], "breaks the contract");
        refuses(&["require", "at"], "breaks the contract");
    }
    lake.refuses(&evolve(&["drop", "place"]), "evolve-partition");
    lake.refuses(&evolve(&["add", "more", "text"]), "is no type");
    lake.refuses(&evolve(&["add", "more", "long", "--required"]), "cannot be required");
    lake.refuses(&evolve(&["widen", "nowhere", "long"]), "there are n, place, at");
    lake.refuses(&["evolve-schema", "no.table", "drop", "n"], "no.table");
}

#[test]
fn a_column_is_required_once_no_row_lacks_it() {
    let lake = Lake::new();
    lake.send(0..1);
    lake.lakectl(&evolve(&["add", "more", "long"]));
    lake.refuses(&evolve(&["require", "more"]), "is null in 10 rows");
    lake.lakectl(&evolve(&["drop", "more"]));
    lake.send(1..2);
    assert_eq!(lake.numbers().len(), 20);
}
