//! The files of a node's certificate while the node runs: read again when they have changed, so that a renewed
//! certificate needs no restart.
//!
//! Only reading and noticing. What is done with them is decided by `peers`.

use std::fs;
use std::path::PathBuf;
use transport::{CredentialsError, NodeCredentials};
use xxhash_rust::xxh3::xxh3_64;

/// Certificate, key and authorities of a node as files.
#[derive(Debug)]
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    /// A hash of what each held when it was last looked at; none for one that could not be read.
    seen: [Option<u64>; 3],
}

impl CertificateFiles {
    /// These files, as they are now.
    pub fn new(chain: PathBuf, key: PathBuf, authorities: PathBuf) -> Self {
        let mut files = Self { chain, key, authorities, seen: [None; 3] };
        files.seen = files.contents();
        files
    }

    /// What is in the files, if that has changed since the last look.
    pub fn look(&mut self) -> Option<Result<NodeCredentials, CredentialsError>> {
        let now = self.contents();
        (now != self.seen).then(|| {
            self.seen = now;
            self.read()
        })
    }

    /// What is in the files.
    pub fn read(&self) -> Result<NodeCredentials, CredentialsError> {
        NodeCredentials::read_files(&self.chain, &self.key, &self.authorities)
    }

    fn contents(&self) -> [Option<u64>; 3] {
        [&self.chain, &self.key, &self.authorities].map(|path| fs::read(path).ok().map(|bytes| xxh3_64(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::wall_clock;
    use transport::{Authority, CertificateRequest, ClusterId, Validity};

    #[test]
    fn files_are_read_again_once_after_each_change() {
        let home = tempfile::tempdir().unwrap();
        let now = i64::try_from(wall_clock() / 1000).unwrap();
        let authority = Authority::create(ClusterId([7; 16]), Validity::days(now, 10), None).unwrap();
        let request = CertificateRequest { name: "us-east-1".to_owned(), validity: Validity::days(now, 1), seed: None };
        let first = authority.issue(&request).unwrap();
        first.write(home.path()).unwrap();
        let path = |name: &str| home.path().join(name);
        let mut files = CertificateFiles::new(path("node.pem"), path("node.key"), path("authority.pem"));
        assert!(files.look().is_none());
        authority.renew(&first, Validity::days(now, 5)).unwrap().write(home.path()).unwrap();
        let renewed = files.look().unwrap().unwrap();
        assert!(renewed.facts().unwrap().valid_until > first.facts().unwrap().valid_until);
        assert!(files.look().is_none());
        fs::remove_file(path("node.pem")).unwrap();
        assert!(files.look().unwrap().is_err());
        assert!(files.look().is_none(), "the same trouble is told once");
    }
}
