//! The sources of scripts that the node knows by their digests. Workers compile them when they first need them.

use crate::limits::{SCRIPT_CACHE_BYTES_MAX, SCRIPT_OVERHEAD_BYTES};
use crate::scripting::shebang::{self, ScriptFlags};
use parking_lot::RwLock;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// SHA-1 of a source, in hexadecimal.
pub type Digest = [u8; 40];

/// A source.
#[derive(Debug)]
pub struct Script {
    /// Its digest.
    pub digest: Digest,
    /// The source.
    pub body: Box<[u8]>,
    /// What its first line says.
    pub flags: ScriptFlags,
    /// Which keys its runs have used.
    pub reach: Reach,
}

/// Whether a script keeps to the keys that it declares, as far as its runs have shown.
#[derive(Debug, Default)]
pub struct Reach(AtomicU8);

const UNKNOWN: u8 = 0;
const DECLARED: u8 = 1;
const OPEN: u8 = 2;

impl Reach {
    /// Whether it may use other keys: so it is taken until a run has kept to those that it declares, and for ever once one
    /// has not.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) != DECLARED
    }

    /// Notes a whole run that kept to the declared keys.
    pub fn note_declared(&self) {
        if self.0.load(Ordering::Relaxed) == UNKNOWN {
            let _ = self.0.compare_exchange(UNKNOWN, DECLARED, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Notes a use of another key.
    pub fn note_open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }
}

/// All sources.
#[derive(Debug, Default)]
pub struct Cache {
    inner: RwLock<Inner>,
    /// Grows when sources are forgotten.
    generation: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    scripts: HashMap<Digest, Arc<Script>>,
    /// Those that were only evaluated, the first one first: these may be forgotten.
    evaluated: VecDeque<Digest>,
    bytes: usize,
}

/// How a source came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// By `EVAL`: it may be forgotten for others.
    Evaluated,
    /// By `SCRIPT LOAD`: it stays until `SCRIPT FLUSH`.
    Loaded,
}

impl Cache {
    /// The source with this digest, in small letters.
    pub fn find(&self, digest: &Digest) -> Option<Arc<Script>> {
        self.inner.read().scripts.get(digest).cloned()
    }

    /// Keeps a source. It must have been compiled once. The error is a whole reply.
    pub fn keep(&self, body: &[u8], came: Came) -> Result<Arc<Script>, String> {
        let digest = digest_of(body);
        let mut inner = self.inner.write();
        if let Some(known) = inner.scripts.get(&digest).cloned() {
            if came == Came::Loaded {
                inner.evaluated.retain(|other| *other != digest);
            }
            return Ok(known);
        }
        let script = Script { digest, body: body.into(), flags: shebang::of_script(body)?, reach: Reach::default() };
        let script = Arc::new(script);
        let bytes = body.len() + SCRIPT_OVERHEAD_BYTES;
        while inner.bytes + bytes > SCRIPT_CACHE_BYTES_MAX {
            let Some(oldest) = inner.evaluated.pop_front() else { break };
            if let Some(gone) = inner.scripts.remove(&oldest) {
                inner.bytes -= gone.body.len() + SCRIPT_OVERHEAD_BYTES;
                self.evicted.fetch_add(1, Ordering::Relaxed);
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
        if inner.bytes + bytes > SCRIPT_CACHE_BYTES_MAX && came == Came::Loaded {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err("ERR too many scripts are loaded: forget some with SCRIPT FLUSH".to_owned());
        }
        if inner.bytes + bytes <= SCRIPT_CACHE_BYTES_MAX {
            inner.bytes += bytes;
            inner.scripts.insert(digest, Arc::clone(&script));
            if came == Came::Evaluated {
                inner.evaluated.push_back(digest);
            }
        }
        Ok(script)
    }

    /// Forgets all sources.
    pub fn flush(&self) {
        *self.inner.write() = Inner::default();
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Grows when sources are forgotten.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many sources there are, and the bytes that they take.
    pub fn figures(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.scripts.len(), inner.bytes)
    }

    /// How many were not kept because those that were loaded leave no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many were forgotten because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

/// SHA-1 of some bytes, in hexadecimal.
pub fn digest_of(bytes: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let sum = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let mut text = [b'0'; 40];
    for (pair, byte) in text.chunks_exact_mut(2).zip(sum.as_ref()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// A digest as a client wrote it, if it can be one.
pub fn parse_digest(text: &[u8]) -> Option<Digest> {
    let mut digest: Digest = text.try_into().ok()?;
    digest.make_ascii_lowercase();
    Some(digest)
}
