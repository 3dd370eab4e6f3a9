//! The files of a node's certificate while the node runs: read again when they have changed, so that a renewed
//! certificate needs no restart.
//!
//! Only reading and noticing, and whether it is their time. What is done with them is decided by `peers`.

use crate::launch::wall_clock;
use std::fs;
use std::path::PathBuf;
use transport::{CertificateFacts, CredentialsError, IdentityError, NodeCredentials};
use xxhash_rust::xxh3::xxh3_64;

/// Why what is in the files now is not used. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// They cannot be read, or do not go together.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// The certificate cannot be understood.
    #[error("{0}")]
    Certificate(#[from] IdentityError),
    /// Its time is over: every other node would refuse it.
    #[error("the certificate in them has expired; renew it with `pelago cert renew`")]
    Expired,
    /// Its time has not come: every other node would refuse it until then.
    #[error("the certificate in them is not valid yet; it is used from its time on, or look at this machine's clock")]
    NotYetValid,
}

/// Why a certificate is as good as none at some time, also one that clients are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimely {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
}

impl Untimely {
    /// What is wrong with a certificate at this time, in seconds since the Unix epoch.
    pub fn at(now: i64, facts: &CertificateFacts) -> Option<Self> {
        if facts.valid_until < now {
            Some(Self::Expired)
        } else if now < facts.valid_from {
            Some(Self::NotYetValid)
        } else {
            None
        }
    }
}

/// Milliseconds since the Unix epoch, as the seconds in which certificates count.
pub fn seconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX)
}

/// Certificate, key and authorities of a node as files.
#[derive(Debug)]
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    /// A hash of what each held when it was last looked at; none for one that could not be read.
    seen: [Option<u64>; 3],
    /// From when on and until when a certificate is good that was looked at when it was not.
    good: Option<(i64, i64)>,
}

impl CertificateFiles {
    /// These files, as they are now.
    pub fn new(chain: PathBuf, key: PathBuf, authorities: PathBuf) -> Self {
        let mut files = Self { chain, key, authorities, seen: [None; 3], good: None };
        files.seen = files.contents();
        files
    }

    /// What is in the files, if that has changed since the last look, or if its time has come since.
    pub fn look(&mut self) -> Option<Result<NodeCredentials, RenewalError>> {
        self.look_at(seconds(wall_clock()))
    }

    fn look_at(&mut self, now: i64) -> Option<Result<NodeCredentials, RenewalError>> {
        let contents = self.contents();
        let is_good_now = self.good.is_some_and(|(from, until)| from <= now && now <= until);
        if contents == self.seen && !is_good_now {
            return None;
        }
        self.seen = contents;
        self.good = None;
        Some(self.read_if_valid(now))
    }

    /// What is in the files, unless the certificate is not good at this time: as good as none, and the one that is used may
    /// still be.
    fn read_if_valid(&mut self, now: i64) -> Result<NodeCredentials, RenewalError> {
        let credentials = self.read()?;
        let facts = credentials.facts()?;
        let Some(untimely) = Untimely::at(now, &facts) else { return Ok(credentials) };
        self.good = Some((facts.valid_from, facts.valid_until));
        Err(match untimely {
            Untimely::Expired => RenewalError::Expired,
            Untimely::NotYetValid => RenewalError::NotYetValid,
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

    #[test]
    fn a_certificate_is_used_within_its_time_only() {
        let home = tempfile::tempdir().unwrap();
        let now = i64::try_from(wall_clock() / 1000).unwrap();
        let authority = Authority::create(ClusterId([7; 16]), Validity::days(now, 100), None).unwrap();
        let request = CertificateRequest { name: "us-east-1".to_owned(), validity: Validity::days(now, 9), seed: None };
        let first = authority.issue(&request).unwrap();
        first.write(home.path()).unwrap();
        let path = |name: &str| home.path().join(name);
        let mut files = CertificateFiles::new(path("node.pem"), path("node.key"), path("authority.pem"));
        let renew = |from: i64, days: i64| {
            authority.renew(&first, Validity::days(from, days)).unwrap().write(home.path()).unwrap();
        };
        const DAY: i64 = 86_400;
        renew(now - 3 * DAY, 1);
        let refused = files.look().unwrap().unwrap_err();
        assert!(matches!(refused, RenewalError::Expired), "{refused}");
        assert!(files.look().is_none(), "it is told once");
        let used = files.look_at(now - 3 * DAY + 1_000).unwrap();
        assert!(used.is_ok(), "the clock was wrong");
        renew(now + 2 * DAY, 5);
        let refused = files.look().unwrap().unwrap_err();
        assert!(matches!(refused, RenewalError::NotYetValid), "{refused}");
        assert!(files.look().is_none(), "it is told once");
        let used = files.look_at(now + 3 * DAY).unwrap().unwrap();
        assert!(used.facts().unwrap().valid_until > now + 6 * DAY, "it is used when its time has come");
        assert!(files.look_at(now + 3 * DAY).is_none());
    }
}
