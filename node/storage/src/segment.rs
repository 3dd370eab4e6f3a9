//! Segments: the files of the journal. A head that says whose it is and where it begins, then records.

use crate::frame::{Place, Step, frame_length, put_frame, step};
use crate::fs::{Fs, Readable, StoreError, read_readable};
use crate::limits::{PLACE_BYTES, RECORD_BYTES_MAX};
use crate::record::RecordView;
use bincode::{Decode, Encode};
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoreOwner {
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The node's identity.
    pub identity: [u8; 32],
}

/// Which life of the node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Life {
    /// Counts the starts of the directory.
    pub generation: u64,
    /// Drawn at that start.
    pub nonce: u64,
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SegmentHead {
    pub version: u16,
    pub owner: StoreOwner,
    pub life: Life,
    /// The number of its first record.
    pub first: u64,
    /// When it was begun, in Unix milliseconds.
    pub created_ms: u64,
}

/// The version of all formats of this crate but the catalogue's.
pub(crate) const FORMAT_VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"PELAGOJ\n";
const HEAD_KIND: u8 = 0xf0;
/// No head of any version is longer.
const HEAD_BYTES_MAX: usize = 4096;
const PREFIX: &str = "journal-";

/// The name of the file of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:016}")
}

/// The number of a segment by the name of its file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

pub(crate) fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ crate::limits::MANIFEST_BYTES_MAX }>()
}

impl SegmentHead {
    /// The bytes that a segment of this number begins with.
    pub(crate) fn encode(&self, number: u64) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let head = bincode::encode_to_vec(self, configuration()).unwrap_or_default();
        put_frame(&mut out, Place { file: number, sequence: u64::MAX }, HEAD_KIND, &[&head]);
        out
    }

    /// Reads the head, and says where the records begin.
    pub(crate) fn decode(number: u64, bytes: &[u8]) -> HeadFound {
        let Some(rest) = bytes.strip_prefix(MAGIC.as_slice()) else {
            return if MAGIC.starts_with(bytes) { HeadFound::Torn } else { HeadFound::Damaged };
        };
        match step(rest, Place { file: number, sequence: u64::MAX }) {
            Step::Frame { kind: HEAD_KIND, payload, bytes } => {
                match bincode::decode_from_slice(payload, configuration()) {
                    Ok((head, _)) => HeadFound::Whole(head, MAGIC.len() + bytes),
                    Err(_) => HeadFound::Damaged,
                }
            }
            Step::End | Step::Torn => HeadFound::Torn,
            Step::Frame { .. } | Step::Damaged { .. } | Step::Lost => HeadFound::Damaged,
        }
    }
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFound {
    /// Its head, and where the records begin.
    Whole(SegmentHead, usize),
    /// The file ends inside the head: nothing was written behind it.
    Torn,
    /// No head.
    Damaged,
}

/// Where batches of one origin lie in a segment: one unbroken chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Who has this much can be served from here.
    pub after: Stamp,
    /// The last stamp here.
    pub last: Stamp,
    /// Some places: who has this much finds the next batch from this offset and record on.
    places: Vec<(Stamp, u64, u64)>,
}

/// What is known of the records of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    spans: BTreeMap<NodeNumber, Span>,
}

impl SegmentIndex {
    /// Notes a batch at an offset.
    pub(crate) fn note(&mut self, link: (NodeNumber, Stamp, Stamp), offset: u64, sequence: u64) {
        let (origin, previous, last) = link;
        let span = self.spans.entry(origin).or_insert(Span { after: previous, last: previous, places: Vec::new() });
        if last <= span.last && !span.places.is_empty() {
            return;
        }
        if previous > span.last {
            // Something came by another way in between: who has less is not served from here.
            *span = Span { after: previous, last: previous, places: Vec::new() };
        }
        if span.places.last().is_none_or(|&(_, noted, _)| offset >= noted + PLACE_BYTES) {
            span.places.push((span.last.max(previous), offset, sequence));
        }
        span.last = last;
    }

    /// Where to look for what follows `after` of an origin, if it is here.
    pub(crate) fn place(&self, origin: NodeNumber, after: Stamp) -> Option<(u64, u64)> {
        let span = self.spans.get(&origin)?;
        if after < span.after || after >= span.last {
            return None;
        }
        let at = span.places.partition_point(|&(noted, _, _)| noted <= after);
        span.places.get(at.checked_sub(1)?).map(|&(_, offset, sequence)| (offset, sequence))
    }
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentEnd {
    /// With a whole record.
    Whole,
    /// In the middle of a record: what happens when a process or host stops while it writes.
    Torn {
        /// Where that record begins.
        at: u64,
    },
    /// With what is no record. Where the next one would begin is unknown, so the rest cannot be read.
    Lost {
        /// Where it begins.
        at: u64,
    },
}

/// What a look through a segment has found.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub head: SegmentHead,
    /// The number of the next record.
    pub next: u64,
    pub end: SegmentEnd,
    /// The disk could not read all of it this time.
    pub is_cut: bool,
    /// Records that are damaged, by number.
    pub damaged: Vec<u64>,
    pub index: SegmentIndex,
}

/// Reads a whole segment and shows each record, with its number, to `visit`, whose error ends it. Nothing if its head is
/// damaged.
pub(crate) fn scan(
    fs: &dyn Fs,
    number: u64,
    visit: &mut dyn FnMut(u64, RecordView<'_>) -> Result<(), StoreError>,
) -> Result<Option<Scanned>, StoreError> {
    let name = segment_name(number);
    let Readable { bytes, is_cut } = read_readable(fs, &name, usize::MAX)?;
    let HeadFound::Whole(head, mut offset) = SegmentHead::decode(number, &bytes) else { return Ok(None) };
    if head.version != FORMAT_VERSION {
        return Err(StoreError::Newer { name, version: head.version });
    }
    let mut scanned = Scanned {
        head,
        next: head.first,
        end: SegmentEnd::Whole,
        is_cut,
        damaged: Vec::new(),
        index: SegmentIndex::default(),
    };
    // Since where there are only damaged records.
    let mut damaged_at = None;
    loop {
        let at = offset as u64;
        match step(&bytes[offset..], Place { file: number, sequence: scanned.next }) {
            Step::End | Step::Torn if is_cut => {
                scanned.end = SegmentEnd::Lost { at };
                break;
            }
            Step::End => break,
            Step::Torn => {
                scanned.end = SegmentEnd::Torn { at };
                break;
            }
            Step::Lost => {
                scanned.end = SegmentEnd::Lost { at };
                break;
            }
            Step::Damaged { bytes } => {
                damaged_at.get_or_insert(at);
                scanned.damaged.push(scanned.next);
                offset += bytes;
            }
            Step::Frame { kind, payload, bytes } => {
                match RecordView::read(kind, payload) {
                    Some(record) => {
                        damaged_at = None;
                        if let Some(link) = record.link() {
                            scanned.index.note(link, at, scanned.next);
                        }
                        visit(scanned.next, record)?;
                    }
                    None => scanned.damaged.push(scanned.next),
                }
                offset += bytes;
            }
        }
        scanned.next += 1;
    }
    // With nothing sound behind them, damaged records are no different from a lost end: their numbers are free.
    if let Some(at) = damaged_at {
        while scanned.damaged.pop_if(|last| *last + 1 == scanned.next).is_some() {
            scanned.next -= 1;
        }
        scanned.end = SegmentEnd::Lost { at };
    }
    Ok(Some(scanned))
}

/// Reads the head of a segment alone.
pub(crate) fn read_head(fs: &dyn Fs, number: u64) -> Result<HeadFound, StoreError> {
    let name = segment_name(number);
    let Readable { bytes, is_cut } = read_readable(fs, &name, HEAD_BYTES_MAX)?;
    match SegmentHead::decode(number, &bytes) {
        HeadFound::Torn if is_cut => Ok(HeadFound::Damaged),
        HeadFound::Whole(head, _) if head.version != FORMAT_VERSION => {
            Err(StoreError::Newer { name, version: head.version })
        }
        found => Ok(found),
    }
}

/// Shows the records from a place on, until `visit` says no or the written part ends.
pub(crate) fn read_from(
    fs: &dyn Fs,
    number: u64,
    place: (u64, u64),
    window_bytes: usize,
    visit: &mut dyn FnMut(RecordView<'_>) -> bool,
) -> Result<(), StoreError> {
    let name = segment_name(number);
    let (mut offset, mut sequence) = place;
    let mut wanted = window_bytes;
    loop {
        let window = fs.read(&name, offset, wanted).map_err(|error| StoreError::file("read", &name, error))?;
        let mut used = 0;
        loop {
            match step(&window[used..], Place { file: number, sequence }) {
                Step::Frame { kind, payload, bytes } => {
                    let Some(record) = RecordView::read(kind, payload) else { return Ok(()) };
                    if !visit(record) {
                        return Ok(());
                    }
                    used += bytes;
                    sequence += 1;
                }
                Step::End | Step::Torn => break,
                Step::Damaged { .. } | Step::Lost => return Ok(()),
            }
        }
        if window.len() < wanted {
            return Ok(());
        }
        let needed = frame_length(&window[used..], Place { file: number, sequence }).unwrap_or(window_bytes);
        wanted = needed.max(window_bytes).min(RECORD_BYTES_MAX);
        offset += used as u64;
    }
}
