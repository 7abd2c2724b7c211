//! Sample data, the same bytes on every machine: `lakectl sample` writes it, the demo, tests and benchmarks read it.
//!
//! Each table of the shipped contracts has a generator of [`Batches`]; [`output`] gives them a form. Glucose readings
//! have a second, direct way to text, since they are what speed is measured with. Nothing here is kept in memory but a
//! batch, and one small state for each user or symbol.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::Result;

pub mod calendar;
pub mod cgm;
pub mod market;
pub mod output;
pub mod random;
pub mod world;

/// Record batches of one schema, made as they are asked for.
pub struct Batches {
    schema: SchemaRef,
    next: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

impl Batches {
    /// Batches of `schema`.
    pub fn new(schema: SchemaRef, next: impl Iterator<Item = Result<RecordBatch>> + Send + 'static) -> Self {
        Self { schema, next: Box::new(next) }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next.next()
    }
}

/// A batch of columns that were made for `schema`.
fn batch(schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| {
        crate::error::Error::new(crate::error::Kind::Internal, "the sample's columns do not fit its schema")
            .because(error)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_shipped_contract_has_a_sample_with_its_fields() {
        let start = 1_782_518_400_000_000;
        let market = market::Options { symbols: 1, days: 7, brokers: 1, timeframe: "1d".into(), seed: 1, start };
        for contract in crate::contract::shipped() {
            let sample = match contract.ident().name() {
                "cgm_readings" => cgm::batch::schema(),
                "broker_tx" => market::broker_tx(market.clone()).schema(),
                "prices" => market::prices(market.clone()).schema(),
                "ohlcv" => market::ohlcv(market.clone()).expect("valid").schema(),
                "funding_rates" => market::funding_rates(market.clone()).schema(),
                "gdp" => world::gdp(1, 1).schema(),
                other => panic!("{other} has no sample"),
            };
            let wanted: BTreeSet<&str> = contract.fields().iter().map(|field| field.name.as_str()).collect();
            let given: BTreeSet<&str> = sample.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(given, wanted, "{}", contract.ident());
        }
    }
}
