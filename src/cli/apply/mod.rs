//! `lakectl plan` and `lakectl apply`: contracts against the tables there are.
//!
//! `plan` only looks. `apply` plans all tables first and changes nothing if one is refused; then each table gets its
//! columns, its properties and its contract in one commit, which the plan's state of the table is a requirement of. The
//! daemon puts the contract in force with that commit. A table that does not exist yet is the daemon's to make.
//!
//! Exit codes are those of every verb: 2 if a contract cannot be applied, and nothing was changed. `plan --check` is for
//! a pipeline that wants to know whether there is anything to do: 1 then, as of `contract audit`. Terraform's 2 for that
//! would be a refusal here.

mod planned;
mod show;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::Args;
use laked_catalog::system::System;

use self::planned::{Planned, State, planned};
use super::Output;
use super::change::change;
use super::contract::publish;
use crate::contract::{self, Contract, LOCK, Lock};
use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::source::ident_of;

#[derive(Args, Debug)]
struct Which {
    /// Only these tables, as namespace.table [default: all that have a contract].
    tables: Vec<String>,
    /// The folder of contracts [default: the shipped ones].
    #[arg(long, value_name = "DIR", env = "LAKED_SCHEMAS")]
    schemas: Option<PathBuf>,
}

/// Show what differs.
#[derive(Args, Debug)]
pub struct Plan {
    #[command(flatten)]
    which: Which,
    /// Exit code 1 if there is anything to apply.
    #[arg(long)]
    check: bool,
}

/// Change what differs.
#[derive(Args, Debug)]
pub struct Apply {
    #[command(flatten)]
    which: Which,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Plan {
    /// Plans and prints.
    ///
    /// # Errors
    /// `Invalid` if a contract cannot be applied; `Conflict`, exit code 1, if one can be and `--check` asks; `NotFound`
    /// for a table that has no contract.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let plans = self.which.read()?.plans(source)?;
        let rest = if self.which.tables.is_empty() { strangers(source, &plans)? } else { Vec::new() };
        show::print(&plans, &rest, show::Done::Nothing, form)?;
        if plans.iter().any(Planned::is_refused) {
            return Err(Error::new(Kind::Invalid, "a contract cannot be applied; see above"));
        }
        match plans.iter().any(Planned::is_change) {
            true if self.check => Err(Error::new(Kind::Conflict, "there is something to apply; see above")),
            _ => Ok(()),
        }
    }
}

impl Apply {
    /// Plans all, commits each, prints.
    ///
    /// # Errors
    /// `Invalid` with every reason if a contract cannot be applied, and nothing was changed; that of the first commit that
    /// fails, when those before it are printed and published.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let folder = self.which.read()?;
        let plans = folder.plans(source)?;
        let refused: Vec<String> = plans.iter().flat_map(Planned::reasons).collect();
        if !refused.is_empty() {
            let message = format!("nothing was changed, because a contract cannot be applied:\n{}", refused.join("\n"));
            return Err(Error::new(Kind::Invalid, message));
        }
        if self.dry_run {
            return show::print(&plans, &[], show::Done::Nothing, form);
        }
        let applied = folder.apply(plans, |contract| commit(source, contract, &folder.lock));
        if let Some(schemas) = &self.which.schemas
            && let Err(error) = publish(schemas, &applied.in_force)
        {
            eprintln!("lakectl: applied, but {LOCK} was not written, run `lakectl contract lock`: {error}");
        }
        match applied.failed {
            None => show::print(&applied.done, &[], show::Done::All, form),
            Some(error) if applied.done.is_empty() => Err(error),
            Some(error) => {
                show::print(&applied.done, &[], show::Done::All, form)?;
                Err(error)
            }
        }
    }
}

/// What became of plans that were applied one after another.
struct Applied<'a> {
    /// Those that were, and those that need not be.
    done: Vec<Planned>,
    /// The contracts that are in force by that.
    in_force: Vec<&'a Contract>,
    /// What ended it.
    failed: Option<Error>,
}

/// Commits one table's plan, made anew while others are faster.
fn commit(source: &Source, contract: &Contract, lock: &Lock) -> Result<Planned> {
    let plan = |table: &crate::read::SourceTable| {
        let plan = planned(contract, &table.metadata, lock)?;
        match plan.reasons().as_slice() {
            [] => Ok(plan),
            reasons => Err(Error::new(Kind::Invalid, reasons.join("\n"))),
        }
    };
    change(source, contract.ident(), false, plan, |plan| &plan.edit)
}

/// The contracts that are asked for, and what was published, as they were read once.
struct Folder {
    contracts: Vec<Contract>,
    lock: Lock,
}

impl Which {
    fn read(&self) -> Result<Folder> {
        let disk = System::real().disk;
        let (all, lock) = match &self.schemas {
            Some(folder) => (contract::load_dir(disk.as_ref(), folder)?, Lock::load(disk.as_ref(), folder)?),
            None => (contract::shipped(), Lock::default()),
        };
        for table in &self.tables {
            ident_of(table)?;
            if !all.iter().any(|contract| contract.id() == *table) {
                let names = all.iter().map(Contract::id).collect::<Vec<_>>().join(", ");
                let message = format!("there is no contract for {table} in --schemas; there are {names}");
                return Err(Error::new(Kind::NotFound, message));
            }
        }
        let wanted = |contract: &Contract| self.tables.is_empty() || self.tables.contains(&contract.id());
        Ok(Folder { contracts: all.into_iter().filter(wanted).collect(), lock })
    }
}

impl Folder {
    /// A plan of each contract, in order.
    fn plans(&self, source: &Source) -> Result<Vec<Planned>> {
        let live = source.tables()?;
        let plan = |contract: &Contract| match live.contains(contract.ident()) {
            true => planned(contract, &source.table(contract.ident())?.metadata, &self.lock),
            false => Ok(Planned::missing(contract, &self.lock)),
        };
        self.contracts.iter().map(plan).collect()
    }

    /// Commits the plans of its contracts until one fails.
    fn apply(&self, plans: Vec<Planned>, commit: impl Fn(&Contract) -> Result<Planned>) -> Applied<'_> {
        let mut applied = Applied { done: Vec::new(), in_force: Vec::new(), failed: None };
        for (contract, plan) in self.contracts.iter().zip(plans) {
            if plan.state == State::Missing {
                applied.done.push(plan);
                continue;
            }
            match commit(contract) {
                Ok(plan) => {
                    applied.done.push(plan);
                    applied.in_force.push(contract);
                }
                Err(error) => {
                    let why = "a table's contract could not be applied; those before it are in force, apply again for the rest";
                    applied.failed = Some(Error::new(error.kind(), why).with("table", contract.id()).because(error));
                    break;
                }
            }
        }
        applied
    }
}

/// Tables that no contract is for; quarantine belongs to its table.
fn strangers(source: &Source, plans: &[Planned]) -> Result<Vec<String>> {
    let known = |name: &str| plans.iter().any(|plan| plan.table == name);
    let mut names: Vec<String> = source.tables()?.iter().map(ToString::to_string).collect();
    names.retain(|name| !known(name) && !name.strip_suffix(crate::ingest::quarantine::SUFFIX).is_some_and(known));
    Ok(names)
}
