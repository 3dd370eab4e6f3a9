//! What all connections of a node share, and the seams through which time and chance come in.

use crate::acl::Acl;
use crate::arrivals::Arrivals;
use crate::backups::Backups;
use crate::blocking::Blocking;
use crate::clients::Clients;
use crate::command::table::{Table, table};
use crate::condition::Condition;
use crate::config::Settings;
use crate::console::Console;
use crate::doors::Doors;
use crate::durability::Durability;
use crate::latency_monitor::LatencyMonitor;
use crate::memory_limit::{self, MemoryLimit};
use crate::migration::Migrations;
use crate::monitors::Monitors;
use crate::notifications::Notifications;
use crate::peers::Control;
use crate::pubsub::PubSub;
use crate::readiness::Readiness;
use crate::relocations::Relocations;
use crate::scripting::Scripts;
use crate::sentinel::Sentinel;
use crate::tally::Tallies;
use crate::tls::ClientTls;
use crate::tracking::Tracking;
use crdt::UnixMillis;
use keyspace::Keyspace;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Time and chance as they enter a node: real ones in production, the simulator's in a simulation.
#[derive(Clone)]
pub struct Seams {
    /// The wall clock, in milliseconds since the Unix epoch.
    pub wall_clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// A clock that never goes back, in nanoseconds since some moment. Only statistics are made of it.
    pub monotonic_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Where all chance begins.
    pub seed: u64,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// The shared state of a node.
pub struct Node {
    /// The data.
    pub keyspace: Arc<Keyspace>,
    /// The settings.
    pub config: Arc<Settings>,
    /// Who may do what.
    pub acl: Arc<Acl>,
    /// Where clients connect.
    pub doors: Doors,
    /// TLS for clients.
    pub tls: ClientTls,
    /// The connections there are.
    pub clients: Arc<Clients>,
    /// The clients that wait for a key.
    pub blocking: Blocking,
    /// Which clients cache what they read.
    pub tracking: Arc<Tracking>,
    /// Who has subscribed to what.
    pub pubsub: Arc<PubSub>,
    /// What has arrived where, and the clients that wait for it.
    pub arrivals: Arrivals,
    /// Filling, paused, refusing.
    pub condition: Condition,
    /// The way to the thread that moves large collections.
    pub relocations: Relocations,
    /// What is being sent to other servers.
    pub migrations: Migrations,
    /// What is there while the node reads its disk.
    pub readiness: Readiness,
    /// The scripts that are known and those that run.
    pub scripts: Scripts,
    /// What the workers count.
    pub tallies: Arc<Tallies>,
    /// What took long, for `LATENCY`.
    pub latency: Arc<LatencyMonitor>,
    /// How much memory is used, and eviction.
    pub memory_limit: MemoryLimit,
    /// What operators see and ask: metrics, the cluster's state, the wish to stop.
    pub console: Console,
    /// What commands know of the disk.
    pub durability: Durability,
    /// Cuts of the store that operators read.
    pub backups: Backups,
    /// The way of operators' orders to the thread of the peers.
    pub control: Control,
    /// Who is shown what is executed.
    pub monitors: Monitors,
    /// Where Sentinel-aware clients are sent.
    pub sentinel: Sentinel,
    /// All commands.
    pub table: &'static Table,
    seams: Seams,
    wall_clock_us: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    started_at: UnixMillis,
}

impl Node {
    /// A node that serves at once. One that must fill first is told so through its condition.
    pub fn new(keyspace: Arc<Keyspace>, config: Arc<Settings>, seams: Seams) -> Self {
        let started_at = (seams.wall_clock)();
        keyspace.track_use(memory_limit::tracking_of(&config.load()));
        let tracked = Arc::clone(&keyspace);
        config.on_change(move |_, after| tracked.track_use(memory_limit::tracking_of(after)));
        let clients = Arc::new(Clients::default());
        let pubsub = Arc::new(PubSub::default());
        Notifications::begin(&keyspace, &config, &pubsub, &seams.wall_clock);
        let tracking = Tracking::new(Arc::clone(&config), Arc::clone(&clients), Arc::clone(&seams.wall_clock));
        let acl = Arc::new(Acl::default());
        acl.set_default_password(config.load().requirepass.reveal());
        let guarded = Arc::clone(&acl);
        config.on_change(move |before, after| {
            if before.requirepass != after.requirepass {
                guarded.set_default_password(after.requirepass.reveal());
            }
        });
        let (tallies, latency) = (Arc::<Tallies>::default(), Arc::<LatencyMonitor>::default());
        follow_latency_threshold(&config, &tallies, &latency);
        Self {
            acl,
            doors: Doors::default(),
            tls: ClientTls::default(),
            memory_limit: MemoryLimit::new(seams.seed),
            keyspace,
            config,
            clients,
            tracking: Arc::new(tracking),
            blocking: Blocking::default(),
            pubsub,
            arrivals: Arrivals::default(),
            condition: Condition::default(),
            relocations: Relocations::default(),
            migrations: Migrations::default(),
            readiness: Readiness::default(),
            scripts: Scripts::default(),
            tallies,
            latency,
            console: Console::default(),
            durability: Durability::default(),
            backups: Backups::default(),
            control: Control::default(),
            monitors: Monitors::default(),
            sentinel: Sentinel::default(),
            table: table(),
            seams,
            wall_clock_us: None,
            started_at,
        }
    }

    /// Tells `TIME` the wall clock in microseconds too, where it is known so exactly.
    #[must_use]
    pub fn with_microseconds(mut self, wall_clock_us: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.wall_clock_us = Some(Box::new(wall_clock_us));
        self
    }

    /// Says whether a script has run for longer than it should: commands are refused then, and do not wait for its keys.
    pub fn set_busy(&self, is_busy: bool) {
        self.condition.set_busy(is_busy);
        self.keyspace.set_busy(is_busy);
    }

    /// The wall clock. Handlers do not ask it: a read from a connection does, once for all its commands.
    pub fn wall_clock(&self) -> UnixMillis {
        (self.seams.wall_clock)()
    }

    /// The wall clock in microseconds; where only milliseconds are known, in whole ones. Of handlers `TIME` asks it: who
    /// asks twice in one pipeline wants to know how long something took.
    pub fn wall_clock_us(&self) -> u64 {
        match &self.wall_clock_us {
            Some(clock) => clock(),
            None => self.wall_clock().saturating_mul(1000),
        }
    }

    /// The clock for statistics, in nanoseconds.
    pub fn monotonic_ns(&self) -> u64 {
        (self.seams.monotonic_ns)()
    }

    /// How long ago this was by that clock: how a turn of work knows that it is over.
    pub fn since(&self, began_ns: u64) -> Duration {
        Duration::from_nanos(self.monotonic_ns().saturating_sub(began_ns))
    }

    /// That clock, for what may outlive the node.
    pub fn monotonic_clock(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        Arc::clone(&self.seams.monotonic_ns)
    }

    /// Where all chance begins.
    pub fn seed(&self) -> u64 {
        self.seams.seed
    }

    /// When the node started, by its wall clock.
    pub fn started_at(&self) -> UnixMillis {
        self.started_at
    }
}

/// Lets the latency monitor follow its setting from now on: while it is on, every command is timed.
fn follow_latency_threshold(config: &Settings, tallies: &Arc<Tallies>, latency: &Arc<LatencyMonitor>) {
    let (tallies, latency) = (Arc::clone(tallies), Arc::clone(latency));
    let follow = move |threshold_ms: u64| {
        latency.set_threshold(threshold_ms);
        tallies.time_all(threshold_ms > 0);
    };
    follow(config.load().latency_monitor_threshold);
    config.on_change(move |_, after| follow(after.latency_monitor_threshold));
}
