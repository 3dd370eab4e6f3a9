//! Who a node is: the hash of its key, and the cluster that its certificate names.
//!
//! Both are read from certificates that TLS has verified already; nothing here checks a signature.

use protocol::{ClusterId, NodeIdentity};
use quinn::rustls::pki_types::CertificateDer;
use ring::digest::{SHA256, digest};
use std::fmt;
use thiserror::Error;
use x509_parser::{extensions::GeneralName, prelude::FromDer, prelude::X509Certificate};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is.
    pub identity: NodeIdentity,
    /// The common name: the node's name, for people.
    pub name: String,
    /// The clusters that it is good for; one in every certificate that Pelago issues.
    pub clusters: Vec<ClusterId>,
    /// The first second of its validity, since the Unix epoch.
    pub valid_from: i64,
    /// The last second of its validity, since the Unix epoch.
    pub valid_until: i64,
}

/// Why an identity, a cluster id or a certificate cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not the right number of hexadecimal digits.
    #[error("{what} is written as {digits} hexadecimal digits")]
    NotHexadecimal {
        /// What was to be read.
        what: &'static str,
        /// How many digits it has.
        digits: usize,
    },
    /// Not an X.509 certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// The peer showed none.
    #[error("the peer showed no certificate")]
    Missing,
}

const CLUSTER_SUFFIX: &str = ".cluster.pelago.internal";

/// The DNS name that stands for a cluster in certificates: `<32 hex digits>.cluster.pelago.internal`.
pub fn server_name(cluster: ClusterId) -> String {
    format!("{}{CLUSTER_SUFFIX}", Hexadecimal(&cluster.0))
}

/// The cluster that such a name stands for; nothing for other names.
pub fn cluster_of(server_name: &str) -> Option<ClusterId> {
    parse_cluster(server_name.strip_suffix(CLUSTER_SUFFIX)?).ok()
}

/// Reads a cluster id from its 32 hexadecimal digits.
pub fn parse_cluster(text: &str) -> Result<ClusterId, IdentityError> {
    from_hexadecimal(text, "a cluster's id").map(ClusterId)
}

/// Reads an identity from its 64 hexadecimal digits.
pub fn parse_identity(text: &str) -> Result<NodeIdentity, IdentityError> {
    from_hexadecimal(text, "a node's identity").map(NodeIdentity)
}

/// A node's identity: SHA-256 of its certificate's public key (the DER-encoded SubjectPublicKeyInfo). It stays when the
/// certificate is renewed, and changes only with the key.
pub fn identity_of_key(public_key_info: &[u8]) -> NodeIdentity {
    let mut identity = [0; 32];
    identity.copy_from_slice(digest(&SHA256, public_key_info).as_ref());
    NodeIdentity(identity)
}

/// Bytes, shown as hexadecimal digits.
pub(crate) struct Hexadecimal<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl CertificateFacts {
    /// Reads a DER-encoded certificate.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |error: String| IdentityError::Unreadable(error);
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
        let names = parsed.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let clusters = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => cluster_of(name),
            _ => None, // the other kinds of names are a foreign enum and say nothing here
        });
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            identity: identity_of_key(parsed.tbs_certificate.subject_pki.raw),
            name: common_name.unwrap_or_default().to_owned(),
            clusters: clusters.collect(),
            valid_from: parsed.validity().not_before.timestamp(),
            valid_until: parsed.validity().not_after.timestamp(),
        })
    }

    /// What the peer of a connection showed, verified by TLS.
    pub(crate) fn of_peer(connection: &quinn::Connection) -> Result<Self, IdentityError> {
        let shown = connection.peer_identity().ok_or(IdentityError::Missing)?;
        let chain = shown.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| IdentityError::Missing)?;
        Self::read(chain.first().ok_or(IdentityError::Missing)?)
    }
}

fn from_hexadecimal<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], IdentityError> {
    let refused = IdentityError::NotHexadecimal { what, digits: 2 * N };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(refused);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = ((pair[0] as char).to_digit(16), (pair[1] as char).to_digit(16)) else {
            return Err(refused);
        };
        *byte = (high * 16 + low) as u8;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let cluster = ClusterId(*b"0123456789abcdef");
        assert_eq!(cluster_of(&server_name(cluster)), Some(cluster));
        assert_eq!(cluster_of("example.org"), None);
        let node = NodeIdentity([0xa7; 32]);
        assert_eq!(parse_identity(&Hexadecimal(&node.0).to_string()), Ok(node));
    }

    #[test]
    fn what_is_no_id_is_refused_in_a_sentence() {
        for text in ["", "12", "zz123456789abcdef0123456789abcdef", "é23456789abcdef0123456789abcdef"] {
            let error = parse_cluster(text).unwrap_err();
            assert_eq!(error.to_string(), "a cluster's id is written as 32 hexadecimal digits");
        }
    }

    #[test]
    fn hostile_certificates_are_refused() {
        let hostile: [&[u8]; 4] = [b"", b"0", &[0x30, 0x82, 0xff, 0xff, 1], &[0x30, 0x80, 0, 0]];
        for bytes in hostile {
            assert!(CertificateFacts::read(&CertificateDer::from(bytes)).is_err());
        }
    }
}
