//! What a commit costs at few and at many snapshots, beside a durable file write on the same disk.
//!
//! `cargo run --release --example commit_cost -- [SNAPSHOTS]` (5000 by default). Works in a temporary folder of the
//! current one. At 10 snapshots, at each thousand and at the end it rests, then times 31 commits, each followed by a
//! durable write (write, fsync, rename, fsync of the folder), and prints the medians. The rest is for ext4, which gives
//! no inode away that was freed within the last five seconds and looks at each of them again at each new file: what
//! thousands of commits freed in a row would be charged to the ones that are timed.

#[path = "shared/appended.rs"]
mod appended;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
};
use iceberg::{NamespaceIdent, TableIdent};
use laked::error::{Error, Kind, Result};
use laked_catalog::CreateTable;
use laked_catalog::system::System;

use appended::Appended;

const REST: Duration = Duration::from_secs(6);
const TIMED: u64 = 31;

fn internal(what: &'static str) -> impl Fn(iceberg::Error) -> Error {
    move |error| Error::new(Kind::Internal, what).because(error)
}

fn median(mut times: Vec<u128>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |&us| us as f64 / 1000.0)
}

fn create(dir: &std::path::Path) -> Result<Appended> {
    let long = |id| Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::Long)));
    let schema = Schema::builder().with_fields((1..=8).map(long)).build().map_err(internal("schema"))?;
    let create = CreateTable { schema, spec: None, sort_order: None, location: None, properties: HashMap::new() };
    Appended::create(dir, System::real(), &TableIdent::new(NamespaceIdent::new("ns".into()), "t".into()), create)
}

fn data_file(location: String) -> Result<DataFile> {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(10)
        .file_size_in_bytes(4096)
        .build()
        .map_err(|error| Error::new(Kind::Internal, "data file").because(error))
}

fn commit(table: &mut Appended) -> Result<u128> {
    table.commit(data_file(table.next_location())?, &[7; 4096], Vec::new())
}

fn durable_write(table: &Appended) -> Result<u128> {
    let location = format!("{}/probe/{}", table.table.metadata.location(), table.commits);
    table.timed(|| table.store.put(&location, &[7; 4096]))
}

fn main() -> Result<()> {
    let most: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5000);
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let mut table = create(dir.path())?;
    let mut first = None;
    for snapshots in std::iter::once(10).chain((1000..most).step_by(1000)).chain([most]) {
        while table.commits < snapshots {
            let _ = commit(&mut table)?;
        }
        std::thread::park_timeout(REST);
        let (mut commits, mut writes) = (Vec::new(), Vec::new());
        for _ in 0..TIMED {
            commits.push(commit(&mut table)?);
            writes.push(durable_write(&table)?);
        }
        let (commit, write) = (median(commits), median(writes));
        let first = *first.get_or_insert(commit);
        let length = table.now()?.1 / 1000;
        println!(
            "{snapshots:>6} snapshots: a commit {commit:.2} ms ({:.2} times the first), a durable write {write:.2} ms: \
             {:.2} of them; metadata.json {length} kB",
            commit / first,
            commit / write
        );
    }
    Ok(())
}
