//! A sample of the world: gross domestic product by region and year.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::random::Random;
use super::{Batches, batch};

/// Regions and their codes; groups have none.
const REGIONS: [(&str, Option<&str>); 12] = [
    ("Taiwan", Some("TWN")),
    ("Japan", Some("JPN")),
    ("Korea, Rep.", Some("KOR")),
    ("Singapore", Some("SGP")),
    ("Côte d'Ivoire", Some("CIV")),
    ("Kenya", Some("KEN")),
    ("Brazil", Some("BRA")),
    ("Canada", Some("CAN")),
    ("Germany", Some("DEU")),
    ("Bosnia and Herzegovina", Some("BIH")),
    ("Australia", Some("AUS")),
    ("World", None),
];

/// `region`, `code`, `year`, `gdp`: `years` years from 1960.
pub fn gdp(years: u32, seed: u64) -> Batches {
    let field = |name: &str, kind| Field::new(name, kind, true);
    let schema = Arc::new(Schema::new(vec![
        field("region", DataType::Utf8),
        field("code", DataType::Utf8),
        field("year", DataType::Int32),
        field("gdp", DataType::Float64),
    ]));
    let made = schema.clone();
    Batches::new(schema, (0..REGIONS.len()).map(move |index| batch(&made, growth(index, years, seed))))
}

fn growth(index: usize, years: u32, seed: u64) -> Vec<ArrayRef> {
    let (region, code) = REGIONS[index];
    let mut random = Random::new(seed, index as u64);
    let mut gdp = random.between(2_000, 900_000) * 1_000_000;
    let mut values = Vec::new();
    for _ in 0..years {
        values.push(gdp as f64);
        gdp += gdp / 1000 * random.between(-20, 60);
    }
    let count = years as usize;
    vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(region, count))),
        Arc::new(std::iter::repeat_n(code, count).collect::<StringArray>()),
        Arc::new(Int32Array::from_iter_values((0..years as i32).map(|year| 1960 + year))),
        Arc::new(Float64Array::from(values)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_region_and_year() {
        let rows: usize = gdp(60, 1).map(|batch| batch.expect("fits").num_rows()).sum();
        assert_eq!(rows, 12 * 60);
    }
}
