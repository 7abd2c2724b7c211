//! `lakectl contract check FILE…` and `lakectl contract new NAMESPACE.TABLE FILE`: contracts on this machine, no lake
//! and no daemon asked. Plain functions from arguments to text; what a file is, its first bytes tell, not its name.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::contract::{Contract, Problem, Sample, draft, problems};
use crate::error::{Error, Kind, Result};

/// How much of a text file, unpacked, a draft is made from.
const SAMPLE: u64 = 64 << 20;

/// Reads contracts and says what is in them, or every mistake as `file:line:column: …`. The flag tells whether all are
/// sound. A folder stands for the `<namespace>/<table>.toml` in it.
pub fn check(files: &[PathBuf]) -> (String, bool) {
    let mut out = String::new();
    let mut sound = true;
    for file in files {
        let listed = expand(file);
        if listed.is_empty() {
            sound = false;
            let _ = writeln!(out, "{}: no contracts in this folder; they are <namespace>/<table>.toml", file.display());
        }
        for file in listed {
            let (text, ok) = check_one(&file);
            out.push_str(&text);
            sound &= ok;
        }
    }
    (out, sound)
}

fn check_one(file: &Path) -> (String, bool) {
    let shown = file.display();
    let text = match std::fs::read(file).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return (format!("{shown}: not UTF-8 at byte {}\n", error.utf8_error().valid_up_to()), false),
        Err(error) => return (format!("{shown}: {error}\n"), false),
    };
    match problems(text.trim_start_matches('\u{feff}'), &origin(file)) {
        Ok(contract) => (format!("{shown}: {}\n", summary(&contract)), true),
        Err(problems) => {
            let line = |problem: &Problem| match problem.line {
                0 => format!("{shown}: {problem}\n"),
                _ => format!("{shown}:{problem}\n"),
            };
            (problems.iter().map(line).collect(), false)
        }
    }
}

/// The path with its folder, which names the namespace even when the file is named from within it.
fn origin(file: &Path) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}

fn summary(contract: &Contract) -> String {
    let required = contract.fields().iter().filter(|field| field.required).count();
    let parts: Vec<_> = contract.partition_spec().fields().iter().map(|field| field.name.as_str()).collect();
    let layout = if parts.is_empty() { "no partitions".to_owned() } else { format!("partitions {}", parts.join(", ")) };
    let (id, version, fields) = (contract.id(), contract.version, contract.fields().len());
    format!("ok: {id} version {version}, {fields} fields ({required} required), {layout}")
}

fn expand(file: &Path) -> Vec<PathBuf> {
    if !file.is_dir() {
        return vec![file.to_owned()];
    }
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_contract = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|ending| ending == "toml");
    let mut files = entries(file);
    let deeper: Vec<_> = files.iter().filter(|path| path.is_dir()).flat_map(|folder| entries(folder)).collect();
    files.extend(deeper);
    files.retain(is_contract);
    files.sort();
    files
}

/// Drafts a contract from a CSV or NDJSON file (gzip and zstd too), a JSON array or JSON Schema, a Parquet or Arrow
/// file. `table` is `namespace.table`.
pub fn new(table: &str, file: &Path) -> Result<String> {
    if table.split('.').count() < 2 || table.split('.').any(str::is_empty) {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{table}` is no table: write NAMESPACE.TABLE, as glucose.readings"),
        ));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = |error: Error| error.with("file", file.display());
    let open = || File::open(file).map_err(|error| at(error.into()));
    let mut magic = [0; 6];
    let got = read_up_to(&mut open()?, &mut magic).map_err(|error| at(error.into()))?;
    let foreign = |error: &dyn std::fmt::Display| at(Error::new(Kind::Invalid, format!("cannot be read: {error}")));
    match &magic[..got] {
        [b'P', b'A', b'R', b'1', ..] => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(open()?).map_err(|error| foreign(&error))?;
            columns(table, &name, reader.schema())
        }
        b"ARROW1" => {
            let reader = arrow::ipc::reader::FileReader::try_new(open()?, None).map_err(|error| foreign(&error))?;
            columns(table, &name, &reader.schema())
        }
        [0xff, 0xff, 0xff, 0xff, ..] => {
            let input = BufReader::new(open()?);
            let reader = arrow::ipc::reader::StreamReader::try_new(input, None).map_err(|error| foreign(&error))?;
            columns(table, &name, &reader.schema())
        }
        [0x1f, 0x8b, ..] => records(table, &name, flate2::read::MultiGzDecoder::new(open()?)).map_err(at),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let input = zstd::stream::read::Decoder::new(open()?).map_err(|error| at(error.into()))?;
            records(table, &name, input).map_err(at)
        }
        _ => records(table, &name, open()?).map_err(at),
    }
}

fn columns(table: &str, name: &str, schema: &Schema) -> Result<String> {
    draft(table, name, Sample::Columns(schema), true)
}

fn records(table: &str, name: &str, input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(SAMPLE + 1).read_to_end(&mut bytes)?;
    let complete = bytes.len() as u64 <= SAMPLE;
    let start = bytes.iter().copied().find(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
    let sample = match start {
        Some(b'{' | b'[') => Sample::Json(&bytes),
        _ => Sample::Csv(&bytes),
    };
    draft(table, name, sample, complete)
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..])? {
            0 => break,
            read => got += read,
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::record_batch::RecordBatch;
    use laked_catalog::store::{Disk as _, DiskFile};

    use super::*;

    fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.join(name);
        let mut file: Box<dyn DiskFile> = laked_catalog::store::OsDisk.create(&path).unwrap();
        file.write_all(bytes).unwrap();
        path
    }

    #[test]
    fn check_tells_what_is_sound_and_every_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let space = folder.path().join("shop");
        std::fs::create_dir(&space).unwrap();
        write(&space, "orders.toml", b"[table]\npartition = [\"day(at)\"]\n[fields]\nat = \"timestamptz\"");
        let bad = write(&space, "bad.toml", b"[fields]\na = \"strng\"\nb = { type = \"int\", length = 1 }");
        let (text, sound) = check(&[folder.path().to_owned()]);
        assert!(!sound);
        assert!(
            text.contains("orders.toml: ok: shop.orders version 1, 1 fields (0 required), partitions at_day"),
            "{text}"
        );
        assert!(text.contains(&format!("{}:2:5: ", bad.display())) && text.contains("bad.toml:3:"), "{text}");
        let (text, sound) = check(&[folder.path().join("none.toml")]);
        assert!(!sound && text.contains("none.toml: "), "{text}");
    }

    #[test]
    fn new_reads_what_the_first_bytes_say() {
        let folder = tempfile::tempdir().unwrap();
        let csv = b"id,n\na,1\nb,2\n";
        let mut zipped = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(&csv[..], flate2::Compression::fast());
        encoder.read_to_end(&mut zipped).unwrap();
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ])
        .unwrap();
        let mut parquet = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut parquet, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        for (name, bytes) in [
            ("a.csv", csv.to_vec()),
            ("a", zipped),
            ("a.zst", zstd::encode_all(&csv[..], 1).unwrap()),
            ("a.bin", parquet),
            ("a.txt", b"{\"id\":\"a\",\"n\":1}\n".to_vec()),
        ] {
            let text = new("s.t", &write(folder.path(), name, &bytes)).unwrap();
            let names: Vec<_> =
                Contract::parse(&text, "x").unwrap().fields().iter().map(|field| field.name.clone()).collect();
            assert_eq!(names, ["id", "n"], "{name}\n{text}");
        }
        assert!(new("t", &folder.path().join("a.csv")).unwrap_err().to_string().contains("NAMESPACE.TABLE"));
        let empty = write(folder.path(), "empty.csv", b"");
        assert!(new("s.t", &empty).unwrap_err().to_string().contains("header line"));
    }
}
