//! Compaction beside somebody who commits all the time.

use std::sync::atomic::{AtomicUsize, Ordering};

use iceberg::TableIdent;
use laked::commit::replace::{Current, Tables, replace};
use laked::daemon::compaction::{Stepped, planned, step};
use laked::error::{Error, Kind, Result};
use laked_catalog::{Change, Outcome};

use super::compact::{TABLE, by_part, create, is_sound, manner, rows};
use crate::contracts::Shop;
use crate::kit::daemon::binary;
use crate::read::lake::{Lake, ident};

/// Rounds of appends and deletes, or as many as fit into `BESIDE_SECONDS`: `make beside` sets five minutes.
#[test]
fn pyiceberg_appends_and_deletes_beside_compaction_and_no_row_is_lost_or_doubled() {
    let shop = Shop::open();
    let lakectl = binary("lakectl");
    let seconds = std::env::var("BESIDE_SECONDS").ok();
    let bound = match &seconds {
        Some(seconds) => ["--seconds", seconds],
        None => ["--commits", "30"],
    };
    let said = shop.run("maintain/beside_compaction.py", &[&[lakectl.to_str().expect("UTF-8")], &bound[..]].concat());
    println!("{said}");
    assert!(said.contains("rows in place"), "{said}");
    assert!(shop.daemon.stop());
}

/// A catalog where somebody is faster: appends before a change that is sent, or, to lose always, seems to.
struct Busy<'a> {
    lake: &'a Lake,
    /// How many changes lose so.
    losses: usize,
    tried: AtomicUsize,
}

impl Tables for Busy<'_> {
    fn current(&self, ident: &TableIdent) -> Result<Current> {
        self.lake.catalog.current(ident)
    }

    fn change(&self, change: Change) -> Outcome {
        let tried = self.tried.fetch_add(1, Ordering::Relaxed);
        if self.losses == usize::MAX {
            return Outcome::Conflict(Error::new(Kind::Conflict, "branch main has changed"));
        }
        if tried < self.losses {
            self.lake.append(TABLE, vec![rows("a", &[(1, 1_000 + tried as i64)])]);
        }
        self.lake.catalog.change(change)
    }
}

fn compacted(busy: &Busy<'_>) -> Result<Stepped> {
    let (lake, metadata) = (busy.lake, busy.lake.metadata(TABLE));
    let commit = |replacement| replace(busy, &lake.store, None, &|_| {}, replacement);
    let planned = planned(&lake.store, &metadata, &manner(2))?;
    step(&lake.store, (&ident(TABLE), &metadata), planned, &manner(2), &commit, &|_, _| {})
}

fn lake() -> Lake {
    let lake = Lake::new();
    create(&lake, Some(by_part()), true, &[]);
    for n in 0..4 {
        lake.append(TABLE, vec![rows("a", &[(n, n)]), rows("b", &[(n, 100 + n)])]);
    }
    lake
}

#[test]
fn who_loses_some_races_wins_one() {
    let lake = lake();
    let busy = Busy { lake: &lake, losses: 7, tried: AtomicUsize::default() };
    let stepped = compacted(&busy).expect("compacts");
    assert_eq!((stepped.done.len(), stepped.snapshot_id.is_some()), (2, true));
    assert_eq!((busy.tried.into_inner(), lake.files(TABLE).len()), (8, 2 + 7));
    let numbers: Vec<String> = (0..4).chain(100..104).chain(1_000..1_007).map(|n: i64| n.to_string()).collect();
    assert_eq!(lake.rows("select n from ns.t order by n"), numbers);
    is_sound(&lake);
}

#[test]
fn who_loses_every_race_ends_and_leaves_nothing() {
    let lake = lake();
    let listed = |lake: &Lake| {
        let files = lake.store.list(lake.metadata(TABLE).location()).expect("lists");
        files.into_iter().map(|file| file.location).collect::<Vec<_>>()
    };
    let before = listed(&lake);
    let busy = Busy { lake: &lake, losses: usize::MAX, tried: AtomicUsize::default() };
    let error = compacted(&busy).expect_err("it loses");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("try again when fewer write"), "{error}");
    assert!((2..1_000).contains(&busy.tried.into_inner()));
    assert_eq!(listed(&lake), before);
    is_sound(&lake);
}
