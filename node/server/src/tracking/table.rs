//! Which clients have read which keys and are to be told of their next change.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Keys by a hash of theirs, so that any key can be picked without preferring the small ones.
type Part = BTreeMap<(u64, Box<[u8]>), Vec<u64>>;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    parts: Box<[Mutex<Part>]>,
    keys: AtomicUsize,
    /// Bytes of the keys with what is around them.
    key_bytes: AtomicUsize,
    items: AtomicUsize,
    forgotten: AtomicU64,
    /// From where on the next key is picked to be forgotten.
    pick: AtomicU64,
}

/// Parts of the table, each with a lock of its own.
const PARTS: usize = 16;

/// With so many clients of one key, those that have gone are taken out.
const CLIENTS_TIDY: usize = 16;

/// What a key takes beside its own bytes: its place in the tree, and the memory of its name and of its first clients.
const KEY_OVERHEAD_BYTES: usize = 96;

fn bytes_of(key: &[u8]) -> usize {
    key.len() + KEY_OVERHEAD_BYTES
}

impl Default for Table {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            key_bytes: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
            pick: AtomicU64::new(0),
        }
    }
}

impl Table {
    /// Remembers that a client has read a key. `is_there` says whether another one still tracks.
    pub(super) fn remember(&self, key: &[u8], client: u64, is_there: &dyn Fn(u64) -> bool) {
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let mut part = self.part(hash).lock();
        let is_new = Self::find(&part, hash, key).is_none();
        let clients = part.entry((hash, key.into())).or_default();
        if clients.contains(&client) {
            return;
        }
        clients.push(client);
        self.items.fetch_add(1, Ordering::Relaxed);
        if clients.len() >= CLIENTS_TIDY && clients.len().is_power_of_two() {
            let before = clients.len();
            clients.retain(|id| is_there(*id));
            self.items.fetch_sub(before - clients.len(), Ordering::Relaxed);
        }
        if is_new {
            self.keys.fetch_add(1, Ordering::Relaxed);
            self.key_bytes.fetch_add(bytes_of(key), Ordering::Relaxed);
        }
    }

    /// Who has read a key. It is forgotten.
    pub(super) fn take(&self, key: &[u8]) -> Option<Vec<u64>> {
        if self.keys() == 0 {
            return None;
        }
        let hash = xxhash_rust::xxh3::xxh3_64(key);
        let mut part = self.part(hash).lock();
        // Nearly no key that changes has been read by anybody.
        Self::find(&part, hash, key)?;
        let clients = part.remove(&(hash, key.into()))?;
        self.uncount(key, &clients);
        Some(clients)
    }

    /// Forgets any key. Nothing if there is none.
    pub(super) fn forget_one(&self) -> Option<(Box<[u8]>, Vec<u64>)> {
        let pick = self.pick.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for step in 0..PARTS {
            let mut part = self.parts[(pick as usize + step) % PARTS].lock();
            let next = part.range((pick, Box::default())..).next().or_else(|| part.iter().next());
            let Some(name) = next.map(|(name, _)| name.clone()) else { continue };
            let clients = part.remove(&name)?;
            self.uncount(&name.1, &clients);
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            return Some((name.1, clients));
        }
        None
    }

    /// Forgets all, part by part, as long as `is_over` says so, which is asked with each part locked: what is remembered
    /// after it has said no stays.
    pub(super) fn clear_while(&self, is_over: impl Fn() -> bool) {
        for part in &self.parts {
            let mut part = part.lock();
            if !is_over() {
                return;
            }
            for ((_, key), clients) in std::mem::take(&mut *part) {
                self.uncount(&key, &clients);
            }
        }
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many keys there are, each counted for each client that has read it.
    pub(super) fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// The bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.key_bytes.load(Ordering::Relaxed) + self.items() * size_of::<u64>()
    }

    /// How many were forgotten by [`Table::forget_one`].
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn uncount(&self, key: &[u8], clients: &[u64]) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.key_bytes.fetch_sub(bytes_of(key), Ordering::Relaxed);
        self.items.fetch_sub(clients.len(), Ordering::Relaxed);
    }

    fn part(&self, hash: u64) -> &Mutex<Part> {
        // The tree is in the order of the hash: the part is told by other bits.
        &self.parts[hash as usize % PARTS]
    }

    fn find<'p>(part: &'p Part, hash: u64, key: &[u8]) -> Option<&'p Vec<u64>> {
        let same = part.range((hash, Box::default())..).take_while(|((other, _), _)| *other == hash);
        same.into_iter().find(|((_, name), _)| **name == *key).map(|(_, clients)| clients)
    }
}
