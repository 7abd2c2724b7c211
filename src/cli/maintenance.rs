//! `lakectl maintenance`: what was done to tables by itself, and what goes on.

use clap::{Args, Subcommand};
use laked_catalog::{RunState, WhichRuns};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Output, output};
use crate::daemon::maintenance::{RunView, most_of};
use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::source::{escape, ident_of, open_catalog, table_path};

/// What was done to tables by itself, and what goes on.
#[derive(Subcommand, Debug)]
pub enum Maintenance {
    /// List runs, newest first.
    List(List),
    /// Show one: why it was begun, how far it is, what came of it.
    Show(One),
    /// End one that goes on; what it has committed stays.
    Cancel(One),
}

/// Which runs.
#[derive(Args, Debug)]
pub struct List {
    /// Only those of this table, as namespace.table.
    table: Option<String>,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
}

/// A run.
#[derive(Args, Debug)]
pub struct One {
    /// Its id, as `list` shows it.
    run: String,
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<RunView>,
}

impl Maintenance {
    /// Asks the daemon, or looks into the lake's own database.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a run that has ended, or a lake without a daemon that is to cancel; `Unavailable`.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Maintenance::List(which) => which.list(source, form),
            Maintenance::Show(which) => show(&which.of(source)?, form),
            Maintenance::Cancel(which) => which.cancel(source, form),
        }
    }
}

impl List {
    fn list(&self, source: &Source, form: Output) -> Result<()> {
        let ident = self.table.as_deref().map(ident_of).transpose()?;
        if let Some(ident) = &ident {
            source.table(ident)?;
        }
        most_of(self.most)?;
        let runs = match source {
            Source::Lake(folder) => {
                let which = WhichRuns { table: ident.as_ref(), ..WhichRuns::default() };
                let runs = open_catalog(folder)?.runs(&which, self.most)?;
                runs.into_iter().map(RunView::from).collect()
            }
            Source::Daemon(remote) => {
                let of = self.table.as_ref().map_or(String::new(), |table| format!("&table={}", escape(table)));
                remote.get::<Runs>(&format!("/maintenance/runs?most={}{of}", self.most))?.runs
            }
        };
        if form == Output::Json {
            return output::json(&runs);
        }
        if runs.is_empty() {
            return output::line(
                "nothing was done by itself yet; `lakectl health TABLE` says what will be, and why not",
            );
        }
        let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
        output::table(&["run", "table", "task", "began", "took", "state", "what"], &rows)
    }
}

fn row(view: &RunView) -> Vec<String> {
    let run = &view.run;
    let took = run.ended_ms.map_or(String::new(), |ended| format!("{:.1} s", (ended - run.began_ms) as f64 / 1000.0));
    let (began, state) = (output::time(run.began_ms), run.state.word().to_string());
    vec![run.id.clone(), run.table.to_string(), run.task.clone(), began, took, state, what(view)]
}

/// What came of a run, or how far it is, in a few words.
fn what(view: &RunView) -> String {
    let report = &view.run.report;
    let count = |key: &str| report[key].as_u64().map(output::count);
    if let Some(doing) = view.progress.as_ref().and_then(|progress| progress["doing"].as_str()) {
        return doing.to_string();
    }
    if let Some(error) = report["error"].as_str() {
        return error.to_string();
    }
    if let (Some(before), Some(after)) = (count("files-before"), count("files-after")) {
        return format!("{before} files became {after}");
    }
    if let (Some(replaced), Some(made)) = (count("replaced"), count("made")) {
        return format!("{replaced} manifests became {made}");
    }
    match (count("snapshots"), count("files")) {
        (Some(snapshots), _) => format!("{snapshots} snapshots expired"),
        (None, Some(files)) => format!("{files} files removed"),
        _ => String::new(),
    }
}

impl One {
    fn of(&self, source: &Source) -> Result<RunView> {
        match source {
            Source::Lake(folder) => open_catalog(folder)?.run(&self.run).map(RunView::from),
            Source::Daemon(remote) => match remote.get(&format!("/maintenance/runs/{}", escape(&self.run))) {
                Err(error) if error.kind() == Kind::NotFound => {
                    let message = "there is no such run: see `lakectl maintenance list`";
                    Err(Error::new(Kind::NotFound, message).with("run", &self.run))
                }
                found => found,
            },
        }
    }

    fn cancel(&self, source: &Source, form: Output) -> Result<()> {
        let RunView { run, .. } = self.of(source)?;
        let Source::Daemon(remote) = source else {
            let message = "runs are a daemon's: give --url";
            return Err(Error::new(Kind::Invalid, message));
        };
        if run.state != RunState::Running {
            let message = format!("the run has ended already: it is {}", run.state.word());
            return Err(Error::new(Kind::Invalid, message).with("run", &self.run));
        }
        let path = format!("/maintain/{}/cancel", table_path(&run.table));
        let view: RunView = remote.ask(&path, &json!({ "run": self.run }))?;
        match form {
            Output::Json => output::json(&view),
            Output::Text => output::line(format!("{} of {} ends before its next step", run.task, run.table)),
        }
    }
}

fn show(view: &RunView, form: Output) -> Result<()> {
    if form == Output::Json {
        return output::json(view);
    }
    let run = &view.run;
    let ended = run.ended_ms.map_or("-".to_string(), output::time);
    let lines = [
        ("run", run.id.clone()),
        ("table", run.table.to_string()),
        ("task", run.task.clone()),
        ("state", run.state.word().to_string()),
        ("why", run.why.clone()),
        ("began", output::time(run.began_ms)),
        ("ended", ended),
        ("given up at", output::time(run.deadline_ms)),
    ];
    lines.iter().try_for_each(|(name, text)| output::line(format!("{name:<14}{text}")))?;
    let fields = [view.progress.as_ref(), Some(&run.report)].into_iter().flatten().filter_map(Value::as_object);
    fields.flatten().try_for_each(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        output::line(format!("{name:<14}{text}"))
    })
}
