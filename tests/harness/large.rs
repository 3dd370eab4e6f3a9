//! Whether other clients notice what happens to a collection of millions of elements: one in each region asks for other
//! keys all the time while it is removed, overwritten, renamed, copied, expired, evicted, trimmed or flushed.

use crate::client::Client;
use crate::cluster::Cluster;
use crate::cores::Cores;
use crate::figure::{Bar, Sheet};
use crate::load::settle;
use crate::node::Node;
use crate::reply::Reply;
use crate::steady::Script;
use crate::wait;
use crate::waits::Waits;
use std::time::{Duration, Instant};

/// How much of what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Elements of the collection.
    pub elements: usize,
    /// Types of collections that are tried.
    pub kinds: Vec<Kind>,
    /// What is done to each.
    pub acts: Vec<Act>,
    /// Between two commands of a client that looks for stalls.
    pub interval: Duration,
    /// How long all regions may take to be through with something.
    pub through_max: Duration,
}

/// A type of collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of fields with values of ten bytes.
    Hash,
    /// Of members.
    Set,
    /// Of members with scores.
    SortedSet,
    /// Of texts.
    List,
    /// Of entries of one field.
    Stream,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `DEL`.
    Delete,
    /// `UNLINK`.
    Unlink,
    /// `SET` of another value.
    Overwrite,
    /// Its deadline comes.
    Expire,
    /// `RENAME`.
    Rename,
    /// `COPY`.
    Copy,
    /// `MOVE` to another database.
    Move,
    /// Memory is short.
    Evict,
    /// `FLUSHDB`.
    FlushDatabase,
    /// `FLUSHALL`.
    FlushAll,
    /// All but a few elements are trimmed away, of what has such a command.
    Trim,
}

impl Kind {
    /// All, by the names that a program is asked for them.
    pub const ALL: [(&'static str, Self); 5] = [
        ("hash", Self::Hash),
        ("set", Self::Set),
        ("zset", Self::SortedSet),
        ("list", Self::List),
        ("stream", Self::Stream),
    ];

    /// Commands that add elements from this one on.
    fn commands(self, first: usize, end: usize) -> Vec<Vec<String>> {
        let name = match self {
            Self::Stream => {
                let words = |index: usize| ["XADD", KEY, "*", "field", &format!("{index:010}")].map(str::to_owned);
                return (first..end).map(|index| words(index).into()).collect();
            }
            Self::Hash => "HSET",
            Self::Set => "SADD",
            Self::SortedSet => "ZADD",
            Self::List => "RPUSH",
        };
        let mut words = vec![name.to_owned(), KEY.to_owned()];
        for index in first..end {
            match self {
                Self::Hash => words.extend([format!("field:{index}"), format!("{index:010}")]),
                Self::Set | Self::List => words.push(format!("member:{index}")),
                Self::SortedSet => words.extend([(index % 100_000).to_string(), format!("member:{index}")]),
                Self::Stream => {}
            }
        }
        vec![words]
    }

    /// The command that leaves [`LEFT`] elements, if there is one.
    fn trim(self) -> Option<String> {
        match self {
            Self::Hash | Self::Set => None,
            Self::SortedSet => Some(format!("ZREMRANGEBYRANK {KEY} {LEFT} -1")),
            Self::List => Some(format!("LTRIM {KEY} 0 {}", LEFT - 1)),
            Self::Stream => Some(format!("XTRIM {KEY} MAXLEN {LEFT}")),
        }
    }

    /// The command that counts elements.
    fn count(self) -> &'static str {
        match self {
            Self::Hash => "HLEN",
            Self::Set => "SCARD",
            Self::SortedSet => "ZCARD",
            Self::List => "LLEN",
            Self::Stream => "XLEN",
        }
    }
}

impl Act {
    /// All, by the names that a program is asked for them.
    pub const ALL: [(&'static str, Self); 11] = [
        ("del", Self::Delete),
        ("unlink", Self::Unlink),
        ("overwrite", Self::Overwrite),
        ("expire", Self::Expire),
        ("rename", Self::Rename),
        ("copy", Self::Copy),
        ("move", Self::Move),
        ("evict", Self::Evict),
        ("flushdb", Self::FlushDatabase),
        ("flushall", Self::FlushAll),
        ("trim", Self::Trim),
    ];

    /// What does it.
    fn command(self, kind: Kind) -> Option<String> {
        Some(match self {
            Self::Delete => format!("DEL {KEY}"),
            Self::Unlink => format!("UNLINK {KEY}"),
            Self::Overwrite => format!("SET {KEY} text"),
            Self::Expire => format!("PEXPIRE {KEY} 1"),
            Self::Rename => format!("RENAME {KEY} {OTHER_KEY}"),
            Self::Copy => format!("COPY {KEY} {OTHER_KEY}"),
            Self::Move => format!("MOVE {KEY} 1"),
            Self::Evict => "CONFIG SET maxmemory-policy allkeys-random maxmemory 1".to_owned(),
            Self::FlushDatabase => "FLUSHDB".to_owned(),
            Self::FlushAll => "FLUSHALL".to_owned(),
            Self::Trim => return kind.trim(),
        })
    }

    /// Whether it has come to a region.
    fn is_seen(self, kind: Kind, elements: i64, client: &mut Client) -> bool {
        match self {
            Self::Overwrite => client.line(&format!("GET {KEY}")).text().as_deref() == Some("text"),
            Self::Rename | Self::Copy => {
                client.line(&format!("{} {OTHER_KEY}", kind.count())).integer() == Some(elements)
            }
            Self::Trim => client.line(&format!("{} {KEY}", kind.count())).integer() == Some(LEFT as i64),
            Self::Delete
            | Self::Unlink
            | Self::Expire
            | Self::Move
            | Self::Evict
            | Self::FlushDatabase
            | Self::FlushAll => client.line(&format!("EXISTS {KEY}")).integer() == Some(0),
        }
    }
}

const KEY: &str = "large";
const OTHER_KEY: &str = "another";
/// What other clients may have to wait.
const STALL_MS: Bar = Bar::AtMost(10.0);
/// However long something takes, regions hear of each other.
const LINKS_LOST: Bar = Bar::AtMost(0.0);
/// Elements that are left when all others are trimmed away.
const LEFT: usize = 10;
/// Elements that one command adds.
const ADDED_AT_ONCE: usize = 500;
/// Commands that wait for their answers at once.
const PIPELINE: usize = 20;
/// Clients are watched so long before and after.
const AROUND: Duration = Duration::from_secs(2);

/// Runs the trials in a cluster.
pub fn run(cluster: &Cluster, cores: &Cores, plan: &Plan, setting: String) -> Result<Sheet, String> {
    let mut sheet = Sheet::new(setting);
    for &kind in &plan.kinds {
        for &act in &plan.acts {
            try_once(cluster, cores, plan, kind, act, &mut sheet)?;
        }
    }
    Ok(sheet)
}

fn try_once(
    cluster: &Cluster,
    cores: &Cores,
    plan: &Plan,
    kind: Kind,
    act: Act,
    sheet: &mut Sheet,
) -> Result<(), String> {
    let what = format!("{kind:?} {act:?}").to_lowercase();
    let Some(command) = act.command(kind) else { return Ok(()) };
    let elements = i64::try_from(plan.elements).map_err(|error| error.to_string())?;
    let mut clients = cluster.clients();
    fill(&mut clients[0], kind, plan.elements);
    for (client, node) in clients.iter_mut().zip(&cluster.nodes) {
        wait::within(plan.through_max, &format!("{} has all elements", node.name), || {
            let count = client.line(&format!("{} {KEY}", kind.count())).integer();
            if count == Some(elements) { Ok(()) } else { Err(format!("it has {count:?}")) }
        });
    }
    let waits = Waits::start(cluster, cores, plan.interval, || Probe);
    wait::pause(AROUND);
    waits.enter();
    let lost_before = links_lost(cluster);
    let begun = Instant::now();
    let reply = clients[0].must(&command);
    let answered = begun.elapsed();
    if reply.integer() == Some(0) {
        return Err(format!("{what}: {command} did nothing"));
    }
    for (client, node) in clients.iter_mut().zip(&cluster.nodes) {
        wait::within(plan.through_max, &format!("{what} is seen at {}", node.name), || {
            if act.is_seen(kind, elements, client) { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }
    let seen_everywhere = begun.elapsed();
    cluster.nodes.iter().for_each(|node| await_freed(node, plan));
    let freed = begun.elapsed();
    wait::pause(AROUND);
    let mut waited = waits.stop(cluster)?;
    for (at, node) in cluster.nodes.iter().enumerate() {
        waited.show(at, &format!("{what}, {}", node.name), STALL_MS, sheet);
    }
    sheet.add(format!("{what}: links that were lost meanwhile"), links_lost(cluster) - lost_before, "", LINKS_LOST);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    sheet.add(format!("{what}: until it was answered"), ms(answered), "ms", Bar::None);
    sheet.add(format!("{what}: until all regions showed it"), ms(seen_everywhere), "ms", Bar::None);
    sheet.add(format!("{what}: until its memory was free everywhere"), ms(freed), "ms", Bar::None);
    for line in ["CONFIG SET maxmemory 0", "FLUSHALL"] {
        clients[0].must(line);
    }
    cluster.await_equal();
    cluster.nodes.iter().for_each(|node| await_freed(node, plan));
    Ok(())
}

fn fill(client: &mut Client, kind: Kind, elements: usize) {
    let mut queued = 0;
    for first in (0..elements).step_by(ADDED_AT_ONCE) {
        for command in kind.commands(first, elements.min(first + ADDED_AT_ONCE)) {
            client.queue(&command);
            queued += 1;
        }
        if queued >= PIPELINE {
            settle(client, &mut queued);
        }
    }
    settle(client, &mut queued);
}

/// Links that the nodes have lost since they started.
fn links_lost(cluster: &Cluster) -> f64 {
    cluster.nodes.iter().map(|node| node.metrics().sum("pelago_peer_links_lost_total", "")).sum()
}

/// Waits until a node has given back the memory of what it has removed.
fn await_freed(node: &Node, plan: &Plan) {
    wait::within(plan.through_max, &format!("{} has freed what it removed", node.name), || {
        match node.metrics().try_sum("pelago_keyspace_lazyfree_pending_objects", "") {
            Ok(pending) if pending > 0.0 => Err(format!("{pending} are left")),
            // A node without the metric frees at once.
            Ok(_) | Err(_) => Ok(()),
        }
    });
}

/// Reads and writes other keys, all over the keyspace, and one in the slot of the large one.
struct Probe;

impl Script for Probe {
    fn command(&mut self, number: u64) -> Vec<String> {
        let key = match number % 4 {
            3 => format!("{{{KEY}}}:beside"),
            _ => format!("probe:{}", number % 5_000),
        };
        match number % 2 {
            0 => vec!["GET".to_owned(), key],
            _ => vec!["SET".to_owned(), key, number.to_string()],
        }
    }

    fn judge(&self, command: &[String], reply: &Reply) -> Option<String> {
        // While memory is short on purpose.
        let is_short = reply.to_string().contains("OOM");
        (reply.is_error() && !is_short).then(|| format!("{}: {reply}", command.join(" ")))
    }
}
