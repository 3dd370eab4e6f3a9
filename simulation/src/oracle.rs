//! The judge: what the contract says that a node must answer and hold, as a pure function of the history of writes.
//!
//! It shares no code with the product's merge rules. What it needs to know of a run is which writes a node had seen
//! when it executed a command, and the order of the commands there; both are observed from outside.

mod bit_commands;
pub mod commands;
pub mod decimal;
pub mod execution;
mod fields;
mod group_commands;
mod hash_commands;
pub mod history;
mod key_commands;
mod list_commands;
pub mod lists;
mod place_commands;
mod set_commands;
pub mod shown;
mod sketch_commands;
mod sorted_set_commands;
mod stream_commands;
pub mod streams;
mod string_commands;

pub use commands::{execute, in_order};
pub use execution::Execution;
pub use history::{Ahead, History, Key, Life};
pub use shown::{Content, Shown, shown};
