//! A script is played at replicas and in the history at once, and compared after every step.

use crate::generator::{GRACE_MS, KEYS, Profile, Step};
use crate::history::{Atom, History, Key, Life, Payload, Place, Write};
use crate::replicas::{Arrival, Cluster, Traffic};
use crate::spec;
use crate::spec_lifetime::is_over;
use crate::spec_value::NAMES;
use crate::standing::Standing;
use crate::system::{System, slots};
use crdt::Stamp;
use std::collections::BTreeSet;

/// A slot is visited by sweeps twice a second at most.
const VISIT_MS: u64 = 1000;
/// After so long every life that a test asserts is over.
const LIVES_END_MS: u64 = 1_000_000;

pub struct World {
    pub cluster: Cluster<System>,
    pub history: History,
    profile: Profile,
    /// Replicas with buckets of which not everything has arrived: nobody says what these show until then.
    unsettled: BTreeSet<(usize, usize)>,
    standing: Standing,
}

impl World {
    /// Replicas whose clocks begin near `start`.
    pub fn new(profile: &Profile, start: u64) -> Self {
        let skewed = |index: usize| start + profile.skew * index as u64 / 2 * 2 / 3 * 2;
        let replicas = (0..profile.replicas).map(|index| System::new(index, skewed(index) & !1)).collect();
        let history = History::new(profile.replicas, &KEYS[..profile.keys]);
        let mut cluster = Cluster::new(replicas, slots().len());
        cluster.tells_known = profile.folds;
        let standing = Standing::new(profile.replicas);
        Self { cluster, history, profile: *profile, unsettled: BTreeSet::new(), standing }
    }

    /// Plays a script and says what was wrong, if anything was.
    pub fn play(profile: &Profile, start: u64, script: &[Step]) -> Option<String> {
        let mut world = Self::new(profile, start);
        for (index, step) in script.iter().enumerate() {
            if world.history.is_full() {
                break;
            }
            if let Some(wrong) = world.step(step).or_else(|| world.standing.look(&world.cluster, step)) {
                return Some(format!("at step {index}: {wrong}"));
            }
        }
        world.finish()
    }

    /// One step, and what is wrong after it.
    pub fn step(&mut self, step: &Step) -> Option<String> {
        match step {
            // What is written while a transfer of state goes on may be seen elsewhere before what its replica had seen of
            // that state; the contract excepts it. See `wild.rs` for such writes.
            Step::Commands { at, .. } | Step::Sweep { at, .. } if self.is_receiving(*at) => None,
            Step::Commands { at, writer, commands } => {
                self.commands(*at, *writer, commands).or_else(|| self.check(*at))
            }
            Step::Tick { at, ms } => {
                self.cluster.replicas[*at].now += ms;
                self.check(*at)
            }
            Step::Sweep { at, steps_in } => self.sweep(*at, *steps_in).or_else(|| self.check(*at)),
            Step::Restart { at, lost, clean } => self.restart(*at, *lost, *clean),
            Step::Renumber { at } if self.cluster.has_numbers() => {
                self.cluster.renumber(*at);
                self.check(*at)
            }
            Step::Renumber { .. } => None,
            Step::Traffic(traffic) => self.traffic(*traffic),
        }
    }

    fn commands(&mut self, at: usize, writer: usize, commands: &[Vec<Write>]) -> Option<String> {
        let now = self.cluster.replicas[at].now;
        let answers = self.cluster.replicas[at].run(writer, commands);
        for (command, (answers, stamp)) in commands.iter().zip(answers) {
            for (write, answer) in command.iter().zip(answers) {
                let (event, expected) = self.history.write(at, write, stamp, now);
                event.into_iter().for_each(|event| self.cluster.wrote(at, event));
                if answer != expected {
                    return Some(format!("{write:?} at {at} answers {answer:?}, not {expected:?}"));
                }
            }
        }
        None
    }

    fn sweep(&mut self, at: usize, steps_in: Option<&str>) -> Option<String> {
        self.cluster.replicas[at].now += VISIT_MS;
        let now = self.cluster.replicas[at].now;
        let keys = self.history.keys().to_vec();
        let (over, left): (Vec<Key>, Vec<Key>) =
            keys.into_iter().partition(|&key| self.is_to_be_removed(at, key, steps_in, now));
        let fields: Vec<(Key, &str)> = left
            .into_iter()
            .flat_map(|key| NAMES.map(|field| (key, field)))
            .filter(|&(key, field)| self.is_field_to_be_removed(at, key, field, steps_in, now))
            .collect();
        let swept = self.cluster.replicas[at].sweep(steps_in, GRACE_MS);
        if (swept.expired + swept.ghosts, swept.fields) != (over.len() as u64, fields.len() as u64) {
            return Some(format!("the sweep at {at} for {steps_in:?} removed {swept:?}, not {over:?} and {fields:?}"));
        }
        for (key, field) in fields {
            let stamp = self.cluster.replicas[at].keyspace.clock();
            let (event, _) = self.history.write(at, &Write::ExpiredField { key, field }, stamp, now);
            event.into_iter().for_each(|event| self.cluster.wrote(at, event));
        }
        for key in over {
            let stamp = self.cluster.replicas[at].keyspace.clock();
            let (event, _) = self.history.write(at, &Write::Expired { key }, stamp, now);
            event.into_iter().for_each(|event| self.cluster.wrote(at, event));
        }
        None
    }

    /// Whether a sweep has to remove a key: its life is over, or only assertions are left of it; and the one that counts
    /// is the replica's own, or the grace period is over and the replica steps in.
    fn is_to_be_removed(&self, at: usize, key: Key, steps_in: Option<&str>, now: u64) -> bool {
        let standing = self.history.standing(at, key);
        let ghost = standing.iter().all(|atom| atom.place == Place::Lifetime);
        self.is_over_here(at, lives_of(&standing, Place::Lifetime).max(), ghost, steps_in == Some(key.1), now)
    }

    /// The same of a field.
    fn is_field_to_be_removed(
        &self,
        at: usize,
        key: Key,
        field: &'static str,
        steps_in: Option<&str>,
        now: u64,
    ) -> bool {
        let standing = self.history.standing(at, key);
        let ghost = standing.iter().all(|atom| atom.place != Place::Field(field));
        let winner = lives_of(&standing, Place::FieldLife(field)).max();
        self.is_over_here(at, winner, ghost, steps_in == Some(key.1), now)
    }

    fn is_over_here(&self, at: usize, winner: Option<(Life, Stamp)>, ghost: bool, steps_in: bool, now: u64) -> bool {
        let Some((life, stamp)) = winner else { return false };
        let over = match life {
            Life::Until(deadline) => deadline,
            Life::Never if ghost => stamp.unix_ms(),
            Life::Never => return false,
        };
        let own = self.cluster.owns(at, stamp.author()) && (ghost || is_over(life, now));
        own || (steps_in && over + GRACE_MS <= now)
    }

    /// A replica goes on from its journal. Without a loss it is what it was.
    fn restart(&mut self, at: usize, lost: usize, clean: bool) -> Option<String> {
        if lost > 0 && !self.cluster.has_numbers() {
            return None;
        }
        let former = &self.cluster.replicas[at];
        let mut empty = System::new(at, former.now);
        empty.numbers = former.numbers.clone();
        let events = self.cluster.restart(at, lost, clean, empty);
        self.history.forget(at);
        events.into_iter().for_each(|event| self.history.deliver(at, event));
        self.check(at)
    }

    fn is_receiving(&self, at: usize) -> bool {
        self.cluster.is_receiving(at) || self.is_unsettled(at) || self.history.is_ahead(at)
    }

    fn is_unsettled(&self, at: usize) -> bool {
        self.unsettled.iter().any(|&(replica, _)| replica == at)
    }

    fn traffic(&mut self, traffic: Traffic) -> Option<String> {
        let arrivals = self.cluster.step(traffic);
        self.arrived(arrivals).into_iter().find_map(|at| self.check(at))
    }

    /// Takes arrivals into the history. Returns the replicas that they concern.
    fn arrived(&mut self, arrivals: Vec<Arrival>) -> BTreeSet<usize> {
        let mut touched = BTreeSet::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Events { to, events } => {
                    events.into_iter().for_each(|event| self.history.deliver(to, event));
                    touched.insert(to);
                }
                Arrival::Bucket { source, to, bucket, settled } => {
                    let keys = self.history.keys().to_vec();
                    for key in keys.into_iter().filter(|&key| bucket_of(key) == bucket) {
                        self.history.transfer(source, to, key);
                    }
                    if settled && !self.unsettled.contains(&(source, bucket)) {
                        self.unsettled.remove(&(to, bucket));
                    } else {
                        self.unsettled.insert((to, bucket));
                    }
                    touched.insert(to);
                }
            }
        }
        touched
    }

    /// Whether a replica shows what it has to, and counts keys as long as anything is there, expired or not.
    fn check(&mut self, at: usize) -> Option<String> {
        let now = self.cluster.replicas[at].now;
        let mut counts = [0; keyspace::DATABASES as usize];
        let mut with_end = [0; keyspace::DATABASES as usize];
        for &key in self.history.keys() {
            let standing = self.history.standing(at, key);
            let has_content = standing.iter().any(|atom| atom.place != Place::Lifetime);
            counts[usize::from(key.0)] += u64::from(has_content);
            let ends = has_content && matches!(life_of(&standing), Some(Life::Until(_)));
            with_end[usize::from(key.0)] += u64::from(ends);
            if self.unsettled.contains(&(at, bucket_of(key))) {
                continue;
            }
            let (expected, shown) = (spec::shown(&standing, now), self.cluster.replicas[at].shown(key));
            if shown != expected {
                return Some(format!("{key:?} at {at} is {shown:?}, not {expected:?}"));
            }
        }
        let lens: [u64; keyspace::DATABASES as usize] =
            std::array::from_fn(|database| self.cluster.replicas[at].len(database as u8));
        if lens != counts && !self.is_unsettled(at) {
            return Some(format!("{at} counts {lens:?} keys in its databases, not {counts:?}"));
        }
        let keyspace = &self.cluster.replicas[at].keyspace;
        let ends: [u64; keyspace::DATABASES as usize] =
            std::array::from_fn(|database| keyspace.keys_with_end(database as u8));
        let differ = ends != with_end && !self.is_unsettled(at);
        differ.then(|| format!("{at} counts {ends:?} keys with an end in its databases, not {with_end:?}"))
    }

    /// Everything is exchanged: all replicas are equal. Then every life ends, then every key is removed: nothing stays.
    fn finish(&mut self) -> Option<String> {
        self.exchange().or_else(|| self.end_lives()).or_else(|| self.remove_all())
    }

    fn exchange(&mut self) -> Option<String> {
        let arrivals = self.cluster.settle();
        let now = self.cluster.replicas.iter().map(|replica| replica.now).max()?;
        self.cluster.replicas.iter_mut().for_each(|replica| replica.now = now);
        self.arrived(arrivals);
        self.unsettled.clear();
        self.cluster.stuck().or_else(|| self.all(Self::check)).or_else(|| self.all(Self::check_equal))
    }

    /// The owners of lives remove what is over; what never ends is left.
    fn end_lives(&mut self) -> Option<String> {
        self.cluster.replicas.iter_mut().for_each(|replica| replica.now += LIVES_END_MS);
        // Ghosts may come to light only when the content is gone.
        for _ in 0..2 {
            if let Some(wrong) = self.all(|world, at| world.sweep(at, None)).or_else(|| self.exchange()) {
                return Some(wrong);
            }
        }
        // One of them is enough: all show the same.
        let replica = &mut self.cluster.replicas[0];
        let (len, scanned) = (replica.len(0), replica.scanned(0));
        (len != scanned.len() as u64).then(|| format!("{len} keys are counted, {scanned:?} are there"))
    }

    fn remove_all(&mut self) -> Option<String> {
        let deletes = self.history.keys().iter().map(|&key| vec![Write::Delete { key }]).collect::<Vec<_>>();
        self.commands(0, 0, &deletes).or_else(|| self.exchange()).or_else(|| {
            self.all(|world, at| {
                let replica = &world.cluster.replicas[at];
                let digests = replica.digests();
                let left = digests.iter().any(|digest| *digest != 0).then(|| format!("digests {digests:?}"));
                left.or_else(|| replica.leftovers()).map(|left| format!("{at} still keeps {left}"))
            })
        })
    }

    /// Whether a replica is equal to the first.
    fn check_equal(&mut self, at: usize) -> Option<String> {
        let (first, digests) = (self.cluster.replicas[0].digests(), self.cluster.replicas[at].digests());
        if digests != first {
            return Some(format!("the digests at {at} are {digests:?}, not {first:?}"));
        }
        let keyspace = &self.cluster.replicas[at].keyspace;
        let patched = keyspace.patched_strings();
        if self.profile.folds && patched > 0 {
            return Some(format!("{at} keeps patches of {patched} strings that all have"));
        }
        let (counted, early) = (keyspace.early_dots(), keyspace.early().0);
        (counted != early).then(|| format!("{at} counts {counted} early dots and has {early}"))
    }

    fn all(&mut self, mut check: impl FnMut(&mut Self, usize) -> Option<String>) -> Option<String> {
        (0..self.profile.replicas).find_map(|at| check(self, at))
    }
}

/// The assertions about the life of a key or field with their stamps.
fn lives_of<'s>(standing: &'s [&Atom], place: Place) -> impl Iterator<Item = (Life, Stamp)> + use<'s> {
    standing.iter().filter(move |atom| atom.place == place).filter_map(|atom| match atom.payload {
        Payload::Life(life) => Some((life, atom.stamp)),
        Payload::Value(_) | Payload::Increment(_) | Payload::Patch(_) | Payload::Member => None,
        Payload::Entry(..) | Payload::Head(_) => None,
    })
}

/// The assertion that counts.
fn life_of(standing: &[&Atom]) -> Option<Life> {
    lives_of(standing, Place::Lifetime).map(|(life, _)| life).max()
}

fn bucket_of(key: Key) -> usize {
    let slot = keyspace::slot_of(key.1.as_bytes());
    slots().binary_search(&slot).unwrap()
}
