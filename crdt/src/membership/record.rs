//! Who a member is and where it is found: an identity and the record that goes with it. Not how records merge.

use super::limits::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX};
use alloc::string::String;
use bincode::{Decode, Encode};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Who a node is for ever: the SHA-256 of its certificate's public key. Numbers come and go, an identity stays, and
/// once it is removed it never comes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Encode, Decode)]
pub struct NodeIdentity(pub [u8; 32]);

impl fmt::Display for NodeIdentity {
    /// The first eight bytes in hexadecimal: enough to tell nodes apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What members know of a node. Its numbers are not part of it: they are granted, see [`super::Membership`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The node's name, unique among members, as in `eu-west-1`.
    pub name: String,
    /// The region it stands in. Several nodes may share one.
    pub region: String,
    /// The address for links between nodes, as other members are told.
    pub advertise: String,
    /// The address for clients.
    pub resp: String,
    /// The address for operators and metrics; empty when it has none.
    pub http: String,
}

/// Why a record cannot stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The name is empty, too long or has other characters than the allowed ones.
    #[error("a node's name has 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes or underscores")]
    Name,
    /// The region's name is empty, too long or has other characters than the allowed ones.
    #[error("a region's name has 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes or underscores")]
    Region,
    /// An address is too long or has characters that are not printable ASCII.
    #[error("an address has at most {ADDRESS_BYTES_MAX} printable characters and no spaces")]
    Address,
}

impl MemberRecord {
    /// Whether every part is within its bounds. Asked of what operators type and of what peers send.
    pub fn check(&self) -> Result<(), RecordError> {
        if !is_name(&self.name) {
            return Err(RecordError::Name);
        }
        if !is_name(&self.region) {
            return Err(RecordError::Region);
        }
        if [&self.advertise, &self.resp, &self.http].into_iter().all(|address| is_address(address)) {
            Ok(())
        } else {
            Err(RecordError::Address)
        }
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}
