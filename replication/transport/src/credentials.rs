//! A node's certificate, key and trusted authorities, in memory and as PEM files.
//!
//! In a node's directory: `node.pem` (its certificate, then those between it and the authority), `node.key` (readable
//! by the owner only) and `authority.pem` (whom peers' certificates must come from; several during a change of
//! authority).

use crate::identity::{CertificateFacts, IdentityError};
use quinn::rustls::pki_types::pem::{self, PemObject};
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, fs};
use thiserror::Error;

/// What a node proves itself with, and whom it believes.
pub struct NodeCredentials {
    /// The node's certificate, then those between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
    /// The authorities that peers' certificates must come from.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Why certificates or keys on disk cannot be used. The operator acts on it.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The file system refused.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not PEM, or not what was expected in it.
    #[error("{} holds no usable {what}: {error}", .path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What was found wrong.
        error: String,
    },
    /// A certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] IdentityError),
}

/// The file of a node's certificate chain, in its directory.
const CHAIN_FILE: &str = "node.pem";
/// The file of a node's key.
const KEY_FILE: &str = "node.key";
/// The file of the trusted authorities.
const AUTHORITIES_FILE: &str = "authority.pem";

impl NodeCredentials {
    /// Reads `node.pem`, `node.key` and `authority.pem` of a node's directory.
    pub fn read(directory: &Path) -> Result<Self, CredentialsError> {
        let [chain, key, authorities] = [CHAIN_FILE, KEY_FILE, AUTHORITIES_FILE].map(|file| directory.join(file));
        Self::read_files(&chain, &key, &authorities)
    }

    /// Reads certificate chain, key and authorities from files of any names.
    pub fn read_files(chain: &Path, key: &Path, authorities: &Path) -> Result<Self, CredentialsError> {
        if is_open_to_others(key) {
            tracing::warn!(path = %key.display(), "the node's key can be read by other users; chmod 600 it");
        }
        let credentials = Self {
            chain: read_certificates(chain)?,
            key: read_key(key)?,
            authorities: read_certificates(authorities)?,
        };
        credentials.facts()?;
        Ok(credentials)
    }

    /// Writes them to a node's directory, replacing what is there file by file; the key so that only its owner can
    /// read it.
    pub fn write(&self, directory: &Path) -> Result<(), CredentialsError> {
        create_directory(directory)?;
        write_file(&directory.join(KEY_FILE), &key_pem(&self.key), PRIVATE_MODE)?;
        write_file(&directory.join(AUTHORITIES_FILE), &certificates_pem(&self.authorities), PUBLIC_MODE)?;
        write_file(&directory.join(CHAIN_FILE), &certificates_pem(&self.chain), PUBLIC_MODE)
    }

    /// What the node's certificate says.
    pub fn facts(&self) -> Result<CertificateFacts, IdentityError> {
        CertificateFacts::read(self.chain.first().ok_or(IdentityError::Missing)?)
    }
}

impl Clone for NodeCredentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), authorities: self.authorities.clone() }
    }
}

impl fmt::Debug for NodeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCredentials").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let text = read_file(path)?;
    let refused = |error: String| CredentialsError::Pem { what: "certificate", path: path.to_owned(), error };
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        return Err(refused("there is no CERTIFICATE block in it".to_owned()));
    }
    Ok(found)
}

pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let text = read_file(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| CredentialsError::Pem {
        what: "private key",
        path: path.to_owned(),
        error: error.to_string(),
    })
}

/// Writes a private file: only its owner can read it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), CredentialsError> {
    write_file(path, text, PRIVATE_MODE)
}

/// Writes a file that everybody may read.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), CredentialsError> {
    write_file(path, text, PUBLIC_MODE)
}

pub(crate) fn create_directory(directory: &Path) -> Result<(), CredentialsError> {
    fs::create_dir_all(directory).map_err(|error| refused("create", directory, error))
}

pub(crate) fn certificates_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| block("CERTIFICATE", certificate)).collect()
}

pub(crate) fn key_pem(key: &PrivateKeyDer<'_>) -> String {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY", // PKCS#8, the only one that Pelago writes itself
    };
    block(label, key.secret_der())
}

fn block(label: &str, der: &[u8]) -> String {
    let lines = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new(label, der), lines)
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

fn read_file(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    fs::read(path).map_err(|error| refused("read", path, error))
}

/// Writes beside the file and renames, so that nobody ever reads half a file or loses the old one.
fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), CredentialsError> {
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| refused("write", path, error))
}

fn refused(doing: &'static str, path: &Path, error: io::Error) -> CredentialsError {
    CredentialsError::File { doing, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_foreign_files_are_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = NodeCredentials::read(directory.path()).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("node.pem"), "{missing}");
        fs::write(directory.path().join(CHAIN_FILE), "nothing of use").unwrap();
        let foreign = NodeCredentials::read(directory.path()).unwrap_err().to_string();
        assert!(foreign.contains("node.pem holds no usable certificate"), "{foreign}");
    }
}
