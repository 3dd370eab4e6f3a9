//! What a client may have seen, as a text it can carry to another region.
//!
//! Base64 (URL-safe, without padding) of: a version byte, the cluster's id, the number of entries, the stamps of the
//! vector from the latest to the earliest, each as its distance from the one before, and a checksum over all that. A
//! stamp names its author, so nothing else is needed. With three regions a token has about sixty characters.

use crate::limits::TOKEN_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crdt::{Stamp, VersionVector};
use protocol::ClusterId;
use xxhash_rust::xxh3::xxh3_64;

/// What a client may have seen of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The cluster.
    pub cluster: ClusterId,
    /// Of each node, up to where.
    pub seen: VersionVector,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token.
    #[error("the token is longer than any that PELAGO TOKEN gives")]
    TooLong,
    /// It is not what it was when it was given.
    #[error("the token is damaged: hand on exactly what PELAGO TOKEN answered")]
    Damaged,
    /// A later version made it.
    #[error("the token is of version {0}, which this node does not know: upgrade it")]
    Version(u8),
    /// It was made elsewhere.
    #[error("the token was made by another cluster")]
    OtherCluster,
}

const VERSION: u8 = 1;
const CLUSTER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

impl Token {
    /// The text.
    pub fn encode(&self) -> String {
        let mut stamps: Vec<u64> = self.seen.iter().map(|(_, stamp)| stamp.bits()).collect();
        stamps.sort_unstable_by(|left, right| right.cmp(left));
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.cluster.0);
        put(&mut bytes, stamps.len() as u64);
        let mut last = u64::MAX;
        for stamp in stamps {
            put(&mut bytes, last - stamp);
            last = stamp;
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text that `cluster` has given.
    pub fn decode(text: &[u8], cluster: ClusterId) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)?;
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Damaged)?;
        if checksum(content) != *sum {
            return Err(TokenError::Damaged);
        }
        let (version, rest) = content.split_first().ok_or(TokenError::Damaged)?;
        if *version != VERSION {
            return Err(TokenError::Version(*version));
        }
        let (made_by, mut rest) = rest.split_first_chunk::<CLUSTER_BYTES>().ok_or(TokenError::Damaged)?;
        if *made_by != cluster.0 {
            return Err(TokenError::OtherCluster);
        }
        let count = take(&mut rest).ok_or(TokenError::Damaged)?;
        let (mut seen, mut last) = (VersionVector::new(), u64::MAX);
        for _ in 0..count {
            let distance = take(&mut rest).ok_or(TokenError::Damaged)?;
            last = last.checked_sub(distance).ok_or(TokenError::Damaged)?;
            let stamp = Stamp::from_bits(last);
            seen.raise(stamp.author(), stamp);
        }
        if rest.is_empty() { Ok(Self { cluster, seen }) } else { Err(TokenError::Damaged) }
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // The lower half: the chance that a damaged token passes is one in four thousand millions.
    (xxh3_64(bytes) as u32).to_le_bytes()
}

/// Seven bits to a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crdt::NodeNumber;

    const HERE: ClusterId = ClusterId([7; CLUSTER_BYTES]);

    fn vector(count: u16) -> VersionVector {
        let number = |value| NodeNumber::new(value).unwrap();
        (0..count)
            .map(|value| (number(value), Stamp::at(1_700_000_000_000 + u64::from(value) * 31, number(value))))
            .collect()
    }

    #[test]
    fn a_token_says_what_was_seen_of_each_node() {
        for count in [0, 1, 3, 50, 1024] {
            let token = Token { cluster: HERE, seen: vector(count) };
            let text = token.encode();
            assert_eq!(Token::decode(text.as_bytes(), HERE), Ok(token), "{count}");
            assert!(text.len() <= TOKEN_BYTES_MAX, "{count} nodes take {} bytes", text.len());
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }
        assert!(Token { cluster: HERE, seen: vector(3) }.encode().len() <= 60);
    }

    #[test]
    fn a_text_that_was_changed_or_is_of_another_cluster_is_no_token() {
        let text = Token { cluster: HERE, seen: vector(3) }.encode();
        assert_eq!(Token::decode(text.as_bytes(), ClusterId([8; 16])), Err(TokenError::OtherCluster));
        assert_eq!(Token::decode(&vec![b'A'; TOKEN_BYTES_MAX + 1], HERE), Err(TokenError::TooLong));
        assert_eq!(Token::decode(b"", HERE), Err(TokenError::Damaged));
        assert_eq!(Token::decode("tökén".as_bytes(), HERE), Err(TokenError::Damaged));
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(Token::decode(&changed, HERE), Err(TokenError::Damaged), "{place}");
            assert_eq!(Token::decode(&text.as_bytes()[..place], HERE), Err(TokenError::Damaged), "{place}");
        }
        let with_sum = |mut bytes: Vec<u8>| {
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum);
            URL_SAFE_NO_PAD.encode(bytes)
        };
        assert_eq!(Token::decode(with_sum(vec![9, 1, 2]).as_bytes(), HERE), Err(TokenError::Version(9)));
        let mut hostile = vec![VERSION];
        hostile.extend_from_slice(&HERE.0);
        for end in
            [&[0xff; 10][..], &[1], &[1, 0, 0], &[2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 3]]
        {
            let text = with_sum([&hostile, end].concat());
            assert_eq!(Token::decode(text.as_bytes(), HERE), Err(TokenError::Damaged), "{end:?}");
        }
    }
}
