//! Every form of body that the HTTP door takes, plain and packed, small and streamed, down to the rows in the table.

use laked::flow::Packing;

use super::forms::{array, csv, packed, parquet, stream};
use super::{CSV, Lake, NDJSON, json, records};

/// Records of a body that the door reads whole, and of one that it streams.
const SIZES: [u64; 2] = [3, 20_000];

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
