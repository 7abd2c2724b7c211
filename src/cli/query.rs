//! `lakectl query`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::duck::{self, At, Form};

/// Answer SQL.
#[derive(Args, Debug)]
pub struct Query {
    /// A SELECT.
    sql: String,
    /// Form of the answer.
    #[arg(long, value_enum, default_value_t = FormArg::Table)]
    format: FormArg,
    /// Read the tables as of a snapshot id or a time, as 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    at: Option<At>,
    /// Write the answer to a file.
    #[arg(short = 'o', long = "to", value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormArg {
    Table,
    Csv,
    Json,
    Parquet,
    Arrow,
}

impl Query {
    /// Runs the query and writes its answer.
    ///
    /// # Errors
    /// As [`duck::query`].
    pub fn run(self, source: &Source) -> Result<()> {
        let form = match self.format {
            FormArg::Table => Form::Table,
            FormArg::Csv => Form::Csv,
            FormArg::Json => Form::Json,
            FormArg::Parquet => Form::Parquet,
            FormArg::Arrow => Form::Arrow,
        };
        let at = self.at.unwrap_or_default();
        let binary = matches!(form, Form::Parquet | Form::Arrow);
        if let Some(path) = self.to {
            #[allow(
                clippy::disallowed_methods,
                reason = "an answer's file belongs to the person who asked, not to a lake"
            )]
            let file = std::fs::File::create(&path).map_err(|error| Error::from(error).with("file", path.display()))?;
            let mut out = BufWriter::new(file);
            duck::query(source, &self.sql, &at, form, &mut out)?;
            return Ok(out.flush()?);
        }
        if binary && io::stdout().is_terminal() {
            return Err(Error::new(
                Kind::Invalid,
                "a binary answer does not belong on a terminal: give -o FILE, or a pipe",
            ));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        duck::query(source, &self.sql, &at, form, &mut out)?;
        Ok(out.flush()?)
    }
}
