//! What every node holds at the end is what the contract makes of all writes.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::oracle::history::sketch_text;
use crate::oracle::streams::StreamContent;
use crate::oracle::{Content, History, Key, Life, Shown, shown};
use crate::workload::SKETCHED;
use crate::world::World;
use crdt::{NodeNumber, Stamp, StreamId, VersionVector};
use keyspace::{Database, Kind, Lifetime, StreamItem, Writer};
use server::node::Node;
use std::collections::{BTreeMap, BTreeSet};

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "contents",
    summary: "every key holds on every node what the contract makes of the whole history: counters the sum of all \
              increments, nothing removed that was not observed, and no key that nobody wrote",
    looked_at: Looked::AtTheEnd(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    let observer = world.observer.borrow();
    for index in world.live() {
        let Some(node) = world.node(index) else { continue };
        if let Some(difference) = difference(&observer.history, &node) {
            return Err(Broken::new(INVARIANT.name, format!("at {}: {difference}", world.hosts[index].name)));
        }
    }
    Ok(())
}

/// The first key that a node holds otherwise than this history says.
pub fn difference(history: &History, node: &Node) -> Option<String> {
    let now = node.wall_clock();
    let mut writer = node.keyspace.writer();
    let (me, applied) = (node.keyspace.number(), node.keyspace.applied());
    let sees = |stamp: Stamp| is_seen(stamp, me, &applied);
    for key in history.keys().filter(|key| !history.is_uncertain(key)) {
        let expected = shown(&history.standing(key, &sees), now);
        let actual = read(&mut writer, key, now);
        if expected != actual {
            return Some(format!("{key:?} is {actual:?}, not {expected:?}"));
        }
    }
    for database in 0..keyspace::DATABASES {
        let mut unknown = None;
        let mut access = writer.access_none(now);
        access.scan(Database(database), 0, usize::MAX, &mut |name, _| {
            let key = Key::new(database, &String::from_utf8_lossy(name));
            if !history.keys().any(|known| *known == key) {
                unknown.get_or_insert(key);
            }
        });
        if let Some(key) = unknown {
            return Some(format!("{key:?} is there and nobody wrote it"));
        }
    }
    None
}

fn is_seen(stamp: Stamp, me: NodeNumber, applied: &VersionVector) -> bool {
    stamp.author() == me || applied.covers(stamp)
}

/// What a reader finds under a key.
fn read(writer: &mut Writer, key: &Key, now: u64) -> Option<Shown> {
    let (database, name) = (Database(key.database), key.name.as_bytes());
    let mut access = writer.access(now, &[name]);
    let kind = access.kind(database, name)?;
    let life = match access.lifetime(database, name)? {
        Lifetime::Never => Life::Never,
        Lifetime::Until(deadline) => Life::Until(deadline),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut ends = BTreeMap::new();
    let content = match kind {
        Kind::String => {
            let bytes = access.string(database, name).ok()??;
            Content::String(sketched(&bytes).unwrap_or_else(|| text(&bytes)))
        }
        Kind::Hash => {
            let fields = access.hash(database, name).ok()??;
            ends.extend(fields.iter_with_lives().filter_map(|(field, _, lifetime)| match lifetime {
                Lifetime::Until(deadline) => Some((text(field), deadline)),
                Lifetime::Never => None,
            }));
            Content::Hash(fields.iter().map(|(field, value)| (text(field), text(&value))).collect())
        }
        Kind::Set => Content::Set(access.set(database, name).ok()??.iter().map(|(member, _)| text(member)).collect()),
        Kind::SortedSet => {
            let members = access.sorted_set(database, name).ok()??;
            Content::SortedSet(members.iter().map(|(member, score)| (text(member), score.to_string())).collect())
        }
        Kind::List => Content::List(access.list(database, name).ok()??.iter().map(|element| text(&element)).collect()),
        Kind::Stream => {
            let stream = access.stream(database, name).ok()??;
            let pair = |id: StreamId| (id.ms, id.sequence);
            let entry = |item: StreamItem<'_>| {
                let mut words = Vec::new();
                item.each_pair(|field, value| words.extend([text(field), text(value)]));
                (pair(item.id), words.join(" "))
            };
            Content::Stream(StreamContent {
                entries: stream.range(StreamId::ZERO, StreamId::MAX).map(entry).collect(),
                last: pair(stream.last_id()),
                deleted: pair(stream.max_deleted_id()),
                added: stream.entries_added(),
            })
        }
    };
    Some(Shown { content, life, ends })
}

/// How the oracle writes a sketch; nothing for any other text. A register that no element of the workload raises so far shows
/// as what it is.
fn sketched(bytes: &[u8]) -> Option<String> {
    crdt::sketch::form(bytes)?;
    let mut elements = BTreeSet::new();
    for register in 0..crdt::sketch::REGISTERS {
        let value = crdt::sketch::value(bytes, register).ok()?;
        let known = SKETCHED.iter().find(|(_, raised, to)| (*raised, *to) == (register, value));
        match known {
            Some((element, ..)) => elements.insert((*element).to_owned()),
            None if value > 0 => elements.insert(format!("{register}:{value}")),
            None => false,
        };
    }
    Some(sketch_text(&elements))
}
