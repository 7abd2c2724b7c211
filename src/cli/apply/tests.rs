//! Plans over random histories of contracts: what is applied leaves nothing to apply, and takes nothing from readers.

use std::collections::{BTreeMap, HashMap};

use iceberg::TableCreation;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use proptest::prelude::*;

use super::*;
use crate::contract::{Judgement, carried, judge_successor, takes};

fn of(version: u32, fields: &str) -> Contract {
    Contract::parse(&format!("[table]\nversion = {version}\n{fields}"), "a/b.toml").expect("a contract")
}

fn table(contract: &Contract) -> TableMetadata {
    let properties: HashMap<String, String> =
        contract.properties().into_iter().filter(|(key, _)| key != "format-version").collect();
    let creation = TableCreation::builder()
        .name("b".to_owned())
        .location("file:///w/a/b".to_owned())
        .schema(contract.iceberg_schema().clone())
        .partition_spec(contract.partition_spec().clone())
        .properties(properties)
        .build();
    TableMetadataBuilder::from_table_creation(creation).expect("valid").build().expect("builds").metadata
}

fn applied(metadata: &TableMetadata, plan: Planned) -> TableMetadata {
    let builder = metadata.clone().into_builder(None);
    let builder = plan.edit.updates.into_iter().try_fold(builder, |builder, update| update.apply(builder));
    builder.expect("it can be applied").build().expect("builds").metadata
}

fn plan(contract: &Contract, metadata: &TableMetadata) -> Planned {
    planned(contract, metadata, &Lock::default()).expect("a plan")
}

/// A field of a contract that changes over its versions.
#[derive(Clone, Debug)]
struct Draft {
    name: String,
    kind: usize,
    required: bool,
    doc: Option<u32>,
    was: Vec<String>,
}

const KINDS: [&str; 6] = ["int", "long", "float", "double", "string", "decimal(9,2)"];

fn text(fields: &[Draft]) -> String {
    fields.iter().fold("[fields]\n".to_owned(), |text, Draft { name, kind, required, doc, was }| {
        let doc = doc.map(|doc| format!(", doc = \"Doc {doc}.\"")).unwrap_or_default();
        text + &format!("{name} = {{ type = \"{}\", required = {required}, was = {was:?}{doc} }}\n", KINDS[*kind])
    })
}

fn changed(fields: &mut Vec<Draft>, (what, at, number): (usize, usize, u32)) {
    let at = at % fields.len();
    let fresh = format!("f{number}_{}", fields.len());
    match what {
        0 if !fields.iter().any(|field| field.name == fresh || field.was.contains(&fresh)) => {
            let new =
                Draft { name: fresh, kind: number as usize % 6, required: number % 2 == 0, doc: None, was: vec![] };
            fields.insert(at, new);
        }
        1 if fields.len() > 1 => drop(fields.remove(at)),
        2 if !fields.iter().any(|field| field.name == fresh || field.was.contains(&fresh)) => {
            let before = std::mem::replace(&mut fields[at].name, fresh);
            fields[at].was.push(before);
        }
        3 => fields[at].kind = number as usize % 6,
        4 => fields[at].required = !fields[at].required,
        5 => fields[at].doc = Some(number),
        _ => fields.rotate_left(1),
    }
}

proptest! {
    #[test]
    fn what_is_applied_leaves_nothing_to_apply_and_takes_nothing_from_readers(
        versions in prop::collection::vec(prop::collection::vec((0..7_usize, 0..8_usize, 0..40_u32), 1..4), 1..6)
    ) {
        let mut fields = vec![Draft { name: "id".into(), kind: 1, required: true, doc: None, was: vec![] }];
        let first = of(1, &text(&fields));
        let mut live = table(&first);
        for (version, changes) in (2..).zip(versions) {
            let before = fields.clone();
            changes.into_iter().for_each(|change| changed(&mut fields, change));
            let Ok(contract) = Contract::parse(&format!("[table]\nversion = {version}\n{}", text(&fields)), "a/b.toml")
            else {
                fields = before;
                continue;
            };
            let found = plan(&contract, &live);
            if found.is_refused() {
                prop_assert!(found.edit.is_empty());
                fields = before;
                continue;
            }
            let after = applied(&live, found);
            let again = plan(&contract, &after);
            prop_assert!(again.state == State::Same && again.edit.is_empty(), "{:?}", again);
            prop_assert_eq!(takes(&contract, live.current_schema(), after.current_schema()), Vec::<String>::new());
            let judged = judge_successor(contract.ident(), None, Some(&live), &after);
            prop_assert!(matches!(judged, Judgement::Pass), "{:?}", judged);
            let carried = carried(contract.ident(), &after).expect("readable").expect("there");
            prop_assert_eq!(carried.hash(), contract.hash());
            let ids = |metadata: &TableMetadata| -> BTreeMap<i32, String> {
                let columns = metadata.current_schema().as_struct().fields().iter();
                columns.map(|column| (column.id, column.name.clone())).collect()
            };
            let names = ids(&after);
            for (id, name) in ids(&live) {
                let is = names.get(&id);
                let renamed = is.and_then(|is| contract.field(is)).is_some_and(|field| field.was.contains(&name));
                prop_assert!(is == Some(&name) || renamed, "{} is {:?}", name, is);
            }
            live = after;
        }
    }
}

#[test]
fn a_plan_names_what_changes_what_stays_and_what_is_never_applied() {
    let first =
        of(1, "partition = [\"place\"]\n[properties]\nkept = 1\nset = 1\n[fields]\nplace = \"string\"\nn = \"int\"\n");
    let live = table(&first);
    let second = of(
        2,
        "partition = [\"place\", \"n\"]\n[properties]\nkept = 1\nset = 2\nnew = 3\n[fields]\nplace = \"string\"\n\
         n = { type = \"long\", range = [0, 9] }\nmore = \"date\"\n",
    );
    let found = plan(&second, &live);
    assert_eq!((found.state, found.fields.len(), found.rules.len()), (State::Changes, 2, 1), "{found:?}");
    let keys: Vec<&str> = found.properties.iter().map(|property| property.key.as_str()).collect();
    assert_eq!(keys, ["new", "set"]);
    assert!(found.layout[0].contains("partitioned by place, by place, n in the contract"), "{found:?}");
    assert!(found.layout[0].contains("evolve-partition a.b \"place, n\""), "{found:?}");
    let after = applied(&live, found);
    assert_eq!(after.default_partition_spec(), live.default_partition_spec());
    let again = plan(&second, &after);
    assert_eq!((again.state, again.layout.len()), (State::Same, 1), "the layout stays the table's: {again:?}");
}

#[test]
fn what_somebody_changed_of_the_table_is_not_overwritten() {
    let first = of(1, "[properties]\nset = 1\n[fields]\nn = \"int\"\n");
    let own = HashMap::from([("set".to_owned(), "7".to_owned())]);
    let live = table(&first).into_builder(None).set_properties(own).expect("set").build().expect("builds").metadata;
    let found = plan(&of(2, "[properties]\nset = 2\n[fields]\nn = \"int\"\n"), &live);
    assert!(found.properties.is_empty() && found.kept[0].contains("`set` is `7`, `2` in the contract"), "{found:?}");
}

#[test]
fn a_refused_plan_says_every_reason_and_has_no_edit() {
    let first = of(3, "[fields]\nn = \"string\"\nm = \"int\"\n");
    let mut lock = Lock::default();
    lock.publish(&first).expect("published");
    let same = of(3, "[fields]\nn = \"long\"\nm = \"int\"\n");
    let found = planned(&same, &table(&first), &lock).expect("a plan");
    assert!(found.is_refused() && found.edit.is_empty());
    assert_eq!(found.reasons().len(), 3, "{:?}", found.reasons());
    let taken = of(4, "[fields]\nn = \"string\"\nM = \"int\"\n");
    let found = plan(&taken, &table(&first));
    assert!(found.is_refused() && found.refused[0].contains("engines that ignore case"), "{found:?}");
}

#[test]
fn what_was_applied_before_a_failure_is_told_and_published_and_nothing_else() {
    let named = |name: &str| Contract::parse("[fields]\nn = \"int\"\n", &format!("a/{name}.toml")).expect("a contract");
    let folder = Folder { contracts: ["new", "one", "two", "three"].map(named).into(), lock: Lock::default() };
    let of = |contract: &Contract| Planned { state: State::Changes, ..Planned::missing(contract, &folder.lock) };
    let mut plans: Vec<Planned> = folder.contracts.iter().map(of).collect();
    plans[0].state = State::Missing;
    let commit = |contract: &Contract| match contract.id().as_str() {
        "a.two" => Err(Error::new(Kind::Unavailable, "the disk is full")),
        _ => Ok(of(contract)),
    };
    let applied = folder.apply(plans, commit);
    let done: Vec<&str> = applied.done.iter().map(|plan| plan.table.as_str()).collect();
    let in_force: Vec<String> = applied.in_force.iter().map(|contract| contract.id()).collect();
    assert_eq!((done, in_force), (vec!["a.new", "a.one"], vec!["a.one".to_owned()]));
    let failed = applied.failed.expect("it failed");
    assert!(failed.kind() == Kind::Unavailable && failed.to_string().contains("a.two"), "{failed}");
    assert!(failed.to_string().contains("the disk is full"), "{failed}");
}

#[test]
fn a_property_that_a_version_no_longer_has_is_shown_and_stays() {
    let first = of(1, "[properties]\n\"a.b\" = \"1\"\n[fields]\nn = \"int\"\n");
    let found = plan(&of(2, "[fields]\nn = \"int\"\n"), &table(&first));
    assert!(found.properties.is_empty(), "{:?}", found.properties);
    assert!(found.kept.iter().any(|kept| kept.contains("`a.b` is `1`, no longer")), "{:?}", found.kept);
}
