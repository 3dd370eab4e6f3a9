//! What `MIGRATE` does: keys are dumped, sent to another server, and removed here when that has taken them.
//!
//! It runs as a part of the client's connection, which serves nobody else meanwhile; its worker does. No slot is locked
//! while the network is waited for, so keys may change between the dump and the answer. They are *watched* as for a
//! transaction: a key that has changed stays here as it is, and the client is told. What is removed is what was dumped, as
//! by any `DEL`, in every region.
//!
//! Keys go some at a time, so that neither their number nor their size is held up by memory or holds up the worker.

mod target;

use crate::command::dump::payload_of;
use crate::dispatch::serve_waiting;
use crate::limits::{MIGRATED_AT_ONCE_BYTES, MIGRATED_AT_ONCE_KEYS, MIGRATING_BYTES_MAX};
use crate::tracking::Quiet;
use crate::worker::Worker;
use crdt::{Lifetime, Stamp, UnixMillis};
use keyspace::{Access, Database, EventClass, Watch};
use std::fmt;
use std::slice::Iter;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use target::{Target, TargetError};
use tokio::io::{AsyncRead, AsyncWrite};

/// Keys that are to go to another server.
#[derive(Debug)]
pub struct Migration {
    /// The other server.
    pub host: String,
    /// Its port, if that is one.
    pub port: Option<u16>,
    /// Who the node says it is.
    pub credentials: Option<Credentials>,
    /// The database that the keys are in.
    pub from: Database,
    /// The database there.
    pub target_database: i64,
    /// The keys; all of them were there.
    pub keys: Vec<Box<[u8]>>,
    /// They stay here.
    pub copies: bool,
    /// What the other server has of these names goes.
    pub replaces: bool,
    /// How long each answer, and each write, is waited for.
    pub timeout: Duration,
    /// The client, if it caches what it reads and does not want to be told of its own changes.
    pub quiet_for: Option<u64>,
}

/// A password, and perhaps whose it is.
pub struct Credentials {
    user: Option<Box<[u8]>>,
    password: Box<[u8]>,
}

impl Credentials {
    /// Of this user, or of the default one.
    pub fn new(user: Option<&[u8]>, password: &[u8]) -> Self {
        Self { user: user.map(Box::from), password: password.into() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Why not everything was moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum MigrationError {
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("ERR Target instance replied with error: {0}")]
    Refused(String),
    #[error(
        "ERR {0} of the keys changed here while the target instance took them: they stay here, and are there as they were before. MIGRATE with REPLACE sends them again"
    )]
    Changed(usize),
    #[error(
        "ERR too much is being sent to other servers by MIGRATE: the keys that the target instance does not have stay"
    )]
    TooMuch,
    /// With its code.
    #[error("{0}")]
    WritesRefused(String),
    #[error("ERR the value has no serialized form")]
    NoForm,
}

/// What became of a migration.
#[derive(Debug)]
pub struct Migrated {
    /// The last stamp of a removal, or a later one; zero if nothing was removed.
    pub stamp: Stamp,
    error: Option<MigrationError>,
}

impl Migrated {
    /// The error that is told, with its code.
    pub fn error(&self) -> Option<String> {
        self.error.as_ref().map(MigrationError::to_string)
    }
}

/// What all migrations of a node hold together.
#[derive(Debug, Default)]
pub struct Migrations {
    bytes: AtomicUsize,
    refused: AtomicU64,
}

impl Migrations {
    /// How many did not send what they had to, because all together would have held too much.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes up so many bytes, unless that is too much.
    fn hold(&self, bytes: usize) -> Result<(), MigrationError> {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MIGRATING_BYTES_MAX {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(MigrationError::TooMuch);
        }
        Ok(())
    }
}

/// Carries it out.
pub async fn carry_out(worker: &Worker, wish: &Migration) -> Migrated {
    match Target::connect(&wish.host, wish.port, wish.timeout).await {
        Ok(target) => Mover::new(worker, wish, target).carry_out().await,
        Err(error) => Migrated { stamp: Stamp::ZERO, error: Some(error.into()) },
    }
}

/// One migration under way.
struct Mover<'m, S> {
    worker: &'m Worker,
    wish: &'m Migration,
    target: Target<S>,
    /// The first one is told.
    error: Option<MigrationError>,
    /// Keys that changed before they could be removed.
    changed: usize,
    stamp: Stamp,
}

/// Keys that are sent at once. What they take is given back with it.
struct Load<'m> {
    migrations: &'m Migrations,
    requests: Vec<u8>,
    keys: Vec<Sent<'m>>,
}

/// A key that was sent.
struct Sent<'m> {
    key: &'m [u8],
    watch: Watch,
    lifetime: Lifetime,
}

/// What a look at a key came to.
enum Looked {
    Done,
    /// It cannot be looked at now.
    Later(Duration),
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.migrations.bytes.fetch_sub(self.requests.len(), Ordering::Relaxed);
    }
}

impl<'m, S: AsyncRead + AsyncWrite + Unpin> Mover<'m, S> {
    fn new(worker: &'m Worker, wish: &'m Migration, target: Target<S>) -> Self {
        Self { worker, wish, target, error: None, changed: 0, stamp: Stamp::ZERO }
    }

    async fn carry_out(mut self) -> Migrated {
        if let Err(error) = self.move_all().await {
            self.note(error);
        }
        let changed = (self.changed > 0).then_some(MigrationError::Changed(self.changed));
        Migrated { stamp: self.stamp, error: self.error.or(changed) }
    }

    fn note(&mut self, error: MigrationError) {
        self.error.get_or_insert(error);
    }

    async fn move_all(&mut self) -> Result<(), MigrationError> {
        self.introduce().await?;
        let mut rest = self.wish.keys.iter();
        loop {
            let load = self.load(&mut rest).await?;
            if load.keys.is_empty() {
                return Ok(());
            }
            self.target.send(&load.requests).await?;
            let (mut taken, mut broken) = (Vec::with_capacity(load.keys.len()), None);
            for sent in &load.keys {
                match self.target.answer().await {
                    Ok(Ok(())) => taken.push(sent),
                    Ok(Err(refusal)) => self.note(MigrationError::Refused(refusal)),
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
            if !self.wish.copies {
                self.remove(&taken).await?;
            }
            if let Some(error) = broken {
                return Err(error.into());
            }
        }
    }

    /// Says who the node is and which database is meant. Nothing is sent to a server that takes either amiss: it would go
    /// into another database.
    async fn introduce(&mut self) -> Result<(), MigrationError> {
        let (mut requests, mut count) = (Vec::new(), 0);
        if let Some(Credentials { user, password }) = &self.wish.credentials {
            let words: Vec<&[u8]> = [&b"AUTH"[..]].into_iter().chain(user.as_deref()).chain([&**password]).collect();
            resp::write_request(&mut requests, &words);
            count += 1;
        }
        if self.wish.target_database != 0 {
            let number = self.wish.target_database.to_string();
            resp::write_request(&mut requests, &[b"SELECT", number.as_bytes()]);
            count += 1;
        }
        self.target.send(&requests).await?;
        let mut refusal = None;
        for _ in 0..count {
            refusal = refusal.or(self.target.answer().await?.err());
        }
        refusal.map_or(Ok(()), |refusal| Err(MigrationError::Refused(refusal)))
    }

    /// The next keys.
    async fn load(&mut self, rest: &mut Iter<'m, Box<[u8]>>) -> Result<Load<'m>, MigrationError> {
        let worker = self.worker;
        let mut load = Load { migrations: &worker.node.migrations, requests: Vec::new(), keys: Vec::new() };
        while load.requests.len() < MIGRATED_AT_ONCE_BYTES && load.keys.len() < MIGRATED_AT_ONCE_KEYS {
            let Some(key) = rest.next() else { break };
            let wish = self.wish;
            while let Looked::Later(pause) = self.look(key, |access, now| put_in(&mut load, wish, key, access, now))? {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(load)
    }

    /// Removes keys that the target has.
    async fn remove(&mut self, taken: &[&Sent<'m>]) -> Result<(), MigrationError> {
        for (number, sent) in taken.iter().enumerate() {
            let (key, from) = (sent.key, self.wish.from);
            let was_named_before = || taken[..number].iter().any(|before| before.key == key);
            loop {
                if let Some(reason) = self.worker.node.condition.writes_refused() {
                    return Err(MigrationError::WritesRefused(reason));
                }
                let mut has_changed = false;
                let looked = self.look(key, |access, now| {
                    if !sent.watch.changed(now) {
                        if access.delete(from, key) {
                            access.note(EventClass::GENERIC, "del", from, key);
                        }
                    } else {
                        let is_over = matches!(sent.lifetime, Lifetime::Until(end) if end <= now);
                        let is_gone = access.kind(from, key).is_none();
                        has_changed = !(is_gone && (is_over || was_named_before()));
                    }
                    Ok(())
                })?;
                match looked {
                    Looked::Later(pause) => tokio::time::sleep(pause).await,
                    Looked::Done => {
                        self.changed += usize::from(has_changed);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Works on one key, as a command does that may write it.
    fn look(
        &mut self,
        key: &[u8],
        work: impl FnOnce(&mut Access<'_>, UnixMillis) -> Result<(), MigrationError>,
    ) -> Result<Looked, MigrationError> {
        let node = &self.worker.node;
        let now = node.wall_clock();
        if let Some(until) = node.condition.paused_until(now, !self.wish.copies) {
            return Ok(Looked::Later(Duration::from_millis(until.saturating_sub(now)).min(PAUSE_LOOK)));
        }
        if node.condition.is_busy() {
            return Ok(Looked::Later(PAUSE_LOOK));
        }
        serve_waiting(self.worker, now);
        let mut writer = self.worker.writer();
        let Some(mut access) = writer.access_unless_busy(now, &[key]) else { return Ok(Looked::Later(PAUSE_LOOK)) };
        // With its slot locked: nobody freezes it from here on.
        if node.keyspace.meets_frozen(&[key], true) {
            return Ok(Looked::Later(FROZEN_LOOK));
        }
        access.begin_command();
        let quiet = self.wish.quiet_for.map(Quiet::begin);
        let before = access.last_stamp();
        let worked = work(&mut access, now);
        let after = access.last_stamp();
        drop(quiet);
        drop(access);
        drop(writer);
        if after > before {
            self.stamp = self.stamp.max(after);
        }
        serve_waiting(self.worker, now);
        worked.map(|()| Looked::Done)
    }
}

/// Puts a key into what is sent, if it is still there.
fn put_in<'m>(
    load: &mut Load<'m>,
    wish: &Migration,
    key: &'m [u8],
    access: &mut Access<'_>,
    now: UnixMillis,
) -> Result<(), MigrationError> {
    let Some(payload) = payload_of(access, wish.from, key).map_err(|_| MigrationError::NoForm)? else { return Ok(()) };
    let lifetime = access.lifetime(wish.from, key).unwrap_or(Lifetime::Never);
    let rest = match lifetime {
        Lifetime::Never => 0,
        Lifetime::Until(end) => end.saturating_sub(now).max(1),
    };
    // What the words and lengths around it take, too.
    let mut request = Vec::with_capacity(payload.len() + key.len() + 128);
    let rest = rest.to_string();
    let words: [&[u8]; 5] = [b"RESTORE", key, rest.as_bytes(), &payload, b"REPLACE"];
    resp::write_request(&mut request, if wish.replaces { &words } else { &words[..4] });
    load.migrations.hold(request.len())?;
    if load.requests.is_empty() {
        load.requests = request;
    } else {
        load.requests.extend_from_slice(&request);
    }
    load.keys.push(Sent { key, watch: access.watch(wish.from, key), lifetime });
    Ok(())
}

/// After how long it is looked again whether commands are still paused, or a script still runs.
const PAUSE_LOOK: Duration = Duration::from_millis(20);
/// The same for a key that is being moved.
const FROZEN_LOOK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
