//! What goes wrong in a run: one file a kind. A fault strikes at a drawn moment, lasts for a drawn time and ends.

mod clocks;
mod cold_start;
mod crash;
mod disk;
mod latency;
mod link_cut;
mod network;
mod old_backup;
mod partition;
mod regions;
mod restart;

use crate::broken::Broken;
use crate::random::Random;
use crate::world::World;

/// A kind of fault.
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence without full stop.
    pub summary: &'static str,
    /// How long it lasts, in milliseconds: at least and at most.
    pub lasts_ms: (u64, u64),
    /// Lets it strike. Nothing if it cannot now.
    pub strike: fn(&mut World, &mut Random) -> Result<Option<Ending>, Broken>,
}

/// Ends a fault.
pub type Ending = Box<dyn FnOnce(&mut World)>;

/// All kinds.
pub const FAULTS: &[&Fault] = &[
    &partition::PARTITION,
    &partition::ONE_WAY,
    &link_cut::LINK_CUT,
    &crash::PROCESS_CRASH,
    &crash::HOST_CRASH,
    &crash::LOST_DISK,
    &crash::INTERRUPTED_START,
    &disk::FULL_DISK,
    &disk::FAILING_FLUSHES,
    &disk::FAILING_WRITES,
    &disk::SLOW_DISK,
    &disk::ROT,
    &old_backup::OLD_BACKUP,
    &restart::CLEAN_RESTART,
    &cold_start::COLD_START,
    &network::LOSS,
    &network::DUPLICATION,
    &network::REORDERING,
    &latency::LATENCY,
    &clocks::SKEW,
    &clocks::STEP,
    &regions::REGION_ADD,
    &regions::REGION_REMOVE,
    &regions::REGION_REMOVE_FORCED,
];

/// The kind of this name.
pub fn fault(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name).copied()
}

/// An ending that does nothing.
fn nothing_to_end() -> Ending {
    Box::new(|_| {})
}
