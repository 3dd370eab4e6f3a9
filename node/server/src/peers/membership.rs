//! Membership at work: merging what peers know, handing out numbers, dialing, removing.

use super::Peers;
use crate::doors::told_address;
use crate::node::Node;
use crate::setup::own_record;
use crdt::membership::limits::NUMBERS_GRANTED_MAX;
use crdt::membership::{MemberRecord, RangeDue};
use crdt::{Membership, NodeNumber, Stamp, VersionVector};
use protocol::{LinkPhase, MemberView, NodeIdentity, NumberGrant};
use std::collections::BTreeMap;
use storage::NumberNeeded;
use tokio::time::Instant;

/// What an operator is told whose change of the membership could not be written down.
pub(super) const NOT_DURABLE: &str = "the membership could not be written to this node's disk, so nothing was told to others; \
                           see the log, mend the disk, and try again";

/// Lets the clock of data go beyond the stamp of a change of the membership, unless that is further ahead of the wall clock
/// than clocks may differ.
///
/// SUBTLE: stamps of the membership are compared with one another only. They pass no clock guard, so one that was made by a
/// wrong clock would make every node that hears of it write ahead of its time, for as long as that clock was ahead.
pub(super) fn observe_membership_stamp(node: &Node, stamp: Stamp) {
    let drift_ms = u64::try_from(node.config.load().max_clock_drift.as_millis()).unwrap_or(u64::MAX);
    if stamp.unix_ms() <= node.wall_clock().saturating_add(drift_ms) {
        node.keyspace.observe(stamp);
    }
}

impl Peers {
    pub(super) fn merge_membership(&mut self, peer: NodeIdentity, record: &[u8]) {
        let theirs = match Membership::decode(record) {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::error!(peer = %self.name_of(peer), %error, "a peer's membership cannot be read");
                return;
            }
        };
        let outcome = self.membership.merge(&theirs);
        for alarm in &outcome.alarms {
            tracing::error!(?alarm, "the membership is at odds with itself");
        }
        if outcome.changed {
            observe_membership_stamp(&self.node, self.membership.latest_stamp());
            self.keep_membership();
        }
    }

    /// Makes a changed membership durable, then lets everybody know. False if it could not be made durable: then nobody
    /// is told, and nothing may be done that relies on it.
    pub(super) fn keep_membership(&mut self) -> bool {
        if let Err(error) = self.rows.set_membership(&self.membership.encode()) {
            // It is not sent on: a change that could be lost here must not be believed elsewhere.
            tracing::error!(%error, "the membership could not be written to the catalogue");
            self.is_unkept = true;
            return false;
        }
        self.is_unkept = false;
        self.membership_changed();
        self.take_number_that_waits();
        true
    }

    /// Tells others where clients connect, if that was changed while the node runs.
    pub(super) fn follow_own_address(&mut self) {
        let config = self.node.config.load();
        let clients_at = told_address(&config);
        if clients_at == self.clients_at {
            return;
        }
        let told = own_record(&config).resp;
        let known = self.membership.view().member(self.identity).map(|member| member.record.clone());
        // Without a number nothing can be said to others yet.
        let (Some(record), Some(stamp)) = (known, self.membership_stamp()) else { return };
        self.clients_at = clients_at;
        drop(config);
        tracing::info!(resp = told, "others are told where clients connect");
        match self.membership.update(self.identity, MemberRecord { resp: told, ..record }, stamp) {
            Ok(_) => _ = self.keep_membership(),
            Err(error) => tracing::error!(%error, "others cannot be told where clients connect"),
        }
    }

    /// Tries again to make durable what could not be, and to take a number that waits for the disk.
    pub(super) fn keep_what_is_not_kept(&mut self) {
        if self.is_unkept {
            self.keep_membership();
        }
        self.rows.catalogue().keep_room();
        self.take_number_that_waits();
        if self.refusals.no_number && self.number_needed.is_none() && self.number_to_take.is_none() {
            self.note_number_needed(NumberNeeded::NoneLeft);
        }
        if self.has_number {
            self.note_number_given();
        } else {
            self.take_number_as_first();
        }
    }

    /// Notes, durably, that this node may not go on under the number it has, and that others must give it one. A start that
    /// comes before they have would otherwise take what is in the store for all that anybody has of that number. If it cannot
    /// be noted it is tried again; meanwhile writes are refused.
    fn note_number_needed(&mut self, why: NumberNeeded) {
        match self.rows.set_number_needed(Some(why)) {
            Ok(()) => self.number_needed = Some(why),
            Err(error) => {
                tracing::error!(%error, "the catalogue could not be told that this node needs another number");
            }
        }
    }

    /// The number that others gave is in the catalogue with the membership: the next start goes on from it.
    fn note_number_given(&mut self) {
        // Not the last of its numbers: others may have given several, since it asks again when a link ends.
        let view = self.membership.view();
        let is_given = |number| view.numbers_of(self.identity).contains(&number) && !view.has_ended(number);
        let waits = self.is_unkept || self.refusals.no_number;
        if self.number_needed.is_none() || waits || !self.number().is_some_and(is_given) {
            return;
        }
        match self.rows.set_number_needed(None) {
            Ok(()) => self.number_needed = None,
            Err(error) => tracing::error!(%error, "the catalogue could not be told that this node has its number"),
        }
    }

    /// Where the directories of all members are copies that were put back together, nobody is there who could give a
    /// number, and nobody has anything of numbers that were used since: when all are linked and none has one, the first of
    /// them takes one by itself, and the others get theirs from it.
    fn take_number_as_first(&mut self) {
        let may =
            self.number_needed == Some(NumberNeeded::Copied) && self.has_read_all() && self.number_to_take.is_none();
        if !may || self.began.elapsed() < self.node.config.load().fill_timeout {
            return;
        }
        let (me, now, wall) = (self.identity, self.now(), self.node.wall_clock());
        let asks = |peer| {
            let link = self.hub.link_report(peer, now, wall);
            link.is_some_and(|link| link.phase == LinkPhase::Ready && link.number.is_none())
        };
        let others: Vec<NodeIdentity> =
            self.membership.view().active().map(|member| member.identity).filter(|peer| *peer != me).collect();
        if !others.into_iter().all(|peer| me < peer && asks(peer)) {
            return;
        }
        match self.settle_number(false, wall) {
            Ok(Some(number)) => {
                tracing::warn!(
                    number = number.value(),
                    "no member has a number, as all come from copies: this one takes one"
                );
                self.membership_changed();
                self.take_number(number);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no number could be taken"),
        }
    }

    /// Follows the membership: whom to dial, whom to refuse, what the hub must know.
    pub(super) fn membership_changed(&mut self) {
        self.tell_of_members();
        let view = self.membership.view();
        let mut numbers: BTreeMap<NodeIdentity, _> = BTreeMap::new();
        for (number, owner) in view.owners() {
            numbers.entry(owner).or_insert_with(std::collections::BTreeSet::new).insert(number);
        }
        let removed: std::collections::BTreeSet<_> = view.removed().iter().copied().collect();
        let ended = view.ended().collect();
        let sealed: BTreeMap<NodeNumber, Stamp> = view.all_sealed().map(|(number, seal)| (number, seal.at)).collect();
        let released = view.owners().map(|(n, _)| n).filter(|&n| view.drift_released(n).is_some()).collect();
        let addresses: BTreeMap<NodeIdentity, String> = view
            .active()
            .map(|member| (member.identity, member.record.advertise.clone()))
            .filter(|(identity, _)| *identity != self.identity)
            .collect();
        *self.barred.write() = removed.clone();
        let encoded = self.membership.encode();
        let hash = self.membership.stable_hash();
        let members = MemberView { numbers, removed, ended, sealed, drift_released: released, encoded, hash };
        self.hub.set_membership(members, self.now());
        if self.membership.is_removed(self.identity) {
            self.fence_itself();
            return;
        }
        self.dial(addresses);
    }

    /// The number this node stamps with from now on. What was written under the one before is sent first.
    pub(super) fn take_number(&mut self, number: NodeNumber) {
        // A late answer of a peer to a question of long ago.
        if self.membership.view().has_ended(number) {
            let now = self.now();
            self.hub.request_number(now);
            return;
        }
        if self.has_number {
            if !self.end_present_number(number) {
                // While it waits nothing is written: `no_number` stands.
                self.number_to_take = Some(number);
                return;
            }
        } else {
            self.node.keyspace.set_number(number);
        }
        self.hub.set_number(number);
        self.drain = keyspace::Drain::after(self.hub.closed_vector().of(number));
        self.drain_at = Some(Instant::now());
        self.has_number = true;
        self.refusals.no_number = false;
        self.update_condition();
    }

    /// Takes the number that could not be taken when it was granted.
    pub(super) fn take_number_that_waits(&mut self) {
        if !self.is_unkept
            && let Some(number) = self.number_to_take.take()
        {
            self.take_number(number);
        }
    }

    /// From here on workers stamp with `next`, and everything that was written under the present number is published.
    /// False if the disk has not taken that yet: then nothing was done.
    fn end_present_number(&mut self, next: NodeNumber) -> bool {
        // SUBTLE: before the number changes. Peers may bring what is missing of the present number from then on, and
        // batches of it that still waited would not follow that.
        if !self.keeping.has_room() || !self.close_logged() || !self.is_published() {
            return false;
        }
        self.end_half_merged_slot();
        let present = self.number();
        let last = self.node.keyspace.change_number(next);
        // Pipelines that run now end within moments: they wait for nothing.
        while !self.node.keyspace.is_logged_up_to(last) {
            std::thread::yield_now();
        }
        let Some(present) = present else {
            self.give_up_strays(last);
            return true;
        };
        // Whoever was about to write when writes began to be refused.
        self.close_batches_up_to(last);
        // What the old number wrote was seen here, like anybody's, whether the disk has taken it or not.
        let end: VersionVector = [(present, self.own_tail().last)].into_iter().collect();
        self.is_published();
        self.node.keyspace.raise_applied(self.hub.closed_vector());
        self.node.keyspace.raise_applied(&end);
        true
    }

    /// Whoever was about to write when the number was found to have ended has written under it all the same. Its peers
    /// take nothing of that number any more.
    fn give_up_strays(&mut self, last: Stamp) {
        let strays = self.drain.take_up_to(&self.node.keyspace, last);
        let changes: u32 = strays.iter().map(|batch| batch.changes).sum();
        if changes > 0 {
            tracing::error!(changes, "changes were made under a number that had ended: no other node will have them");
            self.node.console.metrics.replication.limits_met.add("changes_given_up", u64::from(changes));
        }
    }

    /// A peer refused this node: a later life of it has ended its number. Either a copy of its directory lives elsewhere,
    /// and what is written here would reach nobody, ever; or the directory is an old copy that was put back, nothing was
    /// written yet, and a peer can give it a number that is new.
    pub(super) fn number_has_ended(&mut self) {
        self.refusals.is_copy = true;
        // SUBTLE: before it is asked whether anything was written: from here on nothing is.
        self.update_condition();
        let is_closed = self.keeping.has_room() && self.close_logged();
        // If it cannot be told now, the next refusal asks again.
        if is_closed && self.hub.number().is_some() && self.own_tail().last == Stamp::ZERO {
            self.refusals.no_number = true;
            self.note_number_needed(NumberNeeded::Copied);
            let now = self.now();
            self.hub.abandon_number(now);
            self.update_condition();
        }
    }

    /// Goes on under a fresh number of the own range, or asks for one. Until it has one, nothing is written: what others
    /// hold under the present number is not here.
    pub(super) fn renumber(&mut self) {
        let waits = self.refusals.no_number;
        self.refusals.no_number = true;
        self.update_condition();
        if waits {
            return;
        }
        let me = self.identity;
        let Some(stamp) = self.membership_stamp() else { return };
        match self.membership.grant_number(me, me, stamp) {
            Ok(number) => {
                // A number that is not burnt on disk could be used twice: it is taken when it is.
                self.number_to_take = Some(number);
                self.keep_membership();
            }
            Err(error) => {
                tracing::warn!(%error, "this node asks its peers for a number");
                self.note_number_needed(NumberNeeded::NoneLeft);
                let now = self.now();
                self.hub.request_number(now);
            }
        }
    }

    pub(super) fn grant_number(&mut self, peer: NodeIdentity) {
        let (me, receiver) = (self.identity, peer);
        let Some(stamp) = self.membership_stamp() else { return };
        let number = match self.membership.grant_number(me, receiver, stamp) {
            Ok(number) => number,
            Err(error) => {
                tracing::warn!(peer = %self.name_of(peer), %error, "no number could be given to a peer");
                return;
            }
        };
        // A range of its own lets it start alone next time. Without one it asks again.
        if self.membership.view().unspent_of(receiver) == 0
            && let Some(stamp) = self.membership_stamp()
            && let Err(error) = self.membership.grant_range(me, receiver, NUMBERS_GRANTED_MAX + 1, stamp)
        {
            tracing::info!(peer = %self.name_of(peer), %error, "no range of numbers could be given to a peer");
        }
        if self.keep_membership() {
            self.hub.grant_number(peer, NumberGrant { number, range: (number, number) });
        }
    }

    /// Admits a node: what `region add` asks for.
    pub(super) fn admit_member(&mut self, identity: NodeIdentity, record: MemberRecord) -> Result<NodeNumber, String> {
        let stamp = self.membership_stamp().ok_or("this node has no number yet; try again when it serves")?;
        self.refuse_names(&record)?;
        let (me, mut changed) = (self.identity, self.membership.clone());
        let grant = changed.admit(me, identity, record, stamp);
        let grant = grant.map_err(|error| match error {
            crdt::membership::MembershipError::NameTaken(holder) => format!(
                "the name is held by {} of region {}; remove that member first or choose another name (--node)",
                self.name_of(holder),
                self.membership.view().member(holder).map_or("?", |member| member.record.region.as_str()),
            ),
            other => other.to_string(),
        })?;
        self.take_membership(changed)?;
        Ok(grant.number)
    }

    /// Gives some of this node's numbers to another member that should have more to hand out, if this one should give them.
    pub(super) fn share_numbers(&mut self) {
        let (me, linked) = (self.identity, self.hub.ready_peers());
        self.share_numbers_among(&|member| member == me || linked.contains(&member));
    }

    /// The same among members that are here.
    pub(super) fn share_numbers_among(&mut self, is_here: &dyn Fn(NodeIdentity) -> bool) {
        let due = self.membership.view().range_due(self.node.wall_clock(), is_here);
        let Some(RangeDue { giver, receiver, length }) = due else { return };
        if giver != self.identity || self.is_unkept || !self.has_number {
            return;
        }
        let Some(stamp) = self.membership_stamp() else { return };
        let mut changed = self.membership.clone();
        let given = changed.grant_range(giver, receiver, length, stamp).map_err(|error| error.to_string());
        match given.and_then(|range| self.take_membership(changed).map(|()| range)) {
            Ok((first, last)) => {
                let (first, last) = (first.value(), last.value());
                tracing::info!(peer = %self.name_of(receiver), first, last, "a member was given node numbers to hand out");
            }
            Err(error) => {
                tracing::warn!(peer = %self.name_of(receiver), %error, "a member could not be given node numbers")
            }
        }
    }

    /// This node is about to be removed by `peer`: the numbers that it could hand out are that one's from now on. What could
    /// not be given is lost with this node, which is no reason to keep it.
    pub(super) fn hand_over_numbers(&mut self, peer: NodeIdentity) {
        let Some(stamp) = self.membership_stamp() else { return };
        let mut changed = self.membership.clone();
        let given = changed.hand_over(self.identity, peer, stamp).map_err(|error| error.to_string());
        match given.and_then(|count| if count > 0 { self.take_membership(changed).map(|()| count) } else { Ok(0) }) {
            Ok(count) => tracing::info!(peer = %self.name_of(peer), count, "this node's numbers were handed over"),
            Err(error) => {
                tracing::warn!(peer = %self.name_of(peer), %error, "this node's numbers could not be handed over")
            }
        }
    }

    /// Fences an identity for ever.
    pub(super) fn remove_member(&mut self, identity: NodeIdentity) -> Result<(), String> {
        let mut changed = self.membership.clone();
        changed.remove(identity).map_err(|error| error.to_string())?;
        self.take_membership(changed)
    }

    /// Takes the membership as an operator has changed it, once that is durable. An order that failed leaves nothing behind
    /// that would be carried out later, when the disk works again and nobody thinks of it.
    pub(super) fn take_membership(&mut self, changed: Membership) -> Result<(), String> {
        let before = std::mem::replace(&mut self.membership, changed);
        if self.keep_membership() {
            return Ok(());
        }
        // What may have come to the disk all the same is written over as soon as that can be done.
        self.membership = before;
        Err(NOT_DURABLE.to_owned())
    }

    fn dial(&mut self, mut addresses: BTreeMap<NodeIdentity, String>) {
        addresses.retain(|identity, _| !self.cut.read().hides(identity));
        let gone: Vec<NodeIdentity> = self.dialed.iter().filter(|i| !addresses.contains_key(i)).copied().collect();
        for identity in gone {
            self.transport.stop_dialing(&identity);
            self.dialed.remove(&identity);
        }
        for (identity, address) in addresses {
            self.transport.dial(identity, address);
            self.dialed.insert(identity);
        }
    }

    /// A peer says that this node was removed. It takes the word for it, for ever: links of removed nodes close before
    /// they could be told by the membership itself.
    pub(super) fn note_removed(&mut self) {
        let me = self.identity;
        if !self.membership.is_removed(me) && self.membership.remove(me).is_ok() {
            self.keep_membership();
        }
    }

    /// This node was removed: it stops writing and says so.
    fn fence_itself(&mut self) {
        tracing::error!("this node was removed from the cluster");
        self.refusals.removed = true;
        self.node.condition.set_removed();
        self.update_condition();
        for identity in std::mem::take(&mut self.dialed) {
            self.transport.stop_dialing(&identity);
        }
    }
}
