//! What consumer groups have delivered and acknowledged, as clients were told: what is acknowledged is delivered, pending or
//! acknowledged nowhere where that was known, and nothing is delivered twice in one life of a node.
//!
//! That is so for each *round* of a group: from when it was made, or set to another id, until that happens again. Whether two
//! commands belong to one round is told by which beginnings of rounds their nodes knew: the same ones, certainly.
//!
//! Ids are generated, so an entry of a stream is one and the same wherever it is met.

use crate::oracle::Key;
use crate::reply::Value;
use crdt::{NodeNumber, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// An entry of a stream.
type Entry = (Key, String);

/// Which beginnings of rounds were known, by their places.
type Known = BTreeSet<usize>;

/// What somebody did.
#[derive(Clone, Debug)]
struct Deed {
    life: usize,
    stamp: Stamp,
    /// What was known there of the group's rounds.
    known: Known,
    /// Nobody can tell whether it was done.
    is_doubtful: bool,
}

/// What is known of the group of a stream.
#[derive(Debug, Default)]
struct Group {
    beginnings: Vec<Deed>,
    acknowledged: BTreeMap<String, Vec<Deed>>,
    /// Of some of its rounds nobody knows who has them.
    is_untold: bool,
}

/// A command, and where it ran.
#[derive(Clone, Copy)]
pub struct Ran<'r> {
    /// In which life of a node.
    pub life: usize,
    /// In which database.
    pub database: u8,
    /// What was asked.
    pub args: &'r [String],
    /// What was answered.
    pub answer: &'r Value,
    /// The last stamp that the node had given out afterwards.
    pub stamp: Stamp,
    /// Which writes of a key its node had applied from elsewhere.
    pub sees: &'r dyn Fn(&Key, Stamp) -> bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    groups: BTreeMap<Key, Group>,
    delivered: BTreeSet<(usize, Known, Entry)>,
    /// What may be pending in a life: `NOACK` acknowledges nothing of that which is. (It may have been acknowledged elsewhere,
    /// or its group destroyed.)
    pending: BTreeSet<(usize, Entry)>,
}

impl Ran<'_> {
    fn key(&self, at: usize) -> Option<Key> {
        Some(Key::new(self.database, self.args.get(at)?))
    }

    fn knows(&self, key: &Key, deed: &Deed) -> bool {
        deed.life == self.life || (self.sees)(key, deed.stamp)
    }

    fn deed(&self, known: Known) -> Deed {
        Deed { life: self.life, stamp: self.stamp, known, is_doubtful: false }
    }
}

impl Group {
    fn known(&self, knows: impl Fn(&Deed) -> bool) -> Known {
        let known = self.beginnings.iter().enumerate().filter(|(_, beginning)| knows(beginning));
        known.map(|(place, _)| place).collect()
    }

    /// The beginnings that no other known one follows.
    fn latest(&self, known: &Known) -> Known {
        let followed: Known = known.iter().flat_map(|&place| self.beginnings[place].known.iter().copied()).collect();
        known - &followed
    }
}

impl Deliveries {
    /// Notes a command. Says what is wrong with what it answered.
    pub fn note(&mut self, ran: &Ran<'_>) -> Option<String> {
        match ran.args.first()?.as_str() {
            "XGROUP" => {
                self.note_round(ran);
                None
            }
            "XREADGROUP" => self.note_delivery(ran),
            "XACK" => {
                let (key, id) = (ran.key(1)?, ran.args.get(3)?);
                let is_new = *ran.answer == Value::Integer(1);
                if !is_new {
                    return None;
                }
                self.pending.remove(&(ran.life, (key.clone(), id.clone())));
                self.note_acknowledgement(ran, key, id, false)
            }
            "XCLAIM" => self.judge_pending(ran, &ran.key(1)?, texts(ran.answer)),
            "XAUTOCLAIM" => self.judge_pending(ran, &ran.key(1)?, texts(ran.answer.elements().get(1)?)),
            "XPENDING" if ran.args.len() > 3 => {
                let ids = ran.answer.elements().iter().filter_map(|entry| entry.elements().first()?.text());
                self.judge_pending(ran, &ran.key(1)?, ids.map(str::to_owned).collect())
            }
            _ => None,
        }
    }

    /// A group was made, set to another id or destroyed.
    fn note_round(&mut self, ran: &Ran<'_>) {
        let is_done = *ran.answer == Value::ok() || *ran.answer == Value::Integer(1);
        if let (true, Some(key)) = (is_done, ran.key(2)) {
            let group = self.groups.entry(key.clone()).or_default();
            let known = group.known(|deed| ran.knows(&key, deed));
            group.beginnings.push(ran.deed(known));
        }
    }

    fn note_delivery(&mut self, ran: &Ran<'_>) -> Option<String> {
        let streams = ran.args.iter().position(|word| word == "STREAMS")?;
        let key = ran.key(streams + 1)?;
        let ids = ids_of(ran.answer);
        if ran.args.get(streams + 2)? != ">" {
            return self.judge_pending(ran, &key, ids);
        }
        let mut wrong = self.judge_pending(ran, &key, ids.clone());
        let known = self.groups.entry(key.clone()).or_default().known(|deed| ran.knows(&key, deed));
        for id in ids {
            let entry = (key.clone(), id);
            if !self.delivered.insert((ran.life, known.clone(), entry.clone())) {
                wrong = Some(format!("{entry:?} is delivered once more"));
            }
            let may_be_pending = (ran.life, entry.clone());
            if !ran.args.iter().any(|word| word == "NOACK") {
                self.pending.insert(may_be_pending);
                continue;
            }
            let is_doubtful = self.pending.contains(&may_be_pending);
            wrong = wrong.or(self.note_acknowledgement(ran, key.clone(), &entry.1, is_doubtful));
        }
        wrong
    }

    fn note_acknowledgement(&mut self, ran: &Ran<'_>, key: Key, id: &str, is_doubtful: bool) -> Option<String> {
        let wrong = self.judge_pending(ran, &key, vec![id.to_owned()]);
        let group = self.groups.entry(key.clone()).or_default();
        let known = group.known(|deed| ran.knows(&key, deed));
        group.acknowledged.entry(id.to_owned()).or_default().push(Deed { is_doubtful, ..ran.deed(known) });
        wrong
    }

    /// What is wrong with finding these entries unacknowledged.
    fn judge_pending(&mut self, ran: &Ran<'_>, key: &Key, ids: Vec<String>) -> Option<String> {
        let group = self.groups.entry(key.clone()).or_default();
        let known = group.known(|deed| ran.knows(key, deed));
        if group.is_untold {
            return None;
        }
        ids.into_iter().find_map(|id| {
            let mut deeds = group.acknowledged.get(&id).into_iter().flatten();
            let deed = deeds.find(|deed| !deed.is_doubtful && ran.knows(key, deed) && deed.known == known)?;
            let name = &key.name;
            Some(format!(
                "{id} of {name} was acknowledged by {:?} in life {}, of which {:?} does not know",
                deed.stamp, deed.life, ran.args
            ))
        })
    }

    /// Whether an entry was acknowledged anywhere in a round that is going on where these writes are seen, or nobody can tell.
    pub fn is_acknowledged(&self, key: &Key, id: &str, sees: &dyn Fn(Stamp) -> bool) -> bool {
        let Some(group) = self.groups.get(key) else { return false };
        let latest = group.latest(&group.known(|deed| sees(deed.stamp)));
        let is_in_round = |deed: &Deed| latest.is_empty() || !deed.known.is_disjoint(&latest);
        let mut deeds = group.acknowledged.get(id).into_iter().flatten();
        group.is_untold || deeds.any(is_in_round)
    }

    /// The streams of which something was delivered.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.delivered.iter().map(|(_, _, (key, _))| key.clone()).collect()
    }

    /// What was written under a number after `kept` and up to `last` is gone with the process that wrote it. That it was
    /// acknowledged is known to nobody else, and a round that began there never did.
    pub fn void(&mut self, number: NodeNumber, kept: Stamp, last: Stamp) {
        self.remove(|stamp| stamp.author() == number && stamp > kept && stamp <= last, false);
    }

    /// Of what was written under a number after `whole` and up to `at` nobody knows who has it.
    pub fn set_untold(&mut self, number: NodeNumber, whole: Stamp, at: Stamp) {
        self.remove(|stamp| stamp.author() == number && stamp > whole && stamp <= at, true);
    }

    fn remove(&mut self, goes: impl Fn(Stamp) -> bool, makes_untold: bool) {
        for group in self.groups.values_mut() {
            let deeds = group.acknowledged.values().flatten().chain(&group.beginnings);
            if makes_untold {
                group.is_untold |= deeds.map(|deed| deed.stamp).any(&goes);
                continue;
            }
            group.acknowledged.values_mut().for_each(|deeds| deeds.retain(|deed| !goes(deed.stamp)));
            // SUBTLE: the places of beginnings are their names. One that never happened is known to nobody.
            let gone = group.beginnings.iter_mut().filter(|beginning| goes(beginning.stamp));
            gone.for_each(|beginning| (beginning.life, beginning.stamp) = (usize::MAX, Stamp::MAX));
        }
    }
}

/// The ids in an answer that names one stream.
pub fn ids_of(answer: &Value) -> Vec<String> {
    let streams = answer.elements().iter().filter_map(|stream| stream.elements().get(1));
    let entries = streams.flat_map(Value::elements);
    entries.filter_map(|entry| Some(entry.elements().first()?.text()?.to_owned())).collect()
}

fn texts(answer: &Value) -> Vec<String> {
    answer.elements().iter().filter_map(|value| Some(value.text()?.to_owned())).collect()
}
