use std::io::Write as _;

use proptest::prelude::*;

use super::avro::{Cell, Decoder, Failed, Wanted};

const SCHEMA: &str = r#"{"type":"record","name":"entry","fields":[
 {"name":"status","type":"int","field-id":0},
 {"name":"bounds","type":["null",{"type":"array","items":{"type":"record","name":"k1","fields":[
   {"name":"key","type":"int"},{"name":"value","type":"bytes"}]}}],"field-id":9},
 {"name":"file","field-id":2,"type":{"type":"record","name":"r2","fields":[
   {"name":"renamed","type":"string","field-id":100},
   {"name":"ids","type":{"type":"fixed","name":"f4","size":4}},
   {"name":"again","type":["null","f4"]},
   {"name":"map","type":{"type":"map","values":"double"}},
   {"name":"size","type":["null","long"],"field-id":104},
   {"name":"flag","type":"boolean"},{"name":"real","type":"float"}]}}]}"#;
const WANTED: &[Wanted] = &[&[(0, "status")], &[(2, "data_file"), (100, "file_path")], &[(2, "data_file"), (104, "x")]];

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn record(out: &mut Vec<u8>, status: i64, name: &str, size: Option<i64>) {
    varint(out, status);
    // An array in one block that tells its length, and its end.
    varint(out, 1);
    let mut items = Vec::new();
    varint(&mut items, 7);
    bytes(&mut items, b"bound");
    varint(out, -1);
    varint(out, items.len() as i64);
    out.extend(items);
    varint(out, 0);
    bytes(out, name.as_bytes());
    out.extend([1, 2, 3, 4]);
    varint(out, 1);
    out.extend([1, 2, 3, 4]);
    varint(out, 1);
    bytes(out, b"key");
    out.extend(1.5_f64.to_le_bytes());
    varint(out, 0);
    match size {
        None => varint(out, 0),
        Some(size) => {
            varint(out, 1);
            varint(out, size);
        }
    }
    out.push(1);
    out.extend(0.5_f32.to_le_bytes());
}

fn file(codec: &str, rows: &[(i64, &str, Option<i64>)]) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    varint(&mut out, 2);
    bytes(&mut out, b"avro.schema");
    bytes(&mut out, SCHEMA.as_bytes());
    bytes(&mut out, b"avro.codec");
    bytes(&mut out, codec.as_bytes());
    varint(&mut out, 0);
    out.extend([9; 16]);
    for rows in rows.chunks(2) {
        let mut block = Vec::new();
        rows.iter().for_each(|(status, name, size)| record(&mut block, *status, name, *size));
        let packed = match codec {
            "deflate" => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&block).expect("packs");
                encoder.finish().expect("packs")
            }
            "zstandard" => zstd::encode_all(block.as_slice(), 1).expect("packs"),
            _ => block,
        };
        varint(&mut out, rows.len() as i64);
        bytes(&mut out, &packed);
        out.extend([9; 16]);
    }
    out
}

fn read(file: &[u8]) -> Result<Vec<(i64, String, Option<i64>)>, Failed> {
    let mut found = Vec::new();
    Decoder::of(WANTED).rows(file, &mut |row| {
        let [Cell::Number(status), Cell::Text(name), size] = *row else { panic!("{row:?}") };
        let size = match size {
            Cell::Number(size) => Some(size),
            _ => None,
        };
        found.push((status, name.to_string(), size));
    })?;
    Ok(found)
}

const ROWS: [(i64, &str, Option<i64>); 3] = [(1, "a", Some(-5)), (2, "βeta", None), (0, "", Some(i64::MAX))];

#[test]
fn wanted_fields_come_out_whatever_is_around_them() {
    let wanted: Vec<_> = ROWS.iter().map(|(status, name, size)| (*status, name.to_string(), *size)).collect();
    for codec in ["null", "deflate", "zstandard"] {
        assert_eq!(read(&file(codec, &ROWS)), Ok(wanted.clone()), "{codec}");
    }
    assert_eq!(read(&file("snappy", &ROWS)), Err(Failed::Codec("snappy".into())));
    assert_eq!(read(&file("null", &[])), Ok(Vec::new()));
}

#[test]
fn a_file_that_is_cut_off_is_an_error_and_not_a_shorter_answer() {
    let whole = file("null", &ROWS);
    let head = file("null", &[]).len();
    let one = file("null", &ROWS[..2]).len();
    for len in (0..whole.len()).filter(|len| ![head, one].contains(len)) {
        assert!(read(&whole[..len]).is_err(), "{len} of {}", whole.len());
    }
}

proptest! {
    #[test]
    fn damaged_bytes_do_no_harm(at in 0..1000usize, with in any::<u8>()) {
        let mut bytes = file("deflate", &ROWS);
        let at = at % bytes.len();
        bytes[at] = with;
        let mut decoder = Decoder::of(WANTED);
        let _ = decoder.rows(&bytes, &mut |_| {});
    }
}
