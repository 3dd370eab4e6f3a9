//! The durable store of a node: what is there at a start, what of it can be used, and how writing begins again.
//!
//! Opening only reads. What is damaged is reported as a [`Problem`], in a sentence, and moved aside where nothing of it is
//! needed; what is missing is for the caller to get from peers.

use crate::checkpoint::{ImageFacts, ImageFault, MANIFEST, MANIFEST_COPY, Manifest, image_of, remove_leftovers};
use crate::contents::Contents;
use crate::fs::{DAMAGED, FileFacts, Fs, StoreError, list, move_aside, read_if_sound, remove_if_there, replace_file};
use crate::journal::{Journal, JournalSettings, Segment, Segments};
use crate::journal_reader::JournalReader;
use crate::limits::DAMAGED_FILES_MAX;
use crate::record::RecordView;
use crate::segment::{HeadFound, Life, SegmentEnd, StoreOwner, read_head, scan, segment_name, segment_number};
use crate::witness::{self, Witness};
use std::collections::VecDeque;
use std::sync::Arc;

/// Something that is not as it was left. Each is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Neither the manifest nor its copy can be read, or neither is there although there was a checkpoint.
    #[error(
        "the checkpoint's manifest is damaged or missing, so its images cannot be used; what is missing comes from other regions"
    )]
    Manifest,
    /// One of the two copies of the manifest cannot be read.
    #[error("{0} is damaged; its copy was used")]
    ManifestCopy(&'static str),
    /// An image cannot be used.
    #[error("the image {name} cannot be used: {fault}; its keys come from other regions")]
    Image {
        /// Its file.
        name: String,
        /// What is wrong.
        fault: ImageFault,
    },
    /// A segment's head is damaged, and nothing in it can be read.
    #[error("{name} is damaged at its head: its records are lost here")]
    SegmentHead {
        /// Its file.
        name: String,
    },
    /// The rest of a segment cannot be read.
    #[error("{name} is damaged at byte {at}: the records behind are lost here")]
    SegmentLost {
        /// Its file.
        name: String,
        /// Where the damage begins.
        at: u64,
    },
    /// Single records of a segment cannot be read.
    #[error("{name} has {records} damaged records: they are lost here")]
    SegmentRecords {
        /// Its file.
        name: String,
        /// How many.
        records: usize,
    },
    /// Records between two segments, or before the first, are not there.
    #[error("{records} records of the journal before {name} are missing")]
    SegmentMissing {
        /// The file behind the gap.
        name: String,
        /// How many.
        records: u64,
    },
    /// The last segment is not there.
    #[error("the journal's last file, {name}, is missing: its records are lost here")]
    LastSegmentMissing {
        /// Its file.
        name: String,
    },
    /// The last record of a segment was not written to its end, because the process or host stopped.
    #[error("{name} ends inside a record, at byte {at}: the process or host stopped while it was written")]
    Torn {
        /// Its file.
        name: String,
        /// Where the record begins.
        at: u64,
    },
}

impl Problem {
    /// Whether something that was whole once is lost; a torn tail is what any crash leaves.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Manifest
            | Self::Image { .. }
            | Self::SegmentHead { .. }
            | Self::SegmentLost { .. }
            | Self::SegmentRecords { .. }
            | Self::SegmentMissing { .. }
            | Self::LastSegmentMissing { .. } => true,
            Self::ManifestCopy(_) | Self::Torn { .. } => false,
        }
    }
}

/// A store as it was found.
#[derive(Debug)]
pub struct FoundStore {
    fs: Arc<dyn Fs>,
    owner: StoreOwner,
    manifest: Option<Manifest>,
    segments: VecDeque<Segment>,
    problems: Vec<Problem>,
    sound: Option<(Life, u64)>,
    witness: Option<Witness>,
    is_empty: bool,
}

/// What replaying the journal came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records that were shown.
    pub records: u64,
    /// The number of the next record.
    pub next: u64,
}

/// A store that is being written.
#[derive(Debug)]
pub struct Store {
    /// The directory.
    pub fs: Arc<dyn Fs>,
    /// Whose it is.
    pub owner: StoreOwner,
    /// The journal.
    pub journal: Journal,
    /// Reads the journal back.
    pub reader: JournalReader,
    /// The last checkpoint.
    pub manifest: Option<Manifest>,
    /// The life that writes.
    pub life: Life,
    /// Why nothing can be written, if so. The disk's side is told by `note_fault`.
    pub fault: Option<StoreError>,
}

/// The file that is there while everything that this life has sent is in its journal.
pub(crate) const SOUND: &str = "sound";

impl FoundStore {
    /// Looks at what is there. Fails only if the directory cannot be read, or is another node's.
    pub fn open(fs: Arc<dyn Fs>, owner: StoreOwner) -> Result<Self, StoreError> {
        let files = list(&*fs)?;
        let mut problems = Vec::new();
        let (manifest, damaged) = Manifest::read(&*fs, owner)?;
        match (&manifest, damaged.as_slice()) {
            (_, []) => {}
            (Some(_), [name, ..]) => problems.push(Problem::ManifestCopy(name)),
            (None, _) => problems.push(Problem::Manifest),
        }
        let mut segments = VecDeque::new();
        let last_segment = files.iter().filter_map(|file| segment_number(&file.name)).max();
        for file in &files {
            let Some(number) = segment_number(&file.name) else { continue };
            match read_head(&*fs, number)? {
                HeadFound::Whole(head, _) if head.owner != owner => return Err(StoreError::Foreign(file.name.clone())),
                HeadFound::Whole(head, _) => segments.push_back(Segment {
                    number,
                    first: head.first,
                    next: head.first,
                    bytes: file.bytes,
                    created_ms: head.created_ms,
                    index: None,
                    damaged: false,
                }),
                // Nothing was ever written behind a head that is not there.
                HeadFound::Torn if Some(number) == last_segment => {
                    problems.push(Problem::Torn { name: file.name.clone(), at: 0 });
                }
                HeadFound::Torn | HeadFound::Damaged => {
                    problems.push(Problem::SegmentHead { name: file.name.clone() });
                }
            }
        }
        for at in 0..segments.len() {
            segments[at].next = segments.get(at + 1).map_or(segments[at].first, |next| next.first);
        }
        // Before the first checkpoint counts there may be images, and the journal has everything.
        let has_images = files.iter().any(|file| image_of(&file.name).is_some());
        let has_beginning = segments.front().is_some_and(|first| first.first == 0);
        if manifest.is_none() && damaged.is_empty() && has_images && !has_beginning {
            problems.push(Problem::Manifest);
        }
        let ours = |name: &str| segment_number(name).is_some() || image_of(name).is_some() || name == MANIFEST;
        let is_empty = !files.iter().any(|file| ours(&file.name));
        let sound = read_sound(&*fs)?;
        if let Some((_, segment)) = sound.filter(|(_, segment)| last_segment.unwrap_or_default() < *segment) {
            problems.push(Problem::LastSegmentMissing { name: segment_name(segment) });
        }
        let witness = witness::read(&*fs)?;
        Ok(Self { fs, owner, manifest, segments, problems, sound, witness, is_empty })
    }

    /// The life that left this store, and whether it is a copy of what that left; nothing if that cannot be told.
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// Whether nothing was ever written here.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The last checkpoint.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The life that wrote last, if everything it has sent is in the journal, as far as the host did not crash.
    pub fn sound_life(&self) -> Option<Life> {
        self.sound.map(|(life, _)| life)
    }

    /// What is not as it was left.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The images to be loaded.
    pub fn images(&self) -> Vec<(u16, ImageFacts)> {
        self.manifest
            .iter()
            .flat_map(|manifest| manifest.images.iter().map(|(&group, &facts)| (group, facts)))
            .collect()
    }

    /// Shows the blocks of an image to `visit`, in order. Nothing if the image cannot be used; then nothing was shown.
    /// May be called from several threads at once.
    pub fn read_image(
        &self,
        group: u16,
        facts: ImageFacts,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Problem>, StoreError> {
        self.contents(Replayed::default()).read_image(group, facts, visit)
    }

    /// What can be read again, after [`FoundStore::replay`], which came to this.
    pub fn contents(&self, replayed: Replayed) -> Contents {
        let first = self.manifest.as_ref().map_or(0, |manifest| manifest.position);
        let behind = self.segments.iter().filter(|segment| segment.next > first);
        let segments = behind.map(|segment| segment.number).collect();
        Contents { fs: Arc::clone(&self.fs), owner: self.owner, segments, first, replayed }
    }

    /// Notes a problem that was met while loading.
    pub fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Shows every record that the checkpoint does not contain to `visit`, in order, with its number. Its error ends it.
    pub fn replay(
        &mut self,
        visit: &mut dyn FnMut(u64, RecordView<'_>) -> Result<(), StoreError>,
    ) -> Result<Replayed, StoreError> {
        let from = self.manifest.as_ref().map_or(0, |manifest| manifest.position);
        let mut records = 0;
        let next = self.read_journal(from, &mut |sequence, record| {
            if sequence < from {
                return Ok(());
            }
            records += 1;
            visit(sequence, record)
        })?;
        Ok(Replayed { records, next })
    }

    /// Reads the journal's files that have a record from `from` on, and notes what is wrong with them. Returns the number
    /// of the next record.
    pub(crate) fn read_journal(
        &mut self,
        from: u64,
        visit: &mut dyn FnMut(u64, RecordView<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let covered = self.manifest.as_ref().map_or(0, |manifest| manifest.position);
        let mut expected = covered;
        for at in 0..self.segments.len() {
            let (number, next_first) = (self.segments[at].number, self.segments.get(at + 1).map(|next| next.first));
            // The last segment before the position may still contain it, if it is the last of all.
            if next_first.is_some_and(|next| next <= from) {
                continue;
            }
            let name = segment_name(number);
            let Some(scanned) = scan(&*self.fs, number, visit)? else {
                // Its head could still be read a moment ago.
                self.segments[at].damaged = true;
                self.problems.push(Problem::SegmentLost { name, at: 0 });
                continue;
            };
            let missing = scanned.head.first.saturating_sub(expected);
            let problems_before = self.problems.len();
            if missing > 0 {
                self.problems.push(Problem::SegmentMissing { name: name.clone(), records: missing });
            }
            if !scanned.damaged.is_empty() {
                let records = scanned.damaged.len();
                self.problems.push(Problem::SegmentRecords { name: name.clone(), records });
            }
            match scanned.end {
                SegmentEnd::Whole => {}
                // The journal went on in the next segment without a gap: nothing is missing.
                SegmentEnd::Torn { .. } | SegmentEnd::Lost { .. } if next_first.is_some_and(|n| n <= scanned.next) => {}
                SegmentEnd::Torn { at } => self.problems.push(Problem::Torn { name, at }),
                SegmentEnd::Lost { at } => self.problems.push(Problem::SegmentLost { name, at }),
            }
            let segment = &mut self.segments[at];
            segment.next = scanned.next;
            segment.damaged = self.problems[problems_before..].iter().any(Problem::is_damage);
            // What could not be read this time is looked through again by whoever seeks something in it.
            segment.index = (!scanned.is_cut).then_some(scanned.index);
            // What lies before that is not missed.
            expected = scanned.next.max(covered);
        }
        Ok(expected)
    }

    /// Bytes of the journal's files, and how many there are.
    pub(crate) fn journal_size(&self) -> (usize, u64) {
        (self.segments.len(), self.segments.iter().map(|segment| segment.bytes).sum())
    }

    /// Begins to write, after [`FoundStore::replay`]. What a crash left unfinished is removed. A disk that takes no
    /// writes is no error here: the store then begins with a hole.
    ///
    /// SUBTLE: until [`Store::mark_sound`] nothing may be written into the journal, and the store still says of itself what
    /// the life before has left. Whatever that means for the node must be durable first, or a start that ends in between
    /// would hide it from the next one.
    pub fn begin(self, life: Life, settings: JournalSettings, next: u64) -> Result<Store, StoreError> {
        let fault = self.tidy(life).err();
        let fs = self.fs;
        let position = self.manifest.as_ref().map_or(0, |manifest| manifest.position);
        let uncovered: Vec<u64> =
            self.segments.iter().filter(|segment| segment.next > position).map(|segment| segment.number).collect();
        let segments = Segments::new(self.segments);
        let read_back_from = self.manifest.as_ref().map_or(0, |manifest| manifest.read_back_from);
        let reader = JournalReader::new(Arc::clone(&fs), segments.clone(), next, read_back_from);
        let mut journal = Journal::new(Arc::clone(&fs), self.owner, life, settings, segments, next);
        journal.cover(position);
        journal.note_unsynced(uncovered.into_iter());
        if fault.is_some() {
            journal.begin_with_hole();
        }
        Ok(Store { fs, owner: self.owner, journal, reader, manifest: self.manifest, life, fault })
    }

    /// Removes and moves aside what is of no use, and leaves a witness of this life.
    fn tidy(&self, life: Life) -> Result<(), StoreError> {
        let fs = &*self.fs;
        let files = list(fs)?;
        let is_old = |file: &&FileFacts| file.name.ends_with(DAMAGED);
        let old: Vec<&FileFacts> = files.iter().filter(is_old).collect();
        let mut kept = 0;
        for file in &files {
            if is_bad(&file.name, &self.problems) {
                move_aside(fs, &file.name)?;
                kept += 1;
            }
        }
        // What was found now is worth more than what was found before.
        let surplus = (old.len() + kept).saturating_sub(DAMAGED_FILES_MAX);
        old.into_iter().take(surplus).try_for_each(|file| remove_if_there(fs, &file.name))?;
        remove_leftovers(fs, self.owner)?;
        witness::leave(fs, life)
    }
}

impl Store {
    /// Says that whatever this life sends is in its journal, from here on. A disk that does not take that is no error
    /// here, as in [`FoundStore::begin`].
    pub fn mark_sound(&mut self) {
        if self.fault.is_some() {
            return;
        }
        // One that was moved aside would be missed at the next start.
        if let Err(error) = mark_sound(&*self.fs, self.life, self.journal.last_segment()) {
            self.journal.begin_with_hole();
            self.fault = Some(error);
        }
    }
}

/// Whether a file is of no use: nothing of it can be read.
fn is_bad(name: &str, problems: &[Problem]) -> bool {
    problems.iter().any(|problem| match problem {
        Problem::Manifest => name == MANIFEST || name == MANIFEST_COPY,
        Problem::ManifestCopy(copy) => name == *copy,
        Problem::Image { name: bad, fault } => name == bad && *fault != ImageFault::Missing,
        Problem::SegmentHead { name: bad } => name == bad,
        Problem::SegmentLost { .. }
        | Problem::SegmentRecords { .. }
        | Problem::SegmentMissing { .. }
        | Problem::LastSegmentMissing { .. }
        | Problem::Torn { .. } => false,
    })
}

/// Says that everything this life has sent is in its journal, which ends with this segment or a later one.
pub(crate) fn mark_sound(fs: &dyn Fs, life: Life, segment: u64) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(SOUND_BYTES);
    [life.generation, life.nonce, segment].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    let check = xxhash_rust::xxh3::xxh3_64(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    replace_file(fs, SOUND, &bytes)
}

/// Takes that word back, durably, before anything is sent that is not in the journal.
pub(crate) fn mark_unsound(fs: &dyn Fs) -> Result<(), StoreError> {
    remove_if_there(fs, SOUND)?;
    fs.sync_directory().map_err(|error| StoreError::file("make durable", "the store's directory", error))
}

/// What it says. Nothing if it is not there or damaged: then nobody may build on it.
fn read_sound(fs: &dyn Fs) -> Result<Option<(Life, u64)>, StoreError> {
    let Some(bytes) = read_if_sound(fs, SOUND, SOUND_BYTES + 1)? else { return Ok(None) };
    let Ok(words) = <[u8; SOUND_BYTES]>::try_from(bytes) else { return Ok(None) };
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&words[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let is_whole = word(24) == xxhash_rust::xxh3::xxh3_64(&words[..24]);
    Ok(is_whole.then(|| (Life { generation: word(0), nonce: word(8) }, word(16))))
}

const SOUND_BYTES: usize = 32;
