//! A sample of the world: gross domestic product by country and year.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::random::Random;
use super::{Batches, batch};

const COUNTRIES: [(&str, &str); 12] = [
    ("Taiwan", "Asia"),
    ("Japan", "Asia"),
    ("Korea, Rep.", "Asia"),
    ("Singapore", "Asia"),
    ("Côte d'Ivoire", "Africa"),
    ("Kenya", "Africa"),
    ("Brazil", "Americas"),
    ("Canada", "Americas"),
    ("Germany", "Europe"),
    ("Bosnia and Herzegovina", "Europe"),
    ("Australia", "Oceania"),
    ("New Zealand", "Oceania"),
];

/// `country`, `continent`, `year`, `gdp_usd`, `population`: `years` years from 1960.
pub fn gdp(years: u32, seed: u64) -> Batches {
    let field = |name: &str, kind| Field::new(name, kind, true);
    let schema = Arc::new(Schema::new(vec![
        field("country", DataType::Utf8),
        field("continent", DataType::Utf8),
        field("year", DataType::Int32),
        field("gdp_usd", DataType::Float64),
        field("population", DataType::Int64),
    ]));
    let made = schema.clone();
    Batches::new(schema, (0..COUNTRIES.len()).map(move |index| batch(&made, growth(index, years, seed))))
}

fn growth(index: usize, years: u32, seed: u64) -> Vec<ArrayRef> {
    let (country, continent) = COUNTRIES[index];
    let mut random = Random::new(seed, index as u64);
    let (mut gdp, mut people) = (random.between(2_000, 900_000) * 1_000_000, random.between(900_000, 90_000_000));
    let (mut values, mut population) = (Vec::new(), Vec::new());
    for _ in 0..years {
        values.push(gdp as f64);
        population.push(people);
        gdp += gdp / 1000 * random.between(-20, 80);
        people += people / 1000 * random.between(-2, 22);
    }
    let count = years as usize;
    vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(country, count))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(continent, count))),
        Arc::new(Int32Array::from_iter_values((0..years as i32).map(|year| 1960 + year))),
        Arc::new(Float64Array::from(values)),
        Arc::new(Int64Array::from(population)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_country_and_year() {
        let rows: usize = gdp(60, 1).map(|batch| batch.expect("fits").num_rows()).sum();
        assert_eq!(rows, 12 * 60);
    }
}
