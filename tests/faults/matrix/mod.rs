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

use laked_catalog::store::{DiskError, Fault, Loss};

use self::play::{Calm, Scenario, Step};

const FAULTS: [Fault; 16] = [
    Fault::Unreadable,
    Fault::Before(DiskError::Io),
    Fault::Before(DiskError::Full),
    Fault::After(DiskError::Io),
    Fault::Torn(DiskError::Full),
    Fault::DeathBefore,
    Fault::DeathAfter,
    Fault::PowerLoss(Loss::All),
    Fault::PowerLoss(Loss::Torn),
    Fault::PowerLoss(Loss::Bytes),
    Fault::Silence { landed: true, calls: 0 },
    Fault::Silence { landed: false, calls: 0 },
    Fault::Silence { landed: true, calls: 1 },
    Fault::Silence { landed: false, calls: 1 },
    Fault::Silence { landed: true, calls: u64::MAX },
    Fault::Silence { landed: false, calls: u64::MAX },
];

/// Plays the scenario with each fault at each call.
fn survives_every_fault(scenario: &Scenario) {
    let calm = Calm::of(scenario);
    let (mut cases, mut most) = (0, 0);
    for fault in FAULTS {
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

#[test]
fn first_append() {
    survives_every_fault(&Scenario {
        name: "first append",
        before: &[],
        steps: &[Step::Push(0), Step::CatchUp],
        restarts: false,
    });
}

#[test]
fn append() {
    survives_every_fault(&Scenario {
        name: "append",
        before: &[Step::Push(0), Step::CatchUp],
        steps: &[Step::Push(1), Step::Push(2), Step::CatchUp, Step::Push(3), Step::CatchUp],
        restarts: false,
    });
}

#[test]
fn spool_recovery() {
    survives_every_fault(&Scenario {
        name: "spool recovery",
        before: &[Step::Push(0), Step::CatchUp, Step::Push(1), Step::Push(2)],
        steps: &[Step::Restart, Step::CatchUp, Step::Push(3), Step::CatchUp],
        restarts: false,
    });
}

#[test]
fn quarantine() {
    survives_every_fault(&Scenario {
        name: "quarantine",
        before: &[Step::Push(0), Step::CatchUp],
        steps: &[Step::Push(4), Step::Push(5), Step::CatchUp, Step::Push(6), Step::CatchUp],
        restarts: false,
    });
}

#[test]
fn inbox_file() {
    survives_every_fault(&Scenario {
        name: "inbox file",
        before: &[Step::Restart, Step::Drop(0), Step::Sweep, Step::CatchUp],
        steps: &[Step::Drop(1), Step::Drop(2), Step::Sweep, Step::CatchUp, Step::Drop(3), Step::Sweep, Step::CatchUp],
        restarts: false,
    });
}

#[test]
fn catalog_restart() {
    survives_every_fault(&Scenario {
        name: "catalog restart",
        before: &[Step::Push(0), Step::CatchUp, Step::Push(1)],
        steps: &[Step::CatchUp, Step::Restart, Step::Push(2), Step::CatchUp, Step::Restart, Step::CatchUp],
        restarts: true,
    });
}
