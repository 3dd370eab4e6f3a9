//! Keeping: every batch is in the journal before it is sent or applied, and so is every piece of state.
//!
//! What waits for the disk stands in one queue, in the order of the journal. A slow disk delays it and blocks nobody: new
//! batches are not closed while too much waits, and what builds on their being closed waits with them. What cannot be
//! written at all is given up by the disk's side, which marks the store first. Without a store nothing waits.

use super::Peers;
use super::held::{Held, MOVE_LOOK};
use super::preparing::{Preparation, Preparations};
use crate::latency_monitor::Event;
use crate::node::Node;
use crate::persistence::{CheckpointState, Done, Hindrance, Persistence, ReadBack, Task, Walk, encode_tails};
use bytes::Bytes;
use crdt::{Stamp, VersionVector};
use protocol::{Batch, BatchTail, Millis};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::{CheckpointStart, CheckpointWriter, Command, Health, Progress, Record, StoreOwner};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What stands between the hub and the disk.
pub(super) struct Keeping {
    pub(super) store: Option<Persistence>,
    /// What is done when its records are written, in the order of the journal.
    waiting: VecDeque<Queued>,
    /// What would have been done, and waits for a move of a key, or for a batch to be prepared.
    pub(super) held: Held,
    pub(super) preparations: Preparations,
    /// What is done when everything that was written up to a reading of the clock is closed, and in the journal.
    closing: VecDeque<(Stamp, Waiting)>,
    /// The end of the own chain, batches that wait included.
    sealed: BatchTail,
    /// Own batches that are written and not durable: where they end, and their last stamps.
    unflushed: VecDeque<(u64, Stamp)>,
    /// The disk, or somebody who wishes something of it, has news.
    pub(super) news: Arc<Notify>,
    /// The settings have changed.
    config_changed: Arc<AtomicBool>,
    /// When the disk is to be looked at, if it has no threads.
    due: Option<Instant>,
    /// More is written than one turn carries out.
    is_behind: bool,
    health: Health,
    /// The last start found less than was kept: a checkpoint is taken as soon as the node has everything again.
    is_incomplete: bool,
    /// The node had everything when the checkpoint that is being taken began.
    begun_with_all: bool,
    /// It turned out that it had not when that checkpoint could not be given up any more.
    counts_too_much: bool,
    space_at: Option<Instant>,
}

/// Until what could not be closed is tried again, if the disk has no news before: pipelines end within moments.
const CLOSING_INTERVAL: Duration = Duration::from_millis(10);
/// Between two rounds of work that is done in place.
pub(super) const IN_PLACE_INTERVAL: Duration = Duration::from_millis(2);
/// Bytes of changes that may wait for a batch or for the disk while that is slow. Past it writes are refused.
const UNDRAINED_BYTES_MAX: u64 = 256 << 20;
/// Own batches that are remembered until they are durable: some seconds of the fastest writer.
const UNFLUSHED_MAX: usize = 1 << 13;
/// What is written by now is carried out for so long in one turn, and what is begun then is ended.
pub(super) const KEPT_TURN_MAX: Duration = Duration::from_millis(1);
/// Between two looks at how the disk fares.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl Keeping {
    /// Nothing is kept yet.
    pub(super) fn new(place: Preparation) -> Self {
        Self {
            store: None,
            waiting: VecDeque::new(),
            held: Held::default(),
            preparations: Preparations::new(place),
            closing: VecDeque::new(),
            sealed: BatchTail::default(),
            unflushed: VecDeque::new(),
            news: Arc::default(),
            config_changed: Arc::default(),
            due: None,
            is_behind: false,
            health: Health::default(),
            is_incomplete: false,
            begun_with_all: false,
            counts_too_much: false,
            space_at: None,
        }
    }

    /// From here on everything is kept.
    fn begin(&mut self, store: Persistence, is_incomplete: bool) {
        self.store = Some(store);
        self.is_incomplete = is_incomplete;
    }

    /// Wakes the thread of the peers.
    pub(super) fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let news = Arc::clone(&self.news);
        Arc::new(move || news.notify_one())
    }

    /// Whether another batch may be closed now.
    pub(super) fn has_room(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.disk.has_room())
    }

    /// When there is something to do without news.
    pub(super) fn due(&self) -> Option<Instant> {
        let move_looked_at = (!self.held.is_empty()).then(|| Instant::now() + MOVE_LOOK);
        let behind = (self.is_behind || self.held.is_behind()).then(Instant::now);
        self.due.into_iter().chain(move_looked_at).chain(behind).min()
    }

    /// An own batch will be durable when so many records are. Where nothing is flushed for long, every second one is
    /// enough: the next one says more.
    fn note_unflushed(&mut self, position: u64, last: Stamp) {
        if self.unflushed.len() >= UNFLUSHED_MAX {
            let mut keep = false;
            self.unflushed.retain(|_| {
                keep = !keep;
                !keep
            });
        }
        self.unflushed.push_back((position, last));
    }

    /// What reads the journal back, while there is one.
    #[cfg(test)]
    pub(super) fn reader(&self) -> Option<&storage::JournalReader> {
        self.store.as_ref().map(|store| &store.reader)
    }

    pub(super) fn is_on(&self) -> bool {
        self.store.is_some()
    }

    /// Whether the keyspace is being walked over for this run of a checkpoint.
    fn is_walking(&self, run: u64) -> bool {
        self.store.as_ref().is_some_and(|store| store.checkpoints.is_walking(run))
    }
}

impl Peers {
    /// From here on everything is kept, and commands know of it.
    pub(super) fn begin_keeping(&mut self, store: Persistence, is_incomplete: bool) {
        self.keeping.begin(store, is_incomplete);
        let always = crate::persistence::replies_wait(&self.node.config.load());
        self.node.durability.set_policy(true, always);
        let wake = self.keeping.wake();
        self.node.durability.on_wish(move || wake());
        self.watch_config();
    }

    /// The first record that is not carried out: a checkpoint that begins now builds on those before it.
    pub(super) fn carried_out(&self, position: u64) -> u64 {
        // What is put aside is not in the order of the journal: what has no record comes before those that are not written.
        let queued = self.keeping.held.iter().chain(self.keeping.waiting.front()).map(|queued| queued.first);
        queued.chain(self.state.first_records()).fold(position, u64::min)
    }

    /// What the next own batch must name as its predecessor.
    pub(super) fn own_tail(&self) -> BatchTail {
        let sealed = self.keeping.sealed;
        let waits = self.number().is_some_and(|number| {
            sealed.last > Stamp::ZERO
                && sealed.last.author() == number
                && sealed.last > self.hub.closed_vector().of(number)
        });
        if waits { sealed } else { self.hub.own_tail() }
    }

    /// Keeps a record, if there is one, and everything before it; then does the other thing.
    pub(super) fn keep(&mut self, record: Option<Record>, then: Waiting) {
        let Some(store) = &mut self.keeping.store else {
            self.carry_out(Queued { first: 0, position: 0, then });
            return;
        };
        if let Waiting::Publish(batch) = &then {
            self.keeping.sealed = batch.tail();
        }
        let first = store.disk.position();
        let position = record.map_or(first, |record| store.keep(record));
        if let Waiting::Publish(batch) = &then {
            self.keeping.note_unflushed(position, batch.last);
        }
        self.keeping.waiting.push_back(Queued { first, position, then });
        let now_ms = self.node.wall_clock();
        if let Some(store) = &mut self.keeping.store {
            store.disk.poll(now_ms);
        }
        self.carry_out_kept();
    }

    /// Does something when everything that was written until now is closed and in the journal: at once, if that can be.
    pub(super) fn when_closed(&mut self, then: Waiting) {
        self.keeping.closing.push_back((self.node.keyspace.clock(), then));
        // Most pipelines end within the moments that this waits for them.
        if self.close_logged() {
            self.go_on_closing();
        }
    }

    fn go_on_closing(&mut self) {
        if self.keeping.closing.is_empty() || !self.keeping.has_room() {
            return;
        }
        let closed = self.close_what_ended();
        while let Some((_, then)) = self.keeping.closing.pop_front_if(|(clock, _)| *clock <= closed) {
            self.keep(None, then);
        }
    }

    /// Has everything flushed that was kept until now: up to where that is, how far the disk is, and whose store it is.
    pub(super) fn flush_all(&mut self) -> Option<(u64, Arc<Progress>, StoreOwner)> {
        let store = self.keeping.store.as_mut()?;
        store.disk.command(Command::Flush);
        Some((store.disk.position(), Arc::clone(store.progress()), store.checkpoints.owner))
    }

    /// Whether state of a peer waits to be merged.
    pub(super) fn is_merging(&self) -> bool {
        let merges = |waiting: &Waiting| matches!(waiting, Waiting::MergeSlots { .. } | Waiting::MergeListing { .. });
        self.state.is_merging()
            || self.keeping.held.iter().chain(&self.keeping.waiting).any(|queued| merges(&queued.then))
    }

    /// A session does not stand still while the disk, or a move, has something of it: a large chunk takes a slow disk longer
    /// than a session may.
    pub(super) fn note_queued_state(&mut self, now: Millis) {
        let queued = self.keeping.held.iter().chain(&self.keeping.waiting).map(|queued| &queued.then);
        let waiting = queued.chain(self.keeping.closing.iter().map(|(_, then)| then));
        let sessions: BTreeSet<_> = waiting.filter_map(Waiting::session).collect();
        sessions.into_iter().for_each(|(peer, session)| self.hub.state_waits(peer, session, now));
    }

    /// Keeps a batch, then publishes or applies it.
    pub(super) fn keep_batch(&mut self, batch: &Arc<Batch>, then: Waiting) {
        let record = Record::Batch { previous: batch.previous.last, last: batch.last, bytes: batch.bytes().clone() };
        self.keep(Some(record), then);
    }

    /// Does what waited for records that are written by now, as much of it as one turn may: a disk that stood still has
    /// seconds of it, and links, their heartbeats and own batches are due meanwhile.
    pub(super) fn carry_out_kept(&mut self) {
        let began_ns = self.node.monotonic_ns();
        self.keeping.is_behind = self.carry_out_while(|peers| peers.node.since(began_ns) <= KEPT_TURN_MAX);
    }

    /// Does what waited for records that are written by now, one thing after the other as long as `may_go_on` says so. True
    /// if there is more.
    fn carry_out_while(&mut self, may_go_on: impl Fn(&Self) -> bool) -> bool {
        while let Some(store) = &self.keeping.store {
            if self.keeping.held.is_taken_up() {
                return false;
            }
            let written = store.progress().written();
            let Some(queued) = self.keeping.waiting.pop_front_if(|queued| queued.position <= written) else {
                return false;
            };
            self.carry_out(queued);
            if !may_go_on(self) {
                return true;
            }
        }
        false
    }

    /// Does something at once, without waiting for the journal.
    pub(super) fn do_without_record(&mut self, then: Waiting) {
        let first = self.keeping.store.as_ref().map_or(0, |store| store.disk.position());
        let queued = Queued { first, position: first, then };
        if self.keeping.held.is_taken_up() {
            self.put_aside(queued);
        } else {
            self.carry_out(queued);
        }
    }

    /// Does it.
    pub(super) fn do_now(&mut self, queued: Queued) {
        let now = self.now();
        match queued.then {
            Waiting::Publish(batch) => {
                self.audit.note_closed(batch.last);
                self.hub.publish(batch, now);
            }
            Waiting::Apply(batch) => {
                let applied = self.apply(&batch);
                debug_assert!(applied.is_ok(), "it is applied where it can be put aside");
            }
            Waiting::Settled => self.hub.open_batch_closed(now),
            Waiting::Moment(clock) => self.take_moment(clock),
            Waiting::Drained { peer, id } => self.answer_drain(peer, id),
            Waiting::Backup(order) => self.begin_backup(order),
            Waiting::Walked(walk) => self.take_walk(walk),
            Waiting::SessionBegun { peer, session } => self.hub.session_begun(peer, session, now),
            Waiting::ReadSlots { peer, session, from_slot, since, bytes_max } => {
                self.read_slots((peer, session), from_slot, since, bytes_max);
            }
            Waiting::ReadListing { peer, session, slots, bytes_max } => {
                self.read_listing((peer, session), &slots, bytes_max);
            }
            Waiting::SlotsRead { peer, session, next, bytes } => self.hub.slots_read(peer, session, next, bytes, now),
            Waiting::ListingRead { peer, session, covered, bytes } => {
                self.hub.listing_read(peer, session, covered, bytes, now);
            }
            Waiting::MergeSlots { peer, session, payload } => {
                self.begin_merging((peer, session), queued.first, payload, false);
            }
            Waiting::MergeListing { peer, session, payload } => {
                self.begin_merging((peer, session), queued.first, payload, true);
            }
            Waiting::SessionFinished { peer, session, vector } => self.finish_session(peer, session, &vector),
        }
    }

    /// Sends slots that were read out, once the changes in them are kept: what a peer has of this node must be found in
    /// its journal, if it goes on under its number after a crash.
    pub(super) fn send_when_kept(&mut self, read: Waiting) {
        if self.keeping.is_on() {
            self.when_closed(read);
        } else {
            self.keep(None, read);
        }
    }

    /// Whether everything of this node that is closed is published. The disk is not waited for.
    pub(super) fn is_published(&mut self) -> bool {
        self.keeping.is_behind = self.carry_out_while(|_| true);
        let sealed = self.keeping.sealed.last;
        sealed <= self.hub.closed_vector().of(sealed.author())
    }

    /// Looks at the disk: what is written is carried out, what is durable is told, and checkpoints go on.
    pub(super) fn look_at_disk(&mut self) {
        self.go_on_closing();
        self.take_up_held();
        let closing = (!self.keeping.closing.is_empty()).then_some(CLOSING_INTERVAL);
        if !self.keeping.is_on() {
            self.keeping.due = closing.map(|wait| Instant::now() + wait);
            return;
        }
        let (now, wall) = (Instant::now(), self.node.wall_clock());
        let mut in_place = None;
        if let Some(store) = &mut self.keeping.store {
            if self.keeping.config_changed.swap(false, Ordering::AcqRel) {
                store.set_config(&self.node.config.load());
            }
            in_place = store.disk.poll(wall).map(Duration::from_millis);
        }
        self.carry_out_kept();
        self.note_durable();
        while let Some(done) = self.poll_background() {
            self.take_done(done);
        }
        self.go_on_with_checkpoint();
        let busy = self.keeping.store.as_ref().is_some_and(|store| store.background.is_busy_in_place());
        let in_place =
            in_place.map(|wait| wait.max(IN_PLACE_INTERVAL)).into_iter().chain(busy.then_some(IN_PLACE_INTERVAL));
        self.keeping.due = in_place.chain(closing).min().map(|wait| now + wait);
        if self.keeping.space_at.is_none_or(|at| at <= now) {
            self.keeping.space_at = Some(now + LOOK_INTERVAL);
            self.judge_disk();
        }
    }

    /// SUBTLE: an image that is made in place would wait for a slot that this thread has frozen.
    fn poll_background(&mut self) -> Option<Done> {
        let holds_slot = self.state.holds_slot();
        let store = self.keeping.store.as_mut()?;
        if holds_slot && store.background.is_busy_in_place() { None } else { store.background.poll() }
    }

    /// Tells clients how far their writes are durable.
    fn note_durable(&mut self) {
        let Some(store) = &self.keeping.store else { return };
        let durable = store.progress().durable();
        // SUBTLE: read after that. What lies behind a hole is on the disk, and no start could build on it before a
        // checkpoint covers the hole.
        if store.progress().health() != Health::Sound {
            return;
        }
        let mut last = None;
        while let Some((_, stamp)) = self.keeping.unflushed.pop_front_if(|(position, _)| *position <= durable.to) {
            last = Some(stamp);
        }
        if let Some(stamp) = last {
            self.node.durability.note_durable(stamp);
        }
    }

    /// Follows the disk's health: writes are refused where durability was asked for and cannot be had, or where too much
    /// waits.
    pub(super) fn judge_disk(&mut self) {
        let wall = self.node.wall_clock();
        let Some(store) = &mut self.keeping.store else { return };
        let health = store.progress().health();
        let always = self.node.durability.replies_wait();
        // Not what peers send of their state: nobody writes faster than the disk because of that, and it has a bound.
        let of_state: u64 = self.keeping.waiting.iter().map(|queued| queued.then.state_bytes()).sum();
        let queued = store.progress().queued_bytes().saturating_sub(of_state);
        let undrained = self.node.keyspace.undrained_bytes() + queued;
        self.node.durability.set_broken(health != Health::Sound);
        let changes = self.node.console.metrics.keyspace.changes_made.value();
        store.describe(&self.node.durability, changes, wall);
        note_latency(&self.node, store.progress());
        let sentence = match (&health, always) {
            (Health::Dead(sentence), _) => Some(sentence.clone()),
            (Health::Full(sentence) | Health::Failing(sentence), true) => Some(sentence.clone()),
            (Health::Sound, _) | (Health::Full(_) | Health::Failing(_), false) => {
                (undrained > UNDRAINED_BYTES_MAX).then(|| "the disk is too slow for what is written".to_owned())
            }
        };
        let refusal = sentence.map(|sentence| format!("MISCONF Errors writing to the AOF file: {sentence}"));
        if health.name() != self.keeping.health.name() {
            let metrics = &self.node.console.metrics;
            metrics.replication.limits_met.add("disk_health_changed", 1);
        }
        self.keeping.health = health;
        if self.refusals.disk.is_none() && refusal.is_some() {
            self.node.console.metrics.replication.limits_met.add("disk_refuses_writes", 1);
        }
        if self.refusals.disk != refusal {
            self.refusals.disk = refusal;
            self.update_condition();
        }
    }

    fn take_done(&mut self, done: Done) {
        let wall = self.node.wall_clock();
        match done {
            // One that was given up on its way may have ended at the same moment, and its files are removed by then.
            Done::Walked(run, _) if !self.keeping.is_walking(run) => {}
            Done::Walked(_, Ok(walk)) => self.when_closed(Waiting::Walked(walk)),
            Done::Walked(_, Err(error)) | Done::Committed(Err(error)) => {
                tracing::error!(%error, "a checkpoint could not be written; the one before stands");
                self.give_up_checkpoint(Hindrance::from(&error), wall);
            }
            Done::Discarded(Ok(())) => {}
            Done::Discarded(Err(error)) => {
                tracing::warn!(%error, "what a checkpoint has left could not be removed; the next one tries again");
            }
            Done::Committed(Ok(manifest)) => {
                let Some(store) = &mut self.keeping.store else { return };
                let CheckpointState::Committing { clock, bytes } = store.checkpoints.state else { return };
                let (number, images) = (manifest.number, manifest.images.len());
                let position = store.checkpoints.committed(manifest, clock, bytes, wall);
                store.disk.command(Command::Cover(position));
                store.note_sound_checkpoint();
                if std::mem::take(&mut self.keeping.counts_too_much) {
                    store.checkpoints.unchanged_since = None;
                }
                self.note_kept_again();
                self.copy_catalogue();
                tracing::info!(number, images, bytes, "a checkpoint is finished");
                self.end_checkpoint(false);
            }
            Done::Read(wish, batches) => self.take_read(wish, batches),
        }
    }

    /// The running checkpoint comes to nothing. What it has written goes at once: it may be what fills the disk.
    fn give_up_checkpoint(&mut self, why: Hindrance, now_ms: u64) {
        if let Some(store) = &mut self.keeping.store {
            store.checkpoints.failed(why, now_ms);
            let (owner, before) = (store.checkpoints.owner, store.checkpoints.last.clone());
            store.background.start(Task::Discard { fs: store.fs(), owner, before });
        }
        self.end_checkpoint(true);
    }

    /// Everything that may be in an image is in the journal: once that is durable so far, the checkpoint may count.
    fn take_walk(&mut self, walk: Box<Walk>) {
        let end = self.hub.closed_vector().clone();
        let Some(store) = &mut self.keeping.store else { return };
        // It was given up while it waited, and another one may run by now.
        if !store.checkpoints.is_walking(walk.run) {
            return;
        }
        let position = store.disk.position();
        store.disk.command(Command::Flush);
        store.checkpoints.state = CheckpointState::Flushing { walk, position, end };
    }

    /// Says that a checkpoint has ended; what is shown of it is right before anybody is told.
    fn end_checkpoint(&mut self, failed: bool) {
        self.judge_disk();
        self.node.durability.note_checkpoint(failed);
    }

    fn take_read(&mut self, wish: ReadBack, batches: Result<Vec<Vec<u8>>, storage::StoreError>) {
        let batches = batches.unwrap_or_else(|error| {
            tracing::warn!(%error, "the journal could not be read back for a peer");
            Vec::new()
        });
        let decoded = batches.into_iter().map_while(|bytes| Batch::decode(Bytes::from(bytes)).ok()).collect();
        self.hub.journal_read(wish.peer, wish.origin, wish.after, decoded);
    }

    /// Reads batches back for a peer that the ring no longer reaches back to.
    pub(super) fn read_back(&mut self, wish: ReadBack) {
        match &mut self.keeping.store {
            Some(store) => store.background.start(Task::Read(wish)),
            None => self.hub.journal_read(wish.peer, wish.origin, wish.after, Vec::new()),
        }
    }

    /// Begins a checkpoint that is due, and makes one count that is durable.
    fn go_on_with_checkpoint(&mut self) {
        let wall = self.node.wall_clock();
        let has_read = self.has_read_all();
        let Some(store) = &mut self.keeping.store else { return };
        let durable = store.progress().durable();
        if store.checkpoints.is_doomed(durable) {
            let is_full = matches!(store.progress().health(), Health::Full(_));
            let why = if is_full { Hindrance::Full } else { Hindrance::Other };
            tracing::error!(
                "a checkpoint cannot count, as the journal has lost something since; the one before stands"
            );
            self.give_up_checkpoint(why, wall);
            return;
        }
        if let Some((walk, end)) = store.checkpoints.take_durable(durable) {
            let notes = encode_tails(&self.hub.tails());
            let keys = (0..keyspace::DATABASES).map(|database| self.node.keyspace.len(database)).sum();
            store.background.start(Task::Commit { walk, end, notes, keys, now_ms: wall });
            return;
        }
        let progress = store.progress();
        let heals =
            (progress.health() != Health::Sound && progress.can_heal()) || (self.keeping.is_incomplete && self.filled);
        let appended = progress.appended_bytes.load(Ordering::Relaxed);
        let wished = self.node.durability.is_wished();
        let config = self.node.config.load();
        // An image of slots that are still being read would leave out what they have.
        if has_read && store.checkpoints.is_due(&config, appended, wished, heals, wall) {
            self.node.durability.take_wish();
            self.begin_checkpoint(appended);
        }
    }

    fn begin_checkpoint(&mut self, appended: u64) {
        let wall = self.node.wall_clock();
        let changes = self.node.console.metrics.keyspace.changes_made.value();
        let Some(store) = &self.keeping.store else { return };
        // Every record before this place is applied, and the vector says so.
        let position = self.carried_out(store.disk.position());
        let start = CheckpointStart { position, vector: self.hub.closed_vector().clone() };
        let Some(store) = &mut self.keeping.store else { return };
        let clock = self.node.keyspace.clock();
        let before = store.checkpoints.last.as_ref();
        let merged = std::mem::take(&mut store.checkpoints.merged);
        let unchanged_since = store.checkpoints.unchanged_since.filter(|_| !merged && before.is_some());
        let fs = store.fs();
        let writer = CheckpointWriter::begin(fs, store.checkpoints.owner, before, start);
        let writer = writer.read_back_from(store.reader.from());
        let run = store.checkpoints.begun(position, appended, changes, wall);
        let walk = Walk::new(run, writer, clock, unchanged_since);
        if merged {
            // Until this one counts, the next one must write everything as well.
            store.checkpoints.unchanged_since = None;
        }
        self.keeping.begun_with_all = self.filled;
        store.background.start(Task::Walk(Box::new(walk)));
        self.node.durability.change_state(|state| state.checkpoint_since_ms = Some(wall));
    }

    /// The hub is gone that wanted what waits, or would have got it. The next one asks for all that it needs, and own batches
    /// stay in the journal. Returns the last stamp of any of those. No slot may be half merged.
    pub(super) fn forget_for_hub(&mut self) -> Stamp {
        self.keeping.waiting.retain(|queued| !queued.then.is_for_hub());
        self.keeping.closing.retain(|(_, then)| !then.is_for_hub());
        self.forget_held();
        self.keeping.preparations.forget_all();
        self.forget_all_state();
        std::mem::take(&mut self.keeping.sealed).last
    }

    /// A checkpoint is finished. If it has everything, the next start need not fill.
    fn note_kept_again(&mut self) {
        if !self.keeping.begun_with_all || !self.keeping.is_incomplete {
            return;
        }
        let noted = self
            .rows
            .is_unfilled()
            .and_then(|is_unfilled| if is_unfilled { self.rows.set_unfilled(false) } else { Ok(()) })
            .and_then(|()| self.rows.is_forked())
            .and_then(|is_forked| if is_forked { self.rows.set_forked(false) } else { Ok(()) });
        match noted {
            Ok(()) => self.keeping.is_incomplete = false,
            // The next checkpoint tries it again.
            Err(error) => tracing::error!(%error, "that no keys are missing any more cannot be noted"),
        }
    }

    /// The disk works: what of the catalogue could not be written on it, such as its copy, is written now.
    fn copy_catalogue(&self) {
        if let Err(error) = self.rows.catalogue().flush() {
            tracing::warn!(%error, "the catalogue could not be made durable");
        }
    }

    /// The node has less than was kept: the next checkpoint that begins writes everything, as soon as it can. One that runs
    /// began when the node still took what it had for all there is.
    pub(super) fn note_incomplete(&mut self) {
        self.keeping.is_incomplete = true;
        self.keeping.begun_with_all = false;
        let Some(store) = &mut self.keeping.store else { return };
        store.checkpoints.unchanged_since = None;
        store.reader.forget_earlier_lives();
        match store.checkpoints.state {
            CheckpointState::Idle => {}
            CheckpointState::Walking | CheckpointState::Flushing { .. } => {
                self.give_up_checkpoint(Hindrance::Other, self.node.wall_clock());
            }
            CheckpointState::Committing { .. } => self.keeping.counts_too_much = true,
        }
    }

    /// State was merged: what slots have seen of it is in no digest.
    pub(super) fn note_merged(&mut self) {
        if let Some(store) = &mut self.keeping.store {
            store.checkpoints.merged = true;
        }
    }

    /// The vector has risen without a batch: a number that ended is closed here.
    pub(super) fn keep_raised(&mut self, vector: VersionVector) {
        if let Some(store) = &mut self.keeping.store {
            store.keep(Record::Raised(vector));
        }
    }

    /// Follows changes of the settings.
    fn watch_config(&mut self) {
        let (changed, news) = (Arc::clone(&self.keeping.config_changed), Arc::clone(&self.keeping.news));
        let node = Arc::downgrade(&self.node);
        self.node.config.on_change(move |_, after| {
            if let Some(node) = node.upgrade() {
                let always = crate::persistence::replies_wait(after);
                node.durability.set_policy(crate::persistence::is_on(after), always);
            }
            changed.store(true, Ordering::Release);
            news.notify_one();
        });
    }

    /// Everything is written, flushed and ended in order, as fast as the disk can. False if it could not be made durable.
    pub(super) fn stop_disk(&mut self) -> bool {
        let is_closed = self.close_all_logged();
        let Some(store) = self.keeping.store.take() else { return true };
        let position = store.disk.position();
        let progress = store.disk.stop(self.node.wall_clock());
        is_closed && progress.health() == Health::Sound && progress.durable().to >= position
    }
}

/// Tells the latency monitor of the longest write, and the longest flush that replies waited for, since it was told last.
fn note_latency(node: &Node, progress: &Progress) {
    let peak = |of: &AtomicU64| Duration::from_micros(of.swap(0, Ordering::Relaxed));
    let (wrote, flushed) = (peak(&progress.write_us_peak), peak(&progress.sync_us_peak));
    node.latency.note(Event::AofWrite, wrote, || node.wall_clock());
    if node.durability.replies_wait() {
        node.latency.note(Event::AofFsyncAlways, flushed, || node.wall_clock());
    }
}

mod waiting;

pub(super) use waiting::{Queued, Waiting};

#[cfg(test)]
mod tests;
