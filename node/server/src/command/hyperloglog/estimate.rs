//! What is not in a sketch's bytes: which register an element raises, and how many elements the registers speak for.
//!
//! The hash is MurmurHash64A (Austin Appleby) with Redis' seed. The estimate is that of Otmar Ertl, "New cardinality
//! estimation algorithms for HyperLogLog sketches" (2017), computed in doubles in the order in which Redis 7 does it, so
//! that equal registers give equal answers.

use crdt::sketch::REGISTERS;

const SEED: u64 = 0xadc8_3b19;
/// The bits of a hash that choose the register.
const INDEX_BITS: u32 = REGISTERS.trailing_zeros();
/// The bits that are left, of which the zeros at the low end are counted.
const REST_BITS: usize = 64 - INDEX_BITS as usize;
/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// The register that an element raises, and to what.
pub fn register_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    // A one above all other bits ends the zeros.
    let rest = hash >> INDEX_BITS | 1 << REST_BITS;
    (hash as usize % REGISTERS, rest.trailing_zeros() as u8 + 1)
}

/// How many elements registers speak for of which so many have each value.
pub fn estimate(counts: &[u32; 64]) -> u64 {
    let registers = REGISTERS as f64;
    let count = |value: usize| f64::from(counts[value]);
    let mut sum = registers * tau((registers - count(REST_BITS + 1)) / registers);
    for value in (1..=REST_BITS).rev() {
        sum += count(value);
        sum *= 0.5;
    }
    sum += registers * sigma(count(0) / registers);
    (ALPHA * registers * registers / sum).round() as u64
}

/// What the largest value that a register can have adds.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// What registers of zero add.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn murmur(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = (hash ^ word).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_near_the_truth() {
        for elements in [0, 1, 10, 1_000, 20_000, 300_000u32] {
            let mut registers = vec![0u8; REGISTERS];
            for element in 0..elements {
                let (index, value) = register_of(format!("element:{element}").as_bytes());
                registers[index] = registers[index].max(value);
            }
            let mut counts = [0; 64];
            registers.iter().for_each(|value| counts[usize::from(*value)] += 1);
            let (found, truth) = (estimate(&counts) as f64, f64::from(elements));
            // Three times the standard error.
            assert!((found - truth).abs() <= truth * 0.0244, "{found} for {truth}");
        }
    }

    #[test]
    fn a_hash_of_zeros_has_the_largest_value() {
        // No element is known whose hash has no bit set above the index; the arithmetic is that of the bound.
        assert_eq!((0u64 >> INDEX_BITS | 1 << REST_BITS).trailing_zeros() as usize + 1, REST_BITS + 1);
    }
}
