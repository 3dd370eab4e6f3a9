//! Chance for one purpose, from a seed. Purposes do not disturb each other: a fault more draws no other commands.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A sequence of random words that depends on nothing but its seed (splitmix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed for this purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(xxh3_64_with_seed(purpose.as_bytes(), seed))
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// 32 random bytes, for keys and seeds of others.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|piece| piece.copy_from_slice(&self.word().to_le_bytes()));
        bytes
    }

    /// A number from `0` up to and without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % (end as u64).max(1)) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.word() % (high.saturating_sub(low) + 1)
    }

    /// True in so many cases of a hundred.
    pub fn percent(&mut self, cases: u64) -> bool {
        self.word() % 100 < cases
    }

    /// True in so many cases of a million.
    pub fn in_a_million(&mut self, cases: u32) -> bool {
        self.word() % 1_000_000 < u64::from(cases)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// An index, each as often as its weight says.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut rest = self.word() % u64::from(weights.iter().sum::<u32>()).max(1);
        for (index, &weight) in weights.iter().enumerate() {
            if rest < u64::from(weight) {
                return index;
            }
            rest -= u64::from(weight);
        }
        0
    }
}
