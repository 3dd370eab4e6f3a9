//! Who belongs to the cluster, as data that merges: a register per member, a set of removed identities that only
//! grows, the grants of node numbers, what operators decided about a number (drift released), and how numbers end:
//! what members report to hold of them, and where they are sealed.
//!
//! The merge is commutative, associative and idempotent, so members exchange it whole, in any order, as often as they
//! like. What follows from the data (who is active, whose number 7 is, what is wrong) is a pure function of it, kept
//! beside it as a [`View`]. This is *not* the place where a change is made durable: the caller writes a changed
//! membership to its catalogue, synced, before it sends it or uses a number from it.

mod ending;
pub mod limits;
mod numbers;
mod record;
mod view;

pub use ending::{Holding, Report, Seal, Waiting};
pub use record::{MemberRecord, NodeIdentity, RecordError};
pub use view::{Member, MemberState, MembershipAlarm, MembershipChange, MergeOutcome, RangeDue, View};

use crate::{NodeNumber, Stamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use crdts::{CmRDT, CvRDT, GSet, LWWReg};
use limits::{MEMBERSHIP_BYTES_MAX, NUMBERS_GRANTED_MAX};
use numbers::{Grant, GrantKind};
use serde::{Deserialize, Serialize};

/// The version of the encoded form, its first byte.
const ENCODING_VERSION: u8 = 2;
/// The form before: without ended numbers, and with reports about removed identities only.
const ENCODING_VERSION_BEFORE: u8 = 1;

/// A record and the moment its node was admitted, which decides who keeps a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Admission {
    record: MemberRecord,
    admitted: Stamp,
}

/// What orders two values of a register. SUBTLE: with equal markers and different values each side of a merge would
/// keep its own for ever. Stamps are unique, but a second live copy of a node's directory could repeat one; the
/// fingerprint of the value decides then, the same way everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Marker {
    stamp: Stamp,
    fingerprint: u64,
}

/// All that is exchanged. Each part merges by itself. The record of a removed identity stays, so that it can be named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Facts {
    records: BTreeMap<NodeIdentity, LWWReg<Admission, Marker>>,
    removed: GSet<NodeIdentity>,
    grants: GSet<Grant>,
    released: BTreeMap<NodeNumber, Stamp>,
    ended: GSet<NodeNumber>,
    sealed: BTreeMap<NodeNumber, Seal>,
    /// In view of the number's seal or of none, by members that were not removed.
    reports: BTreeMap<(NodeNumber, NodeIdentity), Report>,
}

/// What version 1 of the encoding holds.
#[derive(Deserialize)]
struct FactsBefore {
    records: BTreeMap<NodeIdentity, LWWReg<Admission, Marker>>,
    removed: GSet<NodeIdentity>,
    grants: GSet<Grant>,
    released: BTreeMap<NodeNumber, Stamp>,
    sealed: BTreeMap<NodeNumber, Stamp>,
    /// Told anew in the form of now.
    #[serde(rename = "reports")]
    _reports: BTreeMap<(NodeIdentity, NodeIdentity), BTreeMap<NodeNumber, Stamp>>,
}

/// The members of a cluster and their numbers. Equal on all members once they have exchanged it.
#[derive(Clone, Debug)]
pub struct Membership {
    facts: Facts,
    view: View,
}

/// What a new member or a new life of one was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberGrant {
    /// The number of the receiver.
    pub number: NodeNumber,
    /// Numbers that the receiver may hand out from now on, first and last, if there were any to give.
    pub range: Option<(NodeNumber, NodeNumber)>,
}

/// Why a membership was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// The one who acts or is acted upon is no active member here.
    #[error("{0} is not an active member")]
    NotAMember(NodeIdentity),
    /// It was removed, which is for ever: the node needs a new certificate and thereby a new identity.
    #[error("{0} was removed from the cluster; a removed identity never comes back, admit the node with a new key")]
    Removed(NodeIdentity),
    /// It is a member already.
    #[error("{0} is a member already")]
    AlreadyAMember(NodeIdentity),
    /// Another live member has the name.
    #[error("the name is held by {0}; remove that member first or choose another name")]
    NameTaken(NodeIdentity),
    /// The record is out of its bounds.
    #[error("the record of the member is out of bounds: {0}")]
    Record(#[from] RecordError),
    /// The giver has nothing left; another member may give it a piece of its range. See [`View::range_due`].
    #[error(
        "{0} has no node numbers left to hand out; a member that is linked with it and has some gives it a few within moments, \
         so try again, or ask another member; `pelago status` says how many of the cluster's numbers are used up"
    )]
    NumbersExhausted(NodeIdentity),
    /// The stamp does not exceed all stamps in the membership; the clock has to see those first.
    #[error("the stamp of a change must be later than {0} which the membership holds already")]
    StampTooOld(Stamp),
    /// A number is asked about that no identity has.
    #[error("node number {0} belongs to no node")]
    NobodysNumber(NodeNumber),
    /// A number can be sealed only when its node goes on under another one, or was removed.
    #[error("node number {0} belongs to {1}, which may still write under it")]
    NotEnded(NodeNumber, NodeIdentity),
    /// The bytes are no membership.
    #[error("these bytes are not a membership that this version reads")]
    Encoding,
}

impl Default for Membership {
    fn default() -> Self {
        Self::of(Facts::default())
    }
}

impl Membership {
    /// What a node knows before it joined anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new cluster of one member, which holds all numbers and takes the first.
    pub fn found(founder: NodeIdentity, record: MemberRecord, stamp: Stamp) -> Result<Self, MembershipError> {
        record.check()?;
        let mut facts = Facts::default();
        facts.put_record(founder, Admission { record, admitted: stamp }, stamp);
        let last = crate::NODE_NUMBERS_MAX - 1;
        facts.grant(GrantKind::Founding, (0, last), founder, founder, stamp);
        facts.grant(GrantKind::Number, (0, 0), founder, founder, stamp);
        Ok(Self::of(facts))
    }

    /// Lets a node in, at member `by`: its record, a number and a piece of `by`'s range. The stamp must be `by`'s own.
    pub fn admit(
        &mut self,
        by: NodeIdentity,
        newcomer: NodeIdentity,
        record: MemberRecord,
        stamp: Stamp,
    ) -> Result<NumberGrant, MembershipError> {
        self.check_actor(by, stamp)?;
        record.check()?;
        if self.is_removed(newcomer) {
            return Err(MembershipError::Removed(newcomer));
        }
        if self.facts.records.contains_key(&newcomer) {
            return Err(MembershipError::AlreadyAMember(newcomer));
        }
        self.check_name(newcomer, &record.name)?;
        let (low, high) = self.piece_of(by, NUMBERS_GRANTED_MAX + 1)?;
        self.facts.grant(GrantKind::Number, (low, low), by, newcomer, stamp);
        if low < high {
            self.facts.grant(GrantKind::Range, (low + 1, high), by, newcomer, stamp);
        }
        self.facts.put_record(newcomer, Admission { record, admitted: stamp }, stamp);
        self.refresh();
        let number = NodeNumber::new(low).ok_or(MembershipError::NumbersExhausted(by))?;
        Ok(NumberGrant { number, range: NodeNumber::new(low + 1).zip(NodeNumber::new(high)).filter(|_| low < high) })
    }

    /// Changes what is known of a member, its addresses for instance; its admission stays as old as it is.
    pub fn update(&mut self, member: NodeIdentity, record: MemberRecord, stamp: Stamp) -> Result<(), MembershipError> {
        record.check()?;
        self.check_stamp(stamp)?;
        self.check_name(member, &record.name)?;
        self.check_member(member)?;
        let register = self.facts.records.get(&member).ok_or(MembershipError::NotAMember(member))?;
        let admitted = register.val.admitted;
        self.facts.put_record(member, Admission { record, admitted }, stamp);
        self.refresh();
        Ok(())
    }

    /// Fences an identity for ever. True if it was not yet.
    pub fn remove(&mut self, member: NodeIdentity) -> Result<bool, MembershipError> {
        if self.is_removed(member) {
            return Ok(false);
        }
        if !self.facts.records.contains_key(&member) {
            return Err(MembershipError::NotAMember(member));
        }
        self.facts.removed.insert(member);
        self.facts.drop_settled();
        self.refresh();
        Ok(true)
    }

    /// Spends a number of `by`'s range on `receiver`: a member's own next life, or a peer that lost its disk.
    pub fn grant_number(
        &mut self,
        by: NodeIdentity,
        receiver: NodeIdentity,
        stamp: Stamp,
    ) -> Result<NodeNumber, MembershipError> {
        self.check_actor(by, stamp)?;
        self.check_active(receiver)?;
        let number = self.view.table.unspent_of(by).next().ok_or(MembershipError::NumbersExhausted(by))?;
        self.facts.grant(GrantKind::Number, (number.value(), number.value()), by, receiver, stamp);
        self.refresh();
        Ok(number)
    }

    /// Gives a piece of `by`'s range to another member: at most so many numbers, and at most half of what `by` has. See
    /// [`View::range_due`].
    pub fn grant_range(
        &mut self,
        by: NodeIdentity,
        receiver: NodeIdentity,
        length_max: u16,
        stamp: Stamp,
    ) -> Result<(NodeNumber, NodeNumber), MembershipError> {
        self.check_actor(by, stamp)?;
        self.check_active(receiver)?;
        let (low, high) = self.piece_of(by, length_max)?;
        self.facts.grant(GrantKind::Range, (low, high), by, receiver, stamp);
        self.refresh();
        NodeNumber::new(low).zip(NodeNumber::new(high)).ok_or(MembershipError::NumbersExhausted(by))
    }

    /// Gives all that `by` could hand out but one number to `receiver`, before `by` is removed: nobody could ever hand it out
    /// then. With the one it can go on alone if it stays after all, and nobody takes it for a member that needs numbers. Says
    /// how many were given.
    pub fn hand_over(
        &mut self,
        by: NodeIdentity,
        receiver: NodeIdentity,
        stamp: Stamp,
    ) -> Result<usize, MembershipError> {
        self.check_actor(by, stamp)?;
        self.check_active(receiver)?;
        let runs = self.view.table.runs_of(by, 1);
        for &run in &runs {
            self.facts.grant(GrantKind::Range, run, by, receiver, stamp);
        }
        self.refresh();
        Ok(runs.iter().map(|&(low, high)| usize::from(high - low) + 1).sum())
    }

    /// An operator's word that batches of `number` up to `up_to` are let in, although they are ahead of the clocks.
    pub fn release_drift(&mut self, number: NodeNumber, up_to: Stamp) -> Result<bool, MembershipError> {
        self.owner_of(number).ok_or(MembershipError::NobodysNumber(number))?;
        let moved = raise(&mut self.facts.released, number, up_to);
        self.refresh();
        Ok(moved)
    }

    /// The word of a number's owner that it goes on under another one, and never comes back to this. True if it was not
    /// said yet.
    pub fn end_number(&mut self, number: NodeNumber) -> Result<bool, MembershipError> {
        let owner = self.owner_of(number).ok_or(MembershipError::NobodysNumber(number))?;
        self.check_member(owner)?;
        if self.facts.ended.contains(&number) {
            return Ok(false);
        }
        self.facts.ended.insert(number);
        self.refresh();
        Ok(true)
    }

    /// What `reporter` holds of ended numbers, in place of what it told before. It hears nothing more from the lives that
    /// wrote under them, nor from anybody who was removed. A member whose admission is refused tells as well: it holds
    /// what it has taken.
    pub fn report_holdings(
        &mut self,
        reporter: NodeIdentity,
        stamp: Stamp,
        holdings: impl IntoIterator<Item = (NodeNumber, Holding)>,
    ) -> Result<(), MembershipError> {
        self.check_member(reporter)?;
        self.check_stamp(stamp)?;
        let fenced = self.view.fenced();
        for (number, holding) in holdings {
            self.check_ended(number)?;
            let round = self.facts.round_of(number);
            self.facts.reports.insert((number, reporter), Report { round, stamp, fenced, holding });
        }
        self.refresh();
        Ok(())
    }

    /// Closes an ended number at `at`: whatever lies beyond is lost, and nobody waits for it any more. All of it is known
    /// up to `whole`; what an earlier seal said to be known in part stays so. What was told of it is settled by that.
    pub fn seal(&mut self, number: NodeNumber, at: Stamp, whole: Stamp) -> Result<Seal, MembershipError> {
        self.check_ended(number)?;
        // SUBTLE: who sealed it counts all up to there as applied, and tells so in the next round.
        let before = self.facts.sealed.get(&number).map(|seal| (seal.at, seal.whole));
        let (at_least, whole_max) = before.unwrap_or((Stamp::ZERO, Stamp::MAX));
        let round = self.facts.round_of(number).saturating_add(1);
        let seal = Seal { at: at.max(at_least), round, whole: whole.min(whole_max) };
        raise(&mut self.facts.sealed, number, seal);
        self.facts.drop_settled();
        self.refresh();
        Ok(seal)
    }

    /// Takes in all that another member knows, and says what is new.
    pub fn merge(&mut self, other: &Membership) -> MergeOutcome {
        if self.facts == other.facts {
            return MergeOutcome::default();
        }
        self.facts.merge(&other.facts);
        let before = self.refresh();
        MergeOutcome::between(&before, &self.view)
    }

    /// What follows from the data.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether this identity was removed: no link, no admission, for ever.
    pub fn is_removed(&self, identity: NodeIdentity) -> bool {
        self.facts.removed.contains(&identity)
    }

    /// Whether this identity is an active member.
    pub fn is_active(&self, identity: NodeIdentity) -> bool {
        self.view.member(identity).is_some_and(|member| member.state == MemberState::Active)
    }

    /// Whose number this is, removed or not; nobody's until it is spent.
    pub fn owner_of(&self, number: NodeNumber) -> Option<NodeIdentity> {
        self.view.table.owner_of(number)
    }

    /// A hash of the data that is the same on every machine: members that agree have the same.
    pub fn stable_hash(&self) -> u64 {
        self.view.hash
    }

    /// The latest stamp of any change, which the clock has to see before it makes the next one.
    pub fn latest_stamp(&self) -> Stamp {
        self.view.latest
    }

    /// The data as bytes, the same for the same data.
    pub fn encode(&self) -> Vec<u8> {
        self.facts.encode()
    }

    /// Reads what [`Self::encode`] wrote, from bytes that need not be trusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        Facts::decode(bytes).map(Self::of).ok_or(MembershipError::Encoding)
    }

    fn of(facts: Facts) -> Self {
        let view = View::of(&facts);
        Self { facts, view }
    }

    /// Makes the view follow the data again; the one of before is returned.
    fn refresh(&mut self) -> View {
        let view = View::of(&self.facts);
        core::mem::replace(&mut self.view, view)
    }

    fn check_actor(&self, actor: NodeIdentity, stamp: Stamp) -> Result<(), MembershipError> {
        self.check_active(actor)?;
        self.check_stamp(stamp)
    }

    fn check_stamp(&self, stamp: Stamp) -> Result<(), MembershipError> {
        if stamp > self.view.latest { Ok(()) } else { Err(MembershipError::StampTooOld(self.view.latest)) }
    }

    fn check_active(&self, member: NodeIdentity) -> Result<(), MembershipError> {
        if self.is_removed(member) {
            Err(MembershipError::Removed(member))
        } else if self.is_active(member) {
            Ok(())
        } else {
            Err(MembershipError::NotAMember(member))
        }
    }

    /// Whether this is a member, its admission refused or not.
    fn check_member(&self, member: NodeIdentity) -> Result<(), MembershipError> {
        if self.is_removed(member) {
            return Err(MembershipError::Removed(member));
        }
        self.view.member(member).map(|_| ()).ok_or(MembershipError::NotAMember(member))
    }

    fn check_ended(&self, number: NodeNumber) -> Result<(), MembershipError> {
        let owner = self.owner_of(number).ok_or(MembershipError::NobodysNumber(number))?;
        if self.view.has_ended(number) { Ok(()) } else { Err(MembershipError::NotEnded(number, owner)) }
    }

    fn check_name(&self, wanted_by: NodeIdentity, name: &str) -> Result<(), MembershipError> {
        let holder =
            self.view.members().iter().find(|member| member.record.name == name && member.identity != wanted_by);
        holder.map_or(Ok(()), |member| Err(MembershipError::NameTaken(member.identity)))
    }

    /// The numbers to give away: at most so many in a row, and at most half of what `giver` has (rounded up).
    fn piece_of(&self, giver: NodeIdentity, length_max: u16) -> Result<(u16, u16), MembershipError> {
        let unspent = self.view.table.unspent_of(giver).count();
        let half = u16::try_from(unspent.div_ceil(2)).unwrap_or(u16::MAX);
        let piece = self.view.table.last_run_of(giver, half.min(length_max));
        piece.ok_or(MembershipError::NumbersExhausted(giver))
    }
}

impl PartialEq for Membership {
    fn eq(&self, other: &Self) -> bool {
        // The view follows from the facts.
        self.facts == other.facts
    }
}

impl Eq for Membership {}

impl Facts {
    fn put_record(&mut self, member: NodeIdentity, admission: Admission, stamp: Stamp) {
        let marker = Marker { stamp, fingerprint: fingerprint(&admission) };
        let register = LWWReg { val: admission, marker };
        self.merge_record(member, register);
    }

    fn merge_record(&mut self, member: NodeIdentity, register: LWWReg<Admission, Marker>) {
        match self.records.get_mut(&member) {
            Some(held) => held.merge(register),
            None => {
                self.records.insert(member, register);
            }
        }
    }

    fn grant(
        &mut self,
        kind: GrantKind,
        (low, high): (u16, u16),
        giver: NodeIdentity,
        receiver: NodeIdentity,
        stamp: Stamp,
    ) {
        self.grants.apply(Grant { stamp, kind, low, high, giver, receiver });
    }

    fn merge(&mut self, other: &Facts) {
        self.removed.merge(other.removed.clone());
        self.grants.merge(other.grants.clone());
        for (&member, register) in &other.records {
            self.merge_record(member, register.clone());
        }
        self.ended.merge(other.ended.clone());
        for (&number, &stamp) in &other.released {
            raise(&mut self.released, number, stamp);
        }
        for (&number, &seal) in &other.sealed {
            raise(&mut self.sealed, number, seal);
        }
        for (&key, &report) in &other.reports {
            raise(&mut self.reports, key, report);
        }
        self.drop_settled();
    }

    /// A removed identity says nothing any more. What was told of a number before it was sealed is settled by that.
    fn drop_settled(&mut self) {
        let (removed, sealed) = (&self.removed, &self.sealed);
        self.reports.retain(|(number, reporter), report| {
            !removed.contains(reporter) && report.round == round_in(sealed, *number)
        });
    }

    fn round_of(&self, number: NodeNumber) -> u32 {
        round_in(&self.sealed, number)
    }

    fn encode(&self) -> Vec<u8> {
        let body = bincode::serde::encode_to_vec(self, bincode::config::standard());
        let mut bytes = body.expect("plain data in memory always encodes");
        bytes.insert(0, ENCODING_VERSION);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, body) = bytes.split_first()?;
        if bytes.len() > MEMBERSHIP_BYTES_MAX {
            return None;
        }
        let configuration = bincode::config::standard().with_limit::<MEMBERSHIP_BYTES_MAX>();
        let (facts, read) = match version {
            ENCODING_VERSION => bincode::serde::decode_from_slice::<Self, _>(body, configuration).ok()?,
            ENCODING_VERSION_BEFORE => {
                let (before, read) = bincode::serde::decode_from_slice::<FactsBefore, _>(body, configuration).ok()?;
                (Self::from(before), read)
            }
            _ => return None,
        };
        (read == body.len() && facts.is_well_formed()).then_some(facts)
    }

    /// Whether everything is within its bounds. The types of the wire allow numbers beyond 1023 and endless names.
    fn is_well_formed(&self) -> bool {
        let is_number = |number: &NodeNumber| NodeNumber::new(number.value()).is_some();
        self.records.values().all(|register| {
            register.val.record.check().is_ok() && register.marker.fingerprint == fingerprint(&register.val)
        }) && self.grants.read().iter().all(Grant::is_well_formed)
            && self.released.keys().all(is_number)
            && self.sealed.keys().all(is_number)
            && self.ended.read().iter().all(is_number)
            && self.reports.iter().all(|((number, reporter), report)| {
                is_number(number) && !self.removed.contains(reporter) && report.round == self.round_of(*number)
            })
    }
}

impl From<FactsBefore> for Facts {
    fn from(before: FactsBefore) -> Self {
        let FactsBefore { records, removed, grants, released, sealed, _reports } = before;
        let sealed = sealed.into_iter().map(|(number, at)| (number, Seal { at, round: 1, whole: at })).collect();
        Self { records, removed, grants, released, ended: GSet::new(), sealed, reports: BTreeMap::new() }
    }
}

fn fingerprint(admission: &Admission) -> u64 {
    let bytes = bincode::serde::encode_to_vec(admission, bincode::config::standard());
    xxhash_rust::xxh3::xxh3_64(&bytes.expect("plain data in memory always encodes"))
}

fn round_in(sealed: &BTreeMap<NodeNumber, Seal>, number: NodeNumber) -> u32 {
    sealed.get(&number).map_or(0, |seal| seal.round)
}

/// Raises the entry of `key`, never lowers it; an entry at zero counts. True if it moved.
fn raise<K: Ord, V: Ord + Copy>(entries: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match entries.get_mut(&key) {
        Some(held) if *held >= value => return false,
        Some(held) => *held = value,
        None => drop(entries.insert(key, value)),
    }
    true
}
