//! Everything a server holds, asked for by ordinary reads.

use std::collections::BTreeMap;
use tests::client::Client;
use tests::reply::Reply;

/// Type, value and deadline of every key, by database.
#[derive(Debug, Default)]
pub struct Contents(BTreeMap<(u32, String), (String, String, String)>);

impl Contents {
    /// Reads everything.
    pub fn of(client: &mut Client) -> Self {
        let mut contents = Self::default();
        for database in 0..16 {
            client.must(&format!("SELECT {database}"));
            let keys = client.must("KEYS *");
            let keys: Vec<Vec<u8>> = keys.elements().iter().map(bytes).collect();
            for page in keys.chunks(500) {
                contents.read(client, database, page);
            }
        }
        client.must("SELECT 0");
        contents
    }

    fn read(&mut self, client: &mut Client, database: u32, keys: &[Vec<u8>]) {
        for key in keys {
            client.queue(&[b"TYPE".as_slice(), key]);
        }
        client.send().expect("the server takes it");
        let types: Vec<String> =
            keys.iter().map(|_| client.receive().expect("an answer").text().unwrap_or_default()).collect();
        for (key, kind) in keys.iter().zip(&types) {
            client.queue(&[b"PEXPIRETIME".as_slice(), key]);
            match kind.as_str() {
                "string" => client.queue(&[b"GET".as_slice(), key]),
                "hash" => client.queue(&[b"HGETALL".as_slice(), key]),
                "set" => client.queue(&[b"SMEMBERS".as_slice(), key]),
                "list" => client.queue(&[b"LRANGE".as_slice(), key, b"0", b"-1"]),
                "zset" => client.queue(&[b"ZRANGE".as_slice(), key, b"0", b"-1", b"WITHSCORES"]),
                "stream" => client.queue(&[b"XRANGE".as_slice(), key, b"-", b"+"]),
                _ => client.queue(&[b"TYPE".as_slice(), key]),
            }
        }
        client.send().expect("the server takes it");
        for (key, kind) in keys.iter().zip(types) {
            let deadline = client.receive().expect("an answer").to_string();
            let value = shown(&kind, &client.receive().expect("an answer"));
            // It may expire while it is read.
            if deadline != "-2" && kind != "none" {
                self.0.insert((database, key.escape_ascii().to_string()), (kind, value, deadline));
            }
        }
    }

    /// Leaves keys out.
    pub fn forget(&mut self, is_left_out: impl Fn(&str) -> bool) {
        self.0.retain(|(_, key), _| !is_left_out(key));
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What is not the same in both.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        keys.sort();
        keys.dedup();
        let differing = keys.into_iter().filter(|key| self.0.get(key) != other.0.get(key));
        differing.map(|key| format!("{key:?}: {:?} and {:?}", self.0.get(key), other.0.get(key))).collect()
    }
}

/// A value whose order means nothing in an order.
fn shown(kind: &str, reply: &Reply) -> String {
    let mut elements: Vec<String> = reply.elements().iter().map(ToString::to_string).collect();
    match kind {
        "set" => elements.sort(),
        "hash" => {
            let mut pairs: Vec<&[String]> = elements.chunks(2).collect();
            pairs.sort();
            elements = pairs.concat();
        }
        _ => return reply.to_string(),
    }
    elements.join(" ")
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        other => panic!("{other} is no key"),
    }
}
