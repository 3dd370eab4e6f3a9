//! Questions and orders of operators: the `PELAGO` command's way to the thread of the peers, and `verify` and removal,
//! which take time.

use super::Peers;
use super::keeping::Waiting;
use super::membership::NOT_DURABLE;
use super::pace::HOUSEKEEPING_INTERVAL;
use crdt::membership::MemberRecord;
use crdt::{NodeNumber, Stamp};
use protocol::sealing::NotAtHand;
use protocol::{AuditFrame, AuditRange, NodeIdentity, RequestId, compare};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The answer: JSON, or one plain sentence.
pub type ControlReply = Result<String, String>;

/// The way from commands to the thread of the peers.
#[derive(Debug, Default)]
pub struct Control {
    sender: parking_lot::RwLock<Option<mpsc::Sender<ControlRequest>>>,
}

/// Why an order could not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The node is alone: nobody serves orders.
    #[error("this node runs without peers")]
    NoPeers,
    /// Too many orders wait.
    #[error("too many orders wait; try again")]
    Busy,
}

/// An order with the place for its answer.
#[derive(Debug)]
pub(super) struct ControlRequest {
    words: Vec<Vec<u8>>,
    answer: oneshot::Sender<ControlReply>,
}

/// Orders that may wait: operators are few.
const ORDERS_WAITING_MAX: usize = 64;
/// Slots named of those that could not be compared.
const BUSY_SHOWN_MAX: usize = 64;
/// How long `verify` waits for slots to rest, unless it is told otherwise.
const VERIFY_TIME: Duration = Duration::from_secs(10);
/// How long a graceful removal waits for everybody to have everything.
const REMOVE_TIME: Duration = Duration::from_secs(30);
/// Between two rounds of a `verify`: they come with the chores.
const VERIFY_ROUND: Duration = HOUSEKEEPING_INTERVAL;
/// The answer to an order of which not every word is understood: nothing of it is carried out.
const NOT_UNDERSTOOD: &str = "syntax error; try PELAGO HELP";
/// The answer to an order that must not meet what is coming in just now.
const MERGING: &str = "what others hold is being taken in just now; try again in a moment";

/// The question of a peer: describe all slots.
const ASK_SLOTS: &[u8] = b"slots";
/// The order to a node that is removed: accept no more writes, and answer with the vector when everything is closed. The
/// name of the order follows.
const ASK_DRAIN: &[u8] = b"drain ";

/// The same order once everybody has what was written until then: unless more was, the node is removed next, and it gives
/// the node numbers that it could hand out to who asks.
const ASK_LEAVE: &[u8] = b"leave ";

/// The end of such an order that could not be carried out: writes are accepted again, unless another one stands.
const ASK_RESUME: &[u8] = b"resume ";

/// How long a node heeds such an order that is not repeated: who gave it is gone or cannot be reached, and removes nobody.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Orders to drain that a node heeds at once.
const DRAINS_MAX: usize = 64;
/// Comparisons that run at once: each has every peer describe all slots five times a second.
const VERIFIES_MAX: usize = 4;

impl Control {
    /// Opens the way; the thread of the peers takes the orders.
    pub(super) fn open(&self) -> mpsc::Receiver<ControlRequest> {
        let (sender, receiver) = mpsc::channel(ORDERS_WAITING_MAX);
        *self.sender.write() = Some(sender);
        receiver
    }

    /// Gives an order; the answer comes later.
    pub fn order(&self, words: Vec<Vec<u8>>) -> Result<oneshot::Receiver<ControlReply>, ControlError> {
        let sender = self.sender.read().clone().ok_or(ControlError::NoPeers)?;
        let (answer, answered) = oneshot::channel();
        sender.try_send(ControlRequest { words, answer }).map_err(|_| ControlError::Busy)?;
        Ok(answered)
    }
}

/// Orders that take time.
#[derive(Debug, Default)]
pub(super) struct Pending {
    verifies: Vec<Verify>,
    removals: Vec<RemovalOrder>,
    removals_named: u64,
    /// Orders to drain that this node heeds: who gave them, their names, and until when unless they are repeated.
    drains: BTreeMap<(NodeIdentity, Vec<u8>), Instant>,
}

/// A comparison with all peers.
#[derive(Debug)]
struct Verify {
    answer: oneshot::Sender<ControlReply>,
    until: Instant,
    next_round: Instant,
    peers: BTreeMap<NodeIdentity, PeerVerify>,
}

#[derive(Debug, Default)]
struct PeerVerify {
    asked: Option<RequestId>,
    /// Slots not yet seen equal at a common cut.
    open: BTreeSet<u16>,
    /// Slots that differ; a later round may find that it was a moment's matter, so they stay open too.
    differing: BTreeSet<u16>,
    error: Option<Unheard>,
}

/// Why a peer could not be compared with.
#[derive(Debug)]
enum Unheard {
    /// There was no link to it when it was to be asked.
    Unreachable,
    /// The link went down before it had answered.
    LinkDown,
    /// Its answer cannot be read.
    Unreadable(String),
}

impl Unheard {
    fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable | Self::LinkDown => true,
            Self::Unreadable(_) => false,
        }
    }

    fn sentence(&self) -> &str {
        match self {
            Self::Unreachable => "it cannot be reached",
            Self::LinkDown => "the link went down",
            Self::Unreadable(why) => why,
        }
    }
}

/// A region that is being removed in order.
#[derive(Debug)]
struct RemovalOrder {
    /// What the nodes that it concerns know it by.
    name: String,
    answer: oneshot::Sender<ControlReply>,
    until: Instant,
    identities: Vec<NodeIdentity>,
    /// What the region had written when it stopped accepting.
    drained: BTreeMap<NodeIdentity, Option<BTreeMap<NodeNumber, Stamp>>>,
    asked: BTreeMap<RequestId, NodeIdentity>,
    /// Everybody had what the region had written before it was asked again: its answer tells that nothing came after.
    confirms: bool,
}

impl Pending {
    /// Whether no order waits.
    pub(super) fn is_empty(&self) -> bool {
        self.verifies.is_empty() && self.removals.is_empty() && self.drains.is_empty()
    }
}

impl Peers {
    pub(super) fn take_request(&mut self, request: Option<ControlRequest>) {
        let Some(ControlRequest { words, answer }) = request else { return };
        self.pace.stir(Instant::now());
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let reply = match words.as_slice() {
            [verb] if is(verb, "STATUS") => Ok(self.status_json()),
            [verb] if is(verb, "LAG") => Ok(self.lag_json()),
            [verb, sub] if is(verb, "REGION") && is(sub, "LIST") => Ok(self.members_json()),
            [verb, sub, body] if is(verb, "REGION") && is(sub, "ADD") => self.region_add(body),
            [verb, sub, name, rest @ ..] if is(verb, "REGION") && is(sub, "REMOVE") => match has_word(rest, "FORCE") {
                Ok(force) => return self.region_remove(&text(name), force, answer),
                Err(refusal) => Err(refusal),
            },
            [verb, rest @ ..] if is(verb, "VERIFY") => match verify_time(rest) {
                Ok(time) => return self.verify(time, answer),
                Err(refusal) => Err(refusal),
            },
            [verb, name, rest @ ..] if is(verb, "RELEASE-DRIFT") => {
                has_word(rest, "PREVIEW").and_then(|preview| self.release_drift(&text(name), preview))
            }
            [verb, name, rest @ ..] if is(verb, "SEAL") => {
                has_word(rest, "PREVIEW").and_then(|preview| self.seal(&text(name), preview))
            }
            [verb, sub, rest @ ..] if is(verb, "BACKUP") && is(sub, "BEGIN") => return self.order_backup(rest, answer),
            [verb, names @ ..] if is(verb, "CUT") => self.cut(names),
            [verb, names @ ..] if is(verb, "HEAL") => self.heal(names),
            _ => Err(NOT_UNDERSTOOD.to_owned()),
        };
        // Who asked may have gone.
        let _ = answer.send(reply.map(|value| value.to_string()));
    }

    fn region_add(&mut self, body: &[u8]) -> Result<Value, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| format!("the request is not JSON: {error}"))?;
        let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let identity = transport::parse_identity(&field("identity")).map_err(|error| error.to_string())?;
        let (cluster, own) = (field("cluster"), hex(&self.hub_settings.cluster.0));
        if cluster != own {
            return Err(format!(
                "the authority that the node has its certificate from is that of cluster {cluster:?}, and this one is {own}; give \
                 the directory of this cluster's authority (--ca)"
            ));
        }
        let record = MemberRecord {
            name: field("name"),
            region: field("region"),
            advertise: field("advertise"),
            resp: field("resp"),
            http: field("http"),
        };
        let number = self.admit_member(identity, record)?;
        Ok(json!({ "number": number.value(), "membership": hex(&self.membership.encode()) }))
    }

    fn region_remove(&mut self, name: &str, force: bool, answer: oneshot::Sender<ControlReply>) {
        let identities: Vec<NodeIdentity> = match self.members_called(name) {
            Ok(members) => members.iter().map(|member| member.identity).collect(),
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        if identities.contains(&self.identity) {
            let refusal = "a node cannot remove itself; ask a node of another region (--via)";
            return drop(answer.send(Err(refusal.to_owned())));
        }
        if force {
            let outcome = self.fence(&identities);
            let _ = answer.send(outcome.map(|value| value.to_string()));
            return;
        }
        self.pending.removals_named += 1;
        let name = format!("{}", self.pending.removals_named);
        let until = Instant::now() + REMOVE_TIME;
        let (drained, asked) = (BTreeMap::new(), BTreeMap::new());
        let mut removal = RemovalOrder { name, answer, until, identities, drained, asked, confirms: false };
        if let Some(peer) = self.ask_to_drain(&mut removal) {
            let _ = removal.answer.send(Err(format!(
                "{} cannot be reached, so nobody knows whether all its writes are elsewhere; bring it back, or remove it with --force",
                self.name_of(peer)
            )));
            return;
        }
        self.pending.removals.push(removal);
    }

    /// Orders the nodes that are removed to accept no more writes, or to go on so, and to say what they have written. Returns
    /// one that cannot be reached.
    fn ask_to_drain(&mut self, removal: &mut RemovalOrder) -> Option<NodeIdentity> {
        let mut missed = None;
        for &peer in &removal.identities {
            let question = if removal.confirms { ASK_LEAVE } else { ASK_DRAIN };
            match self.hub.request(peer, [question, removal.name.as_bytes()].concat()) {
                Some(id) => drop(removal.asked.insert(id, peer)),
                None => {
                    removal.drained.insert(peer, None);
                    missed = Some(peer);
                }
            }
        }
        missed
    }

    /// Fences identities now; what may be missing of them is told.
    fn fence(&mut self, identities: &[NodeIdentity]) -> Result<Value, String> {
        let mut names = Vec::new();
        let mut unconfirmed = Vec::new();
        for &identity in identities {
            let name = self.name_of(identity);
            let numbers = self.membership.view().numbers_of(identity).to_vec();
            for number in numbers {
                let here = self.hub.closed_vector().of(number);
                unconfirmed.push(json!({
                    "node": name, "number": number.value(),
                    "last_held_here": here.to_string(),
                    "last_held_here_unix_ms": if here == Stamp::ZERO { None } else { Some(here.unix_ms()) },
                }));
            }
            self.remove_member(identity)?;
            names.push(name);
        }
        Ok(json!({ "removed": names, "unconfirmed": unconfirmed }))
    }

    fn release_drift(&mut self, name: &str, preview: bool) -> Result<Value, String> {
        let numbers = self.numbers_called(name)?;
        let up_to = self.node.wall_clock() + 366 * 86_400_000;
        let held: Vec<Value> = numbers.iter().map(|number| json!({ "number": number.value() })).collect();
        if !preview {
            let mut changed = self.membership.clone();
            for &number in &numbers {
                changed.release_drift(number, Stamp::at(up_to, number)).map_err(|error| error.to_string())?;
            }
            self.take_membership(changed)?;
        }
        Ok(json!({ "preview": preview, "released": held,
            "effect": "changes of these numbers are accepted although their stamps are ahead of the clocks; they win over every other write until clocks reach them" }))
    }

    /// Closes the numbers of a removed node where this node and those it is linked with have come.
    pub(super) fn seal(&mut self, name: &str, preview: bool) -> Result<Value, String> {
        let identity = self.removed_called(name)?;
        if self.is_merging() {
            return Err(MERGING.to_owned());
        }
        let known_in_part = self.node.keyspace.known_in_part();
        let view = self.membership.view();
        let (mut missing, mut seals) = (self.unreachable(), Vec::new());
        for &number in view.numbers_of(identity).iter().filter(|number| view.sealed(**number).is_none()) {
            missing.extend(view.reports_missing(number));
            let (at, whole) =
                self.hub.at_hand(number, view, &known_in_part).map_err(|why| self.not_at_hand(number, why))?;
            seals.push((number, at, whole));
        }
        let missing: Vec<String> = missing.into_iter().map(|member| self.name_of(member)).collect();
        if !preview {
            seals.iter().for_each(|&(number, at, whole)| self.seal_number(number, at, whole));
            if !self.keep_membership() {
                return Err(NOT_DURABLE.to_owned());
            }
        }
        let row =
            |(number, at, _): (NodeNumber, Stamp, Stamp)| json!({ "number": number.value(), "at": at.to_string() });
        let sealed: Vec<Value> = seals.into_iter().map(row).collect();
        Ok(json!({ "preview": preview, "identity": hex(&identity.0), "sealed": sealed, "not_reported": missing,
            "effect": "whatever these numbers wrote beyond the stamps is given up, and nobody waits for it" }))
    }

    /// Members that this node is not linked with: what they hold of a number that is sealed now is not asked for.
    fn unreachable(&self) -> BTreeSet<NodeIdentity> {
        let linked = self.hub.ready_peers();
        let others = self.membership.view().members().iter().map(|member| member.identity);
        others.filter(|member| *member != self.identity && !linked.contains(member)).collect()
    }

    fn not_at_hand(&self, number: NodeNumber, why: NotAtHand) -> String {
        match why {
            NotAtHand::HeldBy(holder) => format!(
                "{} holds more of number {number} than this node; wait until that has come here (`pelago lag`), or ask that node (--via)",
                self.name_of(holder)
            ),
            NotAtHand::Applying => MERGING.to_owned(),
        }
    }

    /// Answers a peer's question.
    pub(super) fn answer(&mut self, peer: NodeIdentity, id: RequestId, body: &[u8]) {
        if let Some(order) = body.strip_prefix(ASK_DRAIN) {
            self.drain_for(peer, id, order);
            return;
        }
        if let Some(order) = body.strip_prefix(ASK_LEAVE) {
            // Only who has been told before knows that everybody has what is written here.
            if self.pending.drains.contains_key(&(peer, order.to_vec())) {
                self.hand_over_numbers(peer);
            }
            self.drain_for(peer, id, order);
            return;
        }
        let answer = self.answer_at_once(peer, body);
        self.hub.respond(peer, id, answer);
    }

    fn answer_at_once(&mut self, peer: NodeIdentity, body: &[u8]) -> Vec<u8> {
        if let Some(order) = body.strip_prefix(ASK_RESUME) {
            self.pending.drains.remove(&(peer, order.to_vec()));
            self.drain_as_ordered();
            return Vec::new();
        }
        match body {
            ASK_SLOTS => self.describe(AuditRange::ALL_SLOTS, true).encode(),
            _ => Vec::new(),
        }
    }

    /// Accepts no more writes, and says what was written when all of that is published.
    fn drain_for(&mut self, peer: NodeIdentity, id: RequestId, order: &[u8]) {
        let order = (peer, order.to_vec());
        if self.pending.drains.len() >= DRAINS_MAX && !self.pending.drains.contains_key(&order) {
            self.hub.respond(peer, id, Vec::new());
            return;
        }
        self.pending.drains.insert(order, Instant::now() + DRAIN_TIME);
        self.drain_as_ordered();
        self.when_closed(Waiting::Drained { peer, id });
    }

    /// Accepts writes only if no order to drain stands.
    fn drain_as_ordered(&mut self) {
        let is_to_drain = !self.pending.drains.is_empty();
        if std::mem::replace(&mut self.refusals.draining, is_to_drain) != is_to_drain {
            if is_to_drain {
                tracing::warn!("this node is being removed: it accepts no more writes");
            } else if !self.refusals.removed {
                tracing::warn!("this node is not removed after all: it accepts writes");
            }
            self.update_condition();
        }
    }

    /// Says what was written here, all of which is published.
    pub(super) fn answer_drain(&mut self, peer: NodeIdentity, id: RequestId) {
        let me = self.identity;
        let vector = self.hub.closed_vector();
        let numbers = self.membership.view().numbers_of(me).iter();
        let written: BTreeMap<String, String> = numbers.map(|&n| (n.to_string(), vector.of(n).to_string())).collect();
        self.hub.respond(peer, id, serde_json::to_vec(&written).unwrap_or_default());
    }

    pub(super) fn take_response(&mut self, peer: NodeIdentity, id: RequestId, body: Option<&[u8]>) {
        for index in 0..self.pending.removals.len() {
            let removal = &mut self.pending.removals[index];
            if removal.asked.remove(&id).is_some() {
                let written = body.and_then(parse_written);
                removal.drained.insert(peer, written);
                return;
            }
        }
        let mut verifies = std::mem::take(&mut self.pending.verifies);
        for verify in &mut verifies {
            if let Some(state) = verify.peers.get_mut(&peer).filter(|state| state.asked == Some(id)) {
                state.asked = None;
                match body.map(AuditFrame::decode) {
                    Some(Ok(theirs)) => {
                        let mine = self.describe(AuditRange::ALL_SLOTS, true);
                        if let Ok(outcome) = compare(&mine, &theirs) {
                            state.error = None;
                            outcome.equal.iter().for_each(|slot| {
                                state.open.remove(slot);
                                state.differing.remove(slot);
                            });
                            state.differing.extend(outcome.differing);
                        }
                    }
                    Some(Err(error)) => state.error = Some(Unheard::Unreadable(error.to_string())),
                    None => state.error = Some(Unheard::LinkDown),
                }
            }
        }
        self.pending.verifies.extend(verifies);
    }

    fn verify(&mut self, time: Duration, answer: oneshot::Sender<ControlReply>) {
        if self.pending.verifies.len() >= VERIFIES_MAX {
            let _ = answer.send(Err(format!("{VERIFIES_MAX} comparisons run already; try again when they are done")));
            return;
        }
        let others = self.membership.view().active().filter(|member| member.identity.0 != self.identity.0);
        let peers = others
            .map(|member| {
                let open = (0..keyspace::SLOTS).collect();
                (member.identity, PeerVerify { open, ..PeerVerify::default() })
            })
            .collect();
        let now = Instant::now();
        self.pending.verifies.push(Verify { answer, until: now + time, next_round: now, peers });
        self.check_pending();
    }

    /// Moves orders on that wait for peers or for time.
    pub(super) fn check_pending(&mut self) {
        let now = Instant::now();
        for mut verify in std::mem::take(&mut self.pending.verifies) {
            let done = verify.peers.values().all(|state| state.open.is_empty());
            if done || now >= verify.until {
                let _ = verify.answer.send(Ok(self.verdict(&verify.peers).to_string()));
                continue;
            }
            if now >= verify.next_round {
                verify.next_round = now + VERIFY_ROUND;
                for (&peer, state) in verify.peers.iter_mut().filter(|(_, s)| s.asked.is_none() && !s.open.is_empty()) {
                    state.asked = self.hub.request(peer, ASK_SLOTS.to_vec());
                    if state.asked.is_none() {
                        state.error = Some(Unheard::Unreachable);
                    }
                }
            }
            self.pending.verifies.push(verify);
        }
        self.check_removals(now);
    }

    fn verdict(&self, peers: &BTreeMap<NodeIdentity, PeerVerify>) -> Value {
        let equal = peers.values().all(|state| state.differing.is_empty() && state.open.is_empty());
        let rows: Vec<Value> = peers
            .iter()
            .map(|(&peer, state)| {
                let busy: Vec<&u16> = state.open.difference(&state.differing).collect();
                // Of a node that could not be asked nobody knows whether its slots are written to, and more time would not help.
                let (busy, not_asked) = if state.error.is_some() { (Vec::new(), busy.len()) } else { (busy, 0) };
                let shown = &busy[..busy.len().min(BUSY_SHOWN_MAX)];
                json!({
                    "node": self.name_of(peer), "differing": state.differing,
                    "unsettled": busy.len(), "busy": shown, "not_asked": not_asked,
                    "unreachable": state.error.as_ref().is_some_and(Unheard::is_unreachable),
                    "error": state.error.as_ref().map(Unheard::sentence),
                })
            })
            .collect();
        json!({ "equal": equal, "slots_compared": keyspace::SLOTS, "peers": rows })
    }

    fn check_removals(&mut self, now: Instant) {
        self.pending.drains.retain(|_, until| now < *until);
        self.drain_as_ordered();
        for mut removal in std::mem::take(&mut self.pending.removals) {
            let failed = removal.asked.is_empty() && removal.drained.values().any(Option::is_none);
            if failed || now >= removal.until {
                for &peer in &removal.identities {
                    // One that cannot be reached accepts writes again when nobody has asked it again for some seconds.
                    self.hub.request(peer, [ASK_RESUME, removal.name.as_bytes()].concat());
                }
                let _ = removal.answer.send(Err(
                    "not every region has everything that the region wrote; look at `pelago lag`, try again, or remove it with --force"
                        .to_owned(),
                ));
                continue;
            }
            if removal.asked.is_empty() {
                let all_have = self.all_have(&removal);
                // SUBTLE: what was answered once is not enough. A node that was restarted since has forgotten the order, and
                // may have accepted writes; the one that is asked again drains again, and tells of them.
                if all_have && removal.confirms {
                    let outcome = self.fence(&removal.identities).map(|mut value| {
                        value["unconfirmed"] = json!([]);
                        value.to_string()
                    });
                    let _ = removal.answer.send(outcome);
                    continue;
                }
                removal.confirms = all_have;
                self.ask_to_drain(&mut removal);
            }
            self.pending.removals.push(removal);
        }
    }

    /// Whether this node and every other remaining member have what the drained nodes wrote.
    fn all_have(&self, removal: &RemovalOrder) -> bool {
        let written: Vec<(NodeNumber, Stamp)> =
            removal.drained.values().flatten().flatten().map(|(&number, &stamp)| (number, stamp)).collect();
        let here = written.iter().all(|&(number, stamp)| self.hub.closed_vector().of(number) >= stamp);
        let others = self.membership.view().active().map(|member| member.identity);
        let mut others = others.filter(|peer| *peer != self.identity && !removal.identities.contains(peer));
        let linked = self.hub.ready_peers();
        here && others.all(|peer| {
            // What is remembered of a peer without a link may be what a life of it had that is over.
            let known = self.hub.peer_vector(peer).filter(|_| linked.contains(&peer));
            known.is_some_and(|vector| written.iter().all(|&(number, stamp)| vector.of(number) >= stamp))
        })
    }
}

fn parse_written(body: &[u8]) -> Option<BTreeMap<NodeNumber, Stamp>> {
    let written: BTreeMap<String, String> = serde_json::from_slice(body).ok()?;
    let rows = written
        .into_iter()
        .map(|(number, stamp)| Some((NodeNumber::new(number.parse().ok()?)?, Stamp::from_bits(stamp.parse().ok()?))));
    rows.collect()
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// Whether the rest of an order is this word, or nothing. Anything else is a mistake: who misspells `PREVIEW` does not want
/// the order carried out.
fn has_word(rest: &[&[u8]], name: &str) -> Result<bool, String> {
    match rest {
        [] => Ok(false),
        [word] if is(word, name) => Ok(true),
        _ => Err(NOT_UNDERSTOOD.to_owned()),
    }
}

/// How long a comparison may take: so many milliseconds, if the rest of the order says so.
fn verify_time(rest: &[&[u8]]) -> Result<Duration, String> {
    let time = match rest {
        [] => Some(VERIFY_TIME),
        [word] => text(word).parse().ok().map(Duration::from_millis),
        _ => None,
    };
    time.ok_or_else(|| NOT_UNDERSTOOD.to_owned())
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
