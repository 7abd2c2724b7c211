//! Market samples: broker transactions, closing prices, candles and funding rates, all from random walks.
//!
//! Prices walk in whole hundredths, so that decimals are exact and floats derive from them by one division.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::calendar::DAY_MICROS;
use super::random::Random;
use super::{Batches, batch};
use crate::error::{Error, Kind, Result};

/// Brokers' names repeat from this list, numbered.
const BROKERS: [&str; 6] = ["Yuanta", "KGI", "Fubon", "Cathay", "Sinopac", "Capital"];
/// Candle lengths.
const TIMEFRAMES: [(&str, i64); 3] = [("1m", 60_000_000), ("1h", 3_600_000_000), ("1d", DAY_MICROS)];

/// How much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Symbols.
    pub symbols: u32,
    /// Days from `start`; stock exchanges rest on weekends.
    pub days: u32,
    /// Brokers that trade a symbol on a day (broker transactions).
    pub brokers: u32,
    /// `1m`, `1h` or `1d` (candles).
    pub timeframe: String,
    /// Seed of everything.
    pub seed: u64,
    /// The first day, microseconds since 1970 UTC.
    pub start: i64,
}

impl Options {
    fn first_day(&self) -> i64 {
        self.start.div_euclid(DAY_MICROS)
    }

    fn trading_days(&self) -> impl Iterator<Item = i32> + use<> {
        let first = self.first_day();
        let rests = |day: i64| matches!((day + 3).rem_euclid(7), 5 | 6);
        (first..first + i64::from(self.days)).filter(move |&day| !rests(day)).map(|day| day as i32)
    }

    /// One batch a symbol.
    fn each_symbol(self, schema: SchemaRef, make: impl Fn(&Self, u32) -> Vec<ArrayRef> + Send + 'static) -> Batches {
        let made = schema.clone();
        let next = (0..self.symbols).map(move |symbol| batch(&made, make(&self, symbol)));
        Batches::new(schema, next)
    }
}

/// A price in hundredths that walks by up to two percent a step.
struct Walk {
    random: Random,
    price: i64,
}

impl Walk {
    fn new(seed: u64, symbol: u32) -> Self {
        let mut random = Random::new(seed, u64::from(symbol));
        let price = random.between(1_000, 100_000);
        Self { random, price }
    }

    fn step(&mut self) -> i64 {
        let most = (self.price / 50).max(5);
        self.price = (self.price + self.random.between(-most, most)).clamp(100, 10_000_000);
        self.price
    }
}

/// A Taiwanese stock's number: four digits.
fn stock(symbol: u32) -> String {
    format!("{:04}", 1101 + symbol)
}

fn pair(symbol: u32) -> String {
    const COINS: [&str; 8] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC", "BNB"];
    match symbol as usize / COINS.len() {
        0 => format!("{}/USDT", COINS[symbol as usize]),
        round => format!("{}{round}/USDT", COINS[symbol as usize % COINS.len()]),
    }
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn decimals(hundredths: Vec<i64>) -> ArrayRef {
    let values = hundredths.into_iter().map(i128::from);
    let array = Decimal128Array::from_iter_values(values).with_precision_and_scale(12, 2);
    Arc::new(array.expect("invariant: twelve digits hold every walk"))
}

fn names(name: String, count: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, count)))
}

/// Closing prices: `symbol_id`, `date`, `close`.
pub fn prices(options: Options) -> Batches {
    let schema = Arc::new(Schema::new(vec![
        field("symbol_id", DataType::Utf8),
        field("date", DataType::Date32),
        field("close", DataType::Decimal128(12, 2)),
    ]));
    options.each_symbol(schema, |options, symbol| {
        let mut walk = Walk::new(options.seed, symbol);
        let days: Vec<i32> = options.trading_days().collect();
        let close = days.iter().map(|_| walk.step()).collect();
        vec![names(stock(symbol), days.len()), Arc::new(Date32Array::from(days)), decimals(close)]
    })
}

/// What each broker bought and sold of a stock on a day, in shares: some positions are sold before they are bought.
pub fn broker_tx(options: Options) -> Batches {
    let schema = Arc::new(Schema::new(vec![
        field("symbol_id", DataType::Utf8),
        field("broker", DataType::Utf8),
        field("date", DataType::Date32),
        field("price", DataType::Decimal128(12, 2)),
        field("buy", DataType::Int64),
        field("sell", DataType::Int64),
    ]));
    options.each_symbol(schema, transactions)
}

fn transactions(options: &Options, symbol: u32) -> Vec<ArrayRef> {
    let mut walk = Walk::new(options.seed, symbol);
    let (mut brokers, mut dates, mut prices) = (Vec::new(), Vec::new(), Vec::new());
    let (mut buys, mut sells) = (Vec::new(), Vec::new());
    for day in options.trading_days() {
        let close = walk.step();
        for broker in 0..options.brokers {
            let tick = (close / 200).max(1);
            brokers.push(format!(
                "{}-{:02}",
                BROKERS[broker as usize % BROKERS.len()],
                broker as usize / BROKERS.len()
            ));
            dates.push(day);
            prices.push(close + walk.random.between(-tick, tick));
            buys.push(walk.random.between(0, 40) * 1000);
            sells.push(walk.random.between(0, 40) * 1000);
        }
    }
    vec![
        names(stock(symbol), dates.len()),
        Arc::new(StringArray::from(brokers)),
        Arc::new(Date32Array::from(dates)),
        decimals(prices),
        Arc::new(Int64Array::from(buys)),
        Arc::new(Int64Array::from(sells)),
    ]
}

/// Candles: `symbol`, `timeframe`, `timestamp`, `open`, `high`, `low`, `close`, `volume`.
pub fn ohlcv(options: Options) -> Result<Batches> {
    let length = TIMEFRAMES.iter().find(|(name, _)| *name == options.timeframe).map(|(_, length)| *length);
    let length = length.ok_or_else(|| {
        Error::new(Kind::Invalid, "no such timeframe: say 1m, 1h or 1d").with("timeframe", &options.timeframe)
    })?;
    Ok(options.each_symbol(candle_schema(), move |options, symbol| candles(options, symbol, length)))
}

fn candles(options: &Options, symbol: u32, length: i64) -> Vec<ArrayRef> {
    let mut walk = Walk::new(options.seed, symbol);
    let count = (i64::from(options.days) * DAY_MICROS / length) as usize;
    let mut columns: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(count));
    for _ in 0..count {
        let (open, close) = (walk.price, walk.step());
        let spread = (open / 100).max(1);
        let high = open.max(close) + walk.random.between(0, spread);
        let low = (open.min(close) - walk.random.between(0, spread)).max(1);
        let volume = walk.random.between(0, 1_000_000);
        let values = [open, high, low, close, volume].map(|value| value as f64 / 100.0);
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    candle_arrays(pair(symbol), &options.timeframe, (options.start, length), columns)
}

/// Funding rates of perpetual futures, one in eight hours, in the columns of candles.
pub fn funding_rates(options: Options) -> Batches {
    let symbol = |symbol: u32| format!("{}:USDT", pair(symbol));
    options.each_symbol(candle_schema(), move |options, number| {
        let mut random = Random::new(options.seed.wrapping_add(11), u64::from(number));
        let count = options.days as usize * 3;
        let mut columns: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(count));
        for _ in 0..count {
            let (open, close) = (random.between(-75, 100), random.between(-75, 100));
            let (high, low) = (open.max(close) + random.between(0, 20), open.min(close) - random.between(0, 20));
            let rates = [open, high, low, close].map(|rate| rate as f64 / 100_000.0);
            let volume = random.between(1_000_000, 900_000_000) as f64;
            columns.iter_mut().zip(rates.into_iter().chain([volume])).for_each(|(column, value)| column.push(value));
        }
        candle_arrays(symbol(number), "8h", (options.start, DAY_MICROS / 3), columns)
    })
}

fn candle_schema() -> SchemaRef {
    let mut fields = vec![field("symbol", DataType::Utf8), field("timeframe", DataType::Utf8)];
    fields.push(field("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))));
    fields.extend(["open", "high", "low", "close", "volume"].map(|name| field(name, DataType::Float64)));
    Arc::new(Schema::new(fields))
}

/// Columns of one symbol's candles; `every` is the first candle's time and the time from one to the next.
fn candle_arrays(symbol: String, timeframe: &str, every: (i64, i64), columns: [Vec<f64>; 5]) -> Vec<ArrayRef> {
    let count = columns[0].len();
    let times = (0..count as i64).map(|i| every.0 + i * every.1);
    let mut arrays = vec![
        names(symbol, count),
        names(timeframe.to_string(), count),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")) as ArrayRef,
    ];
    arrays.extend(columns.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef));
    arrays
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Date32Type, Float64Type};

    use arrow::record_batch::RecordBatch;

    use super::*;

    fn rows(batches: Batches) -> (usize, Option<RecordBatch>) {
        let all: Vec<RecordBatch> = batches.collect::<Result<_>>().expect("fits");
        (all.iter().map(RecordBatch::num_rows).sum(), all.into_iter().next())
    }

    fn options() -> Options {
        let start = 1_782_518_400_000_000;
        Options { symbols: 3, days: 14, brokers: 7, timeframe: "1h".into(), seed: 1, start }
    }

    #[test]
    fn exchanges_rest_on_weekends() {
        let (count, first) = rows(prices(options()));
        assert_eq!(count, 3 * 10);
        let first = first.expect("a batch");
        let dates = first.column(1).as_primitive::<Date32Type>();
        assert!(dates.values().iter().all(|day| !matches!((day + 4).rem_euclid(7), 0 | 6)), "0 is Sunday");
        assert_eq!(rows(broker_tx(options())).0, 3 * 10 * 7);
    }

    #[test]
    fn a_candle_holds_its_open_and_close() {
        let (count, first) = rows(ohlcv(options()).expect("valid"));
        assert_eq!(count, 3 * 14 * 24);
        let first = first.expect("a batch");
        let column = |i: usize| first.column(i).as_primitive::<Float64Type>();
        let (open, high, low, close) = (column(3), column(4), column(5), column(6));
        assert!((0..first.num_rows()).all(|i| low.value(i) <= open.value(i).min(close.value(i))));
        assert!((0..first.num_rows()).all(|i| high.value(i) >= open.value(i).max(close.value(i))));
        assert_eq!(rows(funding_rates(options())).0, 3 * 14 * 3);
    }

    #[test]
    fn an_unknown_timeframe_is_named() {
        let error = ohlcv(Options { timeframe: "7m".into(), ..options() }).err().expect("refused");
        assert!(error.to_string().contains("7m"));
    }
}
