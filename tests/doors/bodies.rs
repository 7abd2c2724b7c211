//! Every form of body that the HTTP door takes, plain and packed, small and streamed, down to the rows in the table.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use laked::flow::Packing;

use super::{CSV, Lake, NDJSON, json, records};

/// Records of a body that the door reads whole, and of one that it streams.
const SIZES: [u64; 2] = [3, 20_000];

fn csv(numbers: std::ops::Range<u64>) -> String {
    let rows = numbers.map(|n| format!("\"{}\",{n}\r\n", ["TW", "JP"][n as usize % 2]));
    std::iter::once("place,n\r\n".to_owned()).chain(rows).collect()
}

fn array(numbers: std::ops::Range<u64>) -> String {
    format!("[{}]", records(numbers).trim_end().replace('\n', ",\n "))
}

fn batch(numbers: std::ops::Range<u64>) -> RecordBatch {
    let places = StringArray::from_iter_values(numbers.clone().map(|n| ["TW", "JP"][n as usize % 2]));
    let numbers = Int64Array::from_iter_values(numbers.map(|n| n as i64));
    RecordBatch::try_from_iter([("place", Arc::new(places) as _), ("n", Arc::new(numbers) as _)]).expect("a batch")
}

fn parquet(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let (batch, mut bytes) = (batch(numbers), Vec::new());
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("opens");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
    bytes
}

fn stream(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let batch = batch(numbers);
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    writer.write(&batch).and_then(|()| writer.finish()).expect("writes");
    writer.into_inner().expect("bytes")
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

/// Sends bodies of growing numbers and holds each answer and, in the end, the table to them.
struct Sent {
    lake: Lake,
    next: u64,
}

impl Sent {
    fn new() -> Sent {
        Sent { lake: Lake::new(&[]), next: 0 }
    }

    fn send(&mut self, headers: &[(&str, &str)], count: u64, body: impl Fn(std::ops::Range<u64>) -> Vec<u8>) {
        let numbers = self.next..self.next + count;
        self.next += count;
        let answer = self.lake.send("?wait=committed", headers, &body(numbers));
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.body);
        let said = json(&answer);
        assert_eq!((&said["accepted"], &said["rejected"]), (&count.into(), &0.into()), "{headers:?}");
        assert_eq!(said["committed"], true);
        let found = self.lake.query("select count(*), count(distinct n), max(n) from probe.readings");
        assert_eq!(found, format!("{0},{0},{1}\n", self.next, self.next - 1), "{headers:?}: visible when answered");
    }
}

#[test]
fn texts_are_taken_plain_and_packed() {
    let mut sent = Sent::new();
    for (packing, encoding) in [(Packing::Plain, "identity"), (Packing::Gzip, "gzip"), (Packing::Zstd, "zstd")] {
        let encoding = ("Content-Encoding", encoding);
        for count in SIZES {
            let json = ("Content-Type", "application/json; charset=utf-8");
            sent.send(&[NDJSON, encoding], count, |numbers| packed(packing, records(numbers).as_bytes()));
            sent.send(&[CSV, encoding], count, |numbers| packed(packing, csv(numbers).as_bytes()));
            sent.send(&[json, encoding], count, |numbers| packed(packing, array(numbers).as_bytes()));
        }
        sent.send(&[("Content-Type", "application/json"), encoding], 1, |numbers| {
            packed(packing, records(numbers).trim_end().as_bytes())
        });
    }
}

#[test]
fn parquet_and_arrow_are_taken() {
    let mut sent = Sent::new();
    for count in SIZES {
        sent.send(&[("Content-Type", "application/vnd.apache.parquet")], count, parquet);
        sent.send(&[("Content-Type", "application/vnd.apache.arrow.stream")], count, stream);
    }
}

#[test]
fn nothing_is_no_record() {
    let mut sent = Sent::new();
    sent.send(&[NDJSON], 3, |numbers| records(numbers).into_bytes());
    for (headers, body) in [(&[NDJSON], ""), (&[CSV], "place,n\n"), (&[("Content-Type", "application/json")], "[]")] {
        let answer = sent.lake.send("?wait=committed", headers, body.as_bytes());
        let said = json(&answer);
        assert_eq!((answer.status, &said["accepted"], &said["rejected"]), (200, &0.into(), &0.into()), "{headers:?}");
    }
    assert_eq!(sent.lake.numbers(), [0, 1, 2]);
}
