//! The log: lines on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use crate::error::{Error, Kind, Result};

/// Logs as the settings say, from now on.
pub fn init(settings: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|e| {
        Error::new(Kind::Invalid, "log.level is no filter; write error, warn, info or debug")
            .with("log.level", &settings.level)
            .because(e)
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let set = match settings.format {
        LogFormat::Text => lines.with_ansi(false).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    set.map_err(|e| Error::new(Kind::Internal, "the log is set already").because(e))
}
