//! Sorted sets as readers see them: members with their scores, by name and in their order.

use crate::collection::Collection;
use crate::elements::{FLAT_ELEMENTS_MAX, name_of};
use crate::hash::KeyHasher;
use crate::ordered::Item;
use crate::ranked::RankedTable;
use crdt::Score;
use smallvec::SmallVec;
use std::ops::Range;

/// The members of a sorted set.
#[derive(Clone, Copy)]
pub struct SortedElements<'a> {
    map: Collection<'a>,
    hasher: &'a KeyHasher,
}

/// The members of a sorted set by their ranks.
pub struct InOrder<'a> {
    hasher: &'a KeyHasher,
    members: Members<'a>,
}

#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one command, and a list needs no memory so")]
enum Members<'a> {
    /// Few members, sorted just now.
    Listed(SmallVec<[(Score, &'a [u8]); FLAT_ELEMENTS_MAX]>),
    Ranked(&'a RankedTable),
}

impl<'a> SortedElements<'a> {
    pub(crate) fn new(map: Collection<'a>, hasher: &'a KeyHasher) -> Self {
        Self { map, hasher }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none; a key without members does not exist, so this is false.
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Whether they are few enough to be kept in a list.
    pub fn is_flat(&self) -> bool {
        self.map.is_flat()
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.map.find(self.hasher, member).map(|element| element.score().to_f64())
    }

    /// All members with their scores, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], f64)> + use<'a> {
        self.map.iter().map(|element| (element.name(), element.score().to_f64()))
    }

    /// One step over the members, as [`crate::Access::scan`].
    pub fn scan(&self, cursor: u64, count: usize, each: &mut dyn FnMut(&[u8], f64)) -> u64 {
        if self.is_flat() {
            self.in_order().range(0..usize::MAX, false).for_each(|(name, score)| each(name, score));
            return 0;
        }
        self.map.scan(cursor, count, |element| each(element.name(), element.score().to_f64()))
    }

    /// Some member, chosen by a random word.
    pub fn random(&self, random: u64) -> Option<(&'a [u8], f64)> {
        self.map.random(random).map(|element| (element.name(), element.score().to_f64()))
    }

    /// The members by their ranks: by score, and those of one score by name.
    pub fn in_order(&self) -> InOrder<'a> {
        let members = match self.map.ranked() {
            Some(ranked) => Members::Ranked(ranked),
            None => {
                let mut list: SmallVec<[(Score, &[u8]); FLAT_ELEMENTS_MAX]> =
                    self.map.iter().map(|element| (element.score(), element.name())).collect();
                list.sort_unstable_by(|(one, first), (other, second)| {
                    let words = one.to_ordered_word().cmp(&other.to_ordered_word());
                    words.then_with(|| first.cmp(second))
                });
                Members::Listed(list)
            }
        };
        InOrder { hasher: self.hasher, members }
    }
}

impl<'a> InOrder<'a> {
    /// How many members there are.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::Listed(list) => list.len(),
            Members::Ranked(ranked) => ranked.order().len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members come before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.members {
            Members::Listed(list) => list.iter().position(|(_, name)| *name == member),
            Members::Ranked(ranked) => ranked.rank(self.hasher, member),
        }
    }

    /// How many members come before the first one of whose score `before` is false; it is false of all higher ones too.
    pub fn below_score(&self, before: impl Fn(f64) -> bool) -> usize {
        match &self.members {
            Members::Listed(list) => list.partition_point(|(score, _)| before(score.to_f64())),
            Members::Ranked(ranked) => ranked.order().partition_point(|item| before(item.score().to_f64())),
        }
    }

    /// The ranks of the members from the first of whose name `begins` is true to the one before `ends` is; both stay
    /// true from there on, which supposes that all members have one score. If they have not, some members are found, of
    /// a list those that Redis finds in one.
    pub fn names_between(
        &self,
        begins: impl Fn(&[u8]) -> bool,
        ends: impl Fn(&[u8]) -> bool,
        reversed: bool,
    ) -> Range<usize> {
        match &self.members {
            Members::Listed(list) => {
                let names: SmallVec<[&[u8]; FLAT_ELEMENTS_MAX]> = list.iter().map(|(_, name)| *name).collect();
                contiguous(&names, begins, ends, reversed).unwrap_or(0..0)
            }
            Members::Ranked(ranked) => {
                let name = |item: &Item| name_of(ranked.member(item.cell));
                let start = ranked.order().partition_point(|item| !begins(name(item)));
                start..ranked.order().partition_point(|item| !ends(name(item))).max(start)
            }
        }
    }

    /// The members of these ranks with their scores, from the last one down if `reversed`.
    pub fn range(&self, ranks: Range<usize>, reversed: bool) -> impl Iterator<Item = (&'a [u8], f64)> {
        let (listed, walk) = match &self.members {
            Members::Listed(list) => {
                let end = ranks.end.min(list.len());
                (Some(&list[ranks.start.min(end)..end]), None)
            }
            Members::Ranked(ranked) => {
                let named = |item: Item| (name_of(ranked.member(item.cell)), item.score().to_f64());
                (None, Some(ranked.order().range(ranks, reversed).map(named)))
            }
        };
        let listed = listed.unwrap_or_default();
        let count = listed.len();
        let of_list = (0..count).map(move |at| {
            let (score, name) = listed[if reversed { count - 1 - at } else { at }];
            (name, score.to_f64())
        });
        of_list.chain(walk.into_iter().flatten())
    }
}

/// The names from the first that begins to the last before one that ends, looked for from the one end or the other;
/// nothing if the first name is beyond the range or the last one before it.
fn contiguous(
    names: &[&[u8]],
    begins: impl Fn(&[u8]) -> bool,
    ends: impl Fn(&[u8]) -> bool,
    reversed: bool,
) -> Option<Range<usize>> {
    if !begins(names.last()?) || ends(names.first()?) {
        return None;
    }
    if reversed {
        let last = names.iter().rposition(|name| !ends(name))?;
        let before = names[..=last].iter().rposition(|name| !begins(name)).map_or(0, |at| at + 1);
        Some(before..last + 1)
    } else {
        let first = names.iter().position(|name| begins(name))?;
        let end = names[first..].iter().position(|name| ends(name)).map_or(names.len(), |at| first + at);
        Some(first..end)
    }
}
