//! The threads of a node: their start, their end in order, and what happens when one fails.

use super::{LaunchError, StopError};
use crate::command::function;
use crate::console::Stop;
use crate::doors::Listeners;
use crate::http;
use crate::node::Node;
use crate::peers::{PeerSetup, Peers};
use crate::relocations;
use crate::worker::Workers;
use keyspace::Watch;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// The threads of a node and how to end them.
pub(super) struct Threads {
    node: Arc<Node>,
    workers: Workers,
    replication: JoinHandle<Result<(), StopError>>,
    console: JoinHandle<()>,
    console_stop: watch::Sender<bool>,
}

impl Threads {
    /// Starts serving: clients at once, and probes if there is a listener for them.
    pub(super) fn start(
        node: Arc<Node>,
        replication: JoinHandle<Result<(), StopError>>,
        clients: Listeners,
        http: Option<TcpListener>,
    ) -> Result<Self, LaunchError> {
        let (console_stop, stopped) = watch::channel(false);
        measure_holds(&node);
        let started = start_freeing(&node)
            .and_then(|()| relocations::start(&node))
            .and_then(|()| start_console(Arc::clone(&node), http, stopped))
            .and_then(|console| Ok((console, Workers::start(Arc::clone(&node), clients, worker_count(&node))?)));
        match started {
            Ok((console, workers)) => Ok(Self { node, workers, replication, console, console_stop }),
            Err(error) => {
                node.console.request_stop(Stop::Now);
                // What it has to say about its end does not matter any more.
                let _ = replication.join();
                Err(LaunchError::Thread(error))
            }
        }
    }

    /// Waits for the wish to stop and carries it out: no new writes, then peers get what was written here, and only then
    /// probes end.
    pub(super) fn run(self) -> Result<(), StopError> {
        let stop = match plain_runtime() {
            Ok(runtime) => runtime.block_on(self.node.console.stopping()),
            Err(error) => {
                tracing::error!(%error, "the node cannot wait for the wish to stop, so it stops");
                Stop::Now
            }
        };
        self.node.console.request_stop(stop);
        tracing::info!(orderly = stop == Stop::Orderly, "the node stops");
        self.workers.stop();
        self.node.console.note_served_last();
        let outcome = self.replication.join().unwrap_or(Err(StopError::ThreadFailed(REPLICATION)));
        self.console_stop.send_replace(true);
        if self.console.join().is_err() {
            tracing::error!("the console's thread had panicked");
        }
        tracing::info!("the node has stopped");
        outcome
    }
}

/// Threads that serve clients: what is set, or one for each core.
fn worker_count(node: &Node) -> usize {
    match usize::try_from(node.config.load().workers) {
        Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
        Ok(count) => count,
    }
}

/// Starts the thread for replication and waits until it is known whether the node can join the others at all.
pub(super) fn start_replication(
    node: Arc<Node>,
    setup: PeerSetup,
) -> Result<JoinHandle<Result<(), StopError>>, LaunchError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (report, reported) = sync_channel(1);
    let body = move || {
        let watched = Arc::clone(&node);
        let replicate = async {
            match Peers::new(Arc::clone(&node), setup) {
                Ok(peers) => {
                    // Nobody listens only if the start was given up, and then a stop is requested as well.
                    let _ = report.send(Ok(()));
                    peers.run().await;
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| LocalSet::new().block_on(&runtime, replicate)));
        if ended.is_ok() && watched.console.stop_requested().is_some() {
            return Ok(());
        }
        // A node that takes writes and tells nobody would be worse than none.
        watched.console.request_stop(Stop::Now);
        Err(StopError::ThreadFailed(REPLICATION))
    };
    let thread = std::thread::Builder::new().name(REPLICATION.to_owned()).spawn(body)?;
    match reported.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(LaunchError::Peers(error)),
        Err(_) => Err(LaunchError::ThreadEnded),
    }
}

/// How long slots are held is measured from now on, and work on large collections rests between its steps.
fn measure_holds(node: &Node) {
    let clock = node.monotonic_clock();
    node.keyspace.holds().measure(move || clock(), || std::thread::sleep(STEP_REST));
}

/// Starts the thread that frees what was removed, a large collection in pieces, and ends with the keyspace.
fn start_freeing(node: &Node) -> io::Result<()> {
    let (wake, woken) = sync_channel(1);
    let keyspace = Arc::downgrade(&node.keyspace);
    let body = move || {
        while woken.recv().is_ok() {
            while keyspace
                .upgrade()
                .is_some_and(|keyspace| keyspace.free_one(&mut || std::thread::park_timeout(FREE_PAUSE)))
            {}
        }
    };
    std::thread::Builder::new().name("free".to_owned()).spawn(body)?;
    // One that is awake looks again before it sleeps.
    node.keyspace.free_later(move || {
        // A wake that is under way is enough.
        let _ = wake.try_send(());
    });
    Ok(())
}

/// Starts the thread for probes, scrapers and samples.
fn start_console(
    node: Arc<Node>,
    http: Option<TcpListener>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let body = move || {
        runtime.block_on(async {
            let answer = async {
                match http.map(tokio::net::TcpListener::from_std) {
                    Some(Ok(listener)) => http::serve(listener, Arc::clone(&node)).await,
                    Some(Err(error)) => tracing::error!(%error, "the listener for HTTP cannot be used"),
                    None => {}
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = answer => {}
                () = sample(&node) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        });
    };
    std::thread::Builder::new().name("console".to_owned()).spawn(body)
}

/// Takes the samples that rates are made of, and counts libraries that have changed, for ever.
async fn sample(node: &Arc<Node>) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    let mut libraries: Option<Watch> = None;
    loop {
        ticks.tick().await;
        if libraries.as_ref().is_none_or(|watch| watch.changed(node.wall_clock())) {
            // Scripts may hold them, and they are loaded to be counted: probes do not wait for that.
            let node = Arc::clone(node);
            libraries = tokio::task::spawn_blocking(move || function::count(&node)).await.ok().flatten();
        }
        node.console.metrics.sample_rates(node, node.monotonic_ns() / 1_000_000);
    }
}

/// Stops these nodes at SIGTERM or SIGINT: in order at the first, at once at the second. At SIGHUP they read their
/// certificates again.
pub fn stop_on_signals(nodes: Vec<Arc<Node>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let wait = move || {
        runtime.block_on(async {
            let mut stop = Stop::Orderly;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {
                        nodes.iter().for_each(|node| node.console.request_reload());
                        continue;
                    }
                }
                nodes.iter().for_each(|node| node.console.request_stop(stop));
                stop = Stop::Now;
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

fn plain_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().build()
}

/// Between two steps of work on a large collection, of some hundred microseconds each: whoever waits for the slot, or for the
/// core, has it in between.
const STEP_REST: Duration = Duration::from_micros(100);
/// Between two pieces that are freed, each of which takes about as long: whoever shares the core is not kept waiting.
const FREE_PAUSE: Duration = Duration::from_micros(100);
const REPLICATION: &str = "replication";
/// `INFO`'s rates are means of some of these.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);
