//! What a request of the commands that are used most costs a node, beside `redis-server` on the same core: processor time
//! and throughput, with `redis-benchmark` as the load of both and another region that gets everything.

use crate::client::Client;
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet, median};
use crate::flush::await_rest;
use crate::processor::{busy_nanoseconds, nanoseconds};
use crate::redis::Redis;
use crate::wait;
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

/// How much of what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is compared.
    pub commands: Vec<Case>,
    /// Requests of a turn where several are sent at once.
    pub requests: usize,
    /// Requests of a turn where each waits for the answer to the one before.
    pub requests_alone: usize,
    /// Connections.
    pub clients: usize,
    /// How many keys, fields or members there are to choose from.
    pub keys: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Rounds: in each, both servers have their turn.
    pub rounds: usize,
}

/// A command, and what it is held to.
#[derive(Clone, Copy, PartialEq)]
pub struct Case {
    name: &'static str,
    /// Requests that a connection sends at once.
    depth: usize,
    /// What is sent; `ANY` stands for a random number, `VALUE` for a value.
    request: &'static str,
    /// What is sent as often before, so that there is something to read or to take.
    before: Option<&'static str>,
    /// Processor time of a request, of what Redis takes.
    cost: Bar,
    /// Throughput, of that of Redis.
    rate: Bar,
}

/// Its name: it stands in the setting of every figure.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.depth)
    }
}

const fn case(
    name: &'static str,
    depth: usize,
    request: &'static str,
    before: Option<&'static str>,
    [cost, rate]: [Bar; 2],
) -> (&'static str, Case) {
    (name, Case { name, depth, request, before, cost, rate })
}

/// Most of it is the system's work for a packet.
const ALONE: [Bar; 2] = [Bar::AtMost(0.95), Bar::AtLeast(0.90)];
const STRINGS: [Bar; 2] = [Bar::AtMost(0.60), Bar::AtLeast(1.6)];
const ELEMENTS: [Bar; 2] = [Bar::AtMost(0.85), Bar::None];
/// Sessions: strings with an end, which is put off.
const LIVES: [Bar; 2] = [Bar::AtMost(0.75), Bar::None];
const COLLECTIONS: [Bar; 2] = [Bar::AtMost(1.0), Bar::AtLeast(1.0)];

/// All, by the names that arguments have for them.
#[rustfmt::skip]
pub const ALL: [(&str, Case); 17] = [
    case("set-alone", 1, "SET key:ANY VALUE", None, ALONE),
    case("get-alone", 1, "GET key:ANY", Some("SET key:ANY VALUE"), ALONE),
    case("set", 16, "SET key:ANY VALUE", None, STRINGS),
    case("get", 16, "GET key:ANY", Some("SET key:ANY VALUE"), STRINGS),
    case("incr", 16, "INCR counter:ANY", None, STRINGS),
    case("setex", 16, "SET key:ANY VALUE EX 100000", None, LIVES),
    case("expire", 16, "EXPIRE key:ANY 100000", Some("SET key:ANY VALUE"), LIVES),
    case("hset", 16, "HSET hash field:ANY VALUE", None, ELEMENTS),
    case("sadd", 16, "SADD set member:ANY", None, ELEMENTS),
    case("lpush", 16, "LPUSH list VALUE", None, COLLECTIONS),
    case("lrange_100", 16, "LRANGE list 0 99", Some("LPUSH list VALUE"), COLLECTIONS),
    case("rpop", 16, "RPOP list", Some("LPUSH list VALUE"), COLLECTIONS),
    case("zadd", 16, "ZADD scored ANY member:ANY", None, COLLECTIONS),
    case("zrangebyscore", 16, "ZRANGEBYSCORE scored ANY +inf LIMIT 0 10", Some("ZADD scored ANY member:ANY"), COLLECTIONS),
    case("xadd", 16, "XADD stream * field VALUE", None, COLLECTIONS),
    case("pfadd", 16, "PFADD sketch member:ANY", None, COLLECTIONS),
    case("eval", 16, "EVAL return(redis.call('incr',KEYS[1])) 1 counter:ANY", None, COLLECTIONS),
];

/// Below, the server waited: for the load, or for a core.
const BUSY_MIN: f64 = 0.9;
/// What a node still does for others after the last answer belongs to the requests.
const AFTERWARDS: Duration = Duration::from_millis(300);
/// Of the requests of a turn, this share goes before to warm up.
const WARMING: usize = 5;
/// What is written in advance goes in pipelines of this depth.
const DEPTH_BEFORE: usize = 16;

/// What one server did in one round.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Nanoseconds on a processor for each request, of all threads.
    nanoseconds: f64,
    /// The same of the other region.
    nanoseconds_of_peer: f64,
    /// Requests a second.
    rate: f64,
    /// The share of one core that it used.
    busy: f64,
    /// The share of one core that others used of its cores.
    others: f64,
}

/// One server.
struct Server<'a> {
    name: &'static str,
    cores: &'a str,
    address: &'a str,
    process: u32,
    /// What gets everything from it, if there is one.
    follower: &'static str,
    peer: Option<u32>,
}

/// Runs the trial: the first node of the cluster is loaded, and Redis, which may have a replica. Both servers are on `cores`.
pub fn run(
    cluster: &Cluster,
    (redis, replica): (&Redis, Option<&Redis>),
    cores: &str,
    plan: &Plan,
    setting: String,
) -> Result<Sheet, String> {
    let node = &cluster.nodes[0];
    let servers = [
        Server {
            name: "node",
            cores,
            address: &node.resp,
            process: node.process_id(),
            follower: "the other region",
            peer: cluster.nodes.get(1).map(|peer| peer.process_id()),
        },
        Server {
            name: "redis-server",
            cores,
            address: &redis.address,
            process: redis.process_id(),
            follower: "the replica of redis-server",
            peer: replica.map(Redis::process_id),
        },
    ];
    let mut sheet = Sheet::new(setting);
    for case in &plan.commands {
        let mut turns = [Vec::new(), Vec::new()];
        for _ in 0..plan.rounds {
            for (server, turns) in servers.iter().zip(&mut turns) {
                turns.push(server.turn(case, plan)?);
            }
        }
        show(case, &servers, &turns, &mut sheet);
    }
    Ok(sheet)
}

fn show(case: &Case, servers: &[Server<'_>; 2], turns: &[Vec<Turn>; 2], sheet: &mut Sheet) {
    let name = format!("{} -P {}", case.name.trim_end_matches("-alone").to_uppercase(), case.depth);
    let middle = |turns: &[Turn], of: fn(&Turn) -> f64| median(turns.iter().map(of).collect());
    // The ratio of each round, and then the one in the middle: what the machine does meanwhile meets both servers.
    let ratio = |of: fn(&Turn) -> f64| {
        median(turns[0].iter().zip(&turns[1]).map(|(own, theirs)| of(own) / of(theirs)).collect())
    };
    for (server, turns) in servers.iter().zip(turns) {
        let used = middle(turns, |turn| turn.nanoseconds);
        sheet.add(format!("{name}: processor time a request, {}", server.name), used, "ns", Bar::None);
        sheet.add(format!("{name}: throughput, {}", server.name), middle(turns, |turn| turn.rate), "/s", Bar::None);
    }
    for (server, turns) in servers.iter().zip(turns).filter(|(server, _)| server.peer.is_some()) {
        let of_peer = middle(turns, |turn| turn.nanoseconds_of_peer);
        sheet.add(format!("{name}: processor time a request, {}", server.follower), of_peer, "ns", Bar::None);
    }
    sheet.add(format!("{name}: processor time, of redis-server's"), ratio(|turn| turn.nanoseconds), "x", case.cost);
    sheet.add(format!("{name}: throughput, of redis-server's"), ratio(|turn| turn.rate), "x", case.rate);
    for (server, turns) in servers.iter().zip(turns) {
        let (busy, others) = (middle(turns, |turn| turn.busy), middle(turns, |turn| turn.others));
        if busy < BUSY_MIN && others > 1.0 - BUSY_MIN {
            sheet.fault(format!(
                "{name}: {} used {busy:.2} of a core and others {others:.2} of the same: no throughput is measured",
                server.name
            ));
        } else if busy < BUSY_MIN {
            let used = format!("{name}: {} used {busy:.2} of a core", server.name);
            sheet.note(format!("{used}: its throughput is that of the load, which had no more"));
        }
    }
}

impl Server<'_> {
    fn turn(&self, case: &Case, plan: &Plan) -> Result<Turn, String> {
        let requests = if case.depth == 1 { plan.requests_alone } else { plan.requests };
        let warming = requests / WARMING + 1;
        if let Some(before) = case.before {
            load(self.address, before, DEPTH_BEFORE, requests + warming, plan)?;
        }
        load(self.address, case.request, case.depth, warming, plan)?;
        await_rest(self.address);
        wait::pause(AFTERWARDS);
        let at_begin = self.used()?;
        let begin = Instant::now();
        let rate = load(self.address, case.request, case.depth, requests, plan)?;
        let took = begin.elapsed().as_secs_f64() * 1e9;
        wait::pause(AFTERWARDS);
        let at_end = self.used()?;
        let [used, on_cores, of_peer] = [0, 1, 2].map(|of: usize| at_end[of].saturating_sub(at_begin[of]) as f64);
        let mut client = Client::connect(self.address).map_err(|error| format!("{}: {error}", self.name))?;
        client.must("FLUSHALL");
        Ok(Turn {
            nanoseconds: used / requests as f64,
            nanoseconds_of_peer: of_peer / requests as f64,
            rate,
            busy: used / took,
            others: (on_cores - used).max(0.0) / took,
        })
    }

    /// Nanoseconds that it used, that anybody used of its cores, and that its peer used.
    fn used(&self) -> Result<[u64; 3], String> {
        let of_peer = self.peer.map_or(Ok(0), nanoseconds)?;
        Ok([nanoseconds(self.process)?, busy_nanoseconds(self.cores)?, of_peer])
    }
}

/// Loads a server with so many of a request, and says how many it answered a second.
fn load(address: &str, request: &str, depth: usize, requests: usize, plan: &Plan) -> Result<f64, String> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{address} has no port"))?;
    let numbers = [("-c", plan.clients), ("-P", depth), ("-n", requests), ("-r", plan.keys)];
    let value = "v".repeat(plan.value_bytes);
    let mut command = Command::new("redis-benchmark");
    command.args(["-q", "--csv", "-h", host, "-p", port]);
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    command.args(request.split(' ').map(|word| match word {
        "VALUE" => value.clone(),
        word => word.replace("ANY", "__rand_int__"),
    }));
    let output = command.output().map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() || !errors.is_empty() {
        return Err(format!("redis-benchmark {request}: {} {errors}{text}", output.status));
    }
    rate_of(&text).ok_or_else(|| format!("redis-benchmark {request} said: {text}"))
}

/// The second column of the last line.
fn rate_of(table: &str) -> Option<f64> {
    table.lines().rfind(|line| !line.is_empty())?.split("\",\"").nth(1)?.parse().ok()
}
