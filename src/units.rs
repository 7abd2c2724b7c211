//! Numbers with a unit, as settings and properties of tables write them: `5s`, `256MiB`.

/// Units of time, in milliseconds.
pub const AGES: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size, in bytes.
pub const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// Reads a number with one of these units; `None` for anything else, and for what is too large.
pub fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(parse("5s", &AGES), Some(5000));
        assert_eq!(parse("256 MiB", &SIZES), Some(256 << 20));
        for (text, units) in
            [("5", &AGES[..]), ("5 weeks", &AGES), ("s", &AGES), ("", &SIZES), ("18446744073709551615KiB", &SIZES)]
        {
            assert_eq!(parse(text, units), None, "{text}");
        }
    }
}
