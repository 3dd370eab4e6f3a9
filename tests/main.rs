//! Acceptance: whole processes, real clients, real Redis as the reference; and the house's own rules.

mod arrival;
mod backup;
mod command_line;
mod delay;
mod differential;
mod documentation;
mod import;
mod instruments;
mod latency;
mod libraries;
mod membership;
mod migrate;
mod outage;
mod persistence;
mod push;
mod scripting;
mod semantics;
mod sentinel;
mod setup;
mod tidy;
mod tls;
mod volumes;
