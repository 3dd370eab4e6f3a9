//! What follows from a membership: who is active under which name, where the numbers stand, and what is wrong. Nothing
//! here is exchanged; two members with equal data have equal views.

use super::Facts;
use super::numbers::{Holding, NumberTable};
use super::record::{MemberRecord, NodeIdentity};
use crate::{NODE_NUMBERS_MAX, NodeNumber, Stamp};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It takes part.
    Active,
    /// Its admission is refused: this earlier member has the name. It stands once that one is removed or renamed.
    NameRefused {
        /// Who has the name.
        holder: NodeIdentity,
    },
}

/// A node that was admitted and not removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who it is.
    pub identity: NodeIdentity,
    /// What is known of it.
    pub record: MemberRecord,
    /// When it was admitted; the earlier of two keeps a name.
    pub admitted: Stamp,
    /// How it stands.
    pub state: MemberState,
    /// All its numbers in the order in which it got them; it uses the last one.
    pub numbers: Vec<NodeNumber>,
}

/// Something an operator has to know: the data contradict themselves. Every member sees the same alarms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MembershipAlarm {
    /// Two nodes were admitted under one name; the later admission is refused.
    NameTaken {
        /// The name.
        name: String,
        /// Who keeps it.
        holder: NodeIdentity,
        /// Who is refused.
        refused: NodeIdentity,
    },
    /// A number was given away by a member that did not have it any more: two lives of one directory. The earlier
    /// grant stands.
    NumberGrantedTwice {
        /// The number, the lowest of them if it was a range.
        number: NodeNumber,
        /// Who has it.
        holder: Option<NodeIdentity>,
        /// Who does not.
        refused: NodeIdentity,
    },
}

/// One thing that a merge brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// A node became an active member.
    Joined(NodeIdentity),
    /// An active member's record changed.
    Updated(NodeIdentity),
    /// A member is none any more, or its admission is refused after all.
    Left(NodeIdentity),
    /// An identity was removed for ever.
    Removed(NodeIdentity),
    /// A number was spent.
    NumberSpent {
        /// The number.
        number: NodeNumber,
        /// Whose it is.
        owner: NodeIdentity,
    },
    /// Batches of this number are let in up to this stamp, although they are ahead of the clocks.
    DriftReleased {
        /// The number.
        number: NodeNumber,
        /// Up to here.
        up_to: Stamp,
    },
    /// A removed number is closed.
    Sealed {
        /// The number.
        number: NodeNumber,
        /// Nothing of it comes after this.
        at: Stamp,
    },
    /// A member told what it holds of a removed identity.
    RemovalReported {
        /// Who was removed.
        removed: NodeIdentity,
        /// Who told.
        reporter: NodeIdentity,
    },
}

/// What a merge brought; empty if there was nothing new.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MergeOutcome {
    /// Whether the data changed at all: then they have to be made durable, and passed on.
    pub changed: bool,
    /// What changed, for those who act on it.
    pub changes: Vec<MembershipChange>,
    /// Alarms that were not there before.
    pub alarms: Vec<MembershipAlarm>,
}

type Reports = BTreeMap<(NodeIdentity, NodeIdentity), BTreeMap<NodeNumber, Stamp>>;

/// What follows from a membership.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) table: NumberTable,
    pub(super) hash: u64,
    pub(super) latest: Stamp,
    members: Vec<Member>,
    spent: BTreeMap<NodeIdentity, Vec<NodeNumber>>,
    removed: BTreeSet<NodeIdentity>,
    alarms: BTreeSet<MembershipAlarm>,
    released: BTreeMap<NodeNumber, Stamp>,
    sealed: BTreeMap<NodeNumber, Stamp>,
    reports: Reports,
}

impl View {
    pub(super) fn of(facts: &Facts) -> Self {
        let grants = facts.grants.read();
        let (table, refusals) = NumberTable::of(grants.iter());
        let mut alarms: BTreeSet<_> = refusals
            .into_iter()
            .filter_map(|refusal| {
                let number = NodeNumber::new(refusal.number)?;
                Some(MembershipAlarm::NumberGrantedTwice { number, holder: refusal.holder, refused: refusal.receiver })
            })
            .collect();
        let spent = spent_by_owner(&table);
        let members = members_of(facts, &spent);
        for member in &members {
            if let MemberState::NameRefused { holder } = member.state {
                let name = member.record.name.clone();
                alarms.insert(MembershipAlarm::NameTaken { name, holder, refused: member.identity });
            }
        }
        let of_records = facts.records.values().map(|register| register.marker.stamp);
        let latest = of_records.chain(grants.iter().map(|grant| grant.stamp)).max().unwrap_or(Stamp::ZERO);
        Self {
            table,
            hash: xxhash_rust::xxh3::xxh3_64(&facts.encode()),
            latest,
            members,
            spent,
            removed: facts.removed.read(),
            alarms,
            released: facts.released.clone(),
            sealed: facts.sealed.clone(),
            reports: facts.reports.clone(),
        }
    }

    /// Everybody who was admitted and not removed, in order of identity. See [`Member::state`].
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that take part.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state == MemberState::Active)
    }

    /// The member with this identity.
    pub fn member(&self, identity: NodeIdentity) -> Option<&Member> {
        let index = self.members.binary_search_by_key(&identity, |member| member.identity).ok()?;
        self.members.get(index)
    }

    /// The active member with this name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.active().find(|member| member.record.name == name)
    }

    /// All identities that were ever removed.
    pub fn removed(&self) -> &BTreeSet<NodeIdentity> {
        &self.removed
    }

    /// What is wrong.
    pub fn alarms(&self) -> &BTreeSet<MembershipAlarm> {
        &self.alarms
    }

    /// Every spent number and whose it is, removed identities included, in order of number.
    pub fn owners(&self) -> impl Iterator<Item = (NodeNumber, NodeIdentity)> + '_ {
        self.table.iter().filter_map(|(number, holding)| match holding {
            Holding::Spent(owner, _) => Some((number, owner)),
            Holding::Nobody | Holding::Unspent(_) => None,
        })
    }

    /// All numbers of an identity in the order in which it got them.
    pub fn numbers_of(&self, identity: NodeIdentity) -> &[NodeNumber] {
        self.spent.get(&identity).map_or(&[], Vec::as_slice)
    }

    /// How many numbers a member can still hand out.
    pub fn unspent_of(&self, member: NodeIdentity) -> usize {
        self.table.unspent_of(member).count()
    }

    /// How many of the 1024 numbers are gone: spent, or stranded in the range of a removed identity.
    pub fn numbers_gone(&self) -> u16 {
        let left = self.table.iter().filter(|(_, holding)| match holding {
            Holding::Unspent(holder) => !self.removed.contains(holder),
            Holding::Nobody => true,
            Holding::Spent(..) => false,
        });
        NODE_NUMBERS_MAX - u16::try_from(left.count()).unwrap_or(NODE_NUMBERS_MAX)
    }

    /// The share of all numbers that is gone, `0.0..=1.0`.
    pub fn numbers_gone_share(&self) -> f64 {
        f64::from(self.numbers_gone()) / f64::from(NODE_NUMBERS_MAX)
    }

    /// Up to where batches of a number are let in although they are ahead of the clocks.
    pub fn drift_released(&self, number: NodeNumber) -> Option<Stamp> {
        self.released.get(&number).copied()
    }

    /// Where a removed number is closed.
    pub fn sealed(&self, number: NodeNumber) -> Option<Stamp> {
        self.sealed.get(&number).copied()
    }

    /// All closed numbers, in order.
    pub fn all_sealed(&self) -> impl Iterator<Item = (NodeNumber, Stamp)> + '_ {
        self.sealed.iter().map(|(&number, &stamp)| (number, stamp))
    }

    /// The active members that have not yet told what they hold of a removed identity.
    pub fn reports_missing(&self, removed: NodeIdentity) -> Vec<NodeIdentity> {
        let missing = |member: &&Member| !self.reports.contains_key(&(removed, member.identity));
        self.active().filter(missing).map(|member| member.identity).collect()
    }

    /// For every number of a removed identity the highest stamp that any member reported, and one who reported it; the
    /// number itself if nobody holds anything of it. Meaningful once nobody is missing.
    pub fn held_of(&self, removed: NodeIdentity) -> Vec<(NodeNumber, Stamp, Option<NodeIdentity>)> {
        let held = |number: NodeNumber| {
            let of_number = self.reports.iter().filter(|((about, _), _)| *about == removed);
            let stamps = of_number.filter_map(|((_, reporter), report)| Some((*report.get(&number)?, *reporter)));
            match stamps.max() {
                Some((stamp, reporter)) => (number, stamp, Some(reporter)),
                None => (number, Stamp::ZERO, None),
            }
        };
        self.numbers_of(removed).iter().copied().map(held).collect()
    }
}

/// The spent numbers of each identity in the order in which it got them.
fn spent_by_owner(table: &NumberTable) -> BTreeMap<NodeIdentity, Vec<NodeNumber>> {
    let mut spent: Vec<(Stamp, NodeNumber, NodeIdentity)> = table
        .iter()
        .filter_map(|(number, holding)| match holding {
            Holding::Spent(owner, since) => Some((since, number, owner)),
            Holding::Nobody | Holding::Unspent(_) => None,
        })
        .collect();
    spent.sort_unstable();
    let mut by_owner: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, number, owner) in spent {
        by_owner.entry(owner).or_default().push(number);
    }
    by_owner
}

fn members_of(facts: &Facts, spent: &BTreeMap<NodeIdentity, Vec<NodeNumber>>) -> Vec<Member> {
    let mut holders: BTreeMap<&str, (Stamp, NodeIdentity)> = BTreeMap::new();
    for (&identity, register) in &facts.records {
        let candidate = (register.val.admitted, identity);
        let holder = holders.entry(&register.val.record.name).or_insert(candidate);
        *holder = candidate.min(*holder);
    }
    let member = |(&identity, register): (&NodeIdentity, &crdts::LWWReg<super::Admission, super::Marker>)| {
        let (record, admitted) = (register.val.record.clone(), register.val.admitted);
        let holder = holders.get(record.name.as_str()).map_or(identity, |&(_, holder)| holder);
        let state = if holder == identity { MemberState::Active } else { MemberState::NameRefused { holder } };
        Member { identity, record, admitted, state, numbers: spent.get(&identity).cloned().unwrap_or_default() }
    };
    facts.records.iter().map(member).collect()
}

impl MergeOutcome {
    /// What is in `after` and was not in `before`.
    pub(super) fn between(before: &View, after: &View) -> Self {
        if before.hash == after.hash {
            return Self::default();
        }
        let mut changes: Vec<_> =
            after.removed.difference(&before.removed).map(|&identity| MembershipChange::Removed(identity)).collect();
        changes.extend(member_changes(before, after));
        let owned: BTreeMap<_, _> = before.owners().collect();
        let spent = after.owners().filter(|(number, owner)| owned.get(number) != Some(owner));
        changes.extend(spent.map(|(number, owner)| MembershipChange::NumberSpent { number, owner }));
        let released = moved(&before.released, &after.released);
        changes.extend(released.map(|(number, up_to)| MembershipChange::DriftReleased { number, up_to }));
        let sealed = moved(&before.sealed, &after.sealed);
        changes.extend(sealed.map(|(number, at)| MembershipChange::Sealed { number, at }));
        let reported = after.reports.iter().filter(|(key, report)| before.reports.get(key) != Some(report));
        changes
            .extend(reported.map(|(&(removed, reporter), _)| MembershipChange::RemovalReported { removed, reporter }));
        let alarms = after.alarms.difference(&before.alarms).cloned().collect();
        Self { changed: true, changes, alarms }
    }
}

fn member_changes(before: &View, after: &View) -> Vec<MembershipChange> {
    let active_before: BTreeMap<_, _> = before.active().map(|member| (member.identity, member)).collect();
    let active_after: BTreeMap<_, _> = after.active().map(|member| (member.identity, member)).collect();
    let left = active_before.keys().filter(|identity| !active_after.contains_key(identity));
    let mut changes: Vec<_> = left.map(|&identity| MembershipChange::Left(identity)).collect();
    for (identity, member) in active_after {
        match active_before.get(&identity) {
            None => changes.push(MembershipChange::Joined(identity)),
            Some(old) if old.record != member.record => changes.push(MembershipChange::Updated(identity)),
            Some(_) => {}
        }
    }
    changes
}

fn moved<'m>(
    before: &'m BTreeMap<NodeNumber, Stamp>,
    after: &'m BTreeMap<NodeNumber, Stamp>,
) -> impl Iterator<Item = (NodeNumber, Stamp)> + 'm {
    let new = |(number, stamp): &(&NodeNumber, &Stamp)| before.get(number) != Some(stamp);
    after.iter().filter(new).map(|(&number, &stamp)| (number, stamp))
}
