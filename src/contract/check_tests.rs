//! Every rule on every kind of column, and the kernels against a naive model.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Field as ArrowField, Int8Type, Schema};
use proptest::prelude::*;

use super::super::Contract;

fn contract(fields: &str) -> Contract {
    Contract::parse(&format!("[fields]\n{fields}"), "n/t.toml").unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> =
        columns.iter().map(|(name, array)| ArrowField::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// The rows and codes that one field's rule breaks for a column.
fn codes(rule: &str, array: ArrayRef) -> Vec<(u32, &'static str)> {
    let verdict = contract(&format!("x = {rule}")).check(&batch(vec![("x", array)]));
    verdict.broken.into_iter().map(|(row, broken)| (row, broken.code)).collect()
}

#[test]
fn numbers_are_in_range_and_finite() {
    let values = Arc::new(Float64Array::from(vec![Some(20.0), None, Some(19.9), Some(f64::NAN), Some(f64::INFINITY)]));
    let wanted = [(2, "range"), (3, "nan"), (4, "nan")];
    assert_eq!(codes("{ type = \"double\", range = [20, 600] }", values.clone()), wanted);
    assert_eq!(codes("\"double\"", values.clone()), [(3, "nan"), (4, "nan")]);
    assert_eq!(codes("{ type = \"double\", nan = true }", values.clone()), []);
    assert_eq!(codes("{ type = \"double\", required = true, nan = true }", values), [(1, "null")]);
    let whole = Arc::new(Int32Array::from(vec![0, 1, 10]));
    assert_eq!(
        codes("{ type = \"int\", range = { above = 0, below = 10 } }", whole.clone()),
        [(0, "range"), (2, "range")]
    );
    assert_eq!(codes("{ type = \"int\", enum = [1, 10] }", whole), [(0, "enum")]);
    let floats = Arc::new(Float32Array::from(vec![0.0, 0.5]));
    assert_eq!(codes("{ type = \"float\", range = { above = 0 } }", floats), [(0, "range")]);
}

#[test]
fn decimals_have_the_digits_of_their_type() {
    let values = Decimal128Array::from(vec![99_999, 100_000, -100_000, -1]).with_precision_and_scale(38, 2).unwrap();
    let values = Arc::new(values.clone());
    assert_eq!(codes("\"decimal(5,2)\"", values.clone()), [(1, "decimal"), (2, "decimal")]);
    let positive = "{ type = \"decimal(5,2)\", range = { min = 0 } }";
    assert_eq!(codes(positive, values.clone()), [(1, "decimal"), (2, "decimal"), (3, "range")]);
    assert_eq!(codes("\"decimal(5,3)\"", values).len(), 4);
}

#[test]
fn dates_and_times_are_in_the_years_that_engines_share() {
    let days = Arc::new(Date32Array::from(vec![2_932_896, 2_932_897, -719_162, -719_163]));
    assert_eq!(codes("\"date\"", days), [(1, "date"), (3, "date")]);
    let micros = TimestampMicrosecondArray::from(vec![253_402_300_799_999_999, 253_402_300_800_000_000]);
    assert_eq!(codes("\"timestamp\"", Arc::new(micros.clone())), [(1, "timestamp")]);
    assert_eq!(codes("\"timestamptz\"", Arc::new(micros.clone().with_timezone("UTC"))), [(1, "timestamp")]);
    assert_eq!(codes("\"timestamptz\"", Arc::new(micros)).len(), 2, "a naive column is of another type");
    let times = Time64MicrosecondArray::from(vec![0, 86_400_000_000]);
    assert_eq!(codes("\"time\"", Arc::new(times)), [(1, "time")]);
}

#[test]
fn texts_are_listed_match_and_fit() {
    let texts = StringArray::from(vec![Some("TW"), Some("US"), None, Some("東京"), Some("")]);
    let plain: ArrayRef = Arc::new(texts.clone());
    let dictionary: ArrayRef = Arc::new(texts.iter().collect::<DictionaryArray<Int8Type>>());
    for array in [plain, dictionary] {
        let rule = "{ type = \"string\", enum = [\"TW\", \"東京\"] }";
        assert_eq!(codes(rule, array.clone()), [(1, "enum"), (4, "enum")]);
        assert_eq!(codes("{ type = \"string\", length = 2 }", array.clone()), [(4, "length")]);
        assert_eq!(codes("{ type = \"string\", length = { max = 1 } }", array.clone()).len(), 3);
        let rule = "{ type = \"string\", pattern = \"[A-Z]+|\" }";
        assert_eq!(codes(rule, array.clone()), [(3, "pattern")]);
        assert_eq!(codes("{ type = \"string\", required = true }", array), [(2, "null")]);
    }
    let bytes = BinaryArray::from_vec(vec![b"abc", b""]);
    assert_eq!(codes("{ type = \"binary\", length = [1, 2] }", Arc::new(bytes)), [(0, "length"), (1, "length")]);
}

#[test]
fn a_null_among_dictionary_values_is_null() {
    let keys = Int8Array::from(vec![0, 1]);
    let values = StringArray::from(vec![Some("a"), None]);
    let array = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
    assert_eq!(codes("{ type = \"string\", required = true, enum = [\"a\"] }", Arc::new(array)), [(1, "null")]);
}

#[test]
fn columns_are_found_by_name_and_must_be_there() {
    let contract =
        contract("a = { type = \"int\", required = true }\nb = \"string\"\nc = { type = \"int\", range = [0, 1] }");
    let one: ArrayRef = Arc::new(Int32Array::from(vec![5]));
    let verdict = contract.check(&batch(vec![("c", one.clone()), ("a", one.clone())]));
    assert_eq!(verdict.broken.len(), 1);
    assert_eq!(verdict.broken[0].1.field.as_deref(), Some("c"));
    assert_eq!(verdict.broken[0].1.detail, "found `5`, wanted 0 to 1");
    let verdict = contract.check(&batch(vec![("b", one)]));
    assert_eq!(verdict.broken.iter().map(|(_, broken)| broken.code).collect::<Vec<_>>(), ["missing", "type"]);
}

#[test]
fn rows_are_in_order_and_each_breaks_all_its_rules() {
    let contract =
        contract("a = { type = \"int\", range = [0, 1] }\nb = { type = \"string\", length = 1, pattern = \"x\" }");
    let a: ArrayRef = Arc::new(Int32Array::from(vec![9, 0, 9]));
    let b: ArrayRef = Arc::new(StringArray::from(vec!["x", "yy", "yy"]));
    let verdict = contract.check(&batch(vec![("a", a), ("b", b)]));
    let found: Vec<_> = verdict.broken.iter().map(|(row, broken)| (*row, broken.code)).collect();
    assert_eq!(found, [(0, "range"), (1, "length"), (1, "pattern"), (2, "range"), (2, "length"), (2, "pattern")]);
    assert_eq!(verdict.rows(), [0, 1, 2]);
    assert!(!verdict.is_clean());
}

proptest! {
    /// The blocks of the kernel find what a loop over rows finds, in slices too.
    #[test]
    fn kernels_agree_with_a_naive_loop(
        values in prop::collection::vec(prop::option::weighted(0.95, prop_oneof![50 => 0i64..100, 1 => -5i64..105]), 0..1500),
        cut in 0usize..300,
    ) {
        let array = Int64Array::from(values.clone());
        let cut = cut.min(values.len());
        let sliced = Arc::new(array.slice(cut, values.len() - cut));
        let found = codes("{ type = \"long\", required = true, range = [0, 99] }", sliced);
        let naive: Vec<_> = values[cut..].iter().enumerate().filter_map(|(row, value)| match value {
            None => Some((row as u32, "null")),
            Some(value) if !(0..100).contains(value) => Some((row as u32, "range")),
            Some(_) => None,
        }).collect();
        prop_assert_eq!(found, naive);
    }

    /// The shortcuts by byte lengths agree with counting characters.
    #[test]
    fn lengths_count_characters(texts in prop::collection::vec("[a-é東😀]{0,6}", 1..40), min in 0usize..4, more in 0usize..4) {
        let rule = format!("{{ type = \"string\", length = [{min}, {}] }}", min + more);
        let found: Vec<u32> = codes(&rule, Arc::new(StringArray::from(texts.clone()))).iter().map(|(row, _)| *row).collect();
        let fits = |text: &String| (min..=min + more).contains(&text.chars().count());
        let naive: Vec<u32> = (0u32..).zip(&texts).filter(|(_, text)| !fits(text)).map(|(row, _)| row).collect();
        prop_assert_eq!(found, naive);
    }
}
