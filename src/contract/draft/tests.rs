//! Every draft parses; what real files hold comes out as the right types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::contract::{Contract, Unknown};

fn from_csv(text: &str) -> (String, Contract) {
    let draft = draft("s.t", "x.csv", Sample::Csv(text.as_bytes()), true).unwrap();
    let contract = Contract::parse(&draft, "x").unwrap_or_else(|error| panic!("{error}\n{draft}"));
    (draft, contract)
}

fn from_json(text: &str) -> (String, Contract) {
    let draft = draft("s.t", "x.json", Sample::Json(text.as_bytes()), true).unwrap();
    let contract = Contract::parse(&draft, "x").unwrap_or_else(|error| panic!("{error}\n{draft}"));
    (draft, contract)
}

/// The type a CSV column of these cells comes to, and the draft.
fn kind(cells: &[&str]) -> (String, String) {
    let (draft, contract) =
        from_csv(&format!("x,y\n{}\n", cells.iter().map(|cell| format!("{cell},1")).collect::<Vec<_>>().join("\n")));
    (contract.fields()[0].kind.to_string(), draft)
}

#[test]
fn cells_come_to_types() {
    for (cells, wanted, comment) in [
        (&["1", "-2", "NA"][..], "int", "null_values = [\"\", \"NA\"]"),
        (&["1952", "", "2007"], "int", ""),
        (&["1", "30000000000"], "long", ""),
        (&["1", "99999999999999999999"], "decimal(38,0)", "beyond 64 bits"),
        (&["1", "2.5", "1e-3", "N/A"], "double", "\"N/A\""),
        (&["1.25", "2.50"], "double", "decimal(18,2)"),
        (&["007", "123"], "string", "leading zeros"),
        (&["true", "false"], "boolean", ""),
        (&["Yes", "no"], "boolean", "strict = false"),
        (&["0", "1", "0"], "int", "boolean, with strict = false"),
        (&["2024-02-29", "2023-01-01"], "date", "# sort"),
        (&["2023-02-29", "2023-01-01"], "string", "Mixed"),
        (&["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+08:00"], "timestamptz", "month(x)"),
        (&["2024-01-01 10:00:00"], "timestamptz", "time_zone = \"UTC\""),
        (&["2024-01-01", "2024-01-01T10:00"], "timestamptz", "strict = false"),
        (&["10:00:00", "23:59:59.5"], "time", ""),
        (&["1", "2", "abc"], "string", "2 whole numbers, as `1`; 1 texts, as `abc`"),
        (&["1,000"], "string", "more or fewer cells"),
        (&["\"1,000\"", "\"a\"\"b\""], "string", ""),
        (&[" 5", "6 "], "int", "strict = false"),
        (&["1e999"], "string", ""),
        (&["31/12/2020"], "string", ""),
        (&["0000-01-01", "2024-01-01T00:00:60Z"], "string", ""),
        (&["NA", "", "-"], "string", "No value seen"),
    ] {
        let (found, draft) = kind(cells);
        assert_eq!(found, wanted, "{cells:?}\n{draft}");
        assert!(draft.contains(comment), "{cells:?} {comment}\n{draft}");
    }
}

#[test]
fn a_file_as_people_make_them() {
    let mut text = String::from("\u{feff},Country Name,iso,n,at\r\n");
    for row in 0..40 {
        let iso = ["TW", "NA", "JP", "KR"][row % 4];
        let n = if row == 7 { "NA".to_owned() } else { row.to_string() };
        text.push_str(&format!("{row},\"Land, {row}\",{iso},{n},2024-01-01 00:{row:02}:00\r\n\r\n"));
    }
    let (draft, contract) = from_csv(&text);
    let names: Vec<_> = contract.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["Country Name", "iso", "n", "at"], "{draft}");
    assert_eq!(contract.unknown, Unknown::Ignore, "the column without a name is left out");
    assert_eq!(&*contract.field("iso").unwrap().null_values, [String::new()], "NA is Namibia among codes\n{draft}");
    assert_eq!(&*contract.field("n").unwrap().null_values, [String::new(), "NA".to_owned()]);
    let required: Vec<_> = contract.fields().iter().map(|field| field.required).collect();
    assert_eq!(required, [true, true, false, true], "{draft}");
    assert!(draft.contains("Few values: enum = [\"JP\", \"KR\", \"NA\", \"TW\"]"), "{draft}");
    assert!(draft.contains("# partition = [\"iso\", \"month(at)\"]"), "{draft}");
    assert!(contract.strict && contract.field("at").unwrap().time_zone.is_some());
}

#[test]
fn the_head_of_a_file_makes_nothing_required() {
    let text = draft("s.t", "x.csv", Sample::Csv(b"a,b\n1,x\n2,y\n3,\"cut"), false).unwrap();
    let contract = Contract::parse(&text, "x").unwrap();
    assert!(contract.fields().iter().all(|field| !field.required), "{text}");
    assert!(text.contains("The first 2 records"), "{text}");
}

#[test]
fn json_values_come_to_types() {
    let lines = [
        r#"{"id":"0012","n":1,"q":"5","m":1,"t":"2024-01-01T00:00:00","o":{"a":1},"b":true,"late":null,"num":"12"}"#,
        r#"{"id":"0013","n":2.5,"q":6,"m":"x","t":"2024-01-01T00:00:00","o":{},"b":false,"num":"13","big":123456789012345678901}"#,
        "not json",
    ];
    let (draft, contract) = from_json(&lines.join("\n"));
    let kinds: Vec<_> =
        contract.fields().iter().map(|field| format!("{} {} {}", field.name, field.kind, field.required)).collect();
    assert_eq!(
        kinds,
        [
            "id string true",
            "n double true",
            "q int true",
            "m string true",
            "t timestamptz true",
            "b boolean true",
            "late string false",
            "num string true",
            "big decimal(38,0) false",
        ],
        "{draft}"
    );
    assert!(!contract.strict && contract.unknown == Unknown::Ignore, "{draft}");
    assert!(draft.contains("`o` holds objects") && draft.contains("1 lines are no JSON"), "{draft}");
    let (draft, contract) = from_json("[{\"a\":1,\"s\":\"\"},\n {\"a\":2,\"s\":\"x\"}]");
    assert!(contract.strict && contract.fields().iter().all(|field| field.required), "{draft}");
}

#[test]
fn columns_of_parquet_come_to_types() {
    let field = |name: &str, kind: DataType, nullable: bool| ArrowField::new(name, kind, nullable);
    let schema = Schema::new(vec![
        field("i", DataType::Int16, false),
        field("t", DataType::Timestamp(TimeUnit::Nanosecond, Some("Asia/Taipei".into())), true),
        field("l", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        field("d", DataType::Decimal128(12, 2), true),
        field("c", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8)), true),
        field("s", DataType::Struct(vec![Arc::new(field("x", DataType::Int8, true))].into()), true),
    ]);
    let text = draft("s.t", "x.parquet", Sample::Columns(&schema), true).unwrap();
    let contract = Contract::parse(&text, "x").unwrap();
    let kinds: Vec<_> = contract.fields().iter().map(|field| field.kind.to_string()).collect();
    assert_eq!(kinds, ["int", "timestamptz", "timestamp", "decimal(12,2)", "string"], "{text}");
    assert!(contract.fields()[0].required && contract.unknown == Unknown::Ignore);
}

/// As `model_json_schema()` of a Pydantic v2 model prints it.
const PYDANTIC: &str = r##"{
 "$defs": {"Side": {"enum": ["buy", "sell"], "title": "Side", "type": "string"},
           "Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}, "type": "object"}},
 "additionalProperties": false,
 "description": "One trade.",
 "properties": {
  "id": {"format": "uuid", "title": "Id", "type": "string"},
  "symbol": {"maxLength": 8, "minLength": 1, "pattern": "^[A-Z]+$", "title": "Symbol", "type": "string"},
  "code": {"anyOf": [{"pattern": "a|b", "type": "string"}, {"type": "null"}], "default": null, "title": "Code"},
  "look": {"pattern": "(?=x)y", "type": "string"},
  "at": {"description": "When it \"happened\".", "format": "date-time", "type": "string"},
  "side": {"$ref": "#/$defs/Side", "description": "Whose."},
  "also": {"allOf": [{"$ref": "#/$defs/Side"}], "default": "buy"},
  "shares": {"exclusiveMinimum": 0, "maximum": 1e6, "type": "integer"},
  "share": {"anyOf": [{"maximum": 1.0, "minimum": 0.0, "type": "number"}, {"type": "null"}]},
  "price": {"anyOf": [{"type": "number"}, {"pattern": "^x$", "type": "string"}]},
  "v": {"const": 2, "type": "integer"},
  "node": {"$ref": "#/$defs/Node"},
  "tags": {"items": {"type": "string"}, "type": "array"}
 },
 "required": ["id", "symbol", "code", "at", "side", "shares", "share", "price"],
 "title": "Trade", "type": "object"}"##;

#[test]
fn a_pydantic_model_comes_to_fields() {
    let (draft, contract) = from_json(PYDANTIC);
    let kinds: Vec<_> =
        contract.fields().iter().map(|field| format!("{} {} {}", field.name, field.kind, field.required)).collect();
    let wanted = [
        "id uuid true",
        "symbol string true",
        "code string false",
        "look string false",
        "at timestamptz true",
        "side string true",
        "also string false",
        "shares long true",
        "share double false",
        "price decimal(18,6) true",
        "v long false",
    ];
    assert_eq!(kinds, wanted, "in the order of the model\n{draft}");
    let nested = format!("{{\"$ref\":\"#/$defs/T\",\"$defs\":{{\"T\":{PYDANTIC}}}}}")
        .replace("#/$defs/Side", "#/$defs/T/$defs/Side");
    let (nested_draft, nested) = from_json(&nested);
    let names: Vec<_> = nested.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names[..4], ["id", "symbol", "code", "look"], "{nested_draft}");
    assert_eq!(contract.doc.as_deref(), Some("One trade."));
    let field = |name: &str| contract.field(name).unwrap();
    assert_eq!(field("side").listed_texts().unwrap(), ["buy", "sell"]);
    assert_eq!(field("side").doc.as_deref(), Some("Whose."));
    assert_eq!(field("shares").range.as_ref().unwrap().text, "above 0 and at most 1000000");
    assert_eq!(field("at").doc.as_deref(), Some("When it \"happened\"."));
    let code = field("code").pattern.as_ref().unwrap();
    assert!(code.regex.is_match("xxbxx") && !code.regex.is_match("xx"), "a schema's pattern matches anywhere");
    assert!(field("symbol").pattern.as_ref().unwrap().regex.is_match("ABC"));
    assert!(draft.contains("not known here: (?=x)y") && draft.contains("`tags`"), "{draft}");
}

proptest! {
    /// Whatever a CSV file holds, its draft is a contract.
    #[test]
    fn any_csv_drafts(text in "[a-c\",\n\r 0-9.:TZ\\-é\u{1}]{1,200}") {
        if let Err(error) = draft("s.t", "x.csv", Sample::Csv(text.as_bytes()), true) {
            prop_assert!(error.message().starts_with("no fields found"), "{}", error);
        }
    }

    /// Whatever JSON objects hold, their draft is a contract.
    #[test]
    fn any_json_drafts(
        rows in prop::collection::vec(prop::collection::vec(("[a-dA-D\"\\\\é ]{0,3}", prop_oneof![
            Just("null".to_owned()), Just("true".to_owned()), Just("[]".to_owned()), "-?[1-9][0-9]{0,25}", "[1-9]\\.[0-9]{1,3}",
            "\"[ -!#-\\[\\]-~]{0,5}\"", Just("\"2024-01-01T00:00:00\"".to_owned()), Just("\"NA\"".to_owned()),
        ]), 0..4), 0..6)
    ) {
        let line = |row: &Vec<(String, String)>| {
            let pairs: Vec<_> = row.iter().map(|(key, value)| format!("{}:{value}", serde_json::to_string(key).unwrap())).collect();
            format!("{{{}}}", pairs.join(","))
        };
        let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        if let Err(error) = draft("s.t", "x.json", Sample::Json(text.as_bytes()), true) {
            prop_assert!(error.message().starts_with("no fields found"), "{}\n{}", error, text);
        }
    }
}
