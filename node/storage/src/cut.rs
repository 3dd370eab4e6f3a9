//! A cut: the files, and how much of each, from which a store recovers to one position of its journal.
//!
//! It is what a start would read: the last checkpoint's manifest, the images that it names, and the journal from the
//! checkpoint's position on. Whoever copies it pins it first. Whoever removes a file waits for a pin, so what is pinned is
//! chosen by names and by the manifest alone; how much of it belongs to the cut is found out afterwards.

use crate::checkpoint::{MANIFEST, MANIFEST_COPY, Manifest, image_name};
use crate::frame::{Place, Step, step};
use crate::fs::{Fs, StoreError, list, read_whole};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::segment::{HeadFound, SegmentHead, StoreOwner, read_head, segment_name, segment_number};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The files of a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The files, by name.
    files: BTreeMap<String, CutFile>,
    /// The number of its checkpoint; 0 if there is none.
    pub checkpoint: u64,
    /// Keys in its images.
    pub image_keys: u64,
}

/// One file of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CutFile {
    bytes: u64,
    /// What is in it, if that is small and replaced while a copy is made.
    contents: Option<Vec<u8>>,
}

/// A cut of which the checkpoint is known, and not yet what of the journal belongs to it. It can be pinned.
#[derive(Clone, Debug)]
pub struct ChosenCut {
    cut: Cut,
    owner: StoreOwner,
    /// The lengths of all segments, by number.
    segments: BTreeMap<u64, u64>,
    /// The records that replay over the checkpoint.
    records: Range<u64>,
}

/// Why there is no cut. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store is damaged, or a checkpoint has to cover a gap first.
    #[error("the node's own store is not whole ({0}); take a checkpoint (BGSAVE) and try again")]
    NotWhole(String),
    /// That file is not in the cut.
    #[error("there is no file {0} in this backup")]
    NoSuchFile(String),
    /// The file ends before that.
    #[error("{name} has {bytes} bytes in this backup, and was asked for byte {offset}")]
    Beyond {
        /// The file.
        name: String,
        /// Its length.
        bytes: u64,
        /// What was asked for.
        offset: u64,
    },
}

impl Cut {
    /// Finds the cut of a store at `position`: every record before it is in the journal's files, and durable. The last
    /// checkpoint has nothing in it from behind `position`.
    pub fn find(fs: &dyn Fs, owner: StoreOwner, position: u64) -> Result<Self, CutError> {
        Self::choose(fs, owner, position)?.measure(fs)
    }

    /// The same in two steps. This one is quick: it reads the manifest and no part of the journal.
    pub fn choose(fs: &dyn Fs, owner: StoreOwner, position: u64) -> Result<ChosenCut, CutError> {
        let lengths: BTreeMap<String, u64> = list(fs)?.into_iter().map(|file| (file.name, file.bytes)).collect();
        let mut cut = Self::default();
        let from = cut.add_checkpoint(fs, owner, &lengths)?;
        let segments = lengths.iter().filter_map(|(name, &bytes)| Some((segment_number(name)?, bytes))).collect();
        Ok(ChosenCut { cut, owner, segments, records: from..position })
    }

    /// Every file with its length.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.bytes))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// The files that must stay where they are while the cut is copied.
    pub fn pinned(&self) -> BTreeSet<String> {
        self.files.iter().filter(|(_, file)| file.contents.is_none()).map(|(name, _)| name.clone()).collect()
    }

    /// At most `bytes_max` bytes of a file of the cut, at least one. Names are looked up here and nowhere else.
    pub fn read(&self, fs: &dyn Fs, name: &str, offset: u64, bytes_max: usize) -> Result<Vec<u8>, CutError> {
        let file = self.files.get(name).ok_or_else(|| CutError::NoSuchFile(name.to_owned()))?;
        let left = file.bytes.saturating_sub(offset);
        if left == 0 || bytes_max == 0 {
            return Err(CutError::Beyond { name: name.to_owned(), bytes: file.bytes, offset });
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        if let Some(contents) = &file.contents {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(contents.iter().skip(start).take(wanted).copied().collect());
        }
        let bytes = fs.read(name, offset, wanted).map_err(|error| StoreError::file("read", name, error))?;
        if bytes.len() < wanted {
            return Err(CutError::NotWhole(format!("{name} is shorter than it was")));
        }
        Ok(bytes)
    }

    /// The manifest and its images. Returns the first record that replays over them.
    fn add_checkpoint(
        &mut self,
        fs: &dyn Fs,
        owner: StoreOwner,
        lengths: &BTreeMap<String, u64>,
    ) -> Result<u64, CutError> {
        let (manifest, damaged) = Manifest::read(fs, owner)?;
        let Some(manifest) = manifest else {
            return if damaged.is_empty() {
                Ok(0)
            } else {
                Err(CutError::NotWhole("its manifest is damaged".to_owned()))
            };
        };
        // The copy is as good as the other, and either may be behind.
        let name = if damaged.contains(&MANIFEST) || !is_manifest(fs, MANIFEST, owner, manifest.number)? {
            MANIFEST_COPY
        } else {
            MANIFEST
        };
        let contents = read_whole(fs, name, MANIFEST_BYTES_MAX)?.unwrap_or_default();
        let file = CutFile { bytes: contents.len() as u64, contents: Some(contents) };
        self.files.insert(MANIFEST.to_owned(), file);
        for (&group, facts) in &manifest.images {
            let name = image_name(facts.checkpoint, group);
            if lengths.get(&name) != Some(&facts.bytes) {
                return Err(CutError::NotWhole(format!("{name} is missing or has another length")));
            }
            self.files.insert(name, CutFile { bytes: facts.bytes, contents: None });
        }
        (self.checkpoint, self.image_keys) = (manifest.number, manifest.keys);
        Ok(manifest.position)
    }
}

impl ChosenCut {
    /// The files that must stay where they are until the cut is measured: those of the cut, and every segment.
    pub fn pinned(&self) -> BTreeSet<String> {
        let segments = self.segments.keys().map(|&number| segment_name(number));
        self.cut.pinned().into_iter().chain(segments).collect()
    }

    /// Finds the segments of the cut, and where the last one ends. This reads the head of every segment and all of the
    /// last one.
    pub fn measure(self, fs: &dyn Fs) -> Result<Cut, CutError> {
        let Self { mut cut, owner, segments, records } = self;
        if records.is_empty() {
            return Ok(cut);
        }
        let mut whole = Vec::new();
        for (number, bytes) in segments {
            match read_head(fs, number)? {
                HeadFound::Whole(head, _) if head.owner != owner => {
                    return Err(StoreError::Foreign(segment_name(number)).into());
                }
                HeadFound::Whole(head, _) => whole.push((number, head.first, bytes)),
                // Without a head it holds nothing, or nothing that a start could read.
                HeadFound::Torn | HeadFound::Damaged => {}
            }
        }
        let missing = || CutError::NotWhole("a part of its journal is missing".to_owned());
        let first = whole.iter().rposition(|(_, first, _)| *first <= records.start).ok_or_else(missing)?;
        for (at, &(number, begin, bytes)) in whole.iter().enumerate().skip(first) {
            if begin >= records.end {
                break;
            }
            let is_last = whole.get(at + 1).is_none_or(|(_, next, _)| *next >= records.end);
            let bytes = if is_last { offset_of(fs, number, records.end)?.ok_or_else(missing)? } else { bytes };
            cut.files.insert(segment_name(number), CutFile { bytes, contents: None });
        }
        Ok(cut)
    }
}

/// Whether this file is the manifest with this number.
fn is_manifest(fs: &dyn Fs, name: &str, owner: StoreOwner, number: u64) -> Result<bool, StoreError> {
    let bytes = read_whole(fs, name, MANIFEST_BYTES_MAX)?;
    let manifest = bytes.map(|bytes| Manifest::decode(name, &bytes, owner)).transpose()?.flatten();
    Ok(manifest.is_some_and(|manifest| manifest.number == number))
}

/// Where the record with this number begins in a segment, or would; nothing if it does not reach so far.
fn offset_of(fs: &dyn Fs, number: u64, record: u64) -> Result<Option<u64>, StoreError> {
    let name = segment_name(number);
    let bytes = fs.read(&name, 0, usize::MAX).map_err(|error| StoreError::file("read", &name, error))?;
    let HeadFound::Whole(head, mut offset) = SegmentHead::decode(number, &bytes) else { return Ok(None) };
    for sequence in head.first..record {
        match step(&bytes[offset..], Place { file: number, sequence }) {
            // A start passes over one that is damaged, and so does whoever checks the copy, in words.
            Step::Frame { bytes, .. } | Step::Damaged { bytes } => offset += bytes,
            Step::End | Step::Torn | Step::Lost => return Ok(None),
        }
    }
    Ok(Some(offset as u64))
}
