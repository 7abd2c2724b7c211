//! Days and times as text, proleptic Gregorian, UTC.

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of a number of days since 1970-01-01 (Hinnant's algorithm).
pub fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month as u32, day)
}

/// `2026-06-27T00:05:00Z` of microseconds since 1970, whole seconds; years 0 to 9999.
pub fn timestamp(micros: i64) -> [u8; 20] {
    let (year, month, day) = civil(micros.div_euclid(DAY_MICROS));
    let seconds = micros.rem_euclid(DAY_MICROS) / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00Z";
    let mut put = |at: usize, number: i64| {
        text[at] = b'0' + (number / 10 % 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    };
    put(0, year / 100);
    put(2, year % 100);
    put(5, i64::from(month));
    put(8, i64::from(day));
    put(11, seconds / 3600);
    put(14, seconds / 60 % 60);
    put(17, seconds % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_agree_with_the_library() {
        for days in (-800_000..800_000).step_by(997) {
            let (year, month, day) = civil(days);
            if (0..=9999).contains(&year) {
                let date = jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(days));
                assert_eq!((year, month, day), (date.year().into(), date.month() as u32, date.day() as u32));
            }
        }
    }

    #[test]
    fn a_time_is_written_in_full() {
        assert_eq!(timestamp(1_782_518_700_000_000), *b"2026-06-27T00:05:00Z");
    }
}
