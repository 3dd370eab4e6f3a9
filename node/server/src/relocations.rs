//! The thread that renames, copies and moves large collections, in short steps ([`keyspace::Relocation`]).
//!
//! A handler hands the order in and is through; the connection waits for the outcome and answers. Where there is no such
//! thread, as in a simulation, handlers do it at once.

use crate::node::Node;
use crdt::Stamp;
use keyspace::{Database, Permission, Relocated, Relocation};
use parking_lot::Mutex;
use resp::Reply;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The way to the thread.
#[derive(Debug, Default)]
pub struct Relocations {
    orders: Mutex<Option<Sender<Order>>>,
}

/// A relocation that is under way, as its client's connection knows it.
#[derive(Debug)]
pub struct Relocating {
    /// What came of it.
    pub outcome: oneshot::Receiver<Relocated>,
    /// What is answered.
    pub answers: Answers,
}

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// `OK`, and an error if there is no such key.
    Ok,
    /// Whether it was done, and an error if there is no such key.
    WhetherDone,
    /// Whether it was done.
    WhetherThere,
}

struct Order {
    from: Database,
    source: Box<[u8]>,
    to: Database,
    target: Box<[u8]>,
    keeps_source: bool,
    replaces: bool,
    outcome: oneshot::Sender<Relocated>,
}

/// The thread works for so long without a pause, and pauses for so long: whoever shares the core is not kept waiting.
const WORK_MAX: Duration = Duration::from_micros(250);
const STEP_PAUSE: Duration = Duration::from_micros(100);

/// How often it is looked whether writes are still paused.
const PAUSED_LOOK: Duration = Duration::from_millis(2);
/// Between two looks whether somebody still waits for the end of the move before, and how many are taken: the thread of the
/// peers looks every two milliseconds, and may be busy.
const STILLNESS_LOOK: Duration = Duration::from_millis(1);
const STILLNESS_LOOKS_MAX: u32 = 100;

impl Relocations {
    /// Hands an order in. Nothing if there is no thread for it.
    pub fn order(&self, wish: &Relocation<'_>, answers: Answers) -> Option<Relocating> {
        let (outcome, came) = oneshot::channel();
        let Relocation { from, source, to, target, keeps_source, replaces } = *wish;
        let order = Order { from, source: source.into(), to, target: target.into(), keeps_source, replaces, outcome };
        self.orders.lock().as_ref()?.send(order).ok()?;
        Some(Relocating { outcome: came, answers })
    }
}

impl Relocating {
    /// Writes the reply.
    pub fn answer(&self, outcome: Option<Relocated>, reply: &mut Reply) {
        match (outcome, self.answers) {
            (None, _) => {
                reply.error("ERR it was not done, since the node is stopping or has a defect that its log tells")
            }
            (Some(Relocated::Refused | Relocated::Paused), _) => {
                reply.error("ERR writes were stopped before it was done")
            }
            (Some(Relocated::NoSource), Answers::Ok | Answers::WhetherDone) => reply.error("ERR no such key"),
            (Some(Relocated::Done(_)), Answers::Ok) => reply.ok(),
            // A target that may be replaced is in nobody's way.
            (Some(Relocated::Taken), Answers::Ok) => reply.ok(),
            (Some(outcome), Answers::WhetherDone | Answers::WhetherThere) => {
                reply.integer(i64::from(matches!(outcome, Relocated::Done(_))));
            }
        }
    }
}

/// The stamp of what was done.
pub fn stamp_of(outcome: Option<Relocated>) -> Stamp {
    match outcome {
        Some(Relocated::Done(stamp)) => stamp,
        Some(Relocated::NoSource | Relocated::Taken | Relocated::Refused | Relocated::Paused) | None => Stamp::ZERO,
    }
}

/// Starts the thread; it ends with the node.
pub fn start(node: &Arc<Node>) -> io::Result<()> {
    let mut rested = Instant::now();
    start_with(node, move || {
        if rested.elapsed() >= WORK_MAX {
            std::thread::park_timeout(STEP_PAUSE);
            rested = Instant::now();
        }
    })
}

fn start_with(node: &Arc<Node>, mut pause: impl FnMut() + Send + 'static) -> io::Result<()> {
    let (orders, taken) = channel();
    let weak = Arc::downgrade(node);
    let body = move || {
        while let Ok(order) = taken.recv() {
            let_others_first(&weak);
            if !work_off(&weak, order, &mut pause) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("relocate".to_owned()).spawn(body)?;
    *node.relocations.orders.lock() = Some(orders);
    Ok(())
}

/// Clients may order one move behind the other. What waits for a moment without any gets it, unless it does not come for so
/// long.
fn let_others_first(node: &Weak<Node>) {
    for _ in 0..STILLNESS_LOOKS_MAX {
        if !node.upgrade().is_some_and(|node| node.keyspace.is_stillness_wanted()) {
            return;
        }
        std::thread::park_timeout(STILLNESS_LOOK);
    }
}

/// Carries an order out as soon as writes are not paused. False if the node is gone.
fn work_off(node: &Weak<Node>, order: Order, pause: &mut dyn FnMut()) -> bool {
    loop {
        let Some(node) = node.upgrade() else { return false };
        match catch_unwind(AssertUnwindSafe(|| carry_out(&node, &order, pause))) {
            Ok(Relocated::Paused) => {}
            Ok(came) => {
                // Its client may be gone.
                let _ = order.outcome.send(came);
                return true;
            }
            Err(_) if node.keyspace.has_frozen() => {
                tracing::error!(
                    "a move of a key failed behind its stamp: the node ends, and applies it when it starts, if it is logged"
                );
                // What may be logged is not here. Nothing may be answered, told or written down from now on.
                std::process::abort();
            }
            Err(_) => {
                tracing::error!("a move of a key failed before it had changed anything");
                return true;
            }
        }
        drop(node);
        std::thread::park_timeout(PAUSED_LOOK);
    }
}

fn carry_out(node: &Node, order: &Order, pause: &mut dyn FnMut()) -> Relocated {
    let Order { from, source, to, target, keeps_source, replaces, .. } = order;
    let (from, to, keeps_source, replaces) = (*from, *to, *keeps_source, *replaces);
    let wish = Relocation { from, source, to, target, keeps_source, replaces };
    node.keyspace.writer().relocate(&wish, &|| node.wall_clock(), &|| permission(node), pause)
}

/// Whether writes are allowed by now: since the order was taken they may have been paused, or ended for good.
fn permission(node: &Node) -> Permission {
    if node.condition.writes_refused().is_some() {
        Permission::Never
    } else if node.condition.paused_until(node.wall_clock(), true).is_some() {
        Permission::Later
    } else {
        Permission::Now
    }
}

#[cfg(test)]
mod tests;
