//! Access, the writing half: every command's effect is recorded as a change and applied by the same rules as a change
//! from another region.

use crate::access::{Access, Database, Elements, WrongKind};
use crate::body::{KeyEntry, is_there, key_of, lifetime_of};
use crate::collection::{Collection, ElementView};
use crate::entry::{PackedCounter, PackedLife, View};
use crate::hash::SLOTS;
use crate::large::LARGE_VALUE_BYTES;
use crate::list::end_position;
use crate::observe::{Observed, Recorder};
use crdt::change::encode_subject;
use crdt::{Change, Contribution, ExactFloat, Kind, Lifetime, Number, Operation, Score, Stamp, Stamps, UnixMillis};
use std::borrow::Cow;

/// What becomes of a key's life when its string is written as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewLifetime {
    /// It stays as it is (`KEEPTTL`, `APPEND`, `SETRANGE`...).
    Keep,
    /// It becomes this one.
    Set(Lifetime),
}

/// An increment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delta {
    /// By an integer.
    Integer(i64),
    /// By a float, exactly.
    Float(ExactFloat),
}

impl Delta {
    fn number(self) -> Number {
        match self {
            Delta::Integer(value) => Number::integer(i128::from(value)),
            Delta::Float(value) => Number::float(value),
        }
    }
}

/// What an element write finds.
pub(crate) struct Found {
    /// Nothing is there for readers: the write creates the key.
    pub(crate) creates: bool,
    /// All that was there goes first. Not the fields of a hash that are over: each goes by itself.
    pub(crate) clears: bool,
    /// The key has a deadline: the write repeats it.
    repeats: Option<Lifetime>,
}

impl Access<'_> {
    /// Writes a string as a whole: what was observed of any type goes.
    pub fn put_string(&mut self, database: Database, key: &[u8], value: &[u8], lifetime: NewLifetime) {
        let stamp = self.stamp();
        if lifetime == NewLifetime::Set(Lifetime::Never) {
            let shared = self.shared();
            let hash = self.hash_of(key);
            let slot = self.locked(key);
            if slot.apply_plain_set_hashed(shared, hash, stamp, database.0, key, value) {
                slot.memory.changed = stamp;
                let tied = self.in_group;
                let pending = &mut self.writer.pending;
                if pending.records.last().is_none_or(|last| last.stamp != stamp) {
                    pending.append_plain_set(stamp, tied, database.0, key, value);
                } else {
                    self.writer.subject.clear();
                    encode_subject(&mut self.writer.subject, database.0, key);
                    self.writer.operations.clear();
                    crdt::change::encode_plain_set(&mut self.writer.operations, value);
                    pending.append(stamp, tied, &self.writer.subject, &self.writer.operations, 0);
                }
                return;
            }
        }
        if self.put_large_string(database, key, value, lifetime, LARGE_VALUE_BYTES) {
            return;
        }
        self.change(database, key, |entry, now, recorder| {
            if let Some(entry) = entry {
                recorder.clear_except(entry, Some(Kind::String));
            }
            recorder.remove_folded(entry);
            let Observed { drops, resets } = Observed::of_string(entry, recorder.stamp.author());
            recorder.record(&Operation::Put { kind: Kind::String, name: &[], drops, resets, value });
            match (lifetime, found(entry, now, Kind::String)) {
                (NewLifetime::Set(lifetime), _) => recorder.live(entry, Some(lifetime)),
                (NewLifetime::Keep, Found { creates: true, .. }) => recorder.live(entry, Some(Lifetime::Never)),
                (NewLifetime::Keep, Found { repeats: Some(lifetime), .. }) => recorder.live(entry, Some(lifetime)),
                (NewLifetime::Keep, Found { repeats: None, .. }) => {}
            }
        });
    }

    /// Adds to the counter that a string is, where [`Access::increment_in_place`] does not. The caller has seen to it
    /// that the string is a number and that the sum stays in range.
    pub fn add_to_string(&mut self, database: Database, key: &[u8], delta: Delta) {
        if let Delta::Float(more) = delta
            && !self.stays_finite(database, key, None, more)
        {
            let value = self.string(database, key).ok().flatten().map(Cow::into_owned);
            let sum = added(value.as_deref(), delta);
            return self.put_string(database, key, sum.as_bytes(), NewLifetime::Keep);
        }
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::String, recorder);
            let live = entry.filter(|_| !found.creates);
            let own = match live.map(|entry| entry.view()) {
                Some(View::Wide(body)) => {
                    body.string.as_ref().and_then(|e| e.contribution(recorder.stamp.author())).copied()
                }
                Some(View::Counter(counter)) => own_counter(&counter, recorder.stamp.author()),
                Some(View::Packed(_) | View::Bundle(_)) | None => None,
            };
            record_add(recorder, (Kind::String, &[]), own, true, delta);
            end_element(entry, &found, recorder);
        });
    }

    /// Whether this node's own contribution to a counter stays a finite number. It may leave the range although the sum
    /// of all contributions does not; the increment is then a write of the whole value.
    fn stays_finite(
        &mut self,
        database: Database,
        key: &[u8],
        element: Option<(Kind, &[u8])>,
        more: ExactFloat,
    ) -> bool {
        let shared = self.shared();
        let me = shared.me();
        let entry = self.locked(key).find(shared, database.0, key);
        let own = match element {
            None => match entry.map(|entry| entry.view()) {
                Some(View::Wide(body)) => body.string.as_ref().and_then(|e| e.contribution(me)).copied(),
                Some(View::Packed(_) | View::Counter(_) | View::Bundle(_)) | None => None,
            },
            Some((kind, name)) => match map_in(entry, kind).and_then(|map| map.find(&shared.hasher, name)) {
                Some(ElementView::Wide(wide)) => wide.element.contribution(me).copied(),
                Some(ElementView::Written(_) | ElementView::Counter(_)) | None => None,
            },
        };
        own.and_then(|own| own.cumulative.float).is_none_or(|float| float.plus(more).is_finite())
    }

    /// Removes a key. False if it does not exist.
    pub fn delete(&mut self, database: Database, key: &[u8]) -> bool {
        let exists = self.kind(database, key).is_some();
        if exists {
            self.remove_observed(database, key);
        }
        exists
    }

    /// Removes everything observed of a key, whether readers could see it or not.
    pub(crate) fn remove_observed(&mut self, database: Database, key: &[u8]) {
        self.change(database, key, |entry, _, recorder| {
            if let Some(entry) = entry {
                recorder.remove_all(entry);
            }
        });
    }

    /// Sets how long a key lives. False if it does not exist.
    pub fn set_lifetime(&mut self, database: Database, key: &[u8], lifetime: Lifetime) -> bool {
        let exists = self.kind(database, key).is_some();
        if exists {
            self.change(database, key, |entry, _, recorder| recorder.live(entry, Some(lifetime)));
        }
        exists
    }

    /// Sets a field of a hash. True if the field is new.
    pub fn put_field(&mut self, database: Database, key: &[u8], field: &[u8], value: &[u8]) -> Result<bool, WrongKind> {
        self.put_element(database, key, Kind::Hash, field, value)
    }

    /// Adds to the counter that a field is; the caller has checked it as for strings.
    pub fn add_to_field(
        &mut self,
        database: Database,
        key: &[u8],
        field: &[u8],
        delta: Delta,
    ) -> Result<(), WrongKind> {
        self.expect_kind(database, key, Kind::Hash)?;
        if let Delta::Float(more) = delta
            && !self.stays_finite(database, key, Some((Kind::Hash, field)), more)
        {
            let value = self.hash(database, key)?.and_then(|fields| fields.get(field)).map(Cow::into_owned);
            let sum = added(value.as_deref(), delta);
            return self.put_field(database, key, field, sum.as_bytes()).map(drop);
        }
        self.add_to_element(database, key, Kind::Hash, field, delta);
        Ok(())
    }

    /// Adds to the counter that an element of this kind is.
    fn add_to_element(&mut self, database: Database, key: &[u8], kind: Kind, name: &[u8], delta: Delta) {
        if self.add_to_element_in_place(database, key, kind, name, delta.number()).is_some() {
            return;
        }
        let hasher = self.shared().hasher.clone();
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, kind, recorder);
            let element = map_in(entry.filter(|_| !found.clears), kind).and_then(|m| m.find(&hasher, name));
            let shown = element.filter(|element| element.is_shown(now));
            if shown.is_none() && element.is_some() {
                let Observed { drops, resets } = Observed::of_element(element, recorder.stamp.author());
                recorder.record(&Operation::Remove { kind, name, drops, resets });
            }
            let own = match shown {
                Some(ElementView::Wide(wide)) => wide.element.contribution(recorder.stamp.author()).copied(),
                Some(ElementView::Counter(counter)) => own_counter(&counter, recorder.stamp.author()),
                Some(ElementView::Written(_)) | None => None,
            };
            // Only what creates a field asserts that it has no end; only fields have one.
            let asserts = kind != Kind::Hash || own.map_or(shown.is_none(), |own| own.asserts);
            record_add(recorder, (kind, name), own, asserts, delta);
            if let Some(Lifetime::Until(deadline)) = shown.map(|element| element.lifetime()) {
                let field = shown.as_ref().expect("its lifetime was just looked at");
                recorder.live_field(field, Lifetime::Until(deadline));
            }
            end_element(entry, &found, recorder);
        });
    }

    /// Removes a field of a hash, and the hash with the last one. False if the field was not there.
    pub fn remove_field(&mut self, database: Database, key: &[u8], field: &[u8]) -> Result<bool, WrongKind> {
        self.remove_element(database, key, Kind::Hash, field)
    }

    /// Adds a member to a set. True if it is new; the write counts even if it is not, since it wins against a
    /// concurrent removal.
    pub fn add_member(&mut self, database: Database, key: &[u8], member: &[u8]) -> Result<bool, WrongKind> {
        self.put_element(database, key, Kind::Set, member, &[])
    }

    /// Removes a member of a set, and the set with the last one. False if it was not there.
    pub fn remove_member(&mut self, database: Database, key: &[u8], member: &[u8]) -> Result<bool, WrongKind> {
        self.remove_element(database, key, Kind::Set, member)
    }

    /// Sets the score of a member of a sorted set. True if the member is new; the write counts even if the score stays
    /// the same, since it wins against a concurrent removal.
    pub fn put_score(
        &mut self,
        database: Database,
        key: &[u8],
        member: &[u8],
        score: Score,
    ) -> Result<bool, WrongKind> {
        self.put_element(database, key, Kind::SortedSet, member, &score.to_bytes())
    }

    /// Adds to the score of a member of a sorted set, which may be new. Returns the score that readers see then. The
    /// caller has seen to it that the sum is a number: it adds no infinity to the opposite one.
    pub fn add_to_score(
        &mut self,
        database: Database,
        key: &[u8],
        member: &[u8],
        more: Score,
    ) -> Result<Score, WrongKind> {
        let before = self.sorted_set(database, key)?.and_then(|members| members.score(member)).unwrap_or_default();
        // What no exact sum holds is a write of the whole score.
        let sum = Score::new(before + more.to_f64()).unwrap_or(more);
        if !sum.is_finite() || !self.stays_finite(database, key, Some((Kind::SortedSet, member)), more.to_exact()) {
            return self.put_score(database, key, member, sum).map(|_| sum);
        }
        self.add_to_element(database, key, Kind::SortedSet, member, delta_of(more));
        let after = self.sorted_set(database, key)?.and_then(|members| members.score(member));
        Ok(after.and_then(Score::new).unwrap_or(sum))
    }

    /// Removes a member of a sorted set, and the sorted set with the last one. False if it was not there.
    pub fn remove_scored(&mut self, database: Database, key: &[u8], member: &[u8]) -> Result<bool, WrongKind> {
        self.remove_element(database, key, Kind::SortedSet, member)
    }

    /// Copies what readers see of a key, its life included, over another key. False if the source does not exist.
    pub fn copy(&mut self, from: Database, source: &[u8], to: Database, target: &[u8]) -> bool {
        let Some(kind) = self.kind(from, source) else { return false };
        let lifetime = self.lifetime(from, source).unwrap_or(Lifetime::Never);
        let ends = self.ends_of(from, source, kind);
        let deliveries = self.deliveries_of(from, source);
        let contents: Vec<(Vec<u8>, Vec<u8>)> = match kind {
            Kind::String => {
                let value = self.string(from, source).ok().flatten().unwrap_or_default().into_owned();
                vec![(Vec::new(), value)]
            }
            // Each element gets a position of its own when the change has a stamp.
            Kind::List => self.texts_of(from, source).into_iter().map(|text| (Vec::new(), text)).collect(),
            Kind::Stream => self.contents_of_stream(from, source),
            Kind::Hash | Kind::Set => {
                let elements = self.elements(from, source, kind);
                let elements = elements.ok().flatten();
                elements.iter().flat_map(|e| e.iter()).map(|(n, v)| (n.to_vec(), v.into_owned())).collect()
            }
            Kind::SortedSet => {
                let members = self.sorted_set(from, source).ok().flatten();
                let scored =
                    |(name, score): (&[u8], f64)| Some((name.to_vec(), Score::new(score)?.to_bytes().to_vec()));
                members.iter().flat_map(|members| members.iter()).filter_map(scored).collect()
            }
        };
        self.change(to, target, |entry, _, recorder| {
            if let Some(entry) = entry {
                recorder.clear_except(entry, None);
            }
            for (index, (name, value)) in contents.iter().enumerate() {
                let position = (kind == Kind::List).then(|| end_position(recorder.stamp, index));
                let name = position.as_ref().unwrap_or(name);
                let Observed { drops, resets } = Observed::default();
                recorder.record(&Operation::Put { kind, name, drops, resets, value });
                if let Some(&lifetime @ Lifetime::Until(_)) = ends.get(index) {
                    recorder.record(&Operation::LiveField { name, drops: Stamps::new(), lifetime });
                }
            }
            recorder.live(entry, Some(lifetime));
        });
        if !deliveries.is_empty() {
            self.take_over_deliveries(to, target, deliveries);
        }
        true
    }

    /// How long each field of a hash stays, in the order of its fields; nothing of others.
    fn ends_of(&mut self, database: Database, key: &[u8], kind: Kind) -> Vec<Lifetime> {
        if kind != Kind::Hash {
            return Vec::new();
        }
        let fields = self.hash(database, key).ok().flatten().filter(Elements::has_ends);
        fields.iter().flat_map(|fields| fields.iter_with_lives()).map(|(_, _, lifetime)| lifetime).collect()
    }

    /// Removes every key of a database, or of all. Where nothing is locked yet, every slot is, when no key is being moved.
    pub fn clear(&mut self, which: Option<Database>) {
        if matches!(self.held, crate::access::Held::None) {
            self.held = crate::access::Held::All(self.keyspace.lock_all_thawed());
        }
        let stamp = self.stamp();
        let shared = self.shared();
        let mut covered = (*shared.applied()).clone();
        covered.raise(stamp.author(), stamp);
        let databases = which.map_or(0..crate::slot::DATABASES, |database| database.0..database.0 + 1);
        for number in 0..SLOTS {
            for database in databases.clone() {
                self.clear_rest(number, Database(database), stamp, &covered);
            }
        }
        let database = which.unwrap_or_default();
        let operation = Operation::ClearDatabase { every: which.is_none(), covered };
        let (subject, operations) = (&mut self.writer.subject, &mut self.writer.operations);
        subject.clear();
        encode_subject(subject, database.0, &[]);
        operations.clear();
        crdt::change::encode_operation(operations, stamp, &operation);
        self.writer.pending.append_alone(stamp, self.in_group, subject, operations);
        let operations = std::mem::take(&mut self.writer.operations);
        let change = Change { stamp, tied: false, database: database.0, key: &[], operations: &operations };
        for number in 0..SLOTS {
            self.with_slot(number, |slot| {
                slot.memory.changed = stamp;
                slot.apply(shared, &change).expect("an operation that was just encoded decodes");
            });
        }
        self.writer.operations = operations;
    }

    /// Lists what a clear of the whole database cannot say by a vector, as changes of the keys it concerns.
    fn clear_rest(&mut self, number: u16, database: Database, stamp: Stamp, covered: &crdt::VersionVector) {
        let shared = self.shared();
        let mut listed: Vec<(Box<[u8]>, Vec<u8>)> = Vec::new();
        self.with_slot(number, |slot| {
            for entry in slot.keys(database.0) {
                let mut operations = Vec::new();
                Recorder::new(shared, stamp, &mut operations).clear_rest(entry, covered);
                if !operations.is_empty() {
                    listed.push((key_of(entry).into(), operations));
                }
            }
            for (key, operations) in &listed {
                let change = Change { stamp, tied: true, database: database.0, key, operations };
                slot.apply(shared, &change).expect("an operation that was just encoded decodes");
            }
        });
        for (key, operations) in &listed {
            self.writer.subject.clear();
            encode_subject(&mut self.writer.subject, database.0, key);
            self.writer.pending.append(stamp, self.in_group, &self.writer.subject, operations, 0);
        }
    }

    fn put_element(
        &mut self,
        database: Database,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        value: &[u8],
    ) -> Result<bool, WrongKind> {
        if let Some(is_new) = self.put_element_in_place(database, key, kind, name, value) {
            return Ok(is_new);
        }
        self.expect_kind(database, key, kind)?;
        let hasher = self.shared().hasher.clone();
        let mut is_new = false;
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, kind, recorder);
            let live = entry.filter(|_| !found.clears);
            let element = map_in(live, kind).and_then(|map| map.find(&hasher, name));
            is_new = element.is_none_or(|element| !element.is_shown(now));
            let Observed { drops, resets } = Observed::of_element(element, recorder.stamp.author());
            recorder.record(&Operation::Put { kind, name, drops, resets, value });
            end_element(entry, &found, recorder);
        });
        Ok(is_new)
    }

    fn remove_element(&mut self, database: Database, key: &[u8], kind: Kind, name: &[u8]) -> Result<bool, WrongKind> {
        let hasher = self.shared().hasher.clone();
        let now = self.now;
        let element = self.map(database, key, kind)?.and_then(|map| map.find(&hasher, name));
        if element.is_none_or(|element| !element.is_shown(now)) {
            return Ok(false);
        }
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, kind, recorder);
            let map = map_in(entry, kind);
            let element = map.and_then(|map| map.find(&hasher, name));
            let Observed { drops, resets } = Observed::of_element(element, recorder.stamp.author());
            recorder.record(&Operation::Remove { kind, name, drops, resets });
            if map.is_some_and(|map| map.len() == 1) {
                recorder.live(entry, None);
            } else {
                end_element(entry, &found, recorder);
            }
        });
        Ok(true)
    }

    pub(crate) fn expect_kind(&mut self, database: Database, key: &[u8], kind: Kind) -> Result<(), WrongKind> {
        match self.kind(database, key) {
            Some(found) if found != kind => Err(WrongKind),
            Some(_) | None => Ok(()),
        }
    }

    /// Records a change of one key and applies it. The recorder sees the key's entry as it is.
    pub(crate) fn change(
        &mut self,
        database: Database,
        key: &[u8],
        record: impl FnOnce(Option<&KeyEntry>, UnixMillis, &mut Recorder<'_>),
    ) {
        let stamp = self.stamp();
        let now = self.now;
        let tied = self.in_group;
        let shared = self.shared();
        let mut operations = std::mem::take(&mut self.writer.operations);
        operations.clear();
        let slot = self.locked(key);
        let mut recorder = Recorder::new(shared, stamp, &mut operations);
        record(slot.find(shared, database.0, key), now, &mut recorder);
        let replaceable = recorder.replaceable();
        let change = Change { stamp, tied, database: database.0, key, operations: &operations };
        slot.apply(shared, &change).expect("an operation that was just encoded decodes");
        slot.memory.changed = stamp;
        let subject = &mut self.writer.subject;
        subject.clear();
        encode_subject(subject, database.0, key);
        let superseded_by = replaceable.map_or(0, |bytes| (subject.len() + bytes) as u32);
        self.writer.pending.append(stamp, tied, subject, &operations, superseded_by);
        self.writer.operations = operations;
    }

    pub(crate) fn stamp(&mut self) -> Stamp {
        match self.stamp {
            Some(stamp) => stamp,
            None => {
                let stamp = self.writer.stamp(&self.keyspace.shared, self.now);
                self.stamp = Some(stamp);
                stamp
            }
        }
    }
}

fn map_in(entry: Option<&KeyEntry>, kind: Kind) -> Option<Collection<'_>> {
    Collection::in_entry(entry?, kind)
}

fn found(entry: Option<&KeyEntry>, now: UnixMillis, kind: Kind) -> Found {
    let Some(entry) = entry else { return Found { creates: true, clears: true, repeats: None } };
    let lifetime = lifetime_of(entry);
    let creates = !is_there(entry, now);
    let clears = creates && (kind != Kind::Hash || lifetime.is_over(now));
    let repeats = match lifetime {
        Lifetime::Until(_) if !creates => Some(lifetime),
        Lifetime::Until(_) | Lifetime::Never => None,
    };
    Found { creates, clears, repeats }
}

/// The text of a value after an increment.
fn added(value: Option<&[u8]>, delta: Delta) -> String {
    let before = value.and_then(Number::parse).unwrap_or_default();
    before.plus(delta.number()).to_redis_text()
}

/// An increment of a score: whole numbers are kept as such, which takes less.
fn delta_of(more: Score) -> Delta {
    let whole = more.to_f64() as i64;
    let is_whole = whole as f64 == more.to_f64() && whole.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS;
    if is_whole { Delta::Integer(whole) } else { Delta::Float(more.to_exact()) }
}

/// The contribution in a packed counter, if it is this node's.
fn own_counter(counter: &PackedCounter<'_>, me: crdt::NodeNumber) -> Option<Contribution> {
    let asserts = counter.life == PackedLife::Own;
    Some(Contribution { asserts, ..counter.contribution() }).filter(|contribution| contribution.node == me)
}

/// What every element write does first: a dead life goes as a whole, losing types go.
pub(crate) fn begin_element(
    entry: Option<&KeyEntry>,
    now: UnixMillis,
    kind: Kind,
    recorder: &mut Recorder<'_>,
) -> Found {
    let found = found(entry, now, kind);
    if let Some(entry) = entry {
        let kept = if found.clears { None } else { Some(kind) };
        recorder.clear_except(entry, kept);
    }
    found
}

/// What every element write does last: a new key asserts that it has no end, a key with an end repeats it.
pub(crate) fn end_element(entry: Option<&KeyEntry>, found: &Found, recorder: &mut Recorder<'_>) {
    if found.creates {
        recorder.live(entry, Some(Lifetime::Never));
    } else if found.repeats.is_some() {
        recorder.live(entry, found.repeats);
    }
}

fn record_add(
    recorder: &mut Recorder<'_>,
    (kind, name): (Kind, &[u8]),
    own: Option<Contribution>,
    asserts: bool,
    delta: Delta,
) {
    let (birth, sum) = own.map_or((recorder.stamp, Number::default()), |own| (own.birth, own.cumulative));
    recorder.record(&Operation::Add { kind, name, birth, cumulative: sum.plus(delta.number()), asserts });
}
