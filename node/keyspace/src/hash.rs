//! The hashes of the keyspace: Redis' slot of a key, the table hash, and the digest's item hashes.

use crdt::{Contribution, ElementLife, Lifetime, Number, Stamp};
use std::hash::BuildHasher;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How many slots the keyspace has: those of Redis Cluster, so that slot-aware tools agree with us.
pub const SLOTS: u16 = 16384;

/// The hash of names inside this process's tables. Seeded, so that nobody can choose keys that collide.
#[derive(Clone, Debug)]
pub struct KeyHasher(foldhash::fast::FixedState);

impl KeyHasher {
    /// A hasher with a secret seed.
    pub fn seeded(seed: u64) -> Self {
        Self(foldhash::fast::FixedState::with_seed(seed))
    }

    /// A hasher that is the same in every process.
    #[cfg(test)]
    pub fn fixed() -> Self {
        Self::seeded(0)
    }

    /// The hash of a name.
    #[inline]
    pub fn hash(&self, name: &[u8]) -> u64 {
        self.0.hash_one(name)
    }
}

/// The slot of a key as Redis Cluster computes it: CRC16 (XMODEM) of the key, or of its `{hashtag}`, modulo 16384.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashtag(key)) & (SLOTS - 1)
}

#[inline]
fn hashtag(key: &[u8]) -> &[u8] {
    if !has_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &inside[..length],
        _ => key,
    }
}

/// Whether a key has an opening brace; eight bytes a step.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (steps, rest) = key.as_chunks::<8>();
    let found = steps.iter().fold(0, |found, &step| {
        // A byte that is a brace becomes zero, and only below a zero byte does taking one away borrow (Mycroft 1987).
        let zero_if_brace = u64::from_ne_bytes(step) ^ (ONES * u64::from(b'{'));
        found | (zero_if_brace.wrapping_sub(ONES) & !zero_if_brace & (ONES << 7))
    });
    found != 0 || rest.contains(&b'{')
}

/// Eight bytes a step, each looked up in the table of what it becomes behind so many zero bytes (slicing by eight,
/// Kounavis and Berry 2005): the lookups of a step do not wait for each other.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let (steps, rest) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for &[a, b, c, d, e, f, g, h] in steps {
        crc = behind(7, a ^ (crc >> 8) as u8)
            ^ behind(6, b ^ crc as u8)
            ^ behind(5, c)
            ^ behind(4, d)
            ^ behind(3, e)
            ^ behind(2, f)
            ^ behind(1, g)
            ^ behind(0, h);
    }
    for &byte in rest {
        crc = crc << 8 ^ behind(0, (crc >> 8) as u8 ^ byte);
    }
    crc
}

/// The remainder of a byte with so many zero bytes behind it.
#[inline]
fn behind(zeros: usize, byte: u8) -> u16 {
    CRC16[zeros][usize::from(byte)]
}

static CRC16: [[u16; 256]; 8] = {
    let first = crc16_table();
    let mut tables = [first; 8];
    let mut zeros = 1;
    while zeros < 8 {
        let mut index = 0;
        while index < 256 {
            let before = tables[zeros - 1][index];
            tables[zeros][index] = before << 8 ^ first[(before >> 8) as usize];
            index += 1;
        }
        zeros += 1;
    }
    tables
};

const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// The digest's hash of a key in a database: the base of the hashes of everything in it.
#[inline]
pub fn digest_of_key(database: u8, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(database) + 1)
}

/// The digest's hash of an element's full name. `kind` 0 is the key's life.
#[inline]
pub fn digest_of_element(key_digest: u64, kind: u8, name: &[u8]) -> u64 {
    let base = fold(key_digest, u64::from(kind) | 0x5eed_0000);
    if name.is_empty() { base } else { xxh3_64_with_seed(name, base) }
}

/// The item that a live dot with its value adds to the digest.
#[inline]
pub fn digest_of_dot(element_digest: u64, stamp: Stamp, value: &[u8]) -> u64 {
    fold(fold(element_digest, stamp.bits()), xxh3_64(value))
}

/// The item that an assertion about the key's life adds to the digest.
#[inline]
pub fn digest_of_life(life_digest: u64, stamp: Stamp, lifetime: Lifetime) -> u64 {
    fold(fold(life_digest, stamp.bits()), lifetime.to_word())
}

/// The digest's hash of a field's life, given that of its name.
#[inline]
pub fn digest_of_field_life(element_digest: u64) -> u64 {
    fold(element_digest, 0x11fe)
}

/// The items that what is asserted about a field's life adds to the digest, besides what its content asserts.
pub fn digest_of_element_life(element_digest: u64, life: Option<&ElementLife>) -> u64 {
    let Some(life) = life else { return 0 };
    let name = digest_of_field_life(element_digest);
    let silent = life.silent.iter().fold(0, |sum, dot| sum ^ fold(name ^ 0x51e7, dot.bits()));
    life.assertions.iter().fold(silent, |sum, &(dot, lifetime)| sum ^ digest_of_life(name, dot, lifetime))
}

/// The item that a live contribution adds to the digest.
pub fn digest_of_contribution(element_digest: u64, contribution: &Contribution) -> u64 {
    let Contribution { node, birth, stamp, cumulative, base_stamp, base, asserts } = contribution;
    let silent = if *asserts { 0 } else { 1 << 32 };
    let mut item = fold(element_digest ^ 0xc0de, u64::from(node.value()) | silent);
    for word in [birth.bits(), stamp.bits(), base_stamp.bits()] {
        item = fold(item, word);
    }
    fold(fold(item, number_word(cumulative)), number_word(base))
}

/// What moving a contribution that was never reset on, from one stamp and whole sum to another, changes of the digest.
#[inline]
pub fn digest_of_move(element_digest: u64, birth: Stamp, from: (Stamp, i64), to: (Stamp, i64)) -> u64 {
    let same = fold(fold(element_digest ^ 0xc0de, u64::from(from.0.author().value())), birth.bits());
    let item =
        |(stamp, sum): (Stamp, i64)| fold(fold(fold(fold(same, stamp.bits()), Stamp::ZERO.bits()), sum as u64), 0);
    item(from) ^ item(to)
}

/// Plain integers, which nearly all numbers are, take one step.
#[inline]
fn number_word(number: &Number) -> u64 {
    match (number.float, i64::try_from(number.integer)) {
        (None, Ok(integer)) => integer as u64,
        (Some(_), _) | (None, Err(_)) => number.words().into_iter().fold(0x0f10_a7ed, fold),
    }
}

/// Folded multiplication: mixes two words into one so that every bit of both matters.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // Figures of `CLUSTER KEYSLOT`.
        for (key, slot) in
            [("", 0), ("foo", 12182), ("bar", 5061), ("123456789", 12739), ("{user1000}.following", 3443)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") & 16383);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        let text: Vec<u8> = (0..70u8).collect();
        for length in 0..text.len() {
            let mut crc = 0u16;
            for byte in &text[..length] {
                crc ^= u16::from(*byte) << 8;
                (0..8).for_each(|_| crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 });
            }
            assert_eq!(crc16(&text[..length]), crc, "{length} bytes");
        }
    }

    #[test]
    fn a_move_changes_the_digest_by_both_contributions() {
        let stamp = |ms| Stamp::at(crdt::STAMP_EPOCH_MS + ms, crdt::NodeNumber::new(3).unwrap());
        let item = |(at, sum): (Stamp, i64)| {
            digest_of_contribution(5, &Contribution::born(stamp(1), at, Number::integer(i128::from(sum))))
        };
        for sum in [0, 8, -8, i64::MAX, i64::MIN] {
            let (from, to) = ((stamp(2), 7), (stamp(9), sum));
            assert_eq!(digest_of_move(5, stamp(1), from, to), item(from) ^ item(to));
        }
    }

    #[test]
    fn every_part_of_an_item_changes_its_hash() {
        let key = digest_of_key(0, b"key");
        let base = digest_of_dot(digest_of_element(key, 2, b"f"), Stamp::from_bits(7), b"v");
        assert_ne!(base, digest_of_dot(digest_of_element(key, 3, b"f"), Stamp::from_bits(7), b"v"));
        assert_ne!(base, digest_of_dot(digest_of_element(key, 2, b"g"), Stamp::from_bits(7), b"v"));
        assert_ne!(base, digest_of_dot(digest_of_element(key, 2, b"f"), Stamp::from_bits(8), b"v"));
        assert_ne!(base, digest_of_dot(digest_of_element(key, 2, b"f"), Stamp::from_bits(7), b"w"));
        assert_ne!(key, digest_of_key(1, b"key"));
    }
}
