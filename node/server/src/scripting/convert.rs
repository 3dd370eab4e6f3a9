//! Values of Lua to replies and replies to values of Lua, by the rules of Redis 7.

use super::effort::Effort;
use mlua::{Either, Lua, LuaString, Result, Table, Value};
use resp::{Reply, Version};

/// How deep a value is answered: what is deeper is an error in its place.
const DEPTH_MAX: usize = 1000;

/// Writes values of Lua as a reply.
pub struct ReplyWriter<'a> {
    /// What is written so far.
    pub reply: &'a mut Reply,
    /// The version that the script has chosen.
    pub script_version: Version,
    /// What it takes.
    pub effort: &'a Effort<'a>,
}

impl ReplyWriter<'_> {
    /// Writes a value, which is so deep in that which is answered.
    pub fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        self.effort.step(self.reply.len())?;
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                self.make_room(text.len())?;
                self.reply.bulk(&text);
            }
            Value::Boolean(value) => match (self.script_version, *value) {
                (Version::Resp3, value) => self.reply.boolean(value),
                (Version::Resp2, true) => self.reply.integer(1),
                (Version::Resp2, false) => self.reply.null(),
            },
            Value::Table(_) if depth >= DEPTH_MAX => self.reply.error("ERR reached lua stack limit"),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => match super::number(other) {
                Some(number) => self.reply.integer(truncated(number)),
                None => self.reply.null(),
            },
        }
        Ok(())
    }

    /// Writes a table that is known to be a sequence.
    pub fn sequence(&mut self, table: &Table) -> Result<()> {
        self.array(table, 1)
    }

    /// Sees to it that so many bytes more may be written.
    fn make_room(&self, bytes: usize) -> Result<()> {
        self.effort.step(self.reply.len() + bytes)
    }

    /// A text that is written as a line.
    fn line(&self, text: &LuaString) -> Result<String> {
        // Bytes that are no text take three, here and in the reply.
        self.make_room(text.as_bytes().len() * 6)?;
        Ok(text.to_string_lossy())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<()> {
        if let Value::String(text) = table.raw_get::<Value>("err")? {
            let text = self.line(&text)?;
            self.reply.error(&text);
            return Ok(());
        }
        if let Value::String(text) = table.raw_get::<Value>("ok")? {
            let text = self.line(&text)?;
            self.reply.simple(&text);
            return Ok(());
        }
        if let Some(number) = super::number(&table.raw_get::<Value>("double")?) {
            self.reply.double(number);
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get::<Value>("map")? {
            let (place, mut pairs) = (self.reply.deferred(), 0);
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.value(&key, depth)?;
                self.value(&value, depth)?;
                pairs += 1;
            }
            self.reply.finish_map(place, pairs);
            return Ok(());
        }
        if let Value::Table(set) = table.raw_get::<Value>("set")? {
            let (place, mut members) = (self.reply.deferred(), 0);
            for pair in set.pairs::<Value, Value>() {
                self.value(&pair?.0, depth)?;
                members += 1;
            }
            self.reply.finish_set(place, members);
            return Ok(());
        }
        if let Value::String(digits) = table.raw_get::<Value>("big_number")? {
            let digits = self.line(&digits)?;
            self.reply.big_number(&digits);
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get::<Value>("verbatim_string")?
            && let (Value::String(format), Value::String(text)) =
                (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
        {
            let format = self.line(&format)?;
            self.make_room(text.as_bytes().len())?;
            self.reply.verbatim(&format, &text.as_bytes());
            return Ok(());
        }
        self.array(table, depth)
    }

    fn array(&mut self, table: &Table, depth: usize) -> Result<()> {
        let (place, mut length) = (self.reply.deferred(), 0);
        loop {
            let value: Value = table.raw_get(length as i64 + 1)?;
            if value.is_nil() {
                break;
            }
            self.value(&value, depth)?;
            length += 1;
        }
        self.reply.finish_array(place, length);
        Ok(())
    }
}

/// A number without its fraction, as the processors that Redis is built for do it.
fn truncated(number: f64) -> i64 {
    // 2^63: the first that does not fit.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if (-BEYOND..BEYOND).contains(&number) { number as i64 } else { i64::MIN }
}

/// An element of a sequence: text goes to its place without a handle in between.
pub type Element<'t> = Either<&'t str, Value>;

/// The element that a word is.
pub fn element_of<'t>(lua: &Lua, word: &'t [u8]) -> Result<Element<'t>> {
    match std::str::from_utf8(word) {
        Ok(text) => Ok(Either::Left(text)),
        Err(_) => lua.create_string(word).map(|word| Either::Right(Value::String(word))),
    }
}

/// A table of these elements, from 1 on.
pub fn sequence<'t>(lua: &Lua, elements: impl Iterator<Item = Result<Element<'t>>>) -> Result<Table> {
    let mut failed = None;
    let table = lua.create_sequence_from(elements.map(|element| {
        element.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Either::Right(Value::Nil)
        })
    }))?;
    failed.map_or(Ok(table), Err)
}

/// Reads one reply of this node's own.
pub fn value_of(lua: &Lua, reply: &[u8]) -> Result<Value> {
    Source { lua, reply, at: 0 }.value()
}

struct Source<'l, 'r> {
    lua: &'l Lua,
    reply: &'r [u8],
    at: usize,
}

impl<'r> Source<'_, 'r> {
    fn line(&mut self) -> (u8, &'r [u8]) {
        let rest = self.reply.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\r').unwrap_or(rest.len());
        self.at += end + 2;
        match rest.get(..end) {
            Some([marker, text @ ..]) => (*marker, text),
            _ => (b'_', b""),
        }
    }

    fn take(&mut self, length: usize) -> &'r [u8] {
        let taken = self.reply.get(self.at..self.at + length).unwrap_or_default();
        self.at += length + 2;
        taken
    }

    /// An element of an array.
    fn element(&mut self) -> Result<Element<'r>> {
        if self.reply.get(self.at) != Some(&b'$') {
            return self.value().map(Either::Right);
        }
        match resp::parse_integer(self.line().1).and_then(|length| usize::try_from(length).ok()) {
            Some(length) => element_of(self.lua, self.take(length)),
            None => Ok(Either::Right(Value::Boolean(false))),
        }
    }

    fn value(&mut self) -> Result<Value> {
        let (marker, text) = self.line();
        let length = || resp::parse_integer(text).and_then(|length| usize::try_from(length).ok());
        Ok(match marker {
            b':' => Value::Number(resp::parse_integer(text).unwrap_or_default() as f64),
            b'$' => match length() {
                Some(length) => Value::String(self.lua.create_string(self.take(length))?),
                None => Value::Boolean(false),
            },
            b'+' => self.named("ok", Value::String(self.lua.create_string(text)?))?,
            b'-' => self.named("err", Value::String(self.lua.create_string(text)?))?,
            b'*' | b'>' => match length() {
                Some(length) => Value::Table(sequence(self.lua, (0..length).map(|_| self.element()))?),
                None => Value::Boolean(false),
            },
            b'%' => {
                let table = self.lua.create_table()?;
                for _ in 0..length().unwrap_or(0) {
                    let (key, value) = (self.value()?, self.value()?);
                    table.raw_set(key, value)?;
                }
                self.named("map", Value::Table(table))?
            }
            b'~' => {
                let table = self.lua.create_table()?;
                for _ in 0..length().unwrap_or(0) {
                    let member = self.value()?;
                    table.raw_set(member, true)?;
                }
                self.named("set", Value::Table(table))?
            }
            b',' => {
                let number = resp::parse_double(text).unwrap_or(f64::NAN);
                self.named("double", Value::Number(number))?
            }
            b'#' => Value::Boolean(text == b"t"),
            b'(' => self.named("big_number", Value::String(self.lua.create_string(text)?))?,
            b'=' => {
                let taken = self.take(length().unwrap_or(0));
                let verbatim = self.lua.create_table()?;
                verbatim.raw_set("format", self.lua.create_string(taken.get(..3).unwrap_or_default())?)?;
                verbatim.raw_set("string", self.lua.create_string(taken.get(4..).unwrap_or_default())?)?;
                self.named("verbatim_string", Value::Table(verbatim))?
            }
            _ => Value::Nil,
        })
    }

    fn named(&self, name: &str, value: Value) -> Result<Value> {
        self.lua.create_table_from([(name, value)]).map(Value::Table)
    }
}
