//! `lakectl catalog`: copies of the catalog's database, whether it fits the warehouse, and making it again when it is lost.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use laked_catalog::store::{DiskLock, Store, location_of};
use laked_catalog::system::System;
use laked_catalog::{Catalog, Copied, Database, Problem, Rebuilt, State};
use serde_json::json;

use super::{Output, output};
use crate::error::{Error, Kind, Result};
use crate::read::Source;

/// The catalog's database.
#[derive(Subcommand, Debug)]
pub enum CatalogVerb {
    /// Copy the database to a new file, beside a running daemon; the file serves SQLite and PostgreSQL.
    #[command(after_help = "Example:\n  lakectl --lake ./lake catalog backup monday.backup")]
    Backup {
        /// The file to make.
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Bring a backup back, or move it into another database; the daemon must be stopped.
    Restore {
        /// A file that `catalog backup` made.
        file: PathBuf,
        /// Forget what the catalog holds now.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        at: At,
    },
    /// Hold the database against the warehouse: pointers to nothing, to old files; folders nobody points to.
    Check {
        #[command(flatten)]
        at: At,
    },
    /// Find every table again from the warehouse, after the database is lost; the daemon must be stopped.
    #[command(after_help = "Example:\n  lakectl --lake ./lake catalog rebuild --dry-run")]
    Rebuild {
        /// Look and tell, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        at: At,
    },
}

/// Which database.
#[derive(clap::Args, Debug)]
pub struct At {
    /// As the daemon's: sqlite:PATH or postgres://… [default: catalog.db in the lake's folder]
    #[arg(long, env = "LAKED_CATALOG_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// A lake's folder, opened for one of the verbs.
struct Place {
    system: System,
    folder: PathBuf,
    database: Database,
}

impl Place {
    fn of(source: &Source, at: &At) -> Result<Place> {
        let Source::Lake(folder) = source else {
            let message = "this looks at a lake's database and files: give the lake's folder with --lake DIR";
            return Err(Error::new(Kind::Invalid, message));
        };
        let folder = std::path::absolute(folder).map_err(Error::from)?;
        let database = match at.database.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => text.parse()?,
            None => Database::File(folder.join("catalog.db")),
        };
        Ok(Place { system: System::real(), folder, database })
    }

    /// The database, which must be there: an empty one is not made for a look.
    fn state(&self) -> Result<State> {
        if let Database::File(path) = &self.database {
            self.system.disk.stat(path).map_err(|error| {
                let message = "there is no catalog here: give --lake the folder that `laked --lake` was given";
                Error::new(Kind::NotFound, message).with("looked for", path.display()).because(error)
            })?;
        }
        State::open(&self.database)
    }

    fn warehouse(&self) -> Result<String> {
        location_of(&self.folder.join("warehouse"))
    }

    /// Nobody else may be at work: the daemon's lock is held meanwhile.
    fn lock(&self) -> Result<Box<dyn DiskLock>> {
        self.system.disk.stat(&self.folder.join("warehouse")).map_err(|error| {
            let message = "there is no lake here: give --lake the folder that `laked --lake` was given";
            Error::new(Kind::NotFound, message).with("looked for", self.folder.display()).because(error)
        })?;
        self.system.disk.lock(&self.folder.join("lock")).map_err(|error| {
            Error::new(Kind::Conflict, "a daemon has this lake open: stop it first")
                .with("lake", self.folder.display())
                .because(error)
        })
    }
}

impl CatalogVerb {
    /// Does it.
    ///
    /// # Errors
    /// `Invalid` without `--lake`; `Conflict` beside a running daemon or over a catalog that is not empty; `Corrupt` if a
    /// check finds something; database and storage errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            CatalogVerb::Backup { file, at } => back_up(&Place::of(source, &at)?, &file, form),
            CatalogVerb::Restore { file, force, at } => restore(&Place::of(source, &at)?, &file, force, form),
            CatalogVerb::Check { at } => check(&Place::of(source, &at)?, form),
            CatalogVerb::Rebuild { dry_run, at } => rebuild(&Place::of(source, &at)?, dry_run, form),
        }
    }
}

fn back_up(place: &Place, file: &Path, form: Output) -> Result<()> {
    let disk = &place.system.disk;
    let file = std::path::absolute(file).map_err(Error::from)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.{}", place.system.ids.uuid().simple()));
    let made = place.state()?.back_up(&partial).and_then(|copied| {
        disk.rename_new(&partial, &file).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(Kind::Exists, "there is such a file: a backup goes to a new one")
                    .with("file", file.display())
            }
            _ => Error::from(error),
        })?;
        disk.sync_dir(folder)?;
        Ok(copied)
    });
    if made.is_err() {
        let _ = disk.remove(&partial);
    }
    told("backed up", made?, form)
}

fn restore(place: &Place, file: &Path, force: bool, form: Output) -> Result<()> {
    let _lock = place.lock()?;
    place.system.disk.stat(file).map_err(|error| Error::from(error).with("file", file.display()))?;
    let copied = State::open(&place.database)?.restore(file, force)?;
    told("restored", copied, form)?;
    let check = "lakectl catalog check tells whether the warehouse has moved on since";
    eprintln!("{check}");
    Ok(())
}

fn told(what: &str, copied: Copied, form: Output) -> Result<()> {
    let Copied { namespaces, tables } = copied;
    match form {
        Output::Json => output::json(&json!({ "namespaces": namespaces, "tables": tables })),
        Output::Text => output::line(format!("{what}: {namespaces} namespaces, {tables} tables and views")),
    }
}

fn check(place: &Place, form: Output) -> Result<()> {
    let catalog = Catalog::over(place.state()?, place.warehouse()?, Store::read_only(place.system.clone()));
    let problems = catalog.check()?;
    match form {
        Output::Json => output::json(&json!({ "problems": problems }))?,
        Output::Text if problems.is_empty() => output::line("the database and the warehouse agree")?,
        Output::Text => listed(&problems)?,
    }
    judged(&problems)
}

fn rebuild(place: &Place, dry: bool, form: Output) -> Result<()> {
    let _lock = place.lock()?;
    let there = !matches!(&place.database, Database::File(path) if place.system.disk.stat(path).is_err());
    // For a look, an empty database in memory says the same as one that is not there.
    let state = if dry && !there { State::open(&Database::Memory)? } else { State::open(&place.database)? };
    let store = match dry {
        true => Store::read_only(place.system.clone()),
        false => Store::local(place.system.clone(), place.folder.join("staging"))?,
    };
    let rebuilt = Catalog::over(state, place.warehouse()?, store).rebuild(dry)?;
    match form {
        Output::Json => output::json(&rebuilt)?,
        Output::Text => drawn(&rebuilt, dry)?,
    }
    judged(&rebuilt.problems)
}

fn drawn(rebuilt: &Rebuilt, dry: bool) -> Result<()> {
    let Rebuilt { found, kept, dropped, problems } = rebuilt;
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|one| {
            let name = format!("{}.{}", one.namespace.join("."), one.name);
            let source = if one.named { "written down" } else { "its folder" };
            vec![name, one.sort.to_string(), source.to_string(), one.location.clone()]
        })
        .collect();
    if !rows.is_empty() {
        output::table(&["name", "kind", "named by", "metadata"], &rows)?;
    }
    let verb = if dry { "would be found again" } else { "found again" };
    let (found, kept, dropped) = (found.len(), kept.len(), dropped.len());
    output::line(format!("{found} {verb}, {kept} there already, {dropped} dropped before and left so"))?;
    listed(problems)
}

fn listed(problems: &[Problem]) -> Result<()> {
    for Problem { kind, subject, locations, advice } in problems {
        output::line(format!("{kind}: {subject}"))?;
        locations.iter().try_for_each(|location| output::line(format!("    {location}")))?;
        output::line(format!("    {advice}"))?;
    }
    Ok(())
}

fn judged(problems: &[Problem]) -> Result<()> {
    match problems.len() {
        0 => Ok(()),
        count => Err(Error::new(Kind::Corrupt, "not all is as it should be; see above").with("problems", count)),
    }
}
