//! The system under test: a keyspace with its writers and its drain, as one replica.

use crate::decimal::Decimal;
use crate::generator::KEYS;
use crate::history::{Answer, Delta, Key, Life, NewLife, Patch, Write};
use crate::replicas::Replica;
use crate::spec::{Content, Shown};
use crate::spec_stream::{Kept, StreamContent, Wanted};
use crdt::patch::Piece;
use crdt::{NodeNumber, Stamp, StreamId, VersionVector};
use keyspace::{
    Access, Database, Drain, End, ExactFloat, IdRequest, Keyspace, Kind, Lifetime, NewLifetime, OpenBatch, Score,
    SortedElements, StreamItem, StreamView, SweepPolicy, Swept, Trim, TrimBy, Writer, WrongKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// Writers a replica has: their logs have to be put in order.
pub const WRITERS: usize = 2;

pub struct System {
    pub keyspace: Arc<Keyspace>,
    pub now: u64,
    writers: Vec<Writer>,
    drain: Drain,
    /// The number it writes under, after those of its former lives.
    pub numbers: Vec<NodeNumber>,
}

impl System {
    /// A replica that has nothing and no number yet. The index makes its tables different from others'.
    pub fn new(index: usize, now: u64) -> Self {
        let keyspace = Keyspace::new(index as u64 + 1);
        let writers = (0..WRITERS).map(|_| keyspace.writer()).collect();
        Self { keyspace, now, writers, drain: Drain::default(), numbers: Vec::new() }
    }

    /// Runs commands at once, each with its own stamp: the answers of each and that stamp.
    pub fn run(&mut self, writer: usize, commands: &[Vec<Write>]) -> Vec<(Vec<Answer>, Stamp)> {
        let writes = || commands.iter().flatten();
        let mut keys: Vec<&[u8]> = writes().flat_map(Write::keys).map(|key| key.1.as_bytes()).collect();
        keys.dedup();
        let whole = writes().any(|write| matches!(write, Write::Clear { .. }));
        let writer = &mut self.writers[writer % WRITERS];
        let mut access = match (whole, commands) {
            (false, _) => writer.access(self.now, &keys),
            (true, [command]) if command.len() == 1 => writer.access_none(self.now),
            (true, _) => writer.access_all(self.now),
        };
        if commands.len() > 1 {
            access.begin_group();
        }
        let mut answers = Vec::new();
        for command in commands {
            access.begin_command();
            let of_command = command.iter().map(|write| execute(&mut access, write)).collect();
            answers.push((of_command, self.keyspace.clock()));
        }
        if commands.len() > 1 {
            access.end_group();
        }
        answers
    }

    /// Removes what is over: as the owner of lives does, and as the member that steps in for this key.
    pub fn sweep(&mut self, steps_in: Option<&str>, grace_ms: u64) -> Swept {
        let numbers = &self.numbers;
        let policy = SweepPolicy {
            is_mine: &|number| numbers.contains(&number),
            steps_in: &|key| steps_in.is_some_and(|chosen| chosen.as_bytes() == key),
            grace_ms,
            slots_max: usize::MAX,
            removals_max: u64::MAX,
            is_late: &|| false,
        };
        self.keyspace.sweep(&mut self.writers[0], self.now, &policy)
    }

    /// How many keys a database has.
    pub fn len(&self, database: u8) -> u64 {
        self.keyspace.len(database)
    }

    /// What a scan finds in a database.
    pub fn scanned(&mut self, database: u8) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut access = self.writers[0].access_none(self.now);
        let next = access.scan(Database(database), 0, usize::MAX, &mut |key, _| {
            found.insert(text(key));
        });
        assert_eq!(next, 0);
        found
    }

    /// What is the same at replicas that are equal: the digests of the slots in use.
    pub fn digests(&self) -> Vec<u64> {
        slots().iter().map(|&slot| self.keyspace.digest_of(slot).digest).collect()
    }

    /// What is still kept beside the data, once that is not needed any more.
    pub fn leftovers(&self) -> Option<String> {
        self.keyspace.prune();
        let ((early, slots), resets) = (self.keyspace.early(), self.keyspace.remembered_resets());
        self.keyspace.fold_patches(&|| false);
        let patched = self.keyspace.patched_strings();
        let left = early > 0 || slots > 0 || resets > 0 || patched > 0;
        left.then(|| {
            format!("{early} early dots, {slots} slots ahead of the vector, {resets} resets, {patched} patched")
        })
    }

    /// What a reader finds.
    pub fn shown(&mut self, key: Key) -> Option<Shown> {
        let name = key.1.as_bytes();
        let database = Database(key.0);
        let mut access = self.writers[0].access(self.now, &[name]);
        let kind = access.kind(database, name)?;
        let life = match access.lifetime(database, name)? {
            Lifetime::Never => Life::Never,
            Lifetime::Until(deadline) => Life::Until(deadline),
        };
        let mut ends = BTreeMap::new();
        let content = match kind {
            Kind::String => Content::String(text(&access.string(database, name).unwrap()?)),
            Kind::Hash => {
                let fields = access.hash(database, name).unwrap()?;
                assert_eq!(fields.len(), fields.iter().count());
                for (name, _, lifetime) in fields.iter_with_lives() {
                    assert!(fields.contains(name) && fields.lifetime(name) == Some(lifetime));
                    if let Lifetime::Until(deadline) = lifetime {
                        ends.insert(text(name), deadline);
                    }
                }
                Content::Hash(fields.iter().map(|(name, value)| (text(name), text(&value))).collect())
            }
            Kind::Set => {
                let members = access.set(database, name).unwrap()?;
                assert_eq!(members.len(), members.iter().count());
                Content::Set(members.iter().map(|(name, _)| text(name)).collect())
            }
            Kind::SortedSet => {
                let members = access.sorted_set(database, name).unwrap()?;
                check_order(&members);
                Content::SortedSet(members.iter().map(|(name, score)| (text(name), score.to_string())).collect())
            }
            Kind::List => {
                let list = access.list(database, name).unwrap()?;
                let texts: Vec<String> = list.iter().map(|value| text(&value)).collect();
                let mut back: Vec<String> = list.iter_back().map(|value| text(&value)).collect();
                back.reverse();
                let by_number = (0..list.len()).map(|index| text(&list.get(index).unwrap()));
                assert_eq!((texts.clone(), texts.clone()), (back, by_number.collect()));
                Content::List(texts)
            }
            Kind::Stream => Content::Stream(stream_content(&access.stream(database, name).unwrap()?)),
        };
        Some(Shown { content, life, ends })
    }
}

fn stream_content(stream: &StreamView<'_>) -> StreamContent {
    let pair = |id: StreamId| (id.ms, id.sequence);
    let entry = |item: StreamItem<'_>| {
        let mut value = String::new();
        item.each_pair(|name, found| {
            assert_eq!(name, b"f");
            value = text(found);
        });
        (pair(item.id), value)
    };
    let entries: BTreeMap<(u64, u64), String> = stream.range(StreamId::ZERO, StreamId::MAX).map(entry).collect();
    let back: Vec<_> = stream.range_back(StreamId::ZERO, StreamId::MAX).map(|item| pair(item.id)).collect();
    assert!(back.iter().rev().eq(entries.keys()));
    assert_eq!(stream.len(), entries.len());
    for (number, (ms, sequence)) in entries.keys().enumerate() {
        let id = StreamId::new(*ms, *sequence);
        assert_eq!((stream.count_before(id), stream.get(id).map(|item| item.id)), (number, Some(id)));
    }
    let (last, deleted) = (pair(stream.last_id()), pair(stream.max_deleted_id()));
    StreamContent { entries, last, deleted, added: stream.entries_added() }
}

/// The order is that of the scores and names.
fn check_order(members: &SortedElements<'_>) {
    let mut expected: Vec<(&[u8], f64)> = members.iter().collect();
    expected.sort_by(|(name, score), (other, other_score)| score.total_cmp(other_score).then_with(|| name.cmp(other)));
    assert_eq!(members.len(), expected.len());
    assert_eq!(members.in_order().range(0..usize::MAX, false).collect::<Vec<_>>(), expected);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn execute(access: &mut Access<'_>, write: &Write) -> Answer {
    let flag = |done: Result<bool, WrongKind>| done.map_or(Answer::WrongKind, Answer::Flag);
    let now = access.now();
    match *write {
        Write::PutString { key: Key(database, key), value, life } => {
            access.put_string(Database(database), key.as_bytes(), value.as_bytes(), new_lifetime(life, now));
            Answer::Done
        }
        Write::AddToString { key: Key(database, key), delta } => {
            let (database, key) = (Database(database), key.as_bytes());
            match access.string(database, key) {
                Err(WrongKind) => return Answer::WrongKind,
                Ok(Some(found)) if Decimal::parse(&text(&found)).is_none() => return Answer::NotANumber,
                Ok(Some(_) | None) => {}
            }
            // As commands do it.
            let in_place = match delta_of(delta) {
                keyspace::Delta::Integer(more) => access.increment_in_place(database, key, more),
                keyspace::Delta::Float(_) => None,
            };
            match in_place {
                None => access.add_to_string(database, key, delta_of(delta)),
                Some(sum) => {
                    let read = access.string(database, key).ok().flatten().map(|found| text(&found));
                    assert_eq!(read, Some(sum.to_string()), "an increment says what is read after it");
                }
            }
            Answer::Done
        }
        Write::PatchString { key: Key(database, key), patch } => {
            let (database, key) = (Database(database), key.as_bytes());
            if access.string(database, key).is_err() {
                return Answer::WrongKind;
            }
            let mut pieces = Vec::new();
            match patch {
                Patch::Append(text) => Piece::Append(text.as_bytes()).encode(&mut pieces),
                Patch::Range(offset, text) => {
                    Piece::Range { offset: offset as u64, bytes: text.as_bytes() }.encode(&mut pieces);
                }
            }
            access.patch_string(database, key, &pieces);
            Answer::Done
        }
        Write::Delete { key: Key(database, key) } => Answer::Flag(access.delete(Database(database), key.as_bytes())),
        Write::SetLife { key: Key(database, key), life } => {
            let life = match life {
                NewLife::Keep => return Answer::Flag(false),
                NewLife::Never => Lifetime::Never,
                NewLife::For(ms) => Lifetime::Until(now + ms),
            };
            Answer::Flag(access.set_lifetime(Database(database), key.as_bytes(), life))
        }
        Write::PutField { key: Key(database, key), field, value } => {
            flag(access.put_field(Database(database), key.as_bytes(), field.as_bytes(), value.as_bytes()))
        }
        Write::AddToField { key: Key(database, key), field, delta } => {
            let hash = access.hash(Database(database), key.as_bytes()).ok().flatten();
            let found = hash.and_then(|hash| hash.get(field.as_bytes()));
            if found.is_some_and(|found| Decimal::parse(&text(&found)).is_none()) {
                return Answer::NotANumber;
            }
            let added = access.add_to_field(Database(database), key.as_bytes(), field.as_bytes(), delta_of(delta));
            added.map_or(Answer::WrongKind, |()| Answer::Done)
        }
        Write::RemoveField { key: Key(database, key), field } => {
            flag(access.remove_field(Database(database), key.as_bytes(), field.as_bytes()))
        }
        Write::AddMember { key: Key(database, key), member } => {
            flag(access.add_member(Database(database), key.as_bytes(), member.as_bytes()))
        }
        Write::RemoveMember { key: Key(database, key), member } => {
            flag(access.remove_member(Database(database), key.as_bytes(), member.as_bytes()))
        }
        Write::PutScore { key: Key(database, key), member, score } => {
            flag(access.put_score(Database(database), key.as_bytes(), member.as_bytes(), score_of(score)))
        }
        Write::AddToScore { key: Key(database, key), member, delta } => {
            let more = match delta {
                Delta::Integer(value) => Score::new(value as f64).unwrap(),
                Delta::Float(text) => score_of(text),
            };
            let added = access.add_to_score(Database(database), key.as_bytes(), member.as_bytes(), more);
            added.map_or(Answer::WrongKind, |_| Answer::Done)
        }
        Write::RemoveScored { key: Key(database, key), member } => {
            flag(access.remove_scored(Database(database), key.as_bytes(), member.as_bytes()))
        }
        Write::Push { key: Key(database, key), is_head, values } => {
            let values = values.iter().map(|value| value.as_bytes());
            count(access.push(Database(database), key.as_bytes(), end(is_head), values))
        }
        Write::Pop { key: Key(database, key), is_head, count: most } => {
            let popped = access.pop(Database(database), key.as_bytes(), end(is_head), most, &mut |_| {});
            count(popped.map(Option::unwrap_or_default))
        }
        Write::Rotate { key: Key(database, key), is_head } => {
            flag(access.rotate(Database(database), key.as_bytes(), end(is_head)).map(|moved| moved.is_some()))
        }
        Write::SetElement { key: Key(database, key), index, value } => {
            flag(access.set_element(Database(database), key.as_bytes(), index, value.as_bytes()))
        }
        Write::InsertElement { key: Key(database, key), index, value } => {
            match access.insert_element(Database(database), key.as_bytes(), index, value.as_bytes()) {
                Ok(None) => Answer::Flag(false),
                other => count(other.map(Option::unwrap_or_default)),
            }
        }
        Write::RemoveElements { key: Key(database, key), start, end } => {
            let (database, key) = (Database(database), key.as_bytes());
            let length = access.list(database, key).map(|list| list.map_or(0, |list| list.len()));
            let removed = length.map(|length| (start.min(length)..end.min(length)).len());
            let done = access.remove_elements(database, key, std::slice::from_ref(&(start..end)));
            count(removed.and_then(|removed| done.map(|()| removed)))
        }
        Write::Append { key: Key(database, key), wanted, value } => {
            let request = match wanted {
                Wanted::Next => IdRequest::Generated,
                Wanted::NextIn(ms) => IdRequest::GeneratedIn(ms),
                Wanted::This((ms, sequence)) => IdRequest::Given(StreamId::new(ms, sequence)),
            };
            match access.append_entry(Database(database), key.as_bytes(), request, &[b"f", value.as_bytes()]) {
                Err(WrongKind) => Answer::WrongKind,
                Ok(Err(_)) => Answer::Flag(false),
                Ok(Ok(id)) => Answer::Id((id.ms, id.sequence)),
            }
        }
        Write::DeleteEntries { key: Key(database, key), ids } => {
            let ids = ids.map(|(ms, sequence)| StreamId::new(ms, sequence));
            count(access.remove_entries(Database(database), key.as_bytes(), &ids))
        }
        Write::TrimStream { key: Key(database, key), kept } => {
            let by = match kept {
                Kept::Most(most) => TrimBy::Length(most as u64),
                Kept::From((ms, sequence)) => TrimBy::Id(StreamId::new(ms, sequence)),
            };
            count(access.trim(Database(database), key.as_bytes(), Trim { by, is_approximate: false, limit: None }))
        }
        Write::SetStreamIds { key: Key(database, key), last, added } => {
            let (database, key, last) = (Database(database), key.as_bytes(), StreamId::new(last.0, last.1));
            // As the command does it.
            match access.stream(database, key) {
                Err(WrongKind) => return Answer::WrongKind,
                Ok(None) => return Answer::Flag(false),
                Ok(Some(stream)) if stream.last().is_some_and(|top| top.id > last) => return Answer::Flag(false),
                Ok(Some(_)) => {}
            }
            flag(access.set_stream_ids(database, key, last, added, None).map(|()| true))
        }
        Write::Copy { source, target } => {
            Answer::Flag(access.copy(Database(source.0), source.1.as_bytes(), Database(target.0), target.1.as_bytes()))
        }
        Write::Clear { database } => {
            access.clear(database.map(Database));
            Answer::Done
        }
        Write::PutFieldFor { key: Key(database, key), field, value, life } => {
            let (key, field, value) = (key.as_bytes(), field.as_bytes(), value.as_bytes());
            flag(access.put_field_for(Database(database), key, field, value, new_lifetime(life, now)))
        }
        Write::SetFieldLife { key: Key(database, key), field, life } => {
            let (key, field) = (key.as_bytes(), field.as_bytes());
            match new_lifetime(life, now) {
                NewLifetime::Keep => match access.hash(Database(database), key) {
                    Err(WrongKind) => Answer::WrongKind,
                    Ok(_) => Answer::Flag(false),
                },
                NewLifetime::Set(life) => flag(access.set_field_lifetime(Database(database), key, field, life)),
            }
        }
        Write::Expired { .. } | Write::ExpiredField { .. } => unreachable!("only a sweep removes what is over"),
    }
}

fn new_lifetime(life: NewLife, now: u64) -> NewLifetime {
    match life {
        NewLife::Keep => NewLifetime::Keep,
        NewLife::Never => NewLifetime::Set(Lifetime::Never),
        NewLife::For(ms) => NewLifetime::Set(Lifetime::Until(now + ms)),
    }
}

fn score_of(text: &str) -> Score {
    Score::new(text.parse().unwrap()).unwrap()
}

fn count(done: Result<usize, WrongKind>) -> Answer {
    done.map_or(Answer::WrongKind, Answer::Count)
}

fn end(is_head: bool) -> End {
    if is_head { End::Head } else { End::Tail }
}

fn delta_of(delta: Delta) -> keyspace::Delta {
    match delta {
        Delta::Integer(value) => keyspace::Delta::Integer(value),
        Delta::Float(text) => keyspace::Delta::Float(ExactFloat::parse(text.as_bytes()).unwrap()),
    }
}

/// The slots of the tests' keys: the buckets in which state is transferred.
pub fn slots() -> &'static [u16] {
    static SLOTS: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let slots: BTreeSet<u16> = KEYS.iter().map(|key| keyspace::slot_of(key.1.as_bytes())).collect();
        slots.into_iter().collect()
    });
    &SLOTS
}

impl Replica for System {
    type Batch = OpenBatch;
    type Bucket = Vec<Vec<u8>>;

    fn close(&mut self) -> Option<(Stamp, OpenBatch)> {
        let mut batches = self.drain.take(&self.keyspace);
        assert!(batches.len() <= 1, "so little is written that one batch takes it");
        batches.pop().map(|batch| (batch.last, batch))
    }

    fn apply(&mut self, origin: NodeNumber, previous: Stamp, last: Stamp, batch: &OpenBatch) {
        assert_eq!((previous, last), (batch.previous, batch.last));
        self.keyspace.apply(origin, previous, last, &batch.payload, self.now).unwrap();
    }

    fn applied(&self) -> VersionVector {
        (*self.keyspace.applied()).clone()
    }

    fn read(&mut self, bucket: usize, since: &VersionVector) -> Vec<Vec<u8>> {
        let slot = slots()[bucket];
        // One slot is more than a byte.
        let (pieces, next) = self.keyspace.read_slots(slot, since, 1);
        assert_eq!(next, slot + 1);
        pieces
    }

    fn list(&mut self, bucket: usize, since: &VersionVector) -> Vec<Vec<u8>> {
        let (pieces, listed) = self.keyspace.list_slots(&[slots()[bucket]], since, usize::MAX);
        assert_eq!(listed, 1);
        pieces
    }

    fn merge(&mut self, _bucket: usize, state: &Vec<Vec<u8>>) -> bool {
        self.keyspace.merge_slots(state, self.now).unwrap().is_empty()
    }

    fn raise(&mut self, vector: &VersionVector) {
        self.keyspace.raise_applied(vector);
    }

    fn known_everywhere(&mut self, vector: &VersionVector) {
        self.keyspace.note_known(vector.clone());
        self.keyspace.fold_patches(&|| false);
    }

    fn peer_applied(&mut self, number: NodeNumber, vector: &VersionVector) {
        // Slot by slot, as a node that has little time.
        let mut from = 0;
        loop {
            from =
                self.keyspace.collect_resets(from, &|contributor| (contributor == number).then_some(vector), &|| true);
            if from == 0 {
                break;
            }
        }
    }

    fn take_number(&mut self, number: NodeNumber, last: Stamp) {
        self.numbers.push(number);
        self.keyspace.set_number(number);
        self.drain = Drain::after(last);
    }
}
