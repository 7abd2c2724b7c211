use std::collections::BTreeMap;

use super::*;

/// What filling the gaps makes of the readings, counted by a method of its own: sort each user's slots, look at
/// neighbours. Gives readings, and filled slots in gaps whose neighbours are at most `short` minutes apart, and in
/// longer ones.
fn fill(readings: &[Reading], short: u32) -> (u64, u64, u64) {
    let mut users: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    readings.iter().for_each(|reading| users.entry(reading.user).or_default().push(reading.slot));
    let (mut locf, mut null) = (0, 0);
    for slots in users.values_mut() {
        slots.sort_unstable();
        for pair in slots.windows(2) {
            let (minutes, missing) = ((pair[1] - pair[0]) * 5, u64::from(pair[1] - pair[0] - 1));
            assert!(missing == 0 || minutes >= 35, "a gap of {minutes} minutes");
            *(if minutes <= short { &mut locf } else { &mut null }) += missing;
        }
    }
    (readings.len() as u64, locf, null)
}

#[test]
fn filling_the_reference_sample_gives_the_promised_rows() {
    let readings: Vec<Reading> = Readings::new(Options::default(), false).expect("valid").collect();
    // The time between neighbours, or the minutes missing between them: both count the same.
    for short in [120, 125] {
        let (present, locf, null) = fill(&readings, short);
        assert_eq!((present, locf, null), (966_799, 85_889, 27_200));
        assert_eq!(present + locf + null, 1_079_888);
    }
}

#[test]
fn both_orders_hold_the_same_readings() {
    let small = Options { users: 30, slots: 600, ids: Ids::Random, ..Options::default() };
    let arrival = Options { order: Order::Arrival, ..small.clone() };
    let sorted = |options: Options| {
        let mut all: Vec<_> = Readings::new(options, false)
            .expect("valid")
            .map(|r| (r.user, r.slot, r.glucose, r.trend, r.manual, uuid_bits(1, &r)))
            .collect();
        let moved = all.windows(2).any(|pair| (pair[0].0, pair[0].1) > (pair[1].0, pair[1].1));
        all.sort_unstable();
        (all, moved)
    };
    let ((of_user, moved), (of_arrival, shuffled)) = (sorted(small), sorted(arrival));
    assert_eq!(of_user, of_arrival);
    assert!(!moved && shuffled);
}

#[test]
fn broken_records_come_besides_the_good_ones() {
    let options = Options { users: 20, bad: 1000, ..Options::default() };
    let readings = Readings::new(options, false).expect("valid");
    let (totals, broken) = (readings.totals(), readings.broken());
    let all: Vec<Reading> = readings.collect();
    let flawed = all.iter().filter(|reading| reading.flaw.is_some()).count() as u64;
    assert_eq!((flawed, all.len() as u64), (broken, totals.readings + broken));
    assert!(broken > 30);
    assert!(all.iter().enumerate().all(|(i, reading)| reading.ordinal == i as u64 + 1));
}

#[test]
fn values_look_like_glucose() {
    let readings: Vec<Reading> =
        Readings::new(Options { users: 50, ..Options::default() }, false).expect("valid").collect();
    assert!(readings.iter().all(|reading| (40..=400).contains(&reading.glucose)));
    let mean = readings.iter().map(|reading| u64::from(reading.glucose)).sum::<u64>() / readings.len() as u64;
    assert!((110..170).contains(&mean), "mean {mean}");
    for trend in 0..3 {
        let share = readings.iter().filter(|reading| reading.trend == trend).count() * 100 / readings.len();
        assert!(share > 10, "trend {trend}: {share} %");
    }
    let manual = readings.iter().filter(|reading| reading.manual).count() * 1000 / readings.len();
    assert!((10..30).contains(&manual), "{manual} of 1000");
}

#[test]
fn ids_are_distinct_and_shaped_like_uuids() {
    let readings = Readings::new(Options { users: 40, bad: 10_000, ..Options::default() }, false).expect("valid");
    let mut ids: Vec<u128> = readings.map(|reading| uuid_bits(1, &reading)).collect();
    assert!(ids.iter().all(|&bits| uuid::Uuid::from_u128(bits).get_version_num() == 4));
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}
