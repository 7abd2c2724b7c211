//! Records of the table in each form.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use laked::flow::Packing;

use super::records;

pub fn csv(numbers: std::ops::Range<u64>) -> String {
    let rows = numbers.map(|n| format!("\"{}\",{n}\r\n", ["TW", "JP"][n as usize % 2]));
    std::iter::once("place,n\r\n".to_owned()).chain(rows).collect()
}

pub fn array(numbers: std::ops::Range<u64>) -> String {
    format!("[{}]", records(numbers).trim_end().replace('\n', ",\n "))
}

fn batch(numbers: impl Iterator<Item = u64> + Clone) -> RecordBatch {
    let places = StringArray::from_iter_values(numbers.clone().map(|n| ["TW", "JP"][n as usize % 2]));
    let numbers = Int64Array::from_iter_values(numbers.map(|n| n as i64));
    RecordBatch::try_from_iter([("place", Arc::new(places) as _), ("n", Arc::new(numbers) as _)]).expect("a batch")
}

pub fn parquet(numbers: impl Iterator<Item = u64> + Clone) -> Vec<u8> {
    let (batch, mut bytes) = (batch(numbers), Vec::new());
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("opens");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
    bytes
}

pub fn stream(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let batch = batch(numbers);
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).expect("opens");
    writer.write(&batch).and_then(|()| writer.finish()).expect("writes");
    writer.into_inner().expect("bytes")
}

pub fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packs")
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).expect("packs"),
    }
}
