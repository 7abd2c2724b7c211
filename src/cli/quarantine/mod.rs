//! `lakectl quarantine list|show|replay`: over the table `<table>__rejected`, which can be queried like any other.

mod replay;
mod replayed;

use std::io::{self, Write};

use clap::Subcommand;
use iceberg::TableIdent;

use self::replay::Replay;
use super::{Output, output};
use crate::error::Result;
use crate::ingest::quarantine::{SUFFIX, ident as rejected, is_quarantine};
use crate::read::Source;
use crate::read::duck::{self, At, Form};
use crate::read::relation::{identifier, text};
use crate::read::source::ident_of;

/// Look at refused records, and send them again.
#[derive(Subcommand, Debug)]
pub enum Quarantine {
    /// Count refused records by source and broken rules.
    #[command(after_help = "Example:\n  lakectl quarantine list glucose.cgm_readings")]
    List {
        /// The table whose records were refused; all tables if absent.
        table: Option<String>,
    },
    /// Show refused records with their raw text, the newest first.
    #[command(after_help = "Example:\n  lakectl quarantine show glucose.cgm_readings --code range --limit 5")]
    Show {
        /// The table whose records were refused.
        table: String,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        which: Which,
    },
    /// Send refused records to the table again: mended with --set, or as they are after the contract was.
    ///
    /// What was sent is remembered in the quarantine table's properties, and no record is sent twice. A record that is
    /// refused again comes back to quarantine as a new one. A record that quarantine does not hold whole (longer than
    /// 64 KiB, not UTF-8) is left out and counted.
    #[command(
        after_help = "Example:\n  lakectl quarantine replay glucose.cgm_readings --code enum --set country='\"TW\"' --dry-run"
    )]
    Replay(Replay),
}

/// Which refused records.
#[derive(clap::Args, Debug)]
pub struct Which {
    /// Only those of this source, as `list` shows it.
    #[arg(long)]
    source: Option<String>,
    /// Only those that break this rule, as `list` shows its code.
    #[arg(long)]
    code: Option<String>,
}

impl Which {
    fn condition(&self) -> String {
        let mut parts = vec!["true".to_string()];
        if let Some(code) = &self.code {
            parts.push(format!("list_contains(string_split(codes, ','), {})", text(code)));
        }
        if let Some(source) = &self.source {
            parts.push(format!("source = {}", text(source)));
        }
        parts.join(" AND ")
    }
}

impl Quarantine {
    /// Runs the verb.
    ///
    /// # Errors
    /// `NotFound` without a quarantine; as for queries and ingestion.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Quarantine::List { table } => list(source, table.as_deref(), form),
            Quarantine::Show { table, limit, which } => show(source, &ident_of(&table)?, limit, &which, form),
            Quarantine::Replay(replay) => replay.run(source, form),
        }
    }
}

fn quoted(table: &TableIdent) -> String {
    format!("{}.{}", identifier(&table.namespace().join(".")), identifier(table.name()))
}

fn print(source: &Source, sql: &str, form: Output) -> Result<()> {
    let form = if form == Output::Json { Form::Json } else { Form::Table };
    duck::query(source, sql, &At::Now, form, &mut io::stdout().lock())
}

fn show(source: &Source, table: &TableIdent, limit: u32, which: &Which, form: Output) -> Result<()> {
    let (rejected, condition) = (quoted(&rejected(table)), which.condition());
    let columns = "rejected_at, source, entry, record, line, codes, reasons, raw";
    let order = "rejected_at DESC, entry, record";
    print(source, &format!("SELECT {columns} FROM {rejected} WHERE {condition} ORDER BY {order} LIMIT {limit}"), form)
}

fn list(source: &Source, table: Option<&str>, form: Output) -> Result<()> {
    let quarantines = match table {
        Some(table) => vec![rejected(&ident_of(table)?)],
        None => source.tables()?.into_iter().filter(is_quarantine).collect(),
    };
    if quarantines.is_empty() {
        writeln!(io::stderr(), "there is no quarantine: no table has refused anything")?;
        return if form == Output::Json { output::json(&[(); 0]) } else { Ok(()) };
    }
    let one = |ident: &TableIdent| {
        let name = ident.to_string();
        let name = text(name.trim_end_matches(SUFFIX));
        format!(
            "SELECT {name} AS \"table\", source, codes, count(*) AS records, max(rejected_at) AS latest FROM {} GROUP BY ALL",
            quoted(ident)
        )
    };
    let sql = quarantines.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
    print(source, &format!("SELECT * FROM ({sql}) ORDER BY records DESC, 1, 2, 3"), form)
}
