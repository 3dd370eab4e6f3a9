//! Where the cut of a backup is: behind everything that was acknowledged when it was asked for.

use super::Peers;
use super::control::ControlReply;
use super::keeping::Waiting;
use crate::backups::Beginning;
use crate::limits::{BACKUP_LEASE, BACKUP_LEASE_MAX};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;

/// A backup that is to begin.
#[derive(Debug)]
pub(super) struct BackupOrder {
    lease: Duration,
    answer: oneshot::Sender<ControlReply>,
}

impl Peers {
    /// `PELAGO BACKUP BEGIN`: begins when everything that was written until now is in the journal.
    pub(super) fn order_backup(&mut self, words: &[&[u8]], answer: oneshot::Sender<ControlReply>) {
        let refusal = match lease(words) {
            Err(sentence) => sentence,
            Ok(_) if !self.keeping.is_on() => {
                "this node is still reading its disk; try again when it serves".to_owned()
            }
            // What is here by now is sound and whole, and would replace a backup that has everything.
            Ok(_) if !self.filled => NOT_ALL_KEYS.to_owned(),
            Ok(lease) => return self.when_closed(Waiting::Backup(BackupOrder { lease, answer })),
        };
        // Who asked may have gone.
        let _ = answer.send(Err(refusal));
    }

    /// It is in the journal: from here on it is the disk's and the backups' business.
    pub(super) fn begin_backup(&mut self, order: BackupOrder) {
        let BackupOrder { lease, answer } = order;
        if !self.filled {
            // It had all keys when it was asked, and found since that it has not.
            let _ = answer.send(Err(NOT_ALL_KEYS.to_owned()));
            return;
        }
        let Some((position, progress, owner)) = self.flush_all() else {
            let _ = answer.send(Err("this node keeps nothing on disk any more".to_owned()));
            return;
        };
        let vector: BTreeMap<String, String> =
            self.hub.closed_vector().iter().map(|(node, stamp)| (node.to_string(), stamp.to_string())).collect();
        let config = self.node.config.load();
        let facts = json!({
            "node": config.node, "region": config.region, "version": crate::metrics::VERSION,
            "cluster": hex(&owner.cluster), "identity": hex(&owner.identity),
            "taken_ms": self.node.wall_clock(), "position": position, "vector": vector,
        });
        self.node.backups.begin(Beginning { position, progress, lease, facts }, answer);
    }
}

const NOT_ALL_KEYS: &str = "this node does not have all keys yet: others are still giving them to it; try again when it \
                            serves, or back up another node";

/// `LEASE <ms>`, or nothing.
fn lease(words: &[&[u8]]) -> Result<Duration, String> {
    let lease = match words {
        [] => Some(BACKUP_LEASE),
        [word, ms] if word.eq_ignore_ascii_case(b"lease") => {
            let ms = str::from_utf8(ms).ok().and_then(|ms| ms.parse().ok());
            ms.map(Duration::from_millis).filter(|lease| !lease.is_zero() && *lease <= BACKUP_LEASE_MAX)
        }
        _ => None,
    };
    lease
        .ok_or_else(|| format!("BEGIN takes LEASE and a number of milliseconds up to {}", BACKUP_LEASE_MAX.as_millis()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_as_long_as_it_is_said_and_no_longer_than_the_limit() {
        assert_eq!(lease(&[]), Ok(BACKUP_LEASE));
        assert_eq!(lease(&[b"lease", b"200"]), Ok(Duration::from_millis(200)));
        for words in
            [&[b"lease".as_slice()][..], &[b"lease", b"0"], &[b"lease", b"3600001"], &[b"x", b"5"], &[b"lease", b"x"]]
        {
            assert!(lease(words).is_err());
        }
    }
}
