//! `lakectl evolve-schema`.

mod type_text;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use laked_catalog::system::System;

use super::change::Target;
use super::{Output, output};
use crate::contract::{self, Contract, Judgement, judge, property};
use crate::error::{Error, Kind, Result};
use crate::maintain::schema::{Change, NewColumn, Nulls, Place, SchemaPlan, evolve_schema};
use crate::read::duck::{self, At, Form};
use crate::read::relation::identifier;
use crate::read::{Source, SourceTable};

/// Change a column.
#[derive(Args, Debug)]
pub struct EvolveSchema {
    #[command(flatten)]
    target: Target,
    /// With --lake: the folder of contracts that its daemon is given, which the change must fit [default: the shipped
    /// ones]. A running daemon knows its own.
    #[arg(long, value_name = "DIR", env = "LAKED_SCHEMAS", global = true)]
    schemas: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// A new column; rows that are there read null, or its default.
    Add {
        /// Its name; `a.b` within the struct `a`, `a.element.b` within a list of structs.
        column: String,
        /// As `long`, `decimal(9, 2)`, `list<string>`, `map<string, long>`, `struct<a: int, b: string required>`.
        r#type: String,
        /// It must not be null: for an empty table, or with a default.
        #[arg(long)]
        required: bool,
        /// What rows have that do not say; as JSON, or a plain text. Format 3.
        #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
        default: Option<String>,
        /// What it means.
        #[arg(long)]
        doc: Option<String>,
        #[command(flatten)]
        place: PlaceArg,
    },
    /// A column no more; its values stay in the files until those are rewritten.
    Drop {
        /// The column.
        column: String,
    },
    /// Another name.
    Rename {
        /// The column.
        column: String,
        /// Its new name, without the path to it.
        to: String,
    },
    /// A wider type: int to long, float to double, a decimal to more digits.
    Widen {
        /// The column.
        column: String,
        /// The type.
        r#type: String,
    },
    /// Another place among its siblings.
    Reorder {
        /// The column.
        column: String,
        #[command(flatten)]
        place: PlaceArg,
    },
    /// What it means.
    Doc {
        /// The column.
        column: String,
        /// The text; empty for none.
        text: String,
    },
    /// Not null from now on; only if no row is.
    Require {
        /// The column.
        column: String,
    },
    /// May be null from now on.
    Optional {
        /// The column.
        column: String,
    },
}

#[derive(Args, Debug)]
#[group(multiple = false)]
struct PlaceArg {
    /// Before all others.
    #[arg(long)]
    first: bool,
    /// Before that sibling.
    #[arg(long, value_name = "COLUMN")]
    before: Option<String>,
    /// After that sibling.
    #[arg(long, value_name = "COLUMN")]
    after: Option<String>,
}

impl PlaceArg {
    fn place(self) -> Option<Place> {
        match self {
            PlaceArg { first: true, .. } => Some(Place::First),
            PlaceArg { before: Some(name), .. } => Some(Place::Before(name)),
            PlaceArg { after, .. } => after.map(Place::After),
        }
    }
}

impl What {
    fn change(self) -> Result<(String, Change)> {
        Ok(match self {
            What::Add { column, r#type, required, default, doc, place } => {
                let field_type = type_text::parse(&r#type)?;
                let plain = |text: String| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
                let default = default.map(|text| match field_type.as_primitive_type() {
                    Some(iceberg::spec::PrimitiveType::String) => serde_json::Value::String(text),
                    _ => plain(text),
                });
                let new = NewColumn { field_type, required, doc, default, place: place.place() };
                (column, Change::Add(Box::new(new)))
            }
            What::Drop { column } => (column, Change::Drop),
            What::Rename { column, to } => (column, Change::Rename(to)),
            What::Widen { column, r#type } => (column, Change::Widen(type_text::parse(&r#type)?)),
            What::Reorder { column, place } => {
                let place = place.place().ok_or_else(|| {
                    Error::new(Kind::Invalid, "say where: --first, --before COLUMN or --after COLUMN")
                })?;
                (column, Change::Reorder(place))
            }
            What::Doc { column, text } => (column, Change::Doc(text)),
            What::Require { column } => (column, Change::Require),
            What::Optional { column } => (column, Change::Optional),
        })
    }
}

impl EvolveSchema {
    /// Plans, commits, prints.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for the column, with what is possible; `Forbidden` where it would break the contract; those
    /// of the commit.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let changes = [self.what.change()?];
        let plan = |table: &SourceTable| {
            let nulls = match &changes[0] {
                (path, Change::Require) => nulls(source, table, path)?,
                _ => Nulls::Unknown,
            };
            let plan = evolve_schema(&table.metadata, &changes, nulls)?;
            if let Source::Lake(_) = source {
                fits_contract(table, &plan, self.schemas.as_deref())?;
            }
            Ok(plan)
        };
        let plan = self.target.change(source, plan, |plan| &plan.edit)?;
        print(&plan, self.target.dry_run, form)
    }
}

/// Counts the nulls of a column; a path within a list or map cannot be counted.
fn nulls(source: &Source, table: &SourceTable, path: &str) -> Result<Nulls> {
    let Some(snapshot) = table.metadata.current_snapshot() else { return Ok(Nulls::Unknown) };
    let schema = table.metadata.current_schema();
    let column = match schema.as_struct().field_by_name(path) {
        Some(field) => identifier(&field.name),
        None => path.split('.').map(identifier).collect::<Vec<_>>().join("."),
    };
    let levels = table
        .ident
        .namespace()
        .iter()
        .chain([&table.ident.name().to_string()])
        .map(|name| identifier(name))
        .collect::<Vec<_>>();
    let sql = format!("select count(*) from {} where {column} is null", levels.join("."));
    let mut answer = Vec::new();
    duck::query(source, &sql, &At::Snapshot(snapshot.snapshot_id()), Form::Csv, &mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    match text.lines().nth(1).and_then(|line| line.trim().parse().ok()) {
        Some(0) => Ok(Nulls::NoneIn(snapshot.snapshot_id())),
        Some(rows) => Ok(Nulls::Some(rows)),
        None => Ok(Nulls::Unknown),
    }
}

/// What a daemon's guard would say, of a lake without one.
fn fits_contract(table: &SourceTable, plan: &SchemaPlan, schemas: Option<&std::path::Path>) -> Result<()> {
    let Some(id) = table.metadata.properties().get(property::ID) else { return Ok(()) };
    let Some(after) = changed(&table.metadata, plan)? else { return Ok(()) };
    let contract = match contract::carried(&table.ident, &table.metadata)? {
        Some(contract) => contract,
        None => in_folder(table, id, schemas)?,
    };
    match judge(&contract, Some(&table.metadata), &after) {
        Judgement::Pass => Ok(()),
        Judgement::Warn(warning) => {
            eprintln!("lakectl: {warning}");
            Ok(())
        }
        Judgement::Refuse(error) => Err(error),
    }
}

/// The contract of a table that was made before tables carried theirs.
fn in_folder(table: &SourceTable, id: &str, schemas: Option<&std::path::Path>) -> Result<Contract> {
    let contracts = match schemas {
        Some(folder) => contract::load_dir(System::real().disk.as_ref(), folder)?,
        None => contract::shipped(),
    };
    contracts.into_iter().find(|contract| contract.ident() == &table.ident).ok_or_else(|| {
        let hint = "give --schemas the folder that has it, or the change to a running daemon";
        Error::new(Kind::NotFound, format!("the table was made from the contract {id}, which is not here: {hint}"))
    })
}

fn changed(metadata: &TableMetadata, plan: &SchemaPlan) -> Result<Option<TableMetadata>> {
    let Some(TableUpdate::AddSchema { schema }) = plan.edit.updates.first() else { return Ok(None) };
    let unfit = |error: iceberg::Error| Error::new(Kind::Invalid, "the change does not fit the table").because(error);
    let builder = metadata.clone().into_builder(None).add_current_schema(schema.clone()).map_err(unfit)?;
    Ok(Some(builder.build().map_err(unfit)?.metadata))
}

fn print(plan: &SchemaPlan, dry_run: bool, form: Output) -> Result<()> {
    let changes = !plan.edit.is_empty();
    if form == Output::Json {
        return output::json(&serde_json::json!({ "fields": plan.lines, "changes": changes, "dry-run": dry_run }));
    }
    if !changes {
        return output::line("the table is so already; nothing to do");
    }
    for line in &plan.lines {
        for (sign, text) in [('-', &line.before), ('+', &line.after)] {
            if let Some(text) = text {
                output::line(format!("{sign} {text}"))?;
            }
        }
    }
    output::line(if dry_run { "nothing was changed" } else { "changed; no file was rewritten" })
}
