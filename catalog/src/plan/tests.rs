//! Pruning and residuals against rows that are evaluated one by one: tables, statistics and filters at random.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FieldSummary, Literal, ManifestContentType,
    ManifestFile, NestedField, PrimitiveType, Schema, Struct, Transform, Type,
};
use iceberg::transform::create_transform_function;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

use super::filter::Filter;
use super::literal::write;
use super::prune::may_match;
use super::snapshot::bounds;
use super::spec::{Spec, SpecField};
use super::value::Value;

const COLUMNS: [(i32, &str, PrimitiveType); 6] = [
    (1, "n", PrimitiveType::Long),
    (2, "x", PrimitiveType::Double),
    (3, "s", PrimitiveType::String),
    (4, "t", PrimitiveType::Timestamptz),
    (5, "i", PrimitiveType::Int),
    (6, "d", PrimitiveType::Decimal { precision: 9, scale: 2 }),
];
const TEXTS: [&str; 9] = ["", "a", "ab", "abc", "abd", "b", "é", "éa", "z"];
const HOUR: i64 = 3_600_000_000;

type Row = Vec<Option<Datum>>;

fn schema() -> Schema {
    let field = |(id, name, kind): &(i32, &str, PrimitiveType)| {
        NestedField::optional(*id, *name, Type::Primitive(kind.clone())).into()
    };
    Schema::builder().with_fields(COLUMNS.iter().map(field)).build().expect("valid")
}

fn value(column: usize) -> BoxedStrategy<Datum> {
    let decimal = |unscaled: i128| Datum::try_from_bytes(&unscaled.to_be_bytes(), COLUMNS[5].2.clone()).expect("fits");
    match column {
        0 => (-3_i64..4).prop_map(Datum::long).boxed(),
        1 => select(vec![-1.5, 0.0, -0.0, 2.5, f64::NAN, f64::INFINITY]).prop_map(Datum::double).boxed(),
        2 => select(TEXTS.to_vec()).prop_map(Datum::string).boxed(),
        3 => (-40_i64..40, -1_i64..2).prop_map(|(h, us)| Datum::timestamptz_micros(h * HOUR + us)).boxed(),
        4 => (-3_i32..4).prop_map(Datum::int).boxed(),
        _ => (-150_i128..150).prop_map(decimal).boxed(),
    }
}

fn row() -> impl Strategy<Value = Row> {
    let cell = |column| weighted(0.8, value(column));
    (cell(0), cell(1), cell(2), cell(3), cell(4), cell(5)).prop_map(|(a, b, c, d, e, f)| vec![a, b, c, d, e, f])
}

fn transform() -> impl Strategy<Value = (usize, Transform)> {
    select(vec![
        (0, Transform::Identity),
        (0, Transform::Bucket(3)),
        (0, Transform::Truncate(3)),
        (0, Transform::Void),
        (1, Transform::Identity),
        (2, Transform::Identity),
        (2, Transform::Truncate(2)),
        (2, Transform::Bucket(4)),
        (3, Transform::Year),
        (3, Transform::Month),
        (3, Transform::Day),
        (3, Transform::Hour),
        (3, Transform::Identity),
        (4, Transform::Truncate(2)),
        (5, Transform::Truncate(50)),
        (5, Transform::Identity),
    ])
}

fn apply(transform: Transform, value: Option<&Datum>) -> Option<Datum> {
    if transform == Transform::Void {
        return None;
    }
    let found = create_transform_function(&transform).expect("known").transform_literal(value?).expect("fits")?;
    // The crate calls a truncated decimal one of another scale.
    match found.data_type() {
        PrimitiveType::Decimal { .. } => {
            Datum::try_from_bytes(&found.to_bytes().expect("bytes"), COLUMNS[5].2.clone()).ok()
        }
        _ => Some(found),
    }
}

/// A filter, or a part of one.
#[derive(Clone, Debug)]
enum Tree {
    Always(bool),
    Not(Box<Tree>),
    Both(bool, Box<Tree>, Box<Tree>),
    Test { column: usize, transform: Transform, name: &'static str, values: Vec<Datum> },
}

fn test() -> impl Strategy<Value = Tree> {
    let terms = prop_oneof![
        4 => (0..6_usize).prop_map(|column| (column, Transform::Identity)),
        1 => transform().prop_filter("has values", |(_, transform)| *transform != Transform::Void),
    ];
    terms.prop_flat_map(|(column, transform)| {
        let mut names = vec!["eq", "not-eq", "lt", "lt-eq", "gt", "gt-eq", "in", "not-in"];
        let plain = transform == Transform::Identity;
        if plain {
            names.extend(["is-null", "not-null"]);
        }
        if column == 1 {
            names.extend(["is-nan", "not-nan"]);
        }
        if column == 2 && (plain || matches!(transform, Transform::Truncate(_))) {
            names.extend(["starts-with", "not-starts-with"]);
        }
        let literal = value(column).prop_filter_map("JSON has no such number", move |value| {
            let finite = !matches!(Value::of(value.literal()), Some(Value::Real(real)) if !real.is_finite());
            apply(transform, Some(&value)).filter(|_| finite)
        });
        (select(names), vec(literal, 1..4)).prop_map(move |(name, values)| {
            let count = if name.ends_with("in") { values.len() } else { 1 };
            Tree::Test { column, transform, name, values: values.into_iter().take(count).collect() }
        })
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![12 => test(), 1 => any::<bool>().prop_map(Tree::Always)];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| Tree::Not(Box::new(one))),
            (any::<bool>(), inner.clone(), inner).prop_map(|(and, left, right)| Tree::Both(
                and,
                Box::new(left),
                Box::new(right)
            )),
        ]
    })
}

fn plain(value: &Datum) -> Json {
    write(value.literal(), value.data_type()).expect("has a form")
}

/// The JSON of today's clients, or what the document prefers.
fn to_json(tree: &Tree, modern: bool) -> Json {
    match tree {
        Tree::Always(always) => json!(always),
        Tree::Not(one) => json!({ "type": "not", "child": to_json(one, modern) }),
        Tree::Both(and, left, right) => json!({
            "type": if *and { "and" } else { "or" }, "left": to_json(left, modern), "right": to_json(right, modern),
        }),
        Tree::Test { column, transform, name, values } => {
            let mut object = json!({ "type": name });
            let keys = match (modern, *name) {
                (false, _) => ("term", "value"),
                (true, "in" | "not-in" | "is-null" | "not-null" | "is-nan" | "not-nan") => ("child", "values"),
                _ => ("left", "right"),
            };
            object[keys.0] = term(*column, *transform, modern);
            match *name {
                "in" | "not-in" => object["values"] = values.iter().map(plain).collect(),
                "is-null" | "not-null" | "is-nan" | "not-nan" => {}
                _ => object[keys.1] = plain(&values[0]),
            }
            object
        }
    }
}

fn term(column: usize, transform: Transform, modern: bool) -> Json {
    let (id, name, _) = &COLUMNS[column];
    let (text, width) = match transform {
        Transform::Bucket(width) => ("bucket", Some(width)),
        Transform::Truncate(width) => ("truncate", Some(width)),
        _ => ("", None),
    };
    let function = if width.is_some() { text.to_string() } else { transform.to_string() };
    match (modern, transform) {
        (false, Transform::Identity) => json!(name),
        (false, _) => json!({ "type": "transform", "transform": transform.to_string(), "term": name }),
        (true, Transform::Identity) => json!({ "type": "reference", "id": id }),
        (true, _) => {
            let column = json!({ "type": "reference", "name": name });
            let arguments: Vec<Json> = width.map(|width| json!(width)).into_iter().chain([column]).collect();
            json!({ "type": "apply", "function": function, "arguments": arguments })
        }
    }
}

/// The tree of what was written in today's form.
fn of_json(json: &Json) -> Tree {
    if let Json::Bool(always) = json {
        return Tree::Always(*always);
    }
    let name = json["type"].as_str().expect("a type");
    match name {
        "not" => Tree::Not(Box::new(of_json(&json["child"]))),
        "and" | "or" => Tree::Both(name == "and", Box::new(of_json(&json["left"])), Box::new(of_json(&json["right"]))),
        _ => {
            let (column, transform) = match &json["term"] {
                Json::String(column) => (column.as_str(), Transform::Identity),
                term => (
                    term["term"].as_str().expect("a column"),
                    term["transform"].as_str().expect("one").parse().expect("one"),
                ),
            };
            let column = COLUMNS.iter().position(|(_, name, _)| *name == column).expect("a column");
            let Type::Primitive(kind) =
                transform.result_type(&Type::Primitive(COLUMNS[column].2.clone())).expect("fits")
            else {
                panic!("nested")
            };
            let values: Vec<Json> =
                json["values"].as_array().cloned().unwrap_or_else(|| json.get("value").cloned().into_iter().collect());
            let read = |value: &Json| match super::literal::read(value, &kind) {
                super::literal::Read::Literal(datum) => datum,
                other => panic!("{value}: {other:?}"),
            };
            let names = [
                "eq",
                "not-eq",
                "lt",
                "lt-eq",
                "gt",
                "gt-eq",
                "in",
                "not-in",
                "starts-with",
                "not-starts-with",
                "is-null",
                "not-null",
                "is-nan",
                "not-nan",
            ];
            let name = names.into_iter().find(|one| *one == name).expect("known");
            Tree::Test { column, transform, name, values: values.iter().map(read).collect() }
        }
    }
}

/// SQL's three values; NaN is above every number and equal to itself.
fn holds(tree: &Tree, row: &Row) -> Option<bool> {
    match tree {
        Tree::Always(always) => Some(*always),
        Tree::Not(one) => holds(one, row).map(|held| !held),
        Tree::Both(and, left, right) => {
            let (left, right) = (holds(left, row), holds(right, row));
            if left == Some(!and) || right == Some(!and) {
                return Some(!and);
            }
            Some(left? && right? || !and && (left? || right?))
        }
        Tree::Test { column, transform, name, values } => {
            let value = apply(*transform, row[*column].as_ref());
            match *name {
                "is-null" => return Some(value.is_none()),
                "not-null" => return Some(value.is_some()),
                _ => {}
            }
            let value = value?;
            let order = |literal: &Datum| ordered(&value).cmp(&ordered(literal));
            let begins = || text(&value).starts_with(&text(&values[0]));
            Some(match *name {
                "is-nan" => value.is_nan(),
                "not-nan" => !value.is_nan(),
                "starts-with" => begins(),
                "not-starts-with" => !begins(),
                "in" => values.iter().any(|literal| order(literal).is_eq()),
                "not-in" => !values.iter().any(|literal| order(literal).is_eq()),
                "eq" => order(&values[0]).is_eq(),
                "not-eq" => order(&values[0]).is_ne(),
                "lt" => order(&values[0]).is_lt(),
                "lt-eq" => order(&values[0]).is_le(),
                "gt" => order(&values[0]).is_gt(),
                _ => order(&values[0]).is_ge(),
            })
        }
    }
}

/// As the reference has it: null satisfies what is said in the negative.
fn holds_in_reference(tree: &Tree, row: &Row, negated: bool) -> bool {
    match tree {
        Tree::Always(always) => *always != negated,
        Tree::Not(one) => holds_in_reference(one, row, !negated),
        Tree::Both(and, left, right) if *and != negated => {
            holds_in_reference(left, row, negated) && holds_in_reference(right, row, negated)
        }
        Tree::Both(_, left, right) => holds_in_reference(left, row, negated) || holds_in_reference(right, row, negated),
        Tree::Test { name, .. } => {
            let opposite = |name: &str| ["not-eq", "not-in", "not-starts-with"].contains(&name);
            let negative = match *name {
                "eq" | "in" | "starts-with" => negated,
                name => opposite(name) && !negated,
            };
            holds(tree, row).map_or(negative, |held| held != negated)
        }
    }
}

fn text(value: &Datum) -> String {
    match Value::of(value.literal()) {
        Some(Value::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A value as what sorts like it.
fn ordered(value: &Datum) -> (i128, String) {
    match Value::of(value.literal()).expect("has an order") {
        Value::Number(number) => (number, String::new()),
        Value::Real(real) if real.is_nan() => (i128::MAX, String::new()),
        Value::Real(real) => ((real * 4.0) as i128, String::new()),
        Value::Text(text) => (0, text),
        Value::Bytes(bytes) => panic!("{bytes:?}"),
    }
}

/// Which statistics a writer kept: counts, nulls, NaNs, bounds, texts whole; by column.
type Kept = Vec<(bool, bool, bool, bool, bool)>;

fn file(rows: &[Row], partition: Struct, kept: &Kept) -> DataFile {
    let (mut counts, mut nulls, mut nans) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut lowers, mut uppers) = (HashMap::new(), HashMap::new());
    for (column, (id, _, kind)) in COLUMNS.iter().enumerate() {
        let (keep_counts, keep_nulls, keep_nans, keep_bounds, whole) = kept[column];
        let values: Vec<&Datum> = rows.iter().filter_map(|row| row[column].as_ref()).collect();
        let real = *kind == PrimitiveType::Double;
        if keep_counts {
            counts.insert(*id, rows.len() as u64);
        }
        if keep_nulls {
            nulls.insert(*id, (rows.len() - values.len()) as u64);
        }
        if keep_nans && real {
            nans.insert(*id, values.iter().filter(|value| value.is_nan()).count() as u64);
        }
        let mut numbers: Vec<&Datum> = values.into_iter().filter(|value| !value.is_nan()).collect();
        numbers.sort_by_key(|value| ordered(value));
        let (Some(lower), Some(upper), true) = (numbers.first(), numbers.last(), keep_bounds) else { continue };
        lowers.insert(*id, if whole { (*lower).clone() } else { cut(lower, false) });
        uppers.insert(*id, if whole { (*upper).clone() } else { cut(upper, true) });
    }
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path("file:///t/data/x.parquet".into())
        .file_format(DataFileFormat::Parquet)
        .file_size_in_bytes(1)
        .record_count(rows.len() as u64)
        .partition(partition)
        .partition_spec_id(0)
        .value_counts(counts)
        .null_value_counts(nulls)
        .nan_value_counts(nans)
        .lower_bounds(lowers)
        .upper_bounds(uppers)
        .build()
        .expect("a file")
}

/// A text bound cut to one character, as writers do with long ones.
fn cut(bound: &Datum, up: bool) -> Datum {
    if !matches!(bound.data_type(), PrimitiveType::String) {
        return bound.clone();
    }
    let whole = text(bound);
    match whole.chars().next() {
        Some(first) if whole.chars().count() > 1 => {
            let first = if up { char::from_u32(first as u32 + 1).expect("a character") } else { first };
            Datum::string(first)
        }
        _ => bound.clone(),
    }
}

fn summary(values: &[Option<Datum>]) -> FieldSummary {
    let mut numbers: Vec<&Datum> = values.iter().flatten().filter(|value| !value.is_nan()).collect();
    numbers.sort_by_key(|value| ordered(value));
    FieldSummary {
        contains_null: values.iter().any(Option::is_none),
        contains_nan: Some(values.iter().flatten().any(Datum::is_nan)),
        lower_bound: numbers.first().map(|value| value.to_bytes().expect("bytes")),
        upper_bound: numbers.last().map(|value| value.to_bytes().expect("bytes")),
    }
}

fn manifest(partitions: Vec<FieldSummary>) -> ManifestFile {
    ManifestFile {
        manifest_path: "file:///t/metadata/m.avro".into(),
        manifest_length: 1,
        partition_spec_id: 0,
        content: ManifestContentType::Data,
        sequence_number: 1,
        min_sequence_number: 1,
        added_snapshot_id: 1,
        added_files_count: None,
        existing_files_count: None,
        deleted_files_count: None,
        added_rows_count: None,
        existing_rows_count: None,
        deleted_rows_count: None,
        partitions: Some(partitions),
        key_metadata: None,
        first_row_id: None,
    }
}

fn spec(fields: &[(usize, Transform)]) -> Spec {
    let field = |(column, transform): &(usize, Transform)| {
        let source = Type::Primitive(COLUMNS[*column].2.clone());
        let Type::Primitive(kind) = transform.result_type(&source).expect("fits") else { panic!("nested") };
        SpecField { source: COLUMNS[*column].0, transform: *transform, result: Some(kind) }
    };
    Spec { fields: fields.iter().map(field).collect() }
}

/// Rows by the partition they fall into.
fn grouped(rows: Vec<Row>, fields: &[(usize, Transform)]) -> Vec<(Vec<Option<Datum>>, Vec<Row>)> {
    let mut groups: BTreeMap<String, (Vec<Option<Datum>>, Vec<Row>)> = BTreeMap::new();
    for row in rows {
        let values: Vec<Option<Datum>> =
            fields.iter().map(|(column, transform)| apply(*transform, row[*column].as_ref())).collect();
        groups.entry(format!("{values:?}")).or_insert_with(|| (values, Vec::new())).1.push(row);
    }
    groups.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_matches_is_left_out_and_residuals_decide_the_same(
        rows in vec(row(), 1..12),
        fields in vec(transform(), 0..3),
        kept in vec(any::<(bool, bool, bool, bool, bool)>(), 6),
        tree in tree(),
        modern in any::<bool>(),
    ) {
        let (schema, spec) = (schema(), spec(&fields));
        let filter = Filter::read(&to_json(&tree, modern), &schema, true).expect("a filter");
        let predicate = filter.predicate();
        let groups = grouped(rows, &fields);
        let column = |number: usize| groups.iter().map(|(values, _)| values[number].clone()).collect::<Vec<_>>();
        let listed = manifest((0..fields.len()).map(|number| summary(&column(number))).collect());
        for (values, rows) in &groups {
            let literals = values.iter().map(|value| value.as_ref().map(|value| Literal::Primitive(value.literal().clone())));
            let file = file(rows, Struct::from_iter(literals), &kept);
            let by_partition = spec.file_may_match(&file, &predicate);
            let stays = by_partition && may_match(&predicate, &|column| bounds(&file, &schema, column));
            let residual = of_json(&filter.residual(&|column| spec.views(file.partition(), column)).to_json());
            for row in rows {
                let wanted = holds(&tree, row) == Some(true);
                if wanted || holds_in_reference(&tree, row, false) {
                    prop_assert!(stays, "a file is left out that holds {row:?}");
                    prop_assert!(spec.manifest_may_match(&listed, &predicate), "a manifest is left out: {row:?}");
                }
                prop_assert_eq!(holds(&residual, row) == Some(true), wanted, "residual {:?} of {:?}", &residual, row);
            }
        }
    }
}
