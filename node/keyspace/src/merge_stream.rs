//! Where a change meets a stream: the common cases without a detour over the general form.

use crate::body::KeyBody;
use crate::hash::{digest_of_dot, digest_of_element};
use crate::merge::{Site, Write, observed};
use crate::sequence::Piece;
use crate::stream::Item;
use crdt::{Kind, Stamp, StreamEntry, StreamId, VersionVector};

impl Site<'_> {
    /// Puts an entry that is not there, or changes one that one write has put. False if it is not that simple and nothing
    /// was done.
    pub(crate) fn write_to_stream(&mut self, body: &mut KeyBody, kind: Kind, name: &[u8], write: &Write<'_>) -> bool {
        if kind != Kind::Stream || !write.resets.is_empty() || self.memory.context().is_some() {
            return false;
        }
        let (Some(stream), Some(id)) = (body.stream.as_deref_mut(), StreamId::of_name(name)) else { return false };
        let entry = write.value.and_then(StreamEntry::of);
        if entry.is_none() && write.value.is_some() {
            return false;
        }
        let digest = digest_of_element(self.key_digest, kind as u8, name);
        match (stream.find(id), entry) {
            (Err(at), Some(entry)) if write.drops.is_empty() => {
                stream.insert(at, &Item::new(id, write.stamp, entry));
            }
            (Err(_), _) => return false,
            (Ok(at), entry) => {
                let Some(item) = stream.entries().item(at).filter(|item| !item.is_wide()) else { return false };
                let dot = item.dot;
                let own = dot.author() == write.stamp.author()
                    && (dot < write.stamp || dot == write.stamp && write.value.is_some());
                if !(own && write.drops.is_empty() || write.drops == [dot]) {
                    return false;
                }
                let mut old = Vec::new();
                self.memory.digest ^= digest_of_dot(digest, dot, item.value_into(&mut old));
                match entry {
                    Some(entry) => stream.replace(at, &Item::new(id, write.stamp, entry)),
                    None => stream.remove(at, id),
                }
            }
        }
        self.memory.digest ^= write.value.map_or(0, |value| digest_of_dot(digest, write.stamp, value));
        true
    }

    /// Removes the dots of the stream that a clear has observed.
    pub(crate) fn clear_stream(&mut self, body: &mut KeyBody, stamp: Stamp, covered: &VersionVector) {
        let Some(stream) = &mut body.stream else { return };
        stream.retain(|name, piece| {
            let digest = digest_of_element(self.key_digest, Kind::Stream as u8, name);
            match piece {
                Piece::Plain(dot, value) => {
                    let gone = observed(dot, stamp, covered);
                    self.memory.digest ^= if gone { digest_of_dot(digest, dot, value) } else { 0 };
                    !gone
                }
                Piece::Wide(element) => {
                    self.clear_element(digest, element, stamp, covered);
                    !element.is_empty()
                }
            }
        });
    }
}
