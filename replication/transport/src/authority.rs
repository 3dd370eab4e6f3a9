//! The authority of a cluster: it issues and renews the certificates of its nodes.
//!
//! Ed25519 throughout: small, and its signatures are the same every time, which the simulator needs. An authority is
//! only used by the command line (`pelago init`, `region add`, `cert`); a running node has no use for its key.

use crate::credentials::{self, CredentialsError, NodeCredentials};
use crate::identity::{CertificateFacts, Hexadecimal, IdentityError, server_name};
use protocol::ClusterId;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use std::path::Path;
use thiserror::Error;
use time::OffsetDateTime;

/// Signs the certificates of one cluster's nodes.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    cluster: ClusterId,
}

/// From when to when a certificate is good, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub until: i64,
}

/// What a new node's certificate shall say.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The node's name, for people.
    pub name: String,
    /// From when to when it is good.
    pub validity: Validity,
    /// The seed of the node's key: the same seed, the same identity. For simulations; nothing in production.
    pub seed: Option<[u8; 32]>,
}

/// Why an authority cannot do what it was asked. The operator acts on it.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// Its files.
    #[error(transparent)]
    Files(#[from] CredentialsError),
    /// A certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] IdentityError),
    /// The certificate library refused.
    #[error("cannot {doing}: {error}")]
    Library {
        /// What was being done.
        doing: &'static str,
        /// What the library said.
        error: rcgen::Error,
    },
    /// An authority of something else.
    #[error("the authority's certificate names {0} clusters of Pelago; it must name exactly one")]
    NotOfOneCluster(usize),
    /// A date that no certificate can carry.
    #[error("{0} seconds since 1970 is not a date that a certificate can carry")]
    Date(i64),
    /// Renewal of a certificate from elsewhere.
    #[error("the certificate of {name} belongs to another cluster than this authority")]
    OtherCluster {
        /// The node in the certificate.
        name: String,
    },
}

/// How long node certificates are good unless asked otherwise: a year, and renewal needs no restart.
const NODE_DAYS: i64 = 365;
/// How long an authority is good: longer than anybody plans.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// Certificates begin an hour early, since clocks differ.
const EARLY_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 86_400;
const CERTIFICATE_FILE: &str = "authority.pem";
const KEY_FILE: &str = "authority.key";

impl Validity {
    /// The ordinary validity of a node's certificate that is issued now.
    pub const fn of_node(now_unix_seconds: i64) -> Self {
        Self::days(now_unix_seconds, NODE_DAYS)
    }

    /// The ordinary validity of an authority that is made now.
    pub const fn of_authority(now_unix_seconds: i64) -> Self {
        Self::days(now_unix_seconds, AUTHORITY_DAYS)
    }

    /// So many days from now on.
    pub const fn days(now_unix_seconds: i64, days: i64) -> Self {
        Self { from: now_unix_seconds - EARLY_SECONDS, until: now_unix_seconds + days * DAY_SECONDS }
    }
}

impl Authority {
    /// Makes the authority of a cluster. With a seed its key is always the same: for simulations.
    pub fn create(cluster: ClusterId, validity: Validity, seed: Option<[u8; 32]>) -> Result<Self, AuthorityError> {
        let key = make_key(seed)?;
        // Verifiers look authorities up by name, so each has one of its own: two would be mistaken for one otherwise.
        let fingerprint = digest(&SHA256, &key.subject_public_key_info());
        let name = format!("Pelago authority {}", Hexadecimal(&fingerprint.as_ref()[..8]));
        let mut parameters = parameters(cluster, &name, &key, validity)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let signed = parameters.self_signed(&key).map_err(library("sign the authority's certificate"))?;
        Self::from_parts(signed.der().clone(), key)
    }

    /// Reads `authority.pem` and `authority.key` of a directory.
    pub fn read(directory: &Path) -> Result<Self, AuthorityError> {
        let mut certificates = credentials::read_certificates(&directory.join(CERTIFICATE_FILE))?;
        let key = match credentials::read_key(&directory.join(KEY_FILE))? {
            PrivateKeyDer::Pkcs8(key) => key,
            _ => return Err(library("use a key that is not PKCS#8")(rcgen::Error::CouldNotParseKeyPair)),
        };
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).map_err(library("read the key"))?;
        Self::from_parts(certificates.swap_remove(0), key)
    }

    /// Writes `authority.pem` and `authority.key` to a directory; the key so that only its owner can read it.
    pub fn write(&self, directory: &Path) -> Result<(), AuthorityError> {
        credentials::create_directory(directory)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der()));
        credentials::write_private(&directory.join(KEY_FILE), &credentials::key_pem(&key))?;
        let certificate = credentials::certificates_pem(std::slice::from_ref(&self.certificate));
        Ok(credentials::write_public(&directory.join(CERTIFICATE_FILE), &certificate)?)
    }

    /// Issues the certificate of a new node with a new key.
    pub fn issue(&self, request: &CertificateRequest) -> Result<NodeCredentials, AuthorityError> {
        self.certify(make_key(request.seed)?, &request.name, request.validity)
    }

    /// Issues a new certificate for a node that has one: same key, so the same identity.
    pub fn renew(&self, current: &NodeCredentials, validity: Validity) -> Result<NodeCredentials, AuthorityError> {
        let facts = current.facts()?;
        if !facts.clusters.contains(&self.cluster) {
            return Err(AuthorityError::OtherCluster { name: facts.name });
        }
        let key = PrivatePkcs8KeyDer::from(current.key.secret_der().to_vec());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).map_err(library("read the node's key"))?;
        self.certify(key, &facts.name, validity)
    }

    /// The cluster whose nodes it certifies.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What its certificate says; its expiry above all.
    pub fn facts(&self) -> Result<CertificateFacts, AuthorityError> {
        Ok(CertificateFacts::read(&self.certificate)?)
    }

    fn from_parts(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let clusters = CertificateFacts::read(&certificate)?.clusters;
        let [cluster] = clusters[..] else {
            return Err(AuthorityError::NotOfOneCluster(clusters.len()));
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(library("use the authority"))?;
        Ok(Self { certificate, issuer, cluster })
    }

    fn certify(&self, key: KeyPair, name: &str, validity: Validity) -> Result<NodeCredentials, AuthorityError> {
        let mut parameters = parameters(self.cluster, name, &key, validity)?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every node is server and client.
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = parameters.signed_by(&key, &self.issuer).map_err(library("sign the node's certificate"))?;
        Ok(NodeCredentials {
            chain: vec![signed.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            authorities: vec![self.certificate.clone()],
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

fn parameters(
    cluster: ClusterId,
    name: &str,
    key: &KeyPair,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    parameters.distinguished_name = subject;
    let server_name = server_name(cluster).try_into().map_err(library("name the cluster"))?;
    parameters.subject_alt_names = vec![SanType::DnsName(server_name)];
    parameters.not_before = date(validity.from)?;
    parameters.not_after = date(validity.until)?;
    parameters.serial_number = Some(serial_number(key, validity));
    Ok(parameters)
}

/// A renewed certificate gets another number, and a seeded one always the same.
fn serial_number(key: &KeyPair, validity: Validity) -> SerialNumber {
    let mut text = key.subject_public_key_info();
    text.extend_from_slice(&validity.from.to_be_bytes());
    text.extend_from_slice(&validity.until.to_be_bytes());
    let mut number = digest(&SHA256, &text).as_ref()[..16].to_vec();
    number[0] = number[0] & 0x7f | 0x40; // positive, and of one length
    SerialNumber::from_slice(&number)
}

fn date(unix_seconds: i64) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(unix_seconds).map_err(|_| AuthorityError::Date(unix_seconds))
}

fn make_key(seed: Option<[u8; 32]>) -> Result<KeyPair, AuthorityError> {
    let Some(seed) = seed else {
        return KeyPair::generate_for(&PKCS_ED25519).map_err(library("make a key"));
    };
    let mut pkcs8 = ED25519_PKCS8_HEAD.to_vec();
    pkcs8.extend_from_slice(&seed);
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)
        .map_err(library("make a key of the seed"))
}

fn library(doing: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |error| AuthorityError::Library { doing, error }
}

/// RFC 8410: what stands before the 32 bytes of an Ed25519 seed in PKCS#8.
const ED25519_PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_800_000_000;
    const CLUSTER: ClusterId = ClusterId([3; 16]);

    fn authority() -> Authority {
        Authority::create(CLUSTER, Validity::of_authority(NOW), Some([1; 32])).unwrap()
    }

    fn request(name: &str, seed: Option<[u8; 32]>) -> CertificateRequest {
        CertificateRequest { name: name.to_owned(), validity: Validity::of_node(NOW), seed }
    }

    #[test]
    fn a_certificate_says_name_cluster_and_expiry() {
        let facts = authority().issue(&request("us-east-1", None)).unwrap().facts().unwrap();
        assert_eq!((facts.name.as_str(), facts.clusters), ("us-east-1", vec![CLUSTER]));
        assert_eq!((facts.valid_from, facts.valid_until), (NOW - 3600, NOW + 365 * 86_400));
    }

    #[test]
    fn a_seed_always_gives_the_same_certificate() {
        let of = |seed| authority().issue(&request("a", Some([seed; 32]))).unwrap().chain;
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
    }

    #[test]
    fn renewal_keeps_the_identity_and_moves_the_expiry() {
        let authority = authority();
        let old = authority.issue(&request("a", None)).unwrap();
        let renewed = authority.renew(&old, Validity::days(NOW, 800)).unwrap();
        let (old, renewed) = (old.facts().unwrap(), renewed.facts().unwrap());
        assert_eq!((old.identity, &old.name, &old.clusters), (renewed.identity, &renewed.name, &renewed.clusters));
        assert_eq!(renewed.valid_until, NOW + 800 * 86_400);
    }

    #[test]
    fn another_clusters_certificate_is_not_renewed() {
        let other = Authority::create(ClusterId([4; 16]), Validity::of_authority(NOW), None).unwrap();
        let node = other.issue(&request("b", None)).unwrap();
        let error = authority().renew(&node, Validity::of_node(NOW)).unwrap_err();
        assert_eq!(error.to_string(), "the certificate of b belongs to another cluster than this authority");
    }

    #[test]
    fn authority_and_credentials_survive_their_files_and_keys_are_private() {
        let directory = tempfile::tempdir().unwrap();
        authority().write(directory.path()).unwrap();
        let read = Authority::read(directory.path()).unwrap();
        assert_eq!((read.cluster(), read.facts().unwrap()), (CLUSTER, authority().facts().unwrap()));
        let node = read.issue(&request("c", None)).unwrap();
        let home = directory.path().join("c");
        node.write(&home).unwrap();
        node.write(&home).unwrap();
        let again = NodeCredentials::read(&home).unwrap();
        assert_eq!((&again.chain, &again.authorities), (&node.chain, &node.authorities));
        assert_eq!(again.key.secret_der(), node.key.secret_der());
        for key in [directory.path().join(KEY_FILE), home.join("node.key")] {
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn an_impossible_date_is_refused() {
        assert!(matches!(
            Authority::create(CLUSTER, Validity { from: i64::MIN, until: 0 }, None),
            Err(AuthorityError::Date(i64::MIN))
        ));
    }
}
