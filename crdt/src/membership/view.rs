//! What follows from a membership: who is active under which name, where the numbers stand, and what is wrong. Nothing
//! here is exchanged; two members with equal data have equal views.

use super::Facts;
use super::ending::{Report, Seal};
use super::limits::{GIVING_TURN_MS, NUMBERS_GRANTED_MAX, RESERVE_AGE_MS, RESERVES_MAX, RESERVES_UNEVEN};
use super::numbers::{Holding, NumberTable};
use super::record::{MemberRecord, NodeIdentity};
use crate::{NODE_NUMBERS_MAX, NodeNumber, Stamp, UnixMillis};
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
    /// A number's node goes on under another one.
    NumberEnded(NodeNumber),
    /// An ended number is closed.
    Sealed {
        /// The number.
        number: NodeNumber,
        /// Where.
        seal: Seal,
    },
    /// A member told what it holds of an ended number.
    HoldingReported {
        /// The number.
        number: NodeNumber,
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

/// Numbers that one member should give another to hand out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeDue {
    /// Who gives.
    pub giver: NodeIdentity,
    /// Who gets.
    pub receiver: NodeIdentity,
    /// How many at most.
    pub length: u16,
}

type Reports = BTreeMap<(NodeNumber, NodeIdentity), Report>;

/// What follows from a membership.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) table: NumberTable,
    pub(super) hash: u64,
    pub(super) latest: Stamp,
    members: Vec<Member>,
    spent: BTreeMap<NodeIdentity, Vec<NodeNumber>>,
    removed: BTreeSet<NodeIdentity>,
    former: BTreeMap<NodeIdentity, MemberRecord>,
    alarms: BTreeSet<MembershipAlarm>,
    released: BTreeMap<NodeNumber, Stamp>,
    ended: BTreeSet<NodeNumber>,
    sealed: BTreeMap<NodeNumber, Seal>,
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
        let of_reports = facts.reports.values().map(|report| report.stamp);
        let all = of_records.chain(grants.iter().map(|grant| grant.stamp)).chain(of_reports);
        let latest = all.max().unwrap_or(Stamp::ZERO);
        let removed = facts.removed.read();
        let former = facts.records.iter().filter(|(identity, _)| removed.contains(identity));
        let former = former.map(|(&identity, register)| (identity, register.val.record.clone())).collect();
        let mut ended = facts.ended.read();
        ended.retain(|&number| table.owner_of(number).is_some());
        let gone = spent.iter().filter(|(owner, _)| removed.contains(owner));
        ended.extend(gone.flat_map(|(_, numbers)| numbers.iter().copied()));
        Self {
            table,
            hash: xxhash_rust::xxh3::xxh3_64(&facts.encode()),
            latest,
            members,
            spent,
            removed,
            former,
            ended,
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

    /// What was known last of an identity that was removed, its name for instance.
    pub fn former(&self, identity: NodeIdentity) -> Option<&MemberRecord> {
        self.former.get(&identity)
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

    /// Which member should give another one numbers to hand out, among those that are `here`: somebody has none left; or of
    /// the [`RESERVES_MAX`] members that were admitted first one has far fewer than another, so
    /// that too much would be lost with that. Members that see the same agree; two gifts at once harm nobody. `now` is the
    /// time; who has been a member for less than [`RESERVE_AGE_MS`] is not among those.
    ///
    /// SUBTLE: who has one number left is given none until it has used that. It leaves, perhaps, and has given all others
    /// away: see [`Membership::hand_over`](super::Membership::hand_over).
    pub fn range_due(&self, now: UnixMillis, is_here: &dyn Fn(NodeIdentity) -> bool) -> Option<RangeDue> {
        let mut unspent: BTreeMap<NodeIdentity, usize> =
            self.active().map(|member| member.identity).filter(|&member| is_here(member)).map(|m| (m, 0)).collect();
        for (_, holding) in self.table.iter() {
            if let Holding::Unspent(holder) = holding
                && let Some(count) = unspent.get_mut(&holder)
            {
                *count += 1;
            }
        }
        // The last one is its own. Those with most first.
        let mut givers: Vec<(usize, NodeIdentity)> = unspent.iter().map(|(&member, &count)| (count, member)).collect();
        givers.retain(|&(count, _)| count > 1);
        givers.sort_unstable_by(|one, other| other.cmp(one));
        if let Some((&receiver, _)) = unspent.iter().find(|(_, count)| **count == 0) {
            let turn = usize::try_from(now / GIVING_TURN_MS).unwrap_or_default().checked_rem(givers.len())?;
            let &(_, giver) = givers.get(turn)?;
            return Some(RangeDue { giver, receiver, length: NUMBERS_GRANTED_MAX + 1 });
        }
        let is_old = |member: &&Member| member.admitted.unix_ms().saturating_add(RESERVE_AGE_MS) <= now;
        let mut oldest: Vec<_> = self.active().filter(is_old).map(|m| (m.admitted, m.identity)).collect();
        oldest.sort_unstable();
        oldest.truncate(RESERVES_MAX);
        let is_reserve = |member: &NodeIdentity| oldest.iter().any(|(_, reserve)| reserve == member);
        let &(least, receiver) = givers.iter().filter(|(_, member)| is_reserve(member)).min()?;
        let few = usize::from(NUMBERS_GRANTED_MAX + 1);
        if let Some(&(count, giver)) = givers.iter().find(|(_, member)| !is_reserve(member))
            && count > 2 * few + RESERVES_UNEVEN
        {
            // It was given them by one that left.
            return Some(RangeDue { giver, receiver, length: u16::try_from(count - few).unwrap_or(u16::MAX) });
        }
        let &(most, giver) = givers.first()?;
        let is_uneven = most >= least + least / 2 + RESERVES_UNEVEN;
        let length = u16::try_from((most - least) / 2).unwrap_or(u16::MAX);
        is_uneven.then_some(RangeDue { giver, receiver, length })
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

    /// Whether a number has ended: its node goes on under another one, or was removed.
    pub fn has_ended(&self, number: NodeNumber) -> bool {
        self.ended.contains(&number)
    }

    /// All numbers that have ended, in order.
    pub fn ended(&self) -> impl Iterator<Item = NodeNumber> + '_ {
        self.ended.iter().copied()
    }

    /// Where an ended number is closed, if it is.
    pub fn sealed(&self, number: NodeNumber) -> Option<Seal> {
        self.sealed.get(&number).copied()
    }

    /// All closed numbers, in order.
    pub fn all_sealed(&self) -> impl Iterator<Item = (NodeNumber, Seal)> + '_ {
        self.sealed.iter().map(|(&number, &seal)| (number, seal))
    }

    /// How many identities were removed and how many numbers have ended: what nobody who knows it listens to any more.
    /// Both only grow, so of two views where one holds all of the other, the same count means the same.
    pub fn fenced(&self) -> u32 {
        u32::try_from(self.removed.len() + self.ended.len()).unwrap_or(u32::MAX)
    }

    /// What a member told of an ended number since it was last sealed.
    pub fn report(&self, number: NodeNumber, reporter: NodeIdentity) -> Option<&Report> {
        self.reports.get(&(number, reporter))
    }

    /// What members told of an ended number since it was last sealed.
    pub fn reports(&self, number: NodeNumber) -> impl Iterator<Item = (NodeIdentity, &Report)> {
        let (first, last) = (NodeIdentity([0; 32]), NodeIdentity([u8::MAX; 32]));
        self.reports.range((number, first)..=(number, last)).map(|(&(_, reporter), report)| (reporter, report))
    }

    /// The members that have not yet told what they hold of a number, knowing of all removals and ended lives that are
    /// known here. One whose admission is refused is among them: it has links, and takes batches like any other.
    pub fn reports_missing(&self, number: NodeNumber) -> Vec<NodeIdentity> {
        let told = |member: &&Member| {
            self.report(number, member.identity).is_some_and(|report| report.fenced == self.fenced())
        };
        self.members.iter().filter(|member| !told(member)).map(|member| member.identity).collect()
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
    let records = || facts.records.iter().filter(|(identity, _)| !facts.removed.contains(identity));
    for (&identity, register) in records() {
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
    records().map(member).collect()
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
        changes.extend(sealed.map(|(number, seal)| MembershipChange::Sealed { number, seal }));
        let ended = after.ended.difference(&before.ended);
        changes.extend(ended.map(|&number| MembershipChange::NumberEnded(number)));
        let reported = moved(&before.reports, &after.reports);
        changes.extend(reported.map(|((number, reporter), _)| MembershipChange::HoldingReported { number, reporter }));
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

fn moved<'m, K: Ord + Copy, V: PartialEq + Copy>(
    before: &'m BTreeMap<K, V>,
    after: &'m BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> + 'm {
    let new = |(key, value): &(&K, &V)| before.get(key) != Some(value);
    after.iter().filter(new).map(|(&key, &value)| (key, value))
}
