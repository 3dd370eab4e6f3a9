//! Access to lists: elements by their number, pushes, removals and insertions.
//!
//! An element keeps its position for as long as it is there: setting it changes its dot, moving it makes another one.

use crate::access::{Access, Database, WrongKind};
use crate::body::KeyEntry;
use crate::entry::View;
use crate::in_place::InPlace;
use crate::observe::{Observed, Recorder};
use crate::sequence::{Item, Place, Sequence};
use crate::write::{begin_element, end_element};
use crdt::{Kind, NodeNumber, Operation, Position, Resets, Side, Stamp, Stamps, Step};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where `LPUSH` puts and `LPOP` takes.
    Head,
    /// Where `RPUSH` puts and `RPOP` takes.
    Tail,
}

/// The elements of a list, as readers see them.
#[derive(Clone, Copy)]
pub struct List<'a> {
    sequence: &'a Sequence,
}

impl End {
    /// The steps from this end into the list.
    const fn side(self) -> Side {
        match self {
            End::Head => Side::Behind,
            End::Tail => Side::InFront,
        }
    }
}

impl<'a> List<'a> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether there is none; a key without elements does not exist, so this is false.
    pub fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// The element number `index`.
    pub fn get(&self, index: usize) -> Option<Cow<'a, [u8]>> {
        let item = self.sequence.item(self.sequence.at(index)).filter(|_| index < self.len())?;
        Some(self.sequence.text(&item))
    }

    /// The elements from number `start` on.
    pub fn iter_from(&self, start: usize) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a> {
        let sequence = self.sequence;
        sequence.items_from(start).map(|item| sequence.text(&item))
    }

    /// All elements, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a> {
        self.iter_from(0)
    }

    /// All elements, the last one first.
    pub fn iter_back(&self) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a> {
        let sequence = self.sequence;
        sequence.items_back().map(|item| sequence.text(&item))
    }
}

impl<'a> Access<'a> {
    /// The elements of a list.
    pub fn list(&mut self, database: Database, key: &[u8]) -> Result<Option<List<'_>>, WrongKind> {
        let now = self.now;
        match self.used(database, key).map(|entry| entry.view()) {
            None => Ok(None),
            Some(View::Packed(_) | View::Counter(_) | View::Bundle(_)) => Err(WrongKind),
            Some(View::Wide(body)) => match body.kind_at(now) {
                None => Ok(None),
                Some(Kind::List) => Ok(body.list.as_deref().map(|sequence| List { sequence })),
                Some(Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::Stream) => Err(WrongKind),
            },
        }
    }

    /// Puts elements at an end, one after the other, and says how many the list has then. They stay together, whatever
    /// others put there at the same time.
    pub fn push<'v>(
        &mut self,
        database: Database,
        key: &[u8],
        end: End,
        values: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<usize, WrongKind> {
        let mut values = values.into_iter();
        if let Some(length) = self.push_in_place(database, key, end, &mut values) {
            return Ok(length);
        }
        self.expect_kind(database, key, Kind::List)?;
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::List, recorder);
            let first = next_index(list_in(entry), end.side(), recorder.stamp);
            for (index, value) in (first..).zip(values) {
                let position = Position::at_edge(end.side(), recorder.stamp, index);
                record_put(recorder, &position.name(), Observed::default(), value);
            }
            end_element(entry, &found, recorder);
        });
        Ok(self.list(database, key)?.map_or(0, |list| list.len()))
    }

    fn push_in_place<'v>(
        &mut self,
        database: Database,
        key: &[u8],
        end: End,
        values: &mut impl Iterator<Item = &'v [u8]>,
    ) -> Option<usize> {
        let side = end.side();
        let mut site = self.list_in_place(database, key, |_| true)?;
        let outer = site.value.step_at(side)?;
        // What was never seen cannot be later; if it is all the same, the element goes where it belongs.
        if outer.stamp > site.stamp {
            return None;
        }
        let is_same = (outer.side, outer.stamp) == (side, site.stamp);
        let mut step = Step { side, stamp: site.stamp, index: if is_same { outer.index + 1 } else { 0 } };
        for value in values {
            let item = Item::at_edge(step, value);
            let is_put = site.value.put_outermost(&item);
            debug_assert!(is_put, "what is pushed last is outside of what was there");
            site.put(&step.edge_name(), Stamps::new(), value);
            step.index += 1;
        }
        let length = site.value.len();
        site.finish();
        self.lookups.note(key, true);
        Some(length)
    }

    /// Removes elements from an end and gives them to `each` in the order in which they go. Says how many there were;
    /// nothing if there is no list.
    pub fn pop(
        &mut self,
        database: Database,
        key: &[u8],
        end: End,
        count: usize,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<usize>, WrongKind> {
        if self.pop_in_place(database, key, end, count, each) {
            return Ok(Some(count));
        }
        let Some(list) = self.list(database, key)? else { return Ok(None) };
        let (length, count) = (list.len(), count.min(list.len()));
        let range = match end {
            End::Head => 0..count,
            End::Tail => length - count..length,
        };
        match end {
            End::Head => list.iter().take(count).for_each(|text| each(&text)),
            End::Tail => list.iter_back().take(count).for_each(|text| each(&text)),
        }
        self.remove_elements(database, key, &[range])?;
        Ok(Some(count))
    }

    /// The same, if there are more than `count`. False, and nothing done, if the case is not that simple.
    fn pop_in_place(
        &mut self,
        database: Database,
        key: &[u8],
        end: End,
        count: usize,
        each: &mut dyn FnMut(&[u8]),
    ) -> bool {
        // In place they are given in the order of the list.
        if count == 0 || end == End::Tail && count > 1 {
            return false;
        }
        let fits = |list: &Sequence| !list.has_wide() && list.len() > count;
        let Some(site) = self.list_in_place(database, key, fits) else { return false };
        take_from(site, &mut |item| each(&item.text().unwrap_or_default()), |list, each| match end {
            End::Head => list.remove_ranges(std::slice::from_ref(&(0..count)), each),
            End::Tail => list.take_last(each),
        });
        self.lookups.note(key, true);
        true
    }

    /// Moves the element at an end to the other one and returns it; nothing if there is no list. The list is never without
    /// elements meanwhile, so its life goes on.
    pub fn rotate(&mut self, database: Database, key: &[u8], from: End) -> Result<Option<Vec<u8>>, WrongKind> {
        let Some(list) = self.list(database, key)? else { return Ok(None) };
        let last = list.len() - 1;
        let (index, to) = match from {
            End::Head => (0, End::Tail),
            End::Tail => (last + 1, End::Head),
        };
        let moved = list.get(index.min(last)).unwrap_or_default().into_owned();
        self.push(database, key, to, [&*moved])?;
        self.remove_elements(database, key, std::slice::from_ref(&(index..index + 1)))?;
        Ok(Some(moved))
    }

    /// Removes the elements in these ranges of numbers, which are in order and do not overlap, and the list with the last
    /// one. Numbers beyond the end are passed over.
    pub fn remove_elements(
        &mut self,
        database: Database,
        key: &[u8],
        ranges: &[Range<usize>],
    ) -> Result<(), WrongKind> {
        let Some(list) = self.list(database, key)? else { return Ok(()) };
        let length = list.len();
        let within = |range: &Range<usize>| range.start.min(length)..range.end.min(length);
        let ranges: SmallVec<[Range<usize>; 2]> = ranges.iter().map(within).collect();
        let removed: usize = ranges.iter().map(Range::len).sum();
        if removed == 0 {
            return Ok(());
        }
        if removed == length {
            self.remove_observed(database, key);
            return Ok(());
        }
        if self.remove_in_place(database, key, &ranges) {
            return Ok(());
        }
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::List, recorder);
            if let Some(list) = list_in(entry) {
                let (me, mut name) = (recorder.stamp.author(), Vec::new());
                list.for_each_in(&ranges, |item| {
                    let Observed { drops, resets } = observed(list, &item, me);
                    let name = item.name_into(&mut name);
                    recorder.record(&Operation::Remove { kind: Kind::List, name, drops, resets });
                });
            }
            end_element(entry, &found, recorder);
        });
        Ok(())
    }

    /// Removes the elements in these ranges, which are in order, do not overlap, and leave some. False, and nothing done, if
    /// the case is not that simple.
    fn remove_in_place(&mut self, database: Database, key: &[u8], ranges: &[Range<usize>]) -> bool {
        let Some(mut site) = self.list_in_place(database, key, |list| !list.has_wide()) else { return false };
        let ranges = site.cut_ends(ranges);
        take_from(site, &mut |_| (), |list, each| list.remove_ranges(&ranges, each));
        true
    }

    /// Sets the element number `index`, which keeps its position. False if there is none.
    pub fn set_element(
        &mut self,
        database: Database,
        key: &[u8],
        index: usize,
        value: &[u8],
    ) -> Result<bool, WrongKind> {
        if self.list(database, key)?.is_none_or(|list| index >= list.len()) {
            return Ok(false);
        }
        let mut name = Vec::new();
        if let Some(mut site) = self.list_in_place(database, key, |list| !list.has_wide()) {
            let at = site.value.at(index);
            let old = site.value.item(at).map(|item| (item.position(), item.dot, item.text().map(Cow::into_owned)));
            if let Some((position, dot, Some(text))) = old {
                position.write_name(&mut name);
                site.turn(&name, dot, &text);
                site.value.replace(at, &Item::new(&position, &name, site.stamp, value));
                site.put(&name, site.foreign(dot), value);
            }
            site.finish();
            return Ok(true);
        }
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::List, recorder);
            let item = list_in(entry).and_then(|list| Some((list, list.item(list.at(index))?)));
            if let Some((list, item)) = item {
                let seen = observed(list, &item, recorder.stamp.author());
                record_put(recorder, item.name_into(&mut name), seen, value);
            }
            end_element(entry, &found, recorder);
        });
        Ok(true)
    }

    /// Puts an element before the one that has the number `index`, and says how many there are then; nothing if there is
    /// no list.
    pub fn insert_element(
        &mut self,
        database: Database,
        key: &[u8],
        index: usize,
        value: &[u8],
    ) -> Result<Option<usize>, WrongKind> {
        let Some(list) = self.list(database, key)? else { return Ok(None) };
        let length = list.len();
        if self.insert_in_place(database, key, index.min(length), value) {
            return Ok(Some(length + 1));
        }
        let Some(list) = self.list(database, key)? else { return Ok(None) };
        let neighbours = neighbours(list.sequence, index.min(length));
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::List, recorder);
            let [before, behind] = &neighbours;
            match Position::between(before.as_ref(), behind.as_ref(), recorder.stamp, 0) {
                Some(position) => record_put(recorder, &position.name(), Observed::default(), value),
                None => renumber(entry, recorder, index, value),
            }
            end_element(entry, &found, recorder);
        });
        Ok(Some(length + 1))
    }

    /// The same in place. False, and nothing done, if the case is not that simple.
    fn insert_in_place(&mut self, database: Database, key: &[u8], index: usize, value: &[u8]) -> bool {
        let Some(mut site) = self.list_in_place(database, key, |list| !list.has_wide()) else { return false };
        let [before, behind] = neighbours(site.value, index);
        let steps = || before.iter().chain(&behind).flat_map(|position| position.steps());
        // What was never seen cannot be later; if it is all the same, the element goes where it belongs.
        if steps().any(|step| step.stamp >= site.stamp) {
            return false;
        }
        let Some(position) = Position::between(before.as_ref(), behind.as_ref(), site.stamp, 0) else { return false };
        let name = position.name();
        let at = site.value.at(index);
        site.value.insert(at, &Item::new(&position, &name, site.stamp, value));
        site.put(&name, Stamps::new(), value);
        site.finish();
        self.lookups.note(key, true);
        true
    }

    /// The texts of a list, the first one first; none if there is no list.
    pub(crate) fn texts_of(&mut self, database: Database, key: &[u8]) -> Vec<Vec<u8>> {
        let list = self.list(database, key).ok().flatten();
        list.iter().flat_map(|list| list.iter()).map(Cow::into_owned).collect()
    }

    /// A list that may be changed in place, and that `fits`; then it will be changed.
    fn list_in_place<'s>(
        &'s mut self,
        database: Database,
        key: &'s [u8],
        fits: impl FnOnce(&Sequence) -> bool,
    ) -> Option<InPlace<'s, Sequence>>
    where
        'a: 's,
    {
        self.in_place(database, key, Kind::List, |kept| kept.list.filter(|list| fits(list)))
    }
}

/// Lets `take` remove elements, each of which it gives to its last argument before, and that to `each`.
fn take_from(
    mut site: InPlace<'_, Sequence>,
    each: &mut dyn FnMut(&Item<'_>),
    take: impl FnOnce(&mut Sequence, &mut dyn FnMut(&Item<'_>)),
) {
    let mut list = std::mem::take(site.value);
    take(&mut list, &mut |item| {
        each(item);
        let text = item.text().unwrap_or_default();
        match item.place {
            Place::Edge(step) => site.remove(&step.edge_name(), item.dot, &text),
            Place::Named(name) => site.remove(name, item.dot, &text),
        }
    });
    *site.value = list;
    site.finish();
}

/// The name of the element number `index` of a command that writes a whole list.
pub(crate) fn end_position(stamp: Stamp, index: usize) -> Vec<u8> {
    Position::at_edge(Side::InFront, stamp, u32::try_from(index).unwrap_or(u32::MAX)).name()
}

fn list_in(entry: Option<&KeyEntry>) -> Option<&Sequence> {
    match entry?.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => None,
        View::Wide(body) => body.list.as_deref(),
    }
}

/// The index of the next element that the command `stamp` puts at an end.
fn next_index(list: Option<&Sequence>, side: Side, stamp: Stamp) -> u32 {
    let outer = list.and_then(|list| list.step_at(side)).filter(|step| (step.side, step.stamp) == (side, stamp));
    outer.map_or(0, |step| step.index + 1)
}

/// The positions between which an element would get the number `index`.
fn neighbours(list: &Sequence, index: usize) -> [Option<Position>; 2] {
    let position = |index: usize| list.items_from(index).next().map(|item| item.position());
    [index.checked_sub(1).and_then(position), position(index)]
}

/// What a write of an element observes.
fn observed(list: &Sequence, item: &Item<'_>, me: NodeNumber) -> Observed {
    match list.wide_of(item) {
        Some(element) => Observed::of(element, me),
        None => {
            let drops = Some(item.dot).filter(|dot| dot.author() != me).into_iter().collect();
            Observed { drops, resets: Resets::new() }
        }
    }
}

fn record_put(recorder: &mut Recorder<'_>, name: &[u8], observed: Observed, value: &[u8]) {
    let Observed { drops, resets } = observed;
    recorder.record(&Operation::Put { kind: Kind::List, name, drops, resets, value });
}

/// Writes the whole list again, one element more in it: where it belongs positions would get too long.
fn renumber(entry: Option<&KeyEntry>, recorder: &mut Recorder<'_>, index: usize, value: &[u8]) {
    let (Some(entry), Some(list)) = (entry, list_in(entry)) else { return };
    let mut texts: Vec<Cow<'_, [u8]>> = list.items().map(|item| list.text(&item)).collect();
    texts.insert(index.min(texts.len()), Cow::Borrowed(value));
    recorder.clear_except(entry, None);
    for (index, text) in texts.iter().enumerate() {
        record_put(recorder, &end_position(recorder.stamp, index), Observed::default(), text);
    }
}
