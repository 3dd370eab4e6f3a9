//! `INFO`: Redis' sections with Redis' field names, for clients and exporters, and one of our own.
//!
//! Fields that Redis has and that mean nothing here are given where programs are known to read them, with the value
//! that is true: no replicas, nothing saved.

mod persistence;
mod sections;
mod status;
#[cfg(test)]
mod tests;

use crate::node::Node;
use crdt::UnixMillis;

pub use sections::{MemoryFigures, human, ratio, run_id};
pub use status::{ClusterStatus, LinkState, MemberState, MemberStatus};

/// The version of Redis whose features clients may expect; some choose by it. Replies are held against 7.0.15, but fields of
/// hashes have lifetimes of their own since 7.4, and redis-py keeps no cache of its own at an older server.
pub const REDIS_VERSION: &str = "7.4.0";
/// The same as a number, as scripts see it: a byte for each part.
pub const REDIS_VERSION_NUMBER: u32 = 0x0007_0400;

/// A part of `INFO`, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    CommandStats,
    ErrorStats,
    LatencyStats,
    Cluster,
    Keyspace,
    Pelago,
}

impl Section {
    const ALL: [Section; 14] = [
        Section::Server,
        Section::Clients,
        Section::Memory,
        Section::Persistence,
        Section::Stats,
        Section::Replication,
        Section::Cpu,
        Section::Modules,
        Section::CommandStats,
        Section::ErrorStats,
        Section::LatencyStats,
        Section::Cluster,
        Section::Keyspace,
        Section::Pelago,
    ];

    /// The heading; the name in requests is the same in any case.
    const fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Clients => "Clients",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Stats => "Stats",
            Self::Replication => "Replication",
            Self::Cpu => "CPU",
            Self::Modules => "Modules",
            Self::CommandStats => "Commandstats",
            Self::ErrorStats => "Errorstats",
            Self::LatencyStats => "Latencystats",
            Self::Cluster => "Cluster",
            Self::Keyspace => "Keyspace",
            Self::Pelago => "Pelago",
        }
    }

    /// Whether it is shown when nothing in particular is asked for.
    const fn by_default(self) -> bool {
        match self {
            Self::CommandStats | Self::LatencyStats => false,
            Self::Server
            | Self::Clients
            | Self::Memory
            | Self::Persistence
            | Self::Stats
            | Self::Replication
            | Self::Cpu
            | Self::Modules
            | Self::ErrorStats
            | Self::Cluster
            | Self::Keyspace
            | Self::Pelago => true,
        }
    }

    /// Whether a request for `name` asks for it.
    fn is_asked_by(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.title().as_bytes())
            || name.eq_ignore_ascii_case(b"all")
            || name.eq_ignore_ascii_case(b"everything")
            || (name.eq_ignore_ascii_case(b"default") && self.by_default())
    }
}

/// The answer to `INFO` with these section names; without any, the default ones.
pub fn text(node: &Node, now: UnixMillis, names: &[&[u8]]) -> String {
    let asked = |section: Section| {
        if names.is_empty() { section.by_default() } else { names.iter().any(|name| section.is_asked_by(name)) }
    };
    let scene = sections::Scene::new(node, now);
    let mut text = String::new();
    for section in Section::ALL.into_iter().filter(|section| asked(*section)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(section.title());
        text.push_str("\r\n");
        sections::write(&scene, section, &mut text);
    }
    text
}
