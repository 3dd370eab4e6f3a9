//! Why connections end, as a code on the wire and as a sentence for people.
//!
//! Every sentence says which side must act. The peer's words are shown, cut to a length and stripped of control
//! characters: they come from outside.

use crate::NotAdmitted;
use crate::identity::{Hexadecimal, IdentityError};
use crate::limits::REASON_BYTES_MAX;
use protocol::{ClusterId, NodeIdentity};
use quinn::{ConnectionError, VarInt};
use thiserror::Error;

/// Application close codes. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// The consumer asked for it.
    Asked,
    /// This connection is not the one that stays.
    Superseded,
    /// This node will not have that peer.
    Refused,
    /// The peer sent what it must not send.
    Misbehaved,
    /// The node is going down.
    Leaving,
    /// The peer's identity was removed from the cluster.
    Removed,
}

impl CloseCode {
    pub(crate) const fn number(self) -> VarInt {
        VarInt::from_u32(match self {
            CloseCode::Asked => 1,
            CloseCode::Superseded => 2,
            CloseCode::Refused => 3,
            CloseCode::Misbehaved => 4,
            CloseCode::Leaving => 5,
            CloseCode::Removed => 6,
        })
    }
}

/// Why there is no link.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("the peer's address {address} cannot be found: {error}")]
    Resolve { address: String, error: String },
    #[error("the peer's address {0} has nothing that can be reached from this socket")]
    NoAddress(String),
    #[error("cannot dial {0}: {1}")]
    Dial(String, quinn::ConnectError),
    #[error("no answer from {0} in time")]
    Silent(String),
    #[error("{}", sentence(.0))]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("the peer's certificate is not of cluster {}", Hexadecimal(&.0.0))]
    OtherCluster(ClusterId),
    #[error("another node answered than was expected: {} in place of {}", Hexadecimal(&.found.0), Hexadecimal(&.expected.0))]
    OtherNode { expected: NodeIdentity, found: NodeIdentity },
    #[error("that is this node itself")]
    Itself,
    #[error("the peer is refused: {0}")]
    NotAdmitted(NotAdmitted),
    #[error("another connection between the two nodes is kept")]
    Superseded,
    #[error("the peer does not greet as a node of Pelago does")]
    BadGreeting,
    #[error("the transport is being shut down")]
    ShuttingDown,
}

impl LinkError {
    /// Whether nothing is wrong: there is a link, only not this one.
    pub(crate) fn is_superseded(&self) -> bool {
        match self {
            LinkError::Superseded => true,
            LinkError::Connection(ConnectionError::ApplicationClosed(close)) => {
                close.error_code == CloseCode::Superseded.number()
            }
            _ => false, // every other error is one
        }
    }

    /// Whether the peer says that this node was removed from the cluster.
    pub(crate) fn says_removed(&self) -> bool {
        match self {
            LinkError::Connection(error) => says_removed(error),
            _ => false, // no other error is something that the peer says
        }
    }

    /// What the peer is told when this side found the error; nothing where the connection is gone already.
    pub(crate) fn to_tell(&self) -> Option<(CloseCode, String)> {
        match self {
            LinkError::Superseded => Some((CloseCode::Superseded, self.to_string())),
            LinkError::OtherCluster(cluster) => {
                Some((CloseCode::Refused, format!("your certificate is not of cluster {}", Hexadecimal(&cluster.0))))
            }
            LinkError::OtherNode { expected, .. } => {
                Some((CloseCode::Refused, format!("node {} was expected at this address", Hexadecimal(&expected.0))))
            }
            LinkError::NotAdmitted(NotAdmitted::Removed(words)) => Some((CloseCode::Removed, words.clone())),
            LinkError::NotAdmitted(NotAdmitted::Refused(words)) => Some((CloseCode::Refused, words.clone())),
            LinkError::Identity(_) | LinkError::Itself => Some((CloseCode::Refused, self.to_string())),
            LinkError::BadGreeting => Some((CloseCode::Misbehaved, self.to_string())),
            LinkError::Silent(_) => Some((CloseCode::Refused, "the handshake took too long".to_owned())),
            LinkError::ShuttingDown => Some((CloseCode::Leaving, "the node is shutting down".to_owned())),
            LinkError::Resolve { .. } | LinkError::NoAddress(_) | LinkError::Dial(..) | LinkError::Connection(_) => {
                None
            }
        }
    }
}

/// Closes a connection with a reason that fits.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    connection.close(code.number(), cut(reason).as_bytes());
}

/// Whether the peer ended the connection because this node was removed from the cluster.
pub(crate) fn says_removed(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == CloseCode::Removed.number())
}

/// What ended a connection, as a sentence.
pub(crate) fn sentence(error: &ConnectionError) -> String {
    match error {
        ConnectionError::VersionMismatch => "the peer speaks another version of QUIC".to_owned(),
        ConnectionError::TransportError(error) => found_here(u64::from(error.code), &error.reason),
        ConnectionError::ConnectionClosed(close) => found_there(u64::from(close.error_code), &readable(&close.reason)),
        ConnectionError::ApplicationClosed(close)
            if [CloseCode::Refused, CloseCode::Removed].iter().any(|code| close.error_code == code.number()) =>
        {
            format!("the peer refused this node: {}", readable(&close.reason))
        }
        ConnectionError::ApplicationClosed(close) => {
            format!("the peer closed the link: {}", readable(&close.reason))
        }
        ConnectionError::Reset => "the peer was restarted and does not know the link any more".to_owned(),
        ConnectionError::TimedOut => "nothing was heard of the peer any more".to_owned(),
        ConnectionError::LocallyClosed => "the link was closed here".to_owned(),
        ConnectionError::CidsExhausted => "there are no connection ids left".to_owned(),
    }
}

/// TLS alerts travel in QUIC's error codes from here on (RFC 9001, 4.8).
const TLS_ALERTS: u64 = 0x100;

/// This side refused the peer.
fn found_here(code: u64, detail: &str) -> String {
    let what = match code.checked_sub(TLS_ALERTS) {
        Some(42) if detail.contains("not valid for name") => "the peer's certificate is of another cluster",
        Some(42 | 43 | 46) => "the peer's certificate is not acceptable",
        Some(44) => "the peer's certificate was revoked",
        Some(45) if detail.contains("not valid before") || detail.contains("NotValidYet") => {
            "the peer's certificate is not valid yet; compare the clocks"
        }
        Some(45) => "the peer's certificate has expired; renew it there with `pelago cert renew`",
        Some(48) => "the peer's certificate comes from an authority that this node does not trust",
        Some(51) => "the peer's certificate is not signed by the authority that it names",
        Some(116) => "the peer showed no certificate",
        Some(120) => "the peer does not speak this version of Pelago's protocol",
        Some(_) | None => return format!("the connection failed: {}", cut(detail)),
    };
    format!("{what} ({})", cut(detail))
}

/// The peer refused this side.
fn found_there(code: u64, detail: &str) -> String {
    let what = match code.checked_sub(TLS_ALERTS) {
        Some(42) if detail.contains("not valid for name") => "the peer says that this node is of another cluster",
        Some(42 | 43 | 46) => "the peer does not accept this node's certificate",
        Some(44) => "the peer says that this node's certificate was revoked",
        Some(45) => {
            "the peer says that this node's certificate has expired; renew it with `pelago cert renew`, or compare the clocks"
        }
        Some(48) => "the peer does not trust the authority of this node's certificate",
        Some(51) => "the peer says that this node's certificate is not signed by the authority that it names",
        Some(116) => "the peer says that this node showed no certificate",
        Some(120) => "the peer does not speak this version of Pelago's protocol",
        Some(_) | None => return format!("the peer ended the connection: {detail}"),
    };
    if detail.is_empty() { what.to_owned() } else { format!("{what} ({detail})") }
}

/// What a peer wrote, for display.
fn readable(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(&words[..words.len().min(REASON_BYTES_MAX)]).into_owned();
    words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_peers_words_are_cut_and_harmless() {
        let words = [b"\x1b[31m\r\nno\xff".as_slice(), &[b'x'; 10_000]].concat();
        let close = quinn::ApplicationClose { error_code: CloseCode::Refused.number(), reason: Bytes::from(words) };
        let text = sentence(&ConnectionError::ApplicationClosed(close));
        assert!(text.starts_with("the peer refused this node:  [31m  no"), "{text:?}");
        assert!(text.len() < 400 && !text.contains(char::is_control));
    }

    #[test]
    fn a_reason_is_cut_between_letters() {
        let reason = "é".repeat(400);
        assert_eq!(cut(&reason).len(), REASON_BYTES_MAX);
        assert_eq!(cut(&format!("x{reason}")).len(), REASON_BYTES_MAX - 1);
    }
}
