//! Which node a Sentinel-aware client is sent to: the one it asks while that is healthy, else the nearest healthy one, and
//! back again.
//!
//! There is no election, since every node takes writes: each node decides for whom it answers, from what it knows of the
//! others. A *name* stands for a region (the setting `sentinel-master-name` for the node's own). Its *place* is the node
//! that clients who ask for it are told. The thread of the peers tells what it knows, `command::sentinel` answers.

use crate::info::{ClusterStatus, LinkState, MemberState, MemberStatus};
use crate::limits::SENTINEL_VISITORS_MAX;
use crdt::UnixMillis;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where clients are sent.
#[derive(Debug, Default)]
pub struct Sentinel {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    own: String,
    own_region: String,
    places: BTreeMap<String, Place>,
    others: Vec<Other>,
    /// Since when each node is healthy, by its name.
    healthy_since: BTreeMap<String, UnixMillis>,
    /// Clients that have asked this node since one of the names stands for it that is another region's, and when first.
    visitors: BTreeMap<IpAddr, UnixMillis>,
    /// Names that somebody has asked for, or that stood for a healthy node of their region once. While a node starts it knows
    /// none of the others to be healthy, so that a name stands for whoever there is; that it comes to stand for a node of its
    /// region then is no switch, unless somebody was sent elsewhere.
    settled: BTreeSet<String>,
    /// Nodes that have been healthy: one that is so for the first time has not failed before.
    known: BTreeSet<String>,
}

/// Where the clients that ask for a name are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// The region that the name stands for.
    pub region: String,
    /// Where clients reach it, as it says itself.
    pub address: Address,
    /// Whether it is healthy. If no node is, the place stays what it was.
    pub is_healthy: bool,
    /// How often the place has changed.
    pub switches: u64,
    /// When it did last, or when the name was first known.
    pub since: UnixMillis,
    /// It is this node.
    pub is_own: bool,
}

/// A host and a port, as a member of the cluster gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// The port, 0 if it is unknown.
    pub port: u16,
}

/// Another node, which answers as a Sentinel too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub node: String,
    /// Where clients reach it.
    pub address: Address,
    /// Whether it can be reached.
    pub is_healthy: bool,
}

/// A name stands for another node now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The name.
    pub name: String,
    /// Where its clients were sent.
    pub from: Address,
    /// Where they are sent.
    pub to: Address,
    /// Clients were sent here from another region, and are not any more.
    pub leaves: bool,
}

/// What the decision is made of.
#[derive(Clone, Debug)]
pub struct View<'v> {
    /// The cluster as this node knows it.
    pub status: &'v ClusterStatus,
    /// This node serves reads and takes writes.
    pub own_is_healthy: bool,
    /// What clients call this node's region, beside its name.
    pub master_name: &'v str,
    /// Regions in the order in which clients are sent to them when their own fails. Regions that are not named come after
    /// these, the nearest first.
    pub preference: Vec<&'v str>,
    /// The time.
    pub now: UnixMillis,
}

/// A node must be healthy for this long before clients are sent to it instead of where they are, in milliseconds: links
/// that come and go should not send them back and forth.
const STEADY_MS: u64 = 2_000;

impl Sentinel {
    /// Takes in what is known now, and says which names stand for another node.
    pub fn observe(&self, view: &View<'_>) -> Vec<Switch> {
        self.state.lock().observe(view)
    }

    /// Where clients that ask for a name are sent; nothing if there is no such name.
    pub fn place(&self, name: &str) -> Option<Place> {
        let mut state = self.state.lock();
        let place = state.places.get(name).cloned();
        // Names that there are not are not kept: clients may ask for any.
        if place.is_some() && !state.settled.contains(name) {
            state.settled.insert(name.to_owned());
        }
        place
    }

    /// All names with their places.
    pub fn places(&self) -> Vec<(String, Place)> {
        let mut state = self.state.lock();
        let places: Vec<(String, Place)> = state.places.clone().into_iter().collect();
        state.settled.extend(places.iter().map(|(name, _)| name.clone()));
        places
    }

    /// The other nodes.
    pub fn others(&self) -> Vec<Other> {
        self.state.lock().others.clone()
    }

    /// A client has asked. If it may have been sent here because its region fails, it is remembered, to be sent back.
    pub fn note_visitor(&self, address: IpAddr, now: UnixMillis) {
        let mut state = self.state.lock();
        let own_region = state.own_region.clone();
        let is_refuge = state.places.values().any(|place| place.is_own && place.region != own_region);
        if is_refuge && (state.visitors.len() < SENTINEL_VISITORS_MAX || state.visitors.contains_key(&address)) {
            state.visitors.entry(address).or_insert(now);
        }
    }

    /// Clients that were sent here by the failure of a region that is over, and since when; they are forgotten.
    pub fn take_visitors(&self) -> BTreeMap<IpAddr, UnixMillis> {
        std::mem::take(&mut self.state.lock().visitors)
    }
}

impl State {
    fn observe(&mut self, view: &View<'_>) -> Vec<Switch> {
        let status = view.status;
        (self.own, self.own_region) = (status.node.clone(), status.region.clone());
        let members: Vec<&MemberStatus> =
            status.members.iter().filter(|member| member.state != MemberState::Removed).collect();
        let healthy: Vec<&MemberStatus> =
            members.iter().copied().filter(|member| self.is_healthy(member, view)).collect();
        self.healthy_since.retain(|node, _| healthy.iter().any(|member| member.node == *node));
        for member in &healthy {
            let since = if self.known.insert(member.node.clone()) { 0 } else { view.now };
            self.healthy_since.entry(member.node.clone()).or_insert(since);
        }
        self.known.retain(|node| members.iter().any(|member| member.node == *node));
        let others = members.iter().filter(|member| member.node != self.own);
        self.others = others
            .map(|member| Other {
                node: member.node.clone(),
                address: address_of(member),
                is_healthy: self.healthy_since.contains_key(&member.node),
            })
            .collect();
        let mut names: BTreeMap<String, String> =
            members.iter().map(|member| (member.region.clone(), member.region.clone())).collect();
        names.insert(view.master_name.to_owned(), self.own_region.clone());
        names.retain(|name, region| !name.is_empty() && !region.is_empty());
        self.places.retain(|name, _| names.contains_key(name));
        self.settled.retain(|name| names.contains_key(name));
        names.into_iter().filter_map(|(name, region)| self.settle(view, &members, &healthy, name, region)).collect()
    }

    fn is_healthy(&self, member: &MemberStatus, view: &View<'_>) -> bool {
        if member.node == self.own {
            return view.own_is_healthy;
        }
        member.state == MemberState::Active && matches!(member.link, LinkState::Up | LinkState::CatchingUp)
    }

    /// Decides where the clients of one name are sent.
    fn settle(
        &mut self,
        view: &View<'_>,
        members: &[&MemberStatus],
        healthy: &[&MemberStatus],
        name: String,
        region: String,
    ) -> Option<Switch> {
        let before = self.places.get(&name).cloned();
        let here =
            before.as_ref().filter(|place| self.healthy_since.contains_key(&place.node)).map(|place| &place.node);
        let is_steady = |member: &&&MemberStatus| {
            let since = self.healthy_since.get(&member.node).copied().unwrap_or(view.now);
            Some(&member.node) == here || here.is_none() || view.now.saturating_sub(since) >= STEADY_MS
        };
        let best = healthy.iter().filter(is_steady).min_by_key(|member| rank(member, &region, &self.own, view));
        // If nobody is healthy the place stays, as long as the node is a member; at the beginning it is one of the region.
        let stays = || {
            let known = before.as_ref().and_then(|place| members.iter().find(|member| member.node == place.node));
            known.or_else(|| members.iter().min_by_key(|member| rank(member, &region, &self.own, view)))
        };
        let member = best.or_else(stays)?;
        let is_settled = self.settled.contains(&name);
        if best.is_some() && member.region == region {
            self.settled.insert(name.clone());
        }
        let is_moved = before.as_ref().is_none_or(|place| place.node != member.node);
        let place = Place {
            node: member.node.clone(),
            address: address_of(member),
            is_healthy: best.is_some(),
            switches: before.as_ref().map_or(0, |place| place.switches + u64::from(is_moved)),
            since: before.as_ref().filter(|_| !is_moved).map_or(view.now, |place| place.since),
            is_own: member.node == self.own,
            region,
        };
        let switch = before.filter(|_| is_moved && is_settled).map(|before| Switch {
            name: name.clone(),
            from: before.address,
            to: place.address.clone(),
            leaves: before.is_own && place.region != self.own_region,
        });
        self.places.insert(name, place);
        switch
    }
}

/// The order in which nodes are chosen: those of the region, then as the operator prefers, then the nearest.
fn rank(member: &MemberStatus, region: &str, own: &str, view: &View<'_>) -> (bool, usize, u64, String) {
    let preferred = view.preference.iter().position(|known| *known == member.region).unwrap_or(usize::MAX);
    let distance = if member.node == own { 0 } else { member.round_trip_ms.unwrap_or(u64::MAX).max(1) };
    (member.region != region, preferred, distance, member.node.clone())
}

/// Where clients reach a member. One that listens everywhere is reached where its peers reach it.
fn address_of(member: &MemberStatus) -> Address {
    let address = split(&member.resp);
    let is_anywhere = address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) || address.host.is_empty();
    if is_anywhere { Address { host: split(&member.advertise).host, ..address } } else { address }
}

fn split(text: &str) -> Address {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Address { host: address.ip().to_string(), port: address.port() };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Address { host: host.to_owned(), port: port.parse().unwrap_or(0) },
        None => Address { host: text.to_owned(), port: 0 },
    }
}

#[cfg(test)]
mod tests;
