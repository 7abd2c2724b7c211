//! The language as a whole: what is read, what is refused and where, and that the editors' schema agrees.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, TimeUnit};
use iceberg::spec::{NullOrder, SortDirection, Transform};

use super::*;

const FULL: &str = r#"
[table]
name = "a.b.c"
version = 3
strict = false
unknown = "ignore"
time_zone = "Asia/Taipei"
null_values = ["", "NA"]
reject_limit = "2.5%"
partition = ["country", "month(at)", "bucket[16](id)", "truncate(3, code)"]
sort = ["id", "at desc", "n asc nulls last"]
identifier = "id"

[properties]
write.target-file-size-bytes = 1024
"laked.retention" = "1h:all"

[fields]
id = { type = "string", required = true }
country = { type = "string", enum = ["TW", "JP"] }
at = { type = "timestamptz", required = true }
local = { type = "timestamp", range = [2020-01-01T00:00:00, "2020-01-02T00:00:00.5"] }
code = { type = "string", pattern = "[A-Z]{3}|x", length = [1, 3], null_values = ["-"] }
n = { type = "int", range = { above = 0, below = 10 }, unit = "kg", doc = "Weight." }
share = { type = "double", range = { above = 0 } }
price = { type = "decimal(6,2)", range = { min = 0.01, below = "99.5" } }
day = { type = "date", range = { min = 1970-01-02 } }
key = "uuid"
"#;

#[test]
fn a_full_contract_is_read() {
    let contract = Contract::parse(FULL, "anywhere").unwrap();
    assert_eq!((contract.id().as_str(), contract.version, contract.strict), ("a.b.c", 3, false));
    assert_eq!(contract.reject_limit, 0.025);
    let properties = contract.properties();
    assert_eq!(properties["write.target-file-size-bytes"], "1024");
    assert_eq!(properties["laked.retention"], "1h:all");
    assert_eq!(properties["format-version"], "2");
    assert_eq!(properties[property::HASH], contract.hash());
    assert_eq!(contract.fields().iter().map(|field| field.id).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(&*contract.field("code").unwrap().null_values, ["-".to_owned()]);
    assert_eq!(contract.null_values(), ["", "NA"]);
    assert_eq!(contract.iceberg_schema().field_by_name("n").unwrap().doc.as_deref(), Some("Weight. [kg]"));
    assert_eq!(contract.iceberg_schema().identifier_field_ids().collect::<Vec<_>>(), [1]);
    let arrow = contract.arrow_schema();
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    assert_eq!(arrow.field(1).data_type(), &dictionary);
    assert_eq!(arrow.field(2).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    assert!(!arrow.field(0).is_nullable() && arrow.field(1).is_nullable());
    assert_eq!(arrow.field(9).data_type(), &DataType::FixedSizeBinary(16));
}

#[test]
fn limits_are_in_the_units_of_the_column() {
    let contract = Contract::parse(FULL, "anywhere").unwrap();
    let limits = |name: &str| contract.field(name).unwrap().range.clone().unwrap().limits;
    assert_eq!(limits("n"), Limits::Whole { min: 1, max: 9 });
    assert_eq!(limits("share"), Limits::Real { min: f64::from_bits(1), max: f64::MAX });
    assert_eq!(limits("price"), Limits::Decimal { min: 1, max: 9949 });
    assert_eq!(limits("day"), Limits::Whole { min: 1, max: 2_932_896 });
    let start = 1_577_836_800_000_000;
    assert_eq!(limits("local"), Limits::Whole { min: start, max: start + 86_400_500_000 });
    assert_eq!(contract.field("n").unwrap().range.as_ref().unwrap().text, "above 0 and below 10");
}

#[test]
fn layout_is_named_as_other_engines_name_it() {
    let contract = Contract::parse(FULL, "anywhere").unwrap();
    let spec = contract.partition_spec().clone().bind(contract.iceberg_schema().clone()).unwrap();
    let parts: Vec<_> = spec.fields().iter().map(|field| (field.name.as_str(), field.transform)).collect();
    assert_eq!(
        parts,
        [
            ("country", Transform::Identity),
            ("at_month", Transform::Month),
            ("id_bucket", Transform::Bucket(16)),
            ("code_trunc", Transform::Truncate(3)),
        ]
    );
    let order: Vec<_> =
        contract.sort_order().fields.iter().map(|field| (field.source_id, field.direction, field.null_order)).collect();
    assert_eq!(
        order,
        [
            (1, SortDirection::Ascending, NullOrder::First),
            (3, SortDirection::Descending, NullOrder::Last),
            (6, SortDirection::Ascending, NullOrder::Last),
        ]
    );
}

/// Each mistake, alone in a contract, with the place and a part of what is said of it.
#[test]
fn mistakes_are_located_and_say_what_is_possible() {
    let cases = [
        ("[fields]\na = \"strin\"", "2:5", "possible: boolean, int"),
        ("[fields]\na = { typ = \"int\" }", "2:7", "did you mean `type`?"),
        ("[fields]\na = { type = \"string\", range = [1, 2] }", "2:32", "use enum, pattern or length"),
        ("[fields]\na = { type = \"int\", range = [1, 3e2] }", "2:33", "is no int"),
        ("[fields]\na = { type = \"int\", range = [3, 1] }", "2:29", "no value is in this range"),
        ("[fields]\na = { type = \"int\", range = { min = 0, above = 1 } }", "2:48", "one end"),
        ("[fields]\na = { type = \"date\", range = { min = 5 } }", "2:38", "as 2020-01-31"),
        ("[fields]\na = { type = \"string\", pattern = \"(\" }", "2:34", "no regular expression"),
        ("[fields]\na = { type = \"double\", nan = true, range = [0, 1] }", "2:30", "NaN is in no range"),
        ("[fields]\na = { type = \"string\", enum = [\"x\", \"x\"] }", "2:37", "twice"),
        ("[fields]\na = \"int\"\nA = \"int\"", "3:1", "case only"),
        ("[table]\nstrict = \"yes\"\n[fields]\na = \"int\"", "2:10", "true or false"),
        ("[table]\nunknown = \"drop\"\n[fields]\na = \"int\"", "2:11", "reject, ignore"),
        ("[table]\natomic = \"rows\"\n[fields]\na = \"int\"", "2:10", "file, parts"),
        ("[table]\ntime_zone = \"Mars\"\n[fields]\na = \"int\"", "2:13", "Asia/Taipei"),
        ("[table]\nreject_limit = \"x\"\n[fields]\na = \"int\"", "2:16", "percentage"),
        ("[table]\npartition = [\"b\"]\n[fields]\na = \"int\"", "2:14", "no field `b`; fields: a"),
        ("[table]\npartition = [\"month(a)\"]\n[fields]\na = \"int\"", "2:14", "does not apply"),
        ("[table]\npartition = [\"week(a)\"]\n[fields]\na = \"date\"", "2:14", "bucket[N]"),
        ("[table]\npartition = [\"year(a)\", \"day(a)\"]\n[fields]\na = \"date\"", "2:25", "redundant"),
        ("[table]\nsort = [\"a upwards\"]\n[fields]\na = \"int\"", "2:9", "no field"),
        ("[table]\nidentifier = [\"a\"]\n[fields]\na = \"int\"", "2:15", "required = true"),
        ("[table]\nversion = 0\n[fields]\na = \"int\"", "2:11", "from 1"),
        ("[fields]\na = \"int\"\n[fields.b", "3:10", ""),
        ("[table]\npartition = [\"day(t)\"]\n[fields]\nt = \"date\"\nt_day = \"int\"", "2:14", "rename"),
    ];
    for (text, place, part) in cases {
        let error = Contract::parse(text, "s/n/t.toml").unwrap_err().to_string();
        assert!(error.contains(&format!("s/n/t.toml:{place}: ")) && error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let text = "[table]\nstrict = 1\nfoo = 2\n[fields]\na = \"strin\"\nb = { type = \"int\", pattern = \"x\" }";
    let lines: Vec<_> = problems(text, "n/t.toml").unwrap_err().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 5, 6]);
    let error = Contract::parse("[fields]\na = \"int\"", "t.toml").unwrap_err().to_string();
    assert!(error.contains("name = \"namespace.table\""), "{error}");
    assert!(Contract::parse("", "n/t.toml").unwrap_err().to_string().contains("[fields]"));
}

#[test]
fn shipped_contracts_make_tables() {
    let contracts = shipped();
    let ids: Vec<_> = contracts.iter().map(Contract::id).collect();
    assert_eq!(
        ids,
        [
            "glucose.cgm_readings",
            "market.broker_tx",
            "market.funding_rates",
            "market.ohlcv",
            "market.prices",
            "world.gdp"
        ]
    );
    for contract in &contracts {
        contract.partition_spec().clone().bind(contract.iceberg_schema().clone()).unwrap();
        assert!(!contract.sort_order().is_unsorted(), "{}", contract.id());
        assert!(contract.fields().iter().all(|field| field.doc.is_some()), "{}", contract.id());
    }
}

#[test]
fn the_editors_schema_knows_the_same_keys() {
    let schema: serde_json::Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let keys = |pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let known = |keys: &[&str]| -> BTreeSet<String> { keys.iter().map(|&key| key.to_owned()).collect() };
    assert_eq!(keys("/properties"), known(known::TOP));
    assert_eq!(keys("/properties/table/properties"), known(known::TABLE));
    assert_eq!(keys("/definitions/field/properties"), known(known::FIELD));
    assert_eq!(keys("/definitions/range/properties"), known(known::RANGE));
    assert_eq!(keys("/definitions/length/properties"), known(known::LENGTH));
    for name in schema.pointer("/definitions/type/anyOf/0/enum").unwrap().as_array().unwrap() {
        FieldType::parse(name.as_str().unwrap()).unwrap();
    }
}
