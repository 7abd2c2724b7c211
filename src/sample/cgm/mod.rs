//! Continuous glucose readings: users with a sensor that reads every five minutes, and the gaps real sensors have.
//!
//! A reading is a function of the seed, the user and the slot alone, so that both orders and all formats hold the
//! same readings. [`plan`] says which slots are missing; the walk below gives the values: whole mg/dl, drawn back to
//! the user's own level, which meals raise three times a day. The text forms are written by [`text`] directly, since
//! a generator slower than the daemon would measure itself; the binary forms go through Arrow in [`batch`].
//!
//! Broken records (`--bad`) come **besides** the readings: the sample's totals stay what they are, and quarantine
//! holds exactly the rest.

pub mod batch;
pub mod plan;
pub mod text;

use self::plan::Plan;
use super::random::{Random, mix};
use crate::error::{Error, Kind, Result};

/// Slots of a day.
pub const SLOTS_A_DAY: u32 = 288;
/// Microseconds of a slot.
pub const SLOT_MICROS: i64 = 300_000_000;
/// A sensor is worn ten days; the next one has another number.
const SLOTS_A_SENSOR: u32 = 10 * SLOTS_A_DAY;
/// The countries of the contract, and how many of a hundred users live there.
pub const COUNTRIES: [(&str, u64); 4] = [("TW", 40), ("JP", 30), ("KR", 20), ("SG", 10)];
/// The trends of the contract, by [`Reading::trend`].
pub const TRENDS: [&str; 3] = ["flat", "up", "down"];
/// Values are walked in sixteenths of mg/dl.
const FINE: i64 = 16;

/// In which order records come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// User by user, each in order of time: the table's own order.
    #[default]
    User,
    /// Slot by slot, each user's sensor at its own moment: as a service receives them.
    Arrival,
}

/// What reading ids look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// `r000000000001`, counted in order of output.
    #[default]
    Sequential,
    /// 36 characters in the form of a UUID.
    Random,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many users.
    pub users: u32,
    /// Five-minute slots for each user; 2,160 are seven and a half days.
    pub slots: u32,
    /// Factor on the share of missing slots, in thousandths.
    pub gaps: u32,
    /// Broken records for each million readings.
    pub bad: u32,
    /// Order of the records.
    pub order: Order,
    /// Form of the ids.
    pub ids: Ids,
    /// Seed of everything.
    pub seed: u64,
    /// The first slot, microseconds since 1970 UTC.
    pub start: i64,
}

impl Default for Options {
    /// The reference sample: 500 users from 2026-06-27T00:00:00Z, so that it spans two months.
    fn default() -> Self {
        let (users, slots, start) = (500, 2160, 1_782_518_400_000_000);
        Self { users, slots, gaps: 1000, bad: 0, order: Order::User, ids: Ids::Sequential, seed: 1, start }
    }
}

/// How a broken record is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// 5 mg/dl.
    Low,
    /// 900 mg/dl.
    High,
    /// A country that is not in the contract.
    Country,
    /// No user.
    NoUser,
    /// A source that is not in the contract.
    Source,
    /// A time without a zone. Text only.
    Naive,
    /// The value is a word. Text only.
    Word,
    /// The record breaks off. Text only.
    Cut,
}

const FLAWS: [Flaw; 8] =
    [Flaw::Low, Flaw::High, Flaw::Country, Flaw::NoUser, Flaw::Source, Flaw::Naive, Flaw::Word, Flaw::Cut];
/// How many of [`FLAWS`] a typed column can hold.
const TYPED_FLAWS: usize = 5;

/// One record, before it has a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The user's number, from 0.
    pub user: u32,
    /// The slot's number, from 0.
    pub slot: u32,
    /// mg/dl.
    pub glucose: u32,
    /// Index into [`TRENDS`].
    pub trend: u8,
    /// Whether it was typed in by hand.
    pub manual: bool,
    /// The record's number in order of output, from 1.
    pub ordinal: u64,
    /// How it is broken, if it is.
    pub flaw: Option<Flaw>,
}

/// The readings, in order.
pub struct Readings {
    options: Options,
    plan: Plan,
    sensors: Vec<Sensor>,
    at: usize,
    slot: u32,
    next_user: u32,
    ordinal: u64,
    bad_due: u32,
    flaws: u64,
    typed: bool,
    held: Option<Reading>,
}

impl Readings {
    /// Readings as `options` ask for; `typed` leaves out flaws that only text can have.
    pub fn new(options: Options, typed: bool) -> Result<Self> {
        let plan = Plan::new(options.users, options.slots, options.gaps)?;
        if options.bad > 1_000_000 {
            return Err(Error::new(Kind::Invalid, "--bad is at most 100%: one broken record for each reading"));
        }
        let mut readings = Self {
            sensors: Vec::new(),
            at: 0,
            slot: 0,
            next_user: 0,
            ordinal: 0,
            bad_due: 0,
            flaws: 0,
            typed,
            held: None,
            plan,
            options,
        };
        if readings.options.order == Order::Arrival {
            readings.gather();
        }
        Ok(readings)
    }

    /// What there is to come, counted beforehand.
    pub fn totals(&self) -> plan::Totals {
        self.plan.totals()
    }

    /// Broken records there are to come.
    pub fn broken(&self) -> u64 {
        (u128::from(self.totals().readings) * u128::from(self.options.bad) / 1_000_000) as u64
    }

    /// All sensors at once, in the order in which they report within a slot.
    fn gather(&mut self) {
        let seed = self.options.seed;
        self.sensors = (0..self.plan.users()).map(|user| Sensor::new(&self.plan, user, seed)).collect();
        self.sensors.sort_by_key(|sensor| mix(seed ^ mix(u64::from(sensor.user))));
        self.next_user = self.plan.users();
    }

    fn next_good(&mut self) -> Option<Reading> {
        match self.options.order {
            Order::User => self.next_of_user(),
            Order::Arrival => self.next_arrival(),
        }
    }

    fn next_of_user(&mut self) -> Option<Reading> {
        loop {
            if let Some(sensor) = self.sensors.last_mut() {
                while self.slot < self.plan.slots() {
                    self.slot += 1;
                    if let Some(reading) = sensor.read(self.slot - 1) {
                        return Some(reading);
                    }
                }
            }
            if self.next_user == self.plan.users() {
                return None;
            }
            self.sensors = vec![Sensor::new(&self.plan, self.next_user, self.options.seed)];
            (self.slot, self.next_user) = (0, self.next_user + 1);
        }
    }

    fn next_arrival(&mut self) -> Option<Reading> {
        while self.slot < self.plan.slots() {
            while let Some(sensor) = self.sensors.get_mut(self.at) {
                self.at += 1;
                if let Some(reading) = sensor.read(self.slot) {
                    return Some(reading);
                }
            }
            (self.at, self.slot) = (0, self.slot + 1);
        }
        None
    }

    fn numbered(&mut self, mut reading: Reading) -> Reading {
        self.ordinal += 1;
        reading.ordinal = self.ordinal;
        reading
    }
}

impl Iterator for Readings {
    type Item = Reading;

    #[inline]
    fn next(&mut self) -> Option<Reading> {
        if let Some(held) = self.held.take() {
            return Some(self.numbered(held));
        }
        let reading = self.next_good()?;
        self.bad_due += self.options.bad;
        if self.bad_due >= 1_000_000 {
            self.bad_due -= 1_000_000;
            let kinds = if self.typed { TYPED_FLAWS } else { FLAWS.len() };
            self.held = Some(Reading { flaw: Some(FLAWS[(self.flaws % kinds as u64) as usize]), ..reading });
            self.flaws += 1;
        }
        Some(self.numbered(reading))
    }
}

/// One user's sensor, walking.
struct Sensor {
    user: u32,
    random: Random,
    missing: std::vec::IntoIter<(u32, u32)>,
    gap: (u32, u32),
    /// The user's own level, in [`FINE`] units.
    level: i64,
    /// By how many slots the user's meals are shifted.
    phase: u32,
    value: i64,
}

impl Sensor {
    fn new(plan: &Plan, user: u32, seed: u64) -> Self {
        let mut random = Random::new(seed, u64::from(user));
        let mut missing = plan.missing(user, &mut random).into_iter();
        let level = random.between(95, 160) * FINE;
        let phase = random.below(SLOTS_A_DAY / 6);
        let gap = missing.next().unwrap_or((u32::MAX, 0));
        Self { user, random, missing, gap, level, phase, value: level }
    }

    /// The reading of `slot`, unless it is missing. Slots must be asked in order.
    #[inline]
    fn read(&mut self, slot: u32) -> Option<Reading> {
        if slot >= self.gap.0 {
            if slot + 1 >= self.gap.0 + self.gap.1 {
                self.gap = self.missing.next().unwrap_or((u32::MAX, 0));
            }
            return None;
        }
        let before = self.value / FINE;
        let draw = self.random.draw();
        let noise = (draw & 63) as i64 + ((draw >> 6) & 63) as i64 - 63;
        self.value += (self.level + meal(slot + self.phase) - self.value) / 10 + noise;
        self.value = self.value.clamp(40 * FINE, 400 * FINE);
        let glucose = self.value / FINE;
        let trend = match glucose - before {
            3.. => 1,
            ..=-3 => 2,
            _ => 0,
        };
        let manual = (draw >> 32).is_multiple_of(50);
        Some(Reading { user: self.user, slot, glucose: glucose as u32, trend, manual, ordinal: 0, flaw: None })
    }
}

/// What meals at 7, 12 and 19 o'clock add to the level: up in 45 minutes, down in two hours.
fn meal(slot: u32) -> i64 {
    let (rise, fall, most) = (9, 24, 110 * FINE);
    let of_day = slot % SLOTS_A_DAY;
    let since = [228, 144, 84].iter().find(|&&meal| of_day >= meal).map_or(u32::MAX, |meal| of_day - meal);
    match i64::from(since) {
        since if since < rise => most * since / rise,
        since if since < rise + fall => most * (rise + fall - since) / fall,
        _ => 0,
    }
}

/// Index into [`COUNTRIES`] of a user's home.
pub fn country(seed: u64, user: u32) -> usize {
    let mut draw = mix(seed.wrapping_add(77) ^ mix(u64::from(user) + 1)) % 100;
    for (index, (_, share)) in COUNTRIES.iter().enumerate() {
        if draw < *share {
            return index;
        }
        draw -= share;
    }
    0
}

/// The number of the device a user wears in a slot; six hexadecimal digits.
pub fn device(seed: u64, reading: &Reading) -> u32 {
    let worn = u64::from(reading.slot / SLOTS_A_SENSOR);
    (mix(seed.wrapping_add(5) ^ mix((u64::from(reading.user) << 20) + worn + 1)) & 0xff_ffff) as u32
}

/// The 128 bits of a random id, in the form of a UUID version 4.
pub fn uuid_bits(seed: u64, reading: &Reading) -> u128 {
    let place = (u64::from(reading.user) << 32) | u64::from(reading.slot);
    let flaw = u64::from(reading.flaw.is_some());
    let (high, low) = (mix(seed ^ mix(place + 1)), mix(seed.wrapping_add(flaw + 1) ^ mix(!place)));
    let bits = (u128::from(high) << 64) | u128::from(low);
    bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62)
}

#[cfg(test)]
mod tests;
