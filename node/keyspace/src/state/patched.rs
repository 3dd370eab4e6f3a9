//! Strings with patches as state: what of them is written down, and how what arrives is joined to what is here.
//!
//! The earliest writes may be folded on either side, up to another write on each. Every member has what anybody has folded,
//! so they go together: as soon as one of them was removed somewhere, all were. Where a fold is listed, what lies between
//! its first and its last write is in it; where something else is listed that is no later than a fold here, that is still
//! there.

use super::Merge;
use crate::hash::digest_of_dot;
use crate::merge::Site;
use crdt::encoding::{put_slice, put_stamp, put_varint};
use crdt::{DecodeError, Element, Fold, Reader, Stamp, VersionVector};

/// What a string has besides whole writes, as it arrived.
#[derive(Default)]
pub(super) struct ArrivedPatches<'a> {
    /// Folded writes: the first, what is known of all, and their text if the receiver may not have it.
    fold: Option<(Stamp, Fold, Option<&'a [u8]>)>,
    /// Patches, with their pieces if the receiver may not have them.
    patches: Vec<(Stamp, Option<&'a [u8]>)>,
}

/// Appends what a string has besides whole writes. The element is lifted.
pub(super) fn write_patches(out: &mut Vec<u8>, base: Stamp, element: &Element, since: &VersionVector) {
    match element.fold() {
        None => out.push(0),
        Some((first, fold)) => {
            let text = element.siblings.iter().find(|(stamp, _)| *stamp == first).map(|(_, text)| &**text);
            let text = text.filter(|_| !since.covers(fold.last));
            out.push(1 + u8::from(text.is_some()));
            put_stamp(out, base, first);
            put_stamp(out, base, fold.last);
            out.extend_from_slice(&fold.digest.to_le_bytes());
            text.into_iter().for_each(|text| put_slice(out, text));
        }
    }
    put_varint(out, element.patches().len() as u64);
    for patch in element.patches() {
        put_stamp(out, base, patch.stamp);
        out.push(u8::from(!since.covers(patch.stamp)));
        if !since.covers(patch.stamp) {
            put_slice(out, &patch.payload);
        }
    }
}

/// Whether the receiver may lack something of what a string has besides whole writes.
pub(super) fn has_news(element: &Element, since: &VersionVector) -> bool {
    element.fold().is_some_and(|(_, fold)| !since.covers(fold.last))
        || element.patches().iter().any(|patch| !since.covers(patch.stamp))
}

impl<'a> ArrivedPatches<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, base: Stamp) -> Result<Self, DecodeError> {
        let mut arrived = Self::default();
        let form = reader.byte("folded writes")?;
        if form > 2 {
            return Err(DecodeError::Invalid("folded writes"));
        }
        if form > 0 {
            let first = reader.stamp(base, "folded writes")?;
            let fold = Fold { last: reader.stamp(base, "folded writes")?, digest: reader.word("folded writes")? };
            if first > fold.last {
                return Err(DecodeError::Invalid("folded writes"));
            }
            let text = if form == 2 { Some(reader.slice("a text")?) } else { None };
            arrived.fold = Some((first, fold, text));
        }
        for _ in 0..reader.count("patches")? {
            let dot = reader.stamp(base, "a patch")?;
            let patch = if reader.byte("a patch")? == 0 { None } else { Some(reader.slice("a patch")?) };
            patch.map_or(Ok(()), crdt::patch::check)?;
            arrived.patches.push((dot, patch));
        }
        Ok(arrived)
    }
}

impl Merge<'_> {
    /// Joins the writes of a string of which either side has patches.
    pub(super) fn patched(
        &self,
        site: &mut Site<'_>,
        digest: u64,
        mine: &mut Element,
        wholes: &[(Stamp, Option<&[u8]>)],
        theirs: &ArrivedPatches<'_>,
    ) {
        let mut all: Vec<Stamp> = wholes.iter().chain(&theirs.patches).map(|&(stamp, _)| stamp).collect();
        all.sort_unstable();
        let listed = |dot: Stamp| all.binary_search(&dot).is_ok();
        let folded = |dot: Stamp| theirs.fold.is_some_and(|(first, fold, _)| (first..=fold.last).contains(&dot));
        let earliest = all.first().copied().into_iter().chain(theirs.fold.map(|(first, ..)| first)).min();
        let earliest = earliest.unwrap_or(Stamp::MAX);
        let own = mine.fold();
        // What is folded there and new here stands in the place of all that it is made of.
        let taken = theirs.fold.filter(|(_, fold, text)| text.is_some() && !self.seen_here(fold.last, digest));
        site.drop_writes(digest, mine, |dot| match own {
            Some((first, fold)) if first == dot => {
                let is_in = taken.is_some_and(|(first, theirs, _)| first <= dot && fold.last <= theirs.last);
                is_in || self.known_there(fold.last, digest) && earliest > fold.last
            }
            _ if folded(dot) => taken.is_some(),
            _ => self.known_there(dot, digest) && !listed(dot),
        });
        if let Some((first, fold, Some(text))) = taken {
            site.memory.digest ^= fold.digest;
            mine.take_fold(first, fold, text);
        }
        let here = |mine: &Element, dot: Stamp| {
            mine.siblings.iter().any(|&(stamp, _)| stamp == dot)
                || mine.patches().binary_search_by_key(&dot, |patch| patch.stamp).is_ok()
        };
        for &(dot, value) in wholes {
            if let (false, false, Some(value)) = (here(mine, dot), self.seen_here(dot, digest), value) {
                mine.lift();
                site.add_sibling(digest, mine, dot, value);
                mine.lay();
            }
        }
        for &(dot, patch) in &theirs.patches {
            if let (false, false, Some(patch)) = (here(mine, dot), self.seen_here(dot, digest), patch) {
                site.add_patch(digest, mine, dot, patch);
            }
        }
    }

    /// The hashes of those writes of a string with patches that the source can know. The element is lifted.
    pub(super) fn known_writes(&self, digest: u64, element: &Element) -> u64 {
        let fold = element.fold();
        let wholes = element.siblings.iter().map(|(dot, value)| match fold {
            Some((first, fold)) if first == *dot => (fold.last, fold.digest),
            _ => (*dot, digest_of_dot(digest, *dot, value)),
        });
        let patches = element.patches().iter().map(|p| (p.stamp, digest_of_dot(digest, p.stamp, &p.payload)));
        let known = wholes.chain(patches).filter(|(dot, _)| self.known_there(*dot, digest));
        known.fold(0, |sum, (_, hash)| sum ^ hash)
    }
}
