//! `lakectl contract audit`: rows of a table that break its contract.
//!
//! What comes in through laked was held to the contract; what other engines write was not, and a commit does not show
//! its rows. The audit reads the live rows of a snapshot, of each file only the columns that have rules, and holds them
//! to the contract with the kernels that ingestion uses. Memory does not grow with the table: rows come in batches, and
//! of each broken rule a few samples and a bounded list of files are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field as ArrowField, Int64Type, Schema as ArrowSchema};
use arrow::record_batch::RecordBatch;
use clap::Args;
use iceberg::TableIdent;
use iceberg::spec::{Schema, TableMetadata};
use laked_catalog::system::System;
use serde::Serialize;

use super::{Output, output};
use crate::contract::{self, Contract, Difference, Field, FieldType, diff, property};
use crate::error::{Error, Kind, Result};
use crate::flow::Broken;
use crate::read::duck::{At, rows, snapshot_at};
use crate::read::plan::{PlannedFile, read_schema};
use crate::read::source::{Source, ident_of};

/// Files that are named of each broken rule.
const FILES: usize = 100;
/// What DuckDB may hold while it reads.
const MEMORY: &str = "512MB";

/// Look for rows that break a table's contract.
#[derive(Args, Debug)]
pub struct Audit {
    /// The table, as namespace.table.
    table: String,
    /// As of a snapshot id or a time.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    at: Option<At>,
    /// The contract's file [default: the table's in --schemas, or the one that the table carries].
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// The folder of contracts that the daemon is given.
    #[arg(long, value_name = "DIR", env = "LAKED_SCHEMAS")]
    schemas: Option<PathBuf>,
    /// Rows that are shown of each broken rule.
    #[arg(long, default_value_t = 5)]
    samples: usize,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    table: String,
    contract_version: u32,
    snapshot_id: Option<i64>,
    /// Live rows that were looked at.
    rows: u64,
    /// Those of them that break a rule.
    broken_rows: u64,
    /// Where the table's schema is not what the contract promises.
    schema: Vec<String>,
    rules: Vec<Rule>,
}

impl Report {
    /// Whether nothing breaks.
    pub fn holds(&self) -> bool {
        self.rules.is_empty() && self.schema.is_empty()
    }
}

/// A broken rule.
#[derive(Debug, Serialize)]
struct Rule {
    field: String,
    code: &'static str,
    rows: u64,
    files: Vec<File>,
    /// Rows in files that are not named.
    rows_elsewhere: u64,
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    rows: u64,
}

#[derive(Debug, Serialize)]
struct Sample {
    file: String,
    /// From 0.
    row: i64,
    /// What was found and what was wanted.
    detail: String,
}

impl Audit {
    /// Reads the table and prints what breaks.
    ///
    /// # Errors
    /// `Corrupt`, exit code 1, if anything breaks; `NotFound`, `Invalid` for the table, its contract or the snapshot;
    /// storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        let table = source.table(&ident)?;
        let metadata = &table.metadata;
        let contract = self.contract(&ident, metadata)?;
        let made_from = metadata.properties().get(property::HASH);
        if made_from.is_some_and(|hash| hash != contract.hash()) {
            eprintln!("lakectl: the table was last written under another text of this contract than is audited here");
        }
        let (at, mut all) = (self.at.clone().unwrap_or_default(), |_: &PlannedFile| true);
        let report = audited(&self.table, metadata, &contract, &at, self.samples, &mut all)?;
        match form {
            Output::Json => output::json(&report)?,
            Output::Text => output::line(text(&report).trim_end())?,
        }
        if report.holds() {
            return Ok(());
        }
        Err(Error::new(Kind::Corrupt, "the table breaks its contract; see above"))
    }

    fn contract(&self, ident: &TableIdent, metadata: &TableMetadata) -> Result<Contract> {
        if self.contract.is_none()
            && self.schemas.is_none()
            && let Some(carried) = contract::carried(ident, metadata)?
        {
            return Ok(carried);
        }
        let disk = System::real().disk;
        let load = |file: &Path| contract::load(disk.as_ref(), file);
        let found = match (&self.contract, &self.schemas) {
            (Some(file), _) => vec![load(file)?],
            (None, Some(folder)) => contract::load_dir(disk.as_ref(), folder)?,
            (None, None) => contract::shipped(),
        };
        found.into_iter().find(|contract| contract.ident() == ident).ok_or_else(|| {
            let hint = "give --contract its file, or --schemas the folder that has it";
            Error::new(Kind::NotFound, format!("there is no contract for {}: {hint}", self.table))
        })
    }
}

/// Holds the rows of a snapshot's `wanted` files to a contract; `samples` are kept of each broken rule.
///
/// # Errors
/// `NotFound` for the snapshot; storage errors.
pub fn audited(
    table: &str,
    metadata: &TableMetadata,
    contract: &Contract,
    at: &At,
    samples: usize,
    wanted: &mut dyn FnMut(&PlannedFile) -> bool,
) -> Result<Report> {
    let snapshot = snapshot_at(metadata, at)?;
    let schema = read_schema(metadata, snapshot.as_ref())?;
    let mut findings = Findings::new(contract, &schema, samples);
    let columns = findings.columns();
    rows(metadata, snapshot.as_ref(), &columns, MEMORY, wanted, &mut |batch| findings.add(batch))?;
    Ok(findings.report(table, snapshot.map(|snapshot| snapshot.snapshot_id())))
}

/// Whether rows of a field can break a rule.
fn has_rules(field: &Field) -> bool {
    let limited = field.range.is_some() || field.values.is_some() || field.pattern.is_some() || field.length.is_some();
    let real = matches!(field.kind, FieldType::Float | FieldType::Double) && !field.allow_nan;
    // Dates and times have the years that text can write.
    let dated = matches!(field.kind, FieldType::Date | FieldType::Timestamp | FieldType::Timestamptz);
    field.required || limited || real || dated
}

/// What is found while rows come in.
struct Findings<'a> {
    contract: &'a Contract,
    fields: Vec<&'a Field>,
    schema: Vec<String>,
    samples: usize,
    rows: u64,
    broken_rows: u64,
    rules: BTreeMap<(usize, &'static str), Counted>,
}

#[derive(Default)]
struct Counted {
    rows: u64,
    elsewhere: u64,
    files: BTreeMap<String, u64>,
    samples: Vec<Sample>,
}

impl<'a> Findings<'a> {
    fn new(contract: &'a Contract, schema: &Schema, samples: usize) -> Findings<'a> {
        let breaks = |difference: &Difference| match difference {
            Difference::Absent { field, .. } => contract.field(field).is_some_and(|field| field.required),
            Difference::Type { .. } => true,
            _ => false,
        };
        let differences = diff(contract, schema);
        let of_type = |field: &&Field| {
            let same = |column: &iceberg::spec::NestedFieldRef| *column.field_type == *field.iceberg().field_type;
            schema.field_by_name(&field.name).is_some_and(same)
        };
        Findings {
            contract,
            fields: contract.fields().iter().filter(|field| has_rules(field)).filter(of_type).collect(),
            schema: differences.iter().filter(|one| breaks(one)).map(ToString::to_string).collect(),
            samples,
            rows: 0,
            broken_rows: 0,
            rules: BTreeMap::new(),
        }
    }

    fn columns(&self) -> Vec<&'a str> {
        self.fields.iter().map(|field| field.name.as_str()).collect()
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let odd = || Error::new(Kind::Internal, "DuckDB's answer has other columns than were asked for");
        let (Some(files), Some(numbers)) = (batch.columns().get(self.fields.len()), batch.columns().last()) else {
            return Err(odd());
        };
        let files = files.as_string_opt::<i32>().ok_or_else(odd)?;
        let numbers = numbers.as_primitive_opt::<Int64Type>().ok_or_else(odd)?;
        self.rows += batch.num_rows() as u64;
        let verdict = self.contract.check_some(&self.fields, &shaped(&self.fields, batch)?);
        self.broken_rows += verdict.rows().len() as u64;
        for (row, broken) in verdict.broken {
            let row = row as usize;
            self.note(broken, files.value(row), numbers.value(row));
        }
        Ok(())
    }

    fn note(&mut self, broken: Broken, file: &str, row: i64) {
        let Broken { code, field, detail } = broken;
        let place = self.fields.iter().position(|one| Some(&one.name) == field.as_ref()).unwrap_or(self.fields.len());
        let counted = self.rules.entry((place, code)).or_default();
        counted.rows += 1;
        if let Some(rows) = counted.files.get_mut(file) {
            *rows += 1;
        } else if counted.files.len() < FILES {
            counted.files.insert(file.to_string(), 1);
        } else {
            counted.elsewhere += 1;
        }
        if counted.samples.len() < self.samples {
            counted.samples.push(Sample { file: file.to_string(), row, detail });
        }
    }

    fn report(self, table: &str, snapshot_id: Option<i64>) -> Report {
        let Findings { contract, fields, schema, rows, broken_rows, rules, .. } = self;
        let rule = |((place, code), counted): ((usize, &'static str), Counted)| Rule {
            field: fields.get(place).map(|field| field.name.clone()).unwrap_or_default(),
            code,
            rows: counted.rows,
            files: counted.files.into_iter().map(|(path, rows)| File { path, rows }).collect(),
            rows_elsewhere: counted.elsewhere,
            samples: counted.samples,
        };
        let rules = rules.into_iter().map(rule).collect();
        Report {
            table: table.to_string(),
            contract_version: contract.version,
            snapshot_id,
            rows,
            broken_rows,
            schema,
            rules,
        }
    }
}

/// The batch as the contract's checks want it: bytes of a fixed length, which DuckDB gives as text or plain bytes, stand
/// for themselves by their nulls alone, since the table's type is their only other rule.
fn shaped(fields: &[&Field], batch: &RecordBatch) -> Result<RecordBatch> {
    let column = |(field, array): (&&Field, &ArrayRef)| -> ArrayRef {
        let width = match field.kind {
            FieldType::Uuid => 16,
            FieldType::Fixed(width) => width as usize,
            _ => return array.clone(),
        };
        let zeros = Buffer::from(vec![0_u8; width * array.len()]);
        let width = i32::try_from(width).unwrap_or(i32::MAX);
        Arc::new(FixedSizeBinaryArray::new(width, zeros, array.logical_nulls()))
    };
    let columns: Vec<ArrayRef> = fields.iter().zip(batch.columns()).map(column).collect();
    let named = fields.iter().zip(&columns).map(|(field, array)| {
        let kind: &DataType = array.data_type();
        ArrowField::new(&field.name, kind.clone(), true)
    });
    let schema = Arc::new(ArrowSchema::new(named.collect::<Vec<_>>()));
    let rows = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &rows)
        .map_err(|error| Error::new(Kind::Internal, "rows cannot be held to the contract").because(error))
}

/// As it is printed.
pub fn text(report: &Report) -> String {
    let Report { table, contract_version, rows, broken_rows, .. } = report;
    let (rows, broken) = (output::count(*rows), output::count(*broken_rows));
    let mut text = format!("{table}: {broken} of {rows} rows break version {contract_version} of the contract\n");
    for difference in &report.schema {
        text += &format!("schema: {difference}\n");
    }
    for rule in &report.rules {
        text += &format!("\n{} {}: {} rows\n", rule.field, rule.code, output::count(rule.rows));
        for sample in &rule.samples {
            text += &format!("  {} row {}: {}\n", sample.file, sample.row, sample.detail);
        }
        let named: Vec<String> =
            rule.files.iter().map(|file| format!("  {} rows in {}\n", output::count(file.rows), file.path)).collect();
        text += &named.concat();
        if rule.rows_elsewhere > 0 {
            text += &format!("  {} rows in more files\n", output::count(rule.rows_elsewhere));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::contract::Code;

    const TEXT: &str = "[fields]\nid = { type = \"uuid\", required = true }\nx = { type = \"double\", range = [0, 9] }\n\
                        free = \"string\"";

    fn batch(ids: Vec<Option<&str>>, reals: Vec<f64>, file: &str) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..reals.len() as i64);
        let files = StringArray::from(vec![file; reals.len()]);
        RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(ids)) as ArrayRef),
            ("x", Arc::new(Float64Array::from(reals)) as ArrayRef),
            ("file", Arc::new(files) as ArrayRef),
            ("row", Arc::new(numbers) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn rules_are_counted_with_samples_and_files() {
        let contract = Contract::parse(TEXT, "n/t.toml").unwrap();
        let mut findings = Findings::new(&contract, contract.iceberg_schema(), 1);
        assert_eq!(findings.columns(), ["id", "x"], "a field without rules is not read");
        findings.add(&batch(vec![Some("a"), None, None], vec![1.0, 10.0, -1.0], "f")).unwrap();
        findings.add(&batch(vec![Some("a")], vec![f64::NAN], "g")).unwrap();
        let report = findings.report("n.t", Some(1));
        assert_eq!((report.rows, report.broken_rows), (4, 3));
        let rules: Vec<_> = report.rules.iter().map(|rule| (rule.field.as_str(), rule.code, rule.rows)).collect();
        assert_eq!(rules, [("id", Code::Null.slug(), 2), ("x", Code::Nan.slug(), 1), ("x", Code::Range.slug(), 2)]);
        assert_eq!((report.rules[0].samples.len(), report.rules[0].samples[0].row), (1, 1));
        assert_eq!((report.rules[1].files[0].path.as_str(), report.rules[1].files[0].rows), ("g", 1));
        assert!(text(&report).starts_with("n.t: 3 of 4 rows break version 1 of the contract\n"), "{}", text(&report));
    }

    #[test]
    fn a_schema_that_has_moved_away_is_told_and_the_rest_is_looked_at() {
        let contract = Contract::parse(TEXT, "n/t.toml").unwrap();
        let other = "[fields]\nx = \"long\"\nfree = \"string\"";
        let table = Contract::parse(other, "n/t.toml").unwrap();
        let findings = Findings::new(&contract, table.iceberg_schema(), 1);
        assert!(findings.columns().is_empty());
        assert_eq!(findings.schema.len(), 2, "{:?}", findings.schema);
    }

    #[test]
    fn files_that_are_too_many_are_counted() {
        let contract = Contract::parse(TEXT, "n/t.toml").unwrap();
        let mut findings = Findings::new(&contract, contract.iceberg_schema(), 0);
        for number in 0..FILES + 3 {
            findings.add(&batch(vec![None], vec![1.0], &format!("f{number}"))).unwrap();
        }
        let report = findings.report("n.t", None);
        assert_eq!((report.rules[0].files.len(), report.rules[0].rows_elsewhere), (FILES, 3));
    }
}
