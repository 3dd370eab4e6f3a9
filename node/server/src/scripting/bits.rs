//! The library `bit`: operations on numbers as 32 bits.

use super::{fail, to_number, type_name};
use mlua::{Lua, MultiValue, Result, Table};

/// Operations by their names.
type Named<Operation, const COUNT: usize> = [(&'static str, Operation); COUNT];
type Unary = fn(i32) -> i32;
type Binary = fn(i32, i32) -> i32;
type Shift = fn(i32, u32) -> i32;

/// The library.
pub fn library(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    let unary: Named<Unary, 3> = [("tobit", |a| a), ("bnot", |a| !a), ("bswap", i32::swap_bytes)];
    for (name, apply) in unary {
        let of_one = move |lua: &Lua, args: MultiValue| Ok(f64::from(apply(word(lua, &args, 0, name)?)));
        table.set(name, lua.create_function(of_one)?)?;
    }
    let folded: Named<Binary, 3> = [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, apply) in folded {
        let of_all = move |lua: &Lua, args: MultiValue| {
            let mut result = word(lua, &args, 0, name)?;
            for at in 1..args.len() {
                result = apply(result, word(lua, &args, at, name)?);
            }
            Ok(f64::from(result))
        };
        table.set(name, lua.create_function(of_all)?)?;
    }
    let shifts: Named<Shift, 5> = [
        ("lshift", |a, by| a << by),
        ("rshift", |a, by| ((a as u32) >> by) as i32),
        ("arshift", |a, by| a >> by),
        ("rol", i32::rotate_left),
        ("ror", i32::rotate_right),
    ];
    for (name, apply) in shifts {
        let shifted = move |lua: &Lua, args: MultiValue| {
            let by = word(lua, &args, 1, name)? as u32 & 31;
            Ok(f64::from(apply(word(lua, &args, 0, name)?, by)))
        };
        table.set(name, lua.create_function(shifted)?)?;
    }
    table.set("tohex", lua.create_function(to_hex)?)?;
    Ok(table)
}

fn to_hex(lua: &Lua, args: MultiValue) -> Result<String> {
    let value = word(lua, &args, 0, "tohex")? as u32;
    let digits = if args.len() > 1 { word(lua, &args, 1, "tohex")? } else { 8 };
    let count = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    Ok(text[8 - count..].to_owned())
}

/// A number wrapped to 32 bits, as the library for Lua does it.
fn word(lua: &Lua, args: &MultiValue, at: usize, function: &str) -> Result<i32> {
    let value = args.get(at);
    match value.and_then(to_number) {
        // Adding 1.5 * 2^52 leaves the low bits of the rounded number in the low half.
        Some(number) => Ok((number + 6_755_399_441_055_744.0).to_bits() as i32),
        None => {
            let given = value.map_or("no value", type_name);
            Err(fail(lua, &format!("bad argument #{} to '{function}' (number expected, got {given})", at + 1)))
        }
    }
}
