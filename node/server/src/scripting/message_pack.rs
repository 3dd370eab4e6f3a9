//! The library `cmsgpack`: values as MessagePack.

use super::effort::Effort;
use super::{fail, number, to_number, type_name};
use mlua::{Lua, LuaString, MultiValue, Result, Table, Value};

/// How deep values are packed; what is deeper is packed as nothing.
const DEPTH_MAX: usize = 16;

/// How deep values are unpacked: beyond it the data is refused.
const UNPACKED_DEPTH_MAX: usize = 1000;

/// The library.
pub fn library(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set("pack", lua.create_function(pack)?)?;
    table.set("unpack", lua.create_function(unpack)?)?;
    table.set("unpack_one", lua.create_function(unpack_one)?)?;
    table.set("unpack_limit", lua.create_function(unpack_limit)?)?;
    table.set("_NAME", "cmsgpack")?;
    table.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    if args.is_empty() {
        return Err(fail(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)"));
    }
    let (mut out, effort) = (Vec::new(), Effort::new(lua));
    for value in &args {
        encode(&effort, &mut out, value, 0)?;
    }
    lua.create_string(&out)
}

fn encode(effort: &Effort<'_>, out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<()> {
    effort.step(out.len())?;
    match value {
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::String(text) => {
            let text = text.as_bytes();
            effort.step(out.len() + text.len())?;
            encode_text(out, &text);
        }
        Value::Table(table) if depth < DEPTH_MAX => encode_table(effort, out, table, depth)?,
        other => match number(other) {
            Some(number) => encode_number(out, number),
            None => out.push(0xc0),
        },
    }
    Ok(())
}

fn encode_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend([0xd9, length as u8]),
        length @ 256..65536 => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn encode_number(out: &mut Vec<u8>, number: f64) {
    // Beyond these bounds the cast would be to another number.
    let is_integer = number.trunc() == number && (-9.2e18..9.2e18).contains(&number);
    if !is_integer {
        let short = number as f32;
        if f64::from(short) == number {
            out.push(0xca);
            out.extend(short.to_be_bytes());
        } else {
            out.push(0xcb);
            out.extend(number.to_be_bytes());
        }
        return;
    }
    match number as i64 {
        value @ 0..128 => out.push(value as u8),
        value @ 128..256 => out.extend([0xcc, value as u8]),
        value @ 256..65536 => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        value @ 65536..=0xffff_ffff => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        value if value > 0 => {
            out.push(0xcf);
            out.extend((value as u64).to_be_bytes());
        }
        value @ -32..0 => out.push(value as i8 as u8),
        value @ -128..-32 => out.extend([0xd0, value as i8 as u8]),
        value @ -32768..-128 => {
            out.push(0xd1);
            out.extend((value as i16).to_be_bytes());
        }
        value @ -2_147_483_648..-32768 => {
            out.push(0xd2);
            out.extend((value as i32).to_be_bytes());
        }
        value => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

fn encode_table(effort: &Effort<'_>, out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<()> {
    let (mut count, mut largest, mut is_array) = (0, 0.0f64, true);
    for pair in table.pairs::<Value, Value>() {
        effort.step(out.len())?;
        count += 1;
        match number(&pair?.0) {
            Some(key) if key > 0.0 && key.trunc() == key => largest = largest.max(key),
            _ => is_array = false,
        }
    }
    if is_array && largest == count as f64 {
        header(out, count, 0x90, 0xdc);
        for index in 1..=count {
            encode(effort, out, &table.raw_get(index)?, depth + 1)?;
        }
        return Ok(());
    }
    header(out, count, 0x80, 0xde);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(effort, out, &key, depth + 1)?;
        encode(effort, out, &value, depth + 1)?;
    }
    Ok(())
}

fn header(out: &mut Vec<u8>, length: usize, fixed: u8, long: u8) {
    if length < 16 {
        out.push(fixed | length as u8);
    } else if length < 65536 {
        out.push(long);
        out.extend((length as u16).to_be_bytes());
    } else {
        out.push(long + 1);
        out.extend((length as u32).to_be_bytes());
    }
}

/// Data that is being unpacked.
struct Decoder<'l, 'd> {
    lua: &'l Lua,
    effort: Effort<'l>,
    /// Bytes of what is returned beside Lua's own.
    returned: usize,
    data: &'d [u8],
    at: usize,
}

/// Why data was refused.
enum Refused {
    Missing,
    Malformed,
    Lua(mlua::Error),
}

impl From<mlua::Error> for Refused {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

impl Decoder<'_, '_> {
    fn take(&mut self, length: usize) -> std::result::Result<&[u8], Refused> {
        let end = self.at.checked_add(length).ok_or(Refused::Missing)?;
        let taken = self.data.get(self.at..end).ok_or(Refused::Missing)?;
        self.at = end;
        Ok(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> std::result::Result<u64, Refused> {
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> std::result::Result<Value, Refused> {
        self.effort.step(self.returned)?;
        if depth > UNPACKED_DEPTH_MAX {
            return Err(Refused::Malformed);
        }
        let signed = |value: u64, bits: u32| Value::Number((((value << (64 - bits)) as i64) >> (64 - bits)) as f64);
        let code = self.unsigned(1)? as u8;
        Ok(match code {
            0x00..=0x7f => Value::Number(f64::from(code)),
            0xe0..=0xff => Value::Number(f64::from(code as i8)),
            0xcc..=0xcf => Value::Number(self.unsigned(1 << (code - 0xcc))? as f64),
            0xd0..=0xd3 => {
                let bytes = 1usize << (code - 0xd0);
                signed(self.unsigned(bytes)?, bytes as u32 * 8)
            }
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xa0..=0xbf => self.text(usize::from(code & 0x1f))?,
            0xd9 | 0xc4 => {
                let length = self.unsigned(1)?;
                self.text(length as usize)?
            }
            0xda | 0xc5 => {
                let length = self.unsigned(2)?;
                self.text(length as usize)?
            }
            0xdb | 0xc6 => {
                let length = self.unsigned(4)?;
                self.text(length as usize)?
            }
            0x90..=0x9f => self.array(u64::from(code & 0xf), depth)?,
            0xdc | 0xdd => {
                let length = self.unsigned(2 << (code - 0xdc))?;
                self.array(length, depth)?
            }
            0x80..=0x8f => self.map(u64::from(code & 0xf), depth)?,
            0xde | 0xdf => {
                let length = self.unsigned(2 << (code - 0xde))?;
                self.map(length, depth)?
            }
            _ => return Err(Refused::Malformed),
        })
    }

    fn text(&mut self, length: usize) -> std::result::Result<Value, Refused> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(length)?)?))
    }

    fn array(&mut self, length: u64, depth: usize) -> std::result::Result<Value, Refused> {
        let table = self.lua.create_table()?;
        for index in 1..=length {
            let value = self.value(depth + 1)?;
            table.raw_set(index as i64, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: u64, depth: usize) -> std::result::Result<Value, Refused> {
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            if matches!(key, Value::Nil) {
                return Err(Refused::Lua(fail(self.lua, "index is nil")));
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}

fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    unpack_full(lua, &args, "unpack", 0.0, 0.0)
}

fn unpack_one(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let offset = args.get(1).and_then(to_number).unwrap_or(0.0);
    unpack_full(lua, &args, "unpack_one", 1.0, offset)
}

fn unpack_limit(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let Some(limit) = args.get(1).and_then(to_number) else {
        let given = args.get(1).map_or("no value", type_name);
        return Err(fail(lua, &format!("bad argument #2 to 'unpack_limit' (number expected, got {given})")));
    };
    let offset = args.get(2).and_then(to_number).unwrap_or(0.0);
    unpack_full(lua, &args, "unpack_limit", limit, offset)
}

/// Unpacks at most `limit` values from `offset` on; all if the limit is zero. With a limit or an offset the place where it
/// stopped comes first.
fn unpack_full(lua: &Lua, args: &MultiValue, function: &str, limit: f64, offset: f64) -> Result<MultiValue> {
    // A number is its digits, as wherever Lua wants a text.
    let Some(text) = args.front().cloned().map(|value| lua.coerce_string(value)).transpose()?.flatten() else {
        let given = args.front().map_or("no value", type_name);
        return Err(fail(lua, &format!("bad argument #1 to '{function}' (string expected, got {given})")));
    };
    let data = text.as_bytes();
    if offset < 0.0 || limit < 0.0 {
        let sentence = format!("Invalid request to unpack with offset of {offset} and limit of {}.", data.len());
        return Err(fail(lua, &sentence));
    }
    if offset > data.len() as f64 {
        let sentence = format!("Start offset {offset} greater than input length {}.", data.len());
        return Err(fail(lua, &sentence));
    }
    let places = limit != 0.0 || offset != 0.0;
    let most = if limit == 0.0 { f64::INFINITY } else { limit };
    let mut decoder = Decoder { lua, effort: Effort::new(lua), returned: 0, data: &data, at: offset as usize };
    let mut values = Vec::new();
    while decoder.at < data.len() && (values.len() as f64) < most {
        match decoder.value(0) {
            Ok(value) => {
                values.push(value);
                decoder.returned += size_of::<Value>();
            }
            Err(Refused::Missing) => return Err(fail(lua, "Missing bytes in input.")),
            Err(Refused::Malformed) => return Err(fail(lua, "Bad data format in input.")),
            Err(Refused::Lua(error)) => return Err(error),
        }
    }
    if places {
        let next = if decoder.at == data.len() { -1.0 } else { decoder.at as f64 };
        values.insert(0, Value::Number(next));
    }
    Ok(MultiValue::from_vec(values))
}
