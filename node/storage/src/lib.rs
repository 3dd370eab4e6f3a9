//! What a node keeps on disk. At present the catalogue: small and precious state, such as numbers and membership.
//!
//! Bulk data (journal and images) is never kept in the catalogue. Nothing here decides what the rows mean to the
//! cluster; it keeps them, says when they are durable, and notices when they are not what they were.

mod catalogue;
pub mod limits;
mod memory;
mod numbers;
mod rows;
mod seal;
mod sled_catalogue;

pub use catalogue::{Catalogue, CatalogueError, Result};
pub use memory::MemoryCatalogue;
pub use numbers::{NumberLedger, NumberRange};
pub use rows::{Boot, CatalogueRows, NodeFacts, Start};
pub use sled_catalogue::{MovedAside, SledCatalogue};
