//! `lakectl contract check FILE…`, `lakectl contract lock DIR` and `lakectl contract new NAMESPACE.TABLE FILE`: contracts on this machine, no lake
//! and no daemon asked. Plain functions from arguments to text; what a file is, its first bytes tell, not its name.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use laked_catalog::system::System;

use crate::contract::{Contract, LOCK, Lock, Problem, Sample, draft, load_dir, problems};
use crate::error::{Error, Kind, Result};
use crate::ingest::durable;

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
        Ok(contract) => match unlocked(file, &contract) {
            Ok(()) => (format!("{shown}: {}\n", summary(&contract)), true),
            Err(error) => (format!("{shown}: {error}\n"), false),
        },
        Err(problems) => {
            let line = |problem: &Problem| match problem.line {
                0 => format!("{shown}: {problem}\n"),
                _ => format!("{shown}:{problem}\n"),
            };
            (problems.iter().map(line).collect(), false)
        }
    }
}

/// Holds a contract against the lock beside its namespace's folder, if there is one.
fn unlocked(file: &Path, contract: &Contract) -> Result<()> {
    let Some(folder) = Path::new(&origin(file)).ancestors().nth(2).map(Path::to_owned) else { return Ok(()) };
    Lock::load(System::real().disk.as_ref(), &folder)?.check(contract)
}

/// Publishes the versions that a schemas folder has, in its `contracts.lock`; says which are new.
///
/// # Errors
/// `Invalid` for a contract, or one whose version was published with another text: nothing is written then.
pub fn lock(folder: &Path) -> Result<String> {
    let contracts = load_dir(System::real().disk.as_ref(), folder)?;
    let added = publish(folder, &contracts.iter().collect::<Vec<_>>())?;
    let line = |contract: &&&Contract| format!("published {} version {}\n", contract.id(), contract.version);
    match added.as_slice() {
        [] => Ok(format!("{}: nothing new\n", folder.join(LOCK).display())),
        _ => Ok(added.iter().map(|contract| line(&contract)).collect()),
    }
}

/// Adds versions to the lock of a folder, durably; gives those that were not there.
///
/// # Errors
/// As [`Lock::publish`]; storage errors.
pub fn publish<'a>(folder: &Path, contracts: &[&'a Contract]) -> Result<Vec<&'a Contract>> {
    let disk = System::real().disk;
    let mut lock = Lock::load(disk.as_ref(), folder)?;
    let mut added = Vec::new();
    for contract in contracts {
        if lock.publish(contract)? {
            added.push(*contract);
        }
    }
    if !added.is_empty() {
        durable::replace(disk.as_ref(), &folder.join(LOCK), lock.text().as_bytes())?;
    }
    Ok(added)
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
    fn a_published_version_is_checked_and_its_text_kept() {
        let folder = tempfile::tempdir().unwrap();
        let space = folder.path().join("shop");
        std::fs::create_dir(&space).unwrap();
        let text = |version: u32, kind: &str| format!("[table]\nversion = {version}\n[fields]\na = \"{kind}\"\n");
        let file = write(&space, "orders.toml", text(1, "int").as_bytes());
        assert_eq!(lock(folder.path()).unwrap(), "published shop.orders version 1\n");
        assert!(lock(folder.path()).unwrap().contains("nothing new"));
        assert!(check(std::slice::from_ref(&file)).1);
        let change = |text: String| {
            laked_catalog::store::OsDisk.remove(&file).unwrap();
            write(&space, "orders.toml", text.as_bytes());
        };
        change(text(1, "long"));
        let (said, sound) = check(std::slice::from_ref(&file));
        assert!(!sound && said.contains("raise the version to 2"), "{said}");
        let before = std::fs::read(folder.path().join(LOCK)).unwrap();
        assert_eq!(lock(folder.path()).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(std::fs::read(folder.path().join(LOCK)).unwrap(), before);
        change(text(2, "long"));
        assert!(check(std::slice::from_ref(&file)).1);
        assert_eq!(lock(folder.path()).unwrap(), "published shop.orders version 2\n");
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
