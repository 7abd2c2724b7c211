//! Numbers from text: one scan that checks JSON's grammar and gathers the digits, then exact conversions.
//!
//! A double is made from the scan alone where that is exact (at most 2^53 and 22 decimals: one correctly rounded
//! division), else by `fast_float2`. A decimal never passes through a float.

use super::bytes::byte;

/// A number as it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The position behind it.
    pub end: usize,
    /// Whether it has a minus sign.
    pub negative: bool,
    /// Its first 19 digits at most, leading zeros apart, without the point.
    pub digits: u64,
    /// How many digits stand behind the point.
    pub decimals: u32,
    /// Whether `digits` holds all of them.
    pub exact: bool,
    /// Whether it has an exponent.
    pub exponent: bool,
}

const MOST_DIGITS: usize = 19;

/// Powers of ten that a double holds exactly.
const EXACT_TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[inline(always)]
fn run_of_digits(text: &[u8], mut at: usize, into: &mut u64) -> usize {
    loop {
        let digit = byte(text, at).wrapping_sub(b'0');
        if digit > 9 {
            return at;
        }
        *into = into.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
}

/// Scans the number at `at` by JSON's grammar (no plus sign, no leading zeros, digits around the point). What follows
/// it is the caller's to judge.
#[inline(always)]
pub fn scan(text: &[u8], at: usize) -> Option<Number> {
    let negative = byte(text, at) == b'-';
    let first = at + usize::from(negative);
    let mut digits = 0;
    let mut end = run_of_digits(text, first, &mut digits);
    let mut count = end - first;
    if count == 0 || (count > 1 && byte(text, first) == b'0') {
        return None;
    }
    let mut decimals = 0;
    if byte(text, end) == b'.' {
        let point = end + 1;
        end = run_of_digits(text, point, &mut digits);
        if end == point {
            return None;
        }
        decimals = (end - point) as u32;
        count += end - point;
    }
    let exponent = byte(text, end) | 0x20 == b'e';
    if exponent {
        end = exponent_end(text, end + 1)?;
    }
    Some(Number { end, negative, digits, decimals, exact: count <= MOST_DIGITS, exponent })
}

#[cold]
fn exponent_end(text: &[u8], at: usize) -> Option<usize> {
    let first = at + usize::from(matches!(byte(text, at), b'+' | b'-'));
    let end = run_of_digits(text, first, &mut 0);
    (end > first).then_some(end)
}

impl Number {
    /// The nearest double; infinite if there is none. `text` is where the number was scanned, from `at`.
    #[inline(always)]
    pub fn double(&self, text: &[u8], at: usize) -> f64 {
        if self.exact && !self.exponent && self.digits <= 1 << 53 && self.decimals <= 22 {
            let whole = self.digits as f64;
            let value = if self.decimals == 0 { whole } else { whole / EXACT_TENS[self.decimals as usize] };
            if self.negative { -value } else { value }
        } else {
            fast_float2::parse(&text[at..self.end]).unwrap_or(f64::NAN)
        }
    }

    /// The nearest single-precision number; infinite if there is none.
    #[inline(always)]
    pub fn float(&self, text: &[u8], at: usize) -> f32 {
        if self.exact && !self.exponent && self.decimals == 0 && self.digits <= 1 << 24 {
            let value = self.digits as f32;
            if self.negative { -value } else { value }
        } else {
            fast_float2::parse(&text[at..self.end]).unwrap_or(f32::NAN)
        }
    }

    /// The integer, if it is written as one and a long holds it.
    #[inline(always)]
    pub fn long(&self) -> Option<i64> {
        if self.decimals != 0 || self.exponent || !self.exact {
            return None;
        }
        let value = i64::try_from(self.digits).ok();
        if self.negative { value.map(|v| -v).or((self.digits == 1 << 63).then_some(i64::MIN)) } else { value }
    }
}

/// Why a decimal could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecimal {
    /// Not a number.
    Syntax,
    /// More decimals than the scale holds.
    Scale,
    /// More digits than the precision holds.
    Precision,
}

/// The number that is the whole of `text`, times 10^`scale`, exactly.
pub fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, NoDecimal> {
    let number = scan(text, 0).filter(|n| n.end == text.len()).ok_or(NoDecimal::Syntax)?;
    let (mantissa, power) = match text.iter().position(|b| b | 0x20 == b'e') {
        Some(e) => (&text[..e], exponent_value(&text[e + 1..])),
        None => (text, 0),
    };
    let mut digits: Vec<u8> = mantissa.iter().filter(|b| b.is_ascii_digit()).copied().collect();
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    digits.drain(..zeros);
    let mut shift = i64::from(scale) + power - i64::from(number.decimals);
    while digits.last() == Some(&b'0') {
        digits.pop();
        shift += 1;
    }
    if digits.is_empty() {
        return Ok(0);
    }
    if shift < 0 {
        return Err(NoDecimal::Scale);
    }
    if digits.len() as i64 + shift > i64::from(precision) {
        return Err(NoDecimal::Precision);
    }
    let whole = digits.iter().fold(0, |sum: i128, b| sum * 10 + i128::from(b - b'0'));
    let value = whole * 10_i128.pow(shift as u32);
    Ok(if number.negative { -value } else { value })
}

/// The exponent, held within bounds that no precision reaches.
fn exponent_value(text: &[u8]) -> i64 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let bound = if text.starts_with('-') { -1_000_000_000 } else { 1_000_000_000 };
    text.trim_start_matches('+').parse().unwrap_or(bound).clamp(-1_000_000_000, 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(text: &str) -> Option<f64> {
        let number = scan(text.as_bytes(), 0).filter(|n| n.end == text.len())?;
        Some(number.double(text.as_bytes(), 0))
    }

    #[test]
    fn grammar_is_jsons() {
        for good in ["0", "-0", "1", "10.50", "1e3", "1E-3", "0.0", "12345678901234567890123.5"] {
            assert_eq!(double(good), good.parse().ok(), "{good}");
        }
        for bad in ["", "-", "+1", "01", ".5", "5.", "1e", "1e+", "NaN", "inf", "0x1"] {
            assert_eq!(double(bad), None, "{bad}");
        }
        assert_eq!(double("1e999"), Some(f64::INFINITY));
    }

    #[test]
    fn longs_to_their_limits() {
        let long = |text: &str| scan(text.as_bytes(), 0).and_then(|n| n.long());
        assert_eq!(long("9223372036854775807"), Some(i64::MAX));
        assert_eq!(long("-9223372036854775808"), Some(i64::MIN));
        for over in ["9223372036854775808", "-9223372036854775809", "99999999999999999999", "1.0", "1e2"] {
            assert_eq!(long(over), None, "{over}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let decimal = |text: &str| decimal(text.as_bytes(), 12, 2);
        assert_eq!(decimal("583.50"), Ok(58350));
        assert_eq!(decimal("-0.07"), Ok(-7));
        assert_eq!(decimal("1.23000"), Ok(123));
        assert_eq!(decimal("1.2e1"), Ok(1200));
        assert_eq!(decimal("0e99999999999999999999"), Ok(0));
        assert_eq!(decimal("1.234"), Err(NoDecimal::Scale));
        assert_eq!(decimal("1e-99999999999999999999"), Err(NoDecimal::Scale));
        assert_eq!(decimal("9999999999.99"), Ok(999_999_999_999));
        assert_eq!(decimal("10000000000"), Err(NoDecimal::Precision));
        assert_eq!(decimal("1e99999999999999999999"), Err(NoDecimal::Precision));
        assert_eq!(decimal("1,5"), Err(NoDecimal::Syntax));
    }

    proptest! {
        #[test]
        fn doubles_are_the_standard_librarys(value: f64, digits in 0_usize..25) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{:.*}", digits, value % 1e6)] {
                let want: f64 = text.parse().expect("printed");
                prop_assert_eq!(double(&text).map(f64::to_bits), Some(want.to_bits()), "{}", text);
            }
        }
    }
}
