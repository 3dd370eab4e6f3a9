//! How long slots were held, by what, and the rest between two steps of work that takes long.
//!
//! Who works on a large collection does so in steps, and lets go of its slot between them. Nothing here reads a clock or
//! sleeps by itself: the node gives it both. Without them, as in tests and in a simulation, nothing is measured and steps
//! follow each other at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Holder {
    /// A command of a client, of a script or of a transaction.
    Command = 0,
    /// A slot is read for an image of a checkpoint.
    Image = 1,
    /// A slot is read for another node that has been away.
    State = 2,
    /// What another node has sent of a slot is merged.
    Merge = 3,
    /// A change of another node is applied.
    Apply = 4,
    /// A large collection is renamed, copied or moved.
    Move = 5,
}

impl Holder {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Command, Self::Image, Self::State, Self::Merge, Self::Apply, Self::Move];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Image => "image",
            Self::State => "state",
            Self::Merge => "merge",
            Self::Apply => "apply",
            Self::Move => "move",
        }
    }

    const fn number(self) -> u8 {
        self as u8
    }
}

/// The longest time for which each holder has held a slot.
#[derive(Default)]
pub struct Holds {
    clock: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    rest: OnceLock<Box<dyn Fn() + Send + Sync>>,
    longest_ns: [AtomicU64; Holder::ALL.len()],
    /// Who holds slots at this moment, other than commands; the last one who began.
    current: AtomicU8,
}

/// A hold that is measured until this goes.
pub(crate) struct Holding<'h> {
    holds: &'h Holds,
    holder: Holder,
    began_ns: u64,
}

impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holds").field("longest_ns", &self.longest_ns).finish_non_exhaustive()
    }
}

impl Holds {
    /// From now on it is measured, by a clock of nanoseconds that is never set back, and `rest` is called between two steps,
    /// with no slot held. Only the first call counts.
    pub fn measure(&self, clock: impl Fn() -> u64 + Send + Sync + 'static, rest: impl Fn() + Send + Sync + 'static) {
        let _ = self.clock.set(Box::new(clock));
        let _ = self.rest.set(Box::new(rest));
    }

    /// The longest hold of each holder since the start, in nanoseconds. Of commands it is the longest time that somebody
    /// has waited for one of their slots: what nobody waits for costs nothing.
    pub fn longest_ns(&self) -> impl Iterator<Item = (Holder, u64)> + '_ {
        Holder::ALL.into_iter().zip(self.longest_ns.iter().map(|longest| longest.load(Ordering::Relaxed)))
    }

    /// Whoever works in steps rests between two of them, and holds nothing.
    pub(crate) fn rest(&self) {
        if let Some(rest) = self.rest.get() {
            rest();
        }
    }

    /// A slot was just locked by `holder`.
    pub(crate) fn begin(&self, holder: Holder) -> Option<Holding<'_>> {
        let began_ns = self.clock.get()?();
        self.current.store(holder.number(), Ordering::Relaxed);
        Some(Holding { holds: self, holder, began_ns })
    }

    /// Measures how long `wait` waits for a slot, if no holder is known who measures itself.
    pub(crate) fn waited<T>(&self, wait: impl FnOnce() -> T) -> T {
        let Some(clock) = self.clock.get().filter(|_| self.current.load(Ordering::Relaxed) == 0) else { return wait() };
        let began_ns = clock();
        let waited = wait();
        self.note(Holder::Command, clock().saturating_sub(began_ns));
        waited
    }

    fn note(&self, holder: Holder, held_ns: u64) {
        if let Some(longest) = self.longest_ns.get(usize::from(holder.number())) {
            longest.fetch_max(held_ns, Ordering::Relaxed);
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let Some(clock) = self.holds.clock.get() else { return };
        self.holds.note(self.holder, clock().saturating_sub(self.began_ns));
        self.holds.current.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_longest_hold_of_each_holder_is_known() {
        let (holds, now) = (Holds::default(), Arc::new(AtomicU64::new(0)));
        assert!(holds.begin(Holder::Image).is_none(), "without a clock nothing is measured");
        let clock = Arc::clone(&now);
        holds.measure(move || clock.load(Ordering::Relaxed), || ());
        for (holder, held_ns) in [(Holder::Image, 7), (Holder::Image, 5), (Holder::Move, 3)] {
            let holding = holds.begin(holder);
            // Who waits for one that measures itself is no news.
            holds.waited(|| now.fetch_add(held_ns, Ordering::Relaxed));
            drop(holding);
        }
        holds.waited(|| now.fetch_add(2, Ordering::Relaxed));
        let longest: Vec<u64> = holds.longest_ns().map(|(_, longest)| longest).collect();
        assert_eq!(longest, [2, 7, 0, 0, 0, 3]);
    }
}
