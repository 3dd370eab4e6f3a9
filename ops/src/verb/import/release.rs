//! Keys and fields whose lives an import held are given back their own ends: what is over goes at once.
//!
//! Held deadlines are known by themselves, so it does no harm to release twice, or half. Clients may write meanwhile, so it is
//! one step to see that a deadline is held still and to change it: a script.

use super::holding::{Facts, Holding, facts};
use super::lives;
use super::pages::{Pages, deadlines};
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::terminal::grouped;
use crate::wire::{Answer, Wire};
use rdb::Texts;
use resp::write_request;
use serde_json::{Value, json};

/// Where notes of live imports stand.
pub const NOTES: &[u8] = b"pelago:import:from:*";
/// Where it stands that an import which is over has brought fields with lives.
const FIELDS_NOTE: &[u8] = b"pelago:import:fields";

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

/// Notes that a source which is cut over has fields with lives, for the import that is cut over last.
pub fn note_fields(target: &mut Wire) -> Result<()> {
    target.call(&[b"SELECT", b"0"])?;
    target.call(&[b"SET", FIELDS_NOTE, b"1", b"EX", super::file::MARKER_SECONDS.as_bytes()]).map(drop)
}

/// Removes that note. True if it was there.
pub fn forget_fields(target: &mut Wire) -> Result<bool> {
    target.call(&[b"SELECT", b"0"])?;
    Ok(matches!(target.call(&[b"DEL", FIELDS_NOTE])?, Reply::Integer(1)))
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
    let deadlines = deadlines(target, page.iter())?;
    let held: Vec<Held<'_>> =
        page.iter().zip(deadlines).filter_map(|(key, deadline)| Held::of(key, deadline?)).collect();
    let calls = held.chunks(AT_ONCE).map(|held| {
        let mut words = vec![KEYS_SCRIPT.to_vec(), held.len().to_string().into_bytes()];
        words.extend(held.iter().map(|held| held.name.to_vec()));
        words.extend(held.iter().flat_map(Held::deadlines));
        words
    });
    run(target, calls)
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
    if fields.is_empty() {
        return Ok(0);
    }
    let count = fields.len().to_string();
    let mut words: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
    words.extend(fields.iter().map(Vec::as_slice));
    // A hash that is gone meanwhile has no list.
    let Reply::List(deadlines) = target.call(&words)? else { return Ok(0) };
    let held = fields.iter().zip(&deadlines).filter_map(|(field, reply)| match reply {
        Reply::Integer(deadline) => Held::of(field, u64::try_from(*deadline).ok()?),
        Reply::Text(_) | Reply::Error(_) | Reply::Null | Reply::List(_) => None,
    });
    let held: Vec<Held<'_>> = held.collect();
    let calls = held.chunks(AT_ONCE).map(|held| {
        let mut words = vec![FIELDS_SCRIPT.to_vec(), b"1".to_vec(), key.to_vec()];
        words.extend(held.iter().flat_map(Held::deadlines));
        words.extend(held.iter().map(|held| held.name.to_vec()));
        words
    });
    run(target, calls)
}

/// A key or field with the deadline that is held, and its own.
struct Held<'n> {
    name: &'n [u8],
    held: u64,
    own: u64,
}

impl<'n> Held<'n> {
    fn of(name: &'n [u8], deadline: u64) -> Option<Self> {
        lives::own(deadline).map(|own| Self { name, held: deadline, own })
    }

    fn deadlines(&self) -> [Vec<u8>; 2] {
        [self.held, self.own].map(|deadline| deadline.to_string().into_bytes())
    }
}

/// Calls scripts, each given as the words after `EVAL`, and adds up what they return.
fn run(target: &mut Wire, calls: impl Iterator<Item = Vec<Vec<u8>>>) -> Result<u64> {
    let (mut requests, mut count, mut sum) = (Vec::new(), 0, 0);
    for call in calls {
        let words: Vec<&[u8]> = std::iter::once(&b"EVAL"[..]).chain(call.iter().map(Vec::as_slice)).collect();
        write_request(&mut requests, &words);
        count += 1;
    }
    target.send(&requests)?;
    let mut refused = None;
    for _ in 0..count {
        match target.next()? {
            Answer::Integer(released) => sum += released.unsigned_abs(),
            Answer::Error(text) => refused = Some(String::from_utf8_lossy(text).into_owned()),
            Answer::Status(_) | Answer::Text(_) | Answer::Null | Answer::List(_) => {
                return Err(Failure::Answer { address: target.address().to_owned(), question: "EVAL".to_owned() });
            }
        }
    }
    match refused {
        Some(text) => Err(Failure::refused(target.address(), &text)),
        None => Ok(sum),
    }
}

/// Gives each key its own deadline that has the held one still.
const KEYS_SCRIPT: &[u8] = b"local released = 0
for index, key in ipairs(KEYS) do
  if redis.call('PEXPIRETIME', key) == tonumber(ARGV[index * 2 - 1]) then
    redis.call('PEXPIREAT', key, ARGV[index * 2])
    released = released + 1
  end
end
return released";
/// The same for fields of a hash, whose names follow their deadlines.
const FIELDS_SCRIPT: &[u8] = b"local released, count = 0, #ARGV / 3
for index = 1, count do
  local field = ARGV[count * 2 + index]
  local found = redis.call('HPEXPIRETIME', KEYS[1], 'FIELDS', '1', field)
  if type(found) == 'table' and found[1] == tonumber(ARGV[index * 2 - 1]) then
    redis.call('HPEXPIREAT', KEYS[1], ARGV[index * 2], 'FIELDS', '1', field)
    released = released + 1
  end
end
return released";
/// Keys or fields of one call: nobody else is served meanwhile who wants one of them.
const AT_ONCE: usize = 64;
/// Fields of a hash that are asked for at once.
const FIELDS_AT_ONCE: &[u8] = b"512";
