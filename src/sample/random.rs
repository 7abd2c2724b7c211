//! A small random generator whose numbers are the same on every machine and in every version: SplitMix64.
//!
//! A crate would be free to change its stream between releases; the sample's bytes are a promise, so the ten lines
//! are kept here. Only integers are drawn: floating point appears in the samples, but never in a decision.

/// SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, period 2^64.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A stream for `seed`, distinct for each `lane`: one for each user, symbol, or purpose.
    pub fn new(seed: u64, lane: u64) -> Self {
        Self { state: mix(seed ^ mix(lane.wrapping_add(0x9e37_79b9_7f4a_7c15))) }
    }

    /// The next 64 bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, which must not be 0. The bias of the multiplication is below `bound / 2^32`.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.draw() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number in `low..=high`.
    #[inline]
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::from(self.below((high - low + 1) as u32))
    }
}

/// SplitMix64's finaliser: also a hash of an integer.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The reference implementation, seeded with 1234567.
        let mut random = Random { state: 1_234_567 };
        assert_eq!(random.draw(), 6_457_827_717_110_365_317);
        assert_eq!(random.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn between_stays_inside_and_reaches_both_ends() {
        let mut random = Random::new(1, 2);
        let drawn: Vec<i64> = (0..2000).map(|_| random.between(-3, 4)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-3), Some(&4)));
    }
}
