//! What the target can hold: which commands it knows decides, so that a later version takes more without a word here.

use super::loader::now;
use crate::failure::Result;
use crate::reply::Reply;
use crate::wire::Wire;
use rdb::Kind;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What the target can hold, and what it holds already.
#[derive(Debug, Default)]
pub struct Holding {
    commands: HashSet<Vec<u8>>,
    /// Databases it has.
    pub databases: u32,
    /// Keys in each database that has any.
    pub keys: BTreeMap<u32, u64>,
    /// By how many milliseconds its clock is ahead of the one here: it decides what is over.
    ahead_ms: i64,
    /// A key may come twice, so that what stands there is removed in any case.
    replaces: bool,
}

impl Holding {
    /// Asks it.
    pub fn of(wire: &mut Wire) -> Result<Self> {
        let (keys, ahead_ms) = (keys(wire)?, ahead_ms(wire)?);
        let mut holding = Self { databases: DATABASES, keys, ahead_ms, ..Self::default() };
        if let Reply::List(rows) = wire.call(&[b"COMMAND"])? {
            let names = rows.iter().filter_map(|row| match row {
                Reply::List(row) => row.first().and_then(Reply::text),
                Reply::Text(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Null => None,
            });
            holding.commands = names.map(|name| name.to_ascii_lowercase().into_bytes()).collect();
        }
        if let Reply::List(pair) = wire.try_call(&[b"CONFIG", b"GET", b"databases"])?
            && let Some(number) = pair.get(1).and_then(Reply::text).and_then(|text| text.parse().ok())
        {
            holding.databases = number;
        }
        Ok(holding)
    }

    /// Whether it knows this command, which is written in small letters.
    pub fn knows(&self, command: &[u8]) -> bool {
        self.commands.contains(command)
    }

    /// Whether it can hold values of this kind.
    pub fn holds(&self, kind: Kind) -> bool {
        let needed: &[&[u8]] = match kind {
            Kind::String => &[b"set"],
            Kind::List => &[b"rpush"],
            Kind::Set => &[b"sadd"],
            Kind::SortedSet => &[b"zadd"],
            Kind::Hash => &[b"hset"],
            Kind::Stream => &[b"xadd", b"xgroup", b"xsetid", b"xclaim"],
            Kind::Module => return false,
        };
        needed.iter().all(|command| self.knows(command))
    }

    /// All kinds that it can hold.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        [Kind::String, Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash, Kind::Stream, Kind::Module]
            .into_iter()
            .filter(|kind| self.holds(*kind))
            .collect()
    }

    /// For sources that may give a key twice.
    pub fn replacing(self) -> Self {
        Self { replaces: true, ..self }
    }

    /// The moment at the target, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        now().saturating_add_signed(self.ahead_ms)
    }

    /// Whether something may have to be removed before a value is written: not if the database was empty at first and
    /// every key comes once.
    pub fn may_hold_keys(&self, database: u32) -> bool {
        self.replaces || self.keys.contains_key(&database)
    }

    #[cfg(test)]
    pub fn knowing(commands: &[&str]) -> Self {
        let commands = commands.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { commands, databases: DATABASES, ..Self::default() }
    }
}

/// Keys in each database that has any, from `INFO keyspace`.
pub fn keys(wire: &mut Wire) -> Result<BTreeMap<u32, u64>> {
    Ok(facts(wire)?.into_iter().map(|(database, facts)| (database, facts.keys)).collect())
}

/// What a server tells of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its keys.
    pub keys: u64,
    /// Those that have a deadline.
    pub with_deadlines: u64,
    /// Hashes with fields that have a deadline, where the server knows such.
    pub fields_with_deadlines: u64,
}

impl Facts {
    fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for (name, number) in text.split(',').filter_map(|fact| fact.split_once('=')) {
            let Ok(number) = number.parse() else { continue };
            match name {
                "keys" => facts.keys = number,
                "expires" => facts.with_deadlines = number,
                // In Redis, and in Valkey.
                "subexpiry" | "keys_with_volatile_items" => facts.fields_with_deadlines = number,
                _ => {}
            }
        }
        facts
    }
}

/// What a server tells of each database that has any keys.
pub fn facts(wire: &mut Wire) -> Result<BTreeMap<u32, Facts>> {
    let text = wire.call(&[b"INFO", b"keyspace"])?.text().unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let (name, facts) = line.strip_prefix("db")?.split_once(':')?;
        Some((name.parse().ok()?, Facts::parse(facts.trim())))
    });
    Ok(rows.filter(|(_, facts)| facts.keys > 0).collect())
}

/// By how many milliseconds a server's clock is ahead of the one here; the way of the answer is not taken off.
fn ahead_ms(wire: &mut Wire) -> Result<i64> {
    let Reply::List(parts) = wire.call(&[b"TIME"])? else { return Ok(0) };
    let part = |at: usize| parts.get(at).and_then(Reply::text).and_then(|text| text.parse::<i64>().ok());
    let (Some(seconds), Some(micros)) = (part(0), part(1)) else { return Ok(0) };
    Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000).saturating_sub_unsigned(now()))
}

/// What Redis has by default, and Pelago always.
const DATABASES: u32 = 16;
