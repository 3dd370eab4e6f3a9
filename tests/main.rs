//! Acceptance: whole processes, real clients, real Redis as the reference; and the house's own rules.

mod backup;
mod delay;
mod differential;
mod import;
mod instruments;
mod membership;
mod outage;
mod persistence;
mod push;
mod semantics;
mod tidy;
