//! Who is meant, and who comes and goes: the names of members, for operators.

use super::Peers;
use crdt::NodeNumber;
use crdt::membership::{Member, MemberRecord};
use protocol::NodeIdentity;
use std::collections::BTreeMap;

/// Nodes named where an order does not say which one is meant.
const CANDIDATES_SHOWN_MAX: usize = 8;
/// Hexadecimal digits of an identity that name a member, at least: fewer could be a name that was mistyped.
const IDENTITY_DIGITS_MIN: usize = 4;

impl Peers {
    /// The name of a peer or of one that was removed, or its identity if it is not known.
    pub(super) fn name_of(&self, peer: NodeIdentity) -> String {
        let view = self.membership.view();
        let record = view.member(peer).map(|member| &member.record).or_else(|| view.former(peer));
        record.map_or_else(|| peer.to_string(), |record| record.name.clone())
    }

    /// Members that an operator means: all of a region, or one node, by its name or by the beginning of its identity. An
    /// order that could mean something else is refused, since a removal is for ever.
    pub(super) fn members_called(&self, name: &str) -> Result<Vec<Member>, String> {
        let members = self.membership.view().members();
        let all = |is_meant: &dyn Fn(&Member) -> bool| -> Vec<Member> {
            members.iter().filter(|member| is_meant(member)).cloned().collect()
        };
        let of_region = all(&|member| member.record.region == name);
        let of_name = all(&|member| member.record.name == name);
        let digits = name.to_ascii_lowercase();
        let of_identity = all(&|member| {
            digits.len() >= IDENTITY_DIGITS_MIN && super::control::hex(&member.identity.0).starts_with(&digits)
        });
        match (of_region.as_slice(), of_name.as_slice(), of_identity.as_slice()) {
            ([], [], []) => Err(format!("there is no region or node called {name}; `pelago region list` shows them")),
            ([], [], [_]) => Ok(of_identity),
            ([], [_], _) => Ok(of_name),
            ([_, ..], [], _) => Ok(of_region),
            ([_, ..], [node], _) if of_region.iter().all(|member| member.identity == node.identity) => Ok(of_name),
            _ => {
                let mut meant = of_region;
                meant.extend(of_name.into_iter().chain(of_identity));
                meant.sort_by_key(|member| member.identity);
                meant.dedup_by_key(|member| member.identity);
                Err(format!(
                    "{name:?} can mean several; name each node by the beginning of its identity: {}",
                    self.listed(meant.iter().map(|member| member.identity))
                ))
            }
        }
    }

    /// All numbers of the members that an operator means.
    pub(super) fn numbers_called(&self, name: &str) -> Result<Vec<NodeNumber>, String> {
        Ok(self.members_called(name)?.into_iter().flat_map(|member| member.numbers).collect())
    }

    /// The removed node that an operator means: by its name, by the beginning of its identity, as lists show it, or by all
    /// of it.
    pub(super) fn removed_called(&self, name: &str) -> Result<NodeIdentity, String> {
        let view = self.membership.view();
        let digits = name.to_ascii_lowercase();
        let is_called = |identity: &NodeIdentity| {
            super::control::hex(&identity.0).starts_with(&digits)
                || view.former(*identity).is_some_and(|record| record.name == name)
        };
        let meant: Vec<NodeIdentity> = view.removed().iter().copied().filter(is_called).collect();
        match meant.as_slice() {
            [identity] if !digits.is_empty() => Ok(*identity),
            [] if view.removed().is_empty() => Err("no node was removed".to_owned()),
            [] => Err(format!(
                "no removed node has the name {name} or an identity that begins so; these were removed: {}",
                self.listed(view.removed().iter().copied())
            )),
            several => Err(format!(
                "{name:?} does not say which removed node is meant; say it by the beginning of its identity: {}",
                self.listed(several.iter().copied())
            )),
        }
    }

    /// Why nobody may be admitted under these names: an order that names a region must not mean a node of another one.
    pub(super) fn refuse_names(&self, record: &MemberRecord) -> Result<(), String> {
        for member in self.membership.view().members() {
            let known = &member.record;
            let (region, node) = (&record.region, &record.name);
            if known.region != *region && known.name == *region {
                return Err(format!(
                    "a node of region {} is called {region}; choose another name for the region",
                    known.region
                ));
            }
            if known.region == *node && known.region != *region {
                return Err(format!("there is a region {node}; choose another name for the node (--node)"));
            }
        }
        Ok(())
    }

    /// Identities as other lists show them, with their names; of many the first ones.
    pub(super) fn listed(&self, identities: impl ExactSizeIterator<Item = NodeIdentity>) -> String {
        let more = identities.len().saturating_sub(CANDIDATES_SHOWN_MAX);
        let shown: Vec<String> =
            identities.take(CANDIDATES_SHOWN_MAX).map(|identity| self.with_name(identity)).collect();
        let shown = shown.join(", ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    }

    fn with_name(&self, identity: NodeIdentity) -> String {
        let (name, shown) = (self.name_of(identity), identity.to_string());
        if name == shown { shown } else { format!("{shown} ({name})") }
    }

    /// Says in the log who belongs to the cluster, and from then on who comes and goes, on every node that learns of it.
    pub(super) fn tell_of_members(&mut self) {
        let view = self.membership.view();
        let members: BTreeMap<NodeIdentity, MemberRecord> =
            view.members().iter().map(|member| (member.identity, member.record.clone())).collect();
        let Some(before) = self.members_told.replace(members.clone()) else {
            let names: Vec<&str> = members.values().map(|record| record.name.as_str()).collect();
            tracing::info!(?names, "the members of the cluster");
            return;
        };
        for (identity, record) in &members {
            let (node, region) = (&record.name, &record.region);
            match before.get(identity) {
                None => tracing::info!(%node, %region, %identity, "a node was admitted to the cluster"),
                Some(known) if known != record => {
                    let (clients, nodes, http) = (&record.resp, &record.advertise, &record.http);
                    tracing::info!(%node, %region, %identity, %clients, %nodes, %http, "a member has another name or address");
                }
                Some(_) => {}
            }
        }
        for (identity, record) in before.iter().filter(|(identity, _)| !members.contains_key(identity)) {
            let (node, region) = (&record.name, &record.region);
            tracing::warn!(%node, %region, %identity, "a node was removed from the cluster for good");
        }
    }
}
