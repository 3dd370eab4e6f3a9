//! Random elements of a collection, for `SRANDMEMBER`, `HRANDFIELD`, `ZRANDMEMBER` and `SPOP`.
//!
//! A command draws one seed from its call and goes on from there by itself, because the call is borrowed while its
//! elements are read. The same seed gives the same answer.

use super::CommandError;
use super::number;
use crate::limits::RANDOM_ELEMENTS_MAX;
use keyspace::{Elements, SortedElements};
use resp::{Reply, Version};
use std::borrow::Cow;
use std::collections::HashSet;

/// A sequence of random words from one seed (splitmix64; Steele, Lea and Flood, 2014).
pub(super) struct Draws(u64);

/// What elements are drawn from.
pub(super) trait Pool<'e> {
    /// What stands beside a name.
    type Value;
    /// How many elements there are.
    fn len(&self) -> usize;
    /// Some element, chosen by a random word. While [`Pool::is_mostly_hidden`] it may walk over all.
    fn random(&self, word: u64) -> Option<(&'e [u8], Self::Value)>;
    /// Whether most of what is held is over: then whoever wants several takes [`Pool::all`] once.
    fn is_mostly_hidden(&self) -> bool;
    /// All elements.
    fn all(&self) -> Vec<(&'e [u8], Self::Value)>;
    /// Answers a value.
    fn write(reply: &mut Reply, value: &Self::Value);
}

/// Fields with their values; those of members are empty.
impl<'e> Pool<'e> for Elements<'e> {
    type Value = Cow<'e, [u8]>;

    fn len(&self) -> usize {
        Elements::len(self)
    }

    fn random(&self, word: u64) -> Option<(&'e [u8], Cow<'e, [u8]>)> {
        Elements::random(self, word)
    }

    fn is_mostly_hidden(&self) -> bool {
        Elements::is_mostly_hidden(self)
    }

    fn all(&self) -> Vec<(&'e [u8], Cow<'e, [u8]>)> {
        self.iter().collect()
    }

    fn write(reply: &mut Reply, value: &Cow<'e, [u8]>) {
        reply.bulk(value);
    }
}

/// Members with their scores.
impl<'e> Pool<'e> for SortedElements<'e> {
    type Value = f64;

    fn len(&self) -> usize {
        SortedElements::len(self)
    }

    fn random(&self, word: u64) -> Option<(&'e [u8], f64)> {
        SortedElements::random(self, word)
    }

    fn is_mostly_hidden(&self) -> bool {
        false
    }

    fn all(&self) -> Vec<(&'e [u8], f64)> {
        self.iter().collect()
    }

    fn write(reply: &mut Reply, value: &f64) {
        reply.double(*value);
    }
}

impl Draws {
    /// The sequence of this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next word.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// `count` different elements, or all if there are not that many. Few of many are drawn until they differ; many of
/// few are shuffled, as Redis does it.
pub(super) fn distinct<'e, P: Pool<'e>>(elements: &P, count: usize, draws: &mut Draws) -> Vec<(&'e [u8], P::Value)> {
    let length = elements.len();
    if count < length / DRAW_ONE_OF && !elements.is_mostly_hidden() {
        let mut seen = HashSet::with_capacity(count);
        let mut chosen = Vec::with_capacity(count);
        for _ in 0..count * DRAWS_PER_ELEMENT_MAX {
            if chosen.len() == count {
                return chosen;
            }
            if let Some((name, value)) = elements.random(draws.next())
                && seen.insert(name)
            {
                chosen.push((name, value));
            }
        }
    }
    let mut all = elements.all();
    if count < all.len() {
        for index in 0..count {
            let other = index + draws.below(all.len() - index);
            all.swap(index, other);
        }
        all.truncate(count);
    }
    all
}

/// A count whose sign says whether elements may repeat. The smallest integer has no positive counterpart.
pub(super) fn signed_count(text: &[u8]) -> Result<i64, CommandError> {
    match number::integer(text)? {
        i64::MIN => Err(CommandError::Plain(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

/// Answers `count` random elements: different ones, or with repeats for a negative count.
pub(super) fn answer<'e, P: Pool<'e>>(
    reply: &mut Reply,
    elements: &P,
    count: i64,
    with_values: bool,
    draws: &mut Draws,
) -> Result<(), CommandError> {
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= 0 {
        let chosen = distinct(elements, wanted, draws);
        write_header(reply, chosen.len(), with_values);
        chosen.iter().for_each(|element| write_element::<P>(reply, element, with_values));
        return Ok(());
    }
    if wanted > RANDOM_ELEMENTS_MAX {
        return Err(CommandError::Plain("ERR value is out of range"));
    }
    write_header(reply, wanted, with_values);
    if elements.is_mostly_hidden() {
        let all = elements.all();
        if !all.is_empty() {
            (0..wanted).for_each(|_| write_element::<P>(reply, &all[draws.below(all.len())], with_values));
        }
        return Ok(());
    }
    for _ in 0..wanted {
        if let Some(element) = elements.random(draws.next()) {
            write_element::<P>(reply, &element, with_values);
        }
    }
    Ok(())
}

/// RESP2 has values beside their fields, RESP3 has pairs.
fn write_header(reply: &mut Reply, length: usize, with_values: bool) {
    match reply.version() {
        Version::Resp2 if with_values => reply.array(length * 2),
        Version::Resp2 | Version::Resp3 => reply.array(length),
    }
}

fn write_element<'e, P: Pool<'e>>(reply: &mut Reply, (name, value): &(&'e [u8], P::Value), with_values: bool) {
    match reply.version() {
        Version::Resp3 if with_values => reply.array(2),
        Version::Resp2 | Version::Resp3 => {}
    }
    reply.bulk(name);
    if with_values {
        P::write(reply, value);
    }
}

/// Up to a third of the elements, draws rarely repeat; Redis changes its method at the same point.
const DRAW_ONE_OF: usize = 3;
/// Draws for each wanted element before all are shuffled after all: it ends even if some are drawn rarely.
const DRAWS_PER_ELEMENT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Numbers of which most are over, and how often one who wanted one of them has had to walk over all.
    struct MostlyHidden {
        names: Vec<String>,
        walks: Cell<usize>,
    }

    impl<'e> Pool<'e> for &'e MostlyHidden {
        type Value = f64;

        fn len(&self) -> usize {
            self.names.len()
        }

        fn random(&self, word: u64) -> Option<(&'e [u8], f64)> {
            self.walks.set(self.walks.get() + 1);
            Some((self.names[word as usize % self.names.len()].as_bytes(), 0.0))
        }

        fn is_mostly_hidden(&self) -> bool {
            true
        }

        fn all(&self) -> Vec<(&'e [u8], f64)> {
            self.walks.set(self.walks.get() + 1);
            self.names.iter().map(|name| (name.as_bytes(), 0.0)).collect()
        }

        fn write(reply: &mut Reply, value: &f64) {
            reply.double(*value);
        }
    }

    #[test]
    fn where_most_are_over_all_are_walked_once_however_many_are_wanted() {
        let pool = MostlyHidden { names: (0..100).map(|n| n.to_string()).collect(), walks: Cell::new(0) };
        let chosen = distinct(&&pool, 20, &mut Draws::new(3));
        let different: HashSet<_> = chosen.iter().map(|(name, _)| *name).collect();
        assert_eq!((chosen.len(), different.len(), pool.walks.replace(0)), (20, 20, 1));
        let mut reply = Reply::new(Version::Resp2);
        answer(&mut reply, &&pool, -500, false, &mut Draws::new(3)).unwrap();
        assert_eq!(pool.walks.get(), 1);
    }

    #[test]
    fn draws_repeat_with_their_seed_and_stay_below_their_bound() {
        let (mut one, mut other) = (Draws::new(7), Draws::new(7));
        for bound in 1..1000 {
            let drawn = one.below(bound);
            assert!(drawn < bound);
            assert_eq!(drawn, other.below(bound));
        }
    }
}
