//! What the acceptance tests share: real processes, a small client, the reference server, and the two long trials that
//! are programs too (`bin`).
//!
//! Nothing here uses the product's own crates: a client that shares code with the server shares its mistakes.

pub mod binary;
pub mod client;
pub mod cluster;
pub mod differential;
pub mod http;
pub mod load;
pub mod node;
pub mod outage;
pub mod place;
pub mod random;
pub mod redis;
pub mod reply;
pub mod ring_exceeded;
pub mod wait;
