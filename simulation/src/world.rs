//! The world of one run: hosts, the network between them, clients, and the driver's hand on all of it.

use crate::broken::Broken;
use crate::client::{self, Question, Questions, Script};
use crate::clock::{HostClock, TrueTime};
use crate::host::{CLUSTER, Host, Surroundings};
use crate::invariants::Messages;
use crate::mover::Mover;
use crate::network::Weather;
use crate::observer::{Observer, Shared};
use crate::random::Random;
use crate::reply::Value;
use crate::scenario::Scenario;
use crdt::{Membership, NodeNumber, Stamp};
use server::config::Config;
use server::console::Stop;
use server::node::Node;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use transport::{Authority, Validity};
use turmoil::Sim;

/// Regions that a run begins with, and those that may be added.
pub const REGIONS: [&str; 5] = ["us-east", "eu-west", "ap-south", "sa-east", "af-south"];
/// The one-way latency between two regions, in milliseconds: the sum of what each adds.
const DISTANCE_MS: [u64; 5] = [8, 12, 25, 30, 35];
/// The simulated time a run may take at all.
const LONGEST: Duration = Duration::from_secs(3600);

/// A region that is being added or removed.
pub struct Order {
    /// The host it is about.
    pub host: usize,
    /// Whether it is added.
    pub adds: bool,
    answer: Rc<RefCell<Option<Value>>>,
}

/// See the module.
pub struct World {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// The true time.
    pub time: TrueTime,
    /// Unix time at the beginning, in milliseconds.
    pub epoch_ms: u64,
    /// All hosts of nodes, those that are down and those that were removed too.
    pub hosts: Vec<Rc<Host>>,
    /// Hosts whose node was removed from the cluster.
    pub removed: Vec<usize>,
    /// The network between nodes.
    pub weather: Weather,
    /// Sees everything.
    pub observer: Shared,
    /// What clients do.
    pub script: Script,
    /// Whether only what lives for ever is left.
    pub is_at_rest: bool,
    /// Orders of the operator that have not been answered.
    pub orders: Vec<Order>,
    /// Since when nodes have taken more memory than they may.
    pub over_since: BTreeMap<usize, u64>,
    /// Who listens to what is published.
    pub messages: Messages,
    around: Surroundings,
    sim: Sim<'static>,
    questions: Questions,
    random: Random,
}

impl World {
    /// Founds a cluster and starts its nodes and clients.
    pub fn found(scenario: &'static Scenario, seed: u64) -> Result<Self, Broken> {
        let random = Random::new(seed, "world");
        let mut chooser = Random::new(seed, "epoch");
        let epoch_ms = scenario.epoch.choose(&mut chooser);
        let mut builder = turmoil::Builder::new();
        builder
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_millis(epoch_ms))
            .rng_seed(seed)
            .simulation_duration(LONGEST)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(1))
            .udp_capacity(1 << 14)
            .tcp_capacity(1 << 10)
            .enable_random_order();
        let sim = builder.build();
        let observer: Shared = Rc::new(RefCell::new(Observer::new(seed)));
        let weather = Weather::new(seed);
        let began_unix_seconds = (epoch_ms / 1000) as i64;
        let validity = Validity::days(began_unix_seconds, 3650);
        let authority = Authority::create(CLUSTER, validity, Some([7; 32])).map_err(setup_failed)?;
        // Scenarios about disks turn it on.
        let mut config = Config { persistence: "off".to_owned(), protected_mode: false, ..Config::default() };
        (scenario.settings)(&mut config, &mut Random::new(seed, "settings"));
        let (weather_of_hosts, observer_of_hosts) = (weather.clone(), observer.clone());
        let around = Surroundings {
            seed,
            weather: weather_of_hosts,
            observer: observer_of_hosts,
            config,
            authority,
            began_unix_seconds,
        };
        let script = Script {
            mixture: scenario.mixture,
            pause_ms_max: scenario.pause_ms_max,
            goes_on: Rc::new(Cell::new(true)),
            running: Rc::new(Cell::new(0)),
            awaits: Rc::new(Cell::new(true)),
            answered: Rc::default(),
            unanswered: Rc::default(),
        };
        let mut world = Self {
            scenario,
            time: TrueTime::default(),
            epoch_ms,
            hosts: Vec::new(),
            removed: Vec::new(),
            weather,
            observer,
            script,
            is_at_rest: false,
            orders: Vec::new(),
            over_since: BTreeMap::new(),
            messages: Messages::default(),
            around,
            sim,
            questions: Rc::new(RefCell::new(VecDeque::new())),
            random,
        };
        world.start_cluster()?;
        Ok(world)
    }

    fn start_cluster(&mut self) -> Result<(), Broken> {
        for region in &REGIONS[..self.scenario.regions] {
            self.new_host(region)?;
        }
        let number = NodeNumber::new(0).ok_or_else(|| setup_failed("no number"))?;
        let stamp = Stamp::at(self.epoch_ms, number);
        let of = |host: &Host| host.identity;
        let founder = self.hosts[0].clone();
        let mut membership = Membership::found(of(&founder), founder.record(), stamp).map_err(setup_failed)?;
        for host in &self.hosts[1..] {
            let stamp = membership.latest_stamp().next(self.epoch_ms, number);
            membership.admit(of(&founder), of(host), host.record(), stamp).map_err(setup_failed)?;
        }
        for host in &self.hosts {
            host.prepare(&membership).map_err(setup_failed)?;
        }
        let questions = self.questions.clone();
        self.sim.client("operator", async move {
            client::operate(questions).await;
            Ok(())
        });
        for index in 0..self.hosts.len() {
            self.start_host(index);
        }
        let (hosts, observer, script) = (self.hosts.clone(), self.observer.clone(), self.script.clone());
        let mover = Mover::new(hosts, observer, script, Random::new(self.around.seed, "mover"));
        self.script.running.set(self.script.running.get() + 1);
        self.sim.client("mover", async move {
            mover.run().await;
            Ok(())
        });
        Ok(())
    }

    /// A new host, with nothing running on it.
    fn new_host(&mut self, region: &str) -> Result<usize, Broken> {
        let clock = HostClock::new(self.time.clone(), self.epoch_ms);
        let host = Host::new(&format!("{region}-1"), region, clock, &self.around).map_err(setup_failed)?;
        self.hosts.push(host);
        Ok(self.hosts.len() - 1)
    }

    /// Starts a host for the first time, and the clients of its region.
    fn start_host(&mut self, index: usize) {
        let host = self.hosts[index].clone();
        let name = host.name.clone();
        self.sim.host(name.as_str(), move || host.clone().live());
        let distances = DISTANCE_MS.iter().copied().enumerate().take(self.hosts.len());
        for (other, distance) in distances.filter(|&(other, _)| other != index).collect::<Vec<_>>() {
            if self.hosts[other].life.get().is_some() || other < index {
                self.set_latency(index, other, DISTANCE_MS[index] + distance);
            }
        }
        let region = self.hosts[index].region.clone();
        let (script, mut random) =
            (self.script.clone(), Random::new(self.around.seed, &format!("clients of {region}")));
        script.running.set(script.running.get() + self.scenario.clients);
        let clients = self.scenario.clients;
        self.sim.client(format!("clients-{region}"), async move {
            let mut tasks = Vec::new();
            for client in 0..clients {
                let random = Random::new(random.word(), "client");
                let database = u8::from(client == 2);
                tasks.push(tokio::task::spawn_local(client::run(name.clone(), database, random, script.clone())));
            }
            for task in tasks {
                task.await?;
            }
            Ok(())
        });
    }

    /// One millisecond.
    pub fn step(&mut self) -> Result<(), Broken> {
        let now = self.time.ms() + 1;
        self.time.set(now);
        self.weather.set_now(now);
        self.sim.step().map_err(|error| Broken::new("runs", format!("at {now} ms: {error}")))?;
        self.observer.borrow_mut().take_removals();
        if let Some(broken) = self.observer.borrow().broken.clone() {
            return Err(broken);
        }
        if let Some((name, error)) =
            self.hosts.iter().find_map(|host| Some((host.name.clone(), host.start_error.borrow().clone()?)))
        {
            return Err(Broken::new("runs", format!("at {now} ms: {name} did not start: {error}")));
        }
        self.take_answers()
    }

    /// So many milliseconds.
    pub fn run_for(&mut self, ms: u64) -> Result<(), Broken> {
        (0..ms).try_for_each(|_| self.step())
    }

    /// Steps until this holds, at most so long. False if it never did.
    pub fn run_until(&mut self, ms: u64, mut holds: impl FnMut(&Self) -> bool) -> Result<bool, Broken> {
        for step in 0..ms {
            if step % 20 == 0 && holds(self) {
                return Ok(true);
            }
            self.step()?;
        }
        Ok(holds(self))
    }

    /// Whether nodes have a memory limit.
    pub fn limits_memory(&self) -> bool {
        self.around.config.maxmemory > 0
    }

    /// Hosts whose node is a member.
    pub fn members(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|index| !self.removed.contains(index)).collect()
    }

    /// Members whose node runs.
    pub fn live(&self) -> Vec<usize> {
        self.members().into_iter().filter(|&index| self.node(index).is_some()).collect()
    }

    /// The node that runs on a host.
    pub fn node(&self, index: usize) -> Option<Arc<Node>> {
        let life = self.hosts[index].life.get()?;
        self.observer.borrow().lives[life].node.clone()
    }

    /// The process on a host dies, or the whole host.
    pub fn crash(&mut self, index: usize, whole_host: bool) {
        let host = self.hosts[index].clone();
        if let Some(life) = host.life.take() {
            self.observer.borrow_mut().end_life(life);
        }
        self.sim.crash(host.name.as_str());
        if whole_host {
            host.catalogue.crash();
            host.files.crash();
            host.boot.set(host.boot.get() + 1);
        } else {
            host.files.end_process();
        }
    }

    /// Starts the node of a host that is down.
    pub fn restart(&mut self, index: usize) {
        let host = self.hosts[index].clone();
        if host.life.get().is_none() {
            self.sim.bounce(host.name.as_str());
        }
    }

    /// Asks a node to end in order. It is down when [`Host::has_stopped`] says so.
    pub fn stop_in_order(&self, index: usize) {
        if let Some(node) = self.node(index) {
            node.console.request_stop(Stop::Orderly);
        }
    }

    /// Cuts or mends the path from one host to another, in this direction.
    pub fn set_cut(&self, source: usize, target: usize, is_cut: bool) {
        let (source, target) = (self.address(source), self.address(target));
        self.weather.set_cut(source, target, is_cut);
    }

    /// Sets the latency between two hosts.
    pub fn set_latency(&self, one: usize, other: usize, ms: u64) {
        let (one, other) = (self.hosts[one].name.as_str(), self.hosts[other].name.as_str());
        self.sim.set_link_latency(one, other, Duration::from_millis(ms));
    }

    /// The latency that two hosts have by their distance.
    pub fn usual_latency_ms(&self, one: usize, other: usize) -> u64 {
        DISTANCE_MS[one] + DISTANCE_MS[other]
    }

    /// Has an operator add the next region, at this member.
    pub fn add_region(&mut self, via: usize) -> Result<bool, Broken> {
        if self.hosts.len() >= REGIONS.len() {
            return Ok(false);
        }
        let index = self.new_host(REGIONS[self.hosts.len()])?;
        let host = self.hosts[index].clone();
        let record = host.record();
        let request = serde_json::json!({
            "identity": host.identity.to_string(), "name": record.name, "region": record.region,
            "advertise": record.advertise, "resp": record.resp, "http": record.http,
        });
        let answer = self.ask(via, &["PELAGO", "REGION", "ADD", &request.to_string()]);
        self.orders.push(Order { host: index, adds: true, answer });
        Ok(true)
    }

    /// Has an operator remove a region, at another member.
    pub fn remove_region(&mut self, index: usize, via: usize, force: bool) {
        let region = self.hosts[index].region.clone();
        let mut words = vec!["PELAGO", "REGION", "REMOVE", &region];
        words.extend(force.then_some("FORCE"));
        let answer = self.ask(via, &words);
        self.orders.push(Order { host: index, adds: false, answer });
    }

    fn ask(&self, via: usize, words: &[&str]) -> Rc<RefCell<Option<Value>>> {
        let answer = Rc::new(RefCell::new(None));
        let args = words.iter().map(|&word| word.to_owned()).collect();
        let question = Question { node: self.hosts[via].name.clone(), args, answer: answer.clone() };
        self.questions.borrow_mut().push_back(question);
        answer
    }

    fn take_answers(&mut self) -> Result<(), Broken> {
        let Some(at) = self.orders.iter().position(|order| order.answer.borrow().is_some()) else { return Ok(()) };
        let order = self.orders.swap_remove(at);
        let answer = order.answer.borrow_mut().take().unwrap_or(Value::Null);
        let name = self.hosts[order.host].name.clone();
        self.observer.borrow_mut().note(&format!("{name} adds={} {answer:?}", order.adds));
        match (order.adds, answer) {
            (true, Value::Bulk(json)) => self.admitted(order.host, &json),
            // It is not known whether the node was admitted. It never starts, and the operator takes it back: members
            // would wait for what it has to say for ever.
            (true, _) => {
                self.removed.push(order.host);
                if let Some(&via) = self.live().first() {
                    self.remove_region(order.host, via, true);
                }
                Ok(())
            }
            (false, Value::Bulk(_)) => self.removal_done(order.host),
            // It was carried out before, and that answer was lost.
            (false, Value::Error(text)) if text.contains("there is no region") => self.removal_done(order.host),
            // Whether it was carried out is not known: the operator insists.
            (false, _) => {
                if let Some(via) = self.live().into_iter().find(|&via| via != order.host) {
                    self.remove_region(order.host, via, true);
                }
                Ok(())
            }
        }
    }

    fn removal_done(&mut self, host: usize) -> Result<(), Broken> {
        if !self.removed.contains(&host) {
            self.crash(host, true);
            self.removed.push(host);
        }
        Ok(())
    }

    fn admitted(&mut self, index: usize, json: &str) -> Result<(), Broken> {
        let hex = serde_json::from_str::<serde_json::Value>(json)
            .ok()
            .and_then(|v| Some(v["membership"].as_str()?.to_owned()));
        let bytes = hex.as_deref().and_then(from_hex);
        let membership = bytes.and_then(|bytes| Membership::decode(&bytes).ok());
        let membership = membership.ok_or_else(|| Broken::new("runs", format!("REGION ADD answers {json}")))?;
        self.hosts[index].prepare(&membership).map_err(setup_failed)?;
        self.start_host(index);
        Ok(())
    }

    /// Chance of the driver's own.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn address(&self, index: usize) -> IpAddr {
        self.sim.lookup(self.hosts[index].name.as_str())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

fn setup_failed(error: impl std::fmt::Display) -> Broken {
    Broken::new("runs", format!("the cluster could not be set up: {error}"))
}
