//! What `DUMP` answers and `RESTORE` takes: one value, then two bytes of version, then the checksum of all before it.

use crate::checksum;
use crate::decode::{Decoder, Family, kind_of};
use crate::encode;
use crate::error::RdbError;
use crate::limits::PAYLOAD_EXPANDED_BYTES_MAX;
use crate::object::{Kind, Object};

/// A payload whose checksum was right, and whose version is known.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'p> {
    /// The type and the value, without version and checksum.
    body: &'p [u8],
    family: Family,
    version: u32,
}

impl<'p> Payload<'p> {
    /// Checks version and checksum; the value itself is not looked at yet.
    pub fn verify(bytes: &'p [u8]) -> Result<Self, RdbError> {
        let (covered, stored) = bytes.split_last_chunk::<8>().ok_or(RdbError::Truncated)?;
        let (body, version) = covered.split_last_chunk::<2>().ok_or(RdbError::Truncated)?;
        let version = u32::from(u16::from_le_bytes(*version));
        let family = Family::of_version(version)?;
        let (expected, found) = (u64::from_le_bytes(*stored), checksum::of(covered));
        if expected != found {
            return Err(RdbError::Checksum { expected, found });
        }
        Ok(Self { body, family, version })
    }

    /// Which kind of value it has, from its first byte alone: whoever does not take that kind need not read it.
    pub fn kind(self) -> Result<Kind, RdbError> {
        kind_of(*self.body.first().ok_or(RdbError::Truncated)?, self.family)
    }

    /// The value of a payload that anybody may have sent: memory is bounded by [`PAYLOAD_EXPANDED_BYTES_MAX`]. All of the
    /// payload must belong to it.
    pub fn object(self) -> Result<Object, RdbError> {
        self.object_within(PAYLOAD_EXPANDED_BYTES_MAX)
    }

    /// As [`Payload::object`], with another bound for a source that was chosen.
    pub fn object_within(self, expanded_bytes_max: u64) -> Result<Object, RdbError> {
        let (&kind, mut rest) = self.body.split_first().ok_or(RdbError::Truncated)?;
        kind_of(kind, self.family)?;
        let mut object = Object::default();
        Decoder::new(self.family).expanding_to(expanded_bytes_max).object(&mut rest, kind, &mut object)?;
        if rest.is_empty() { Ok(object) } else { Err(RdbError::Corrupt("something follows the value")) }
    }

    /// The version of the format in which it was written.
    pub fn version(self) -> u32 {
        self.version
    }

    /// The type and the value as they stand in a file.
    pub(crate) fn body(self) -> &'p [u8] {
        self.body
    }
}

/// Appends the payload of a value. Module values have none.
pub fn write(out: &mut Vec<u8>, object: &Object) -> Result<(), RdbError> {
    let start = out.len();
    out.push(encode::type_of(object)?);
    encode::write_object(out, object)?;
    out.extend_from_slice(&(encode::version_of(object) as u16).to_le_bytes());
    let checksum = checksum::of(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_redis_is_written_and_read_to_the_byte() {
        // DUMP of "5" as redis-server 7.0 answers it.
        let known = [0, 0xc0, 5, 10, 0];
        let mut written = Vec::new();
        write(&mut written, &Object::String(b"5".to_vec())).unwrap();
        assert_eq!(written[..5], known);
        assert_eq!(Payload::verify(&written).unwrap().object().unwrap(), Object::String(b"5".to_vec()));
    }

    #[test]
    fn a_changed_payload_is_refused() {
        let mut written = Vec::new();
        write(&mut written, &Object::String(b"hello".to_vec())).unwrap();
        for position in 0..written.len() {
            let mut changed = written.clone();
            changed[position] ^= 1;
            assert!(Payload::verify(&changed).is_err(), "byte {position}");
        }
        for length in 0..written.len() {
            assert!(Payload::verify(&written[..length]).is_err(), "{length} bytes");
        }
    }
}
