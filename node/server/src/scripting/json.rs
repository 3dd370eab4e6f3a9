//! The library `cjson`: values as JSON, with the choices and the words of lua-cjson 2.1.

use super::effort::{Effort, PIECE_BYTES};
use super::{fail, number, printed, to_number, type_name};
use mlua::{LightUserData, Lua, MultiValue, Result, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

/// The settings, which scripts cannot keep: they are those of one virtual machine and go back after each script.
#[derive(Debug)]
pub struct Settings {
    depth_encoded_max: Cell<usize>,
    depth_decoded_max: Cell<usize>,
    precision: Cell<usize>,
    sparse_to_object: Cell<bool>,
    sparse_ratio: Cell<usize>,
    sparse_safe: Cell<usize>,
    invalid_encoded: Cell<Invalid>,
    invalid_decoded: Cell<bool>,
    keep_buffer: Cell<bool>,
}

/// What becomes of a number that JSON has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

/// Tables deeper than this cannot be asked for: each level takes a frame of the stack that scripts run on.
const DEPTH_MAX: usize = 1000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            depth_encoded_max: Cell::new(DEPTH_MAX),
            depth_decoded_max: Cell::new(DEPTH_MAX),
            precision: Cell::new(14),
            sparse_to_object: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            invalid_encoded: Cell::new(Invalid::Refused),
            invalid_decoded: Cell::new(true),
            keep_buffer: Cell::new(true),
        }
    }
}

impl Settings {
    /// Takes back what a script has set.
    pub fn reset(&self) {
        let fresh = Self::default();
        self.depth_encoded_max.set(fresh.depth_encoded_max.get());
        self.depth_decoded_max.set(fresh.depth_decoded_max.get());
        self.precision.set(fresh.precision.get());
        self.sparse_to_object.set(fresh.sparse_to_object.get());
        self.sparse_ratio.set(fresh.sparse_ratio.get());
        self.sparse_safe.set(fresh.sparse_safe.get());
        self.invalid_encoded.set(fresh.invalid_encoded.get());
        self.invalid_decoded.set(fresh.invalid_decoded.get());
        self.keep_buffer.set(fresh.keep_buffer.get());
    }
}

/// The library.
pub fn library(lua: &Lua, settings: &Rc<Settings>) -> Result<Table> {
    let table = lua.create_table()?;
    let of = |work: fn(&Lua, &Settings, MultiValue) -> Result<MultiValue>| {
        let settings = Rc::clone(settings);
        lua.create_function(move |lua, args: MultiValue| work(lua, &settings, args))
    };
    table.set("encode", of(encode)?)?;
    table.set("decode", of(decode)?)?;
    table.set("encode_sparse_array", of(set_sparse)?)?;
    table
        .set("encode_max_depth", of(|lua, s, args| set_depth(lua, &s.depth_encoded_max, &args, "encode_max_depth"))?)?;
    table
        .set("decode_max_depth", of(|lua, s, args| set_depth(lua, &s.depth_decoded_max, &args, "decode_max_depth"))?)?;
    table.set("encode_number_precision", of(set_precision)?)?;
    table
        .set("encode_keep_buffer", of(|lua, s, args| set_switch(lua, &s.keep_buffer, &args, "encode_keep_buffer"))?)?;
    table.set("encode_invalid_numbers", of(set_invalid)?)?;
    table.set(
        "decode_invalid_numbers",
        of(|lua, s, args| set_switch(lua, &s.invalid_decoded, &args, "decode_invalid_numbers"))?,
    )?;
    table.set("null", null())?;
    table.set("_NAME", "cjson")?;
    table.set("_VERSION", "2.1.0")?;
    let itself = table.clone();
    table.set("new", lua.create_function(move |_, ()| Ok(itself.clone()))?)?;
    Ok(table)
}

/// What stands for JSON's null.
fn null() -> Value {
    Value::LightUserData(LightUserData(std::ptr::null_mut()))
}

fn set_sparse(lua: &Lua, settings: &Settings, args: MultiValue) -> Result<MultiValue> {
    let integer = |at: usize, known: &Cell<usize>| match args.get(at) {
        None | Some(Value::Nil) => Ok(()),
        Some(value) => match to_number(value) {
            Some(number) if (0.0..=f64::from(i32::MAX)).contains(&number) => {
                known.set(number as usize);
                Ok(())
            }
            _ => {
                let sentence = format!(
                    "bad argument #{} to 'encode_sparse_array' (expected integer between 0 and 2147483647)",
                    at + 1
                );
                Err(fail(lua, &sentence))
            }
        },
    };
    integer(1, &settings.sparse_ratio)?;
    integer(2, &settings.sparse_safe)?;
    set_switch(lua, &settings.sparse_to_object, &args, "encode_sparse_array")?;
    Ok(MultiValue::from_vec(vec![
        Value::Boolean(settings.sparse_to_object.get()),
        Value::Number(settings.sparse_ratio.get() as f64),
        Value::Number(settings.sparse_safe.get() as f64),
    ]))
}

fn set_depth(lua: &Lua, known: &Cell<usize>, args: &MultiValue, name: &str) -> Result<MultiValue> {
    if let Some(value) = args.front().filter(|value| !value.is_nil()) {
        match to_number(value) {
            Some(depth) if (1.0..=f64::from(i32::MAX)).contains(&depth) => known.set((depth as usize).min(DEPTH_MAX)),
            _ => {
                let sentence = format!("bad argument #1 to '{name}' (expected integer between 1 and 2147483647)");
                return Err(fail(lua, &sentence));
            }
        }
    }
    Ok(MultiValue::from_vec(vec![Value::Number(known.get() as f64)]))
}

fn set_precision(lua: &Lua, settings: &Settings, args: MultiValue) -> Result<MultiValue> {
    if let Some(value) = args.front().filter(|value| !value.is_nil()) {
        match to_number(value) {
            Some(digits) if (1.0..=14.0).contains(&digits) => settings.precision.set(digits as usize),
            _ => {
                let sentence = "bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)";
                return Err(fail(lua, sentence));
            }
        }
    }
    Ok(MultiValue::from_vec(vec![Value::Number(settings.precision.get() as f64)]))
}

fn set_switch(lua: &Lua, known: &Cell<bool>, args: &MultiValue, name: &str) -> Result<MultiValue> {
    match args.front() {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => {
            known.set(*value);
        }
        Some(Value::String(text)) if &*text.as_bytes() == b"on" || &*text.as_bytes() == b"off" => {
            known.set(&*text.as_bytes() == b"on");
        }
        Some(_) => return Err(fail(lua, &format!("bad argument #1 to '{name}' (invalid option)"))),
    }
    Ok(MultiValue::from_vec(vec![Value::Boolean(known.get())]))
}

fn set_invalid(lua: &Lua, settings: &Settings, args: MultiValue) -> Result<MultiValue> {
    let chosen = match args.front() {
        None | Some(Value::Nil) => settings.invalid_encoded.get(),
        Some(Value::Boolean(true)) => Invalid::Written,
        Some(Value::Boolean(false)) => Invalid::Refused,
        Some(Value::String(text)) => match &*text.as_bytes() {
            b"on" => Invalid::Written,
            b"off" => Invalid::Refused,
            b"null" => Invalid::Null,
            _ => return Err(fail(lua, "bad argument #1 to 'encode_invalid_numbers' (invalid option)")),
        },
        Some(_) => return Err(fail(lua, "bad argument #1 to 'encode_invalid_numbers' (invalid option)")),
    };
    settings.invalid_encoded.set(chosen);
    let shown = match chosen {
        Invalid::Refused => Value::Boolean(false),
        Invalid::Written => Value::Boolean(true),
        Invalid::Null => Value::String(lua.create_string("null")?),
    };
    Ok(MultiValue::from_vec(vec![shown]))
}

fn encode(lua: &Lua, settings: &Settings, args: MultiValue) -> Result<MultiValue> {
    if args.len() != 1 {
        return Err(fail(lua, "bad argument #1 to 'encode' (expected 1 argument)"));
    }
    let mut out = Vec::new();
    write(&Effort::new(lua), settings, &mut out, &args[0], 0)?;
    Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(&out)?)]))
}

fn refuse(lua: &Lua, value: &Value, reason: &str) -> mlua::Error {
    fail(lua, &format!("Cannot serialise {}: {reason}", type_name(value)))
}

fn write(effort: &Effort<'_>, settings: &Settings, out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<()> {
    effort.step(out.len())?;
    let lua = effort.lua;
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::String(text) => write_text(effort, out, &text.as_bytes())?,
        Value::LightUserData(LightUserData(place)) if place.is_null() => out.extend_from_slice(b"null"),
        Value::Table(table) => {
            let depth = depth + 1;
            if depth > settings.depth_encoded_max.get() {
                return Err(fail(lua, &format!("Cannot serialise, excessive nesting ({depth})")));
            }
            write_table(effort, settings, out, table, depth)?;
        }
        other => match number(other) {
            Some(number) if number.is_finite() => {
                out.extend_from_slice(printed(number, settings.precision.get()).as_bytes())
            }
            Some(number) => match settings.invalid_encoded.get() {
                Invalid::Refused => return Err(refuse(lua, value, "must not be NaN or Inf")),
                Invalid::Null => out.extend_from_slice(b"null"),
                Invalid::Written => out.extend_from_slice(printed(number, settings.precision.get()).as_bytes()),
            },
            None => return Err(refuse(lua, value, "type not supported")),
        },
    }
    Ok(())
}

fn write_text(effort: &Effort<'_>, out: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    out.push(b'"');
    for piece in text.chunks(PIECE_BYTES) {
        effort.step(out.len() + piece.len())?;
        // What is written as it is goes in one piece.
        for run in piece.split_inclusive(|byte| is_escaped(*byte)) {
            match run.split_last() {
                Some((&last, plain)) if is_escaped(last) => {
                    out.extend_from_slice(plain);
                    write_escaped(out, last);
                }
                _ => out.extend_from_slice(run),
            }
        }
    }
    out.push(b'"');
    Ok(())
}

fn is_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'/' | 0..32 | 127)
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' | b'/' => byte,
        8 => b'b',
        9 => b't',
        10 => b'n',
        12 => b'f',
        13 => b'r',
        other => return out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_table(effort: &Effort<'_>, settings: &Settings, out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<()> {
    let lua = effort.lua;
    if let Some(length) = array_length(effort, settings, table, out.len())? {
        out.push(b'[');
        for index in 1..=length {
            if index > 1 {
                out.push(b',');
            }
            write(effort, settings, out, &table.raw_get(index as i64)?, depth)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let mut is_first = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
        match (&key, number(&key)) {
            (_, Some(number)) => {
                out.push(b'"');
                out.extend_from_slice(printed(number, settings.precision.get()).as_bytes());
                out.extend_from_slice(b"\":");
            }
            (Value::String(text), None) => {
                write_text(effort, out, &text.as_bytes())?;
                out.push(b':');
            }
            _ => return Err(refuse(lua, &key, "table key must be a number or string")),
        }
        write(effort, settings, out, &value, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// The length of a table that is an array; nothing if it is an object.
fn array_length(effort: &Effort<'_>, settings: &Settings, table: &Table, written: usize) -> Result<Option<usize>> {
    let (mut largest, mut items) = (0.0f64, 0usize);
    for pair in table.pairs::<Value, Value>() {
        effort.step(written)?;
        match number(&pair?.0) {
            Some(key) if key >= 1.0 && key.trunc() == key => {
                largest = largest.max(key);
                items += 1;
            }
            _ => return Ok(None),
        }
    }
    if items == 0 {
        return Ok(None);
    }
    let ratio = settings.sparse_ratio.get();
    if ratio > 0 && largest > (items * ratio) as f64 && largest > settings.sparse_safe.get() as f64 {
        if !settings.sparse_to_object.get() {
            return Err(refuse(effort.lua, &Value::Table(table.clone()), "excessively sparse array"));
        }
        return Ok(None);
    }
    Ok(Some(largest as usize))
}

/// Text that is being read.
struct Reader<'l, 'd> {
    lua: &'l Lua,
    effort: Effort<'l>,
    settings: &'l Settings,
    text: &'d [u8],
    at: usize,
}

/// A token, where it begins.
struct Token {
    kind: Kind,
    at: usize,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

fn decode(lua: &Lua, settings: &Settings, args: MultiValue) -> Result<MultiValue> {
    if args.len() != 1 {
        return Err(fail(lua, "bad argument #1 to 'decode' (expected 1 argument)"));
    }
    let text = match &args[0] {
        Value::String(text) => text.clone(),
        Value::Integer(_) | Value::Number(_) => match lua.coerce_string(args[0].clone())? {
            Some(text) => text,
            None => lua.create_string("")?,
        },
        other => {
            let given = type_name(other);
            return Err(fail(lua, &format!("bad argument #1 to 'decode' (string expected, got {given})")));
        }
    };
    let bytes = text.as_bytes();
    if bytes.len() >= 2 && (bytes[0] == 0 || bytes[1] == 0) {
        return Err(fail(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut reader = Reader { lua, effort: Effort::new(lua), settings, text: &bytes, at: 0 };
    let token = reader.next();
    let value = reader.value(token, 0)?;
    let end = reader.next();
    if !matches!(end.kind, Kind::End) {
        return Err(reader.refuse("the end", &end));
    }
    Ok(MultiValue::from_vec(vec![value]))
}

impl Reader<'_, '_> {
    fn refuse(&self, expected: &str, token: &Token) -> mlua::Error {
        let (found, at) = (token.kind.name(), token.at + 1);
        fail(self.lua, &format!("Expected {expected} but found {found} at character {at}"))
    }

    fn value(&mut self, token: Token, depth: usize) -> Result<Value> {
        self.effort.step(0)?;
        match token.kind {
            Kind::Text(ref text) => self.lua.create_string(text).map(Value::String),
            Kind::Number(number) => Ok(Value::Number(number)),
            Kind::Boolean(value) => Ok(Value::Boolean(value)),
            Kind::Null => Ok(null()),
            Kind::ObjectBegin => self.object(depth + 1),
            Kind::ArrayBegin => self.array(depth + 1),
            Kind::ObjectEnd | Kind::ArrayEnd | Kind::Colon | Kind::Comma | Kind::End | Kind::Error(_) => {
                Err(self.refuse("value", &token))
            }
        }
    }

    fn check_depth(&self, depth: usize) -> Result<()> {
        if depth > self.settings.depth_decoded_max.get() {
            let sentence = format!("Found too many nested data structures ({depth}) at character {}", self.at);
            return Err(fail(self.lua, &sentence));
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Kind::Text(key) = &token.kind else { return Err(self.refuse("object key string", &token)) };
            let key = self.lua.create_string(key)?;
            let colon = self.next();
            if !matches!(colon.kind, Kind::Colon) {
                return Err(self.refuse("colon", &colon));
            }
            let first = self.next();
            let value = self.value(first, depth)?;
            table.raw_set(key, value)?;
            let after = self.next();
            match after.kind {
                Kind::ObjectEnd => return Ok(Value::Table(table)),
                Kind::Comma => token = self.next(),
                _ => return Err(self.refuse("comma or object end", &after)),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            let value = self.value(token, depth)?;
            table.raw_set(index, value)?;
            let after = self.next();
            match after.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.next(),
                _ => return Err(self.refuse("comma or array end", &after)),
            }
        }
        Ok(Value::Table(table))
    }

    fn next(&mut self) -> Token {
        while self.text.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let Some(&byte) = self.text.get(at) else { return Token { kind: Kind::End, at } };
        let single = match byte {
            b'{' => Some(Kind::ObjectBegin),
            b'}' => Some(Kind::ObjectEnd),
            b'[' => Some(Kind::ArrayBegin),
            b']' => Some(Kind::ArrayEnd),
            b':' => Some(Kind::Colon),
            b',' => Some(Kind::Comma),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Token { kind, at };
        }
        if byte == b'"' {
            return self.string();
        }
        for (word, kind) in [("true", Kind::Boolean(true)), ("false", Kind::Boolean(false)), ("null", Kind::Null)] {
            if self.text[at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Token { kind, at };
            }
        }
        let kind = self.numeral().map_or_else(Kind::Error, Kind::Number);
        Token { kind, at }
    }

    fn string(&mut self) -> Token {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let at = self.at;
            let Some(&byte) = self.text.get(at) else {
                return Token { kind: Kind::Error("unexpected end of string"), at };
            };
            self.at += 1;
            match byte {
                b'"' => return Token { kind: Kind::Text(text), at },
                b'\\' => {
                    let escape = self.text.get(self.at).copied();
                    let plain = match escape {
                        Some(b'u') => match self.escaped_unit() {
                            Some(character) => {
                                let mut buffer = [0; 4];
                                text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                                continue;
                            }
                            None => return Token { kind: Kind::Error("invalid unicode escape code"), at },
                        },
                        Some(b'b') => 8,
                        Some(b't') => 9,
                        Some(b'n') => 10,
                        Some(b'f') => 12,
                        Some(b'r') => 13,
                        Some(plain @ (b'"' | b'\\' | b'/')) => plain,
                        _ => return Token { kind: Kind::Error("invalid escape code"), at },
                    };
                    self.at += 1;
                    text.push(plain);
                }
                0 => return Token { kind: Kind::Error("unexpected end of string"), at },
                other => text.push(other),
            }
        }
    }

    fn hex_unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        let digits =
            std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The character of `\uXXXX`, or of two of them; the reader stands at the `u`.
    fn escaped_unit(&mut self) -> Option<char> {
        let first = self.hex_unit(self.at + 1)?;
        self.at += 5;
        if (0xd800..0xdc00).contains(&first) {
            if self.text.get(self.at..self.at + 2) != Some(b"\\u") {
                return None;
            }
            let second = self.hex_unit(self.at + 2).filter(|unit| (0xdc00..0xe000).contains(unit))?;
            self.at += 6;
            return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        char::from_u32(first)
    }

    fn numeral(&mut self) -> std::result::Result<f64, &'static str> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let word = std::str::from_utf8(&rest[..length.count()]).unwrap_or_default();
        let unsigned = word.strip_prefix('-').unwrap_or(word);
        let is_valid = {
            let mut digits = unsigned.bytes();
            match (digits.next(), digits.next()) {
                (Some(b'0'), Some(b'0'..=b'9' | b'x' | b'X')) => false,
                (Some(b'0'..=b'9'), _) => true,
                _ => false,
            }
        };
        if !is_valid {
            let starts = unsigned.starts_with(|first: char| first.is_ascii_digit());
            let lower = unsigned.to_ascii_lowercase();
            let special = lower.starts_with("inf") || lower.starts_with("nan");
            if !(starts || special) || !self.settings.invalid_decoded.get() {
                return Err(if starts || special { "invalid number" } else { "invalid token" });
            }
            if special {
                let name = if lower.starts_with("infinity") { 8 } else { 3 };
                self.at += word.len() - unsigned.len() + name;
                let value = if lower.starts_with("nan") { f64::NAN } else { f64::INFINITY };
                return Ok(if word.starts_with('-') { -value } else { value });
            }
            if let Some(hex) = lower.strip_prefix("0x") {
                let digits = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
                let value = hex[..digits].bytes().fold(0.0, |value, digit| {
                    value * 16.0 + f64::from(char::from(digit).to_digit(16).unwrap_or_default())
                });
                self.at += word.len() - unsigned.len() + 2 + digits;
                return Ok(if word.starts_with('-') { -value } else { value });
            }
        }
        // The longest beginning that is a number.
        let mut end = word.len();
        while end > 0 {
            if let Ok(value) = word[..end].parse::<f64>() {
                self.at += end;
                return Ok(value);
            }
            end -= 1;
        }
        Err("invalid number")
    }
}
