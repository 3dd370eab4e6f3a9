//! The cluster as one node knows it: what `INFO`, `PELAGO STATUS` and readiness are made of. Filled by `peers`.

use std::collections::BTreeMap;

use serde::Serialize;

/// The cluster as one node knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// The cluster's id, hexadecimal.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// This node's region.
    pub region: String,
    /// The number this node puts into stamps; none until it was given one.
    pub number: Option<u16>,
    /// All members, this node too.
    pub members: Vec<MemberStatus>,
    /// For each node, the last stamp of it that was applied here. As text: stamps exceed what JSON numbers hold.
    pub vector: BTreeMap<String, String>,
    /// The node this one catches up from by comparing state.
    pub catching_up_from: Option<String>,
    /// Why the node does not serve yet, if it does not; one clause.
    pub filling: Option<String>,
    /// The error that writes get, if they are refused.
    pub writes_refused: Option<String>,
}

/// One member of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub node: String,
    /// The beginning of its identity, by which orders can name it.
    pub identity: String,
    /// Its region.
    pub region: String,
    /// What it is in the cluster.
    pub state: MemberState,
    /// Where other nodes reach it.
    pub advertise: String,
    /// Where clients reach it.
    pub resp: String,
    /// Where probes and scrapers reach it; empty if nowhere.
    pub http: String,
    /// Milliseconds from a write here until it was applied there; none for this node and before the first.
    pub applied_lag_ms: Option<u64>,
    /// Changes made here that it has not acknowledged.
    pub unacked_changes: u64,
    /// Milliseconds by which its clock is ahead of ours.
    pub clock_offset_ms: Option<i64>,
    /// The link to it.
    pub link: LinkState,
    /// Milliseconds to it and back, as last measured.
    pub round_trip_ms: Option<u64>,
}

/// What a member is in the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It takes part.
    #[default]
    Active,
    /// It is admitted and fills.
    Joining,
    /// It was removed.
    Removed,
    /// It takes part, and nothing is heard of it.
    Unreachable,
}

impl MemberState {
    /// The name in `INFO` and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Joining => "joining",
            Self::Removed => "removed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The state of the link to a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Batches flow.
    Up,
    /// There is none.
    #[default]
    Down,
    /// There is a connection, and the other side has said nothing over it yet: it starts, and may still read its disk.
    Greeting,
    /// State is being compared.
    CatchingUp,
}

impl LinkState {
    /// The name in `INFO` and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Greeting => "greeting",
            Self::CatchingUp => "catching_up",
        }
    }
}
