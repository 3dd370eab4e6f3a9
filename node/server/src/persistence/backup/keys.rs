//! The keys of a backup: its cut is recovered as a start of a node does it, into a keyspace that nobody serves.

use super::{Backup, BackupError};
use crate::command::dump::object_of;
use crate::command::function;
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
            beat: &|| Ok(()),
        };
        // What would begin to write finds that it cannot, and nobody asks it to.
        let scanned = scan(found, Life { generation: 0, nonce: 0 }, &with)?;
        if !scanned.is_whole {
            let damage = scanned.problems.iter().find(|problem| problem.is_damage()).map(Problem::to_string);
            let unread = || "a record of its journal builds on what is missing".to_owned();
            return Err(BackupError::Damaged(damage.unwrap_or_else(unread)));
        }
        let loaded = scanned.loader.load_all(now, &|_| Ok(()))?;
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

    /// The code of each library of functions, in the order of their names.
    pub fn libraries(&self) -> Vec<Vec<u8>> {
        let mut writer = self.keyspace.writer();
        function::codes(&mut writer.access(self.taken_ms, &[function::KEY])).into_values().collect()
    }

    /// Shows every key with its value and deadline, database by database. The first error ends it, and so does a key whose
    /// value cannot be shown: nothing is left out without a word.
    pub fn each<E: From<BackupError>>(&self, mut each: impl FnMut(&Entry) -> Result<(), E>) -> Result<(), E> {
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
                    let Ok(Some(object)) = object_of(&mut access, database, &key) else {
                        return Err(BackupError::Key(key.escape_ascii().to_string()).into());
                    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crdt::NodeNumber;
    use keyspace::{Access, End, Kind, NewLifetime, Score};
    use rdb::{Hash, Object, SortedSet, Texts};

    const TAKEN_MS: UnixMillis = 1_700_000_000_000;

    /// A key of this kind, and what is to be shown of it.
    fn put(access: &mut Access<'_>, kind: Kind) -> Object {
        let (database, texts) = (Database(3), |text: &[u8]| [text].into_iter().collect::<Texts>());
        match kind {
            Kind::String => {
                access.put_string(database, b"k", b"v", NewLifetime::Set(Lifetime::Until(TAKEN_MS + 5)));
                Object::String(b"v".to_vec())
            }
            Kind::Hash => {
                access.put_field(database, b"k", b"f", b"v").unwrap();
                let mut hash = Hash::default();
                hash.push(b"f", b"v", 0);
                Object::Hash(hash)
            }
            Kind::Set => {
                access.add_member(database, b"k", b"m").unwrap();
                Object::Set(texts(b"m"))
            }
            Kind::SortedSet => {
                access.put_score(database, b"k", b"m", Score::new(1.5).unwrap()).unwrap();
                Object::SortedSet(SortedSet { members: texts(b"m"), scores: vec![1.5] })
            }
            Kind::List => {
                access.push(database, b"k", End::Tail, [b"e".as_slice()]).unwrap();
                Object::List(texts(b"e"))
            }
            Kind::Stream => {
                let pairs = [&b"f"[..], b"v"];
                access
                    .append_entry(database, b"k", keyspace::IdRequest::Given(crdt::StreamId::new(5, 1)), &pairs)
                    .unwrap()
                    .unwrap();
                let id = rdb::StreamId { milliseconds: 5, sequence: 1 };
                let mut stream = rdb::Stream::default();
                (stream.last_id, stream.entries_added) = (id, Some(1));
                stream.push(id, &[(b"f", b"v")]);
                Object::Stream(Box::new(stream))
            }
        }
    }

    #[test]
    fn keys_of_every_kind_are_shown() {
        for kind in crdt::Kind::ALL {
            let keyspace = Keyspace::new(1);
            keyspace.set_number(NodeNumber::new(1).unwrap());
            let mut writer = keyspace.writer();
            let expected = put(&mut writer.access(TAKEN_MS, &[b"k"]), kind);
            drop(writer);
            let (keys, mut shown) = (BackupKeys { keyspace, taken_ms: TAKEN_MS }, Vec::new());
            assert_eq!(keys.databases().collect::<Vec<_>>(), [(3, 1)]);
            keys.each(|entry| {
                shown.push(entry.clone());
                Ok::<_, BackupError>(())
            })
            .unwrap();
            let deadline = (kind == Kind::String).then_some(TAKEN_MS + 5);
            let found: Vec<_> = shown.iter().map(|e| (e.database, e.key.as_slice(), &e.object, e.deadline)).collect();
            assert_eq!(found, [(3, b"k".as_slice(), &expected, deadline)]);
        }
    }
}
