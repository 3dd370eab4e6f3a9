//! What the acceptance tests share: real processes, a small client, the reference server, and the long trials that are
//! programs too (`bin`).
//!
//! Nothing here uses the product's own crates: a client that shares code with the server shares its mistakes.

pub mod account;
pub mod arguments;
pub mod binary;
pub mod client;
pub mod cluster;
pub mod crashes;
pub mod cut_plan;
pub mod delay;
pub mod differential;
pub mod growth;
pub mod http;
pub mod idle;
pub mod ledger;
pub mod link_cut;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod outage;
pub mod place;
pub mod probe;
pub mod processor;
pub mod random;
pub mod redis;
pub mod reply;
pub mod ring_exceeded;
pub mod stalls;
pub mod wait;
