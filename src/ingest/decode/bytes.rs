//! Looking at bytes many at a time: word loads, the search for the end of a string, tokens compared in one go.
//!
//! All of it works on any machine; where SSE2 is part of the target (every x86-64) the search takes 16 bytes a step
//! with it. Loads past the end of the slice read as zeros, so callers need no length checks of their own.

/// Eight bytes at `at`, the first in the lowest bits; zeros where there are none.
#[inline(always)]
pub fn load8(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => {
            let mut chunk = [0; 8];
            let rest = text.get(at..).unwrap_or_default();
            chunk[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(chunk)
        }
    }
}

/// Sixteen bytes at `at`, the first in the lowest bits; zeros where there are none.
#[inline(always)]
pub fn load16(text: &[u8], at: usize) -> u128 {
    match text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => u128::from(load8(text, at)) | (u128::from(load8(text, at.saturating_add(8))) << 64),
    }
}

/// The byte at `at`; zero where there is none.
#[inline(always)]
pub fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Keeps the first `len` (at most 8) bytes of a word.
#[inline(always)]
pub fn low_bytes(word: u64, len: usize) -> u64 {
    if len >= 8 { word } else { word & ((1 << (len * 8)) - 1) }
}

/// The first position at or after `at` that holds `"`, `\` or a control character: where the plain part of a JSON
/// string ends. The text's length if there is none.
#[inline(always)]
pub fn find_json_stop(text: &[u8], at: usize) -> usize {
    find(text, at, stops::json, |b| b == b'"' || b == b'\\' || b < 0x20)
}

/// The first position at or after `at` that holds `,`, `"` or a line end: where a bare CSV field ends. The text's
/// length if there is none.
#[inline(always)]
pub fn find_csv_stop(text: &[u8], at: usize) -> usize {
    find(text, at, stops::csv, |b| matches!(b, b',' | b'"' | b'\n' | b'\r'))
}

#[inline(always)]
fn find(text: &[u8], mut at: usize, stops: impl Fn(&[u8; 16]) -> u32, is_stop: impl Fn(u8) -> bool) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let found = stops(chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < text.len() && !is_stop(text[at]) {
        at += 1;
    }
    at
}

#[cfg(target_arch = "x86_64")]
mod stops {
    //! One bit for each of 16 bytes that ends a plain run.
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    #[inline(always)]
    fn load(chunk: &[u8; 16]) -> __m128i {
        // SAFETY: the reference covers 16 readable bytes, and the load needs no alignment.
        unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) }
    }

    #[inline(always)]
    pub fn json(chunk: &[u8; 16]) -> u32 {
        let bytes = load(chunk);
        // SAFETY: SSE2 belongs to every x86-64 target; the intrinsics work on registers only.
        unsafe {
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let escape = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, escape), control)) as u32
        }
    }

    #[inline(always)]
    pub fn csv(chunk: &[u8; 16]) -> u32 {
        let bytes = load(chunk);
        // SAFETY: as above.
        unsafe {
            let comma = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b',' as i8));
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let feed = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8));
            let ret = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\r' as i8));
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(comma, quote), _mm_or_si128(feed, ret))) as u32
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod stops {
    //! One bit for each of 16 bytes that ends a plain run.
    pub fn json(chunk: &[u8; 16]) -> u32 {
        bits(chunk, |b| b == b'"' || b == b'\\' || b < 0x20)
    }

    pub fn csv(chunk: &[u8; 16]) -> u32 {
        bits(chunk, |b| matches!(b, b',' | b'"' | b'\n' | b'\r'))
    }

    fn bits(chunk: &[u8; 16], is_stop: impl Fn(u8) -> bool) -> u32 {
        chunk.iter().enumerate().fold(0, |bits, (i, &b)| bits | (u32::from(is_stop(b)) << i))
    }
}

/// A short literal that is compared in at most [`Token::WORDS`] wide steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    len: usize,
    words: [u128; Self::WORDS],
    masks: [u128; Self::WORDS],
}

impl Token {
    const WORDS: usize = 3;

    /// The token for `literal`, or none if it is longer than 48 bytes.
    pub fn new(literal: &[u8]) -> Option<Self> {
        if literal.len() > 16 * Self::WORDS {
            return None;
        }
        let mut token = Token { len: literal.len(), words: [0; Self::WORDS], masks: [0; Self::WORDS] };
        for (i, &b) in literal.iter().enumerate() {
            token.words[i / 16] |= u128::from(b) << (i % 16 * 8);
            token.masks[i / 16] |= 0xff << (i % 16 * 8);
        }
        Some(token)
    }

    /// The position behind the token if it stands at `at`.
    #[inline(always)]
    pub fn after(&self, text: &[u8], at: usize) -> Option<usize> {
        let differs = |i: usize| (load16(text, at + 16 * i) ^ self.words[i]) & self.masks[i] != 0;
        if differs(0) || (self.len > 16 && (differs(1) || (self.len > 32 && differs(2)))) {
            return None;
        }
        Some(at + self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_stop_wherever_it_is() {
        for at in 0..70 {
            for stop in [b'"', b'\\', b'\n', 0, 0x1f] {
                let mut text = vec![b'x'; 70];
                text[at] = stop;
                assert_eq!(find_json_stop(&text, 0), at, "{stop}");
            }
            let mut text = vec![0x7f; 70];
            text[at] = b',';
            assert_eq!(find_csv_stop(&text, 0), at);
        }
        assert_eq!(find_json_stop("é ~".as_bytes(), 0), "é ~".len());
    }

    #[test]
    fn tokens_compare_every_byte_and_only_those() {
        for len in [0, 1, 15, 16, 17, 32, 33, 48] {
            let literal: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
            let token = Token::new(&literal).expect("short");
            let mut text = [&literal[..], b"tail"].concat();
            assert_eq!(token.after(&text, 0), Some(len));
            if len > 0 {
                text[len - 1] ^= 1;
                assert_eq!(token.after(&text, 0), None);
                assert_eq!(token.after(&literal[..len - 1], 0), None);
            }
        }
        assert_eq!(Token::new(&[b'a'; 49]), None);
    }
}
