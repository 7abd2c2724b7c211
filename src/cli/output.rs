//! Printing: aligned text for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Prints rows under headings, columns aligned; numbers to the right.
///
/// # Errors
/// Output errors.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = io::stdout().lock();
    let heading: Vec<String> = headings.iter().map(|heading| (*heading).to_string()).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| aligned(cell, *width)).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn aligned(cell: &str, width: usize) -> String {
    let number = cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && cell.chars().all(|c| c.is_ascii_digit() || ".,%-+ KMGTiB".contains(c));
    if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

/// Prints a value as JSON.
///
/// # Errors
/// Output errors.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(Kind::Internal, "printing JSON").because(error))?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// A count with separators: `31,500,000`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a person's unit: `12.3 MiB`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(value: u64) -> String {
    let mut amount = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// A time in UTC from milliseconds since 1970.
pub fn time(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => millis.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(count(31_500_000), "31,500,000");
        assert_eq!(count(7), "7");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
        assert_eq!(time(1_740_787_200_000), "2025-03-01T00:00:00.000Z");
    }
}
