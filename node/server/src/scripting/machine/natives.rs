//! The functions that scripts find beside Lua's own and that own nothing of a command: the libraries, most of `redis`,
//! and numbers by chance.

use super::{Exchange, plain, position, unplaced, whole_reply};
use crate::limits::SCRIPT_PATTERN_ITEMS_MAX;
use crate::scripting::effort::Effort;
use crate::scripting::{bits, json, library, message_pack, structs};
use mlua::{Lua, LuaString, MultiValue, Table, Value};
use resp::Version;
use std::rc::Rc;

/// The functions that are written here and own nothing of a command.
pub(super) fn natives(lua: &Lua, exchange: &Rc<Exchange>, settings: &Rc<json::Settings>) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    native.set("cjson", json::library(lua, settings)?)?;
    native.set("cmsgpack", message_pack::library(lua)?)?;
    native.set("struct", structs::library(lua)?)?;
    native.set("bit", bits::library(lua)?)?;
    native.set("unplaced", lua.create_function(|lua, value: Value| unplaced(lua, value))?)?;
    native.set("pattern_items_max", SCRIPT_PATTERN_ITEMS_MAX)?;
    native.set("too_complex", lua.create_function(|_, pattern: LuaString| Ok(is_too_complex(&pattern.as_bytes())))?)?;
    native.set("plain", lua.create_function(|lua, value: Value| plain(lua, value))?)?;
    native.set("position", lua.create_function(position)?)?;
    native.set(
        "text_of",
        lua.create_function(|lua, value: Value| {
            Ok(lua.coerce_string(value)?.map(|text| text.to_string_lossy()).unwrap_or_default())
        })?,
    )?;
    native.set("redis", redis(lua, exchange)?)?;
    native.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
    let shared = Rc::clone(exchange);
    native.set(
        "register_function",
        lua.create_function(move |lua, args: MultiValue| library::register(lua, &shared, &args).map_err(whole_reply))?,
    )?;
    let shared = Rc::clone(exchange);
    native.set("random", lua.create_function(move |lua, args: MultiValue| random(lua, &shared, &args))?)?;
    let shared = Rc::clone(exchange);
    native.set(
        "randomseed",
        lua.create_function(move |lua, args: MultiValue| {
            let Some(seed) = args.front().and_then(crate::scripting::to_number) else {
                let given = args.front().map_or("no value", crate::scripting::type_name);
                let sentence = format!("bad argument #1 to 'randomseed' (number expected, got {given})");
                return Err(crate::scripting::fail(lua, &sentence));
            };
            shared.chance.set(seeded(seed as i64 as u32));
            Ok(())
        })?,
    )?;
    Ok(native)
}

/// Whether Lua's matcher may call itself too deep with a pattern: it does for every repetition and every end of a capture,
/// whatever the text is.
fn is_too_complex(pattern: &[u8]) -> bool {
    let items = pattern.iter().filter(|byte| matches!(byte, b'?' | b'*' | b'+' | b'-' | b'(' | b')'));
    items.count() > SCRIPT_PATTERN_ITEMS_MAX
}

/// What the table `redis` has and is written here.
fn redis(lua: &Lua, exchange: &Rc<Exchange>) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.set("REDIS_VERSION", crate::info::REDIS_VERSION)?;
    redis.set("REDIS_VERSION_NUM", crate::info::REDIS_VERSION_NUMBER)?;
    redis.set(
        "sha1hex",
        lua.create_function(|lua, args: MultiValue| {
            if args.len() != 1 {
                return Err(whole_reply("ERR wrong number of arguments".to_owned()));
            }
            let text = lua.coerce_string(args[0].clone())?.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
            lua.create_string(crate::scripting::cache::digest_of(&text))
        })?,
    )?;
    redis.set("log", lua.create_function(|lua, args: MultiValue| log(lua, &args)?.map_err(whole_reply))?)?;
    let shared = Rc::clone(exchange);
    redis.set(
        "setresp",
        lua.create_function(move |_, args: MultiValue| {
            if args.len() != 1 {
                return Err(whole_reply("ERR redis.setresp() requires one argument.".to_owned()));
            }
            match crate::scripting::to_number(&args[0]).map(|version| version as i64) {
                Some(2) => shared.version.set(Version::Resp2),
                Some(3) => shared.version.set(Version::Resp3),
                _ => return Err(whole_reply("ERR RESP version must be 2 or 3.".to_owned())),
            }
            Ok(())
        })?,
    )?;
    redis.set(
        "set_repl",
        lua.create_function(|_, args: MultiValue| {
            if args.len() != 1 {
                return Err(whole_reply("ERR redis.set_repl() requires two arguments.".to_owned()));
            }
            match crate::scripting::to_number(&args[0]) {
                Some(flags) if (0.0..4.0).contains(&flags) => Ok(()),
                _ => Err(whole_reply(
                    "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.".to_owned(),
                )),
            }
        })?,
    )?;
    Ok(redis)
}

/// `redis.log`. The inner error is a whole reply.
fn log(lua: &Lua, args: &MultiValue) -> mlua::Result<Result<(), String>> {
    if args.len() < 2 {
        return Ok(Err("ERR redis.log() requires two arguments or more.".to_owned()));
    }
    let Some(level) = crate::scripting::number(&args[0]) else {
        return Ok(Err("ERR First argument must be a number (log level).".to_owned()));
    };
    if !(0.0..=3.0).contains(&level) {
        return Ok(Err("ERR Invalid debug level.".to_owned()));
    }
    let (mut message, effort) = (String::new(), Effort::new(lua));
    for (at, value) in args.iter().skip(1).enumerate() {
        let length = if let Value::String(text) = value { text.as_bytes().len() } else { 0 };
        effort.step(message.len() + length)?;
        if at > 0 {
            message.push(' ');
        }
        message.push_str(&value.to_string().unwrap_or_default());
    }
    match level as u8 {
        0 => tracing::trace!(target: "script", "{message}"),
        1 => tracing::debug!(target: "script", "{message}"),
        2 => tracing::info!(target: "script", "{message}"),
        _ => tracing::warn!(target: "script", "{message}"),
    }
    Ok(Ok(()))
}

/// The state of the generator before it has a seed. It goes on from script to script, as in Redis.
pub(super) const UNSEEDED: u64 = 0x1234_abcd_330e;

/// The state of the generator of 48 bits for a seed.
fn seeded(seed: u32) -> u64 {
    u64::from(seed) << 16 | 0x330e
}

/// `math.random`, the same sequence after every start, as in Redis.
fn random(lua: &Lua, exchange: &Exchange, args: &MultiValue) -> mlua::Result<f64> {
    let next = exchange.chance.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
    exchange.chance.set(next);
    let most = f64::from(i32::MAX);
    let chance = f64::from((next >> 17) as u32 % i32::MAX as u32) / most;
    let bound = |at: usize| {
        args.get(at).and_then(crate::scripting::to_number).map(f64::trunc).ok_or_else(|| {
            let given = args.get(at).map_or("no value", crate::scripting::type_name);
            crate::scripting::fail(lua, &format!("bad argument #{} to 'random' (number expected, got {given})", at + 1))
        })
    };
    match args.len() {
        0 => Ok(chance),
        1 => {
            let upper = bound(0)?;
            if upper < 1.0 {
                return Err(crate::scripting::fail(lua, "bad argument #1 to 'random' (interval is empty)"));
            }
            Ok((chance * upper).floor() + 1.0)
        }
        2 => {
            let (lower, upper) = (bound(0)?, bound(1)?);
            if lower > upper {
                return Err(crate::scripting::fail(lua, "bad argument #2 to 'random' (interval is empty)"));
            }
            Ok((chance * (upper - lower + 1.0)).floor() + lower)
        }
        _ => Err(crate::scripting::fail(lua, "wrong number of arguments")),
    }
}
