//! One run of a script: what it asks of the node is done here, where the command's locks are.

use super::cache::Reach;
use super::machine::{Exchange, Failure, Job, Machine, Question, Stop, Words};
use super::running::About;
use super::shebang::ScriptFlags;
use super::stage::Stage;
use crate::acl::{Denied, Place};
use crate::command::acl::note_denied;
use crate::command::table::Entry;
use crate::command::{Call, CommandError, Flags, Keys};
use crate::node::Node;
use keyspace::slot_of;
use resp::Reply;
use smallvec::SmallVec;
use std::rc::Rc;

/// What is to be run, and how.
pub struct Plan<'p> {
    /// The name of the function, or the digest of the script.
    pub name: &'p [u8],
    /// Whether it is a function of a library.
    pub is_function: bool,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// The command that runs it must not write.
    pub is_read_only: bool,
    /// The keys that it declares: their slots are locked as long as it runs.
    pub keys: &'p [&'p [u8]],
    /// Which keys its runs have used.
    pub reach: &'p Reach,
}

impl Plan<'_> {
    /// Whether it may run at all now.
    fn admit(&self, node: &Node) -> Result<(), CommandError> {
        if self.flags.contains(ScriptFlags::COMPATIBLE) {
            return Ok(());
        }
        let may_write = !self.flags.contains(ScriptFlags::NO_WRITES);
        if self.is_read_only && may_write {
            return Err(CommandError::Plain("ERR Can not execute a script with write flag using *_ro command."));
        }
        if may_write && let Some(reason) = node.condition.writes_refused() {
            return Err(CommandError::Detailed(reason));
        }
        let needs_memory = may_write && !self.flags.contains(ScriptFlags::ALLOW_OOM);
        if needs_memory && node.condition.is_out_of_memory() {
            return Err(CommandError::Plain(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
        Ok(())
    }

    fn may_write(&self) -> bool {
        !self.is_read_only && !self.flags.contains(ScriptFlags::NO_WRITES)
    }
}

/// Runs a script and answers what it returns. `job` is asked for it again if it has to begin again with other locks.
pub fn run(
    call: &mut Call<'_, '_>,
    machine: &mut Machine,
    plan: &Plan<'_>,
    words: &[&[u8]],
    job: &mut dyn FnMut(&Machine) -> mlua::Result<Job>,
) -> Result<(), CommandError> {
    let Some(stage) = call.stage else { return Err(CommandError::Plain(NO_STAGE)) };
    plan.admit(call.node)?;
    let exchange = Rc::clone(&machine.exchange);
    let (database, was_in_exec) = (call.client.database, call.client.is_in_exec);
    call.client.is_in_exec = true;
    if !was_in_exec {
        call.client.step_us = None;
    }
    let threshold_ns = machine.threshold_ns();
    let shown = call.client.showing.count();
    let mut is_again = true;
    while std::mem::take(&mut is_again) {
        let job = job(machine).map_err(|error| {
            call.client.is_in_exec = was_in_exec;
            CommandError::Detailed(format!("ERR {error}"))
        })?;
        let mut runner = Runner { plan, words, exchange: &exchange, was_in_exec, has_strayed: false };
        let mut question = machine.begin(job, call.reply.version(), threshold_ns);
        loop {
            match question {
                Question::Done => break,
                Question::Pause => runner.pause(call, stage),
                Question::Check => exchange.allowed.set(runner.is_allowed(call)),
                Question::Call => runner.call(call),
            }
            question = machine.go_on();
        }
        call.client.database = database;
        if exchange.stop.get() == Some(Stop::Again) {
            machine.end();
            is_again = call.store.start_again_wide();
            if is_again {
                call.client.showing.again_from(shown);
                continue;
            }
            let refusal = call.node.scripts.running.refusal();
            runner.end(call);
            call.client.is_in_exec = was_in_exec;
            return Err(CommandError::Plain(refusal));
        }
        runner.end(call);
        if exchange.stop.get() == Some(Stop::Frozen) {
            machine.end();
            call.client.is_in_exec = was_in_exec;
            return Err(CommandError::KeyIsMoved);
        }
        if !runner.has_strayed && exchange.failed.borrow().is_none() {
            plan.reach.note_declared();
        }
    }
    call.client.is_in_exec = was_in_exec;
    let answered = answer(call, &exchange, plan);
    machine.end();
    answered
}

const NO_STAGE: &str = "ERR a script cannot be run here";

/// Answers what the script has returned, or the error that it ended with.
fn answer(call: &mut Call<'_, '_>, exchange: &Exchange, plan: &Plan<'_>) -> Result<(), CommandError> {
    let failed = exchange.failed.borrow();
    let Some(Failure { text, place }) = &*failed else {
        call.reply.append(exchange.answer.borrow().bytes());
        return Ok(());
    };
    let killed_at = exchange.killed_at.take();
    let (text, place) = match exchange.stop.get() {
        // In the words of Redis for both.
        Some(Stop::Killed) => ("ERR Script killed by user with SCRIPT KILL...", &killed_at),
        Some(Stop::Again | Stop::Frozen) | None => (text.as_str(), place),
    };
    Err(CommandError::Detailed(match place {
        Some(place) => format!("{text} script: {}, on {place}.", String::from_utf8_lossy(plan.name)),
        None => text.to_owned(),
    }))
}

struct Runner<'r> {
    plan: &'r Plan<'r>,
    words: &'r [&'r [u8]],
    exchange: &'r Exchange,
    /// A transaction around it has begun the group, and ends it.
    was_in_exec: bool,
    /// It has used a key that it did not declare.
    has_strayed: bool,
}

type Arguments<'w> = SmallVec<[&'w [u8]; 8]>;

impl Runner<'_> {
    /// The script has run for longer than it should: others are told that the node is busy, and served.
    #[cold]
    fn pause(&mut self, call: &mut Call<'_, '_>, stage: &Stage<'_>) {
        let run = &self.exchange.run;
        if !run.is_long() {
            let about = About {
                name: String::from_utf8_lossy(self.plan.name).into_owned(),
                words: self.words.iter().map(|word| word.to_vec()).collect(),
                is_function: self.plan.is_function,
                began_ns: self.exchange.began_ns.get(),
            };
            tracing::warn!(script = about.name, "a script has run for longer than busy-reply-threshold");
            call.node.scripts.running.note_long(run, about, |is_busy| call.node.set_busy(is_busy));
        }
        stage.pause();
    }

    /// The script has ended.
    fn end(&mut self, call: &mut Call<'_, '_>) {
        let run = &self.exchange.run;
        if run.is_long() {
            call.node.scripts.running.note_end(run, |is_busy| call.node.set_busy(is_busy));
            call.node.condition.let_look();
        }
        if run.has_written() && !self.was_in_exec {
            call.store.end_group();
        }
    }

    /// Executes the command that the script asks for.
    fn call(&mut self, call: &mut Call<'_, '_>) {
        let words = self.exchange.words.borrow();
        let args: Arguments<'_> = words.iter().collect();
        let mut reply = self.exchange.reply.borrow_mut();
        reply.truncate(0);
        reply.set_version(self.exchange.version.get());
        if let Err(error) = self.try_call(call, &args, &mut reply) {
            reply.truncate(0);
            reply.error(&error.to_string());
        }
    }

    fn try_call(&mut self, call: &mut Call<'_, '_>, args: &[&[u8]], reply: &mut Reply) -> Result<(), CommandError> {
        let unknown = CommandError::Plain("ERR Unknown Redis command called from script");
        let named = self.exchange.named.get().or_else(|| call.node.table.find(args[0]));
        self.exchange.named.set(named);
        let entry = named.and_then(|named| called(named, args)).ok_or(unknown)?;
        self.admit(call, entry, args)?;
        permitted(call, entry, args)?;
        if !self.reach(call, entry, args)? {
            // It begins again.
            return Ok(());
        }
        // With the slots locked: nobody freezes keys in them from here on.
        if call.node.keyspace.has_frozen() && meets_frozen(call, entry, args) {
            return self.stop_at_frozen();
        }
        let flags = entry.command.flags;
        if flags.contains(Flags::WRITE) {
            if !self.exchange.run.has_written() && !self.was_in_exec {
                call.store.begin_group();
            }
            self.exchange.run.note_write();
        }
        call.store.begin_command();
        let mut inner =
            Call { store: &mut *call.store, reply, client: &mut *call.client, node: call.node, stage: None };
        let result = crate::dispatch::run_inner_handler(&mut inner, entry, args);
        call.client.tally.looked(flags, call.store.lookups());
        if call.node.monitors.is_watched() {
            crate::dispatch::show_of_script(call.node, call.client, entry, args);
        }
        let waits = [call.client.order.take().is_some(), call.client.wish.take().is_some()];
        if call.client.waiting.take().is_some() || waits.contains(&true) {
            return Err(CommandError::Plain(NOT_FROM_SCRIPTS));
        }
        if let Err(error) = &result {
            call.client.tally.failed(entry.ordinal, &error.to_string());
        }
        result
    }

    /// Whether the command may be called by this script now.
    fn admit(&self, call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<(), CommandError> {
        let (flags, condition) = (entry.command.flags, &call.node.condition);
        if !entry.takes(args.len()) {
            return Err(CommandError::Plain("ERR Wrong number of args calling Redis command from script"));
        }
        if flags.contains(Flags::NO_SCRIPT) {
            return Err(CommandError::Plain(NOT_FROM_SCRIPTS));
        }
        if flags.contains(Flags::WRITE) {
            if !self.plan.may_write() {
                return Err(CommandError::Plain("ERR Write commands are not allowed from read-only scripts."));
            }
            if let Some(reason) = condition.writes_refused() {
                return Err(CommandError::Detailed(reason));
            }
        }
        // What has begun to write may end: half of it would be worse.
        let may_exceed = self.plan.flags.contains(ScriptFlags::ALLOW_OOM) || self.exchange.run.has_written();
        if flags.contains(Flags::DENY_OOM) && !may_exceed && condition.is_out_of_memory() {
            return Err(CommandError::Plain("OOM command not allowed when used memory > 'maxmemory'."));
        }
        Ok(())
    }

    /// Sees to it that the slots of a command's keys are locked. False if the script has to begin again for that.
    fn reach(&mut self, call: &mut Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<bool, CommandError> {
        let keys = entry.command.keys;
        let needs_all = entry.command.flags.contains(Flags::WHOLE_DATABASE) || keys.are_open(args);
        let mut missing: SmallVec<[u16; 8]> = SmallVec::new();
        if needs_all {
            missing.extend((0..keyspace::SLOTS).find(|slot| !call.store.holds(*slot)));
        } else if !matches!(keys, Keys::None) {
            let mut strays: Arguments<'_> = SmallVec::new();
            let all_there = keys.positions(args, |position| {
                if let Some(key) = args.get(position)
                    && !self.declares(key)
                    && !call.store.holds(slot_of(key))
                {
                    missing.push(slot_of(key));
                    strays.push(key);
                }
            });
            if !all_there {
                // Its handler refuses it.
                return Ok(true);
            }
            let node = call.node;
            if node.condition.is_loading() && strays.iter().any(|key| !node.readiness.has(key)) {
                return Err(CommandError::Plain("LOADING Redis is loading the dataset in memory"));
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        self.has_strayed = true;
        self.plan.reach.note_open();
        if !call.store.is_wide() {
            if !self.exchange.run.has_written() && !self.was_in_exec {
                self.exchange.stop.set(Some(Stop::Again));
                return Ok(false);
            }
            if !call.store.try_widen() {
                return Err(CommandError::Plain(CONTENDED));
            }
        }
        let is_held = match needs_all {
            true => call.store.hold_all_also(),
            false => missing.iter().all(|slot| call.store.hold_also(*slot)),
        };
        if is_held { Ok(true) } else { Err(CommandError::Plain(CONTENDED)) }
    }

    /// Whether a key is surely one of those that the script declares: their slots need not be looked for.
    fn declares(&self, key: &[u8]) -> bool {
        self.plan.keys.iter().take(COMPARED_MAX).any(|declared| *declared == key)
    }

    /// The script waits for a key that is being moved: by being given again, unless something was done or somebody knows of
    /// it.
    #[cold]
    fn stop_at_frozen(&self) -> Result<(), CommandError> {
        let run = &self.exchange.run;
        if run.has_written() || run.is_long() || self.was_in_exec {
            return Err(CommandError::KeyIsMoved);
        }
        self.exchange.stop.set(Some(Stop::Frozen));
        Ok(())
    }

    /// Whether the client may call the command in the words; nothing if there is no such command.
    fn is_allowed(&self, call: &Call<'_, '_>) -> Option<bool> {
        let words = self.exchange.words.borrow();
        let args: Arguments<'_> = words.iter().collect();
        let entry = find(call.node, &args)?;
        Some(call.client.is_trusted() || call.client.user.may(entry, &args).is_ok())
    }
}

/// Whether a command works on a key that is being moved.
#[cold]
fn meets_frozen(call: &Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> bool {
    let (flags, keyspace) = (entry.command.flags, &call.node.keyspace);
    let writes = flags.contains(Flags::WRITE);
    if writes && flags.contains(Flags::WHOLE_DATABASE) {
        return keyspace.has_frozen();
    }
    let mut keys: Arguments<'_> = SmallVec::new();
    entry.command.keys.positions(args, |position| keys.extend(args.get(position).copied()));
    keyspace.meets_frozen(&keys, writes)
}

/// With so many declared keys a key is compared before its slot is looked for.
const COMPARED_MAX: usize = 4;

const NOT_FROM_SCRIPTS: &str = "ERR This Redis command is not allowed from script";

/// A script that had only used the keys that it declares, has written, and needs another one while another script
/// does the same: each could wait for the other for ever.
const CONTENDED: &str = "TRYAGAIN a key that the script does not declare cannot be locked now";

/// Whether the client may make this call itself.
#[inline]
fn permitted(call: &Call<'_, '_>, entry: &Entry, args: &[&[u8]]) -> Result<(), CommandError> {
    if call.client.is_trusted() {
        return Ok(());
    }
    call.client.user.may(entry, args).map_err(|denied| {
        note_denied(call.node, call.client, Place::Script, denied, (entry, args), call.now());
        CommandError::Plain(match denied {
            Denied::Command => "ERR The user executing the script can't run this command or subcommand",
            Denied::Key(_) => {
                "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
            }
            Denied::Channel(_) => "ERR The user executing the script can't publish to the channel mentioned in the command",
        })
    })
}

/// The command that these words call.
fn find(node: &Node, args: &[&[u8]]) -> Option<&'static Entry> {
    called(node.table.find(args[0])?, args)
}

/// The command that these words call, whose first one names this entry.
fn called(named: &'static Entry, args: &[&[u8]]) -> Option<&'static Entry> {
    match args.get(1) {
        Some(name) if !named.subcommands.is_empty() => named.subcommand(name),
        _ => Some(named),
    }
}

/// Words as slices.
pub fn slices(words: &Words) -> SmallVec<[&[u8]; 16]> {
    words.iter().collect()
}
