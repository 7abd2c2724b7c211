//! `lakectl quarantine list|show|replay`: over the table `<table>__rejected`.

use std::io::{self, Write};

use clap::Subcommand;
use iceberg::TableIdent;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Output, ingest, output};
use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::duck::{self, At, Form};
use crate::read::source::ident_of;

/// Look at refused records, and send them again.
#[derive(Subcommand, Debug)]
pub enum Quarantine {
    /// Count refused records by source and broken rules.
    List {
        /// The table whose records were refused; all tables if absent.
        table: Option<String>,
    },
    /// Show refused records with their raw text.
    Show {
        /// The table whose records were refused.
        table: String,
        /// At most so many, the newest first.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only those with this reason code.
        #[arg(long)]
        code: Option<String>,
    },
    /// Send refused records to the table again, as after the contract was mended.
    ///
    /// The same selection is taken in once: its idempotency key is made of the records' positions.
    Replay {
        /// The table whose records were refused.
        table: String,
        /// Only those of this source.
        #[arg(long)]
        source: Option<String>,
        /// Only those with this reason code.
        #[arg(long)]
        code: Option<String>,
        /// The header line of records that came as CSV.
        #[arg(long)]
        header: Option<String>,
        /// Say what would be sent, and send nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Refused {
    lane: String,
    entry: i64,
    record: i64,
    raw: String,
}

impl Quarantine {
    /// Runs the verb.
    ///
    /// # Errors
    /// `NotFound` without a quarantine; as for queries and ingestion.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Quarantine::List { table } => list(source, table.as_deref(), form),
            Quarantine::Show { table, limit, code } => {
                let columns = "rejected_at, source, entry, record, line, codes, reasons, raw";
                let rejected = quoted(&rejected(&ident_of(&table)?));
                let condition = with_code(code.as_deref());
                let sql = format!(
                    "SELECT {columns} FROM {rejected} WHERE {condition} ORDER BY rejected_at DESC, entry, record LIMIT {limit}"
                );
                print(source, &sql, form)
            }
            Quarantine::Replay { table, source: from, code, header, dry_run } => {
                let condition = match from {
                    Some(from) => format!("{} AND source = '{}'", with_code(code.as_deref()), from.replace('\'', "''")),
                    None => with_code(code.as_deref()),
                };
                replay(source, &ident_of(&table)?, &condition, header.as_deref(), dry_run, form)
            }
        }
    }
}

fn rejected(table: &TableIdent) -> TableIdent {
    TableIdent::new(table.namespace().clone(), format!("{}__rejected", table.name()))
}

fn quoted(table: &TableIdent) -> String {
    let namespace = table.namespace().join(".").replace('"', "\"\"");
    format!("\"{namespace}\".\"{}\"", table.name().replace('"', "\"\""))
}

fn with_code(code: Option<&str>) -> String {
    match code {
        Some(code) => format!("list_contains(string_split(codes, ','), '{}')", code.replace('\'', "''")),
        None => "true".to_string(),
    }
}

fn print(source: &Source, sql: &str, form: Output) -> Result<()> {
    let form = if form == Output::Json { Form::Json } else { Form::Table };
    duck::query(source, sql, &At::Now, form, &mut io::stdout().lock())
}

fn list(source: &Source, table: Option<&str>, form: Output) -> Result<()> {
    let all = source.tables()?;
    let wanted = table.map(ident_of).transpose()?.map(|table| rejected(&table));
    let quarantines: Vec<TableIdent> = all
        .into_iter()
        .filter(|ident| wanted.as_ref().map_or(ident.name().ends_with("__rejected"), |wanted| wanted == ident))
        .collect();
    if quarantines.is_empty() {
        writeln!(io::stderr(), "nothing was refused")?;
        return Ok(());
    }
    let one = |ident: &TableIdent| {
        let name = ident.to_string();
        let name = name.trim_end_matches("__rejected").replace('\'', "''");
        format!(
            "SELECT '{name}' AS \"table\", source, codes, count(*) AS records, max(rejected_at) AS latest FROM {} GROUP BY ALL",
            quoted(ident)
        )
    };
    let sql = quarantines.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
    print(source, &format!("SELECT * FROM ({sql}) ORDER BY records DESC, 1, 2, 3"), form)
}

/// Refused records to be sent again.
struct Replay {
    records: Vec<Refused>,
    body: String,
    content_type: &'static str,
}

impl Replay {
    fn of(records: Vec<Refused>, header: Option<&str>) -> Result<Replay> {
        let json = records.iter().all(|record| record.raw.trim_start().starts_with('{'));
        let mut body = match (json, header) {
            (true, _) => String::new(),
            (false, Some(header)) => format!("{}\n", header.trim_end()),
            (false, None) => {
                return Err(Error::new(
                    Kind::Invalid,
                    "some records came as CSV: give their header line with --header 'a,b,c'",
                ));
            }
        };
        for record in &records {
            body.push_str(record.raw.trim_end());
            body.push('\n');
        }
        let content_type = if json { "application/x-ndjson" } else { "text/csv" };
        Ok(Replay { records, body, content_type })
    }

    /// The same records have the same key.
    fn key(&self, table: &TableIdent) -> Uuid {
        let mut hash = Sha256::new();
        for record in &self.records {
            hash.update(format!("{table}:{}:{}:{};", record.lane, record.entry, record.record));
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Uuid::from_bytes(key)
    }
}

fn refused(source: &Source, table: &TableIdent, condition: &str) -> Result<Vec<Refused>> {
    let sql = format!(
        "SELECT lane, entry, record, raw FROM {} WHERE {condition} ORDER BY lane, entry, record",
        quoted(&rejected(table))
    );
    let mut text = Vec::new();
    duck::query(source, &sql, &At::Now, Form::Json, &mut text)?;
    let records = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice);
    records.collect::<Result<_, _>>().map_err(|error| Error::new(Kind::Internal, "a query's answer").because(error))
}

fn replay(
    source: &Source,
    table: &TableIdent,
    condition: &str,
    header: Option<&str>,
    dry_run: bool,
    form: Output,
) -> Result<()> {
    let Source::Daemon(url) = source else {
        return Err(Error::new(
            Kind::Invalid,
            "replay speaks to a running daemon: start `laked --lake DIR` and give --url",
        ));
    };
    let replay = Replay::of(refused(source, table, condition)?, header)?;
    let count = output::count(replay.records.len() as u64);
    if dry_run || replay.records.is_empty() {
        eprintln!("{count} records would be sent to {table}");
        return Ok(());
    }
    let url = format!("{url}/ingest/{}/{}?wait=committed", table.namespace().join("."), table.name());
    let (accepted, refused) = ingest::send_text(&url, replay.content_type, replay.body.as_bytes(), &replay.key(table))?;
    if form == Output::Json {
        return output::json(&json!({ "sent": replay.records.len(), "accepted": accepted, "rejected": refused }));
    }
    eprintln!("{count} sent: {} accepted, {} refused again", output::count(accepted), output::count(refused));
    Ok(())
}
