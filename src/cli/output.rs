//! Printing: aligned text for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Rows under headings, a line each; columns of figures are aligned to the right.
pub fn drawn(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(String::as_str);
    let width =
        |column: usize| cells(column).chain(headings.get(column).copied()).map(|cell| cell.chars().count()).max();
    let columns: Vec<(usize, bool)> =
        (0..headings.len()).map(|column| (width(column).unwrap_or(0), cells(column).all(is_figure))).collect();
    let line = |row: &mut dyn Iterator<Item = &str>| {
        let aligned = row.zip(&columns).map(|(cell, (width, figures))| match figures {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        format!("{}\n", aligned.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(&mut headings.iter().copied());
    rows.iter().for_each(|row| text.push_str(&line(&mut row.iter().map(String::as_str))));
    text
}

fn is_figure(cell: &str) -> bool {
    let figure = |c: char| c.is_ascii_digit() || ".,- KMGTiB".contains(c);
    cell.is_empty() || cell == "-" || (cell.starts_with(|c: char| c.is_ascii_digit()) && cell.chars().all(figure))
}

/// Prints rows under headings.
///
/// # Errors
/// Output errors.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    write!(io::stdout().lock(), "{}", drawn(headings, rows))?;
    Ok(())
}

/// Prints a line; unlike `println!`, it survives a reader that has gone.
///
/// # Errors
/// Output errors.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
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
    fn figures_stand_below_one_another_and_texts_do_not_move() {
        let row = |cells: [&str; 3]| cells.map(str::to_string).to_vec();
        let rows = [row(["a", "1,024", "9 lives"]), row(["long name", "7", "1"])];
        let golden = "name           n  note\na          1,024  9 lives\nlong name      7  1\n";
        assert_eq!(drawn(&["name", "n", "note"], &rows), golden);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(count(31_500_000), "31,500,000");
        assert_eq!(count(7), "7");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
        assert_eq!(time(1_740_787_200_000), "2025-03-01T00:00:00.000Z");
    }
}
