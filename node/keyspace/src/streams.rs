//! Access to streams: entries by their ids, appends, removals, trimming, and what is known of a stream as a whole.

use crate::access::{Access, Database, WrongKind};
use crate::body::KeyEntry;
use crate::entry::View;
use crate::groups::groups_put_again;
use crate::in_place::InPlace;
use crate::observe::{Observed, Recorder};
use crate::stream::{At, Item, Stream};
use crate::summary::LARGE_ELEMENTS_MIN;
use crate::write::{begin_element, end_element};
use crdt::{Kind, NodeNumber, Operation, Resets, Stamp, Stamps, StreamEntry, StreamHead, StreamId, StreamName};

/// What is known of a stream beside its entries, for a copy of it.
pub(crate) fn copied_head(stream: &Stream) -> Vec<u8> {
    let view = StreamView { stream };
    let head = StreamHead {
        last_id: view.last_id(),
        max_deleted_id: view.max_deleted_id(),
        offset: view.entries_added().wrapping_sub(view.len() as u64) as i64,
        ..StreamHead::default()
    };
    head.encode()
}

/// Which id a new entry is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRequest {
    /// The next one, by the clock.
    Generated,
    /// The next one with these milliseconds.
    GeneratedIn(u64),
    /// This one.
    Given(StreamId),
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRefused {
    /// The stream has or had an entry with this id or a greater one.
    NotGreater,
    /// There is no greater id.
    Exhausted,
}

/// What of a stream is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is too much.
    pub by: TrimBy,
    /// Whether whole pieces go and no more, which is faster.
    pub is_approximate: bool,
    /// How many entries may go at most.
    pub limit: Option<usize>,
}

/// What is too much of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimBy {
    /// Entries beyond so many.
    Length(u64),
    /// Entries with a smaller id.
    Id(StreamId),
}

/// A stream, as readers see it.
#[derive(Clone, Copy)]
pub struct StreamView<'a> {
    stream: &'a Stream,
}

impl IdRequest {
    /// Whether `me` can add such an entry behind `last`.
    fn check(self, last: StreamId, me: NodeNumber) -> Result<(), IdRefused> {
        self.resolve(last, Stamp::at(0, me)).map(drop)
    }

    fn resolve(self, last: StreamId, stamp: Stamp) -> Result<StreamId, IdRefused> {
        if last == StreamId::MAX {
            return Err(IdRefused::Exhausted);
        }
        match self {
            Self::Generated => StreamId::generated(last, stamp).ok_or(IdRefused::Exhausted),
            Self::GeneratedIn(ms) => StreamId::generated_in(last, ms, stamp.author()).ok_or(IdRefused::NotGreater),
            Self::Given(id) => Some(id).filter(|id| *id > last).ok_or(IdRefused::NotGreater),
        }
    }
}

impl<'a> StreamView<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.stream.len()
    }

    /// Whether there is none; such a stream exists all the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest id that an entry ever had.
    pub fn last_id(&self) -> StreamId {
        self.stream.last_id()
    }

    /// The greatest id that was deleted, other than by trimming.
    pub fn max_deleted_id(&self) -> StreamId {
        self.stream.head().max_deleted_id
    }

    /// How many entries were ever added, in all regions.
    pub fn entries_added(&self) -> u64 {
        self.stream.added().sum().wrapping_add_signed(self.stream.head().offset)
    }

    /// The first entry.
    pub fn first(&self) -> Option<Item<'a>> {
        self.range(StreamId::ZERO, StreamId::MAX).next()
    }

    /// The last entry.
    pub fn last(&self) -> Option<Item<'a>> {
        self.range_back(StreamId::ZERO, StreamId::MAX).next()
    }

    /// The id of the last entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.stream.entries().last_id()
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<Item<'a>> {
        self.range(id, id).next()
    }

    /// The entries with ids from `from` to `to`, both included.
    pub fn range(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let stream = self.stream;
        stream.entries().items_from(from).take_while(move |item| item.id <= to).map(|item| stream.shown(item))
    }

    /// The same, the last one first.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let stream = self.stream;
        stream.entries().items_back_from(to).take_while(move |item| item.id >= from).map(|item| stream.shown(item))
    }

    /// How many entries have a smaller id.
    pub fn count_before(&self, id: StreamId) -> usize {
        self.stream.entries().count_before(id)
    }

    /// How many consumer groups there are.
    pub fn groups(&self) -> usize {
        self.stream.groups().count()
    }

    /// In how many pieces of memory the entries are.
    pub fn chunks(&self) -> usize {
        self.stream.entries().chunk_lengths().len()
    }
}

impl<'a> Access<'a> {
    /// A stream.
    pub fn stream(&mut self, database: Database, key: &[u8]) -> Result<Option<StreamView<'_>>, WrongKind> {
        let now = self.now;
        match self.used(database, key).map(|entry| entry.view()) {
            None => Ok(None),
            Some(View::Wide(body)) => match body.kind_at(now) {
                None => Ok(None),
                Some(Kind::Stream) => Ok(body.stream.as_deref().map(|stream| StreamView { stream })),
                Some(Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet | Kind::List) => Err(WrongKind),
            },
            Some(_) => Err(WrongKind),
        }
    }

    /// Adds an entry with these fields and values in turn, and says what its id is.
    pub fn append_entry(
        &mut self,
        database: Database,
        key: &[u8],
        request: IdRequest,
        pairs: &[&[u8]],
    ) -> Result<Result<StreamId, IdRefused>, WrongKind> {
        let mut value = Vec::with_capacity(10 + pairs.iter().map(|text| text.len() + 5).sum::<usize>());
        let pairs = || pairs.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        // SUBTLE: a stamp is taken only for what is written: others wait for each that was given out.
        let (me, mut checked) = (self.shared().me(), Ok(()));
        let fits = |stream: &Stream| {
            checked = request.check(stream.last_id(), me);
            checked.is_ok()
        };
        if let Some(mut site) = self.stream_in_place(database, key, fits) {
            let resolved = request.resolve(site.value.last_id(), site.stamp);
            if let Ok(id) = resolved {
                StreamEntry::write(&mut value, 1 + site.value.added_by(site.stamp.author()), pairs());
                if let Some(entry) = StreamEntry::of(&value) {
                    site.value.insert(At::END, &Item::new(id, site.stamp, entry));
                    site.put(&id.name(), Stamps::new(), &value);
                }
            }
            site.finish();
            self.lookups.note(key, true);
            return Ok(resolved);
        }
        let last = self.stream(database, key)?.map_or(StreamId::ZERO, |stream| stream.last_id());
        if let Err(refused) = checked.and_then(|()| request.check(last, me)) {
            return Ok(Err(refused));
        }
        let stamp = self.stamp();
        let id = match request.resolve(last, stamp) {
            Ok(id) => id,
            Err(refused) => return Ok(Err(refused)),
        };
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            let stream = stream_in(entry.filter(|_| !found.creates));
            let added = stream.map_or(0, |stream| stream.added().of(recorder.stamp.author()));
            StreamEntry::write(&mut value, 1 + added, pairs());
            record_put(recorder, &id.name(), Observed::default(), &value);
            end_element(entry, &found, recorder);
        });
        Ok(Ok(id))
    }

    /// Removes the entries with these ids, and says how many were there. The stream stays, even without any.
    pub fn remove_entries(&mut self, database: Database, key: &[u8], ids: &[StreamId]) -> Result<usize, WrongKind> {
        let Some(view) = self.stream(database, key)? else { return Ok(0) };
        let mut found: Vec<StreamId> = ids.iter().copied().filter(|&id| view.stream.find(id).is_ok()).collect();
        found.sort_unstable();
        found.dedup();
        let Some(&greatest) = found.last() else { return Ok(0) };
        // SUBTLE: the head comes first, so that it never has to be read out of the entries what it will say.
        let mut head = head_of(view.stream);
        head.max_deleted_id = head.max_deleted_id.max(greatest);
        self.set_head(database, key, &head);
        if let Some(mut site) = self.stream_in_place(database, key, |stream| !stream.has_wide()) {
            let mut value = Vec::new();
            for &id in &found {
                let stream = std::mem::take(site.value);
                let at = stream.find(id);
                if let Some(item) = at.ok().and_then(|at| stream.entries().item(at)) {
                    site.remove(&item.id.name(), item.dot, item.value_into(&mut value));
                }
                *site.value = stream;
                if let Ok(at) = at {
                    site.value.remove(at, id);
                }
            }
            site.finish();
        } else {
            self.record_removals(database, key, &found);
        }
        Ok(found.len())
    }

    /// Removes entries from the front until what is left is not too much, and says how many. The stream stays, even without
    /// any.
    pub fn trim(&mut self, database: Database, key: &[u8], trim: Trim) -> Result<usize, WrongKind> {
        let Some(view) = self.stream(database, key)? else { return Ok(0) };
        let count = view.stream.excess(trim);
        if count == 0 {
            return Ok(0);
        }
        // What only the last entry of an author tells has to be written down when that goes.
        let stream = view.stream;
        let (added, last) = (stream.added(), stream.last_id());
        let is_last_told =
            |item: &Item<'_>| item.is_wide() || added.of(item.dot.author()) == item.ordinal || last == item.id;
        let needs_head =
            count >= LARGE_ELEMENTS_MIN || stream.entries().items().take(count).any(|item| is_last_told(&item));
        if let Some(head) = needs_head.then(|| head_of(stream)) {
            self.set_head(database, key, &head);
        }
        if let Some(mut site) = self.stream_in_place(database, key, |stream| !stream.has_wide()) {
            if site.cut_front(count) {
                site.finish();
                return Ok(count);
            }
            let mut value = Vec::new();
            let mut stream = std::mem::take(site.value);
            stream.remove_front(count, |item| site.remove(&item.id.name(), item.dot, item.value_into(&mut value)));
            *site.value = stream;
            site.finish();
        } else {
            let ids: Vec<StreamId> = view_of(self.stream(database, key)?).take(count).map(|item| item.id).collect();
            self.record_removals(database, key, &ids);
        }
        Ok(count)
    }

    /// Writes what is known of a stream beside its entries; there is a stream then, if there was none.
    pub fn set_head(&mut self, database: Database, key: &[u8], head: &StreamHead) {
        self.put_stream_element(database, key, &StreamName::Head.name(), &head.encode());
    }

    /// Says how a stream goes on (`XSETID`): with which last id, and if that is said which entries were added and deleted.
    pub fn set_stream_ids(
        &mut self,
        database: Database,
        key: &[u8],
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) -> Result<(), WrongKind> {
        let stream = self.stream(database, key)?.map(|view| view.stream);
        let mut head = stream.map(head_of).unwrap_or_default();
        head.last_id = last_id;
        if let Some(added) = entries_added {
            head.offset = added.wrapping_sub(head.added.sum()) as i64;
        }
        head.max_deleted_id = max_deleted_id.unwrap_or(head.max_deleted_id);
        self.set_head(database, key, &head);
        Ok(())
    }

    /// Sets an element of a stream that is no entry: what was observed of it goes.
    pub fn put_stream_element(&mut self, database: Database, key: &[u8], name: &[u8], value: &[u8]) {
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            let observed = observed_in(stream_in(entry.filter(|_| !found.creates)), name, recorder.stamp.author());
            record_put(recorder, name, observed, value);
            end_element(entry, &found, recorder);
        });
    }

    /// Removes what was observed of elements of a stream that are no entries. The stream stays.
    pub fn remove_stream_elements(&mut self, database: Database, key: &[u8], names: &[&[u8]]) {
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            for &name in names {
                let Observed { drops, resets } = observed_in(stream_in(entry), name, recorder.stamp.author());
                recorder.record(&Operation::Remove { kind: Kind::Stream, name, drops, resets });
            }
            end_element(entry, &found, recorder);
        });
    }

    /// The names and values of a copy of a stream. Its author will be this node alone, which so has added all entries.
    pub(crate) fn contents_of_stream(&mut self, database: Database, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let stamp = self.stamp();
        let Some(view) = self.stream(database, key).ok().flatten() else { return Vec::new() };
        let mut contents = vec![(StreamName::Head.name().to_vec(), copied_head(view.stream))];
        for (mut item, ordinal) in view.range(StreamId::ZERO, StreamId::MAX).zip(1..) {
            item.ordinal = ordinal;
            let mut value = Vec::new();
            item.value_into(&mut value);
            contents.push((item.id.name().to_vec(), value));
        }
        contents.extend(groups_put_again(view.stream, stamp));
        contents
    }

    /// Removes entries in the general way.
    fn record_removals(&mut self, database: Database, key: &[u8], ids: &[StreamId]) {
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            if let Some(stream) = stream_in(entry) {
                for &id in ids {
                    let Observed { drops, resets } = observed_entry(stream, id, recorder.stamp);
                    recorder.record(&Operation::Remove { kind: Kind::Stream, name: &id.name(), drops, resets });
                }
            }
            end_element(entry, &found, recorder);
        });
    }

    /// A stream that may be changed in place, and that `fits`; then it will be changed.
    fn stream_in_place<'s>(
        &'s mut self,
        database: Database,
        key: &'s [u8],
        fits: impl FnOnce(&Stream) -> bool,
    ) -> Option<InPlace<'s, Stream>>
    where
        'a: 's,
    {
        let fits = |stream: &Stream| stream.is_visible() && fits(stream);
        self.in_place(database, key, Kind::Stream, |kept| kept.stream.filter(|stream| fits(stream)))
    }
}

fn view_of(view: Option<StreamView<'_>>) -> impl Iterator<Item = Item<'_>> {
    view.into_iter().flat_map(|view| view.range(StreamId::ZERO, StreamId::MAX))
}

/// What a head must say so that nothing is forgotten with any entry.
pub(crate) fn head_of(stream: &Stream) -> StreamHead {
    StreamHead { last_id: stream.last_id(), added: stream.added().into_owned(), ..stream.head().clone() }
}

pub(crate) fn stream_in(entry: Option<&KeyEntry>) -> Option<&Stream> {
    match entry?.view() {
        View::Wide(body) => body.stream.as_deref(),
        _ => None,
    }
}

/// What a write of an element that is no entry observes.
pub(crate) fn observed_in(stream: Option<&Stream>, name: &[u8], me: NodeNumber) -> Observed {
    stream.and_then(|stream| stream.other(name)).map(|element| Observed::of(element, me)).unwrap_or_default()
}

/// What a removal of an entry observes.
fn observed_entry(stream: &Stream, id: StreamId, stamp: Stamp) -> Observed {
    let Some(item) = stream.find(id).ok().and_then(|at| stream.entries().item(at)) else { return Observed::default() };
    let is_named = |dot: &Stamp| dot.author() != stamp.author() || *dot == stamp;
    let drops = match stream.wide_of(&item) {
        Some(element) => element.siblings.iter().map(|(dot, _)| *dot).filter(is_named).collect(),
        None => Some(item.dot).filter(is_named).into_iter().collect(),
    };
    Observed { drops, resets: Resets::new() }
}

pub(crate) fn record_put(recorder: &mut Recorder<'_>, name: &[u8], observed: Observed, value: &[u8]) {
    let Observed { drops, resets } = observed;
    recorder.record(&Operation::Put { kind: Kind::Stream, name, drops, resets, value });
}
