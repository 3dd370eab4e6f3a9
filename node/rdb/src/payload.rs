//! What `DUMP` answers and `RESTORE` takes: one value, then two bytes of version, then the checksum of all before it.

use crate::checksum;
use crate::decode::{Decoder, Family, kind_of};
use crate::encode;
use crate::error::RdbError;
use crate::limits::{PAYLOAD_EXPANDED_BYTES_MAX, USUAL_EXPANSION};
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

    /// The value of a payload that anybody may have sent: memory is bounded by [`PAYLOAD_EXPANDED_BYTES_MAX`], also that of
    /// whoever takes the value as it is. All of the payload must belong to it.
    pub fn object(self) -> Result<Object, RdbError> {
        let object = self.object_within(PAYLOAD_EXPANDED_BYTES_MAX)?;
        if let Object::Stream(stream) = &object {
            let usual = stream.kept_bytes().saturating_mul(USUAL_EXPANSION);
            let said = stream.said_bytes();
            if said > usual.saturating_add(PAYLOAD_EXPANDED_BYTES_MAX) {
                return Err(RdbError::Expanded(said));
            }
        }
        Ok(object)
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
    use crate::decode::stream::SAME_FIELDS;
    use crate::decode::types;
    use crate::listpack::ListpackWriter;

    #[test]
    fn a_payload_of_redis_is_written_and_read_to_the_byte() {
        // DUMP of "5" as redis-server 7.0 answers it.
        let known = [0, 0xc0, 5, 10, 0];
        let mut written = Vec::new();
        write(&mut written, &Object::String(b"5".to_vec())).unwrap();
        assert_eq!(written[..5], known);
        assert_eq!(Payload::verify(&written).unwrap().object().unwrap(), Object::String(b"5".to_vec()));
    }

    /// The payload of a stream with one node, whose entries all have one field with a name of so many bytes.
    fn stream_of_one_name(entries: i64, name_bytes: usize) -> Vec<u8> {
        let mut pack = ListpackWriter::new();
        [entries, 0, 1].into_iter().for_each(|number| pack.push_integer(number));
        pack.push(&vec![b'n'; name_bytes]);
        pack.push_integer(0);
        for sequence in 0..entries {
            [SAME_FIELDS, 0, sequence, 7, 4].into_iter().for_each(|number| pack.push_integer(number));
        }
        let mut body = vec![types::STREAM, 1];
        encode::write_block(&mut body, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        encode::write_block(&mut body, &pack.finish());
        for length in [entries as u64, 1, entries as u64 - 1, 0] {
            encode::write_length(&mut body, length);
        }
        body.extend_from_slice(&10_u16.to_le_bytes());
        let checksum = checksum::of(&body);
        body.extend_from_slice(&checksum.to_le_bytes());
        body
    }

    #[test]
    fn names_that_entries_share_count_for_each_of_them() {
        let entries = |bytes: &[u8]| match Payload::verify(bytes).unwrap().object() {
            Ok(Object::Stream(stream)) => Ok(stream.len()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        // What streams are like: names longer than the values.
        assert_eq!(entries(&stream_of_one_name(100_000, 200)), Ok(100_000));
        let small = stream_of_one_name(20_000, 100 << 10);
        assert!(small.len() < 400_000, "{}", small.len());
        let said = 20_000 * ((100 << 10) + 1);
        assert_eq!(entries(&small), Err(format!("it stands for {said} bytes, far more than it has")));
        // A source that was chosen is taken at its word.
        assert!(Payload::verify(&small).unwrap().object_within(PAYLOAD_EXPANDED_BYTES_MAX).is_ok());
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
