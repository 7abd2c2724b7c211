//! Whether ingestion is in need: then maintenance waits.
//!
//! It is when half of the one memory budget is held, or when a lane is behind: what it acknowledged, or a file that it
//! began to read, waits for several times as long as commits are apart. A lane that is halted is passed over: it waits for
//! somebody, and what it has not taken in only grows older.

use std::sync::{Arc, PoisonError, Weak};

use super::Pressure;
use crate::budget::Budget;
use crate::config::Commit;
use crate::daemon::doors::OpenTables;
use crate::daemon::progress::{LaneState, LaneStatus};

/// Commit ages that a record may wait before its lane is behind, and seconds beyond them.
const BEHIND_AGES: f64 = 4.0;
const BEHIND_SECONDS: f64 = 1.0;

/// The pressure of the lanes of whatever tables are open at the time.
pub fn of(open: Weak<OpenTables>, budget: Budget, commit: Commit) -> Pressure {
    Arc::new(move || {
        let used = budget.used();
        if used > budget.limit() / 2 {
            return Some(format!("{used} of {} bytes of memory are held", budget.limit()));
        }
        let open = open.upgrade()?;
        let tables: Vec<_> = open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let lanes = tables.iter().flat_map(|table| table.lanes().into_iter().map(move |lane| (&table.name, lane)));
        let age = commit.age.get().as_secs_f64();
        let behind = lanes.filter(|(_, lane)| is_behind(lane, age)).map(|(name, lane)| (name, lane.lag_seconds)).next();
        behind.map(|(name, lag)| format!("{name} is {lag:.1} s behind"))
    })
}

fn is_behind(lane: &LaneStatus, age: f64) -> bool {
    let halted = matches!(lane.state, LaneState::Halted { .. });
    !halted && lane.lag_seconds > age * lane.age_stretch.max(1.0) * BEHIND_AGES + BEHIND_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Age, Size};

    #[test]
    fn it_is_in_need_while_memory_is_short_or_a_lane_is_behind() {
        let budget = Budget::new(100);
        let commit = Commit { age: Age::seconds(5), age_most: Age::seconds(60), size: Size::mib(1) };
        let pressure = of(Weak::new(), budget.clone(), commit);
        let half = budget.reserve(50);
        assert_eq!(pressure(), None);
        let more = budget.reserve(1);
        assert!(pressure().is_some_and(|why| why.contains("memory")));
        drop((half, more));
        let lane = |lag_seconds, age_stretch| LaneStatus { lag_seconds, age_stretch, ..LaneStatus::default() };
        assert!(is_behind(&lane(21.1, 1.0), 5.0) && !is_behind(&lane(21.0, 1.0), 5.0));
        assert!(!is_behind(&lane(30.0, 2.0), 5.0), "its commits are further apart");
        let halted = LaneStatus { state: LaneState::Halted { reason: "bad".into() }, ..lane(99.0, 1.0) };
        assert!(!is_behind(&halted, 5.0), "it waits for somebody");
    }
}
