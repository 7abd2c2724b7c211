//! Whole sources, good and bad, through [`open`].

use std::io::Write;
use std::sync::Arc;

use ::bytes::Bytes;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::{Input, Options, open};
use crate::contract::Contract;
use crate::error::{Error, Kind};
use crate::flow::{Admitted, Format, Packing, Reject};

const FIELDS: &str = r#"
[fields]
id = { type = "string", required = true, length = [1, 8] }
at = "timestamptz"
value = { type = "double", range = [0, 100] }
level = { type = "double", range = [20, 600] }
count = "long"
kind = { type = "string", enum = ["a", "bb", "a rather long one"] }
price = "decimal(6, 2)"
"#;

fn contract(table: &str) -> Arc<Contract> {
    Arc::new(
        Contract::parse(&format!("[table]\nversion = 1\n{table}\n{FIELDS}"), "schemas/t/t.toml").expect("contract"),
    )
}

fn small() -> Options {
    Options { batch_records: 3, max_record: 4096, max_raw: 32, ..Options::default() }
}

fn decode(table: &str, format: Format, packing: Packing, bytes: &[u8]) -> Result<Vec<Admitted>, Error> {
    open(contract(table), format, packing, Input::Bytes(Bytes::copy_from_slice(bytes)), small())?.collect()
}

/// Rows, rejects and records of a source.
fn sums(admitted: &[Admitted]) -> (usize, Vec<Reject>, u64) {
    let rejects = admitted.iter().flat_map(|a| a.rejects.clone()).collect();
    (admitted.iter().map(|a| a.batch.num_rows()).sum(), rejects, admitted.iter().map(|a| a.records).sum())
}

fn whole(format: Format, text: impl AsRef<[u8]>) -> (usize, Vec<Reject>, u64) {
    sums(&decode("", format, Packing::Plain, text.as_ref()).expect("decodes"))
}

fn refused(format: Format, text: impl AsRef<[u8]>) -> String {
    let error = decode("", format, Packing::Plain, text.as_ref()).expect_err("refused");
    assert_eq!(error.kind(), Kind::Invalid);
    error.to_string()
}

/// The codes of the one reject of one line.
fn codes(line: &str) -> Vec<&'static str> {
    let (_, rejects, records) = whole(Format::Ndjson, line);
    assert_eq!(records, 1, "{line}");
    rejects.into_iter().flat_map(|reject| reject.broken).map(|broken| broken.code).collect()
}

fn strings(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let array = arrow::compute::cast(batch.column_by_name(column).expect("column"), &arrow::datatypes::DataType::Utf8);
    array.expect("text").as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn empty_sources_have_no_records() {
    for format in [Format::Ndjson, Format::Json, Format::Csv] {
        for text in ["", "\n\r\n \n", "\u{feff}"] {
            assert_eq!(whole(format, text), (0, vec![], 0), "{format:?} {text:?}");
        }
    }
    assert_eq!(whole(Format::Json, "[]").2, 0);
    assert_eq!(whole(Format::Csv, "id\n").2, 0);
    assert!(refused(Format::Parquet, "").contains("Parquet"));
    assert!(refused(Format::Arrow, "").contains("Arrow"));
}

#[test]
fn marks_line_ends_and_blank_lines() {
    let (rows, rejects, _) =
        whole(Format::Ndjson, "\u{feff}{\"id\":\"1\"}\r\n\r\n{\"id\":\"2\"}\r\n{}\r\n{\"id\":\"3\"}");
    assert_eq!((rows, rejects.len()), (3, 1));
    assert_eq!((rejects[0].record, rejects[0].line, rejects[0].raw.as_str()), (2, Some(4), "{}"));
    let (rows, rejects, _) = whole(Format::Csv, "\u{feff}id,count\r\n1,2\r\n\r\n3,x\r\n\"4\n\",5");
    assert_eq!((rows, rejects.len()), (2, 1));
    assert_eq!((rejects[0].line, rejects[0].raw.as_str()), (Some(4), "3,x"));
}

#[test]
fn every_broken_rule_has_its_code() {
    for (line, want) in [
        (r#"{"id":"1","value":101}"#, vec!["range"]),
        (r#"{"value":-1,"kind":"c"}"#, vec!["enum", "missing", "range"]),
        (r#"{"id":null}"#, vec!["null"]),
        (r#"{"id":""}"#, vec!["length"]),
        (r#"{"id":"1","id":"2"}"#, vec!["duplicate-key"]),
        (r#"{"id":"1","x":[1,{"y":2}]}"#, vec!["unknown-field"]),
        (r#"{"id":"1","value":"5"}"#, vec!["type"]),
        (r#"{"id":"1","value":NaN}"#, vec!["syntax"]),
        (r#"{"id":"1","value":-Infinity}"#, vec!["syntax"]),
        (r#"{"id":"1","value":"NaN"}"#, vec!["nan"]),
        (r#"{"id":"1","level":"NaN"}"#, vec!["nan"]),
        (r#"{"id":"1","value":1e999}"#, vec!["range"]),
        (r#"{"id":"1","count":9223372036854775808}"#, vec!["range"]),
        (r#"{"id":"1","count":1.5}"#, vec!["type"]),
        (r#"{"id":"1","price":1.234}"#, vec!["decimal"]),
        (r#"{"id":"1","at":"2016-12-31T23:59:60Z"}"#, vec!["timestamp"]),
        (r#"{"id":"1","at":"10000-01-01T00:00:00Z"}"#, vec!["timestamp"]),
        (r#"{"id":"1","at":"2025-01-01T00:00:00"}"#, vec!["naive-timestamp"]),
        (r#"{"id":"1","at":"2025-01-01T00:00:00.0000001Z"}"#, vec!["timestamp"]),
        (r#"{"id":"1""#, vec!["syntax"]),
        (r#"{"id":"1"} x"#, vec!["syntax"]),
        ("[1]", vec!["syntax"]),
    ] {
        let mut found = codes(line);
        found.sort_unstable();
        assert_eq!(found, want, "{line}");
    }
    let deep = format!("{{\"id\":\"1\",\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(codes(&deep), ["too-deep"]);
}

#[test]
fn bytes_that_are_not_utf8_refuse_their_record_alone() {
    for format in [Format::Ndjson, Format::Csv] {
        let text: &[u8] = match format {
            Format::Csv => b"id\n1\n\xff2\n3\n",
            _ => b"{\"id\":\"1\"}\n{\"id\":\"\xff2\"}\n{\"id\":\"3\"}\n",
        };
        let (rows, rejects, _) = whole(format, text);
        assert_eq!((rows, rejects.len(), rejects[0].broken[0].code), (2, 1, "utf8"));
        assert!(rejects[0].raw.contains('\u{fffd}'));
    }
    let (rows, rejects, _) = whole(Format::Json, b"[{\"id\":\"1\"},{\"id\":\"\xff\"}]");
    assert_eq!((rows, rejects[0].broken[0].code), (1, "utf8"));
}

/// A line of any length, made as it is read.
struct LongLine {
    left: usize,
    tail: &'static [u8],
}

impl std::io::Read for LongLine {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return self.tail.read(buffer);
        }
        let read = buffer.len().min(self.left);
        buffer[..read].fill(b'x');
        self.left -= read;
        Ok(read)
    }
}

#[test]
fn a_line_of_100_mb_is_refused_and_not_held() {
    for (format, tail) in [(Format::Ndjson, &b"\n{\"id\":\"1\"}\n"[..]), (Format::Csv, b"\n1\n")] {
        let head: &[u8] = if format == Format::Csv { b"id\n" } else { b"" };
        let source = std::io::Read::chain(head, LongLine { left: 100 << 20, tail });
        let decoder = open(contract(""), format, Packing::Plain, Input::Stream(Box::new(source)), small());
        let admitted: Vec<_> = decoder.expect("opens").collect::<Result<_, _>>().expect("decodes");
        let (rows, rejects, _) = sums(&admitted);
        assert_eq!((rows, rejects.len(), rejects[0].broken[0].code), (1, 1, "too-long"), "{format:?}");
        assert_eq!((rejects[0].raw.len(), rejects[0].line), (32, Some(1 + u64::from(format == Format::Csv))));
    }
}

#[test]
fn a_document_of_endless_text_or_depth_is_refused() {
    let head = &b"[{\"id\":\"1\"},{\"id\":\""[..];
    let source = std::io::Read::chain(head, LongLine { left: 100 << 20, tail: b"\"}]" });
    let decoder = open(contract(""), Format::Json, Packing::Plain, Input::Stream(Box::new(source)), small());
    let error = decoder.expect("opens").find_map(Result::err).expect("too long");
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let deep = format!("[{{\"id\":\"1\",\"x\":{}{}}}]", "[".repeat(1000), "]".repeat(1000));
    let (rows, rejects, _) = whole(Format::Json, deep);
    assert_eq!((rows, rejects[0].broken[0].code), (0, "too-deep"));
    refused(Format::Json, "[".repeat(1 << 20));
    assert_eq!(codes(&"[".repeat(4000)), ["too-deep"]);
}

#[test]
fn csv_is_held_to_the_same_rules() {
    for (line, want) in [
        ("1,NaN,,", vec!["nan"]),
        ("1,Infinity,,", vec!["nan"]),
        ("1,-inf,,", vec!["nan"]),
        ("1,1e999,,", vec!["range"]),
        ("1,,9223372036854775808,", vec!["range"]),
        (",5,,", vec!["null"]),
        ("1,,,2016-12-31T23:59:60Z", vec!["timestamp"]),
        ("1,,,10000-01-01T00:00:00Z", vec!["timestamp"]),
        ("1,,,+12025-01-01T00:00:00Z", vec!["timestamp"]),
        ("1,,,2025-02-29T00:00:00Z", vec!["timestamp"]),
        ("1,,", vec!["columns"]),
        ("1,,,,", vec!["columns"]),
    ] {
        let (_, rejects, records) = whole(Format::Csv, format!("id,value,count,at\n{line}\n"));
        let found: Vec<_> = rejects.into_iter().flat_map(|reject| reject.broken).map(|broken| broken.code).collect();
        assert_eq!((found, records), (want, 1), "{line}");
    }
}

#[test]
fn an_open_quote_refuses_its_line_alone() {
    let (rows, rejects, _) = whole(Format::Csv, "id,count\n\"1,2\n3,4\n5,6\n");
    assert_eq!((rows, rejects.len(), rejects[0].broken[0].code), (2, 1, "syntax"));
    let (rows, rejects, _) = whole(Format::Csv, "id,count\n1\n\"1\"x,2\n1\"2,3\n\"a\"\"b\",4\n");
    let codes: Vec<_> = rejects.iter().map(|reject| reject.broken[0].code).collect();
    assert_eq!((rows, codes), (1, vec!["columns", "syntax", "syntax"]));
}

#[test]
fn csv_headers_must_fit() {
    assert!(refused(Format::Csv, "id,nope\n1,2\n").contains("`nope`"));
    assert!(refused(Format::Csv, "count\n1\n").contains("`id`"));
    assert!(refused(Format::Csv, "id,id\n1,1\n").contains("twice"));
    let ignored = decode("unknown = \"ignore\"", Format::Csv, Packing::Plain, b"nope,id\n\"x,\",1\n").expect("decodes");
    assert_eq!(sums(&ignored).0, 1);
}

#[test]
fn csv_nulls_are_the_contracts() {
    let table = "null_values = [\"\", \"NA\"]";
    let admitted =
        decode(table, Format::Csv, Packing::Plain, b"id,value,kind\n1,NA,\n\"2\",\"3\",bb\n").expect("decodes");
    let batch = &admitted[0].batch;
    assert_eq!(batch["value"].as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [None, Some(3.0)]);
    assert_eq!(strings(batch, "kind"), [None, Some("bb".to_owned())]);
}

#[test]
fn without_strictness_what_loses_nothing_is_taken() {
    let line = br#"{"id":7,"value":" 5 ","count":1e3,"price":"2.5","at":"2025-01-01T09:00+0900"}"#;
    let admitted = decode("strict = false", Format::Ndjson, Packing::Plain, line).expect("decodes");
    let batch = &admitted[0].batch;
    assert_eq!(batch.num_rows(), 1, "{:?}", admitted[0].rejects);
    assert_eq!(batch["count"].as_primitive::<Int64Type>().value(0), 1000);
    assert_eq!(batch["at"].as_primitive::<TimestampMicrosecondType>().value(0), 1_735_689_600_000_000);
}

fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packs")
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).expect("packs"),
    }
}

#[test]
fn packed_sources_may_have_several_members_and_must_be_whole() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let one = packed(packing, b"{\"id\":\"1\"}\n");
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(sums(&decode("", Format::Ndjson, packing, &two).expect("decodes")).0, 2);
        for cut in [one.len() - 1, one.len() / 2, 5] {
            let error = decode("", Format::Ndjson, packing, &one[..cut]).expect_err("cut off");
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
        assert_eq!(decode("", Format::Ndjson, packing, b"{}").expect_err("not packed").kind(), Kind::Invalid);
        assert!(refused(Format::Ndjson, &one).contains("name the file"));
    }
}

#[test]
fn bombs_end_at_the_limits() {
    let bomb = vec![b' '; 32 << 20];
    for packing in [Packing::Gzip, Packing::Zstd] {
        let bytes = Bytes::from(packed(packing, &bomb));
        for options in [Options { max_expanded: Some(1 << 20), ..small() }, Options { max_ratio: Some(100), ..small() }]
        {
            let decoder = open(contract(""), Format::Ndjson, packing, Input::Bytes(bytes.clone()), options);
            let error = decoder.expect("opens").find_map(Result::err).expect("a bomb");
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.message().contains("limit"), "{error}");
        }
    }
}

#[test]
fn rows_of_binary_files_end_at_the_limit() {
    // Half a million times the same row, in some hundred bytes.
    let ids = arrow::array::StringArray::from_iter_values(std::iter::repeat_n("1", 500_000));
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as arrow::array::ArrayRef)]).expect("a batch");
    let bytes = parquet_of(&batch);
    assert!(bytes.len() < 4096, "{}", bytes.len());
    for (most, fits) in [(1 << 20, false), (1 << 30, true)] {
        let options = Options { max_expanded: Some(most), ..Options::default() };
        let decoder = open(contract(""), Format::Parquet, Packing::Plain, Input::Bytes(bytes.clone().into()), options);
        match decoder.expect("opens").collect::<Result<Vec<_>, _>>() {
            Ok(admitted) => assert!(fits && sums(&admitted).0 == 500_000),
            Err(error) => {
                assert!(!fits && error.kind() == Kind::Invalid && error.message().contains("limit"), "{error}")
            }
        }
    }
}

#[test]
fn json_documents() {
    let (rows, rejects, _) = whole(Format::Json, "[\n {\"id\": \"1\"},\n {\"id\": \"2\"}, {\"id\": []} , [1]\n]\n");
    assert_eq!((rows, rejects.len(), rejects[1].raw.as_str(), rejects[1].line), (2, 2, "[1]", Some(3)));
    assert_eq!(whole(Format::Json, " {\"id\": \"1\"} ").0, 1);
    assert!(refused(Format::Json, "[{\"id\":\"1\"},").contains("early"));
    assert!(refused(Format::Json, "[{\"id\":\"1\"} {\"id\":\"1\"}]").contains("comma"));
    assert!(refused(Format::Json, "{\"id\":\"1\"}\n{\"id\":\"1\"}").contains("ndjson"));
    assert!(refused(Format::Json, "[{\"id\":}]").contains("not JSON"));
}

/// The same three records in each format.
fn as_arrow() -> RecordBatch {
    let lines = b"{\"id\":\"1\",\"value\":5,\"kind\":\"bb\"}\n{\"id\":\"2\",\"at\":\"2025-01-01T00:00:00Z\"}\n{\"id\":\"3\",\"price\":1.5}\n";
    decode("", Format::Ndjson, Packing::Plain, lines).expect("decodes").remove(0).batch
}

fn parquet_of(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("opens");
    writer.write(batch).expect("writes");
    writer.close().expect("closes");
    bytes
}

fn stream_of(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    writer.write(batch).and_then(|()| writer.finish()).expect("writes");
    writer.into_inner().expect("bytes")
}

/// Compressed, as Feather files are.
fn packed_stream_of(batch: &RecordBatch) -> Vec<u8> {
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).expect("options");
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("opens");
    writer.write(batch).expect("writes");
    writer.into_inner().expect("closes")
}

fn file_of(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    writer.write(batch).and_then(|()| writer.finish()).expect("writes");
    writer.into_inner().expect("bytes")
}

#[test]
fn binary_formats_give_the_same_rows() {
    let batch = as_arrow();
    for (format, bytes) in
        [(Format::Parquet, parquet_of(&batch)), (Format::Arrow, stream_of(&batch)), (Format::Arrow, file_of(&batch))]
    {
        let admitted = decode("", format, Packing::Plain, &bytes).expect("decodes");
        assert_eq!(admitted.len(), 1);
        assert_eq!(admitted[0].batch, batch, "{format:?}");
    }
}

#[test]
fn damaged_binary_files_are_refused() {
    let batch = as_arrow();
    let (file, stream) = (parquet_of(&batch), stream_of(&batch));
    assert!(refused(Format::Parquet, &file[..file.len() - 3]).contains("cut off"));
    assert!(refused(Format::Parquet, "PAR1 but not really").contains("Parquet"));
    assert!(refused(Format::Parquet, &stream).contains("Parquet"));
    assert!(refused(Format::Arrow, &file).contains("Arrow"));
    assert!(refused(Format::Arrow, &stream[..stream.len() / 2]).contains("Arrow"));
    assert!(refused(Format::Ndjson, &file).contains("Parquet"));
}

/// Every byte in turn, overwritten by what overflows, and by what is off by one: rows or an error, and the test goes on.
#[test]
fn no_damaged_byte_ends_the_process() {
    let batch = as_arrow();
    for (format, sound) in [
        (Format::Parquet, parquet_of(&batch)),
        (Format::Arrow, stream_of(&batch)),
        (Format::Arrow, packed_stream_of(&batch)),
        (Format::Arrow, file_of(&batch)),
    ] {
        assert_eq!(sums(&decode("", format, Packing::Plain, &sound).expect("sound")).0, batch.num_rows());
        let mut refused = 0;
        for at in 0..sound.len() {
            for damage in [0xff, 0x80, sound[at] ^ 1] {
                let mut bytes = sound.clone();
                bytes[at] = damage;
                if let Err(error) = decode("", format, Packing::Plain, &bytes) {
                    assert_eq!(error.kind(), Kind::Invalid, "{format:?} byte {at}: {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 100, "{format:?}: {refused} damages were seen");
    }
}

#[test]
fn foreign_types_are_taken_where_nothing_is_lost() {
    use arrow::array::{ArrayRef, Decimal128Array, Int32Array, LargeStringArray, TimestampNanosecondArray};
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(LargeStringArray::from(vec![Some("1"), None, Some("3")]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1000, 2000, 3001]).with_timezone("Asia/Taipei"))),
        ("value", Arc::new(Int32Array::from(vec![5, 6, 101]))),
        ("kind", Arc::new(LargeStringArray::from(vec![Some("bb"), None, Some("zz")]))),
        ("price", Arc::new(Decimal128Array::from(vec![15, 25, 35]).with_precision_and_scale(3, 1).expect("decimal"))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("batch");
    let (rows, rejects, _) = sums(&decode("", Format::Parquet, Packing::Plain, &parquet_of(&batch)).expect("decodes"));
    assert_eq!((rows, rejects.len()), (1, 2));
    assert_eq!(rejects[0].broken.iter().map(|b| b.code).collect::<Vec<_>>(), ["null"]);
    let mut codes: Vec<_> = rejects[1].broken.iter().map(|b| b.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["enum", "range", "timestamp"]);
    assert!(rejects[1].raw.starts_with("{\"id\":\"3\""), "{}", rejects[1].raw);
}

#[test]
fn skipping_resumes_at_the_record() {
    let text: String =
        (0..20).map(|i| if i % 3 == 1 { "{}\n".to_owned() } else { format!("{{\"id\":\"{i}\"}}\n") }).collect();
    let run = |skip: u64| -> Vec<(u64, String)> {
        let input = Input::Bytes(text.clone().into());
        let decoder = open(contract(""), Format::Ndjson, Packing::Plain, input, small()).expect("opens");
        let mut found = Vec::new();
        for admitted in decoder.skip_records(skip) {
            let admitted = admitted.expect("decodes");
            found.extend(admitted.rejects.iter().map(|reject| (reject.record, "bad".to_owned())));
            found.extend(strings(&admitted.batch, "id").into_iter().flatten().map(|id| (id.parse().expect("id"), id)));
        }
        found.sort();
        found
    };
    let all = run(0);
    assert_eq!(all.len(), 20);
    for skip in 0..=21 {
        assert_eq!(run(skip), all[all.len().min(skip as usize)..], "{skip}");
    }
}

proptest! {
    /// The fast way, taken for the second of two like records, gives what the exact way gives for the first.
    #[test]
    fn fast_and_exact_ways_agree(
        id in "[a-zé\"\\\\\n]{1,8}", value in 0.0_f64..100.0, count: i64, cents in -99999_i64..99999,
        micros in 0_i64..4_000_000_000_000_000, kind in proptest::option::of(0_usize..3), style in 0_usize..3
    ) {
        let kind = kind.map(|k| ["a", "bb", "a rather long one"][k]);
        let at = jiff::Timestamp::from_microsecond(micros - micros % [1, 1000, 1_000_000][style]).expect("time");
        let price = format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
        let json = serde_json::json!({"id": id, "at": at.to_string(), "value": value, "count": count, "kind": kind});
        let mut line = serde_json::to_string(&json).expect("json");
        line.insert_str(1, &format!("\"price\":{price},"));
        let line = if style == 1 { line.replace("\":", "\" : ") } else { line };
        let admitted = decode("", Format::Ndjson, Packing::Plain, format!("{line}\n{line}\n").as_bytes()).expect("decodes");
        let batch = &admitted[0].batch;
        prop_assert_eq!(batch.num_rows(), 2, "{} {:?}", line, admitted[0].rejects);
        prop_assert_eq!(batch.slice(0, 1), batch.slice(1, 1));
        prop_assert_eq!(&strings(batch, "id")[1], &Some(id));
        prop_assert_eq!(batch["value"].as_primitive::<Float64Type>().value(1), value);
        prop_assert_eq!(batch["count"].as_primitive::<Int64Type>().value(1), count);
        prop_assert_eq!(batch["price"].as_primitive::<arrow::datatypes::Decimal128Type>().value(1), i128::from(cents));
        prop_assert_eq!(batch["at"].as_primitive::<TimestampMicrosecondType>().value(1), at.as_microsecond());
    }

    /// Any bytes at all end in records and rejects, or in an error of the source; lines are never lost.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(
        prop_oneof![Just(b'\n'), Just(b'"'), Just(b','), Just(b'{'), Just(b'}'), Just(b'\\'), Just(b'\r'), any::<u8>()], 0..200)
    ) {
        let lines = bytes.split(|&b| b == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        if let Ok(admitted) = decode("", Format::Ndjson, Packing::Plain, &bytes) {
            prop_assert_eq!(sums(&admitted).2, lines as u64);
        }
        drop(decode("", Format::Csv, Packing::Plain, &[b"id,count\n", &bytes[..]].concat()));
        drop(decode("", Format::Json, Packing::Plain, &bytes));
    }
}
