//! Playing a scenario: steps in order, each until it goes through.

use laked::daemon::Lane;
use laked_catalog::error::{Error, Kind, Result};
use laked_catalog::store::{Fault, Loss};

use super::judge::{self, Before};
use super::world::World;

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A request is sent until it is acknowledged.
    Push(usize),
    /// A file is dropped into the inbox.
    Drop(usize),
    /// The inbox is looked through.
    Sweep,
    /// The lanes take in and commit what there is.
    CatchUp,
    /// All snapshots of the table but the current one expire.
    Expire,
    /// Two hours later, what is due of the deletion ledger is unlinked.
    Unlink,
    /// A writer leaves files in the table's folder and dies; orphans are removed.
    Tidy,
    /// The table's small files become large ones.
    Compact,
    /// The table has another partition spec from now on, and its files are moved to it.
    Relocate,
    /// The table's manifests are listed by partition.
    Cluster,
    /// A record is erased.
    Erase,
    /// The last snapshot is rolled back.
    RollBack,
    /// What was rolled back is picked again.
    Pick,
    /// The daemon is killed, and started again.
    Restart,
}

/// A list of steps, played on a lake on which others were played undisturbed.
pub struct Scenario {
    pub name: &'static str,
    pub before: &'static [Step],
    pub steps: &'static [Step],
    /// Whether a step that fails is followed by a restart rather than by another try.
    pub restarts: bool,
}

/// How often a step may fail under a single fault.
const TRIES: usize = 8;

/// An undisturbed run: what is there before the scenario, and how many calls of it each fault can befall.
pub struct Calm<'a> {
    scenario: &'a Scenario,
    before: Before,
}

impl<'a> Calm<'a> {
    /// Plays what comes before the scenario.
    pub fn of(scenario: &'a Scenario) -> Calm<'a> {
        Calm { scenario, before: Before::of(&begin(scenario)) }
    }

    /// How many calls `fault` can befall.
    pub fn calls(&self, fault: Fault) -> u64 {
        let mut world = begin(self.scenario);
        world.disk.arm(fault, u64::MAX);
        play(&mut world, self.scenario.steps, self.scenario.restarts);
        world.disk.counted()
    }

    /// Plays the scenario with `fault` at the `nth` call, and judges what is there then. False if its turn never came.
    pub fn disturbed(&self, fault: Fault, nth: u64) -> bool {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut world = begin(self.scenario);
            world.disk.arm(fault, nth);
            play(&mut world, self.scenario.steps, self.scenario.restarts);
            let fired = world.disk.fired();
            world.disk.disarm();
            judge::totals(&world);
            // Who dies between a file and its pointer leaves it; so does who is never told what became of his commit.
            if matches!(fault, Fault::Unreadable | Fault::Before(_) | Fault::After(_) | Fault::Torn(_)) {
                judge::no_lost_metadata(&world);
            }
            world.disk.lose_power([Loss::All, Loss::Torn, Loss::Bytes][(nth % 3) as usize]);
            world.restart();
            play(&mut world, &[Step::Sweep, Step::CatchUp, Step::Unlink], false);
            judge::all(&world, &self.before);
            judge::keys_are_remembered(&mut world);
            fired
        }));
        told.unwrap_or_else(|_| panic!("{}: {fault:?} at call {nth}: see above", self.scenario.name))
    }
}

fn begin(scenario: &Scenario) -> World {
    let mut world = World::new();
    play(&mut world, scenario.before, scenario.restarts);
    world
}

fn play(world: &mut World, steps: &[Step], restarts: bool) {
    for step in steps {
        if let Step::Drop(number) = step {
            world.drop_file(*number);
            continue;
        }
        if let Step::Restart = step {
            world.restart();
        }
        let mut tries = 0;
        while let Err(error) = take(world, *step) {
            tries += 1;
            assert!(tries <= TRIES, "{step:?} does not go through: {error}");
            recover(world, &error, restarts);
        }
    }
}

fn take(world: &mut World, step: Step) -> Result<()> {
    match step {
        Step::Push(number) => world.push(number),
        Step::Sweep => world.sweep(),
        Step::CatchUp => world.catch_up(),
        Step::Expire => world.expire(),
        Step::Unlink => world.unlink(),
        Step::Tidy => world.tidy(),
        Step::Compact => world.compact(),
        Step::Relocate => world.relocate(),
        Step::Cluster => world.cluster(),
        Step::Erase => world.erase(),
        Step::RollBack => world.roll_back(),
        Step::Pick => world.pick(),
        Step::Restart | Step::Drop(_) => world.open(),
    }
}

/// What is done about a failure: a dead process is started again, and so is one that could not open its lake; else the
/// database answers again, if it was silent, and the next try follows.
fn recover(world: &mut World, error: &Error, restarts: bool) {
    if world.disk.is_dead() || restarts || !world.is_running() {
        let stops = error.kind() == Kind::Corrupt && !world.disk.is_dead();
        assert!(!stops, "it would need somebody: {error}");
        world.restart();
    } else {
        assert!(Lane::may_pass(error.kind()), "the lane would halt: {error}");
    }
    world.disk.answer();
}
