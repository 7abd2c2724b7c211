//! A commit whose outcome stays unknown: nobody is told that it took effect, and nothing of it is removed, until the
//! catalog's database answers again or the daemon is started anew (I9).

use laked::commit::{Intent, Intents};
use laked_catalog::error::Kind;
use laked_catalog::store::{Disk, Fault, Loss};
use std::path::Path;
use std::sync::Arc;

use super::judge::{self, Before};
use super::world::{LAKE, World};

/// How an unknown outcome comes to an end.
#[derive(Clone, Copy, Debug)]
enum End {
    Answered,
    Restarted,
    PowerLost,
}

fn open(world: &World) -> Vec<Intent> {
    let disk: Arc<dyn Disk> = Arc::new(world.disk.outside());
    Intents::open(disk, Path::new(LAKE).join("intents")).expect("opens").pending()
}

fn everything_waits(world: &mut World, entry: u64) {
    for attempt in 0..5 {
        let error = world.catch_up().expect_err("nobody answers");
        let kinds: &[Kind] = if attempt == 0 { &[Kind::Unknown] } else { &[Kind::Unknown, Kind::Unavailable] };
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(world.pushed().entry <= entry, "who waits for the commit is told that it took effect");
        let intents = open(world);
        assert_eq!(intents.len(), 1, "the commit is neither forgotten nor tried anew");
        let gone = |file: &&String| world.disk.outside().stat(Path::new(file.trim_start_matches("file://"))).is_err();
        let gone: Vec<&String> = intents[0].files.iter().filter(gone).collect();
        assert!(gone.is_empty(), "{gone:?} may be part of the table");
        assert!(world.backlog() > 0, "the spool let go of records that may not be in the table");
    }
}

fn unknown_until(landed: bool, end: End) {
    let mut world = World::new();
    for step in 0..2 {
        world.push(step).expect("is kept");
        if step == 0 {
            world.catch_up().expect("commits");
        }
    }
    let before = Before::of(&world);
    let entry = world.answers[&1].entry;
    world.disk.arm(Fault::Silence { landed, calls: u64::MAX }, 1);
    everything_waits(&mut world, entry);
    match end {
        End::Answered => world.disk.answer(),
        End::Restarted => world.restart(),
        End::PowerLost => {
            world.disk.lose_power(Loss::All);
            world.restart();
        }
    }
    world.catch_up().expect("is resolved");
    assert!(world.pushed().entry > entry, "now they are told");
    judge::totals(&world);
    world.push(2).and_then(|()| world.catch_up()).expect("goes on");
    assert!(open(&world).is_empty(), "the next commit settles what was unknown");
    judge::all(&world, &before);
}

#[test]
fn an_outcome_that_stays_unknown_is_neither_acknowledged_nor_cleaned_up() {
    for end in [End::Answered, End::Restarted, End::PowerLost] {
        for landed in [true, false] {
            let told = std::panic::catch_unwind(|| unknown_until(landed, end));
            told.unwrap_or_else(|_| panic!("landed: {landed}, then {end:?}: see above"));
        }
    }
}
