//! What modules have written: nothing is understood of it but where it ends.

use super::{Decoder, length};
use crate::error::RdbError;
use crate::source::Source;

impl Decoder {
    /// Passes over a module's value and says of which type it is.
    pub(super) fn pass_module(&mut self, source: &mut impl Source) -> Result<String, RdbError> {
        let id = length(source)?;
        self.pass_parts(source)?;
        Ok(type_name(id))
    }

    /// Passes over parts, each with a mark of its form, up to the mark of the end.
    fn pass_parts(&mut self, source: &mut impl Source) -> Result<(), RdbError> {
        loop {
            match length(source)? {
                0 => return Ok(()),
                1 | 2 => {
                    length(source)?;
                }
                3 => source.skip(4)?,
                4 => source.skip(8)?,
                5 => self.pass_text(source)?,
                _ => return Err(RdbError::Corrupt("a module's value has a part of an unknown form")),
            }
        }
    }
}

/// Passes over what a module has written beside the keys, and says which module.
pub(crate) fn pass_module_auxiliary(decoder: &mut Decoder, source: &mut impl Source) -> Result<String, RdbError> {
    let id = length(source)?;
    // When it is to be read: an integer with its mark.
    if length(source)? != 2 {
        return Err(RdbError::Corrupt("a module's own record does not say when it is read"));
    }
    length(source)?;
    decoder.pass_parts(source)?;
    Ok(type_name(id))
}

/// Passes over what modules have attached to a key.
pub(crate) fn pass_key_metadata(decoder: &mut Decoder, source: &mut impl Source) -> Result<(), RdbError> {
    for _ in 0..length(source)? {
        source.skip(4)?;
        decoder.pass_parts(source)?;
    }
    Ok(())
}

/// Nine letters of six bits each, then ten bits of version.
fn type_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |index: u32| char::from(LETTERS[(id >> (10 + 6 * (8 - index))) as usize & 0x3f]);
    (0..9).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Family;

    #[test]
    fn the_name_of_a_modules_type_is_in_its_number() {
        // "ReJSON-RL" in the order of the letters.
        let letters = [17u64, 30, 9, 18, 14, 13, 62, 17, 11];
        let id = letters.iter().fold(0, |id, letter| id << 6 | letter) << 10 | 3;
        assert_eq!(type_name(id), "ReJSON-RL");
    }

    #[test]
    fn a_modules_value_is_passed_over_to_its_end() {
        let value = [7, 1, 5, 2, 6, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, b'a', b'b', 0, b'!'];
        let mut source = &value[..];
        Decoder::new(Family::Redis).pass_module(&mut source).unwrap();
        assert_eq!(source, b"!");
        assert!(Decoder::new(Family::Redis).pass_module(&mut &value[..23]).is_err());
        assert!(Decoder::new(Family::Redis).pass_module(&mut &[7, 6][..]).is_err());
    }
}
