//! What a node keeps on disk: the journal and the images (bulk, in files of our own), and the catalogue (small and
//! precious state, such as identity and membership, in sled, with a copy beside the journal).
//!
//! Nothing here decides what the bytes mean to the cluster: it keeps them, says when they are durable, and notices when
//! they are not what they were. The rooms: `fs` is the seam to the disk, `journal` and `checkpoint` write, `store` opens,
//! `journal_reader` reads back, `disk` runs it all beside the node, `check` verifies a directory that nobody uses; `cut` says
//! what a backup copies, and `pins` keeps it there meanwhile.

mod catalogue;
mod check;
mod checkpoint;
mod contents;
mod cut;
mod disk;
mod frame;
mod fs;
mod held_catalogue;
mod journal;
mod journal_reader;
pub mod limits;
mod memory;
mod mirrored_catalogue;
mod mount;
mod pins;
mod record;
mod reserve;
mod rows;
mod seal;
mod segment;
mod simulated_fs;
mod sled_catalogue;
mod std_fs;
mod store;
mod witness;

pub use catalogue::{Catalogue, CatalogueError, Result};
pub use check::{CheckReport, StoreFigures, check, is_store_file};
pub use checkpoint::{
    CheckpointStart, CheckpointWriter, ImageFacts, ImageFault, ImageForm, ImageWriter, Manifest, discard_unfinished,
    image_name, remove_leftovers,
};
pub use contents::Contents;
pub use cut::{ChosenCut, Cut, CutError};
pub use disk::{Command, Disk, DiskWorker, FlushPolicy, Health, Progress};
pub use fs::{FileFacts, FileId, Fs, FsFile, StoreError};
pub use held_catalogue::HeldCatalogue;
pub use journal::{Durable, Journal, JournalSettings, SyncJob, SyncOutcome};
pub use journal_reader::JournalReader;
pub use memory::MemoryCatalogue;
pub use mirrored_catalogue::{CatalogueCopy, MirroredCatalogue};
pub use pins::{Pin, Pins};
pub use record::{Record, RecordView};
pub use reserve::{Reserve, ReservedCatalogue};
pub use rows::{Boot, CatalogueRows, NodeFacts, NumberNeeded, Start};
pub use segment::{Life, StoreOwner};
pub use simulated_fs::{DiskFaults, SimulatedFs};
pub use sled_catalogue::{MovedAside, SledCatalogue};
pub use std_fs::StdFs;
pub use store::{FoundStore, Problem, Replayed, Store};
pub use witness::Witness;
