//! The specification: what a write does to what its replica had observed, and what a replica shows. Pure functions of
//! atoms, straight from the contract; the parts for values and lifetimes have files of their own.
//!
//! *A removal removes only what its replica had observed; an unobserved write is never lost to a removal; where two
//! writes cannot both stand, the later stamp stands.*

use crate::decimal::Decimal;
use crate::history::{Answer, Atom, Key, Life, NewLife, Payload, Place, Write};
use crate::spec_fields;
use crate::spec_lifetime::{self, is_over};
use crate::spec_list;
use crate::spec_stream::{self, StreamContent};
use crate::spec_value;
pub use crate::spec_value::known;
use crdt::Stamp;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    String,
    Hash,
    Set,
    SortedSet,
    List,
    Stream,
}

/// What a reader finds under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    String(String),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    /// Members with their scores; their order follows from these.
    SortedSet(BTreeMap<String, String>),
    List(Vec<String>),
    Stream(StreamContent),
}

/// A key that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub content: Content,
    pub life: Life,
    /// The fields of a hash that have an end.
    pub ends: BTreeMap<String, u64>,
}

/// What a write does to one key.
#[derive(Clone, Default, Debug)]
pub struct Change {
    pub key: Key,
    pub adds: Vec<(Place, Payload)>,
    scope: Vec<Scope>,
}

/// Which of the observed atoms go.
#[derive(Clone, Copy, Debug)]
enum Scope {
    All,
    Content,
    Lifetimes,
    OtherKinds(Kind),
    Place(Place),
}

impl Change {
    /// A change of a key that does nothing yet.
    pub fn of(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    /// The removal of everything of a key.
    pub fn of_all(key: Key) -> Self {
        Self { key, scope: vec![Scope::All], ..Self::default() }
    }

    /// Removes what was observed at a place too.
    pub fn removes_at(&mut self, place: Place) {
        self.scope.push(Scope::Place(place));
    }

    /// Whether the change removes this observed atom.
    pub fn removes(&self, atom: &Atom) -> bool {
        let kind = kind_of(atom.place);
        self.scope.iter().any(|scope| match *scope {
            Scope::All => true,
            Scope::Content => kind.is_some(),
            Scope::Lifetimes => kind.is_none(),
            Scope::OtherKinds(own) => kind.is_some_and(|kind| kind != own),
            Scope::Place(place) => atom.place == place,
        })
    }
}

fn kind_of(place: Place) -> Option<Kind> {
    match place {
        Place::String => Some(Kind::String),
        Place::Field(_) | Place::FieldLife(_) => Some(Kind::Hash),
        Place::Member(_) => Some(Kind::Set),
        Place::Scored(_) => Some(Kind::SortedSet),
        Place::Element(_) => Some(Kind::List),
        Place::Entry(_) | Place::Head => Some(Kind::Stream),
        Place::Lifetime => None,
    }
}

/// Of several types the one that holds the latest standing stamp is shown. What is over counts as little as assertions do.
fn kind_shown(standing: &[&Atom], now: u64) -> Option<Kind> {
    let content = standing.iter().filter(|atom| {
        let is_life = matches!(atom.place, Place::Lifetime | Place::FieldLife(_));
        !is_life && !spec_fields::is_hidden(standing, atom, now)
    });
    content.max_by_key(|atom| (atom.stamp, atom.event)).and_then(|atom| kind_of(atom.place))
}

/// What a reader finds at `now` where these atoms stand.
pub fn shown(standing: &[&Atom], now: u64) -> Option<Shown> {
    let kind = kind_shown(standing, now)?;
    let life = spec_lifetime::life(standing);
    if is_over(life, now) {
        return None;
    }
    let found = standing.iter().filter(|atom| !spec_fields::is_hidden(standing, atom, now));
    let places: BTreeSet<Place> = found.map(|atom| atom.place).collect();
    let content = match kind {
        Kind::String => Content::String(spec_value::value(standing, Place::String)?),
        Kind::Hash => Content::Hash(places.iter().filter_map(|&place| field(standing, place)).collect()),
        Kind::Set => Content::Set(places.into_iter().filter_map(member).collect()),
        Kind::List => Content::List(spec_list::texts(standing)),
        Kind::Stream => Content::Stream(spec_stream::content(standing)),
        Kind::SortedSet => Content::SortedSet(places.iter().filter_map(|&place| scored(standing, place)).collect()),
    };
    let ends = match &content {
        Content::Hash(fields) => spec_fields::ends(standing, fields),
        _ => BTreeMap::new(),
    };
    Some(Shown { content, life, ends })
}

fn field(standing: &[&Atom], place: Place) -> Option<(String, String)> {
    match place {
        Place::Field(name) => Some((name.into(), spec_value::value(standing, place)?)),
        Place::String | Place::Member(_) | Place::Scored(_) | Place::Element(_) => None,
        Place::Entry(_) | Place::Head => None,
        Place::FieldLife(_) | Place::Lifetime => None,
    }
}

fn scored(standing: &[&Atom], place: Place) -> Option<(String, String)> {
    match place {
        Place::Scored(name) => Some((name.into(), spec_value::value(standing, place)?)),
        Place::String | Place::Field(_) | Place::Member(_) | Place::Element(_) => None,
        Place::Entry(_) | Place::Head => None,
        Place::FieldLife(_) | Place::Lifetime => None,
    }
}

fn member(place: Place) -> Option<String> {
    match place {
        Place::Member(name) => Some(name.into()),
        Place::String | Place::Field(_) | Place::Scored(_) | Place::Element(_) => None,
        Place::Entry(_) | Place::Head => None,
        Place::FieldLife(_) | Place::Lifetime => None,
    }
}

/// What a write answers and does at a replica where `standing` stands under each key.
pub fn effect<'h>(
    standing: &dyn Fn(Key) -> Vec<&'h Atom>,
    keys: &[Key],
    write: &Write,
    stamp: Stamp,
    now: u64,
) -> (Answer, Vec<Change>) {
    match *write {
        Write::PutString { key, value, life } => {
            let place = (Place::String, Payload::Value(value.into()));
            (Answer::Done, vec![put_string(&standing(key), key, place, life, now)])
        }
        Write::AddToString { key, delta } => {
            let before = standing(key);
            match shown(&before, now).map(|shown| shown.content) {
                Some(Content::String(text)) if Decimal::parse(&text).is_none() => (Answer::NotANumber, vec![]),
                Some(
                    Content::Hash(_) | Content::Set(_) | Content::SortedSet(_) | Content::List(_) | Content::Stream(_),
                ) => (Answer::WrongKind, vec![]),
                Some(Content::String(_)) | None => {
                    let mut change = element_write(&before, key, Kind::String, now);
                    change.adds.push((Place::String, Payload::Increment(delta)));
                    (Answer::Done, vec![change])
                }
            }
        }
        Write::PatchString { key, patch } => spec_value::patch_string(&standing(key), key, patch, now),
        Write::Delete { key } => match shown(&standing(key), now) {
            Some(_) => (Answer::Flag(true), vec![Change { key, scope: vec![Scope::All], ..Change::default() }]),
            None => (Answer::Flag(false), vec![]),
        },
        Write::SetLife { key, life } => match (shown(&standing(key), now), life) {
            (None, _) | (_, NewLife::Keep) => (Answer::Flag(false), vec![]),
            (Some(_), NewLife::Never) => (Answer::Flag(true), vec![assert_life(key, Life::Never)]),
            (Some(_), NewLife::For(ms)) => (Answer::Flag(true), vec![assert_life(key, Life::Until(now + ms))]),
        },
        Write::PutField { key, field, value } => {
            spec_fields::put(&standing(key), key, field, value, NewLife::Never, now)
        }
        Write::PutFieldFor { key, field, value, life } => {
            spec_fields::put(&standing(key), key, field, value, life, now)
        }
        Write::SetFieldLife { key, field, life } => spec_fields::set_life(&standing(key), key, field, life, now),
        Write::ExpiredField { key, field } => (Answer::Done, vec![spec_fields::expired(&standing(key), key, field)]),
        Write::AddToField { key, field, delta } => add_to_field(&standing(key), key, field, delta, now),
        Write::RemoveField { key, field } => remove_element(&standing(key), key, Place::Field(field), now),
        Write::AddMember { key, member } => {
            put_element(&standing(key), key, Place::Member(member), Payload::Member, now)
        }
        Write::RemoveMember { key, member } => remove_element(&standing(key), key, Place::Member(member), now),
        Write::PutScore { key, member, score } => {
            put_element(&standing(key), key, Place::Scored(member), Payload::Value(score.into()), now)
        }
        Write::AddToScore { key, member, delta } => add_to_score(&standing(key), key, member, delta, now),
        Write::RemoveScored { key, member } => remove_element(&standing(key), key, Place::Scored(member), now),
        Write::Push { key, is_head, values } => spec_list::push(&standing(key), key, is_head, values, stamp, now),
        Write::Pop { key, is_head, count } => spec_list::pop(&standing(key), key, is_head, count, now),
        Write::Rotate { key, is_head } => spec_list::rotate(&standing(key), key, is_head, stamp, now),
        Write::SetElement { key, index, value } => spec_list::set(&standing(key), key, index, value, now),
        Write::InsertElement { key, index, value } => spec_list::insert(&standing(key), key, index, value, stamp, now),
        Write::RemoveElements { key, start, end } => spec_list::remove(&standing(key), key, start..end, now),
        Write::Append { key, wanted, value } => spec_stream::append(&standing(key), key, wanted, value, stamp, now),
        Write::DeleteEntries { key, ids } => spec_stream::delete(&standing(key), key, &ids, now),
        Write::TrimStream { key, kept } => spec_stream::trim(&standing(key), key, kept, now),
        Write::SetStreamIds { key, last, added } => spec_stream::set_ids(&standing(key), key, last, added, now),
        Write::Copy { source, target } => match shown(&standing(source), now) {
            Some(shown) => (Answer::Flag(true), vec![copy(shown, target, stamp)]),
            None => (Answer::Flag(false), vec![]),
        },
        Write::Clear { database } => {
            let chosen = keys.iter().filter(|key| database.is_none_or(|database| database == key.0));
            let there = chosen.filter(|&&key| !standing(key).is_empty());
            (Answer::Done, there.map(|&key| Change { key, scope: vec![Scope::All], ..Change::default() }).collect())
        }
        Write::Expired { key } => (Answer::Done, vec![Change { key, scope: vec![Scope::All], ..Change::default() }]),
    }
}

fn assert_life(key: Key, life: Life) -> Change {
    Change { key, scope: vec![Scope::Lifetimes], adds: vec![(Place::Lifetime, Payload::Life(life))] }
}

/// A write of the whole key drops all that was observed of any type.
pub fn put_string(before: &[&Atom], key: Key, value: (Place, Payload), life: NewLife, now: u64) -> Change {
    let asserted = match life {
        NewLife::Keep => {
            let mut change = element_write(before, key, Kind::String, now);
            change.scope.push(Scope::Content);
            change.adds.push(value);
            return change;
        }
        NewLife::Never => Life::Never,
        NewLife::For(ms) => Life::Until(now + ms),
    };
    Change { key, scope: vec![Scope::All], adds: vec![value, (Place::Lifetime, Payload::Life(asserted))] }
}

/// What every write to a part of a key does besides: it drops what it observed of other types, starts a new life where
/// there was none, and repeats a lifetime that is there.
pub fn element_write(before: &[&Atom], key: Key, kind: Kind, now: u64) -> Change {
    match shown(before, now).map(|shown| shown.life) {
        // Fields that are over go one by one, not with the write of another.
        None if kind == Kind::Hash && !is_over(spec_lifetime::life(before), now) => {
            let mut change = assert_life(key, Life::Never);
            change.scope.push(Scope::OtherKinds(kind));
            change
        }
        // The key is created. What was observed of a former life goes, readable or not.
        None => Change { key, scope: vec![Scope::All], adds: vec![(Place::Lifetime, Payload::Life(Life::Never))] },
        Some(Life::Never) => Change { key, scope: vec![Scope::OtherKinds(kind)], adds: vec![] },
        Some(life @ Life::Until(_)) => {
            let mut change = assert_life(key, life);
            change.scope.push(Scope::OtherKinds(kind));
            change
        }
    }
}

fn put_element(before: &[&Atom], key: Key, place: Place, payload: Payload, now: u64) -> (Answer, Vec<Change>) {
    let Some(kind) = kind_of(place) else { unreachable!("lifetimes are asserted, not put") };
    let there = match shown(before, now).map(|shown| shown.content) {
        None => false,
        Some(content) => match contains(&content, place) {
            Some(there) => there,
            None => return (Answer::WrongKind, vec![]),
        },
    };
    let mut change = element_write(before, key, kind, now);
    change.scope.push(Scope::Place(place));
    change.adds.push((place, payload));
    (Answer::Flag(!there), vec![change])
}

fn add_to_field(
    before: &[&Atom],
    key: Key,
    field: &'static str,
    delta: crate::history::Delta,
    now: u64,
) -> (Answer, Vec<Change>) {
    let text = match fields_at(before, now) {
        Err(answer) => return (answer, vec![]),
        Ok(mut fields) => fields.remove(field),
    };
    if text.as_ref().is_some_and(|text| Decimal::parse(text).is_none()) {
        return (Answer::NotANumber, vec![]);
    }
    let mut change = element_write(before, key, Kind::Hash, now);
    spec_fields::repeat(before, &mut change, field, text.is_some());
    change.adds.push((Place::Field(field), Payload::Increment(delta)));
    (Answer::Done, vec![change])
}

/// The fields of a hash that readers find.
pub fn fields_at(before: &[&Atom], now: u64) -> Result<BTreeMap<String, String>, Answer> {
    match shown(before, now).map(|shown| shown.content) {
        Some(Content::Hash(fields)) => Ok(fields),
        None => Ok(BTreeMap::new()),
        Some(_) => Err(Answer::WrongKind),
    }
}

fn add_to_score(
    before: &[&Atom],
    key: Key,
    member: &'static str,
    delta: crate::history::Delta,
    now: u64,
) -> (Answer, Vec<Change>) {
    let place = Place::Scored(member);
    match shown(before, now).map(|shown| shown.content) {
        Some(Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::List(_) | Content::Stream(_)) => {
            return (Answer::WrongKind, vec![]);
        }
        // Whatever is added to an infinity, it stays one: that is a write of the whole score.
        Some(Content::SortedSet(members)) if members.get(member).is_some_and(|text| Decimal::parse(text).is_none()) => {
            let (_, changes) = put_element(before, key, place, Payload::Value(members[member].clone()), now);
            return (Answer::Done, changes);
        }
        Some(Content::SortedSet(_)) | None => {}
    }
    let mut change = element_write(before, key, Kind::SortedSet, now);
    change.adds.push((place, Payload::Increment(delta)));
    (Answer::Done, vec![change])
}

fn remove_element(before: &[&Atom], key: Key, place: Place, now: u64) -> (Answer, Vec<Change>) {
    let Some(kind) = kind_of(place) else { unreachable!("lifetimes are asserted, not removed") };
    match shown(before, now).map(|shown| contains(&shown.content, place)) {
        None | Some(Some(false)) => (Answer::Flag(false), vec![]),
        Some(None) => (Answer::WrongKind, vec![]),
        Some(Some(true)) => {
            let life = match place {
                Place::Field(field) => Place::FieldLife(field),
                _ => place,
            };
            let rest = before.iter().filter(|atom| kind_of(atom.place) == Some(kind));
            let rest = rest.filter(|atom| atom.place != place && atom.place != life);
            let change = if rest.count() == 0 {
                // The last one removes the key.
                Change { key, scope: vec![Scope::All], ..Change::default() }
            } else {
                let mut change = element_write(before, key, kind, now);
                change.scope.extend([Scope::Place(place), Scope::Place(life)]);
                change
            };
            (Answer::Flag(true), vec![change])
        }
    }
}

/// Whether the element is there; nothing if the content has another type.
fn contains(content: &Content, place: Place) -> Option<bool> {
    match (content, place) {
        (Content::String(_), Place::String) => Some(true),
        (Content::Hash(fields), Place::Field(field)) => Some(fields.contains_key(field)),
        (Content::Set(members), Place::Member(member)) => Some(members.contains(member)),
        (Content::SortedSet(members), Place::Scored(member)) => Some(members.contains_key(member)),
        (Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::SortedSet(_), _) => None,
        (Content::List(_) | Content::Stream(_), _) => None,
    }
}

/// A copy holds what is shown, as new writes; the target's former content goes.
fn copy(shown: Shown, target: Key, stamp: Stamp) -> Change {
    let mut adds: Vec<(Place, Payload)> = match shown.content {
        Content::String(value) => vec![(Place::String, Payload::Value(value))],
        Content::Hash(fields) => fields
            .into_iter()
            .flat_map(|(name, value)| {
                let life = shown.ends.get(&name).map_or(Life::Never, |&deadline| Life::Until(deadline));
                let name = known(&name);
                [(Place::Field(name), Payload::Value(value)), (Place::FieldLife(name), Payload::Life(life))]
            })
            .collect(),
        Content::Set(members) => {
            members.into_iter().map(|name| (Place::Member(spec_value::known(&name)), Payload::Member)).collect()
        }
        Content::List(texts) => spec_list::copied(texts, stamp),
        Content::Stream(content) => spec_stream::copied(content),
        Content::SortedSet(members) => members
            .into_iter()
            .map(|(name, score)| (Place::Scored(spec_value::known(&name)), Payload::Value(score)))
            .collect(),
    };
    adds.push((Place::Lifetime, Payload::Life(shown.life)));
    Change { key: target, scope: vec![Scope::All], adds }
}
