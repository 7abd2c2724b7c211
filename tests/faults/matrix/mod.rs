//! Every fault at every call: the doors, the lanes and the catalog over a simulated disk, on this thread.
//!
//! A scenario is a list of steps. It is played with a fault that befalls the first call it can befall, then the second,
//! and so on until the scenario ends before the fault's turn comes. Senders send again, with the same key, what was not
//! acknowledged; a process that died, or could not open the lake, is started anew. When all is done the power is cut,
//! so that whatever a retry took for durable must be, and the lake is opened once more and judged.

mod judge;
mod play;
mod unknown;
mod world;

use laked_catalog::store::Fault;

use self::play::Step::{
    CatchUp, Cluster, Compact, Drop, Erase, Expire, Pick, Push, Relocate, Restart, RollBack, Sweep, Tidy, Unlink,
};
use self::play::{Calm, Scenario};

/// Plays the scenario with each fault at each call.
fn survives_every_fault(scenario: &Scenario) {
    let calm = Calm::of(scenario);
    let (mut cases, mut most) = (0, 0);
    for fault in Fault::EVERY {
        let calls = calm.calls(fault);
        let mut fired = 0;
        for nth in 1.. {
            if !calm.disturbed(fault, nth) {
                break;
            }
            fired = nth;
        }
        assert!(calls > 0 && fired >= calls, "{fault:?} fired {fired} times, {calls} calls are made without it");
        (cases, most) = (cases + fired, most.max(calls));
    }
    println!("{}: {cases} cases, up to {most} calls a run", scenario.name);
}

/// A test for each: its name, what comes before, the steps, and whether a failure is followed by a restart.
macro_rules! scenarios {
    ($($name:ident: $before:expr => $steps:expr, $restarts:expr;)*) => {$(
        #[test]
        fn $name() {
            survives_every_fault(&Scenario { name: stringify!($name), before: &$before, steps: &$steps, restarts: $restarts });
        }
    )*};
}

scenarios! {
    first_append: [] => [Push(0), CatchUp], false;
    append: [Push(0), CatchUp] => [Push(1), Push(2), CatchUp, Push(3), CatchUp], false;
    spool_recovery: [Push(0), CatchUp, Push(1), Push(2)] => [Restart, CatchUp, Push(3), CatchUp], false;
    quarantine: [Push(0), CatchUp] => [Push(4), Push(5), CatchUp, Push(6), CatchUp], false;
    inbox_file: [Restart, Drop(0), Sweep, CatchUp]
        => [Drop(1), Drop(2), Sweep, CatchUp, Drop(3), Sweep, CatchUp], false;
    expire: [Push(0), CatchUp, Push(1), CatchUp, Push(2), CatchUp]
        => [Expire, Push(3), CatchUp, Unlink, Expire, Unlink], false;
    orphans: [Push(0), CatchUp, Push(1), CatchUp] => [Tidy, Expire, Push(2), CatchUp, Tidy], false;
    compaction: [Push(0), CatchUp, Push(1), CatchUp, Push(2), CatchUp]
        => [Compact, Push(3), CatchUp, Compact], false;
    relocation: [Push(0), CatchUp, Push(2), CatchUp] => [Relocate, Push(3), CatchUp], false;
    manifests: [Push(0), CatchUp, Push(1), CatchUp, Push(2), CatchUp] => [Cluster, Push(3), CatchUp, Cluster], false;
    erase: [Push(0), CatchUp, Push(1), CatchUp] => [Erase], true;
    cherry_pick: [Push(0), CatchUp, Push(1), CatchUp]
        => [RollBack, Push(2), CatchUp, Pick, Push(3), CatchUp], false;
    rollback: [Push(0), CatchUp, Push(1), CatchUp] => [RollBack, Pick, Push(2), CatchUp], false;
    catalog_restart: [Push(0), CatchUp, Push(1)]
        => [CatchUp, Restart, Push(2), CatchUp, Restart, CatchUp], true;
}
