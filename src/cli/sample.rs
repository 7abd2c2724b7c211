//! `lakectl sample`: writes sample data to a file or to standard output.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::error::{Error, Kind, Result};
use crate::sample::output::{self, Form};
use crate::sample::{cgm, market, world};

/// Make sample data: the same bytes on every machine.
#[derive(Args, Debug)]
pub struct Sample {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Glucose readings for glucose.cgm_readings: 966,799 of them unless told otherwise.
    Cgm(Cgm),
    /// Broker transactions for market.broker_tx.
    #[command(name = "broker_tx")]
    BrokerTx(Market),
    /// Closing prices for market.prices.
    Prices(Market),
    /// Candles for market.ohlcv.
    Ohlcv(Market),
    /// Funding rates for market.funding_rates.
    #[command(name = "funding_rates")]
    FundingRates(Market),
    /// Gross domestic products for world.gdp.
    Gdp(Gdp),
}

#[derive(Args, Debug)]
struct Target {
    /// Form of the data; by default what the file's name says, else ndjson.
    #[arg(long, value_enum)]
    format: Option<FormArg>,
    /// File to write, `-` for standard output. `.gz` and `.zst` pack it. A file that is there is replaced.
    #[arg(short = 'o', long = "to", value_name = "FILE", default_value = "-")]
    to: PathBuf,
    /// Seed; another seed gives other data of the same shape.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
struct Cgm {
    /// Users, each with a sensor.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Days of five-minute slots; halves are allowed, up to ten years.
    #[arg(long, default_value = "7.5", value_parser = slots)]
    days: u32,
    /// How many gaps, against the reference sample: 0 for none, at most 4.
    #[arg(long, default_value = "1", value_parser = factor)]
    gaps: u32,
    /// Broken records to add, as a share of the good ones.
    #[arg(long, default_value = "0%", value_parser = share)]
    bad: u32,
    /// Order of the records.
    #[arg(long, value_enum, default_value_t = OrderArg::User)]
    order: OrderArg,
    /// Form of the reading ids.
    #[arg(long, value_enum, default_value_t = IdsArg::Sequential)]
    ids: IdsArg,
    /// Day of the first slot.
    #[arg(long, default_value = "2026-06-27", value_parser = midnight)]
    start: i64,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
struct Market {
    /// Symbols.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    symbols: u32,
    /// Days; stock exchanges rest on weekends.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// Brokers for each symbol and day (broker_tx).
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=500))]
    brokers: u32,
    /// Candle length: 1m, 1h or 1d (ohlcv).
    #[arg(long, default_value = "1h")]
    timeframe: String,
    /// First day.
    #[arg(long, default_value = "2026-06-27", value_parser = midnight)]
    start: i64,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
struct Gdp {
    /// Years from 1960.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=240))]
    years: u32,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormArg {
    Ndjson,
    Csv,
    Parquet,
    Arrow,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArg {
    /// User by user, each in order of time.
    User,
    /// As a service receives them: slot by slot, all users.
    Arrival,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IdsArg {
    Sequential,
    Random,
}

impl Sample {
    /// Writes what was asked for; says how much on standard error.
    pub fn run(self) -> Result<()> {
        let (target, made) = match self.what {
            What::Cgm(args) => (args.target.clone_where(), args.write()?),
            What::BrokerTx(args) => args.write(|options| Ok(market::broker_tx(options)))?,
            What::Prices(args) => args.write(|options| Ok(market::prices(options)))?,
            What::Ohlcv(args) => args.write(market::ohlcv)?,
            What::FundingRates(args) => args.write(|options| Ok(market::funding_rates(options)))?,
            What::Gdp(args) => {
                let batches = world::gdp(args.years, args.target.seed);
                let made = args.target.write(|form, out| output::write(batches, form, out))?;
                (args.target.clone_where(), made)
            }
        };
        let _ = writeln!(io::stderr(), "{made} records to {}", target.display());
        Ok(())
    }
}

impl Cgm {
    fn write(&self) -> Result<u64> {
        let options = cgm::Options {
            users: self.users,
            slots: self.days,
            gaps: self.gaps,
            bad: self.bad,
            order: match self.order {
                OrderArg::User => cgm::Order::User,
                OrderArg::Arrival => cgm::Order::Arrival,
            },
            ids: match self.ids {
                IdsArg::Sequential => cgm::Ids::Sequential,
                IdsArg::Random => cgm::Ids::Random,
            },
            seed: self.target.seed,
            start: self.start,
        };
        self.target.write(|form, out| output::write_cgm(options, form, out))
    }
}

impl Market {
    fn write(self, make: impl FnOnce(market::Options) -> Result<crate::sample::Batches>) -> Result<(PathBuf, u64)> {
        let Market { symbols, days, brokers, timeframe, start, target } = self;
        let batches = make(market::Options { symbols, days, brokers, timeframe, seed: target.seed, start })?;
        let made = target.write(|form, out| output::write(batches, form, out))?;
        Ok((target.to, made))
    }
}

type Out = Box<dyn Write + Send>;

impl Target {
    fn clone_where(&self) -> PathBuf {
        self.to.clone()
    }

    fn write(&self, write: impl FnOnce(Form, &mut Out) -> Result<u64>) -> Result<u64> {
        let stdout = self.to.as_os_str() == "-";
        let name = self.to.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (name, packing) = match name.rsplit_once('.') {
            Some((bare, "gz")) => (bare, "gz"),
            Some((bare, "zst")) => (bare, "zst"),
            _ => (name.as_str(), ""),
        };
        let form = self.form(name, stdout)?;
        if !packing.is_empty() && !matches!(form, Form::Ndjson | Form::Csv) {
            return Err(Error::new(Kind::Invalid, "only ndjson and csv are packed: leave .gz or .zst away")
                .with("file", self.to.display()));
        }
        let out: Out = if stdout { Box::new(io::stdout()) } else { Box::new(create(&self.to)?) };
        let mut out: Out = Box::new(BufWriter::with_capacity(1 << 16, out));
        match packing {
            "gz" => packed(write, form, flate2::write::GzEncoder::new(out, flate2::Compression::fast())),
            "zst" => packed(write, form, zstd::Encoder::new(out, 1)?.auto_finish()),
            _ => {
                let made = write(form, &mut out)?;
                out.flush()?;
                Ok(made)
            }
        }
    }

    fn form(&self, name: &str, stdout: bool) -> Result<Form> {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        Ok(match (self.format, extension) {
            (Some(FormArg::Ndjson), _) | (None, "ndjson" | "jsonl") => Form::Ndjson,
            (Some(FormArg::Csv), _) | (None, "csv") => Form::Csv,
            (Some(FormArg::Parquet), _) | (None, "parquet") => Form::Parquet,
            (Some(FormArg::Arrow), _) | (None, "arrow") if stdout => Form::ArrowStream,
            (Some(FormArg::Arrow), _) | (None, "arrow") => Form::Arrow,
            (None, _) if stdout => Form::Ndjson,
            (None, _) => {
                return Err(Error::new(Kind::Invalid, "the file's name says no form: add --format")
                    .with("file", self.to.display()));
            }
        })
    }
}

fn packed(
    write: impl FnOnce(Form, &mut Out) -> Result<u64>,
    form: Form,
    out: impl Write + Send + 'static,
) -> Result<u64> {
    let mut out: Out = Box::new(out);
    let made = write(form, &mut out)?;
    out.flush()?;
    Ok(made)
}

/// A file the user named, outside of any lake: nothing durable is promised of it.
#[expect(clippy::disallowed_methods, reason = "a user's file, not the lake's storage")]
fn create(path: &Path) -> Result<std::fs::File> {
    std::fs::File::create(path).map_err(|error| Error::from(error).with("file", path.display()))
}

fn slots(text: &str) -> Result<u32, String> {
    let days: f64 = text.parse().map_err(|_| "give a number of days, as 7.5".to_string())?;
    let slots = (days * f64::from(cgm::SLOTS_A_DAY)).round();
    if (2.0..=3660.0 * f64::from(cgm::SLOTS_A_DAY)).contains(&slots) {
        Ok(slots as u32)
    } else {
        Err("between ten minutes (0.007) and 3660 days".into())
    }
}

fn factor(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.0..=4.0).contains(&factor) => Ok((factor * 1000.0).round() as u32),
        _ => Err("a factor from 0 (no gaps) to 4; 1 is the reference sample".into()),
    }
}

fn share(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').ok_or("a share in percent, as 0.1%")?;
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((percent * 10_000.0).round() as u32),
        _ => Err("between 0% and 100%".into()),
    }
}

fn midnight(text: &str) -> Result<i64, String> {
    let date: jiff::civil::Date = text.parse().map_err(|_| "a day, as 2026-06-27".to_string())?;
    if !(1..=9988).contains(&date.year()) {
        return Err("a year from 1 to 9988".into());
    }
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(midnight.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(slots("7.5"), Ok(2160));
        assert_eq!(factor("0.5"), Ok(500));
        assert_eq!(share("0.1%"), Ok(1000));
        assert_eq!(midnight("2026-06-27"), Ok(1_782_518_400_000_000));
        assert!(share("0.1").is_err() && slots("0").is_err() && factor("5").is_err() && midnight("today").is_err());
    }

    #[test]
    fn the_name_says_the_form() {
        let target = |name: &str| Target { format: None, to: name.into(), seed: 1 };
        assert_eq!(target("a.csv").form("a.csv", false).expect("known"), Form::Csv);
        assert_eq!(target("-").form("-", true).expect("known"), Form::Ndjson);
        assert!(target("a.dat").form("a.dat", false).is_err());
        assert!(target("a.parquet.gz").write(|_, _| Ok(0)).is_err());
    }
}
