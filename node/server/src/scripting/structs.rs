//! The library `struct`: values packed as C lays them out.

use super::effort::Effort;
use super::{fail, to_number, type_name};
use mlua::{Lua, LuaString, MultiValue, Result, Table, Value};

/// The largest alignment, that of a double.
const ALIGNMENT_MAX: usize = 8;

/// The largest integer in bytes.
const INTEGER_BYTES_MAX: usize = 32;

/// The library.
pub fn library(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set("pack", lua.create_function(pack)?)?;
    table.set("unpack", lua.create_function(unpack)?)?;
    table.set("size", lua.create_function(size)?)?;
    Ok(table)
}

/// A format that is being read.
struct Format {
    text: Vec<u8>,
    at: usize,
    is_little: bool,
    alignment: usize,
    /// Who reads it.
    function: &'static str,
}

/// One item of a format.
#[derive(Clone, Copy)]
enum Item {
    Integer {
        bytes: usize,
        is_signed: bool,
    },
    Float,
    Double,
    /// `c`: so many bytes; of `c0` as many as the value has, or the number before says.
    Text(usize),
    /// Text that a zero ends.
    Terminated,
    Padding,
}

impl Format {
    fn new(text: &LuaString, function: &'static str) -> Self {
        Self {
            text: text.as_bytes().to_vec(),
            at: 0,
            is_little: cfg!(target_endian = "little"),
            alignment: 1,
            function,
        }
    }

    fn number(&mut self, lua: &Lua) -> Result<Option<usize>> {
        let start = self.at;
        let mut value = 0usize;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            let next = value.checked_mul(10).and_then(|value| value.checked_add(usize::from(digit - b'0')));
            value =
                next.filter(|value| *value <= i32::MAX as usize).ok_or_else(|| fail(lua, "integral size overflow"))?;
            self.at += 1;
        }
        Ok((self.at > start).then_some(value))
    }

    fn integer_bytes(&mut self, lua: &Lua, by_default: usize) -> Result<usize> {
        let bytes = self.number(lua)?.unwrap_or(by_default);
        if bytes > INTEGER_BYTES_MAX {
            return Err(fail(lua, &format!("integral size {bytes} is larger than limit of {INTEGER_BYTES_MAX}")));
        }
        Ok(bytes)
    }

    /// The next item, with the bytes of padding before it where `offset` bytes have been.
    fn next(&mut self, lua: &Lua, offset: usize) -> Result<Option<(Item, usize)>> {
        while let Some(&code) = self.text.get(self.at) {
            self.at += 1;
            let integer = |bytes, is_signed| Item::Integer { bytes, is_signed };
            let item = match code {
                b' ' => continue,
                b'<' | b'>' => {
                    self.is_little = code == b'<';
                    continue;
                }
                b'!' => {
                    let alignment = self.number(lua)?.unwrap_or(ALIGNMENT_MAX);
                    if alignment == 0 || !alignment.is_power_of_two() {
                        return Err(fail(lua, "alignment is not a power of 2"));
                    }
                    self.alignment = alignment;
                    continue;
                }
                b'b' => integer(1, true),
                b'B' => integer(1, false),
                b'h' => integer(2, true),
                b'H' => integer(2, false),
                b'l' => integer(8, true),
                b'L' | b'T' => integer(8, false),
                b'i' => integer(self.integer_bytes(lua, 4)?, true),
                b'I' => integer(self.integer_bytes(lua, 4)?, false),
                b'f' => Item::Float,
                b'd' | b'n' => Item::Double,
                b'x' => Item::Padding,
                b's' => Item::Terminated,
                b'c' => Item::Text(self.number(lua)?.unwrap_or(1)),
                other => {
                    let (function, other) = (self.function, char::from(other));
                    let sentence = format!("bad argument #1 to '{function}' (invalid format option '{other}')");
                    return Err(fail(lua, &sentence));
                }
            };
            return Ok(Some((item, self.padding(item, offset))));
        }
        Ok(None)
    }

    fn padding(&self, item: Item, offset: usize) -> usize {
        let size = match item {
            Item::Integer { bytes, .. } => bytes,
            Item::Float => 4,
            Item::Double => 8,
            Item::Text(_) | Item::Terminated | Item::Padding => return 0,
        };
        let alignment = size.min(self.alignment);
        match alignment {
            0 | 1 => 0,
            _ => (alignment - (offset & (alignment - 1))) & (alignment - 1),
        }
    }
}

fn text_argument(lua: &Lua, args: &MultiValue, at: usize, function: &str) -> Result<LuaString> {
    let value = args.get(at);
    let text = match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Integer(_) | Value::Number(_)) => lua.coerce_string(args[at].clone())?,
        _ => None,
    };
    text.ok_or_else(|| {
        let given = value.map_or("no value", type_name);
        fail(lua, &format!("bad argument #{} to '{function}' (string expected, got {given})", at + 1))
    })
}

fn number_argument(lua: &Lua, args: &MultiValue, at: usize, function: &str) -> Result<f64> {
    let value = args.get(at);
    value.and_then(to_number).ok_or_else(|| {
        // A mark ends the arguments of `pack`.
        let missing = if function == "pack" { "nil" } else { "no value" };
        let given = value.map_or(missing, type_name);
        fail(lua, &format!("bad argument #{} to '{function}' (number expected, got {given})", at + 1))
    })
}

fn pack(lua: &Lua, args: MultiValue) -> Result<LuaString> {
    let mut format = Format::new(&text_argument(lua, &args, 0, "pack")?, "pack");
    let (mut packed, effort) = (Vec::new(), Effort::new(lua));
    let mut at = 1;
    while let Some((item, padding)) = format.next(lua, packed.len())? {
        effort.step(packed.len())?;
        packed.resize(packed.len() + padding, 0);
        match item {
            Item::Padding => packed.push(0),
            Item::Integer { bytes, .. } => {
                let number = number_argument(lua, &args, at, "pack")?;
                at += 1;
                let value = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                let start = packed.len();
                let fill = if number < 0.0 { 0xff } else { 0 };
                packed.extend((0..bytes).map(|place| if place < 8 { (value >> (8 * place)) as u8 } else { fill }));
                if !format.is_little {
                    packed[start..].reverse();
                }
            }
            Item::Float | Item::Double => {
                let number = number_argument(lua, &args, at, "pack")?;
                at += 1;
                let start = packed.len();
                match item {
                    Item::Float => packed.extend((number as f32).to_le_bytes()),
                    _ => packed.extend(number.to_le_bytes()),
                }
                if !format.is_little {
                    packed[start..].reverse();
                }
            }
            Item::Text(size) => {
                let text = text_argument(lua, &args, at, "pack")?;
                at += 1;
                let text = text.as_bytes();
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(fail(lua, &format!("bad argument #{} to 'pack' (string too short)", at + 1)));
                }
                effort.step(packed.len() + size)?;
                packed.extend_from_slice(&text[..size]);
            }
            Item::Terminated => {
                let text = text_argument(lua, &args, at, "pack")?;
                at += 1;
                let text = text.as_bytes();
                effort.step(packed.len() + text.len())?;
                packed.extend_from_slice(&text);
                packed.push(0);
            }
        }
    }
    lua.create_string(&packed)
}

fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let mut format = Format::new(&text_argument(lua, &args, 0, "unpack")?, "unpack");
    let data = text_argument(lua, &args, 1, "unpack")?;
    let data = data.as_bytes();
    let start = if args.len() > 2 { number_argument(lua, &args, 2, "unpack")? } else { 1.0 };
    if start < 1.0 {
        return Err(fail(lua, "offset must be 1 or greater"));
    }
    let mut at = start as usize - 1;
    let (mut values, effort): (Vec<Value>, _) = (Vec::new(), Effort::new(lua));
    while let Some((item, padding)) = format.next(lua, at)? {
        effort.step(values.len() * size_of::<Value>())?;
        at = at.saturating_add(padding);
        let rest = data.get(at..).unwrap_or_default();
        let need = |size: usize| {
            let short = || fail(lua, "bad argument #2 to 'unpack' (data string too short)");
            rest.get(..size).ok_or_else(short)
        };
        match item {
            Item::Padding => {
                need(1)?;
                at += 1;
            }
            Item::Integer { bytes, is_signed } => {
                values.push(Value::Number(integer(need(bytes)?, format.is_little, is_signed)));
                at += bytes;
            }
            Item::Float => {
                let mut four: [u8; 4] = need(4)?.try_into().unwrap_or_default();
                if !format.is_little {
                    four.reverse();
                }
                values.push(Value::Number(f64::from(f32::from_le_bytes(four))));
                at += 4;
            }
            Item::Double => {
                let mut eight: [u8; 8] = need(8)?.try_into().unwrap_or_default();
                if !format.is_little {
                    eight.reverse();
                }
                values.push(Value::Number(f64::from_le_bytes(eight)));
                at += 8;
            }
            Item::Text(size) => {
                let size = match size {
                    0 => match values.pop().as_ref().and_then(super::number) {
                        Some(size) if size >= 0.0 => size as usize,
                        _ => return Err(fail(lua, "format `c0' needs a previous size")),
                    },
                    size => size,
                };
                values.push(Value::String(lua.create_string(need(size)?)?));
                at += size;
            }
            Item::Terminated => {
                let end = rest.iter().position(|byte| *byte == 0);
                let end = end.ok_or_else(|| fail(lua, "unfinished string in data"))?;
                values.push(Value::String(lua.create_string(&rest[..end])?));
                at += end + 1;
            }
        }
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(MultiValue::from_vec(values))
}

fn integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let low_first: Vec<u8> = if is_little { bytes.to_vec() } else { bytes.iter().rev().copied().collect() };
    let value = low_first.iter().take(8).rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if !is_signed {
        return value as f64;
    }
    let bits = bytes.len().min(8) as u32 * 8;
    match bits {
        0 => 0.0,
        bits => (((value << (64 - bits)) as i64) >> (64 - bits)) as f64,
    }
}

fn size(lua: &Lua, args: MultiValue) -> Result<f64> {
    let mut format = Format::new(&text_argument(lua, &args, 0, "size")?, "size");
    let mut at = 0usize;
    while let Some((item, padding)) = format.next(lua, at)? {
        let size = match item {
            Item::Padding => 1,
            Item::Integer { bytes, .. } => bytes,
            Item::Float => 4,
            Item::Double => 8,
            Item::Terminated => return Err(fail(lua, "bad argument #1 to 'size' (option 's' has no fixed size)")),
            Item::Text(0) => return Err(fail(lua, "bad argument #1 to 'size' (option 'c0' has no fixed size)")),
            Item::Text(size) => size,
        };
        at = at.saturating_add(padding).saturating_add(size);
    }
    Ok(at as f64)
}
