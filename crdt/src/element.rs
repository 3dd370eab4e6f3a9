//! One element of a key: the string itself, a hash field or a set member, with whatever regions wrote concurrently.
//!
//! An element is a register with *siblings* (one value for each write that no later write has observed; readers see
//! the one with the latest stamp) plus a counter: one contribution a node. What a reader sees is the register's value
//! plus the sum of what the contributions count beyond their bases.

use crate::change::Reset;
use crate::number::Number;
use crate::patches::Patches;
use crate::{ElementLife, Lifetime, NodeNumber, Score, Stamp, UnixMillis};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use smallvec::SmallVec;

/// What one node added to a counter, and how much of it a reset has taken away: it counts `cumulative - base`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// Whose it is.
    pub node: NodeNumber,
    /// The first increment of this life; a contribution that was reset as a whole begins a new life.
    pub birth: Stamp,
    /// The last increment.
    pub stamp: Stamp,
    /// The sum of all increments of this life.
    pub cumulative: Number,
    /// The last increment that a reset has observed; zero if none has.
    pub base_stamp: Stamp,
    /// The sum up to that one.
    pub base: Number,
    /// Whether its birth asserts that its field has no end: it created the field, and nothing has dropped that since.
    /// Only of fields of hashes it may be false.
    pub asserts: bool,
}

impl Contribution {
    /// A contribution of which nothing has been reset.
    pub const fn born(birth: Stamp, stamp: Stamp, cumulative: Number) -> Self {
        let base = Number::integer(0);
        Self { node: stamp.author(), birth, stamp, cumulative, base_stamp: Stamp::ZERO, base, asserts: true }
    }

    /// Whether everything it ever counted has been reset.
    pub fn is_dead(&self) -> bool {
        self.base_stamp >= self.stamp
    }

    /// What it counts.
    pub fn worth(&self) -> Number {
        if self.base_stamp == Stamp::ZERO { self.cumulative } else { self.cumulative.minus(self.base) }
    }

    /// Takes away what a reset has observed, if the reset is of this life and newer than the one before.
    pub fn rebase(&mut self, birth: Stamp, stamp: Stamp, cumulative: Number) {
        if birth == self.birth && stamp > self.base_stamp {
            self.base_stamp = stamp;
            self.base = cumulative;
        }
    }

    /// The least upper bound of two states of one node's contribution: the later life, or of one life the later sum
    /// and the later base, and whatever either has dropped.
    pub fn join(&mut self, other: &Contribution) {
        if other.birth > self.birth {
            *self = *other;
        } else if other.birth == self.birth {
            if other.stamp > self.stamp {
                self.stamp = other.stamp;
                self.cumulative = other.cumulative;
            }
            self.rebase(other.birth, other.base_stamp, other.base);
            self.asserts &= other.asserts;
        }
    }

    /// What a reset that observes this contribution lists.
    pub fn observed(&self) -> Reset {
        Reset { node: self.node, birth: self.birth, stamp: self.stamp, cumulative: self.cumulative }
    }
}

/// A register with siblings, and a counter. Contributions are in the order of their nodes; none of them is dead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Element {
    /// Values whose writes no later write has observed; any order.
    pub siblings: SmallVec<[(Stamp, Box<[u8]>); 1]>,
    /// What each node has added.
    pub contributions: SmallVec<[Contribution; 1]>,
    /// What is asserted about its life besides what its content asserts: that it has no end. Only fields of hashes have
    /// any.
    pub life: Option<Box<ElementLife>>,
    /// Patches of the string and what was folded; see [`crate::Patch`].
    pub(crate) patched: Option<Box<Patches>>,
}

impl Element {
    /// An element that one write has set.
    pub fn written(stamp: Stamp, value: Box<[u8]>) -> Self {
        let mut element = Self::default();
        element.siblings.push((stamp, value));
        element
    }

    /// An element that one node has counted.
    pub fn counted(contribution: Contribution) -> Self {
        let mut element = Self::default();
        element.restore(contribution);
        element
    }

    /// Whether nothing is left, not even an assertion about its life.
    pub fn is_empty(&self) -> bool {
        !self.has_content() && self.life.as_ref().is_none_or(|life| life.assertions.is_empty())
    }

    /// Whether anything is there for a reader: an element without is a ghost, or gone.
    pub fn has_content(&self) -> bool {
        !self.siblings.is_empty() || !self.contributions.is_empty() || !self.patches().is_empty()
    }

    /// The content that asserts by itself that there is no end: dots of siblings and births of contributions.
    pub fn asserting(&self) -> impl Iterator<Item = Stamp> {
        let asserts = |dot: &Stamp| self.life.as_ref().is_none_or(|life| !life.is_silent(*dot));
        let siblings = self.siblings.iter().map(|&(dot, _)| dot).filter(asserts);
        siblings.chain(self.contributions.iter().filter(|c| c.asserts).map(|c| c.birth))
    }

    /// The content that asserts nothing any more.
    pub fn silent(&self) -> impl Iterator<Item = Stamp> {
        let siblings = self.life.iter().flat_map(|life| life.silent.iter().copied());
        siblings.chain(self.contributions.iter().filter(|c| !c.asserts).map(|c| c.birth))
    }

    /// From now on what `is_dropped` names of the content asserts nothing.
    pub fn silence(&mut self, mut is_dropped: impl FnMut(Stamp) -> bool) {
        let dropped: SmallVec<[Stamp; 2]> =
            self.siblings.iter().map(|&(dot, _)| dot).filter(|&dot| is_dropped(dot)).collect();
        dropped.into_iter().for_each(|dot| self.life_mut().silence(dot));
        self.contributions.iter_mut().for_each(|c| c.asserts &= !is_dropped(c.birth));
    }

    /// How long it stays: the longest that is asserted; for ever, if nothing is.
    pub fn lifetime(&self) -> Lifetime {
        match &self.life {
            Some(life) if self.asserting().next().is_none() => {
                life.winner().map_or(Lifetime::Never, |(_, lifetime)| lifetime)
            }
            Some(_) | None => Lifetime::Never,
        }
    }

    /// When readers see it no more. A ghost was over from the first.
    pub fn end(&self) -> Option<UnixMillis> {
        self.life.as_ref()?;
        match self.lifetime() {
            _ if !self.has_content() => Some(0),
            Lifetime::Until(deadline) => Some(deadline),
            Lifetime::Never => None,
        }
    }

    /// What is asserted about its life, to be changed; [`Element::tidy_life`] follows.
    pub fn life_mut(&mut self) -> &mut ElementLife {
        self.life.get_or_insert_default()
    }

    /// Forgets of the life what belongs to content that is gone.
    pub fn tidy_life(&mut self) {
        let Some(mut life) = self.life.take() else { return };
        life.silent.retain(|dot| self.siblings.iter().any(|(content, _)| content == dot));
        self.life = Some(life).filter(|life| !life.is_plain());
    }

    /// The sibling that readers see: the one with the latest stamp.
    pub fn winner(&self) -> Option<&(Stamp, Box<[u8]>)> {
        self.siblings.iter().max_by_key(|(stamp, _)| *stamp)
    }

    /// The latest live stamp, of siblings and contributions: it decides which type a key has.
    pub fn latest(&self) -> Stamp {
        let register = self.winner().map_or(Stamp::ZERO, |&(stamp, _)| stamp);
        let register = self.patched.as_ref().map_or(register, |patched| register.max(patched.latest()));
        self.contributions.iter().map(|c| c.stamp).fold(register, Stamp::max)
    }

    /// What a reader sees: the winner plus the sum; the winner alone if it is no number (the increments then stay
    /// hidden until the next whole write drops them).
    pub fn value(&self) -> Option<Cow<'_, [u8]>> {
        let register = self.laid_text().or_else(|| self.winner().map(|(_, value)| &**value));
        if self.contributions.is_empty() {
            return register.map(Cow::Borrowed);
        }
        let base = match register {
            None => Number::default(),
            Some(text) => match Number::parse(text) {
                Some(number) => number,
                None => return Some(Cow::Borrowed(text)),
            },
        };
        Some(Cow::Owned(self.sum(base).to_redis_text().into_bytes()))
    }

    /// What a reader sees of a sorted set's member: the winner plus the sum, rounded once; an infinity alone if the
    /// winner is one (the increments then stay hidden until the next whole write drops them).
    pub fn score(&self) -> Score {
        let register = self.winner().map_or(Score::ZERO, |(_, value)| Score::from_bytes(value));
        if self.contributions.is_empty() || !register.is_finite() {
            return register;
        }
        Score::new(self.sum(Number::float(register.to_exact())).to_f64()).unwrap_or(register)
    }

    /// `base` plus what all contributions count, added in the order of node numbers.
    pub fn sum(&self, base: Number) -> Number {
        self.contributions.iter().fold(base, |sum, c| sum.plus(c.worth()))
    }

    /// The contribution of `node`.
    pub fn contribution(&self, node: NodeNumber) -> Option<&Contribution> {
        self.position(node).ok().map(|index| &self.contributions[index])
    }

    /// Takes out the contribution of `node`, to be changed and put back with [`Element::restore`].
    pub fn take_contribution(&mut self, node: NodeNumber) -> Option<Contribution> {
        self.position(node).ok().map(|index| self.contributions.remove(index))
    }

    /// Puts a contribution (back) in its place, unless it is dead.
    pub fn restore(&mut self, contribution: Contribution) {
        if !contribution.is_dead() {
            match self.position(contribution.node) {
                Ok(index) => self.contributions[index] = contribution,
                Err(index) => self.contributions.insert(index, contribution),
            }
        }
    }

    fn position(&self, node: NodeNumber) -> Result<usize, usize> {
        self.contributions.binary_search_by_key(&node, |c| c.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn stamp(ms: u64, n: u16) -> Stamp {
        Stamp::at(crate::STAMP_EPOCH_MS + ms, NodeNumber::new(n).unwrap())
    }

    fn value(element: &Element) -> Option<alloc::vec::Vec<u8>> {
        element.value().map(Cow::into_owned)
    }

    #[test]
    fn readers_see_the_latest_sibling_plus_all_contributions() {
        let mut element = Element::written(stamp(5, 1), (*b"10").into());
        element.siblings.push((stamp(7, 2), (*b"20").into()));
        assert_eq!(value(&element), Some(b"20".to_vec()));
        element.restore(Contribution::born(stamp(6, 3), stamp(8, 3), Number::integer(4)));
        element.restore(Contribution::born(stamp(6, 1), stamp(6, 1), Number::integer(-1)));
        assert_eq!(value(&element), Some(b"23".to_vec()));
        assert_eq!(element.latest(), stamp(8, 3));
    }

    #[test]
    fn text_hides_increments_and_does_not_lose_them() {
        let mut element = Element::written(stamp(5, 1), (*b"abc").into());
        element.restore(Contribution::born(stamp(6, 3), stamp(8, 3), Number::integer(4)));
        assert_eq!(value(&element), Some(b"abc".to_vec()));
        element.siblings.clear();
        assert_eq!(value(&element), Some(b"4".to_vec()));
    }

    #[test]
    fn a_score_is_the_latest_sibling_plus_all_contributions_and_an_infinity_stands_alone() {
        let score = |value: f64| Score::new(value).unwrap();
        let mut element = Element::written(stamp(5, 1), (*score(0.1).to_bytes()).into());
        assert_eq!(element.score(), score(0.1));
        let float = |value| Number::float(score(value).to_exact());
        element.restore(Contribution::born(stamp(6, 3), stamp(8, 3), float(0.2)));
        // As one addition of doubles rounds it.
        assert_eq!(element.score(), score(0.1 + 0.2));
        element.restore(Contribution::born(stamp(6, 1), stamp(6, 1), Number::integer(2)));
        assert_eq!(element.score(), score(2.3));
        element.siblings.push((stamp(9, 2), (*score(f64::INFINITY).to_bytes()).into()));
        assert_eq!(element.score(), score(f64::INFINITY));
        element.siblings.clear();
        assert_eq!(element.score(), score(2.2));
    }

    #[test]
    fn an_element_ends_when_nothing_asserts_that_it_has_no_end() {
        let mut element = Element::written(stamp(5, 1), (*b"v").into());
        element.restore(Contribution::born(stamp(6, 2), stamp(8, 2), Number::integer(4)));
        assert_eq!((element.lifetime(), element.end()), (Lifetime::Never, None));
        element.life_mut().assert(stamp(9, 1), Lifetime::Until(10));
        element.silence(|dot| dot == stamp(5, 1));
        assert_eq!(element.end(), None, "the contribution still asserts that there is no end");
        assert_eq!(element.asserting().collect::<Vec<_>>(), [stamp(6, 2)]);
        element.silence(|dot| dot == stamp(6, 2));
        element.life_mut().assert(stamp(9, 3), Lifetime::Until(20));
        assert_eq!((element.lifetime(), element.end()), (Lifetime::Until(20), Some(20)));
        element.life_mut().assert(stamp(9, 4), Lifetime::Never);
        assert_eq!((element.lifetime(), element.end()), (Lifetime::Never, None));
        element.siblings.clear();
        element.tidy_life();
        assert_eq!(element.silent().collect::<Vec<_>>(), [stamp(6, 2)]);
        element.contributions.clear();
        assert_eq!((element.has_content(), element.is_empty(), element.end()), (false, false, Some(0)));
        element.life_mut().assertions.clear();
        element.tidy_life();
        assert!(element.is_empty() && element.life.is_none());
    }

    #[test]
    fn a_reset_takes_away_what_it_observed_and_nothing_else() {
        let mut contribution = Contribution::born(stamp(1, 2), stamp(5, 2), Number::integer(7));
        let observed = contribution.observed();
        contribution.stamp = stamp(6, 2);
        contribution.cumulative = Number::integer(10);
        contribution.rebase(observed.birth, observed.stamp, observed.cumulative);
        assert_eq!(contribution.worth(), Number::integer(3));
        assert!(!contribution.is_dead());
        contribution.rebase(stamp(1, 2), stamp(6, 2), Number::integer(10));
        assert!(contribution.is_dead());
    }
}
