//! What operators are told: status, lag, metrics, and the condition that commands see.

use super::{Peers, SWEEP_TURN_MAX};
use crate::info::{ClusterStatus, LinkState, MemberState, MemberStatus};
use crdt::membership::Member;
use protocol::{LinkPhase, LinkReport, NodeIdentity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Counter resets that a node remembers before it raises an alarm: some 200 MB with keys and fields of usual length.
const RESETS_HELD_MAX: u64 = 1 << 20;

impl Peers {
    /// A round of chores.
    pub(super) fn housekeeping(&mut self) {
        self.note_moment();
        self.send_roots();
        self.follow_own_address();
        self.keep_what_is_not_kept();
        self.share_numbers();
        self.seal_numbers();
        self.collect();
        self.check_clock();
        self.update_condition();
        self.update_metrics();
        self.status_now();
        self.check_pending();
    }

    /// Writes down the cluster as this node knows it, for those who ask without waiting.
    pub(super) fn status_now(&mut self) {
        let status = Arc::new(self.cluster_status());
        self.note_regions();
        self.note_places(&status);
        let console = &self.node.console;
        console.metrics.set_identity(&status.node, &status.region);
        console.set_cluster_view(move || (*status).clone());
    }

    /// What commands see: whether the node fills, has a number, has a clock that can be trusted.
    pub(super) fn update_condition(&mut self) {
        self.node.condition.set_loading(!self.filled || !self.has_number || !self.has_read_all());
        let reason = self.refusals.reason();
        if self.node.condition.writes_refused() != reason {
            self.node.condition.refuse_writes(reason.as_deref());
        }
    }

    fn collect(&mut self) {
        let over = self.note_ended_numbers();
        self.look_at_resets();
        if self.node.keyspace.remembered_resets() > 0 {
            // SUBTLE: what was heard stays: a reset that comes with state later may be an old one, of which a peer at rest
            // says nothing any more.
            let known = &self.known_applied;
            let everything = self.everything();
            let of = |number| if over.contains(&number) { Some(&everything) } else { known.get(&number) };
            let began_ns = self.node.monotonic_ns();
            let is_late = || self.node.since(began_ns) > SWEEP_TURN_MAX;
            self.resets_from = self.node.keyspace.collect_resets(self.resets_from, &of, &is_late);
        }
        self.settle_patches(&over);
        self.node.keyspace.prune();
    }

    /// Resets of counters are remembered for members that are away. There is no harmless way to forget one, so too many
    /// are an alarm: an operator can bring the member back or remove it.
    fn look_at_resets(&mut self) {
        let held = self.node.keyspace.remembered_resets();
        let too_many = held > RESETS_HELD_MAX;
        if too_many && !self.resets_alarmed {
            let away: Vec<String> = self
                .membership
                .view()
                .active()
                .map(|member| member.identity)
                .filter(|&member| member != self.identity && !self.hub.ready_peers().contains(&member))
                .map(|member| self.name_of(member))
                .collect();
            tracing::error!(
                held,
                limit = RESETS_HELD_MAX,
                ?away,
                "alarm: more counter resets are remembered for members that are away than is sound; bring them back, or \
                 remove them"
            );
            self.node.console.metrics.replication.limits_met.add("counter_resets", 1);
        }
        // Some leeway, so that a count at the limit is one alarm.
        self.resets_alarmed = too_many || self.resets_alarmed && held > RESETS_HELD_MAX / 2;
    }

    /// A node whose clock is far from the others' must not stamp: its writes would win over everybody's for ever, or
    /// never.
    fn check_clock(&mut self) {
        let limit = i64::try_from(self.node.config.load().max_clock_drift.as_millis()).unwrap_or(i64::MAX);
        let offset = self.hub.clock_offset_median_ms(self.now(), self.node.wall_clock());
        let wrong = offset.filter(|offset| offset.unsigned_abs() > limit.unsigned_abs());
        if wrong.is_some() != self.refusals.drift_ms.is_some() {
            match (wrong, offset) {
                (Some(ms), _) => {
                    tracing::error!(ms, "this node's clock is too far from the others': writes are refused")
                }
                (None, Some(_)) => {
                    tracing::info!("this node's clock agrees with the others' again: writes are accepted")
                }
                (None, None) => tracing::warn!(
                    "nothing is known any more of clocks that this node's was too far from: writes are accepted"
                ),
            }
        }
        self.refusals.drift_ms = wrong;
    }

    pub(super) fn report_of(&self, peer: NodeIdentity) -> Option<LinkReport> {
        let wall = self.node.wall_clock();
        let mut report = self.hub.link_report(peer, self.now(), wall)?;
        // Nobody is behind for longer than it has been a member.
        if let Some(member) = self.membership.view().member(peer)
            && let Some(since) = wall.checked_sub(member.admitted.unix_ms())
        {
            report.applied_lag_ms = report.applied_lag_ms.min(since);
        }
        Some(report)
    }

    fn cluster_status(&self) -> ClusterStatus {
        let me = self.identity;
        let own = self.membership.view().member(me);
        let mut members: Vec<MemberStatus> =
            self.membership.view().members().iter().map(|member| self.member_status(member)).collect();
        members.extend(self.membership.view().removed().iter().map(|&identity| self.former_status(identity)));
        let source = self.hub.peers().into_iter().filter_map(|peer| self.report_of(peer)).find(|r| r.fed_by_peer);
        let name = |number| match self.membership.owner_of(number) {
            Some(owner) => format!("{}#{number}", self.name_of(owner)),
            None => format!("#{number}"),
        };
        ClusterStatus {
            cluster: self.cluster_text(),
            node: own.map(|member| member.record.name.clone()).unwrap_or_default(),
            region: own.map(|member| member.record.region.clone()).unwrap_or_default(),
            number: self.number().map(|number| number.value()),
            members,
            vector: self.hub.closed_vector().iter().map(|(n, stamp)| (name(n), stamp.to_string())).collect(),
            catching_up_from: source.map(|report| self.name_of(report.peer)),
            filling: self.filling_text(),
            writes_refused: self.refusals.reason(),
        }
    }

    /// What is told of a node that was removed.
    fn former_status(&self, identity: NodeIdentity) -> MemberStatus {
        let record = self.membership.view().former(identity);
        MemberStatus {
            node: self.name_of(identity),
            identity: identity.to_string(),
            region: record.map(|record| record.region.clone()).unwrap_or_default(),
            state: MemberState::Removed,
            ..MemberStatus::default()
        }
    }

    fn filling_text(&self) -> Option<String> {
        match (self.filled, self.has_number) {
            (true, true) => None,
            (false, _) if self.hub.is_filling() && !self.is_linked_with_one_that_serves() => {
                Some("it waits for a member that it can fill from, and is linked with none".to_owned())
            }
            (false, _) => Some("it fills from its peers".to_owned()),
            (true, false) => Some("it waits for a peer to give it a node number".to_owned()),
        }
    }

    fn is_linked_with_one_that_serves(&self) -> bool {
        let reports = self.hub.ready_peers().into_iter().filter_map(|peer| self.report_of(peer));
        reports.into_iter().any(|report| !report.peer_is_filling)
    }

    fn cluster_text(&self) -> String {
        super::control::hex(&self.hub_settings.cluster.0)
    }

    fn member_status(&self, member: &Member) -> MemberStatus {
        let peer = member.identity;
        let report = self.report_of(peer);
        let is_self = peer == self.identity;
        let ready = report.as_ref().is_some_and(|report| report.phase == LinkPhase::Ready);
        let greets = report.as_ref().is_some_and(|report| report.phase == LinkPhase::Greeting);
        let catching_up = report.as_ref().is_some_and(|r| r.fed_by_peer || r.feeding_peer.is_some());
        let filling = report.as_ref().is_some_and(|report| report.peer_is_filling);
        MemberStatus {
            node: member.record.name.clone(),
            identity: peer.to_string(),
            region: member.record.region.clone(),
            state: match (is_self, ready) {
                (true, _) if !self.filled => MemberState::Joining,
                (true, _) => MemberState::Active,
                (false, true) if filling => MemberState::Joining,
                (false, true) => MemberState::Active,
                (false, false) => MemberState::Unreachable,
            },
            advertise: member.record.advertise.clone(),
            resp: member.record.resp.clone(),
            http: member.record.http.clone(),
            applied_lag_ms: report.as_ref().filter(|_| !is_self).map(|report| report.applied_lag_ms),
            unacked_changes: report.as_ref().map_or(0, |report| report.unacknowledged_changes),
            clock_offset_ms: report.as_ref().and_then(|report| report.clock_offset_ms),
            round_trip_ms: report.as_ref().and_then(|report| report.rtt_ms),
            link: match (is_self, ready, catching_up) {
                (true, ..) => LinkState::Up,
                (false, true, true) => LinkState::CatchingUp,
                (false, true, false) => LinkState::Up,
                (false, false, _) if greets => LinkState::Greeting,
                (false, false, _) => LinkState::Down,
            },
        }
    }

    /// The answer to `PELAGO STATUS`.
    pub(super) fn status_json(&mut self) -> Value {
        let status = self.cluster_status();
        let keys: u64 = (0..keyspace::DATABASES).map(|database| self.node.keyspace.len(database)).sum();
        let digest = (0..keyspace::SLOTS).fold(0u64, |sum, slot| {
            sum.rotate_left(1) ^ self.node.keyspace.digest_of(slot).digest.wrapping_mul(u64::from(slot) * 2 + 1)
        });
        let metrics = &self.node.console.metrics;
        metrics.refresh(&self.node);
        json!({
            "node": status.node, "region": status.region, "version": crate::metrics::VERSION,
            "cluster": status.cluster, "number": status.number, "members": status.members, "keys": keys,
            "memory_bytes": metrics.allocator.allocated_bytes.value(), "vector": status.vector,
            "digest": format!("{digest:016x}"), "catching_up_from": status.catching_up_from,
            "filling": status.filling, "writes_refused": status.writes_refused, "store": self.store_json(),
            "numbers_used_percent": (self.membership.view().numbers_gone_share() * 100.0).round(),
        })
    }

    /// How the disk is; nothing where keys are not kept on one.
    fn store_json(&self) -> Value {
        if !self.node.durability.is_on() {
            return Value::Null;
        }
        let state = self.node.durability.state();
        json!({
            "health": state.health.name(), "problem": state.health.sentence(), "space_bytes": state.space_bytes,
            "checkpoint_failed": state.checkpoint_failed, "checkpoint_lacks_bytes": state.checkpoint_lacks_bytes,
        })
    }

    /// The answer to `PELAGO REGION LIST`.
    pub(super) fn members_json(&mut self) -> Value {
        let status = self.cluster_status();
        json!({ "members": status.members })
    }

    /// The answer to `PELAGO LAG`.
    pub(super) fn lag_json(&mut self) -> Value {
        let status = self.cluster_status();
        let others = self.membership.view().active().filter(|member| member.identity.0 != self.identity.0);
        let peers: Vec<Value> = others
            .map(|member| {
                let report = self.report_of(member.identity);
                let link = self.member_status(member).link;
                json!({
                    "node": member.record.name, "region": member.record.region, "link": link.name(),
                    "applied_lag_ms": report.as_ref().map(|r| r.applied_lag_ms),
                    "unacked_changes": report.as_ref().map(|r| r.unacknowledged_changes),
                    "unacked_bytes": report.as_ref().map(|r| r.unacknowledged_bytes),
                    "clock_offset_ms": report.as_ref().and_then(|r| r.clock_offset_ms),
                    "rtt_ms": report.as_ref().and_then(|r| r.rtt_ms),
                    "silent_ms": report.as_ref().and_then(|r| r.silent_ms),
                })
            })
            .collect();
        json!({ "node": status.node, "region": status.region, "peers": peers })
    }

    pub(super) fn update_metrics(&mut self) {
        let report = self.hub.report();
        let node = self.node.clone();
        let metrics = &node.console.metrics;
        let totals = &metrics.replication;
        totals.ring_bytes.set(report.ring_bytes as i64);
        totals.ring_bytes_max.set(report.ring_bytes_max as i64);
        totals.ring_batches.set(report.origins.iter().map(|o| o.ring_batches as i64).sum());
        totals.state_gathered_bytes.set(report.state_gathered_bytes as i64);
        totals.waiting_batches.set(report.origins.iter().map(|o| o.waiting_batches as i64).sum());
        totals.waiting_bytes.set(report.origins.iter().map(|o| o.waiting_bytes as i64).sum());
        totals.waiting_dropped.mirror(report.limits.waiting_space_full);
        totals.pulls.mirror(report.limits.pulls);
        self.node.pubsub.outgoing.note_links(report.limits.messages_sent, report.limits.messages_dropped);
        let packing = self.compression.figures();
        totals.packed_bytes_before.mirror(packing.bytes_before);
        totals.packed_bytes_after.mirror(packing.bytes_after);
        totals.packing_probes.mirror(packing.probes);
        totals.packing_left_untried.mirror(packing.left_untried);
        totals.sessions.mirror(report.limits.sessions_begun);
        totals.sessions_broken.mirror(report.limits.sessions_abandoned);
        metrics.keyspace.counter_resets_held.set(self.node.keyspace.remembered_resets() as i64);
        metrics.keyspace.patched_strings.set(self.node.keyspace.patched_strings() as i64);
        metrics.keyspace.patches_made_whole.mirror(self.node.keyspace.patches_made_whole());
        let conflicts = self.node.keyspace.conflicts();
        let read = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        metrics.keyspace.type_conflicts.mirror(read(&conflicts.kinds));
        metrics.keyspace.conflicts.mirror("value", read(&conflicts.values));
        metrics.keyspace.conflicts.mirror("lifetime", read(&conflicts.lives));
        metrics.keyspace.conflicts.mirror("type", read(&conflicts.kinds));
        for (name, count) in report.limits.named() {
            totals.limits_met.mirror(name, count);
        }
        let mut running = 0;
        let others = self.membership.view().active().filter(|member| member.identity != self.identity);
        let others: BTreeMap<String, NodeIdentity> =
            others.map(|member| (member.record.name.clone(), member.identity)).collect();
        let names = others.keys().cloned().collect();
        let gone = metrics.replication.keep_peers(&names);
        self.batches.bytes_out_gone += gone.iter().map(|peer| peer.bytes_out.value()).sum::<u64>();
        let mut bytes_out = self.batches.bytes_out_gone;
        for (name, peer) in others {
            // One that was never met has a link that is down, too.
            let peer_metrics = metrics.replication.peer(&name);
            let Some(report) = self.report_of(peer) else { continue };
            peer_metrics.applied_lag_ms.set(report.applied_lag_ms as i64);
            peer_metrics.write_to_applied_ms.mirror(&report.applied_lags.counts, report.applied_lags.sum_ms);
            peer_metrics.unacked_changes.set(report.unacknowledged_changes as i64);
            peer_metrics.unacked_bytes.set(report.unacknowledged_bytes as i64);
            peer_metrics.clock_offset_ms.set(report.clock_offset_ms.unwrap_or_default());
            peer_metrics.link_up.set(i64::from(report.phase == LinkPhase::Ready));
            peer_metrics.catching_up.set(i64::from(report.fed_by_peer));
            peer_metrics.batches_in.mirror(report.batches_received);
            peer_metrics.batches_out.mirror(report.batches_sent);
            running += i64::from(report.fed_by_peer) + i64::from(report.feeding_peer.is_some());
            self.note_traffic(peer);
            bytes_out += peer_metrics.bytes_out.value();
        }
        totals.sessions_running.set(running);
        self.batches.bytes_out = bytes_out;
        if self.batches.changes_made > 0 {
            totals.bytes_out_per_write.set(self.batches.bytes_out as f64 / self.batches.changes_made as f64);
        }
    }

    /// Counts what has gone over a link since it was asked last.
    pub(super) fn note_traffic(&mut self, peer: NodeIdentity) {
        let peer_metrics = self.node.console.metrics.replication.peer(&self.name_of(peer));
        if let Some(link) = self.links.get_mut(&peer)
            && let Some(stats) = self.transport.stats(link.id)
        {
            peer_metrics.bytes_out.add(stats.sent_bytes.saturating_sub(link.sent_before));
            peer_metrics.bytes_in.add(stats.received_bytes.saturating_sub(link.received_before));
            peer_metrics.round_trip_ms.set(stats.round_trip.as_secs_f64() * 1e3);
            link.sent_before = stats.sent_bytes;
            link.received_before = stats.received_bytes;
        }
    }
}
