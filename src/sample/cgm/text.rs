//! Readings as NDJSON and CSV, written byte by byte into one buffer: ten million lines a second and more.
//!
//! Times repeat for every user, so each slot's is made once; names are short and made in place.

use std::io::Write;

use super::{COUNTRIES, Flaw, Ids, Options, Reading, SLOT_MICROS, TRENDS, country, device, uuid_bits};
use crate::error::Result;
use crate::sample::calendar::timestamp;

/// The header line of the CSV form.
pub const CSV_HEADER: &str = "reading_id,user_id,device_id,timestamp,glucose_mg_dl,country,source,trend\n";
/// The buffer goes out when it holds this many bytes.
const FULL: usize = 1 << 18;

/// Writes readings as lines.
pub struct TextWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
    csv: bool,
    ids: Ids,
    seed: u64,
    times: Vec<[u8; 20]>,
    countries: Vec<u8>,
}

impl<W: Write> TextWriter<W> {
    /// Lines of NDJSON, or of CSV after its header.
    pub fn new(options: &Options, csv: bool, out: W) -> Self {
        let time = |slot: u32| timestamp(options.start + i64::from(slot) * SLOT_MICROS);
        let mut buffer = Vec::with_capacity(FULL + 1024);
        if csv {
            buffer.extend_from_slice(CSV_HEADER.as_bytes());
        }
        Self {
            out,
            buffer,
            csv,
            ids: options.ids,
            seed: options.seed,
            times: (0..options.slots).map(time).collect(),
            countries: (0..options.users).map(|user| country(options.seed, user) as u8).collect(),
        }
    }

    /// One line.
    #[inline]
    pub fn write(&mut self, reading: &Reading) -> Result<()> {
        let start = self.buffer.len();
        if self.csv {
            self.csv(reading)
        } else {
            self.json(reading)
        }
        if reading.flaw == Some(Flaw::Cut) {
            self.buffer.truncate(start + 60);
        }
        self.buffer.push(b'\n');
        if self.buffer.len() >= FULL {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes what is left and gives the output back.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn json(&mut self, reading: &Reading) {
        self.put("{\"reading_id\":\"");
        self.id(reading);
        if reading.flaw != Some(Flaw::NoUser) {
            self.put("\",\"user_id\":\"");
            self.user(reading.user);
        }
        self.put("\",\"device_id\":\"");
        self.device(reading);
        self.put("\",\"timestamp\":\"");
        self.time(reading);
        self.put("\",\"glucose_mg_dl\":");
        self.glucose(reading);
        self.put(",\"country\":\"");
        self.put(self.country(reading));
        self.put("\",\"source\":\"");
        self.put(source(reading));
        self.put("\",\"trend\":\"");
        self.put(TRENDS[usize::from(reading.trend)]);
        self.put("\"}");
    }

    fn csv(&mut self, reading: &Reading) {
        self.id(reading);
        self.put(",");
        if reading.flaw != Some(Flaw::NoUser) {
            self.user(reading.user);
        }
        self.put(",");
        self.device(reading);
        self.put(",");
        self.time(reading);
        self.put(",");
        self.glucose(reading);
        for word in [self.country(reading), source(reading), TRENDS[usize::from(reading.trend)]] {
            self.put(",");
            self.put(word);
        }
    }

    #[inline]
    fn put(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn id(&mut self, reading: &Reading) {
        match self.ids {
            Ids::Sequential => self.buffer.extend_from_slice(&padded::<13>(b'r', reading.ordinal)),
            Ids::Random => self.buffer.extend_from_slice(&uuid_text(uuid_bits(self.seed, reading))),
        }
    }

    fn user(&mut self, user: u32) {
        self.buffer.extend_from_slice(&padded::<8>(b'u', u64::from(user) + 1));
    }

    fn device(&mut self, reading: &Reading) {
        self.put("G7-");
        self.buffer.extend_from_slice(&hex6(device(self.seed, reading)));
    }

    fn time(&mut self, reading: &Reading) {
        let zone = usize::from(reading.flaw == Some(Flaw::Naive));
        let text = self.times[reading.slot as usize];
        self.buffer.extend_from_slice(&text[..20 - zone]);
    }

    fn glucose(&mut self, reading: &Reading) {
        if reading.flaw == Some(Flaw::Word) {
            return self.put("\"high\"");
        }
        let value = glucose(reading);
        let digits = [b'0' + (value / 100) as u8, b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
        let zeros = usize::from(value < 100) + usize::from(value < 10);
        self.buffer.extend_from_slice(&digits[zeros..]);
    }

    fn country(&self, reading: &Reading) -> &'static str {
        match reading.flaw {
            Some(Flaw::Country) => "XX",
            _ => COUNTRIES[usize::from(self.countries[reading.user as usize])].0,
        }
    }
}

/// The value, as the flaw has it; below 1000.
pub(super) fn glucose(reading: &Reading) -> u32 {
    match reading.flaw {
        Some(Flaw::Low) => 5,
        Some(Flaw::High) => 900,
        _ => reading.glucose,
    }
}

/// The source, as the flaw has it.
pub(super) fn source(reading: &Reading) -> &'static str {
    match (reading.flaw, reading.manual) {
        (Some(Flaw::Source), _) => "phone",
        (_, true) => "manual",
        (_, false) => "cgm",
    }
}

/// A letter and digits, `N` characters in all.
pub(super) fn padded<const N: usize>(letter: u8, mut number: u64) -> [u8; N] {
    let mut text = [letter; N];
    for digit in text[1..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Six hexadecimal digits.
pub(super) fn hex6(number: u32) -> [u8; 6] {
    std::array::from_fn(|i| HEX[(number >> (20 - 4 * i) & 15) as usize].to_ascii_uppercase())
}

/// 36 characters with dashes.
pub(super) fn uuid_text(bits: u128) -> [u8; 36] {
    let bytes = bits.to_be_bytes();
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        at += usize::from(matches!(i, 4 | 6 | 8 | 10));
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::cgm::Readings;

    fn lines(options: &Options, csv: bool) -> String {
        let mut writer = TextWriter::new(options, csv, Vec::new());
        Readings::new(options.clone(), false).expect("valid").for_each(|r| writer.write(&r).expect("memory"));
        String::from_utf8(writer.finish().expect("memory")).expect("ASCII")
    }

    #[test]
    fn the_same_bytes_on_every_machine() {
        let options = Options { users: 2, slots: 288, bad: 10_000, ..Options::default() };
        let text = lines(&options, false);
        assert_eq!(
            text.lines().next(),
            Some(
                "{\"reading_id\":\"r000000000001\",\"user_id\":\"u0000001\",\"device_id\":\"G7-7335F9\",\"timestamp\":\
                 \"2026-06-27T00:00:00Z\",\"glucose_mg_dl\":98,\"country\":\"KR\",\"source\":\"manual\",\"trend\":\"flat\"}"
            )
        );
        let hash = text.bytes().fold(0_u64, |hash, byte| crate::sample::random::mix(hash ^ u64::from(byte)));
        assert_eq!(hash, 5_772_969_095_950_307_461);
    }

    #[test]
    fn every_line_is_a_record_but_the_broken_ones() {
        let options = Options { users: 5, slots: 600, bad: 10_000, ids: Ids::Random, ..Options::default() };
        let text = lines(&options, false);
        let parsed = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        let cut = text.lines().filter(|line| !line.ends_with('}')).count();
        assert_eq!((parsed + cut, cut > 0), (text.lines().count(), true));
        let csv = lines(&options, true);
        let whole = csv.lines().filter(|line| line.split(',').count() == 8).count();
        assert_eq!(whole + cut, csv.lines().count(), "the header has eight names too, and a cut line fewer values");
    }

    #[test]
    fn a_uuid_is_written_as_the_library_writes_it() {
        let bits = 0x0123_4567_89ab_4def_8123_4567_89ab_cdef_u128;
        assert_eq!(uuid_text(bits), *uuid::Uuid::from_u128(bits).hyphenated().to_string().as_bytes());
    }
}
