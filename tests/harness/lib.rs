//! What the acceptance tests share: real processes, a small client, the reference server, and the long trials that are
//! programs too (`bin`).
//!
//! Nothing here uses the product's own crates: a client that shares code with the server shares its mistakes.

pub mod account;
pub mod amplification;
pub mod arguments;
pub mod binary;
pub mod checkpoint;
pub mod client;
pub mod cluster;
pub mod cores;
pub mod crashes;
pub mod cut_plan;
pub mod delay;
pub mod differential;
pub mod element_memory;
pub mod eviction;
pub mod expiry;
pub mod fan_out;
pub mod figure;
pub mod flush;
pub mod growth;
pub mod http;
pub mod idle;
pub mod idle_clients;
pub mod kills;
pub mod large;
pub mod latencies;
pub mod ledger;
pub mod link_cut;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod moving_in;
pub mod node;
pub mod outage;
pub mod pipelines;
pub mod place;
pub mod probe;
pub mod processor;
pub mod random;
pub mod redis;
pub mod region_added;
pub mod reply;
pub mod ring_exceeded;
pub mod speed;
pub mod stalls;
pub mod steady;
pub mod switches;
pub mod taken;
pub mod texts;
pub mod volume;
pub mod wait;
pub mod waits;
pub mod zipf;
