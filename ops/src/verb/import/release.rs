//! Keys and fields whose lives an import held are given back their own ends: what is over goes at once.
//!
//! Held deadlines are known by themselves, so it does no harm to release twice, or half. A client may write meanwhile: what
//! it has just given another end is looked at again (`WATCH`).

use super::holding::{Facts, Holding, facts};
use super::lives;
use super::pages::{Pages, deadlines};
use crate::failure::{Failure, Result};
use crate::reply::{Reply, write_request};
use crate::terminal::grouped;
use crate::wire::{Answer, Wire};
use rdb::Texts;
use serde_json::{Value, json};

/// Where notes of live imports stand.
pub const NOTES: &[u8] = b"pelago:import:from:*";

/// What was released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Keys.
    pub keys: u64,
    /// Fields of hashes.
    pub fields: u64,
}

/// What became of the lives that an import holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lives {
    /// They are held: it can be gone on with.
    #[default]
    Held,
    /// They are held, because these imports are not over, by their notes.
    HeldForOthers(Vec<String>),
    /// They are released.
    Released(Released),
}

impl Lives {
    /// The line of the report.
    pub fn line(&self) -> String {
        match self {
            Self::Held => {
                "Keys with a life end here only when the source says so, until --cut-over or --release gives them \
                           their own ends."
                    .to_owned()
            }
            Self::HeldForOthers(notes) => format!(
                "Keys with a life end here only when the source says so, because other imports are not over ({}): the last one \
                 that is cut over, or --release, gives them their own ends.",
                notes.join(", ")
            ),
            Self::Released(released) => released.line(),
        }
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        match self {
            Self::Held => json!({ "held": true, "held_for": [] }),
            Self::HeldForOthers(notes) => json!({ "held": true, "held_for": notes }),
            Self::Released(released) => released.json(),
        }
    }
}

impl Released {
    /// The line of the report.
    pub fn line(self) -> String {
        let fields = if self.fields > 0 { format!(" and {} fields", grouped(self.fields)) } else { String::new() };
        format!("{:>12} keys{fields} were given their own ends", grouped(self.keys))
    }

    /// For `--json`.
    pub fn json(self) -> Value {
        json!({ "held": false, "released_keys": self.keys, "released_fields": self.fields })
    }
}

/// Which hashes are looked into for fields that have lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// All.
    Sought,
    /// None: no field has any.
    None,
}

impl Fields {
    /// What a source says: whether a field of its hashes has a life at all.
    pub fn of(source: &mut Wire) -> Result<Self> {
        let is_any = facts(source)?.values().any(|facts| facts.fields_with_deadlines > 0);
        Ok(if is_any { Self::Sought } else { Self::None })
    }
}

/// Releases all lives that are held in any database.
pub fn release(target: &mut Wire, holding: &Holding, fields: Fields) -> Result<Released> {
    let mut released = Released::default();
    for (database, Facts { with_deadlines, .. }) in facts(target)? {
        if with_deadlines > 0 {
            let mut pages = Pages::new(target, database)?;
            while let Some(page) = pages.next(target)? {
                released.keys += release_keys(target, page)?;
            }
        }
        if fields == Fields::Sought && holding.knows(b"hpexpiretime") {
            released.fields += release_fields_of(target, database)?;
        }
    }
    Ok(released)
}

/// How many keys of a database are over and stand there only because they are held. `now` is in Unix milliseconds.
pub fn over(target: &mut Wire, database: u32, now: u64) -> Result<u64> {
    let (mut pages, mut over) = (Pages::new(target, database)?, 0);
    while let Some(page) = pages.next(target)? {
        let deadlines = deadlines(target, page.iter())?;
        over += deadlines.into_iter().flatten().filter_map(lives::own).filter(|own| *own <= now).count() as u64;
    }
    Ok(over)
}

/// The notes of live imports at the target.
pub fn notes(target: &mut Wire) -> Result<Vec<String>> {
    let (mut pages, mut notes) = (Pages::matching(target, 0, NOTES)?, Vec::new());
    while let Some(page) = pages.next(target)? {
        notes.extend(page.iter().map(|note| String::from_utf8_lossy(note).into_owned()));
    }
    notes.sort();
    notes.dedup();
    Ok(notes)
}

fn release_keys(target: &mut Wire, page: &Texts) -> Result<u64> {
    let found = deadlines(target, page.iter())?;
    let is_held = |(key, deadline): (_, Option<u64>)| deadline.and_then(lives::own).map(|_| key);
    let held: Vec<&[u8]> = page.iter().zip(found).filter_map(is_held).collect();
    if held.is_empty() {
        return Ok(0);
    }
    loop {
        watch(target, &held)?;
        let found = deadlines(target, held.iter().copied())?;
        let own = held.iter().zip(found).filter_map(|(key, deadline)| Some((*key, lives::own(deadline?)?)));
        let mut requests = Transaction::default();
        own.for_each(|(key, own)| requests.add(&[b"PEXPIREAT", key, own.to_string().as_bytes()]));
        if requests.take_effect(target)? {
            return Ok(requests.count);
        }
    }
}

fn release_fields_of(target: &mut Wire, database: u32) -> Result<u64> {
    let (mut pages, mut released) = (Pages::of_kind(target, database, b"hash")?, 0);
    while let Some(page) = pages.next(target)? {
        for key in page.iter() {
            let mut cursor = b"0".to_vec();
            loop {
                let fields;
                (cursor, fields) = fields_after(target, key, &cursor)?;
                released += release_fields(target, key, &fields)?;
                if cursor == b"0" {
                    break;
                }
            }
        }
    }
    Ok(released)
}

/// The next fields of a hash, and the cursor after them.
fn fields_after(target: &mut Wire, key: &[u8], cursor: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let failure = Failure::Answer { address: target.address().to_owned(), question: "HSCAN".to_owned() };
    let Reply::List(parts) = target.call(&[b"HSCAN", key, cursor, b"COUNT", FIELDS_AT_ONCE])? else {
        return Err(failure);
    };
    let mut parts = parts.into_iter();
    let (Some(Reply::Text(cursor)), Some(Reply::List(pairs))) = (parts.next(), parts.next()) else {
        return Err(failure);
    };
    let field = |reply| if let Reply::Text(field) = reply { Some(field) } else { None };
    Ok((cursor, pairs.into_iter().step_by(2).filter_map(field).collect()))
}

fn release_fields(target: &mut Wire, key: &[u8], fields: &[Vec<u8>]) -> Result<u64> {
    if fields.is_empty() || held_fields(target, key, fields)?.is_empty() {
        return Ok(0);
    }
    loop {
        watch(target, &[key])?;
        let mut requests = Transaction::default();
        for (field, own) in held_fields(target, key, fields)? {
            requests.add(&[b"HPEXPIREAT", key, own.to_string().as_bytes(), b"FIELDS", b"1", field]);
        }
        if requests.take_effect(target)? {
            return Ok(requests.count);
        }
    }
}

/// Those of the fields whose lives are held, each with its own deadline.
fn held_fields<'f>(target: &mut Wire, key: &[u8], fields: &'f [Vec<u8>]) -> Result<Vec<(&'f [u8], u64)>> {
    let count = fields.len().to_string();
    let mut words: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
    words.extend(fields.iter().map(Vec::as_slice));
    // A hash that is gone meanwhile has no list.
    let Reply::List(deadlines) = target.call(&words)? else { return Ok(Vec::new()) };
    let own = |reply: &Reply| match reply {
        Reply::Integer(deadline) => u64::try_from(*deadline).ok().and_then(lives::own),
        Reply::Text(_) | Reply::Error(_) | Reply::Null | Reply::List(_) => None,
    };
    Ok(fields.iter().zip(&deadlines).filter_map(|(field, reply)| Some((field.as_slice(), own(reply)?))).collect())
}

fn watch(target: &mut Wire, keys: &[&[u8]]) -> Result<()> {
    let words: Vec<&[u8]> = std::iter::once(&b"WATCH"[..]).chain(keys.iter().copied()).collect();
    target.call(&words).map(drop)
}

/// Requests that take effect if nothing that is watched has changed.
#[derive(Default)]
struct Transaction {
    requests: Vec<u8>,
    count: u64,
}

impl Transaction {
    fn add(&mut self, words: &[&[u8]]) {
        write_request(&mut self.requests, words);
        self.count += 1;
    }

    /// Sends them. False if something that is watched has changed.
    fn take_effect(&self, target: &mut Wire) -> Result<bool> {
        let mut all = Vec::with_capacity(self.requests.len() + 64);
        write_request(&mut all, &[b"MULTI"]);
        all.extend_from_slice(&self.requests);
        write_request(&mut all, &[b"EXEC"]);
        target.send(&all)?;
        let mut refused = None;
        let mut note = |text: &[u8]| {
            refused.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        };
        target.pass(self.count + 1, &mut note)?;
        let mut is_done = true;
        match target.next()? {
            Answer::List(results) => target.pass(results as u64, &mut note)?,
            Answer::Error(text) => note(text),
            Answer::Null | Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) => is_done = false,
        }
        match refused {
            Some(text) => Err(Failure::refused(target.address(), &text)),
            None => Ok(is_done),
        }
    }
}

/// Fields of a hash that are asked for at once.
const FIELDS_AT_ONCE: &[u8] = b"512";
