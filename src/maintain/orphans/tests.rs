use std::collections::BTreeSet;

use iceberg::TableIdent;
use iceberg::spec::MAIN_BRANCH;
use laked_catalog::store::Fault;
use proptest::prelude::*;

use super::*;
use crate::maintain::expire::{self, expire};
use crate::maintain::histories::History;
use crate::maintain::retention::Asked;

/// The files of the table's folder that are no metadata, and metadata files as such.
fn all(history: &History) -> BTreeSet<String> {
    let listed = history.store().list(history.table().metadata.location()).expect("lists");
    listed.into_iter().map(|entry| entry.location).collect()
}

/// What the model says is named: by every snapshot that any metadata file of the log names, and by the ledger.
fn named(history: &History) -> BTreeSet<String> {
    let table = history.table();
    let log = table.metadata.metadata_log().iter().map(|log| log.metadata_file.clone());
    let files: Vec<String> = log.chain([table.metadata_location.clone()]).collect();
    let mut named: BTreeSet<String> = files.iter().cloned().collect();
    for file in files {
        let Ok(json) = history.store().read(&file) else { continue };
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let ids = json["snapshots"].as_array().cloned().unwrap_or_default();
        named.extend(history.reached(ids.iter().filter_map(|one| one["snapshot-id"].as_i64())));
        for statistics in json["statistics"].as_array().cloned().unwrap_or_default() {
            named.extend(statistics["statistics-path"].as_str().map(str::to_string));
        }
    }
    let owed = history.catalog.owed_of(table.metadata.uuid()).expect("is read");
    named.extend(owed.into_iter().flat_map(|owed| owed.files).map(|file| crate::maintain::histories::normal(&file)));
    let (folder, _) = table.metadata_location.rsplit_once('/').expect("a folder");
    named.insert(format!("{folder}/version-hint.text"));
    named
}

fn litter(history: &mut History) -> Vec<String> {
    let location = history.table().metadata.location().to_string();
    let places = ["data/part", "metadata/lost", "data/x=1/y%2F/deep", "odd"];
    let litter: Vec<String> = (0..history.below(5))
        .map(|n| format!("{location}/{}-{n}.{}", places[history.below(4)], ["parquet", "avro", "crc"][n % 3]))
        .collect();
    litter.iter().for_each(|file| history.store().put(file, b"litter").expect("is written"));
    litter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is removed is all that nothing names, and nothing else, after any history.
    #[test]
    fn what_is_removed_equals_brute_force(seed in any::<u64>(), steps in 1..20usize) {
        let mut history = History::new(seed, &[("write.metadata.previous-versions-max", "5")]);
        for _ in 0..steps {
            history.step();
            if history.below(6) == 0 {
                let asked = Asked { older_than_ms: Some(3_600_000), ..Asked::default() };
                let grace_ms = [0, 3_600_000][history.below(2)];
                let request = expire::Request { asked, grace_ms, dry_run: false };
                expire(&history.catalog, &history.ident, &request).expect("expires");
            }
        }
        let litter = litter(&mut history);
        let in_flight = litter.first().cloned();
        let (before, mut named) = (all(&history), named(&history));
        named.extend(in_flight.clone());
        let wanted: BTreeSet<String> = before.difference(&named).cloned().collect();
        prop_assert!(litter.iter().skip(1).all(|file| wanted.contains(file)));
        let run = |dry_run| {
            let request = Request { dry_run, ..Request::default() };
            let in_flight = || in_flight.iter().cloned().collect();
            remove_orphans(&history.catalog, &history.ident, &request, &in_flight).expect("removes")
        };
        let dry = run(true);
        prop_assert_eq!(all(&history), before.clone());
        prop_assert_eq!(dry.named.iter().cloned().collect::<BTreeSet<_>>(), wanted.clone());
        let done = run(false);
        prop_assert_eq!((done.files, done.bytes), (dry.files, dry.bytes));
        prop_assert_eq!(all(&history), before.difference(&wanted).cloned().collect::<BTreeSet<_>>());
        prop_assert!(history.needed().is_subset(&history.files()));
        prop_assert_eq!(run(false).files, 0);
    }

    /// Age, names and folders decide, each by itself.
    #[test]
    fn sorting_is_one_sided(ages in prop::collection::vec((0..100u64, any::<bool>(), any::<bool>()), 0..30), cut in 0..100i64) {
        let entry = |(n, (age, _, shared)): (usize, &(u64, bool, bool))| Entry {
            location: format!("file:///w/t/{}f{n}", if *shared { "other/" } else { "" }),
            len: 1,
            modified: UNIX_EPOCH + Duration::from_millis(*age),
        };
        let listed: Vec<Entry> = ages.iter().enumerate().map(entry).collect();
        let named: HashSet<u64> =
            listed.iter().zip(&ages).filter(|(_, age)| age.1).map(|(entry, _)| hash_of(&entry.location)).collect();
        let sorted = sorted(listed.clone(), &named, &["file:/w/t/other/".into()], cut);
        let free = |age: &&(u64, bool, bool)| !age.1 && !age.2;
        let old = ages.iter().filter(free).filter(|age| age.0.cast_signed() < cut).count();
        prop_assert_eq!(sorted.orphans.len(), old);
        prop_assert_eq!(sorted.young, (ages.iter().filter(free).count() - old) as u64);
    }
}

fn orphans_of(history: &History) -> Report {
    remove_orphans(&history.catalog, &history.ident, &Request::default(), &Vec::new).expect("removes")
}

fn put(history: &History, location: &str) -> String {
    history.store().put(location, b"x").expect("is written");
    location.to_string()
}

#[test]
fn folders_of_others_are_left_alone() {
    let mut history = History::new(1, &[]);
    history.append(MAIN_BRANCH);
    let location = history.table().metadata.location().to_string();
    let own = put(&history, &format!("{location}/data/own"));
    // A table below this one's folder, one that was dropped, and one that the catalog never knew.
    let ident = |name: &str| TableIdent::from_strs(["n", name]).expect("a name");
    let copy = |name: &str| {
        let table = history.create(&ident(name), &[]);
        let json = String::from_utf8(history.store().read(&table.metadata_location).expect("reads").to_vec());
        let inside = format!("{location}/{name}");
        let json = json.expect("UTF-8").replace(table.metadata.location(), &inside);
        let at = format!("{inside}/metadata/00000-{name}.metadata.json");
        history.store().put(&at, json.as_bytes()).expect("is written");
        history.catalog.drop_table(&ident(name)).expect("is dropped");
        at
    };
    let (live, dropped) = (copy("live"), copy("dropped"));
    copy("unknown");
    history.catalog.register_table(&ident("live"), live).expect("is registered");
    history.catalog.register_table(&ident("dropped"), dropped).expect("is registered");
    history.catalog.drop_table(&ident("dropped")).expect("is dropped");
    history.catalog.rename_table(&ident("live"), &ident("renamed")).expect("is renamed");
    let theirs = ["live", "dropped", "unknown"].map(|name| put(&history, &format!("{location}/{name}/data/theirs")));
    let report = orphans_of(&history);
    assert_eq!(report.named, [own]);
    assert_eq!(report.shared, ["dropped", "live", "unknown"].map(|name| format!("{location}/{name}")));
    assert!(theirs.iter().all(|file| history.store().len(file).is_ok()));
    // Where the folder itself is shared, nothing goes.
    put(&history, &format!("{location}/data/own"));
    history.catalog.register_table(&ident("copy"), history.table().metadata_location.clone()).expect("is registered");
    assert_eq!(orphans_of(&history).files, 0);
}

#[test]
fn a_foreign_table_whose_metadata_cannot_be_read_now_keeps_its_files() {
    let mut history = History::new(4, &[]);
    (0..3).for_each(|_| history.append(MAIN_BRANCH));
    let location = history.table().metadata.location().to_string();
    let other = TableIdent::from_strs(["n", "other"]).expect("a name");
    let theirs = history.create(&other, &[]).metadata_location.clone();
    let metadata = history.store().read(&theirs).expect("reads");
    history.store().put(&format!("{location}/inner/metadata/v1.metadata.json"), &metadata).expect("is written");
    let (kept, lost) = (format!("{location}/inner/data/theirs"), format!("{location}/data/lost"));
    history.store().put(&kept, b"x").expect("is written");
    let (mut refused, mut told) = (0, 0);
    for nth in 1.. {
        put(&history, &lost);
        history.disk.arm(Fault::Unreadable, nth);
        let done = remove_orphans(&history.catalog, &history.ident, &Request::default(), &Vec::new);
        if !history.disk.fired() {
            break;
        }
        history.disk.disarm();
        assert!(history.store().len(&kept).is_ok(), "read {nth}: {done:?}");
        refused += usize::from(done.is_err());
        told += usize::from(done.is_err_and(|error| error.to_string().contains("whose files lie")));
        history.store().delete(&lost).expect("is deleted");
    }
    assert!(refused > 10 && told > 0, "{refused} refused, {told} for the foreign table's metadata");
}

#[test]
fn what_another_table_names_stays() {
    let mut history = History::new(2, &[]);
    history.append(MAIN_BRANCH);
    let files: Vec<String> = history.files().into_iter().filter(|file| file.contains("/data/")).collect();
    // Another table, elsewhere, takes this one's files in; then this one forgets them.
    let metadata = history.table().metadata_location.clone();
    let json = String::from_utf8(history.store().read(&metadata).expect("reads").to_vec()).expect("UTF-8");
    let other =
        json.replacen("\"location\":\"file:///lake/warehouse/n/t\"", "\"location\":\"file:///lake/warehouse/n/o\"", 1);
    assert_ne!(json, other);
    let at = "file:///lake/warehouse/n/o/metadata/00000-o.metadata.json";
    history.store().put(at, other.as_bytes()).expect("is written");
    history.catalog.register_table(&TableIdent::from_strs(["n", "o"]).expect("a name"), at.into()).expect("registers");
    history.catalog.drop_table(&history.ident).expect("is dropped");
    let fresh = TableIdent::from_strs(["n", "fresh"]).expect("a name");
    let table = history.create(&fresh, &[("write.data.path", "file:///lake/warehouse/n/t/data")]);
    history.ident = fresh;
    // Dropped, the first one's folder is its own still.
    assert_eq!(orphans_of(&history).files, 0);
    history.clock.advance(Duration::from_secs(2 * 24 * 3600));
    let records = history.store().list("file:///lake/warehouse/.laked/names").expect("lists");
    records.iter().for_each(|record| history.store().delete(&record.location).expect("is deleted"));
    let litter = put(&history, "file:///lake/warehouse/n/t/data/litter");
    assert_eq!(orphans_of(&history).named, [litter]);
    assert!(files.iter().all(|file| history.store().len(file).is_ok()), "{}", table.ident);
}

#[test]
fn bad_ages_are_refused_and_what_cannot_be_read_stops_it() {
    let mut history = History::new(3, &[]);
    history.append(MAIN_BRANCH);
    history.append(MAIN_BRANCH);
    let litter = put(&history, &format!("{}/data/litter", history.table().metadata.location()));
    let run = |older_than_ms, force| {
        let request = Request { older_than_ms, force, dry_run: false };
        remove_orphans(&history.catalog, &history.ident, &request, &Vec::new)
    };
    for (age, force) in [(-1, true), (0, false), (DAY_MS - 1, false)] {
        assert_eq!(run(age, force).expect_err("is refused").kind(), Kind::Invalid);
    }
    let list = history.files().into_iter().find(|file| file.contains("/snap-")).expect("a list");
    let bytes = history.store().read(&list).expect("reads");
    history.store().delete(&list).expect("is deleted");
    assert_eq!(run(DAY_MS, false).expect_err("cannot be told").kind(), Kind::NotFound);
    history.store().put(&list, &bytes[..bytes.len() - 1]).expect("is written");
    assert_eq!(run(DAY_MS, false).expect_err("cannot be told").kind(), Kind::Corrupt);
    assert!(history.store().len(&litter).is_ok());
    history.store().delete(&list).and_then(|()| history.store().put(&list, &bytes)).expect("is whole again");
    assert_eq!(run(0, true).expect("removes").named, [litter]);
}

#[test]
fn what_somebody_has_staged_stays_at_any_age_and_a_dead_ones_goes() {
    let history = History::new(1, &[]);
    let (disk, location) = (history.store().disk().clone(), history.table().metadata.location().to_string());
    let table = path_of(&location).expect("a path");
    let own = staging::Staging::begin(disk.as_ref(), &table, "1").expect("begins");
    history.store().put(&format!("{location}/.staging-1/a.parquet"), b"staged").expect("is written");
    history.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(orphans_of(&history).files, 0, "it is under way");
    drop(own);
    assert_eq!(orphans_of(&history).files, 1);
    assert!(all(&history).iter().all(|file| !file.contains(".staging-")), "the lock goes too");
}
