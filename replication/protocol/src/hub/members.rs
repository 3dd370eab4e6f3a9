//! Who belongs: the membership between nodes, node numbers, and an empty node's first filling.

use super::Hub;
use crate::frame::ControlFrame;
use crate::handshake::{NUMBER_ENDED, REMOVED, Refusal};
use crate::link::Peer;
use crate::sealing::{Asker, NotAtHand, SealStep, Sealing};
use crate::window::OriginWindow;
use crate::{Event, LinkPhase, MemberView, Millis, NodeIdentity, NumberGrant, RefusalCode, limits};
use crdt::membership::{Holding, View, Waiting};
use crdt::{NodeNumber, Stamp, VersionVector};
use std::cell::OnceCell;

impl Hub {
    /// The number to stamp with from now on; written to the catalogue before.
    pub fn set_number(&mut self, number: NodeNumber) {
        self.settings.number = Some(number);
        self.settings.numbers.insert(number);
        self.number_wanted = false;
        self.number_asked = None;
        // What peers have of the number before was counted under that.
        let written = self.own_log.back().map_or(Stamp::ZERO, |&(last, _)| last);
        for link in self.peers.values_mut().filter_map(|peer| peer.link.as_mut()) {
            link.own_at_start = link.own_at_start.max(written);
        }
        let ready = self.ready_peers();
        for peer in ready {
            self.offer_own_origins(peer);
            // The peer must know whose the number is before the first batch under it.
            if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
                link.heartbeat_due = true;
            }
        }
    }

    /// The number this node stamps with.
    pub fn number(&self) -> Option<NodeNumber> {
        self.settings.number
    }

    /// Asks a peer for a number, and the next one if it does not answer, until `set_number` is called.
    pub fn request_number(&mut self, now: Millis) {
        self.number_wanted = true;
        self.number_ask_at = now;
        self.ask_for_number(now);
    }

    /// Peers say that the number has ended, and nothing was written under it here: a peer is asked for another one.
    pub fn abandon_number(&mut self, now: Millis) {
        self.settings.number = None;
        self.request_number(now);
    }

    /// The answer to [`Event::NumberRequested`]. False: the link is gone, and the number is burnt for nothing.
    pub fn grant_number(&mut self, peer: NodeIdentity, grant: NumberGrant) -> bool {
        let frame = ControlFrame::NumberGranted {
            number: grant.number.value(),
            first: grant.range.0.value(),
            last: grant.range.1.value(),
        };
        self.send_if_room(peer, 0, frame)
    }

    /// The membership changed: removed peers are cut off, seals waive what nobody has, the record goes to all peers.
    pub fn set_membership(&mut self, members: MemberView, now: Millis) {
        self.members = members;
        if let Some(mine) = self.members.numbers.get(&self.settings.identity) {
            self.settings.numbers.extend(mine);
        }
        // Batches of a peer are taken from the moment its hello was accepted.
        let heard =
            |peer: &Peer| peer.link.as_ref().is_some_and(|link| link.accepted_them && link.phase != LinkPhase::Closing);
        let linked: Vec<NodeIdentity> = self.peers.iter().filter(|(_, peer)| heard(peer)).map(|(&p, _)| p).collect();
        for peer in linked {
            if self.members.removed.contains(&peer) {
                // No alarm: that is for one that comes all the same.
                let code = RefusalCode::Removed;
                self.turn_away(peer, Refusal { code, sentence: REMOVED.into(), taken: None }, now);
                continue;
            }
            if self.stamps_with_ended(peer) {
                self.refuse_ended(peer, now);
                continue;
            }
            if self.peers.get(&peer).is_some_and(|peer| peer.ready().is_some()) {
                self.offer_own_origins(peer);
                self.offer_membership(peer, now);
            }
        }
        let seals: Vec<(NodeNumber, Stamp)> = self.members.sealed.iter().map(|(&n, &s)| (n, s)).collect();
        for (origin, seal) in seals {
            self.counters.beyond_seal += self.gate.seal(origin, seal) as u64;
        }
        // Who was removed need not have anything any more.
        self.release_ring();
        self.open_gate(now);
        self.review_gaps(now);
        self.check_filled(now);
    }

    /// Whether the link to `peer` leads to a life of it that is over as far as anybody knows. What is still on its way
    /// from there must not come in: members have told how much of its number they hold.
    fn stamps_with_ended(&self, peer: NodeIdentity) -> bool {
        let facts = self.peers.get(&peer).and_then(|entry| entry.facts.as_ref());
        facts.and_then(|facts| facts.number).is_some_and(|number| self.members.ended.contains(&number))
    }

    pub(super) fn refuse_ended(&mut self, peer: NodeIdentity, now: Millis) {
        let (code, sentence) = (RefusalCode::NumberEnded, NUMBER_ENDED.into());
        self.refuse(peer, Refusal { code, sentence, taken: None }, now);
    }

    /// What to do next for ended numbers. `known_in_part` tells how far anything at all is known of each number; it is
    /// asked only where that matters.
    pub fn seal_steps(
        &self,
        sealing: &mut Sealing,
        view: &View,
        known_in_part: &dyn Fn() -> VersionVector,
    ) -> Vec<SealStep> {
        let Some(number) = self.settings.number else { return Vec::new() };
        sealing.note_source(self.fed_from());
        let partial = OnceCell::new();
        let held = |number| self.holding_of(number, partial.get_or_init(known_in_part));
        let me = self.settings.identity;
        let linked = |peer: NodeIdentity| self.peers.get(&peer).is_some_and(|peer| peer.ready().is_some());
        let all = view.members().iter().all(|member| member.identity == me || linked(member.identity));
        let has_most = |number| all && self.has_most(number);
        let applied = |number| self.vector.of(number);
        sealing.steps(&Asker { identity: me, number, view, applied: &applied, has_most: &has_most }, &held)
    }

    /// Where an ended number can be sealed with what this node and the peers that it is linked with hold, and up to where
    /// all of it is known then. What others may hold is given up.
    pub fn at_hand(
        &self,
        number: NodeNumber,
        view: &View,
        known_in_part: &VersionVector,
    ) -> Result<(Stamp, Stamp), NotAtHand> {
        if self.applying.contains_key(&number) {
            return Err(NotAtHand::Applying);
        }
        let mine = self.holding_of(number, known_in_part);
        let mut at = mine.reach;
        for (identity, peer, _) in self.ready() {
            let told = view.report(number, identity).map(|report| report.holding);
            let applied = told.map_or(Stamp::ZERO, |holding| holding.applied).max(peer.vector.of(number));
            if applied > mine.applied {
                return Err(NotAtHand::HeldBy(identity));
            }
            at = at.max(told.map_or(Stamp::ZERO, |holding| holding.reach));
        }
        Ok((at, mine.applied))
    }

    /// What is held here of an ended number.
    fn holding_of(&self, number: NodeNumber, known_in_part: &VersionVector) -> Holding {
        let waiting = match self.applying.contains_key(&number) {
            true => Waiting::InLine,
            false => self.gate.what_waits(number),
        };
        let applied = self.vector.of(number);
        Holding { applied, reach: known_in_part.of(number).max(applied), waiting }
    }

    /// Whether no peer is known to have more of a number than this node.
    fn has_most(&self, number: NodeNumber) -> bool {
        self.ready().all(|(_, peer, _)| peer.vector.of(number) <= self.vector.of(number))
    }

    /// Whose state this node is getting, if it gets any.
    fn fed_from(&self) -> Option<NodeIdentity> {
        self.fed.as_ref().map(|fed| fed.source)
    }

    /// Forgets batches of an ended number that have a gap before them which nobody can fill.
    pub fn forget_waiting(&mut self, number: NodeNumber) {
        let forgotten = self.gate.seal(number, self.gate.received(number));
        self.counters.beyond_seal += forgotten as u64;
    }

    /// Everything that any member knows of an ended number is here, by whatever way it came: the vector rises to where it
    /// is sealed. The node's own keeping of the vector has been raised before.
    pub fn complete_number(&mut self, number: NodeNumber, at: Stamp, now: Millis) {
        let step: VersionVector = [(number, at)].into_iter().collect();
        if self.vector.covers_all(&step) {
            return;
        }
        self.tails.remove(&number);
        self.gate.raise(&step);
        self.vector.join(&step);
        self.ring.raise(&step);
        self.vector_moved(now);
        self.open_gate(now);
    }

    pub(super) fn offer_membership(&mut self, peer: NodeIdentity, now: Millis) {
        let (hash, record) = (self.members.hash, &self.members.encoded);
        if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
            link.offer_membership(hash, record, now);
        }
    }

    /// Whether [`Event::Filled`] is still to come.
    pub fn is_filling(&self) -> bool {
        self.filling_until.is_some()
    }

    /// Whose number this is, if it is not the peer's.
    pub(super) fn other_owner(&self, number: NodeNumber, peer: NodeIdentity) -> Option<NodeIdentity> {
        if self.settings.numbers.contains(&number) {
            return Some(self.settings.identity);
        }
        let owners = self.members.numbers.iter().filter(|(_, numbers)| numbers.contains(&number));
        owners.map(|(&identity, _)| identity).find(|&identity| identity != peer)
    }

    /// A peer knows writes under our number that we do not know.
    pub(super) fn own_number_known_to(&mut self, peer: NodeIdentity, known: Stamp) {
        let Some(number) = self.settings.number else { return };
        if known > self.vector.of(number) && self.overrun_told.insert(number) {
            self.events.push_back(Event::NumberOverrun { peer, number, known });
        }
    }

    /// Every origin that is this node's own is sent on every link unasked.
    pub(super) fn offer_own_origins(&mut self, peer: NodeIdentity) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let Some(link) = entry.link.as_mut() else { return };
        for &number in &self.settings.numbers {
            link.windows.entry(number).or_insert_with(|| OriginWindow::after(entry.vector.of(number)));
        }
    }

    pub(super) fn ask_for_number(&mut self, now: Millis) {
        if !self.number_wanted || now < self.number_ask_at {
            return;
        }
        let able: Vec<NodeIdentity> = self
            .ready()
            .filter(|(_, peer, _)| peer.facts.as_ref().is_some_and(|facts| facts.number.is_some()))
            .map(|(identity, _, _)| identity)
            .collect();
        let after_last = able.iter().copied().find(|&peer| self.number_asked.is_some_and(|last| peer > last));
        let Some(peer) = after_last.or_else(|| able.first().copied()) else {
            self.number_ask_at = now.after(self.settings.heartbeat_ms);
            return;
        };
        self.number_asked = Some(peer);
        self.number_ask_at = now.after(limits::NUMBER_REQUEST_MS);
        self.send(peer, &ControlFrame::NumberRequest);
    }

    pub(super) fn number_granted(&mut self, peer: NodeIdentity, grant: NumberGrant) {
        // A late answer after another peer's: the number stays burnt, and nobody uses it.
        if self.number_wanted && self.number_asked == Some(peer) {
            self.number_wanted = false;
            self.events.push_back(Event::NumberGranted { peer, grant });
        }
    }

    /// Whether an empty node is done waiting: it has what every serving peer had when they met, or nobody has anything, or
    /// nobody who has any was here for a whole wait.
    pub(super) fn check_filled(&mut self, now: Millis) {
        let Some(until) = self.filling_until else { return };
        if self.fed.is_some() {
            self.wait_anew(now);
            return;
        }
        let mut with_data = false;
        let mut covered = true;
        let (mut ready, mut members, mut serving) = (0, 0, 0);
        for (identity, peer, link) in self.ready() {
            ready += 1;
            members += usize::from(self.is_other_member(identity));
            let has_number = peer.facts.as_ref().is_some_and(|facts| facts.number.is_some());
            serving += usize::from(has_number && !link.peer_filling);
            if !link.peer_filling && !link.vector_at_start.is_empty() {
                with_data = true;
                covered &= self.covers(&link.vector_at_start);
            }
        }
        let others = self.others().unwrap_or(self.settings.peers_expected);
        // SUBTLE: that a newcomer reaches nobody but other newcomers says nothing about whether there is data, unless they are
        // all there are. Nor does what a node knows that needs a number: of members, perhaps nothing.
        let all_are_here = self.others() == Some(members);
        let may_know = serving > 0 || all_are_here || !self.settings.is_newcomer;
        let has_number = self.settings.number.is_some();
        let nobody_has_any = !with_data && may_know && has_number && (ready >= others || now >= until);
        if nobody_has_any || (with_data && covered) {
            self.filling_until = None;
            self.events.push_back(Event::Filled);
        } else if with_data || now >= until {
            self.wait_anew(now);
        }
    }

    /// How many other members there are, if that is known.
    fn others(&self) -> Option<usize> {
        let members = &self.members.numbers;
        let is_other = |member: &&NodeIdentity| self.is_other_member(**member);
        (!members.is_empty()).then(|| members.keys().filter(is_other).count())
    }

    /// Somebody who has data is here: should all of those go away, they are waited for as long as at the start. What they
    /// have brought until then is a part only.
    fn wait_anew(&mut self, now: Millis) {
        self.filling_until = Some(now.after(self.settings.fill_timeout_ms.max(self.settings.heartbeat_ms)));
    }

    /// Whether all of `vector` that anybody holds is applied.
    fn covers(&self, vector: &VersionVector) -> bool {
        vector.iter().all(|(node, stamp)| {
            let stamp = self.members.sealed.get(&node).map_or(stamp, |&seal| seal.min(stamp));
            stamp <= self.vector.of(node)
        })
    }
}
