//! The stack on which commands run that run scripts.
//!
//! Such a command runs here from beginning to end, with the locks of its keys on this stack. If its script runs for very
//! long it is put aside: the worker leaves the stack, tells others that the node is busy, and goes on now and then. What
//! the command needs is moved here for that time, the client's state and its reply included.

use super::machine::{Machine, Words};
use super::run::slices;
use crate::client::ClientState;
use crate::command::table::Entry;
use crate::dispatch::{Executed, execute_on_stage};
use crate::limits::COMMAND_STACK_BYTES;
use crate::node::Node;
use crate::worker::Worker;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use crdt::UnixMillis;
use keyspace::Place;
use resp::{Reply, Version};
use std::cell::RefCell;
use std::rc::Weak;
use std::sync::Arc;

/// What a command that runs scripts is given beside its call.
pub struct Stage<'s> {
    /// The worker's virtual machine, made when it is first needed.
    pub machine: &'s RefCell<Option<Machine>>,
    /// The node.
    pub node: std::sync::Weak<Node>,
    yielder: &'s Yielder<Input, Output>,
}

impl Stage<'_> {
    /// Lets the worker serve others.
    pub fn pause(&self) {
        self.yielder.suspend(Output::Aside);
    }
}

/// A command and all that it needs.
struct Task {
    client: ClientState,
    reply: Reply,
    now: UnixMillis,
    /// Where its first key is looked for, if that is known.
    place: Option<Place>,
    entry: Option<&'static Entry>,
    words: Words,
    executed: Executed,
    /// How long the reply was before.
    before: usize,
}

enum Input {
    Begin(Box<Task>),
    Continue,
}

enum Output {
    Done(Box<Task>),
    Aside,
}

/// A worker's stack for such commands.
pub struct CommandStack {
    coroutine: Coroutine<Input, Output, (), DefaultStack>,
    spare: Option<Box<Task>>,
    /// A command was put aside here, and has not ended.
    is_aside: bool,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It has ended.
    Ended(Executed),
    /// Its script runs for long: go on later.
    Aside,
    /// It was not begun: another one was put aside, and has not ended.
    Occupied,
}

impl CommandStack {
    fn new(worker: Weak<Worker>, node: std::sync::Weak<Node>) -> std::io::Result<Self> {
        let stack = DefaultStack::new(COMMAND_STACK_BYTES)?;
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<Input, Output>, first| {
            let machine = RefCell::new(None);
            let stage = Stage { machine: &machine, node, yielder };
            let mut input = first;
            loop {
                let Input::Begin(mut task) = input else { return };
                if let Some(worker) = worker.upgrade() {
                    task.execute(&worker, &stage);
                }
                input = yielder.suspend(Output::Done(task));
            }
        });
        Ok(Self { coroutine, spare: None, is_aside: false })
    }

    fn resume(&mut self, input: Input, client: &mut ClientState, reply: &mut Reply) -> Ran {
        match self.coroutine.resume(input) {
            CoroutineResult::Yield(Output::Aside) => {
                self.is_aside = true;
                Ran::Aside
            }
            CoroutineResult::Yield(Output::Done(mut task)) => {
                self.is_aside = false;
                std::mem::swap(&mut task.client, client);
                std::mem::swap(&mut task.reply, reply);
                let executed = task.executed;
                self.spare = Some(task);
                Ran::Ended(executed)
            }
            CoroutineResult::Return(()) => unreachable!("the stack of commands ends with its worker"),
        }
    }
}

impl Task {
    fn execute(&mut self, worker: &Worker, stage: &Stage<'_>) {
        let Self { client, reply, now, place, entry, words, executed, .. } = self;
        if let Some(entry) = entry {
            *executed = execute_on_stage(worker, client, reply, *now, (entry, *place), &slices(words), stage);
        }
    }
}

/// Runs a command that runs scripts.
pub fn begin(
    worker: &Worker,
    client: &mut ClientState,
    reply: &mut Reply,
    now: UnixMillis,
    (entry, place): (&'static Entry, Option<Place>),
    args: &[&[u8]],
) -> Ran {
    let mut stack = worker.command_stack.borrow_mut();
    if stack.is_none() {
        match CommandStack::new(worker.me(), Arc::downgrade(&worker.node)) {
            Ok(made) => *stack = Some(made),
            Err(error) => {
                tracing::error!(%error, "no memory for the stack of scripts");
                reply.error("ERR no memory for the stack of scripts");
                return Ran::Ended(Executed::Done);
            }
        }
    }
    let Some(stack) = stack.as_mut() else { return Ran::Ended(Executed::Done) };
    if stack.is_aside {
        return Ran::Occupied;
    }
    let mut task = stack.spare.take().unwrap_or_else(|| {
        let spare = ClientState::new(Arc::clone(&client.presence), Arc::clone(&worker.tally), 0, &worker.node.acl);
        Box::new(Task {
            client: spare,
            reply: Reply::new(Version::Resp2),
            now,
            place: None,
            entry: None,
            words: Words::default(),
            executed: Executed::Done,
            before: 0,
        })
    });
    task.words.clear();
    args.iter().for_each(|word| task.words.push(word));
    (task.now, task.entry, task.place) = (now, Some(entry), place);
    (task.before, task.executed) = (reply.len(), Executed::Done);
    std::mem::swap(&mut task.client, client);
    std::mem::swap(&mut task.reply, reply);
    stack.resume(Input::Begin(task), client, reply)
}

/// Goes on with the command that was put aside; says how long the reply was before it.
pub fn go_on(worker: &Worker, client: &mut ClientState, reply: &mut Reply) -> (Ran, usize) {
    let mut stack = worker.command_stack.borrow_mut();
    let Some(stack) = stack.as_mut() else { return (Ran::Ended(Executed::Done), reply.len()) };
    let ran = stack.resume(Input::Continue, client, reply);
    (ran, stack.spare.as_ref().map_or(0, |task| task.before))
}
