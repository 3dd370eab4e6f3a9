//! What `FUNCTION DUMP` answers and `FUNCTION RESTORE` takes: the code of libraries as it stands in files, then two bytes
//! of version, then the checksum of all before it.

use crate::checksum;
use crate::decode::{Decoder, Family};
use crate::encode::write_text;
use crate::error::RdbError;
use crate::reader::opcode;

/// The version of the format that Redis 7.0 writes.
const VERSION: u16 = 10;

/// The payload of some libraries, each given as its code.
pub fn dump<'c>(codes: impl Iterator<Item = &'c [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(opcode::FUNCTION);
        write_text(&mut payload, code);
    }
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = checksum::of(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The code of each library in a payload.
pub fn restore(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RdbError> {
    let (covered, stored) = bytes.split_last_chunk::<8>().ok_or(RdbError::Truncated)?;
    let (mut body, version) = covered.split_last_chunk::<2>().ok_or(RdbError::Truncated)?;
    let family = Family::of_version(u32::from(u16::from_le_bytes(*version)))?;
    let (expected, found) = (u64::from_le_bytes(*stored), checksum::of(covered));
    if expected != found {
        return Err(RdbError::Checksum { expected, found });
    }
    let mut decoder = Decoder::new(family);
    let mut codes = Vec::new();
    while let Some((&code, rest)) = body.split_first() {
        if code != opcode::FUNCTION {
            return Err(RdbError::Corrupt("something else than a library of functions"));
        }
        body = rest;
        codes.push(decoder.owned_text(&mut body)?);
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_come_back_and_nothing_else_does() {
        let codes: [&[u8]; 2] = [b"#!lua name=a\n", &[b'x'; 5000]];
        let payload = dump(codes.into_iter());
        assert_eq!(restore(&payload).unwrap(), codes);
        assert!(restore(&dump(std::iter::empty())).unwrap().is_empty());
        for length in 0..payload.len() {
            assert!(restore(&payload[..length]).is_err(), "{length}");
        }
        let mut other = payload.clone();
        other[3] ^= 1;
        assert!(restore(&other).is_err());
    }
}
