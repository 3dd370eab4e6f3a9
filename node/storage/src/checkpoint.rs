//! Checkpoints: one image for each group of slots, and a manifest that says which images there are and from where on the
//! journal replays over them.
//!
//! Images are written one after the other while everything goes on; a group in which nothing changed keeps the image it
//! has. A checkpoint counts from the moment at which its manifest is there, and until then the one before stands.

use crate::frame::{Place, Step, put_frame, step};
use crate::fs::{
    Fs, FsFile, StoreError, UNFINISHED, is_damage, list, read_if_sound, read_whole, remove_if_there, replace_file,
};
use crate::limits::{GROUPS, IMAGE_BLOCK_BYTES, IMAGE_PART_BYTES, MANIFEST_BYTES_MAX, RECORD_BYTES_MAX};
use crate::segment::{FORMAT_VERSION, StoreOwner, configuration};
use bincode::{Decode, Encode};
use crdt::{NodeNumber, Stamp, VersionVector};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Counts checkpoints.
    pub number: u64,
    /// The first record of the journal that must be replayed over the images.
    pub position: u64,
    /// What the images contain at least: everything up to this vector.
    pub vector: VersionVector,
    /// What they contain at most.
    pub end: VersionVector,
    /// Of what follows from records before this one the node does not have all: they are not read back.
    pub read_back_from: u64,
    /// What the node wants to know of that moment; opaque here.
    pub notes: Vec<u8>,
    /// When it was finished, in Unix milliseconds.
    pub finished_ms: u64,
    /// Keys in it.
    pub keys: u64,
    /// For each group that is not empty, its image.
    pub images: BTreeMap<u16, ImageFacts>,
}

/// An image, as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ImageFacts {
    /// The checkpoint that wrote it.
    pub checkpoint: u64,
    /// Its length.
    pub bytes: u64,
}

#[derive(Encode, Decode)]
struct ManifestRow {
    owner: StoreOwner,
    number: u64,
    position: u64,
    vector: Vec<u64>,
    end: Vec<u64>,
    read_back_from: u64,
    notes: Vec<u8>,
    finished_ms: u64,
    keys: u64,
    images: Vec<(u16, ImageFacts)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct ImageHead {
    version: u16,
    owner: StoreOwner,
    checkpoint: u64,
    group: u16,
}

/// Where a checkpoint begins.
#[derive(Clone, Debug)]
pub struct CheckpointStart {
    /// The journal's position: every record before it is applied.
    pub position: u64,
    /// What is applied.
    pub vector: VersionVector,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    fs: Arc<dyn Fs>,
    owner: StoreOwner,
    /// Known when the first file is written.
    number: Option<u64>,
    start: CheckpointStart,
    number_before: u64,
    read_back_from: u64,
    before: BTreeMap<u16, ImageFacts>,
    images: BTreeMap<u16, ImageFacts>,
    /// Bytes written so far.
    bytes: u64,
    /// Memory for the next image's frames.
    frame: Vec<u8>,
    /// The largest block that is one frame.
    frame_bytes_max: usize,
}

/// An image that is being written.
#[derive(Debug)]
pub struct ImageWriter {
    name: String,
    file: Arc<dyn FsFile>,
    place: Place,
    group: u16,
    checkpoint: u64,
    form: ImageForm,
    bytes: u64,
    frame: Vec<u8>,
    frame_bytes_max: usize,
}

/// Who can read an image. The numbers are those of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum ImageForm {
    /// Every version of the program.
    Plain = 1,
    /// Versions that know slots which hold a part of what was written, and say so.
    InPart = 2,
    /// Versions that know blocks of several frames, and slots as above.
    InFrames = 3,
}

/// What is wrong with a file of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is there, and the disk fails to read it.
    #[error("the disk cannot read it")]
    Unreadable,
    /// Its contents are not what was written.
    #[error("its checksum is wrong at byte {0}")]
    Checksum(u64),
    /// Its checksums are right, and it makes no sense.
    #[error("its contents make no sense to this version")]
    Contents,
    /// It ends too early.
    #[error("it ends too early, at byte {0}")]
    Short(u64),
}

pub(crate) const MANIFEST: &str = "checkpoint";
pub(crate) const MANIFEST_COPY: &str = "checkpoint.copy";
const MANIFEST_MAGIC: &[u8; 8] = b"PELAGOC\n";
const IMAGE_MAGIC: &[u8; 8] = b"PELAGOI\n";
const IMAGE_PREFIX: &str = "image-";
const HEAD_KIND: u8 = 0xf1;
const BLOCK_KIND: u8 = 0x11;
const END_KIND: u8 = 0x12;
const PART_KIND: u8 = 0x13;
const MANIFEST_KIND: u8 = 0xf2;

/// The name of an image's file.
pub fn image_name(checkpoint: u64, group: u16) -> String {
    format!("{IMAGE_PREFIX}{checkpoint:016}-{group:03}")
}

/// The checkpoint and group of an image, by its name.
pub(crate) fn image_of(name: &str) -> Option<(u64, u16)> {
    let (checkpoint, group) = name.strip_prefix(IMAGE_PREFIX)?.split_once('-')?;
    Some((checkpoint.parse().ok()?, group.parse().ok()?))
}

impl ManifestRow {
    /// Reads it; nothing if it is damaged.
    fn decode(name: &str, bytes: &[u8]) -> Result<Option<Self>, StoreError> {
        let Some(rest) = bytes.strip_prefix(MANIFEST_MAGIC.as_slice()) else { return Ok(None) };
        let Step::Frame { kind: MANIFEST_KIND, payload, .. } = step(rest, Place { file: 0, sequence: 0 }) else {
            return Ok(None);
        };
        let Some((version, body)) = payload.split_first_chunk::<2>() else { return Ok(None) };
        let version = u16::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return Err(StoreError::Newer { name: name.to_owned(), version });
        }
        Ok(bincode::decode_from_slice(body, configuration()).ok().map(|(row, _)| row))
    }
}

impl Manifest {
    fn encode(&self, owner: StoreOwner) -> Vec<u8> {
        let stamps = |vector: &VersionVector| vector.iter().map(|(_, stamp)| stamp.bits()).collect();
        let row = ManifestRow {
            owner,
            number: self.number,
            position: self.position,
            vector: stamps(&self.vector),
            end: stamps(&self.end),
            read_back_from: self.read_back_from,
            notes: self.notes.clone(),
            finished_ms: self.finished_ms,
            keys: self.keys,
            images: self.images.iter().map(|(&group, &facts)| (group, facts)).collect(),
        };
        let mut body = FORMAT_VERSION.to_le_bytes().to_vec();
        body.extend(bincode::encode_to_vec(&row, configuration()).unwrap_or_default());
        let mut out = MANIFEST_MAGIC.to_vec();
        put_frame(&mut out, Place { file: 0, sequence: 0 }, MANIFEST_KIND, &[&body]);
        out
    }

    /// Reads a manifest; nothing if it is damaged.
    pub(crate) fn decode(name: &str, bytes: &[u8], owner: StoreOwner) -> Result<Option<Self>, StoreError> {
        let Some(row) = ManifestRow::decode(name, bytes)? else { return Ok(None) };
        if row.owner != owner {
            return Err(StoreError::Foreign(name.to_owned()));
        }
        let vector = |stamps: Vec<u64>| stamps.into_iter().map(Stamp::from_bits).map(|s| (s.author(), s)).collect();
        Ok(Some(Self {
            number: row.number,
            position: row.position,
            vector: vector(row.vector),
            end: vector(row.end),
            read_back_from: row.read_back_from,
            notes: row.notes,
            finished_ms: row.finished_ms,
            keys: row.keys,
            images: row.images.into_iter().filter(|(group, _)| *group < GROUPS).collect(),
        }))
    }

    /// Whose store it is, if a manifest can be read.
    pub(crate) fn owner_on_disk(fs: &dyn Fs) -> Result<Option<StoreOwner>, StoreError> {
        for name in [MANIFEST, MANIFEST_COPY] {
            let Some(bytes) = read_if_sound(fs, name, MANIFEST_BYTES_MAX)? else { continue };
            if let Some(row) = ManifestRow::decode(name, &bytes)? {
                return Ok(Some(row.owner));
            }
        }
        Ok(None)
    }

    /// Reads the manifest, or its copy. The names of those that are damaged are returned too.
    pub(crate) fn read(fs: &dyn Fs, owner: StoreOwner) -> Result<(Option<Self>, Vec<&'static str>), StoreError> {
        let mut damaged = Vec::new();
        let mut best: Option<Self> = None;
        for name in [MANIFEST, MANIFEST_COPY] {
            let found = match read_whole(fs, name, MANIFEST_BYTES_MAX) {
                Ok(None) => continue,
                Ok(Some(bytes)) => Self::decode(name, &bytes, owner)?,
                Err(error) if error.is_damage() => {
                    tracing::error!(%error, "the disk cannot read a file of the store");
                    None
                }
                Err(error) => return Err(error),
            };
            match found {
                Some(found) if best.as_ref().is_none_or(|best| best.number < found.number) => best = Some(found),
                Some(_) => {}
                None => damaged.push(name),
            }
        }
        Ok((best, damaged))
    }

    /// Bytes of all images.
    pub fn bytes(&self) -> u64 {
        self.images.values().map(|image| image.bytes).sum()
    }

    /// The last stamp of a node that the images contain in full.
    pub fn contains(&self, node: NodeNumber) -> Stamp {
        self.vector.of(node)
    }
}

impl CheckpointWriter {
    /// Begins a checkpoint after `before`. Nothing is written yet.
    pub fn begin(fs: Arc<dyn Fs>, owner: StoreOwner, before: Option<&Manifest>, start: CheckpointStart) -> Self {
        let number_before = before.map_or(0, |before| before.number);
        let read_back_from = before.map_or(0, |before| before.read_back_from);
        let before = before.map(|before| before.images.clone()).unwrap_or_default();
        Self {
            fs,
            owner,
            number: None,
            start,
            number_before,
            read_back_from,
            before,
            images: BTreeMap::new(),
            bytes: 0,
            frame: Vec::new(),
            frame_bytes_max: RECORD_BYTES_MAX,
        }
    }

    /// Blocks that are larger than this take several frames: for tests, which have no slots of 4 GiB.
    pub fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes.min(RECORD_BYTES_MAX);
        self
    }

    /// Notes from which record on the journal may be read back.
    pub fn read_back_from(mut self, record: u64) -> Self {
        self.read_back_from = record;
        self
    }

    /// The number of this checkpoint, which no attempt before it had.
    ///
    /// SUBTLE: an attempt that failed may count all the same, if its manifest is there; nothing that it names may be
    /// written again or removed.
    fn number(&mut self) -> Result<u64, StoreError> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        let named = Named::on_disk(&*self.fs, self.owner, &self.before)?;
        let number = named.remove_others(&*self.fs)?.max(self.number_before) + 1;
        self.number = Some(number);
        Ok(number)
    }

    /// Where it began.
    pub fn start(&self) -> &CheckpointStart {
        &self.start
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the image that a group has from the checkpoint before.
    pub fn bytes_before(&self, group: u16) -> u64 {
        self.before.get(&group).map_or(0, |image| image.bytes)
    }

    /// Bytes that may still be written to the disk, which has the images of the checkpoint before until this one counts.
    pub fn space(&self) -> Result<u64, StoreError> {
        self.fs.space().map_err(|error| StoreError::file("ask for the space of", "the disk", error))
    }

    /// Nothing has changed in this group since the checkpoint before: its image stands.
    pub fn keep(&mut self, group: u16) {
        if let Some(&image) = self.before.get(&group) {
            self.images.insert(group, image);
        }
    }

    /// Begins the image of a group.
    pub fn image(&mut self, group: u16, form: ImageForm) -> Result<ImageWriter, StoreError> {
        let number = self.number()?;
        let name = image_name(number, group);
        let file = self.fs.create(&name).map_err(|error| StoreError::file("create", &name, error))?;
        let head = ImageHead { version: form as u16, owner: self.owner, checkpoint: number, group };
        let head = bincode::encode_to_vec(head, configuration()).unwrap_or_default();
        let mut image = ImageWriter {
            name,
            file,
            place: Place { file: place_of(number, group), sequence: 0 },
            group,
            checkpoint: number,
            form,
            bytes: 0,
            frame: std::mem::take(&mut self.frame),
            frame_bytes_max: self.frame_bytes_max,
        };
        image.frame.clear();
        image.frame.extend_from_slice(IMAGE_MAGIC);
        image.put(HEAD_KIND, &head)?;
        Ok(image)
    }

    /// The form of an image that is to hold this block, and otherwise might have that one.
    pub fn form_for(&self, block: &[u8], otherwise: ImageForm) -> ImageForm {
        if block.len() > self.frame_bytes_max { ImageForm::InFrames } else { otherwise }
    }

    /// Takes an image back that is in no form for what comes next: the group's image is begun anew.
    pub fn take_back(&mut self, image: ImageWriter) -> Result<(), StoreError> {
        self.frame = image.frame;
        remove_if_there(&*self.fs, &image.name)
    }

    /// Ends the image of a group: it is durable.
    pub fn finish(&mut self, mut image: ImageWriter) -> Result<(), StoreError> {
        let frames = image.place.sequence - 1;
        image.put(END_KIND, &frames.to_le_bytes())?;
        image.file.sync().map_err(|error| StoreError::file("make durable", &image.name, error))?;
        self.bytes += image.bytes;
        self.images.insert(image.group, ImageFacts { checkpoint: image.checkpoint, bytes: image.bytes });
        // A block of one huge slot is not kept in memory for the small ones behind it.
        image.frame.shrink_to(2 * IMAGE_BLOCK_BYTES);
        self.frame = image.frame;
        Ok(())
    }

    /// Makes the checkpoint count, and removes images that no checkpoint needs any more. Call it only when the journal is
    /// durable from the start's position to a position that is not before `end`. After an error it may count or not, and
    /// the one before stands as well.
    pub fn commit(
        mut self,
        end: VersionVector,
        notes: Vec<u8>,
        keys: u64,
        now_ms: u64,
    ) -> Result<Manifest, StoreError> {
        let manifest = Manifest {
            number: self.number()?,
            position: self.start.position,
            vector: self.start.vector,
            end,
            read_back_from: self.read_back_from,
            notes,
            finished_ms: now_ms,
            keys,
            images: self.images,
        };
        let encoded = manifest.encode(self.owner);
        self.fs.sync_directory().map_err(|error| StoreError::file("make durable", "the images' directory", error))?;
        replace_file(&*self.fs, MANIFEST, &encoded)?;
        replace_file(&*self.fs, MANIFEST_COPY, &encoded)?;
        if let Err(error) = remove_orphans(&*self.fs, self.owner) {
            tracing::warn!(%error, "images that are no longer needed could not be removed; the next checkpoint tries again");
        }
        Ok(manifest)
    }
}

impl ImageWriter {
    /// Whether this block can be written into an image of this form.
    pub fn takes(&self, block: &[u8]) -> bool {
        self.form >= ImageForm::InFrames || block.len() <= self.frame_bytes_max
    }

    /// Appends a block that the image [takes](ImageWriter::takes): what a walk over some slots gave.
    pub fn write(&mut self, block: &[u8]) -> Result<(), StoreError> {
        assert!(self.takes(block), "whoever writes a block begins an image of the form for it");
        if block.len() <= self.frame_bytes_max {
            return self.put(BLOCK_KIND, block);
        }
        let mut parts = block.chunks(self.frame_bytes_max.min(IMAGE_PART_BYTES)).peekable();
        while let Some(part) = parts.next() {
            self.put(if parts.peek().is_some() { PART_KIND } else { BLOCK_KIND }, part)?;
        }
        Ok(())
    }

    /// Appends a frame, and before it what waits to be written.
    fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), StoreError> {
        put_frame(&mut self.frame, self.place, kind, &[payload]);
        self.file.append(&self.frame).map_err(|error| StoreError::file("write", &self.name, error))?;
        self.place.sequence += 1;
        self.bytes += self.frame.len() as u64;
        self.frame.clear();
        Ok(())
    }
}

/// The images that a start may have to read.
struct Named {
    images: BTreeSet<(u64, u16)>,
    /// The largest number of a checkpoint that has a manifest.
    number: u64,
    /// A manifest cannot be read, so there may be more.
    is_unsure: bool,
}

impl Named {
    /// What the manifest and its copy name, together with these.
    fn on_disk(fs: &dyn Fs, owner: StoreOwner, also: &BTreeMap<u16, ImageFacts>) -> Result<Self, StoreError> {
        // SUBTLE: a manifest that was put in its place may be gone again after a crash, if this failed at the time.
        fs.sync_directory().map_err(|error| StoreError::file("make durable", "the images' directory", error))?;
        let mut named = Self { images: names_of(also).collect(), number: 0, is_unsure: false };
        for name in [MANIFEST, MANIFEST_COPY] {
            let bytes = match read_whole(fs, name, MANIFEST_BYTES_MAX) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error) if error.is_damage() => {
                    named.is_unsure = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(manifest) = Manifest::decode(name, &bytes, owner)? {
                named.images.extend(names_of(&manifest.images));
                named.number = named.number.max(manifest.number);
            }
        }
        Ok(named)
    }

    /// Removes all other images. Returns the largest number that any checkpoint has had, as far as it can be seen.
    fn remove_others(&self, fs: &dyn Fs) -> Result<u64, StoreError> {
        let mut number = self.number;
        for file in list(fs)? {
            let Some(image) = image_of(&file.name) else { continue };
            number = number.max(image.0);
            if !self.is_unsure && !self.images.contains(&image) {
                remove_if_there(fs, &file.name)?;
            }
        }
        Ok(number)
    }
}

fn names_of(images: &BTreeMap<u16, ImageFacts>) -> impl Iterator<Item = (u64, u16)> + '_ {
    images.iter().map(|(&group, facts)| (facts.checkpoint, group))
}

/// Removes what a checkpoint that was given up has left, which is of no use and may fill the disk: what neither the manifest
/// nor its copy names, nor the checkpoint `before` it.
pub fn discard_unfinished(fs: &dyn Fs, owner: StoreOwner, before: Option<&Manifest>) -> Result<(), StoreError> {
    let none = BTreeMap::new();
    let also = before.map_or(&none, |before| &before.images);
    Named::on_disk(fs, owner, also)?.remove_others(fs).map(drop)
}

/// Removes what an earlier life has left unfinished: nothing of it is read by a start. Where there is no checkpoint,
/// images stay: there may have been one.
pub fn remove_leftovers(fs: &dyn Fs, owner: StoreOwner) -> Result<(), StoreError> {
    // Nothing is removed from the store of another node.
    let named = Named::on_disk(fs, owner, &BTreeMap::new())?;
    for file in list(fs)?.into_iter().filter(|file| file.name.ends_with(UNFINISHED)) {
        remove_if_there(fs, &file.name)?;
    }
    if named.number > 0 { named.remove_others(fs).map(drop) } else { Ok(()) }
}

/// Removes images that neither the manifest nor its copy names.
fn remove_orphans(fs: &dyn Fs, owner: StoreOwner) -> Result<(), StoreError> {
    Named::on_disk(fs, owner, &BTreeMap::new())?.remove_others(fs).map(drop)
}

/// Shows the blocks of an image to `visit`, after all of them were checked. The fault says why it cannot be used; then
/// nothing was shown.
pub fn read_image(
    fs: &dyn Fs,
    owner: StoreOwner,
    group: u16,
    facts: ImageFacts,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<Option<ImageFault>, StoreError> {
    let name = image_name(facts.checkpoint, group);
    let bytes = match fs.read(&name, 0, usize::MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(ImageFault::Missing)),
        Err(error) if is_damage(&error) => {
            tracing::error!(name, %error, "the disk cannot read a file of the store");
            return Ok(Some(ImageFault::Unreadable));
        }
        Err(error) => return Err(StoreError::file("read", &name, error)),
    };
    let blocks = match blocks_of(&bytes, &name, owner, group, facts.checkpoint)? {
        Ok(blocks) => blocks,
        Err(fault) => return Ok(Some(fault)),
    };
    blocks.iter().for_each(|block| visit(block));
    Ok(None)
}

/// What an image holds.
type Blocks<'a> = Vec<Cow<'a, [u8]>>;

/// The blocks of an image, all checked, and put together where they are in several frames.
fn blocks_of<'a>(
    bytes: &'a [u8],
    name: &str,
    owner: StoreOwner,
    group: u16,
    checkpoint: u64,
) -> Result<Result<Blocks<'a>, ImageFault>, StoreError> {
    if !bytes.starts_with(IMAGE_MAGIC) {
        let at = 0;
        return Ok(Err(if bytes.len() < IMAGE_MAGIC.len() { ImageFault::Short(at) } else { ImageFault::Checksum(at) }));
    }
    let mut offset = IMAGE_MAGIC.len();
    let mut place = Place { file: place_of(checkpoint, group), sequence: 0 };
    let mut blocks = Vec::new();
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let at = offset as u64;
        let (kind, payload, length) = match step(&bytes[offset..], place) {
            Step::Frame { kind, payload, bytes } => (kind, payload, bytes),
            Step::End | Step::Torn => return Ok(Err(ImageFault::Short(at))),
            Step::Damaged { .. } | Step::Lost => return Ok(Err(ImageFault::Checksum(at))),
        };
        match (kind, place.sequence) {
            (HEAD_KIND, 0) => {
                let head = bincode::decode_from_slice::<ImageHead, _>(payload, configuration());
                let Ok((head, _)) = head else { return Ok(Err(ImageFault::Checksum(at))) };
                if head.version > ImageForm::InFrames as u16 {
                    return Err(StoreError::Newer { name: name.to_owned(), version: head.version });
                }
                if head.owner != owner {
                    return Err(StoreError::Foreign(name.to_owned()));
                }
            }
            (PART_KIND, 1..) => begun.extend_from_slice(payload),
            (BLOCK_KIND, 1..) if begun.is_empty() => blocks.push(Cow::Borrowed(payload)),
            (BLOCK_KIND, 1..) => {
                begun.extend_from_slice(payload);
                blocks.push(Cow::Owned(std::mem::take(&mut begun)));
            }
            (END_KIND, 1..) if begun.is_empty() => return Ok(Ok(blocks)),
            _ => return Ok(Err(ImageFault::Checksum(at))),
        }
        offset += length;
        place.sequence += 1;
    }
}

fn place_of(checkpoint: u64, group: u16) -> u64 {
    checkpoint << 16 | u64::from(group)
}
