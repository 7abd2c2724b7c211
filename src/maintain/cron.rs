//! Times by five fields, as cron has them, in UTC. Pure.
//!
//! `minute hour day-of-month month day-of-week`; a field is `*`, a number, a range `a-b`, each of them with a step
//! (`*/5`, `0-30/10`), or several with commas between. Sunday is 0 and 7. Where both days are given, either of them will
//! do, as in cron. No names, no seconds, no time zones: a schedule that moves with the clocks of a country skips an hour
//! once a year. The grammar is small enough to be written down here; the crates for it bring a calendar of their own.

use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, tz::TimeZone};

/// Days that are looked at for the next time: the 29th of February comes within eight years.
const DAYS: usize = 8 * 366 + 1;
const MINUTE_MS: i64 = 60_000;

/// What each field may hold.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7)];

/// Times that come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each value of each field.
    fields: [u64; 5],
    /// Whether any day of the month, and any day of the week, will do.
    any_day: [bool; 2],
    text: String,
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// What is wrong, in words; also for times that never come, as the 30th of February.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != FIELDS.len() {
            return Err(format!("'{text}' has {} fields, not the five of cron, as \"17 3 * * *\"", words.len()));
        }
        let mut fields = [0; 5];
        for ((bits, word), (name, least, most)) in fields.iter_mut().zip(&words).zip(FIELDS) {
            *bits = field(word, least, most).ok_or_else(|| {
                format!("'{word}' is no {name}: it is {least} to {most}, as 5, 1-5, */10, or several with commas")
            })?;
        }
        // Sunday has two numbers.
        fields[4] |= fields[4] >> 7 & 1;
        let any_day = [words[2].starts_with('*'), words[4].starts_with('*')];
        let cron = Cron { fields, any_day, text: words.join(" ") };
        match cron.after(0) {
            Some(_) => Ok(cron),
            None => Err(format!("'{text}' is a time that never comes")),
        }
    }

    /// The first of its times after `ms`, both in ms since 1970; `None` beyond what a calendar has.
    pub fn after(&self, ms: i64) -> Option<i64> {
        let first = (ms.div_euclid(MINUTE_MS) + 1).checked_mul(MINUTE_MS)?;
        let start = Timestamp::from_millisecond(first).ok()?.to_zoned(TimeZone::UTC).datetime();
        let mut from = u32::try_from(start.hour()).ok()? * 60 + u32::try_from(start.minute()).ok()?;
        let mut date = start.date();
        for _ in 0..DAYS {
            let time = if self.has_day(date) { (from..24 * 60).find(|minute| self.has_minute(*minute)) } else { None };
            if let Some(minute) = time {
                let day = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
                return Some(day + i64::from(minute) * MINUTE_MS);
            }
            (date, from) = (date.tomorrow().ok()?, 0);
        }
        None
    }

    fn has(&self, field: usize, value: u32) -> bool {
        self.fields[field] >> value & 1 == 1
    }

    fn has_minute(&self, minute: u32) -> bool {
        self.has(1, minute / 60) && self.has(0, minute % 60)
    }

    fn has_day(&self, date: Date) -> bool {
        let number = |value: i8| u32::try_from(value).unwrap_or_default();
        let weekday = match date.weekday() {
            Weekday::Sunday => 0,
            other => number(other.to_monday_one_offset()),
        };
        let days = (self.has(2, number(date.day())), self.has(4, weekday));
        let fits = match self.any_day {
            [false, false] => days.0 || days.1,
            _ => days.0 && days.1,
        };
        fits && self.has(3, number(date.month()))
    }
}

/// A field's values as bits.
fn field(word: &str, least: u32, most: u32) -> Option<u64> {
    let mut bits = 0;
    for part in word.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step: usize = step.map_or(Some(1), |step| digits(step)?.try_into().ok())?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (digits(from)?, digits(to)?),
            // `5/10` is from 5 on.
            None if part.contains('/') => (digits(range)?, most),
            None => (digits(range)?, digits(range)?),
        };
        if step == 0 || from < least || to > most || from > to {
            return None;
        }
        (from..=to).step_by(step).for_each(|value| bits |= 1 << value);
    }
    Some(bits)
}

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn next(cron: &str, from: &str) -> String {
        let next = Cron::parse(cron).expect("is read").after(ms(from)).expect("comes");
        Timestamp::from_millisecond(next).expect("a time").to_string()
    }

    #[test]
    fn the_next_time_is_found() {
        for (cron, from, then) in [
            ("* * * * *", "2026-06-01T00:00:00Z", "2026-06-01T00:01:00Z"),
            ("* * * * *", "2026-06-01T00:00:59.999Z", "2026-06-01T00:01:00Z"),
            ("*/5 * * * *", "2026-06-01T23:56:00Z", "2026-06-02T00:00:00Z"),
            ("17 3 * * *", "2026-06-01T03:17:00Z", "2026-06-02T03:17:00Z"),
            ("0 0 29 2 *", "2026-06-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 12 * * 1-5", "2026-06-05T12:00:00Z", "2026-06-08T12:00:00Z"),
            ("0 0 * * 7", "2026-06-01T00:00:00Z", "2026-06-07T00:00:00Z"),
            ("0 0 13 * 5", "2026-06-01T00:00:00Z", "2026-06-05T00:00:00Z"),
            ("0 0 13 * */7", "2026-06-01T00:00:00Z", "2026-09-13T00:00:00Z"),
            ("5,35 8-10/2 1 1,7 *", "2026-06-01T00:00:00Z", "2026-07-01T08:05:00Z"),
            ("50/5 * * * *", "2026-06-01T00:50:00Z", "2026-06-01T00:55:00Z"),
        ] {
            assert_eq!(next(cron, from), then, "{cron} after {from}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (text, said) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("60 * * * *", "no minute"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day of the month"),
            ("* * * 13 *", "no month"),
            ("* * * * 8", "no day of the week"),
            ("*/0 * * * *", "no minute"),
            ("5-1 * * * *", "no minute"),
            ("1,,2 * * * *", "no minute"),
            ("-1 * * * *", "no minute"),
            ("+1 * * * *", "no minute"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let refused = Cron::parse(text).expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    proptest! {
        /// No time is passed over: minute by minute nothing fits before what is found, and that fits.
        #[test]
        fn none_is_passed_over(
            minute in 0..60u32, step in 1..9u32, hour in 0..24u32, day in 1..28u32, weekday in 0..8u32,
            way in 0..5usize, from in 1_700_000_000_000..1_900_000_000_000i64,
        ) {
            let text = [
                format!("{minute} {hour} * * *"),
                format!("*/{step} * * * {weekday}"),
                format!("{minute} */{step} {day} * *"),
                format!("{minute} {hour} {day} * {weekday}"),
                "* * * * *".to_string(),
            ];
            let cron = Cron::parse(&text[way]).expect("is read");
            let found = cron.after(from).expect("comes");
            prop_assert!(found > from);
            let fits = |at: i64| {
                let at = Timestamp::from_millisecond(at).expect("a time").to_zoned(TimeZone::UTC).datetime();
                let minute = u32::try_from(at.hour()).unwrap_or(0) * 60 + u32::try_from(at.minute()).unwrap_or(0);
                cron.has_day(at.date()) && cron.has_minute(minute)
            };
            prop_assert!(fits(found));
            let first = (from.div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
            prop_assert!((first..found).step_by(60_000).all(|at| !fits(at)));
        }
    }
}
