//! The simulator: the real node, several times over, on one thread, with simulated time, network, clocks and disks, and
//! faults drawn from a seed. The same seed gives the same run, to the last datagram.
//!
//! Nothing of the product is replaced: connections, dispatch, keyspace, the hub, QUIC and TLS run as they are; only
//! sockets, clocks, chance and the catalogue's disk come from here, through the seams made for them. Clients in every
//! region write and read at random, and an oracle that shares no code with the merge rules judges every answer. It is
//! not for measuring: latencies are whole milliseconds, and bandwidth has no end.

mod broken;
pub mod client;
mod clock;
mod deliveries;
pub mod document;
pub mod faults;
mod host;
pub mod invariants;
mod mover;
mod network;
mod observer;
pub mod oracle;
mod random;
pub mod reply;
mod run;
pub mod scenario;
mod tap;
mod trace;
pub mod workload;
pub mod world;

pub use broken::Broken;
pub use network::{Adapter, Conditions, Fate, Traffic, Weather};
pub use observer::{Observer, Tally};
pub use random::Random;
pub use run::{Alteration, Figures, Outcome, run, run_altered};
