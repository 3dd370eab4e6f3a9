//! The network between nodes: turmoil carries datagrams with a latency a link, and what it lacks is done here, one
//! datagram at a time and from the seed: loss, duplication, reordering, and paths that are cut in one direction.

mod adapter;
mod weather;

pub use adapter::Adapter;
pub use weather::{Conditions, Fate, Traffic, Weather};
