//! `RENAME`, `COPY` and `MOVE` of a large collection, in many short steps.
//!
//! What these commands do is one change under one stamp, however large (see
//! `docs/decisions/2026-11-22-rename-and-copy-put-again.md`). Made at once, it holds up a worker and two slots for seconds.
//! Here both keys are *frozen*: nobody else writes to them. The elements are read out of the source some at a time, its
//! slot locked for a fraction of a millisecond each. Then the change takes its stamp, is logged, and is carried out as one of
//! another region is: what it puts is built beside the keyspace and put in place at the end, when the source goes. Between
//! the stamp and the end nobody reads the two keys, so nobody sees the one without the other, nor what another region
//! answered to it before it is here.
//!
//! Whoever calls this has a thread of its own and waits for it to end.

use crate::access::{Access, Database};
use crate::beside::{Built, Plan};
use crate::body::KeyBody;
use crate::collection::ElementView;
use crate::elements::ElementMap;
use crate::entry::View;
use crate::events::EventClass;
use crate::groups::groups_put_again;
use crate::holds::Holder;
use crate::keyspace::Writer;
use crate::log::LogBuffer;
use crate::observe::Recorder;
use crate::steps::{STEP_BYTES, Steps};
use crate::stream::Stream;
use crate::streams::copied_head;
use crdt::change::{encode_operation, encode_subject};
use crdt::{
    Change, Kind, Lifetime, Operation, Position, Resets, Side, Stamp, Stamps, StreamId, StreamName, UnixMillis,
};

/// Collections with so many elements are moved in steps. Builds for tests have large collections that are smaller.
const RELOCATED_ELEMENTS_MIN: usize = crate::summary::LARGE_ELEMENTS_MIN;

/// Elements, or cells of a table, that are read with the source's slot locked, unless they have [`STEP_BYTES`] before: some
/// hundred microseconds. Builds for tests have fewer.
const READ_AT_ONCE: usize = if cfg!(debug_assertions) { 512 } else { 2048 };

/// A key that is to be moved or copied to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation<'k> {
    /// The database that the key is in.
    pub from: Database,
    /// The key.
    pub source: &'k [u8],
    /// The database of the other key.
    pub to: Database,
    /// The other key.
    pub target: &'k [u8],
    /// It is copied, and stays.
    pub keeps_source: bool,
    /// What the other key holds goes.
    pub replaces: bool,
}

/// What became of a relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocated {
    /// There is no such key.
    NoSource,
    /// The other key is there, and is not to be replaced.
    Taken,
    /// Nobody may write any more.
    Refused,
    /// Nobody may write for now: nothing was done, and it is to be tried again when that is over.
    Paused,
    /// It was done, with this stamp.
    Done(Stamp),
}

/// Whether a change may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Now,
    /// It may later.
    Later,
    /// It may not.
    Never,
}

impl Permission {
    /// What becomes of a relocation that has it, unless it goes on.
    fn refusal(self) -> Option<Relocated> {
        match self {
            Self::Now => None,
            Self::Later => Some(Relocated::Paused),
            Self::Never => Some(Relocated::Refused),
        }
    }
}

/// What was read of the source.
struct Contents {
    kind: Kind,
    /// Where to go on: a cell of the table, the number of an element.
    next: usize,
    /// The entry of a stream where to go on.
    next_id: Option<StreamId>,
    /// What goes before the elements come.
    head: Vec<u8>,
    /// The operations that put the elements. Those of a list are written when their positions are known.
    operations: Pieces,
    /// The texts of a list, each with its length before it.
    texts: Pieces,
}

/// Bytes that become many. No piece grows by more than a step writes: nothing large is copied while a slot is locked.
#[derive(Default)]
struct Pieces {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

/// Bytes from which on a piece is full.
const PIECE_BYTES: usize = 1 << 20;

impl Pieces {
    /// Begins a new piece, if the last is full. No slot is locked.
    fn turn(&mut self) {
        if self.last.len() >= PIECE_BYTES {
            self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4)));
        }
    }

    fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.last.len()
    }

    fn into_all(self) -> impl Iterator<Item = Vec<u8>> {
        self.full.into_iter().chain(std::iter::once(self.last))
    }
}

impl Access<'_> {
    /// Whether a key holds so much that it should be moved in steps.
    pub fn is_large(&mut self, database: Database, key: &[u8]) -> bool {
        self.visible(database, key).is_some_and(|entry| match entry.view() {
            View::Packed(_) | View::Counter(_) | View::Bundle(_) => false,
            View::Wide(body) => body.elements() >= RELOCATED_ELEMENTS_MIN,
        })
    }

    fn begin_relocation(&mut self, wish: &Relocation<'_>) -> Result<Kind, Relocated> {
        let kind = self.kind(wish.from, wish.source).ok_or(Relocated::NoSource)?;
        if !wish.replaces && self.kind(wish.to, wish.target).is_some() {
            return Err(Relocated::Taken);
        }
        if self.is_large(wish.from, wish.source) {
            return Ok(kind);
        }
        self.relocate_at_once(wish);
        Err(Relocated::Done(self.stamp()))
    }

    /// Moves or copies a key, however much it holds, and notes it. The key is there, and the other one is not, or may be
    /// replaced.
    pub fn relocate_at_once(&mut self, wish: &Relocation<'_>) {
        self.copy(wish.from, wish.source, wish.to, wish.target);
        if !wish.keeps_source {
            self.delete(wish.from, wish.source);
        }
        self.note_relocated(wish);
    }

    fn note_relocated(&mut self, wish: &Relocation<'_>) {
        let (left, came) = match (wish.keeps_source, wish.from == wish.to) {
            (true, _) => (None, "copy_to"),
            (false, true) => (Some("rename_from"), "rename_to"),
            (false, false) => (Some("move_from"), "move_to"),
        };
        self.note_created(wish.to, wish.target);
        if let Some(left) = left {
            self.note(EventClass::GENERIC, left, wish.from, wish.source);
        }
        self.note(EventClass::GENERIC, came, wish.to, wish.target);
    }

    /// Looks at the body of the source.
    fn source_body<T>(&mut self, wish: &Relocation<'_>, look: impl FnOnce(&KeyBody) -> T) -> Option<T> {
        match self.visible(wish.from, wish.source)?.view() {
            View::Packed(_) | View::Counter(_) | View::Bundle(_) => None,
            View::Wide(body) => Some(look(body)),
        }
    }
}

impl Writer {
    /// Moves or copies a key, in short steps if it holds much. `pause` is called between steps, which may be as short as some ten microseconds, and `may_write` is asked
    /// in each until the change is made: nothing stays frozen while a pause of writes is waited for. `clock` is the wall
    /// clock in Unix milliseconds. One relocation at a time may be made in a keyspace.
    ///
    /// After a panic behind the stamp the keys stay frozen: the change may be logged and is not here, so the node must end and
    /// be started again ([`Keyspace::has_frozen`](crate::Keyspace::has_frozen)).
    pub fn relocate(
        &mut self,
        wish: &Relocation<'_>,
        clock: &dyn Fn() -> UnixMillis,
        may_write: &dyn Fn() -> Permission,
        pause: &mut dyn FnMut(),
    ) -> Relocated {
        let keyspace = self.keyspace().clone();
        let keys = [wish.source, wish.target];
        let (freeze, mut contents) = {
            let beginning = keyspace.shared.frozen.begin();
            if keyspace.has_frozen() {
                // A slot of another node is being merged.
                return Relocated::Paused;
            }
            let mut access = self.access(clock(), &keys);
            let _holding = keyspace.shared.holds.begin(Holder::Move);
            access.begin_command();
            if let Some(refusal) = may_write().refusal() {
                return refusal;
            }
            match access.begin_relocation(wish) {
                Ok(kind) => (beginning.freeze(keys.into_iter()), Contents::new(kind)),
                Err(outcome) => return outcome,
            }
        };
        if let Some(outcome) = self.read_source(wish, clock, may_write, pause, &mut contents) {
            return outcome;
        }
        // What takes the stamp is not logged before the locks are let go: writing it down takes long.
        self.begin_pipeline();
        let (stamp, tail, removal) = {
            let mut access = self.access(clock(), &keys);
            let _holding = keyspace.shared.holds.begin(Holder::Move);
            access.begin_command();
            let lifetime = match (may_write().refusal(), access.lifetime(wish.from, wish.source)) {
                (None, Some(lifetime)) => lifetime,
                (refusal, _) => {
                    drop(access);
                    self.end_pipeline();
                    return refusal.unwrap_or(Relocated::NoSource);
                }
            };
            freeze.hide();
            access.record_relocation(wish, lifetime, &mut contents)
        };
        // SUBTLE: from here on it is written down, kept and sent by other threads too, each with all of it at hand. Where they
        // share one core with a worker, two that never pause have it wait for two turns of the system's, which are 8 ms.
        let mut steps = Steps::new(pause);
        let operations = contents.into_operations(stamp, tail, &mut steps);
        self.log_relocation(clock(), wish, stamp, [&operations, &removal], &mut steps);
        self.end_pipeline();
        let put = Change { stamp, tied: false, database: wish.to.0, key: wish.target, operations: &operations };
        let built = Plan::of(&put, &mut steps).map(|plan| plan.build(&put, &keyspace.shared, &mut steps));
        let mut access = self.access(clock(), &keys);
        let _holding = keyspace.shared.holds.begin(Holder::Move);
        access.stamp = Some(stamp);
        access.put_relocated(wish, &put, built, &removal);
        access.note_relocated(wish);
        drop(freeze);
        Relocated::Done(stamp)
    }

    /// Reads the source, some elements at a time. The outcome, if it ends here.
    fn read_source(
        &mut self,
        wish: &Relocation<'_>,
        clock: &dyn Fn() -> UnixMillis,
        may_write: &dyn Fn() -> Permission,
        pause: &mut dyn FnMut(),
        contents: &mut Contents,
    ) -> Option<Relocated> {
        let keyspace = self.keyspace().clone();
        loop {
            let now = clock();
            let mut access = self.access(now, &[wish.source]);
            let holding = keyspace.shared.holds.begin(Holder::Move);
            match access.source_body(wish, |body| contents.read_some(body, now)) {
                // Its life has ended meanwhile.
                None => return Some(Relocated::NoSource),
                Some(false) => return None,
                Some(true) => {}
            }
            drop(access);
            drop(holding);
            if let Some(refusal) = may_write().refusal() {
                return Some(refusal);
            }
            contents.turn();
            pause();
        }
    }

    /// Logs what is put at the target and what goes at the source.
    fn log_relocation(
        &mut self,
        now: UnixMillis,
        wish: &Relocation<'_>,
        stamp: Stamp,
        [put, removal]: [&[u8]; 2],
        steps: &mut Steps<'_>,
    ) {
        // SUBTLE: beside what the drain takes, or a panic on the way would have a part of it sent.
        let mut logged = LogBuffer::default();
        logged.bytes.reserve_exact(put.len() + wish.target.len() + AROUND_A_CHANGE_BYTES);
        for (database, key, operations) in [(wish.to, wish.target, put), (wish.from, wish.source, removal)] {
            let mut subject = Vec::new();
            encode_subject(&mut subject, database.0, key);
            // Each piece is added to the change that the first one begins.
            for piece in operations.chunks(STEP_BYTES) {
                logged.append(stamp, false, &subject, piece, 0);
                steps.done(piece.len());
            }
        }
        let access = self.access_none(now);
        debug_assert!(access.writer.pending.is_empty(), "what came before was handed to the drain");
        access.writer.pending = logged;
    }
}

/// Bytes that a record has beside its key and its operations, at most.
const AROUND_A_CHANGE_BYTES: usize = 64;

impl Access<'_> {
    /// Carries out what is logged.
    fn put_relocated(&mut self, wish: &Relocation<'_>, put: &Change<'_>, built: Option<Built>, removal: &[u8]) {
        let shared = self.shared();
        // Of the moment of now, so that digests say since when the slots have been as they are.
        let mark = shared.next_stamp(self.now);
        let deliveries = self.deliveries_of(wish.from, wish.source);
        let slot = self.locked(wish.target);
        slot.memory.changed = mark;
        let outcome = match built {
            Some(built) => built.put_in_place(put, slot, shared),
            None => slot.apply(shared, put),
        };
        outcome.expect("an operation that was just encoded decodes");
        if !deliveries.is_empty() {
            self.take_over_deliveries(wish.to, wish.target, deliveries);
        }
        if !removal.is_empty() {
            let (stamp, database) = (put.stamp, wish.from.0);
            let change = Change { stamp, tied: false, database, key: wish.source, operations: removal };
            let slot = self.locked(wish.source);
            slot.memory.changed = mark;
            slot.apply(shared, &change).expect("an operation that was just encoded decodes");
        }
    }

    /// Takes the stamp, and writes down what depends on it: what goes at the target before the elements come (into
    /// `contents`), what comes behind them, and the removal of the source if it does not stay.
    fn record_relocation(
        &mut self,
        wish: &Relocation<'_>,
        lifetime: Lifetime,
        contents: &mut Contents,
    ) -> (Stamp, Vec<u8>, Vec<u8>) {
        let (stamp, shared) = (self.stamp(), self.shared());
        let (mut head, mut tail, mut removal) = (Vec::new(), Vec::new(), Vec::new());
        let (groups, stream_head) = self
            .source_body(wish, |body| {
                let stream = body.stream.as_deref().filter(|_| contents.kind == Kind::Stream);
                (stream.map(|stream| groups_put_again(stream, stamp)).unwrap_or_default(), stream.map(copied_head))
            })
            .unwrap_or_default();
        let slot = self.locked(wish.target);
        let entry = slot.find(shared, wish.to.0, wish.target);
        if let Some(entry) = entry {
            Recorder::new(shared, stamp, &mut head).clear_except(entry, None);
        }
        if let Some(value) = stream_head {
            put_element(&mut head, Kind::Stream, &StreamName::Head.name(), &value);
        }
        for (name, value) in groups {
            put_element(&mut tail, Kind::Stream, &name, &value);
        }
        Recorder::new(shared, stamp, &mut tail).live(entry, Some(lifetime));
        if !wish.keeps_source {
            let slot = self.locked(wish.source);
            if let Some(entry) = slot.find(shared, wish.from.0, wish.source) {
                Recorder::new(shared, stamp, &mut removal).remove_all(entry);
            }
        }
        contents.head = head;
        (stamp, tail, removal)
    }
}

impl Contents {
    fn new(kind: Kind) -> Self {
        let (head, operations, texts) = (Vec::new(), Pieces::default(), Pieces::default());
        Self { kind, next: 0, next_id: Some(StreamId::ZERO), head, operations, texts }
    }

    fn turn(&mut self) {
        self.operations.turn();
        self.texts.turn();
    }

    /// Reads some more elements. False if there are no more.
    fn read_some(&mut self, body: &KeyBody, now: UnixMillis) -> bool {
        match (self.kind, body.map(self.kind), &body.list, &body.stream) {
            (_, Some(map), _, _) => self.read_map(map, now),
            (Kind::List, _, Some(list), _) => {
                let (first, full) = (self.next, self.texts.last.len() + STEP_BYTES);
                for item in list.items_from(first).take(READ_AT_ONCE) {
                    if self.texts.last.len() >= full {
                        break;
                    }
                    let text = list.text(&item);
                    self.texts.last.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    self.texts.last.extend_from_slice(&text);
                    self.next += 1;
                }
                self.next > first
            }
            (Kind::Stream, _, _, Some(stream)) => self.read_stream(stream),
            _ => false,
        }
    }

    fn read_map(&mut self, map: &ElementMap, now: UnixMillis) -> bool {
        let cells = map.cells();
        let end = cells.min(self.next + READ_AT_ONCE);
        let full = self.operations.last.len() + STEP_BYTES;
        while self.next < end && self.operations.last.len() < full {
            self.next += 1;
            let Some(element) = map.cell(self.next - 1).map(ElementView::of).filter(|element| element.is_shown(now))
            else {
                continue;
            };
            let name = element.name();
            match self.kind {
                Kind::SortedSet => put_element(&mut self.operations.last, self.kind, name, &element.score().to_bytes()),
                _ => put_element(&mut self.operations.last, self.kind, name, &element.value()),
            }
            if let lifetime @ Lifetime::Until(_) = element.lifetime() {
                let life = Operation::LiveField { name, drops: Stamps::new(), lifetime };
                encode_operation(&mut self.operations.last, Stamp::ZERO, &life);
            }
        }
        self.next < cells
    }

    fn read_stream(&mut self, stream: &Stream) -> bool {
        let Some(from) = self.next_id.take() else { return false };
        let (mut value, full) = (Vec::new(), self.operations.last.len() + STEP_BYTES);
        for item in stream.entries().items_from(from).take(READ_AT_ONCE) {
            if self.operations.last.len() >= full {
                break;
            }
            let mut item = stream.shown(item);
            self.next += 1;
            item.ordinal = self.next as u64;
            value.clear();
            item.value_into(&mut value);
            put_element(&mut self.operations.last, Kind::Stream, &item.id.name(), &value);
            self.next_id = item.id.next();
        }
        self.next_id.is_some()
    }

    /// The operations of the change, with what comes behind the elements.
    fn into_operations(self, stamp: Stamp, tail: Vec<u8>, steps: &mut Steps<'_>) -> Vec<u8> {
        let Self { head: mut operations, operations: elements, texts, next, .. } = self;
        let positions = if texts.len() == 0 { 0 } else { next * LIST_POSITION_BYTES };
        operations.reserve_exact(elements.len() + texts.len() + positions + tail.len());
        elements.into_all().for_each(|piece| steps.append(&mut operations, &piece));
        let (mut name, mut index) = (Vec::new(), 0);
        for piece in texts.into_all() {
            let mut rest = &piece[..];
            while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                let (text, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
                name.clear();
                Position::at_edge(Side::InFront, stamp, index).write_name(&mut name);
                put_element(&mut operations, Kind::List, &name, text);
                steps.done(text.len() + LIST_POSITION_BYTES);
                index = index.saturating_add(1);
                rest = behind;
            }
        }
        operations.extend_from_slice(&tail);
        operations
    }
}

/// Bytes that the operation on an element of a list has beside its text, about.
const LIST_POSITION_BYTES: usize = 16;

fn put_element(out: &mut Vec<u8>, kind: Kind, name: &[u8], value: &[u8]) {
    let (drops, resets) = (Stamps::new(), Resets::new());
    // What has observed nothing is written alike under every stamp.
    encode_operation(out, Stamp::ZERO, &Operation::Put { kind, name, drops, resets, value });
}

#[cfg(test)]
mod tests;
