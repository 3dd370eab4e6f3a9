//! What consumer groups have delivered and acknowledged, as clients were told: what is acknowledged is delivered nowhere
//! where that was known, and nothing twice in one life of a node.
//!
//! Ids are generated and groups are never destroyed, so an entry of a stream is one and the same wherever it is met.

use crate::oracle::Key;
use crate::reply::Value;
use crdt::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// An entry of a stream.
type Entry = (Key, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// In which life, and by which write.
    acknowledged: BTreeMap<Entry, Vec<(usize, Stamp)>>,
    delivered: BTreeSet<(usize, Entry)>,
}

impl Deliveries {
    /// Notes what a command answered in a life of a node, whose last write since had this stamp. Says what is wrong with it.
    pub fn note(
        &mut self,
        life: usize,
        database: u8,
        args: &[String],
        answer: &Value,
        stamp: Stamp,
        sees: &dyn Fn(&Key, Stamp) -> bool,
    ) -> Option<String> {
        if args.first()? != "XREADGROUP" {
            return None;
        }
        let is_acknowledged = args.iter().any(|word| word == "NOACK");
        let streams = args.iter().position(|word| word == "STREAMS")?;
        let key = Key::new(database, args.get(streams + 1)?);
        let mut wrong = None;
        for id in ids_of(answer) {
            let entry = (key.clone(), id);
            let known = self.acknowledged.get(&entry).into_iter().flatten();
            let mut known = known.filter(|(of, stamp)| *of == life || sees(&key, *stamp));
            if let Some((of, stamp)) = known.next() {
                wrong = Some(format!("{entry:?} was acknowledged by {stamp:?} in life {of} and is delivered"));
            }
            if !self.delivered.insert((life, entry.clone())) {
                wrong = Some(format!("{entry:?} is delivered once more"));
            }
            if is_acknowledged {
                self.acknowledged.entry(entry).or_default().push((life, stamp));
            }
        }
        wrong
    }

    /// Whether an entry was acknowledged anywhere.
    pub fn is_acknowledged(&self, key: &Key, id: &str) -> bool {
        self.acknowledged.contains_key(&(key.clone(), id.to_owned()))
    }

    /// The streams of which something was delivered.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.delivered.iter().map(|(_, (key, _))| key.clone()).collect()
    }
}

/// The ids in an answer that names one stream.
fn ids_of(answer: &Value) -> Vec<String> {
    let elements = |value: &Value| match value {
        Value::Array(elements) => elements.clone(),
        Value::Simple(_) | Value::Error(_) | Value::Integer(_) | Value::Bulk(_) | Value::Null => Vec::new(),
    };
    let streams = elements(answer).into_iter().flat_map(|stream| elements(&stream).into_iter().nth(1));
    let entries = streams.flat_map(|entries| elements(&entries));
    let ids = entries.filter_map(|entry| match elements(&entry).into_iter().next() {
        Some(Value::Bulk(id)) => Some(id),
        _ => None,
    });
    ids.collect()
}
