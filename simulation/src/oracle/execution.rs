//! What the writes of a command do to what their node had observed: the contract's writing half.
//!
//! *A removal removes only what its node had observed.* Observed is what the node has seen, readable or not.

use super::fields;
use super::history::{Ahead, Atom, History, Key, Life, Patch, Payload, Place};
use super::shown::{Content, Kind, Shown, is_over, kind_of, life, shown};
use crdt::{NodeNumber, Stamp};

/// What a node has seen of a key: asked for a key and the stamp of a write.
pub type Sees<'a> = &'a dyn Fn(&Key, Stamp) -> bool;

/// Commands at one node, at one moment.
pub struct Execution<'h> {
    history: &'h mut History,
    sees: Sees<'h>,
    /// The wall clock of the node.
    pub now: u64,
    /// Its number.
    me: NodeNumber,
    /// The last stamp it gave out or saw.
    pub clock: Stamp,
    /// The stamp of the command that is being executed, once it has written.
    stamp: Option<Stamp>,
    /// The stamps of all commands that wrote.
    pub stamps: Vec<Stamp>,
    /// Whether any key that was looked at can no longer be told.
    pub uncertain: bool,
    /// What it has seen of keys beyond its vector, if it compares state now.
    ahead: Option<&'h dyn Fn(&Key) -> Ahead>,
    written: Vec<Key>,
}

/// What becomes of a key's life when its string is written as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewLife {
    /// It stays.
    Keep,
    /// It becomes this one.
    Set(Life),
}

/// Which of the observed atoms go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    All,
    Content,
    Lifetimes,
    OtherKinds(Kind),
    Place(Place),
}

/// A reader wants a string and there is another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherType;

impl Scope {
    fn has(&self, atom: &Atom) -> bool {
        let kind = kind_of(&atom.place);
        match self {
            Scope::All => true,
            Scope::Content => kind.is_some(),
            Scope::Lifetimes => kind.is_none(),
            Scope::OtherKinds(own) => kind.is_some_and(|kind| kind != *own),
            Scope::Place(place) => atom.place == *place,
        }
    }
}

/// A change of one key.
#[derive(Default, Debug)]
pub(super) struct Change {
    pub(super) scopes: Vec<Scope>,
    pub(super) adds: Vec<(Place, Payload)>,
}

impl<'h> Execution<'h> {
    /// Commands at a node whose clock stands at `clock`, and which sees what `sees` says and all that it wrote itself.
    pub fn new(history: &'h mut History, sees: Sees<'h>, now: u64, me: NodeNumber, clock: Stamp) -> Self {
        let (stamp, stamps, written) = (None, Vec::new(), Vec::new());
        Self { history, sees, now, me, clock, stamp, stamps, uncertain: false, ahead: None, written }
    }

    /// The node compares state now, and has seen this of keys beyond its vector.
    pub fn unsettled(mut self, ahead: &'h dyn Fn(&Key) -> Ahead) -> Self {
        self.ahead = Some(ahead);
        self
    }

    /// The next command begins: its writes share one stamp.
    pub fn begin_command(&mut self) {
        self.stamp = None;
    }

    /// Neither the keys that were written nor these can be told any more; the last write had this stamp.
    pub fn give_up(&mut self, named: &[Key], stamp: Stamp) {
        let written = std::mem::take(&mut self.written);
        written.iter().chain(named).for_each(|key| self.history.set_uncertain(key, stamp));
    }

    /// A command on this key is not told, whatever it writes.
    pub fn leave_untold(&mut self, key: &Key) {
        self.uncertain = true;
        self.written.push(key.clone());
    }

    /// Keys that were written.
    pub fn written(&self) -> &[Key] {
        &self.written
    }

    /// The stamp of the command, taken at its first write.
    pub fn stamp(&mut self) -> Stamp {
        if let Some(stamp) = self.stamp {
            return stamp;
        }
        let stamp = self.clock.next(self.now, self.me);
        self.clock = stamp;
        self.stamp = Some(stamp);
        self.stamps.push(stamp);
        stamp
    }

    /// The stamp that the command has or would have: one that writes nothing takes none.
    pub(super) fn next_stamp(&self) -> Stamp {
        self.stamp.unwrap_or_else(|| self.clock.next(self.now, self.me))
    }

    /// What a reader finds.
    pub fn shown(&mut self, key: &Key) -> Option<Shown> {
        self.uncertain |= self.cannot_tell(key);
        let now = self.now;
        shown(&self.standing(key), now)
    }

    /// The string a reader finds: nothing, or that there is another type.
    pub fn string(&mut self, key: &Key) -> Result<Option<String>, OtherType> {
        match self.shown(key).map(|shown| shown.content) {
            None => Ok(None),
            Some(Content::String(text)) => Ok(Some(text)),
            Some(
                Content::Hash(_) | Content::Set(_) | Content::SortedSet(_) | Content::List(_) | Content::Stream(_),
            ) => Err(OtherType),
        }
    }

    /// Writes a whole string.
    pub fn put_string(&mut self, key: &Key, value: &str, new_life: NewLife) {
        let place = (Place::String, Payload::Value(value.to_owned()));
        let change = match new_life {
            NewLife::Keep => {
                let mut change = self.element_write(key, Kind::String);
                change.scopes.push(Scope::Content);
                change.adds.push(place);
                change
            }
            NewLife::Set(life) => {
                Change { scopes: vec![Scope::All], adds: vec![place, (Place::Lifetime, Payload::Life(life))] }
            }
        };
        self.apply(key, change);
    }

    /// Writes a part of a string; over increments, which a part does not take away, the whole. Returns the text.
    pub fn patch_string(&mut self, key: &Key, old: Option<String>, patch: Patch) -> String {
        let is_there = old.is_some();
        let text = patch.after(old.unwrap_or_default());
        let counts = |atom: &&Atom| atom.place == Place::String && matches!(atom.payload, Payload::Increment(_));
        if is_there && self.standing(key).iter().any(counts) {
            self.put_string(key, &text, NewLife::Keep);
            return text;
        }
        let mut change = self.element_write(key, Kind::String);
        change.adds.push((Place::String, Payload::Patch(patch)));
        self.apply(key, change);
        text
    }

    /// Adds to a counter at a place.
    pub fn increment(&mut self, key: &Key, place: Place, delta: super::decimal::Decimal) {
        let kind = kind_of(&place).unwrap_or(Kind::String);
        let mut change = self.element_write(key, kind);
        if let Place::Field(field) = &place {
            self.repeat_end(key, field, &mut change);
        }
        change.adds.push((place, Payload::Increment(delta)));
        self.apply(key, change);
    }

    /// Puts a member. True if it is new. The caller has checked the type.
    pub fn put_element(&mut self, key: &Key, place: Place, payload: Payload) -> bool {
        let kind = kind_of(&place).unwrap_or(Kind::String);
        let is_new = !self.contains(key, &place);
        let mut change = self.element_write(key, kind);
        change.scopes.push(Scope::Place(place.clone()));
        change.adds.push((place, payload));
        self.apply(key, change);
        is_new
    }

    /// Removes a field or a member, and the key with its last one. False if it was not there.
    pub fn remove_element(&mut self, key: &Key, place: Place) -> bool {
        if !self.contains(key, &place) {
            return false;
        }
        let kind = kind_of(&place);
        let parts = match &place {
            Place::Field(field) => fields::whole(field).to_vec(),
            _ => vec![Scope::Place(place)],
        };
        let is_rest = |atom: &&Atom| kind_of(&atom.place) == kind && !parts.iter().any(|part| part.has(atom));
        let rest = self.standing(key).into_iter().filter(is_rest);
        let change = if rest.count() == 0 {
            Change { scopes: vec![Scope::All], adds: Vec::new() }
        } else {
            let mut change = self.element_write(key, kind.unwrap_or(Kind::String));
            change.scopes.extend(parts);
            change
        };
        self.apply(key, change);
        true
    }

    /// Whether an element is there for readers.
    pub fn contains(&mut self, key: &Key, place: &Place) -> bool {
        match (self.shown(key).map(|shown| shown.content), place) {
            (Some(Content::String(_)), Place::String) => true,
            (Some(Content::Hash(fields)), Place::Field(field)) => fields.contains_key(field),
            (Some(Content::Set(members)), Place::Member(member)) => members.contains(member),
            (Some(Content::SortedSet(members)), Place::Scored(member)) => members.contains_key(member),
            (
                Some(
                    Content::String(_)
                    | Content::Hash(_)
                    | Content::Set(_)
                    | Content::SortedSet(_)
                    | Content::List(_)
                    | Content::Stream(_),
                )
                | None,
                _,
            ) => false,
        }
    }

    /// Writes a collection in place of whatever is there; an empty one removes the key.
    pub fn replace(&mut self, key: &Key, mut adds: Vec<(Place, Payload)>) {
        if adds.is_empty() {
            self.delete(key);
        } else {
            adds.push((Place::Lifetime, Payload::Life(Life::Never)));
            self.apply(key, Change { scopes: vec![Scope::All], adds });
        }
    }

    /// Removes a key. False if it is not there for readers.
    pub fn delete(&mut self, key: &Key) -> bool {
        let exists = self.shown(key).is_some();
        if exists {
            self.apply(key, Change { scopes: vec![Scope::All], adds: Vec::new() });
        }
        exists
    }

    /// Sets how long a key lives. False if it is not there.
    pub fn set_life(&mut self, key: &Key, life: Life) -> bool {
        let exists = self.shown(key).is_some();
        if exists {
            self.apply(key, assertion(life));
        }
        exists
    }

    /// Copies what readers see of a key over another one.
    pub fn copy(&mut self, source: &Key, target: &Key) -> bool {
        let Some(shown) = self.shown(source) else { return false };
        let mut adds: Vec<(Place, Payload)> = match shown.content {
            Content::String(value) => vec![(Place::String, Payload::Value(value))],
            Content::Hash(fields) => {
                let life = |name: &str| shown.ends.get(name).map_or(Life::Never, |&end| Life::Until(end));
                let whole = |(name, value): (String, String)| {
                    let life = (Place::FieldLife(name.clone()), Payload::Life(life(&name)));
                    [(Place::Field(name), Payload::Value(value)), life]
                };
                fields.into_iter().flat_map(whole).collect()
            }
            Content::Set(members) => members.into_iter().map(|name| (Place::Member(name), Payload::Member)).collect(),
            Content::List(texts) => super::lists::copied(texts, self.stamp()),
            Content::Stream(content) => super::streams::copied(content),
            Content::SortedSet(members) => {
                members.into_iter().map(|(name, score)| (Place::Scored(name), Payload::Value(score))).collect()
            }
        };
        adds.push((Place::Lifetime, Payload::Life(shown.life)));
        self.apply(target, Change { scopes: vec![Scope::All], adds });
        true
    }

    /// Removes everything of a database, or of all.
    pub fn clear(&mut self, database: Option<u8>) {
        self.stamp();
        let keys: Vec<Key> =
            self.history.keys().filter(|key| database.is_none_or(|d| d == key.database)).cloned().collect();
        for key in keys {
            if self.history.is_uncertain(&key) || !self.standing(&key).is_empty() {
                // A key that can no longer be told says nothing about the others here.
                let uncertain = self.uncertain;
                self.apply(&key, Change { scopes: vec![Scope::All], adds: Vec::new() });
                self.uncertain = uncertain;
            }
        }
    }

    /// The node found that a key's life was over, or that only assertions are left, and removed it under this stamp.
    /// False if readers had to find it still.
    pub fn removed_by_sweep(&mut self, key: &Key, stamp: Stamp) -> bool {
        let (me, sees) = (self.me, self.sees);
        let standing = self.history.standing(key, &|seen| seen.author() == me || sees(key, seen));
        let content = standing.iter().any(|atom| kind_of(&atom.place).is_some());
        let rightly = !content || is_over(life(&standing), self.now);
        let ahead = self.ahead_of(key);
        self.history.write(key, stamp, &|seen| seen.author() == me || sees(key, seen), &|_| true, Vec::new(), ahead);
        rightly
    }

    /// The same of fields of a hash, and of the key with the last one.
    pub fn fields_removed_by_sweep(&mut self, key: &Key, removed: &[String], stamp: Stamp) -> bool {
        let (me, sees) = (self.me, self.sees);
        let seen = |seen: Stamp| seen.author() == me || sees(key, seen);
        let standing = self.history.standing(key, &seen);
        let is_over = |field: &String| {
            let content = standing.iter().any(|atom| matches!(&atom.place, Place::Field(name) if name == field));
            !content || is_over(fields::life_of(&standing, field), self.now)
        };
        let rightly = removed.iter().all(is_over);
        let parts: Vec<Scope> = removed.iter().flat_map(|field| fields::whole(field)).collect();
        let goes = |atom: &Atom| parts.iter().any(|part| part.has(atom));
        let is_last = standing.iter().all(|atom| kind_of(&atom.place).is_none() || goes(atom));
        let ahead = self.ahead_of(key);
        self.history.write(key, stamp, &seen, &|atom| is_last || goes(atom), Vec::new(), ahead);
        rightly
    }

    /// Whether what a reader finds under a key cannot be told.
    pub fn cannot_tell(&self, key: &Key) -> bool {
        let (me, sees) = (self.me, self.sees);
        self.history.cannot_tell(key, &|stamp| stamp.author() == me || sees(key, stamp))
    }

    fn ahead_of(&self, key: &Key) -> Ahead {
        self.ahead.and_then(|ahead| ahead(key))
    }

    pub(super) fn standing(&self, key: &Key) -> Vec<&Atom> {
        let (me, sees) = (self.me, self.sees);
        self.history.standing(key, &|stamp| stamp.author() == me || sees(key, stamp))
    }

    /// What every write to a part of a key does besides: it drops what it observed of other types, starts a new life
    /// where there was none, and repeats a lifetime that is there.
    pub(super) fn element_write(&mut self, key: &Key, kind: Kind) -> Change {
        match self.shown(key).map(|shown| shown.life) {
            // Fields that are over go one by one, not with the write of another.
            None if kind == Kind::Hash && !is_over(life(&self.standing(key)), self.now) => {
                let mut change = assertion(Life::Never);
                change.scopes.push(Scope::OtherKinds(kind));
                change
            }
            // The key is created. What was observed of a former life goes, readable or not.
            None => Change { scopes: vec![Scope::All], adds: vec![(Place::Lifetime, Payload::Life(Life::Never))] },
            Some(Life::Never) => Change { scopes: vec![Scope::OtherKinds(kind)], adds: Vec::new() },
            Some(life @ Life::Until(_)) => {
                let mut change = assertion(life);
                change.scopes.push(Scope::OtherKinds(kind));
                change
            }
        }
    }

    pub(super) fn apply(&mut self, key: &Key, change: Change) {
        let stamp = self.stamp();
        let (me, sees) = (self.me, self.sees);
        let seen = |seen: Stamp| seen.author() == me || sees(key, seen);
        if self.history.is_uncertain(key) {
            let whole = self.ahead.is_none() && change.scopes.contains(&Scope::All);
            if whole && self.history.is_all_seen(key, &seen) {
                self.history.remove_everything(key, stamp);
            } else {
                self.uncertain = true;
            }
        }
        let removes = |atom: &Atom| change.scopes.iter().any(|scope| scope.has(atom));
        let ahead = self.ahead_of(key);
        self.history.write(key, stamp, &seen, &removes, change.adds, ahead);
        self.written.push(key.clone());
    }
}

fn assertion(life: Life) -> Change {
    Change { scopes: vec![Scope::Lifetimes], adds: vec![(Place::Lifetime, Payload::Life(life))] }
}
