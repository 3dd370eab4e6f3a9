//! The elements of a hash, set or sorted set as readers and rules see them, in whichever form they are kept.

use crate::body::KeyEntry;
use crate::bundle::Bundle;
use crate::elements::{ElementEntry, ElementMap, WideElement};
use crate::entry::{Packed, PackedCounter, PackedLife, View};
use crate::hash::KeyHasher;
use crate::ranked::RankedTable;
use crdt::{Element, Kind, Lifetime, Score, Stamp, Stamps, UnixMillis};
use std::borrow::Cow;

/// The elements of a collection.
#[derive(Clone, Copy, Debug)]
pub enum Collection<'a> {
    /// Few, in one piece with their key.
    Bundle(Bundle<'a>),
    /// Any number, each in a piece of its own.
    Map(&'a ElementMap),
}

/// One field or member.
#[derive(Clone, Copy, Debug)]
pub enum ElementView<'a> {
    /// One write has set it.
    Written(Packed<'a>),
    /// A counter that one node alone has moved.
    Counter(PackedCounter<'a>),
    /// Siblings or contributions.
    Wide(&'a WideElement),
}

impl<'a> Collection<'a> {
    /// The elements of this kind that an entry holds, visible or not.
    pub fn in_entry(entry: &'a KeyEntry, kind: Kind) -> Option<Self> {
        match entry.view() {
            View::Packed(_) | View::Counter(_) => None,
            View::Bundle(bundle) => (bundle.kind == kind).then(|| Self::Bundle(Bundle::of(&bundle))),
            View::Wide(body) => body.map(kind).map(Self::Map),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Bundle(bundle) => bundle.len(),
            Self::Map(map) => map.len(),
        }
    }

    /// How many elements are over at `now`, and still there.
    pub fn over_at(&self, now: UnixMillis) -> usize {
        match self {
            Self::Bundle(_) => 0,
            Self::Map(map) => map.over_at(now),
        }
    }

    /// Whether any element has an end.
    pub fn has_ends(&self) -> bool {
        match self {
            Self::Bundle(_) => false,
            Self::Map(map) => map.timed().is_some(),
        }
    }

    /// Whether they are few enough to be looked at one by one.
    pub fn is_flat(&self) -> bool {
        match self {
            Self::Bundle(_) => true,
            Self::Map(map) => map.is_flat(),
        }
    }

    /// The table of many elements with scores.
    pub fn ranked(&self) -> Option<&'a RankedTable> {
        match self {
            Self::Bundle(_) => None,
            Self::Map(map) => map.ranked(),
        }
    }

    /// The element called `name`.
    #[inline]
    pub fn find(&self, hasher: &KeyHasher, name: &[u8]) -> Option<ElementView<'a>> {
        match self {
            Self::Bundle(bundle) => bundle.find(name).map(|place| place.element),
            Self::Map(map) => map.find(hasher, name).map(ElementView::of),
        }
    }

    /// All elements; the order means nothing to readers.
    pub fn iter(self) -> impl Iterator<Item = ElementView<'a>> {
        let (bundle, map) = match self {
            Self::Bundle(bundle) => (Some(bundle.iter()), None),
            Self::Map(map) => (None, Some(map.iter().map(ElementView::of))),
        };
        bundle.into_iter().flatten().chain(map.into_iter().flatten())
    }

    /// One step of a scan, as [`ElementMap::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut each: impl FnMut(ElementView<'_>)) -> u64 {
        match self {
            Self::Bundle(bundle) => {
                bundle.iter().for_each(each);
                0
            }
            Self::Map(map) => map.scan(cursor, count, |entry| each(ElementView::of(entry))),
        }
    }

    /// Some element, chosen by a random word.
    pub fn random(&self, random: u64) -> Option<ElementView<'a>> {
        match self {
            Self::Bundle(bundle) => bundle.iter().nth((random % bundle.len().max(1) as u64) as usize),
            Self::Map(map) => map.random(random).map(ElementView::of),
        }
    }
}

impl<'a> ElementView<'a> {
    /// A look at an entry of a map.
    #[inline]
    pub fn of(entry: &'a ElementEntry) -> Self {
        match entry.view() {
            View::Packed(packed) => Self::Written(packed),
            View::Counter(counter) => Self::Counter(counter),
            View::Bundle(_) => unreachable!("an element is no collection"),
            View::Wide(wide) => Self::Wide(wide),
        }
    }

    /// The field or member.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Written(packed) => packed.name,
            Self::Counter(counter) => counter.name,
            Self::Wide(wide) => &wide.name,
        }
    }

    /// What a reader sees of an element of a hash or set. It is never empty; a set's member has an empty value.
    pub fn value(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Written(packed) => Cow::Borrowed(packed.value),
            Self::Counter(counter) => Cow::Owned(counter.cumulative.to_string().into_bytes()),
            Self::Wide(wide) => wide.element.value().unwrap_or_default(),
        }
    }

    /// What a reader sees of a member of a sorted set.
    pub fn score(&self) -> Score {
        match self {
            Self::Written(packed) => Score::from_bytes(packed.value),
            Self::Counter(counter) => Score::new(counter.cumulative as f64).unwrap_or_default(),
            Self::Wide(wide) => wide.element.score(),
        }
    }

    /// The latest live stamp.
    pub fn latest(&self) -> Stamp {
        match self {
            Self::Written(packed) => packed.stamp,
            Self::Counter(counter) => counter.stamp,
            Self::Wide(wide) => wide.element.latest(),
        }
    }

    /// The element as the algebra sees it.
    pub fn widened(&self) -> Element {
        match self {
            Self::Written(packed) => with_life(Element::written(packed.stamp, packed.value.into()), packed.life),
            Self::Counter(counter) => with_life(Element::counted(counter.contribution()), counter.life),
            Self::Wide(wide) => wide.element.clone(),
        }
    }

    /// When readers see it no more; nothing if it has no end. A ghost was over from the first.
    #[inline]
    pub fn end(&self) -> Option<UnixMillis> {
        match self {
            Self::Written(Packed { life, .. }) | Self::Counter(PackedCounter { life, .. }) => match life {
                PackedLife::Asserted(_, Lifetime::Until(deadline)) => Some(*deadline),
                PackedLife::Asserted(_, Lifetime::Never) | PackedLife::Own | PackedLife::Unasserted => None,
            },
            Self::Wide(wide) => wide.element.end(),
        }
    }

    /// How long it stays.
    pub fn lifetime(&self) -> Lifetime {
        match self {
            Self::Written(Packed { life, .. }) | Self::Counter(PackedCounter { life, .. }) => match life {
                PackedLife::Own | PackedLife::Unasserted => Lifetime::Never,
                PackedLife::Asserted(_, lifetime) => *lifetime,
            },
            Self::Wide(wide) => wide.element.lifetime(),
        }
    }

    /// Whether readers find it at `now`.
    #[inline]
    pub fn is_shown(&self, now: UnixMillis) -> bool {
        self.end().is_none_or(|end| end > now)
    }

    /// All that is asserted about its life, by its content and besides.
    pub fn assertions(&self) -> Stamps {
        let packed = |life: PackedLife, content| life.assertion(content).map(|(dot, _)| dot).into_iter().collect();
        match self {
            Self::Written(element) => packed(element.life, element.stamp),
            Self::Counter(element) => packed(element.life, element.birth),
            Self::Wide(wide) => {
                let besides = wide.element.life.iter().flat_map(|life| life.assertions.iter().map(|&(dot, _)| dot));
                wide.element.asserting().chain(besides).collect()
            }
        }
    }

    /// The assertion about its life that counts, of those that are not its content's, and whether it is a ghost.
    pub fn winning_life(&self) -> Option<(Stamp, Lifetime, bool)> {
        match self {
            Self::Written(Packed { life, .. }) | Self::Counter(PackedCounter { life, .. }) => match life {
                PackedLife::Own | PackedLife::Unasserted => None,
                PackedLife::Asserted(stamp, lifetime) => Some((*stamp, *lifetime, false)),
            },
            Self::Wide(wide) => {
                let (stamp, lifetime) = wide.element.life.as_ref()?.winner()?;
                Some((stamp, lifetime, !wide.element.has_content()))
            }
        }
    }

    /// An entry of a map that holds the same.
    pub fn to_entry(self) -> ElementEntry {
        match self {
            Self::Written(packed) => {
                ElementEntry::packed(packed.stamp, packed.life, packed.access, packed.name, packed.value)
            }
            Self::Counter(counter) => ElementEntry::counter(&counter),
            Self::Wide(wide) => {
                ElementEntry::wide(Box::new(WideElement { name: wide.name.clone(), element: wide.element.clone() }))
            }
        }
    }
}

/// The element with the life that its packed form says.
fn with_life(mut element: Element, life: PackedLife) -> Element {
    if life != PackedLife::Own {
        element.silence(|_| true);
    }
    if let PackedLife::Asserted(stamp, lifetime) = life {
        element.life_mut().assert(stamp, lifetime);
    }
    element
}
