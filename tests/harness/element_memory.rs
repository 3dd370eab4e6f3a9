//! What an element of a collection takes, beside `redis-server`: the same commands are sent to both, and each one's memory
//! is looked at before and after. Other collections of the same kind are written first and stay, so that what a process
//! takes once (buffers, code that runs for the first time) is not counted as the elements'.

use crate::client::Client;
use crate::cluster::Cluster;
use crate::figure::{Bar, Sheet};
use crate::load::settle;
use crate::processor::resident_bytes;
use crate::random::Random;
use crate::redis::Redis;
use crate::wait;
use std::time::Duration;

/// How much of what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The collections that are compared.
    pub shapes: Vec<Shape>,
    /// Elements in all, of each shape; a collection of a million has that many at least.
    pub elements: usize,
    /// Where random integers begin.
    pub seed: u64,
    /// How long memory may take to go back to the system.
    pub rest: Duration,
}

/// A collection, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Lists of 800 growing ids, each pushed to one list after the other.
    ListOfIds,
    /// The same with numbers below 1000.
    ListOfSmall,
    /// The same with random 63 bits.
    ListOfRandom,
    /// Lists of 800 numbers below 1000, each written by one command.
    ListAtOnce,
    /// Hashes of 5 fields, each written by one command, as `HSET` of an object is.
    SmallHash,
    /// The same, each field by a command of its own.
    SmallHashByField,
    /// Sets of 5 members.
    SmallSet,
    /// Sets of 5 integers.
    SmallSetOfIntegers,
    /// Sorted sets of 5 members.
    SmallSortedSet,
    /// One hash.
    LargeHash,
    /// One set.
    LargeSet,
    /// One sorted set.
    LargeSortedSet,
    /// One stream of entries with two fields, under generated ids.
    LargeStream,
}

impl Shape {
    /// All, by the names that arguments have for them.
    pub const ALL: [(&str, Self); 13] = [
        ("list-ids", Self::ListOfIds),
        ("list-small", Self::ListOfSmall),
        ("list-random", Self::ListOfRandom),
        ("list-at-once", Self::ListAtOnce),
        ("hash-5", Self::SmallHash),
        ("hash-5-by-field", Self::SmallHashByField),
        ("set-5", Self::SmallSet),
        ("set-5-integers", Self::SmallSetOfIntegers),
        ("zset-5", Self::SmallSortedSet),
        ("hash-large", Self::LargeHash),
        ("set-large", Self::LargeSet),
        ("zset-large", Self::LargeSortedSet),
        ("stream-large", Self::LargeStream),
    ];

    /// Elements of one collection of this shape.
    fn elements(self, most: usize) -> usize {
        match self {
            Self::ListOfIds | Self::ListOfSmall | Self::ListOfRandom | Self::ListAtOnce => 800,
            Self::SmallHash
            | Self::SmallHashByField
            | Self::SmallSet
            | Self::SmallSetOfIntegers
            | Self::SmallSortedSet => 5,
            Self::LargeHash | Self::LargeSet | Self::LargeSortedSet | Self::LargeStream => most,
        }
    }

    /// Writes so many collections, whose keys begin so.
    fn write(self, client: &mut Client, keys: &str, collections: usize, elements: usize, seed: u64) {
        let mut random = Random::new(seed);
        let mut queue = Queue { client, queued: 0, words: 0 };
        let key = |collection: usize| format!("{keys}:{collection:06}");
        let large = key(0);
        let below = |random: &mut Random, bound: usize| random.below(bound).to_string();
        match self {
            Self::ListOfIds | Self::ListOfSmall | Self::ListOfRandom => {
                for element in 0..elements {
                    // A post is pushed to the timelines of all who follow; its id is of its time.
                    let id = (1_700_000_000_000 + element as u64 * 977) << 22;
                    for collection in 0..collections {
                        let value = match self {
                            Self::ListOfIds => id.to_string(),
                            Self::ListOfSmall => below(&mut random, 1_000),
                            _ => (random.word() >> 1).to_string(),
                        };
                        queue.push(&["LPUSH", &key(collection), &value]);
                    }
                }
            }
            Self::ListAtOnce => (0..collections).for_each(|collection| {
                let mut words = vec!["RPUSH".to_owned(), key(collection)];
                words.extend((0..elements).map(|_| below(&mut random, 1_000)));
                queue.push(&words);
            }),
            Self::SmallHash => (0..collections).for_each(|collection| {
                let mut words = vec!["HSET".to_owned(), key(collection)];
                for (field, value) in FIELDS.iter().zip(values(&mut random)) {
                    words.extend([(*field).to_owned(), value]);
                }
                queue.push(&words);
            }),
            Self::SmallHashByField => (0..collections).for_each(|collection| {
                for (field, value) in FIELDS.iter().zip(values(&mut random)) {
                    queue.push(&["HSET", &key(collection), field, &value]);
                }
            }),
            Self::SmallSet => (0..collections).for_each(|collection| {
                (0..elements).for_each(|element| {
                    queue.push(&["SADD", &key(collection), &format!("tag-{}", element * 77 + collection % 77)]);
                });
            }),
            Self::SmallSetOfIntegers => (0..collections).for_each(|collection| {
                (0..elements).for_each(|_| queue.push(&["SADD", &key(collection), &below(&mut random, 1_000_000)]));
            }),
            Self::SmallSortedSet => (0..collections).for_each(|collection| {
                (0..elements).for_each(|element| {
                    let score = below(&mut random, 1_000);
                    queue.push(&["ZADD", &key(collection), &score, &format!("player-{element}")]);
                });
            }),
            Self::LargeHash => (0..elements).for_each(|element| {
                queue.push(&["HSET", &large, &format!("field:{element:010}"), &format!("value:{element:010}")]);
            }),
            Self::LargeSet => {
                (0..elements).for_each(|element| queue.push(&["SADD", &large, &format!("member:{element:010}")]));
            }
            Self::LargeSortedSet => (0..elements).for_each(|element| {
                let score = below(&mut random, 1_000_000);
                queue.push(&["ZADD", &large, &score, &format!("member:{element:010}")]);
            }),
            Self::LargeStream => (0..elements).for_each(|_| {
                let (sensor, value) = (below(&mut random, 1_000), below(&mut random, 1_000_000));
                queue.push(&["XADD", &large, "*", "sensor", &sensor, "value", &value]);
            }),
        }
        settle(queue.client, &mut queue.queued);
    }
}

/// Those of an object, as many have it.
const FIELDS: [&str; 5] = ["name", "age", "city", "visits", "updated"];

fn values(random: &mut Random) -> [String; 5] {
    [
        format!("user-{}", random.below(1_000_000)),
        random.below(100).to_string(),
        (*random.one_of(&["Lisbon", "Nairobi", "Osaka", "Quito"])).to_owned(),
        random.below(10_000).to_string(),
        (1_700_000_000 + random.below(10_000_000)).to_string(),
    ]
}

/// What an element may take, against Redis.
const NO_MORE: Bar = Bar::AtMost(1.0);
/// Of so many parts of what is measured one is written before.
const WRITTEN_BEFORE: usize = 4;
/// Words that are sent at once.
const PIPELINE_WORDS: usize = 4_000;

/// Commands on their way.
struct Queue<'c> {
    client: &'c mut Client,
    queued: usize,
    words: usize,
}

impl Queue<'_> {
    fn push<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        self.client.queue(words);
        self.queued += 1;
        self.words += words.len();
        if self.words >= PIPELINE_WORDS {
            settle(self.client, &mut self.queued);
            self.words = 0;
        }
    }
}

/// Runs the trial with nodes and servers that are new for each shape, so that none finds room that another left.
pub fn run(
    start: impl Fn() -> Cluster,
    start_redis: impl Fn() -> Result<Redis, String>,
    plan: &Plan,
    setting: String,
) -> Result<Sheet, String> {
    let mut sheet = Sheet::new(setting);
    for &shape in &plan.shapes {
        let (name, _) = Shape::ALL[Shape::ALL.iter().position(|(_, known)| *known == shape).unwrap_or_default()];
        let elements = shape.elements(plan.elements);
        let collections = (plan.elements / elements).max(1);
        let write = |client: &mut Client| shape.write(client, "collection", collections, elements, plan.seed);
        let before = |client: &mut Client| {
            let (some, part) = if collections == 1 {
                (1, elements / WRITTEN_BEFORE)
            } else {
                (collections / WRITTEN_BEFORE, elements)
            };
            shape.write(client, "before", some.max(1), part.max(1), plan.seed + 1);
        };
        let cluster = start();
        let node = &cluster.nodes[0];
        let own = grown(node.process_id(), plan, &mut node.client(), before, write)?;
        drop(cluster);
        let redis = start_redis()?;
        let theirs = grown(redis.process_id(), plan, &mut redis.client(), before, write)?;
        let each = |bytes: u64| bytes as f64 / (collections * elements) as f64;
        sheet.add(format!("{name}: an element here"), each(own), "B", Bar::None);
        sheet.add(format!("{name}: an element of Redis"), each(theirs), "B", Bar::None);
        sheet.add(format!("{name}: against Redis"), own as f64 / theirs.max(1) as f64, "x", NO_MORE);
    }
    Ok(sheet)
}

/// Bytes by which a process' memory grows while this is written, after that was.
fn grown(
    process: u32,
    plan: &Plan,
    client: &mut Client,
    before: impl FnOnce(&mut Client),
    write: impl FnOnce(&mut Client),
) -> Result<u64, String> {
    before(client);
    wait::pause(plan.rest);
    let held = resident_bytes(process)?;
    write(client);
    wait::pause(plan.rest);
    Ok(resident_bytes(process)?.saturating_sub(held))
}
