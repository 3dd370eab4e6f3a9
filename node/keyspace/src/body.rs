//! A key that does not fit a packed entry: collections, counters, siblings, several types at once, ghosts of a life.

use crate::bundle::{self, Bundle};
use crate::collection::ElementView;
use crate::elements::{ElementMap, latest_of};
use crate::entry::{Entry, Packed, PackedBundle, PackedCounter, PackedLife, View};
use crate::sequence::Sequence;
use crate::slot::KeyTable;
use crate::stream::Stream;
use crate::summary::Summary;
use crdt::{Contribution, Element, Kind, Lifetime, Stamp, UnixMillis};
use smallvec::SmallVec;

/// A key in the main table.
pub type KeyEntry = Entry<KeyBody>;

/// Everything that is known of one key.
#[derive(Debug)]
pub struct KeyBody {
    /// The key.
    pub key: Box<[u8]>,
    /// When it was last used: 24 bits.
    pub access: u32,
    /// Live assertions about the key's life; the longest one counts. Any order.
    pub lives: SmallVec<[(Stamp, Lifetime); 1]>,
    /// The string, if one is there.
    pub string: Option<Box<Element>>,
    /// The hash, if one is there; not empty.
    pub hash: Option<Box<ElementMap>>,
    /// The set, if one is there; not empty.
    pub set: Option<Box<ElementMap>>,
    /// The sorted set, if one is there; not empty.
    pub sorted_set: Option<Box<ElementMap>>,
    /// The list, if one is there; not empty.
    pub list: Option<Box<Sequence>>,
    /// The stream, if anything is there of one; not empty.
    pub stream: Option<Box<Stream>>,
    /// What is known of a large collection without looking at its elements.
    pub summary: Option<Box<Summary>>,
}

impl KeyBody {
    /// A key of which nothing is known yet.
    pub fn new(key: &[u8]) -> Self {
        let (access, lives) = (0, SmallVec::new());
        Self {
            key: key.into(),
            access,
            lives,
            string: None,
            hash: None,
            set: None,
            sorted_set: None,
            list: None,
            stream: None,
            summary: None,
        }
    }

    /// The body that a packed entry stands for.
    pub fn of_packed(packed: &Packed<'_>) -> Self {
        let mut body = Self::new(packed.name);
        body.access = packed.access;
        body.lives.extend(packed.life.assertion(packed.stamp));
        body.string = Some(Box::new(Element::written(packed.stamp, packed.value.into())));
        body
    }

    /// The body that a packed counter stands for.
    pub fn of_counter(counter: &PackedCounter<'_>) -> Self {
        let mut body = Self::new(counter.name);
        body.access = counter.access;
        body.lives.extend(counter.assertion());
        body.string = Some(Box::new(Element::counted(counter.contribution())));
        body
    }

    /// The body that a packed collection stands for.
    pub fn of_bundle(bundle: &PackedBundle<'_>) -> Self {
        let mut body = Self::new(bundle.name);
        body.access = bundle.access;
        body.lives.extend(bundle.assertion());
        let elements = Bundle::of(bundle).iter().map(ElementView::to_entry);
        if let Some(place) = body.map_mut(bundle.kind) {
            *place = Some(Box::new(ElementMap::of_few(bundle.kind, elements)));
        }
        body
    }

    /// When and by whom what makes no key and asserts nothing was left: acknowledgements of a stream that is gone.
    pub fn left_over(&self) -> Option<(Stamp, Lifetime)> {
        let stream = self.stream.as_ref().filter(|_| !self.has_content())?;
        Some((stream.latest(), Lifetime::Never))
    }

    /// Whether nothing is left, not even an assertion.
    pub fn is_empty(&self) -> bool {
        !self.has_content() && self.lives.is_empty() && self.stream.is_none()
    }

    /// Whether there is content of any type: a key without is a ghost, or gone.
    pub fn has_content(&self) -> bool {
        self.kinds() > 0
    }

    /// Drops the shells of content that has become empty.
    pub fn tidy(&mut self) {
        if self.string.as_ref().is_some_and(|element| element.is_empty()) {
            self.string = None;
        }
        for place in [&mut self.hash, &mut self.set, &mut self.sorted_set] {
            if place.as_ref().is_some_and(|map| map.is_empty()) {
                *place = None;
            }
        }
        if self.list.as_ref().is_some_and(|sequence| sequence.is_empty()) {
            self.list = None;
        }
        if self.stream.as_ref().is_some_and(|stream| stream.is_empty()) {
            self.stream = None;
        }
    }

    /// The type that readers see at `now`: of several, the one that holds the latest live stamp.
    pub fn kind_at(&self, now: UnixMillis) -> Option<Kind> {
        let mut shown = Kind::ALL.into_iter().filter(|&kind| self.shows(kind, now));
        let first = shown.next()?;
        match shown.next() {
            None => Some(first),
            Some(_) => Kind::ALL.into_iter().filter(|&k| self.shows(k, now)).max_by_key(|&k| self.latest(k, now)),
        }
    }

    /// Whether readers find content of this kind: of a hash at least one field that is not over.
    pub fn shows(&self, kind: Kind, now: UnixMillis) -> bool {
        match kind {
            Kind::Hash => self.hash.as_ref().is_some_and(|map| map.is_shown(now)),
            Kind::String | Kind::Set | Kind::SortedSet | Kind::List | Kind::Stream => self.holds(kind),
        }
    }

    /// Whether there is content of this kind, visible or not.
    pub fn holds(&self, kind: Kind) -> bool {
        match kind {
            Kind::String => self.string.is_some(),
            Kind::Hash => self.hash.is_some(),
            Kind::Set => self.set.is_some(),
            Kind::SortedSet => self.sorted_set.is_some(),
            Kind::List => self.list.is_some(),
            Kind::Stream => self.stream.as_ref().is_some_and(|stream| stream.is_visible()),
        }
    }

    /// Whether there is anything of this kind, also what makes no key: acknowledgements of a group that is gone.
    pub fn keeps(&self, kind: Kind) -> bool {
        self.holds(kind) || kind == Kind::Stream && self.stream.is_some()
    }

    /// How many kinds of content there are: more than one after concurrent writes of different types.
    pub fn kinds(&self) -> usize {
        Kind::ALL.into_iter().filter(|&kind| self.holds(kind)).count()
    }

    /// The elements of a collection without an order of its own; strings, lists and streams have none.
    pub fn map(&self, kind: Kind) -> Option<&ElementMap> {
        match kind {
            Kind::String | Kind::List | Kind::Stream => None,
            Kind::Hash => self.hash.as_deref(),
            Kind::Set => self.set.as_deref(),
            Kind::SortedSet => self.sorted_set.as_deref(),
        }
    }

    /// The place of the elements of such a collection.
    pub fn map_mut(&mut self, kind: Kind) -> Option<&mut Option<Box<ElementMap>>> {
        match kind {
            Kind::String | Kind::List | Kind::Stream => None,
            Kind::Hash => Some(&mut self.hash),
            Kind::Set => Some(&mut self.set),
            Kind::SortedSet => Some(&mut self.sorted_set),
        }
    }

    /// The elements of a collection of this type and no other, that has no end and of which readers find something.
    pub fn simple_map_mut(&mut self, kind: Kind, now: UnixMillis) -> Option<&mut ElementMap> {
        if self.kinds() != 1 || self.lifetime() != Lifetime::Never {
            return None;
        }
        self.map_mut(kind)?.as_deref_mut().filter(|map| map.is_shown(now))
    }

    /// The life that counts: the longest one asserted; never, if none is.
    pub fn lifetime(&self) -> Lifetime {
        self.lives.iter().map(|&(_, lifetime)| lifetime).max().unwrap_or(Lifetime::Never)
    }

    /// The life of a key that has content; a ghost has none.
    pub fn visible_life(&self) -> Option<Lifetime> {
        self.has_content().then(|| self.lifetime())
    }

    /// Who asserted the life that counts: its author removes the key when it is over.
    pub fn winning_life(&self) -> Option<(Stamp, Lifetime)> {
        self.lives.iter().copied().max_by_key(|&(stamp, lifetime)| (lifetime, stamp))
    }

    /// The packed entry that says the same, if there is one.
    pub fn pack(&self) -> Option<KeyEntry> {
        if self.lives.len() > 1 || self.kinds() > 1 || self.stream.is_some() {
            return None;
        }
        let Some(element) = self.string.as_deref() else { return self.pack_collection() };
        if element.is_patched() {
            return None;
        }
        match (&element.siblings[..], &element.contributions[..]) {
            ([(stamp, value)], []) => {
                let life = PackedLife::from_assertion(self.lives.first().copied(), *stamp);
                Some(Entry::packed(*stamp, life, self.access, &self.key, value))
            }
            ([], [contribution]) => {
                let life = PackedLife::from_assertion(self.lives.first().copied(), contribution.birth);
                packed_counter(contribution, life, self.access, &self.key)
            }
            _ => None,
        }
    }

    fn pack_collection(&self) -> Option<KeyEntry> {
        let (kind, map) = Kind::ALL.into_iter().find_map(|kind| Some((kind, self.map(kind)?)))?;
        let bytes = |element: ElementView<'_>| {
            element.name().len() + if let ElementView::Written(packed) = element { packed.value.len() } else { 0 }
        };
        let is_small = |map: &ElementMap| {
            map.iter().map(|entry| bytes(ElementView::of(entry))).sum::<usize>() <= PACKED_AGAIN_BYTES_MAX
        };
        if !map.is_flat() || !is_small(map) {
            return None;
        }
        let assertion = self.lives.first().copied();
        let stamp = match assertion {
            Some((dot, Lifetime::Never)) => dot,
            Some((_, Lifetime::Until(_))) | None => map.iter().next().map(latest_of)?,
        };
        let elements = &bundle::bundled(stamp, map.iter().map(ElementView::of))?;
        let life = PackedLife::from_assertion(assertion, stamp);
        Entry::bundle_of(&PackedBundle { kind, stamp, life, access: self.access, name: &self.key, elements })
    }

    fn latest(&self, kind: Kind, now: UnixMillis) -> Stamp {
        match kind {
            Kind::String => self.string.as_ref().map_or(Stamp::ZERO, |element| element.latest()),
            Kind::List => {
                let dots = self.list.iter().flat_map(|list| list.items().map(|item| list.latest_of(&item)));
                dots.max().unwrap_or(Stamp::ZERO)
            }
            Kind::Stream => self.stream.as_ref().map_or(Stamp::ZERO, |stream| stream.latest()),
            Kind::Hash | Kind::Set | Kind::SortedSet => {
                let shown = self.map(kind).into_iter().flat_map(|map| map.iter().map(ElementView::of));
                shown.filter(|element| element.is_shown(now)).map(|e| e.latest()).max().unwrap_or(Stamp::ZERO)
            }
        }
    }
}

/// Bytes of names and values up to which a collection that has become wide is packed again: less than a bundle may have, so
/// that one whose bytes hardly change is not taken apart and packed again all the time.
const PACKED_AGAIN_BYTES_MAX: usize = bundle::BUNDLE_BYTES_MAX / 2;

/// The packed counter that says the same as a contribution, if there is one.
pub fn packed_counter<W>(contribution: &Contribution, life: PackedLife, access: u32, name: &[u8]) -> Option<Entry<W>> {
    let Contribution { birth, stamp, cumulative, base_stamp, .. } = *contribution;
    let cumulative = i64::try_from(cumulative.integer).ok().filter(|_| cumulative.float.is_none())?;
    let counter = PackedCounter { birth, stamp, cumulative, life, access, name };
    (base_stamp == Stamp::ZERO).then(|| Entry::counter(&counter))
}

/// The elements of a key that is a collection of one type and nothing else, if they are not in one piece with it.
#[inline]
fn only_map(entry: &KeyEntry) -> Option<&ElementMap> {
    match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => None,
        View::Wide(body) => {
            let maps = [&body.hash, &body.set, &body.sorted_set];
            maps.into_iter().find_map(Option::as_deref)
        }
    }
}

/// The elements of the key with this hash, if it is such a collection and they have a table.
#[inline]
pub fn only_map_in<'t>(table: &'t KeyTable, hash: u64, key: &[u8]) -> Option<&'t ElementMap> {
    let entry = table.find(hash, |entry| key_of(entry) == key)?;
    only_map(entry).filter(|map| map.is_table())
}

/// The key of an entry.
#[inline]
pub fn key_of(entry: &KeyEntry) -> &[u8] {
    entry.packed_name().unwrap_or_else(|| match entry.view() {
        View::Packed(packed) => packed.name,
        View::Counter(counter) => counter.name,
        View::Bundle(bundle) => bundle.name,
        View::Wide(body) => &body.key,
    })
}

/// The life that counts of an entry.
#[inline]
pub fn lifetime_of(entry: &KeyEntry) -> Lifetime {
    entry.packed_lifetime().unwrap_or_else(|| match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => Lifetime::Never,
        View::Wide(body) => body.lifetime(),
    })
}

/// Whether there is content, expired or not: an entry without is a ghost.
#[inline]
pub fn has_content(entry: &KeyEntry) -> bool {
    match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => true,
        View::Wide(body) => body.has_content(),
    }
}

/// The type that readers see of an entry at `now`; nothing if it is over, or a ghost.
#[inline]
pub fn kind_at(entry: &KeyEntry, now: UnixMillis) -> Option<Kind> {
    if lifetime_of(entry).is_over(now) {
        return None;
    }
    match entry.view() {
        View::Packed(_) | View::Counter(_) => Some(Kind::String),
        View::Bundle(bundle) => Some(bundle.kind),
        View::Wide(body) => body.kind_at(now),
    }
}

/// Whether readers find a key at `now`.
#[inline]
pub fn is_there(entry: &KeyEntry, now: UnixMillis) -> bool {
    if let Some(lifetime) = entry.packed_lifetime() {
        return !lifetime.is_over(now);
    }
    let shown = match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => true,
        View::Wide(body) => Kind::ALL.into_iter().any(|kind| body.shows(kind, now)),
    };
    shown && !lifetime_of(entry).is_over(now)
}
