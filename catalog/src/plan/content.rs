//! Data and delete files as the protocol describes them to a client that reads them.
//!
//! Partition values are typed values in the order of the spec's fields. Bounds are what the reference implementation
//! writes and reads: the value's binary form, in hexadecimal. Metrics are sent of those columns only that the client
//! asked for.

use std::collections::{BTreeSet, HashMap};

use iceberg::spec::{DataContentType, Datum, PrimitiveLiteral};
use serde_json::{Map, Value as Json, json};

use super::literal::{hex, write};
use super::snapshot::PlannedFile;
use super::spec::Spec;

/// A file's description, with the metrics of some columns.
pub fn describe(planned: &PlannedFile, spec: &Spec, metrics: &BTreeSet<i32>) -> Json {
    let file = &planned.file;
    let content = match file.content_type() {
        DataContentType::Data => "data",
        DataContentType::PositionDeletes => "position-deletes",
        DataContentType::EqualityDeletes => "equality-deletes",
    };
    let mut fields = Map::new();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            fields.insert(key.to_string(), value);
        }
    };
    put("content", Some(json!(content)));
    put("file-path", Some(json!(file.file_path())));
    put("file-format", Some(json!(file.file_format().to_string().to_ascii_lowercase())));
    put("spec-id", Some(json!(planned.spec_id)));
    put("partition", Some(partition(planned, spec)));
    put("file-size-in-bytes", Some(json!(file.file_size_in_bytes())));
    put("record-count", Some(json!(file.record_count())));
    put("key-metadata", file.key_metadata().map(|key| json!(hex(key))));
    put("split-offsets", file.split_offsets().map(|offsets| json!(offsets)));
    put("sort-order-id", file.sort_order_id().map(|id| json!(id)));
    if file.content_type() == DataContentType::Data {
        put("first-row-id", planned.first_row_id.map(|id| json!(id)));
    } else {
        put("equality-ids", file.equality_ids().map(|ids| json!(ids)));
        put("referenced-data-file", file.referenced_data_file().map(|path| json!(path)));
        put("content-offset", file.content_offset().map(|offset| json!(offset)));
        put("content-size-in-bytes", file.content_size_in_bytes().map(|size| json!(size)));
    }
    if !metrics.is_empty() {
        put("column-sizes", map(file.column_sizes(), metrics, |size| Some(json!(size))));
        put("value-counts", map(file.value_counts(), metrics, |count| Some(json!(count))));
        put("null-value-counts", map(file.null_value_counts(), metrics, |count| Some(json!(count))));
        put("nan-value-counts", map(file.nan_value_counts(), metrics, |count| Some(json!(count))));
        put("lower-bounds", map(file.lower_bounds(), metrics, binary));
        put("upper-bounds", map(file.upper_bounds(), metrics, binary));
    }
    Json::Object(fields)
}

fn partition(planned: &PlannedFile, spec: &Spec) -> Json {
    let values = planned.file.partition().iter();
    let literals = values.map(|value| value.and_then(|value| value.as_primitive_literal()));
    let written = spec.fields.iter().zip(literals).map(|(field, literal): (_, Option<PrimitiveLiteral>)| {
        literal.zip(field.result.as_ref()).and_then(|(literal, kind)| write(&literal, kind)).unwrap_or_default()
    });
    Json::Array(written.collect())
}

fn binary(bound: &Datum) -> Option<Json> {
    bound.to_bytes().ok().map(|bytes| json!(hex(&bytes)))
}

/// A map by field id: keys and values side by side.
fn map<T>(all: &HashMap<i32, T>, wanted: &BTreeSet<i32>, value: impl Fn(&T) -> Option<Json>) -> Option<Json> {
    let held = wanted.iter().filter_map(|id| Some((*id, value(all.get(id)?)?)));
    let (keys, values): (Vec<i32>, Vec<Json>) = held.unzip();
    (!keys.is_empty()).then(|| json!({ "keys": keys, "values": values }))
}
