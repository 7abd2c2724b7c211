//! Where each user's readings are missing: decided before the first reading is made, so that the totals are exact.
//!
//! A sensor reads every five minutes. Of 500 users' 1,080,000 slots, 112 lie outside of their user's first and last
//! reading, 85,889 in short gaps and 27,200 in long ones; 966,799 readings remain. Other sizes get the same shares,
//! rounded down, times `--gaps`.
//!
//! A **short** gap has 7 to 23 slots missing and a **long** one 25 or more, so that "35 to 120 minutes" holds whether
//! a gap is measured as the minutes missing (35 to 115; long 125 and more) or as the time between its neighbours (40
//! to 120; long 130 and more): nobody's gap filling has to agree with us about that. Shorter gaps do not occur.
//!
//! Shares are handed out by running totals, so that no rounding is lost; a quota too small for one gap waits for the
//! next user. A user's gaps lie in distinct intervals between readings and so never touch.

use crate::error::{Error, Kind, Result};
use crate::sample::random::Random;

/// Slots of the reference sample, and how many of them are missing, by kind.
const REFERENCE: u64 = 1_080_000;
const SHORT: u64 = 85_889;
const LONG: u64 = 27_200;
const EDGE: u64 = 112;

/// Slots missing in a short gap.
pub const SHORT_SLOTS: std::ops::RangeInclusive<u32> = 7..=23;
/// Slots missing in a long gap; twelve hours at most, unless a remainder asks for more.
pub const LONG_SLOTS: std::ops::RangeInclusive<u32> = 25..=144;

/// What all users together will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Readings.
    pub readings: u64,
    /// Slots missing in short gaps.
    pub short: u64,
    /// Slots missing in long gaps.
    pub long: u64,
    /// Slots before a user's first reading or after the last.
    pub edge: u64,
}

/// One user's share of what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Slots in short gaps.
    pub short: u32,
    /// Slots in long gaps.
    pub long: u32,
    /// Slots at the edges.
    pub edge: u32,
}

/// Every user's quota, in order of users.
#[derive(Clone, Debug)]
pub struct Plan {
    slots: u32,
    quotas: Vec<Quota>,
}

impl Plan {
    /// Plans `users` users of `slots` slots; `gaps` multiplies the share of missing slots, in thousandths.
    pub fn new(users: u32, slots: u32, gaps: u32) -> Result<Self> {
        if users == 0 || slots < 2 {
            return Err(Error::new(Kind::Invalid, "the sample needs at least one user and ten minutes")
                .with("users", users)
                .with("slots", slots));
        }
        if gaps > 4000 {
            return Err(Error::new(Kind::Invalid, "--gaps is a factor from 0 (none) to 4; 1 is the reference sample"));
        }
        let share = |of: u64, upto: u32| {
            let slots = u128::from(upto) * u128::from(slots);
            (slots * u128::from(of) * u128::from(gaps) / (u128::from(REFERENCE) * 1000)) as u64
        };
        let mut due = [Due::new(*SHORT_SLOTS.start()), Due::new(*LONG_SLOTS.start()), Due::new(1)];
        let quota = |user: u32| Quota {
            short: due[0].up_to(share(SHORT, user + 1), slots / 3),
            long: due[1].up_to(share(LONG, user + 1), slots / 3),
            edge: due[2].up_to(share(EDGE, user + 1), slots / 12),
        };
        Ok(Self { slots, quotas: (0..users).map(quota).collect() })
    }

    /// Slots of each user.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// How many users.
    pub fn users(&self) -> u32 {
        self.quotas.len() as u32
    }

    /// What all users together will have.
    pub fn totals(&self) -> Totals {
        let sum = |part: fn(&Quota) -> u32| self.quotas.iter().map(|quota| u64::from(part(quota))).sum::<u64>();
        let (short, long, edge) = (sum(|q| q.short), sum(|q| q.long), sum(|q| q.edge));
        let slots = u64::from(self.slots) * self.quotas.len() as u64;
        Totals { readings: slots - short - long - edge, short, long, edge }
    }

    /// The missing runs of `user`, as (first slot, slots), in order and never touching.
    pub fn missing(&self, user: u32, random: &mut Random) -> Vec<(u32, u32)> {
        let quota = self.quotas[user as usize];
        let mut gaps = split(quota.short, &SHORT_SLOTS, random);
        gaps.extend(split(quota.long, &LONG_SLOTS, random));
        shuffle(&mut gaps, random);
        let head = if quota.edge == 0 { 0 } else { random.below(quota.edge + 1) };
        let readings = self.slots - quota.short - quota.long - quota.edge;
        let mut runs = Vec::with_capacity(gaps.len() + 2);
        runs.extend((head > 0).then_some((0, head)));
        place(&gaps, head, readings, random, &mut runs);
        let tail = quota.edge - head;
        runs.extend((tail > 0).then_some((self.slots - tail, tail)));
        runs
    }
}

/// A running total that is handed out in quotas of at least `least`.
struct Due {
    given: u64,
    least: u64,
}

impl Due {
    fn new(least: u32) -> Self {
        Self { given: 0, least: u64::from(least) }
    }

    fn up_to(&mut self, total: u64, most: u32) -> u32 {
        let quota = (total - self.given).min(u64::from(most));
        if quota < self.least {
            return 0;
        }
        self.given += quota;
        quota as u32
    }
}

/// Cuts `total` into lengths inside `range`; a remainder that cannot be cut is one length of its own.
fn split(mut total: u32, range: &std::ops::RangeInclusive<u32>, random: &mut Random) -> Vec<u32> {
    let (least, most) = (*range.start(), *range.end());
    let mut lengths = Vec::new();
    while total > 0 {
        let whole = total <= most && (total < 2 * least || random.below(3) == 0);
        let length =
            if whole { total } else { random.between(i64::from(least), i64::from(most.min(total - least))) as u32 };
        lengths.push(length);
        total -= length;
    }
    lengths
}

fn shuffle(items: &mut [u32], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u32 + 1) as usize);
    }
}

/// Puts each gap into an interval of its own between two of `readings` readings (Knuth's algorithm S).
fn place(gaps: &[u32], head: u32, readings: u32, random: &mut Random, runs: &mut Vec<(u32, u32)>) {
    let (mut slot, mut left) = (head, gaps.iter());
    for interval in 0..readings.saturating_sub(1) {
        slot += 1;
        let open = readings - 1 - interval;
        if left.len() as u32 > random.below(open)
            && let Some(&gap) = left.next()
        {
            runs.push((slot, gap));
            slot += gap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_sample_has_its_exact_totals() {
        let plan = Plan::new(500, 2160, 1000).expect("valid");
        assert_eq!(plan.totals(), Totals { readings: 966_799, short: 85_889, long: 27_200, edge: 112 });
        let ten = Plan::new(5000, 2160, 1000).expect("valid");
        assert_eq!(ten.totals().readings, 9_667_990);
    }

    #[test]
    fn every_cut_is_inside_its_range_and_adds_up() {
        let mut random = Random::new(3, 4);
        for range in [&SHORT_SLOTS, &LONG_SLOTS] {
            for total in *range.start()..900 {
                let cuts = split(total, range, &mut random);
                assert_eq!(cuts.iter().sum::<u32>(), total);
                assert!(cuts.iter().all(|cut| range.contains(cut)), "{total} was cut into {cuts:?}");
            }
        }
    }

    #[test]
    fn runs_are_apart_and_inside() {
        for gaps in [0, 300, 1000, 4000] {
            let plan = Plan::new(40, 2160, gaps).expect("valid");
            for user in 0..plan.users() {
                let runs = plan.missing(user, &mut Random::new(9, u64::from(user)));
                assert!(runs.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "{runs:?}");
                assert!(runs.iter().all(|&(first, slots)| first + slots <= 2160));
                let missing: u32 = runs.iter().map(|run| run.1).sum();
                let quota = plan.quotas[user as usize];
                assert_eq!(missing, quota.short + quota.long + quota.edge);
            }
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        assert!(Plan::new(0, 2160, 1000).is_err());
        assert!(Plan::new(1, 1, 1000).is_err());
        assert!(Plan::new(1, 2160, 4001).is_err());
    }
}
