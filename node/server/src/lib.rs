//! The node: connections, dispatch, commands, configuration, metrics and peers around the keyspace.
//!
//! A library. The `pelago` binary starts it on threads and sockets, the simulator inside one deterministic runtime:
//! time, chance and streams come in from outside.

pub mod acl;
pub mod arrivals;
pub mod backups;
pub mod blocking;
pub mod certificates;
pub mod client;
pub mod clients;
pub mod command;
pub mod condition;
pub mod config;
pub mod connection;
pub mod console;
pub mod dispatch;
#[cfg(test)]
mod document_check;
pub mod doors;
pub mod durability;
mod files;
pub mod http;
pub mod info;
pub mod latency_monitor;
pub mod launch;
pub mod limits;
pub mod logging;
pub mod memory_limit;
pub mod metrics;
pub mod migration;
pub mod monitors;
pub mod node;
pub mod notifications;
pub mod outbox;
pub mod peers;
pub mod persistence;
pub mod pubsub;
pub mod readiness;
pub mod relocations;
pub mod resolving;
pub mod scripting;
pub mod sentinel;
pub mod setup;
mod socket;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod tracking;
pub mod worker;
