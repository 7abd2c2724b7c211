//! The daemon: parse, resolve, run, exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use laked::config::{LogFormat, Settings, Sources, resolve};
use laked::daemon::{self, Lake};
use laked::error::{Error, Kind, Result};
use laked::telemetry;
use laked_catalog::system::System;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps Apache Iceberg tables: records in by inbox and HTTP, held to contracts, committed exactly once.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The lake's folder, made if it is missing [default: ./lake]
    #[arg(long)]
    lake: Option<String>,
    /// Where to listen [default: 127.0.0.1:8181]
    #[arg(long)]
    listen: Option<String>,
    /// A folder of contracts [default: the shipped ones]
    #[arg(long)]
    schemas: Option<String>,
    /// A file of settings; deploy/laked.toml documents all
    #[arg(long, env = "LAKED_CONFIG")]
    config: Option<PathBuf>,
    /// The catalog's database: sqlite:PATH or postgres://… [default: catalog.db in the lake]
    #[arg(long)]
    database: Option<String>,
    /// How long rows may wait for their commit [default: 5s]
    #[arg(long)]
    commit_age: Option<String>,
    /// Memory for decoding, open partitions and sorting [default: 256MiB]
    #[arg(long)]
    memory: Option<String>,
    /// How log lines look
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug, or a filter [default: info]
    #[arg(long)]
    log_level: Option<String>,
    /// Listen beyond this machine without TLS
    #[arg(long)]
    insecure: bool,
    /// A folder, as file:///…, where tables may lie besides the lake's warehouse
    #[arg(long, value_name = "LOCATION")]
    allow_location: Vec<String>,
    /// Resolve the settings, print them, and stop
    #[arg(long)]
    print_config: bool,
}

fn main() -> ExitCode {
    laked::ingest::decode::abort_elsewhere();
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("laked: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<()> {
    let settings = settings(flags)?;
    if flags.print_config {
        let mut settings = settings;
        // Shown without its password.
        if let Ok(database) = settings.catalog.database.parse::<laked_catalog::Database>() {
            settings.catalog.database = database.to_string();
        }
        let text = toml::to_string(&settings).map_err(|e| Error::new(Kind::Internal, "settings").because(e))?;
        print!("{text}");
        return Ok(());
    }
    telemetry::init(&settings.log)?;
    raise_open_files();
    telemetry::record_metrics()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A thread that rests keeps what it last freed: after a crowd, hundreds of them.
    runtime.thread_keep_alive(Duration::from_secs(1));
    let runtime = runtime.enable_all().build().map_err(Error::from)?;
    let served = runtime.block_on(serve(settings));
    // A blocking thread that hangs in a dead disk must not keep the process.
    runtime.shutdown_background();
    served
}

/// Lets the process open as many files as its hard limit allows: connections and partitions under way each need one, and
/// many systems start programs with a soft limit of 1,024. Where that is refused, the limit stays as it is.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn settings(flags: &Flags) -> Result<Settings> {
    let file = match &flags.config {
        None => None,
        Some(path) => {
            let text = System::real().disk.read(path).map_err(|e| Error::from(e).with("config", path.display()))?;
            let text = String::from_utf8(text.to_vec())
                .map_err(|e| Error::new(Kind::Invalid, "the settings are not UTF-8").because(e))?;
            Some((path.display().to_string(), text))
        }
    };
    let log_format = flags.log_format.map(|format| match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    });
    let insecure = flags.insecure.then(|| "true".to_owned());
    let locations = (!flags.allow_location.is_empty()).then(|| flags.allow_location.join(","));
    let given = [
        ("lake", &flags.lake),
        ("listen", &flags.listen),
        ("schemas", &flags.schemas),
        ("catalog.database", &flags.database),
        ("commit.age", &flags.commit_age),
        ("memory", &flags.memory),
        ("log.format", &log_format),
        ("log.level", &flags.log_level),
        ("access.insecure", &insecure),
        ("access.locations", &locations),
    ];
    let flags = given.into_iter().filter_map(|(path, value)| Some((path, value.clone()?))).collect();
    let environment = std::env::vars().filter(|(name, _)| name != "LAKED_CONFIG").collect();
    resolve(&Sources { file: file.as_ref().map(|(path, text)| (path.as_str(), text.as_str())), environment, flags })
}

async fn serve(settings: Settings) -> Result<()> {
    let stop = |kind| signal(kind).map_err(Error::from);
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let listen = settings.listen;
    daemon::may_listen(&settings, listen)?;
    let opening = tokio::task::spawn_blocking(move || Lake::open(settings, System::real()));
    let lake = opening.await.map_err(|e| Error::new(Kind::Internal, "opening the lake").because(e))??;
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|e| {
        Error::new(Kind::Invalid, "cannot listen there; choose another --listen").with("listen", listen).because(e)
    })?;
    let lake = Arc::new(lake);
    let daemon = daemon::serve(lake, listener)?;
    tracing::info!("listening on {}://{}", if daemon.secure { "https" } else { "http" }, daemon.address);
    daemon::ready("READY=1");
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    daemon::ready("STOPPING=1");
    tracing::info!("stopping: what is durable is committed first; a second signal stops at once");
    tokio::select! {
        stopped = daemon.stop() => stopped,
        _ = terminate.recv() => at_once(),
        _ = interrupt.recv() => at_once(),
    }
}

/// Nothing is lost by that: what is durable is committed by the next start.
fn at_once() -> ! {
    tracing::warn!("stopped at once; the next start commits the rest");
    std::process::exit(1)
}
