//! Collections that were removed and still take memory: freeing millions of blocks takes long, so somebody else does it.
//!
//! Nothing here can be seen by readers or has to be remembered: it is gone from the keyspace, its digests and the memory
//! that is counted against limits. Without a thread that frees, everything is freed at once.

use crate::elements::ElementMap;
use crate::sequence::Sequence;
use crate::stream::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Collections that wait to be freed at most. Each has thousands of elements, and may have millions. Beyond that whoever
/// removes one frees it.
pub const GARBAGE_OBJECTS_MAX: usize = 4096;

/// Elements that are freed between two moments at which others may run: some tens of microseconds.
const FREED_AT_ONCE: usize = 1024;

/// What was removed.
#[derive(Debug)]
pub enum Waste {
    /// The elements of a hash, set or sorted set.
    Map(Box<ElementMap>),
    /// The elements of a list.
    List(Box<Sequence>),
    /// A stream.
    Stream(Box<Stream>),
}

/// What waits to be freed. Shared by all who remove.
#[derive(Default)]
pub struct Garbage {
    queue: Mutex<VecDeque<(Waste, usize)>>,
    objects: AtomicU64,
    bytes: AtomicU64,
    freed: AtomicU64,
    freed_by_removers: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What waits, and what was freed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GarbageFigures {
    /// Collections that wait.
    pub objects: u64,
    /// Bytes that these take, about.
    pub bytes: u64,
    /// Collections that were freed in the background.
    pub freed: u64,
    /// Collections that were freed by whoever removed them, because too many waited.
    pub freed_by_removers: u64,
}

impl std::fmt::Debug for Garbage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Garbage").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Garbage {
    /// From now on somebody frees: `wake` is called when there is something. Only the first call counts.
    pub fn free_later(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Has it freed.
    pub fn put(&self, waste: Waste) {
        let Some(wake) = self.wake.get() else { return };
        let bytes = waste.bytes();
        {
            let mut queue = self.queue.lock();
            if queue.len() >= GARBAGE_OBJECTS_MAX {
                drop(queue);
                self.freed_by_removers.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.objects.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            queue.push_back((waste, bytes));
        }
        wake();
    }

    /// Frees one collection, and calls `pause` now and then meanwhile. False if none waits.
    pub fn free_one(&self, pause: &mut dyn FnMut()) -> bool {
        let Some((waste, bytes)) = self.queue.lock().pop_front() else { return false };
        let (parts, mut left) = (waste.parts().max(1) as u64, bytes as u64);
        let whole = left;
        // What is freed goes from the figure as it goes: the allocator counts it no more.
        waste.take_apart(&mut |freed| {
            let share = u128::from(whole) * freed as u128 / u128::from(parts);
            let share = u64::try_from(share).unwrap_or(u64::MAX).min(left);
            left -= share;
            self.bytes.fetch_sub(share, Ordering::Relaxed);
            pause();
        });
        self.objects.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(left, Ordering::Relaxed);
        self.freed.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// What waits, and what was freed.
    pub fn figures(&self) -> GarbageFigures {
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (objects, bytes, freed) = (read(&self.objects), read(&self.bytes), read(&self.freed));
        GarbageFigures { objects, bytes, freed, freed_by_removers: read(&self.freed_by_removers) }
    }
}

impl Waste {
    fn bytes(&self) -> usize {
        match self {
            Waste::Map(map) => map.heap_bytes_about(),
            Waste::List(list) => list.heap_bytes(),
            Waste::Stream(stream) => stream.heap_bytes(),
        }
    }

    /// Parts that it is freed in, of about the same size.
    fn parts(&self) -> usize {
        match self {
            Waste::Map(map) => map.parts(),
            Waste::List(list) => list.parts(),
            Waste::Stream(stream) => stream.parts(),
        }
    }

    /// Frees everything, and calls `freed` now and then with how many parts went since.
    fn take_apart(self, freed: &mut dyn FnMut(usize)) {
        match self {
            Waste::Map(map) => map.take_apart(FREED_AT_ONCE, freed),
            Waste::List(list) => list.take_apart(FREED_AT_ONCE, freed),
            Waste::Stream(stream) => stream.take_apart(FREED_AT_ONCE, freed),
        }
    }
}
