//! What a writer sees of a key, written down as the operations that replace or remove it.
//!
//! *Observed* is everything applied here, whether readers could see it or not: losing siblings, losing types, expired
//! content. Dots of the writer itself are not listed, since a change drops those of its own author anyway.

use crate::body::{KeyBody, KeyEntry};
use crate::bundle::Bundle;
use crate::collection::{Collection, ElementView};
use crate::entry::{PackedCounter, PackedLife, View};
use crate::shared::Shared;
use crate::summary::Summary;
use crdt::change::encode_operation;
use crdt::{Element, Kind, Lifetime, NodeNumber, Operation, Resets, Stamp, Stamps, VersionVector};

/// Collects the operations of one change.
pub struct Recorder<'a> {
    /// The change's stamp.
    pub stamp: Stamp,
    /// What all slots share.
    pub shared: &'a Shared,
    out: &'a mut Vec<u8>,
    count: usize,
    /// Bytes of the first operation that name its element, if it drops and resets nothing.
    replaceable: usize,
}

/// The dots and contributions of one element that a write drops.
#[derive(Default)]
pub struct Observed {
    /// Dots of others.
    pub drops: Stamps,
    /// Contributions of everybody.
    pub resets: Resets,
}

impl Observed {
    /// What is observed of an element.
    pub fn of(element: &Element, me: NodeNumber) -> Self {
        let writes = element.writes();
        let assertions = element.life.iter().flat_map(|life| life.assertions.iter().map(|&(dot, _)| dot));
        Self {
            drops: writes.chain(assertions).filter(|dot| dot.author() != me).collect(),
            resets: element.contributions.iter().map(|c| c.observed()).collect(),
        }
    }

    fn of_counter(counter: &PackedCounter<'_>) -> Self {
        Self { drops: Stamps::new(), resets: [counter.contribution().observed()].into_iter().collect() }
    }

    /// What is observed of a field or member.
    pub fn of_element(element: Option<ElementView<'_>>, me: NodeNumber) -> Self {
        match element {
            None => Self::default(),
            Some(ElementView::Written(packed)) => {
                let dots = [Some(packed.stamp), own_assertion(packed.life)].into_iter().flatten();
                Self { drops: dots.filter(|dot| dot.author() != me).collect(), resets: Resets::new() }
            }
            Some(ElementView::Counter(counter)) => {
                let assertion = own_assertion(counter.life).filter(|dot| dot.author() != me);
                Self { drops: assertion.into_iter().collect(), ..Self::of_counter(&counter) }
            }
            Some(ElementView::Wide(wide)) => Self::of(&wide.element, me),
        }
    }

    /// What is observed of the string in a key's entry.
    pub fn of_string(entry: Option<&KeyEntry>, me: NodeNumber) -> Self {
        let mut observed = Self::default();
        match entry.map(|entry| entry.view()) {
            None => {}
            Some(View::Packed(packed)) if packed.stamp.author() == me => {}
            Some(View::Packed(packed)) => observed.drops.push(packed.stamp),
            Some(View::Counter(counter)) => return Self::of_counter(&counter),
            Some(View::Bundle(_)) => {}
            Some(View::Wide(body)) => {
                if let Some(element) = &body.string {
                    return Self::of(element, me);
                }
            }
        }
        observed
    }
}

impl<'a> Recorder<'a> {
    /// A recorder for a change stamped `stamp`; it appends to `out`.
    pub fn new(shared: &'a Shared, stamp: Stamp, out: &'a mut Vec<u8>) -> Self {
        Self { stamp, shared, out, count: 0, replaceable: 0 }
    }

    /// Appends an operation.
    pub fn record(&mut self, operation: &Operation<'_>) {
        if self.count == 0 {
            self.replaceable = replaceable_bytes(operation);
        }
        self.count += 1;
        encode_operation(self.out, self.stamp, operation);
    }

    /// How many bytes of the operations name the element, if a later write of the same element makes this change
    /// superfluous; else nothing.
    pub fn replaceable(&self) -> Option<usize> {
        (self.count == 1 && self.replaceable > 0).then_some(self.replaceable)
    }

    /// Drops the observed assertions about a key's life, and asserts `assertion`.
    pub fn live(&mut self, entry: Option<&KeyEntry>, assertion: Option<Lifetime>) {
        let me = self.stamp.author();
        let foreign = |dot: &Stamp| dot.author() != me;
        let drops = match entry.map(|entry| entry.view()) {
            None => Stamps::new(),
            Some(View::Packed(packed)) => {
                packed.life.assertion(packed.stamp).map(|(dot, _)| dot).filter(foreign).into_iter().collect()
            }
            Some(View::Counter(counter)) => {
                counter.assertion().map(|(dot, _)| dot).filter(foreign).into_iter().collect()
            }
            Some(View::Bundle(bundle)) => bundle.assertion().map(|(dot, _)| dot).filter(foreign).into_iter().collect(),
            Some(View::Wide(body)) => body.lives.iter().map(|&(dot, _)| dot).filter(foreign).collect(),
        };
        self.record(&Operation::Live { drops, assertion });
    }

    /// Drops what is observed of the life of a field, and asserts how long it stays.
    pub fn live_field(&mut self, field: &ElementView<'_>, lifetime: Lifetime) {
        let mut drops = field.assertions();
        drops.retain(|dot| dot.author() != self.stamp.author());
        self.record(&Operation::LiveField { name: field.name(), drops, lifetime });
    }

    /// Removes everything observed of a key.
    pub fn remove_all(&mut self, entry: &KeyEntry) {
        self.clear_except(entry, None);
        self.live(Some(entry), None);
    }

    /// Removes what is observed of every type but `kept`.
    pub fn clear_except(&mut self, entry: &KeyEntry, kept: Option<Kind>) {
        match entry.view() {
            View::Packed(_) | View::Counter(_) if kept == Some(Kind::String) => {}
            View::Packed(_) | View::Counter(_) => self.remove_string(entry),
            View::Bundle(bundle) if kept == Some(bundle.kind) => {}
            View::Bundle(bundle) => self.clear_map(bundle.kind, Collection::Bundle(Bundle::of(&bundle))),
            View::Wide(body) => {
                for kind in Kind::ALL.into_iter().filter(|&kind| Some(kind) != kept && body.keeps(kind)) {
                    self.clear_kind(entry, body, kind);
                }
            }
        }
    }

    fn clear_kind(&mut self, entry: &KeyEntry, body: &KeyBody, kind: Kind) {
        let covered = |summary: &Summary| summary.covered(self.stamp.author(), &self.shared.applied());
        if kind != Kind::String
            && let Some(covered) = body.summary.as_deref().and_then(covered)
        {
            self.record(&Operation::Clear { kind, covered, beyond: Vec::new(), resets: Vec::new() });
            return;
        }
        match body.map(kind) {
            None if kind == Kind::List => self.clear_list(body),
            None if kind == Kind::Stream => self.clear_stream(body),
            None => self.remove_string(entry),
            Some(map) => self.clear_map(kind, Collection::Map(map)),
        }
    }

    /// Names the folded writes of a string that is about to be written or removed as a whole.
    pub(crate) fn remove_folded(&mut self, entry: Option<&KeyEntry>) {
        if let Some(View::Wide(body)) = entry.map(|entry| entry.view())
            && let Some((_, fold)) = body.string.as_ref().and_then(|element| element.fold())
        {
            self.record(&Operation::RemoveFolded { last: fold.last });
        }
    }

    fn remove_string(&mut self, entry: &KeyEntry) {
        self.remove_folded(Some(entry));
        let Observed { drops, resets } = Observed::of_string(Some(entry), self.stamp.author());
        self.record(&Operation::Remove { kind: Kind::String, name: &[], drops, resets });
    }

    /// A whole collection goes by a vector of the authors that are in it, plus what lies beyond, plus its counters.
    fn clear_map(&mut self, kind: Kind, elements: Collection<'_>) {
        let me = self.stamp.author();
        let applied = self.shared.applied();
        let mut covered = VersionVector::new();
        let mut beyond = Vec::new();
        let mut resets = Vec::new();
        for element in elements.iter() {
            let name = element.name();
            let mut note = |dot: Stamp| match dot.author() {
                author if author == me => {}
                author if applied.covers(dot) => {
                    covered.raise(author, applied.of(author));
                }
                _ => beyond.push((name, dot)),
            };
            match element {
                ElementView::Written(packed) => {
                    note(packed.stamp);
                    own_assertion(packed.life).into_iter().for_each(note);
                }
                ElementView::Counter(counter) => {
                    own_assertion(counter.life).into_iter().for_each(note);
                    resets.push((name, counter.contribution().observed()));
                }
                ElementView::Wide(wide) => {
                    wide.element.siblings.iter().for_each(|&(dot, _)| note(dot));
                    wide.element.life.iter().flat_map(|life| &life.assertions).for_each(|&(dot, _)| note(dot));
                    resets.extend(wide.element.contributions.iter().map(|c| (name, c.observed())));
                }
            }
        }
        self.record(&Operation::Clear { kind, covered, beyond, resets });
    }

    fn clear_list(&mut self, body: &KeyBody) {
        let Some(list) = &body.list else { return };
        let me = self.stamp.author();
        let applied = self.shared.applied();
        let mut covered = VersionVector::new();
        let (mut beyond, mut resets, mut name) = (Vec::new(), Vec::new(), Vec::new());
        for item in list.items() {
            let mut note = |dot: Stamp| match dot.author() {
                author if author == me => {}
                author if applied.covers(dot) => {
                    covered.raise(author, applied.of(author));
                }
                _ => beyond.push((item.name_into(&mut name).to_vec(), dot)),
            };
            match list.wide_of(&item) {
                None => note(item.dot),
                Some(element) => {
                    element.siblings.iter().for_each(|&(dot, _)| note(dot));
                    let name = item.name_into(&mut name);
                    resets.extend(element.contributions.iter().map(|c| (name.to_vec(), c.observed())));
                }
            }
        }
        let beyond = beyond.iter().map(|(name, dot)| (&**name, *dot)).collect();
        let resets = resets.iter().map(|(name, reset)| (&**name, *reset)).collect();
        self.record(&Operation::Clear { kind: Kind::List, covered, beyond, resets });
    }

    fn clear_stream(&mut self, body: &KeyBody) {
        let Some(stream) = &body.stream else { return };
        let (me, applied) = (self.stamp.author(), self.shared.applied());
        let mut covered = VersionVector::new();
        let mut beyond: Vec<(Vec<u8>, Stamp)> = Vec::new();
        stream.each_dot(|name, dot| match dot.author() {
            author if author == me => {}
            author if applied.covers(dot) => {
                covered.raise(author, applied.of(author));
            }
            _ => beyond.push((name.to_vec(), dot)),
        });
        let beyond = beyond.iter().map(|(name, dot)| (&**name, *dot)).collect();
        self.record(&Operation::Clear { kind: Kind::Stream, covered, beyond, resets: Vec::new() });
    }

    /// What a clear of the whole database cannot say by a vector about one key: dots beyond it, and counters.
    pub fn clear_rest(&mut self, entry: &KeyEntry, covered: &VersionVector) {
        let beyond = |dot: Stamp| !covered.covers(dot);
        match entry.view() {
            View::Packed(packed) => {
                let life = packed.life.assertion(packed.stamp).map(|(dot, _)| dot);
                if beyond(packed.stamp) || life.is_some_and(beyond) {
                    self.remove_all(entry);
                }
            }
            View::Counter(_) => self.remove_all(entry),
            View::Bundle(bundle) => {
                let life = bundle.assertion().map(|(dot, _)| dot);
                if life.is_some_and(beyond) || Bundle::of(&bundle).iter().any(|e| must_be_listed(&e, covered)) {
                    self.remove_all(entry);
                }
            }
            View::Wide(body) if body.summary.as_ref().is_some_and(|s| s.is_observed(self.stamp, covered)) => {
                if body.lives.iter().any(|&(dot, _)| beyond(dot)) {
                    self.remove_all(entry);
                }
            }
            View::Wide(body) => {
                let lives = body.lives.iter().any(|&(dot, _)| beyond(dot));
                let string = body.string.as_ref().is_some_and(|element| needs_listing(element, covered));
                let maps = Kind::ALL.into_iter().filter_map(|kind| body.map(kind));
                let elements =
                    maps.flat_map(|map| map.iter()).any(|entry| must_be_listed(&ElementView::of(entry), covered));
                let mut items = body.list.iter().flat_map(|list| list.items().map(move |item| (list, item)));
                let items = items.any(|(list, item)| match list.wide_of(&item) {
                    None => beyond(item.dot),
                    Some(element) => needs_listing(element, covered),
                });
                let mut entries = false;
                body.stream.iter().for_each(|stream| stream.each_dot(|_, dot| entries |= beyond(dot)));
                if lives || string || elements || items || entries {
                    self.remove_all(entry);
                }
            }
        }
    }
}

fn must_be_listed(element: &ElementView<'_>, covered: &VersionVector) -> bool {
    match element {
        ElementView::Written(packed) => {
            let life = own_assertion(packed.life);
            !covered.covers(packed.stamp) || life.is_some_and(|dot| !covered.covers(dot))
        }
        ElementView::Counter(_) => true,
        ElementView::Wide(wide) => needs_listing(&wide.element, covered),
    }
}

fn needs_listing(element: &Element, covered: &VersionVector) -> bool {
    let mut assertions = element.life.iter().flat_map(|life| &life.assertions);
    !element.contributions.is_empty()
        || element.writes().any(|dot| !covered.covers(dot))
        || element.fold().is_some_and(|(_, fold)| !covered.covers(fold.last))
        || assertions.any(|&(dot, _)| !covered.covers(dot))
}

/// The dot of an assertion that is not its content's.
fn own_assertion(life: PackedLife) -> Option<Stamp> {
    match life {
        PackedLife::Own | PackedLife::Unasserted => None,
        PackedLife::Asserted(stamp, _) => Some(stamp),
    }
}

/// The bytes of an operation that name its element, if a later operation on that element replaces it entirely.
pub fn replaceable_bytes(operation: &Operation<'_>) -> usize {
    let header = |kind: Kind, name: &[u8]| match kind {
        Kind::String => 2,
        Kind::Hash | Kind::Set | Kind::SortedSet | Kind::List | Kind::Stream => {
            2 + length_bytes(name.len()) + name.len()
        }
    };
    match operation {
        Operation::Put { kind, name, drops, resets, .. } if drops.is_empty() && resets.is_empty() => {
            header(*kind, name)
        }
        Operation::Add { kind, name, .. } => header(*kind, name),
        Operation::Put { .. }
        | Operation::Remove { .. }
        | Operation::Clear { .. }
        | Operation::ClearRange { .. }
        | Operation::Patch { .. }
        | Operation::RemoveFolded { .. }
        | Operation::Live { .. }
        | Operation::LiveField { .. }
        | Operation::ClearDatabase { .. } => 0,
    }
}

const fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use crate::{Database, Drain, Keyspace, Lifetime};
    use crdt::{NodeNumber, STAMP_EPOCH_MS, VersionVector};

    const DB: Database = Database(0);
    const NOW: u64 = STAMP_EPOCH_MS + 1_000_000;

    #[test]
    fn a_clear_takes_the_life_of_a_field_that_came_before_its_time() {
        let [first, second] = [1, 2].map(|number| NodeNumber::new(number).unwrap());
        let (one, two) = (Keyspace::new(1), Keyspace::new(1));
        one.set_number(first);
        two.set_number(second);
        let mut writer = one.writer();
        let mut access = writer.access(NOW, &[b"h"]);
        access.begin_command();
        access.put_field(DB, b"h", b"f", b"v").unwrap();
        drop(access);
        for batch in Drain::default().take(&one) {
            two.apply(first, batch.previous, batch.last, &batch.payload, NOW).unwrap();
        }
        // A state session that is not at its end: the slot knows more than the node.
        let mut access = writer.access(NOW + 1, &[b"h"]);
        access.begin_command();
        access.set_field_lifetime(DB, b"h", b"f", Lifetime::Until(NOW + 90_000)).unwrap();
        drop(access);
        let (chunk, _) = one.list_slots(&[crate::slot_of(b"h")], &VersionVector::new(), usize::MAX);
        two.merge_slots(&chunk, NOW + 2).unwrap();
        let mut writer = two.writer();
        let mut access = writer.access(NOW + 2, &[b"h"]);
        access.begin_command();
        assert_eq!(access.hash(DB, b"h").unwrap().unwrap().lifetime(b"f"), Some(Lifetime::Until(NOW + 90_000)));
        drop(access);
        let mut access = writer.access(NOW + 2, &[]);
        access.begin_command();
        access.clear(Some(DB));
        drop(access);
        assert_eq!(two.len(0), 0);
    }
}
