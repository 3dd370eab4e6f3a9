//! The keys of a backup: its cut is recovered as a start of a node does it, into a keyspace that nobody serves.

use super::{Backup, BackupError};
use crate::command::dump::object_of;
use crate::config::Config;
use crate::durability::Durability;
use crate::persistence::{Recovery, scan};
use crdt::UnixMillis;
use keyspace::{Database, Keyspace, Lifetime};
use rdb::Entry;
use std::sync::Arc;
use storage::{FoundStore, Life, Problem};

/// The keys of a backup, in memory.
pub struct BackupKeys {
    keyspace: Arc<Keyspace>,
    /// When the cut was made. What had ended by then is not there.
    taken_ms: UnixMillis,
}

/// Keys that are gathered before they are shown.
const PAGE_KEYS: usize = 512;

impl Backup {
    /// Verifies every byte and recovers the keys. Anything that is not as it was copied is an error: a part of a cut is
    /// none. `note` hears of bytes that were verified.
    pub fn load(&self, note: &mut dyn FnMut(u64)) -> Result<BackupKeys, BackupError> {
        if let Some(damage) = self.damage(note)?.into_iter().next() {
            return Err(BackupError::Damaged(damage));
        }
        let taken_ms = self.manifest.taken_ms;
        let found = FoundStore::open(self.files(), self.manifest.owner()?)?;
        if let Some(problem) = found.problems().iter().find(|problem| problem.is_damage()) {
            return Err(BackupError::Damaged(problem.to_string()));
        }
        let keyspace = Keyspace::new(0);
        self.recover(found, &keyspace, taken_ms)?;
        Ok(BackupKeys { keyspace, taken_ms })
    }

    /// The one place that knows how a start reads.
    fn recover(&self, found: FoundStore, keyspace: &Arc<Keyspace>, now: UnixMillis) -> Result<(), BackupError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let with = Recovery {
            keyspace,
            durability: &Durability::default(),
            config: &Config::default(),
            threads: Some(threads),
            now,
            beat: &|| (),
        };
        // What would begin to write finds that it cannot, and nobody asks it to.
        let scanned = scan(found, Life { generation: 0, nonce: 0 }, &with)?;
        if !scanned.is_whole {
            let damage = scanned.problems.iter().find(|problem| problem.is_damage()).map(Problem::to_string);
            let unread = || "a record of its journal builds on what is missing".to_owned();
            return Err(BackupError::Damaged(damage.unwrap_or_else(unread)));
        }
        let loaded = scanned.loader.load_all(now, &|_| ())?;
        match loaded.lost.values().next() {
            Some(problem) => Err(BackupError::Damaged(problem.to_string())),
            None if loaded.has_less() => {
                Err(BackupError::Damaged("a part of it makes no sense to this version".to_owned()))
            }
            None => Ok(()),
        }
    }
}

impl BackupKeys {
    /// How many there are, those included that had ended and were not removed yet.
    pub fn len(&self) -> u64 {
        (0..keyspace::DATABASES).map(|database| self.keyspace.len(database)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys of each database that has any, as [`BackupKeys::len`] counts.
    pub fn databases(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let counts = (0..keyspace::DATABASES).map(|database| (u32::from(database), self.keyspace.len(database)));
        counts.filter(|(_, keys)| *keys > 0)
    }

    /// Shows every key with its value and deadline, database by database. The first error ends it.
    pub fn each<E>(&self, mut each: impl FnMut(&Entry) -> Result<(), E>) -> Result<(), E> {
        let mut writer = self.keyspace.writer();
        for database in (0..keyspace::DATABASES).filter(|database| self.keyspace.len(*database) > 0) {
            let mut entry = Entry { database: u32::from(database), ..Entry::default() };
            let (database, mut cursor) = (Database(database), 0);
            loop {
                let mut keys = Vec::new();
                let gather = &mut |key: &[u8], _| keys.push(key.to_vec());
                cursor = writer.access_none(self.taken_ms).scan(database, cursor, PAGE_KEYS, gather);
                for key in keys {
                    let mut access = writer.access(self.taken_ms, &[&key]);
                    // Nobody writes here: what was listed is there, and of one type.
                    let Ok(Some(object)) = object_of(&mut access, database, &key) else { continue };
                    entry.deadline = match access.lifetime(database, &key) {
                        Some(Lifetime::Until(deadline)) => Some(deadline),
                        Some(Lifetime::Never) | None => None,
                    };
                    (entry.key, entry.object) = (key.clone(), object);
                    drop(access);
                    each(&entry)?;
                }
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for BackupKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupKeys").field("keys", &self.len()).field("taken_ms", &self.taken_ms).finish()
    }
}
