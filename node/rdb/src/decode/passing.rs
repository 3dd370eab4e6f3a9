//! Values that nobody wants: their end is found, and no memory is taken for them, however large they are.

use super::{Decoder, Family, kind_of, length, types};
use crate::error::RdbError;
use crate::source::Source;

impl Decoder {
    /// Passes over a value of a type.
    pub(crate) fn pass(&mut self, source: &mut impl Source, kind: u8) -> Result<(), RdbError> {
        kind_of(kind, self.family)?;
        match (kind, self.family) {
            (types::LIST | types::SET | types::LIST_QUICKLIST, _) => {
                for _ in 0..length(source)? {
                    self.pass_text(source)?;
                }
            }
            (types::LIST_QUICKLIST_2, _) => {
                for _ in 0..length(source)? {
                    length(source)?;
                    self.pass_text(source)?;
                }
            }
            (types::SORTED_SET, _) => {
                for _ in 0..length(source)? {
                    self.pass_text(source)?;
                    match source.byte()? {
                        253.. => {}
                        bytes => source.skip(u64::from(bytes))?,
                    }
                }
            }
            (types::SORTED_SET_2, _) => {
                for _ in 0..length(source)? {
                    self.pass_text(source)?;
                    source.skip(8)?;
                }
            }
            (types::HASH, _) => self.pass_pairs(source, 0)?,
            (types::VALKEY_HASH_DEADLINES, Family::Valkey) => self.pass_pairs(source, 8)?,
            (types::HASH_DEADLINES | types::HASH_DEADLINES_EARLY, Family::Redis) => {
                if kind == types::HASH_DEADLINES {
                    source.skip(8)?;
                }
                for _ in 0..length(source)? {
                    length(source)?;
                    self.pass_text(source)?;
                    self.pass_text(source)?;
                }
            }
            (types::HASH_LISTPACK_DEADLINES, Family::Redis) => {
                source.skip(8)?;
                self.pass_text(source)?;
            }
            (types::STREAM | types::STREAM_2 | types::STREAM_3 | types::STREAM_4, _) => {
                self.pass_stream(source, kind)?;
            }
            (types::MODULE, _) => drop(self.pass_module(source)?),
            // A string, or a small collection that is packed into one.
            (_, Family::Redis | Family::Valkey) => self.pass_text(source)?,
        }
        Ok(())
    }

    /// Fields with their values, each followed by so many bytes.
    fn pass_pairs(&mut self, source: &mut impl Source, followed_by: u64) -> Result<(), RdbError> {
        for _ in 0..length(source)? {
            self.pass_text(source)?;
            self.pass_text(source)?;
            source.skip(followed_by)?;
        }
        Ok(())
    }

    fn pass_stream(&mut self, source: &mut impl Source, kind: u8) -> Result<(), RdbError> {
        self.pass_pairs(source, 0)?;
        // How many entries, and the last id; then the first id, the largest that was deleted, and how many were added.
        for _ in 0..if kind == types::STREAM { 3 } else { 8 } {
            length(source)?;
        }
        for _ in 0..length(source)? {
            self.pass_text(source)?;
            for _ in 0..if kind == types::STREAM { 2 } else { 3 } {
                length(source)?;
            }
            for _ in 0..length(source)? {
                source.skip(16 + 8)?;
                length(source)?;
            }
            for _ in 0..length(source)? {
                self.pass_text(source)?;
                source.skip(if matches!(kind, types::STREAM_3 | types::STREAM_4) { 16 } else { 8 })?;
                for _ in 0..length(source)? {
                    source.skip(16)?;
                }
            }
        }
        if kind == types::STREAM_4 { self.pass_producers(source) } else { Ok(()) }
    }
}
