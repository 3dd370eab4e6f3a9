//! Offline verification: reads every byte of a store and says what is wrong with it. Changes nothing.
//!
//! It reads as a start does, so what it calls damage is what a start would find.

use crate::checkpoint::{MANIFEST_COPY, Manifest, image_of};
use crate::fs::{DAMAGED, Fs, StoreError, UNFINISHED, list};
use crate::segment::{HeadFound, StoreOwner, read_head, segment_number};
use crate::store::{FoundStore, Problem};
use serde::Serialize;
use std::sync::Arc;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreFigures {
    /// Segments of the journal that have a head.
    pub segments: usize,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Records that are sound.
    pub records: u64,
    /// The number of the last checkpoint; 0 if there is none.
    pub checkpoint: u64,
    /// Its images.
    pub images: usize,
    /// Their bytes.
    pub image_bytes: u64,
    /// Keys in them.
    pub keys: u64,
    /// Files that were moved aside earlier.
    pub moved_aside: Vec<String>,
}

/// What a store holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What it holds.
    pub figures: StoreFigures,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Verifies the store in a directory that no node uses. With an owner its files must be that owner's; without one, they
/// must be of one owner.
pub fn check(fs: Arc<dyn Fs>, owner: Option<StoreOwner>) -> Result<CheckReport, StoreError> {
    let files = list(&*fs)?;
    let mut figures = StoreFigures::default();
    figures.moved_aside.extend(files.iter().filter(|file| file.name.ends_with(DAMAGED)).map(|file| file.name.clone()));
    let numbers = files.iter().filter_map(|file| segment_number(&file.name));
    let owner = match owner {
        Some(owner) => owner,
        // Where nothing says whose it is, nothing can be another's.
        None => find_owner(&*fs, numbers)?.unwrap_or(NOBODY),
    };
    let mut found = FoundStore::open(fs, owner)?;
    if let Some(manifest) = found.manifest() {
        (figures.checkpoint, figures.keys, figures.image_bytes) = (manifest.number, manifest.keys, manifest.bytes());
    }
    for (group, facts) in found.images() {
        figures.images += 1;
        if let Some(problem) = found.read_image(group, facts, &mut |_| {})? {
            found.note(problem);
        }
    }
    // What the checkpoint covers as well: peers that were away are served from it.
    found.read_journal(0, &mut |_, _| {
        figures.records += 1;
        Ok(())
    })?;
    (figures.segments, figures.journal_bytes) = found.journal_size();
    Ok(CheckReport { figures, problems: found.problems().to_vec() })
}

const NOBODY: StoreOwner = StoreOwner { cluster: [0; 16], identity: [0; 32] };

fn find_owner(fs: &dyn Fs, numbers: impl Iterator<Item = u64>) -> Result<Option<StoreOwner>, StoreError> {
    for number in numbers {
        if let HeadFound::Whole(head, _) = read_head(fs, number)? {
            return Ok(Some(head.owner));
        }
    }
    Manifest::owner_on_disk(fs)
}

/// Whether a file is part of a store, for those who copy one.
pub fn is_store_file(name: &str) -> bool {
    !name.ends_with(UNFINISHED)
        && !name.ends_with(DAMAGED)
        && (segment_number(name).is_some()
            || image_of(name).is_some()
            || [crate::checkpoint::MANIFEST, MANIFEST_COPY, crate::store::SOUND, crate::witness::WITNESS]
                .contains(&name))
}
