//! What an erase looks for in a table: rows of the table itself, or the texts of refused records in its quarantine.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::Schema;
use laked_catalog::plan::Predicate;

use super::condition::Condition;
use super::texts::{Finding, finding};
use crate::error::{Error, Kind, Result};

/// The columns of a quarantine table that tell of a record: its text, and the rules it broke.
const TEXT: [&str; 2] = ["raw", "codes"];
/// Of a text of this many bytes and more the end may be missing.
const CUT: usize = (64 << 10) - 4;

/// What is looked for.
#[derive(Clone, Debug)]
pub enum Sought {
    /// Rows that satisfy a condition.
    Rows(Arc<Condition>),
    /// Refused records that do, by their text.
    Texts {
        /// The condition.
        condition: Arc<Condition>,
        /// Whether those go too of which it cannot be told.
        undecided: bool,
        /// The columns that are read.
        columns: (Arc<Schema>, SchemaRef),
    },
}

impl Sought {
    /// Refused records in a quarantine table of this schema.
    ///
    /// # Errors
    /// `Invalid` if it is no quarantine table's.
    pub fn texts(condition: Arc<Condition>, undecided: bool, schema: &Schema) -> Result<Sought> {
        let fields = TEXT.iter().filter_map(|name| schema.as_struct().field_by_name(name).cloned());
        let unfit = |error| Error::new(Kind::Invalid, "a quarantine table has other columns").because(error);
        let columns = Schema::builder().with_fields(fields).build().map_err(unfit)?;
        if columns.as_struct().fields().len() < TEXT.len() {
            return Err(Error::new(Kind::Invalid, "a quarantine table has no columns `raw` and `codes`"));
        }
        let arrow = Arc::new(schema_to_arrow_schema(&columns).map_err(unfit)?);
        Ok(Sought::Texts { condition, undecided, columns: (Arc::new(columns), arrow) })
    }

    /// What prunes files.
    pub fn predicate(&self) -> &Predicate {
        match self {
            Sought::Rows(condition) => condition.predicate(),
            Sought::Texts { .. } => &Predicate::True,
        }
    }

    /// The columns that are read of a file.
    pub fn columns(&self) -> (&Schema, &SchemaRef) {
        match self {
            Sought::Rows(condition) => condition.schema(),
            Sought::Texts { columns: (schema, arrow), .. } => (schema, arrow),
        }
    }

    /// The rows of a batch that are sought; `undecided` is told how many could not be judged and stay. Of an equality
    /// delete file only the `known` columns are there.
    ///
    /// # Errors
    /// `Corrupt` for a column of another type.
    pub fn mask(&self, batch: &RecordBatch, known: Option<&HashSet<i32>>, undecided: &mut u64) -> Result<BooleanArray> {
        let (condition, all) = match (self, known) {
            (Sought::Rows(condition), None) => return condition.mask(batch),
            (Sought::Rows(condition), Some(known)) => return condition.mask_knowing(batch, known),
            (Sought::Texts { condition, undecided, .. }, _) => (condition, *undecided),
        };
        let missing = || Error::new(Kind::Corrupt, "a quarantine file has no text of its records");
        let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (raw, codes) = (text(TEXT[0]).ok_or_else(missing)?, text(TEXT[1]).ok_or_else(missing)?);
        let mut judge =
            |row: usize| match finding(condition, raw.value(row), is_whole(raw.value(row), codes.value(row))) {
                Finding::Yes => true,
                Finding::No => false,
                Finding::Undecided => {
                    *undecided += u64::from(!all);
                    all
                }
            };
        Ok((0..batch.num_rows()).map(|row| raw.is_valid(row) && judge(row)).collect::<Vec<bool>>().into())
    }
}

/// Whether quarantine has all of a record.
fn is_whole(raw: &str, codes: &str) -> bool {
    raw.len() < CUT && !codes.split(',').any(|code| code == "utf8" || code == "too-long")
}
