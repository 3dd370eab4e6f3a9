//! Where chance and wall-clock time come from. Production uses the defaults; the simulator gives a seed and a clock,
//! and then a run with the same seed sends the same bytes.
//!
//! What draws on chance: QUIC's own generator, connection ids, TLS randoms, key shares, tokens, and the jitter of
//! dialing. Timers need no seam, they are tokio's.

use quinn::rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, SupportedKxGroup, ring as provider};
use quinn::rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use quinn::{ConnectionId, ConnectionIdGenerator};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::time::{Duration, SystemTime};
use std::{fmt, sync::Arc, sync::Mutex, sync::PoisonError};

/// Milliseconds since the Unix epoch, whenever it is called.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Chance and time for one transport.
#[derive(Clone)]
pub struct Seams {
    /// The seed of everything random. Nothing: the operating system's randomness, as production must.
    pub seed: Option<[u8; 32]>,
    /// The key exchange of TLS. Nothing: ring's X25519. A simulator that compares every byte gives a seeded one here,
    /// since ring draws its own randomness.
    pub key_exchange: Option<&'static dyn SupportedKxGroup>,
    /// The wall clock, by which certificates are judged.
    pub wall_clock: WallClock,
}

impl Default for Seams {
    fn default() -> Self {
        Self { seed: None, key_exchange: None, wall_clock: Arc::new(system_unix_ms) }
    }
}

impl Seams {
    /// Seams of a simulation.
    pub fn seeded(seed: [u8; 32], wall_clock: WallClock) -> Self {
        Self { seed: Some(seed), key_exchange: None, wall_clock }
    }

    /// A source of chance for one purpose; purposes do not disturb each other.
    pub(crate) fn random(&self, purpose: &str) -> Random {
        match self.seed {
            None => Random::system(),
            Some(seed) => {
                let mut text = seed.to_vec();
                text.extend_from_slice(purpose.as_bytes());
                let digest = ring::digest::digest(&ring::digest::SHA256, &text);
                let mut word = [0; 8];
                word.copy_from_slice(&digest.as_ref()[..8]);
                Random::seeded(u64::from_le_bytes(word))
            }
        }
    }

    /// ring as TLS' provider, drawing on these seams.
    pub(crate) fn crypto_provider(&self) -> Arc<CryptoProvider> {
        let mut crypto = provider::default_provider();
        crypto.kx_groups = vec![self.key_exchange.unwrap_or(provider::kx_group::X25519)];
        if self.seed.is_some() {
            // rustls wants a source that lives for ever. One small block a simulated start is left behind; production
            // never comes here.
            crypto.secure_random = Box::leak(Box::new(TlsRandom(self.random("tls"))));
        }
        Arc::new(crypto)
    }

    pub(crate) fn tls_clock(&self) -> Arc<dyn TimeProvider> {
        Arc::new(Clock(self.wall_clock.clone()))
    }

    pub(crate) fn quic_clock(&self) -> Arc<dyn quinn::TimeSource> {
        Arc::new(Clock(self.wall_clock.clone()))
    }
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").field("seeded", &self.seed.is_some()).finish_non_exhaustive()
    }
}

/// A source of random bytes: the operating system's, or a seeded sequence that is good for simulations only.
#[derive(Clone)]
pub struct Random(Source);

#[derive(Clone)]
enum Source {
    System(SystemRandom),
    Seeded(Arc<Mutex<u64>>),
}

impl Random {
    /// The operating system's randomness.
    pub fn system() -> Self {
        Self(Source::System(SystemRandom::new()))
    }

    /// A sequence that `seed` decides. Clones share it.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System(system) => {
                system.fill(bytes).expect("the operating system gives randomness, or nothing here is safe");
            }
            Source::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for piece in bytes.chunks_mut(8) {
                    piece.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..piece.len()]);
                }
            }
        }
    }

    /// The next random word.
    pub fn word(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System(_) => f.write_str("Random::system"),
            Source::Seeded(_) => f.write_str("Random::seeded"),
        }
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn system_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

#[derive(Debug)]
struct TlsRandom(Random);

impl SecureRandom for TlsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.fill(bytes);
        Ok(())
    }
}

struct Clock(WallClock);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis((self.0)())))
    }
}

impl quinn::TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis((self.0)())
    }
}

/// Connection ids of 8 random bytes.
///
/// SUBTLE: every id counts as possibly ours. A node that was restarted must answer packets of its former life with a
/// stateless reset, and quinn's default generator would not recognise those ids any more.
pub(crate) struct ConnectionIds(pub(crate) Random);

const CONNECTION_ID_BYTES: usize = 8;
/// The first id a client addresses a server by is longer than usual, as quinn's own are: servers drop short ones.
const INITIAL_CONNECTION_ID_BYTES: usize = 20;

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        self.0.fill(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The id by which a dial first addresses its peer.
pub(crate) fn initial_connection_id(random: &Random) -> ConnectionId {
    let mut bytes = [0; INITIAL_CONNECTION_ID_BYTES];
    random.fill(&mut bytes);
    ConnectionId::new(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_sequence_and_purposes_do_not_disturb_each_other() {
        let seams = Seams::seeded([7; 32], Arc::new(|| 0));
        let (first, again, other) = (seams.random("a"), seams.random("a"), seams.random("b"));
        let words: Vec<u64> = (0..4).map(|_| first.word()).collect();
        other.word();
        assert_eq!(words, (0..4).map(|_| again.word()).collect::<Vec<_>>());
        assert_ne!(words[0], seams.random("b").word());
        assert_ne!(Random::system().word(), Random::system().word());
    }
}
