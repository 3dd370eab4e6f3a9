//! What must hold: some of it all the time, the rest when faults have ended and regions have exchanged everything. One
//! file each.

mod contents;
mod convergence;
mod groups;
mod lives;
mod memory;
pub(crate) mod memory_limit;
mod messages;
mod nothing_lost;
mod serving;
mod traffic;

use crate::broken::Broken;
use crate::mover;
use crate::world::World;

pub use convergence::wait as wait_for_convergence;
pub use lives::wait as wait_for_lives;
pub use messages::Messages;

/// Something that must hold.
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// What must hold, in a sentence without full stop.
    pub summary: &'static str,
    /// When it is looked at.
    pub looked_at: Looked,
}

/// When an invariant is looked at, and how.
pub enum Looked {
    /// By the observer, at every command and every sweep.
    AtEveryCommand,
    /// Every few milliseconds.
    AllTheTime(fn(&mut World) -> Result<(), Broken>),
    /// While the run waits for it, after the faults.
    WhileWaiting,
    /// When all regions have exchanged everything.
    AtTheEnd(fn(&mut World) -> Result<(), Broken>),
}

/// All invariants.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { name: "runs", summary: "no node panics or refuses to start", looked_at: Looked::AtEveryCommand },
    Invariant {
        name: "answers",
        summary: "every answer is what the contract says for the writes that the node had seen, its own among them, and \
                  every write takes one stamp",
        looked_at: Looked::AtEveryCommand,
    },
    Invariant {
        name: "order",
        summary: "a node that has a write has all that its writer had seen, transactions whole, and forgets nothing",
        looked_at: Looked::AtEveryCommand,
    },
    Invariant {
        name: "stamps",
        summary: "nobody makes a stamp that is not later than all under its number that anybody may have",
        looked_at: Looked::AtEveryCommand,
    },
    Invariant {
        name: "expiry",
        summary: "a key is removed for its age only when its life is over",
        looked_at: Looked::AtEveryCommand,
    },
    serving::INVARIANT,
    convergence::INVARIANT,
    nothing_lost::INVARIANT,
    contents::INVARIANT,
    groups::INVARIANT,
    lives::INVARIANT,
    memory::INVARIANT,
    memory_limit::INVARIANT,
    traffic::INVARIANT,
    Invariant {
        name: mover::INVARIANT,
        summary: "a user who has awaited in one region the token of what it wrote in another reads nothing older there",
        looked_at: Looked::AtEveryCommand,
    },
    messages::INVARIANT,
    // The last: it lets time pass.
    messages::DELIVERY,
];

/// Looks at what must hold all the time.
pub fn look(world: &mut World) -> Result<(), Broken> {
    INVARIANTS.iter().try_for_each(|invariant| match invariant.looked_at {
        Looked::AllTheTime(look) => look(world),
        Looked::AtEveryCommand | Looked::WhileWaiting | Looked::AtTheEnd(_) => Ok(()),
    })
}

/// Looks at what must hold at the end.
pub fn judge(world: &mut World) -> Result<(), Broken> {
    INVARIANTS.iter().try_for_each(|invariant| match invariant.looked_at {
        Looked::AtTheEnd(look) => look(world),
        Looked::AtEveryCommand | Looked::AllTheTime(_) | Looked::WhileWaiting => Ok(()),
    })
}
