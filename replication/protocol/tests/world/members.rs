//! Nodes with a membership of their own: numbers that end and are sealed.

use super::{Node, World, identity};
use crdt::membership::{MemberRecord, Membership};
use crdt::{NodeNumber, Stamp, UnixMillis};
use protocol::sealing::{SealStep, Sealing};
use protocol::{HubSettings, MemberView, Millis};
use std::collections::BTreeMap;

/// What a node knows of the members; it outlives the node's lives as a catalogue does.
pub struct Members {
    pub known: Membership,
    pub sealing: Sealing,
}

impl World {
    /// Nodes whose numbers come from a membership that all of them have.
    pub fn with_members(count: usize, seed: u64, tune: impl Fn(usize, &mut HubSettings)) -> Self {
        let record = |index: usize| MemberRecord {
            name: format!("node-{index}"),
            region: "r".into(),
            advertise: "a:1".into(),
            resp: "a:2".into(),
            http: String::new(),
        };
        let mut known = Membership::found(identity(0), record(0), next_stamp(&Membership::new(), 0)).unwrap();
        for index in 1..count {
            let stamp = next_stamp(&known, 0);
            known.admit(identity(0), identity(index), record(index), stamp).unwrap();
        }
        let mut world = World::new(count, seed, |index, settings| {
            settings.number = known.view().numbers_of(identity(index)).last().copied();
            tune(index, settings);
        });
        for node in &mut world.nodes {
            node.join(known.clone(), Millis(world.now));
        }
        world
    }

    /// The node of this index begins another life: nothing is left but what it knew of the members.
    pub fn start_empty(&mut self, index: usize) {
        let Members { mut known, .. } = self.nodes[index].members.take().unwrap();
        let me = identity(index);
        let stamp = next_stamp(&known, self.nodes[index].settings.number.unwrap().value());
        let number = known.grant_number(me, me, stamp).unwrap();
        self.start(index, super::Store::default(), |settings| {
            settings.number = Some(number);
            settings.numbers = known.view().numbers_of(me).iter().copied().collect();
        });
        let now = Millis(self.now);
        self.nodes[index].join(known, now);
    }

    /// An operator removes a member, at another one.
    pub fn remove(&mut self, index: usize, via: usize) {
        let now = Millis(self.now);
        let node = &mut self.nodes[via];
        node.members.as_mut().unwrap().known.remove(identity(index)).unwrap();
        node.members_changed(now);
    }

    /// Where a number is sealed, as this node knows.
    pub fn sealed(&self, at: usize, number: NodeNumber) -> Option<Stamp> {
        self.nodes[at].members.as_ref().unwrap().known.view().sealed(number).map(|seal| seal.at)
    }

    /// What is not sealed yet, as each node knows it.
    pub fn open_ends(&self) -> Vec<String> {
        let of = |index: usize| {
            let view = self.nodes[index].members.as_ref().unwrap().known.view();
            let open = view.ended().filter(|&number| !self.nodes[index].is_closed(number)).collect::<Vec<_>>();
            open.into_iter().map(move |number| {
                let told: Vec<_> = view.reports(number).collect();
                format!(
                    "{index}: {number} {:?} missing {:?} told {told:?}",
                    view.sealed(number),
                    view.reports_missing(number)
                )
            })
        };
        (0..self.nodes.len()).filter(|&index| self.nodes[index].alive).flat_map(of).collect()
    }

    /// Whether all live nodes have sealed every number that has ended, and nothing waits.
    pub fn all_is_sealed(&self) -> bool {
        self.nodes.iter().filter(|node| node.alive).all(|node| {
            let view = node.members.as_ref().unwrap().known.view();
            let closed = view.ended().all(|number| node.is_closed(number));
            closed && node.hub.report().origins.iter().all(|origin| origin.waiting_batches == 0)
        })
    }
}

fn next_stamp(known: &Membership, by: u16) -> Stamp {
    known.latest_stamp().next(super::WALL_START, NodeNumber::new(by).unwrap())
}

impl Node {
    fn join(&mut self, known: Membership, now: Millis) {
        self.members = Some(Members { known, sealing: Sealing::default() });
        self.members_changed(now);
    }

    /// Whether this node holds all that anybody has of an ended number.
    pub fn is_closed(&self, number: NodeNumber) -> bool {
        let seal = self.members.as_ref().and_then(|members| members.known.view().sealed(number));
        seal.is_some_and(|seal| self.store.vector.of(number) >= seal.at)
    }

    pub fn merge_members(&mut self, record: &[u8], now: Millis) {
        let theirs = Membership::decode(record).unwrap();
        if self.members.as_mut().unwrap().known.merge(&theirs).changed {
            self.members_changed(now);
        }
    }

    fn members_changed(&mut self, now: Millis) {
        let known = &self.members.as_ref().unwrap().known;
        let view = known.view();
        let mut numbers: BTreeMap<_, std::collections::BTreeSet<NodeNumber>> = BTreeMap::new();
        for (number, owner) in view.owners() {
            numbers.entry(owner).or_default().insert(number);
        }
        let members = MemberView {
            numbers,
            removed: view.removed().clone(),
            ended: view.ended().collect(),
            sealed: view.all_sealed().map(|(number, seal)| (number, seal.at)).collect(),
            encoded: known.encode(),
            hash: known.stable_hash(),
            ..MemberView::default()
        };
        self.hub.set_membership(members, now);
    }

    /// Carries out the product's next steps for ended numbers.
    pub fn seal_numbers(&mut self, now: Millis, wall: UnixMillis) {
        let Some(mut members) = self.members.take() else { return };
        let (me, before) = (self.settings.identity, members.known.clone());
        let steps = self.hub.seal_steps(&mut members.sealing, members.known.view(), &|| self.store.known_in_part());
        for step in steps {
            match step {
                SealStep::End(number) => drop(members.known.end_number(number).unwrap()),
                SealStep::Report(number, holding) => {
                    let stamp = members.known.latest_stamp().next(wall, self.hub.number().unwrap());
                    members.known.report_holdings(me, stamp, [(number, holding)]).unwrap();
                }
                SealStep::Forget(number) => self.hub.forget_waiting(number),
                SealStep::Fetch(peer) => {
                    if self.hub.repair_from(peer, now) {
                        members.sealing.begin_fetching(peer, members.known.view());
                    }
                }
                SealStep::Seal { number, at, whole } => {
                    self.store.raise(number, at);
                    self.hub.complete_number(number, at, now);
                    members.known.seal(number, at, whole).unwrap();
                }
            }
        }
        let changed = members.known != before;
        self.members = Some(members);
        if changed {
            self.members_changed(now);
        }
    }
}
