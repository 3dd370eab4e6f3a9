//! The life of Lua's stack: the functions that leave it, and what is run on it, one thing after the other.
//!
//! A loop of Lua's own asks for what is to be run, runs it and says how it ended: neither a call into Lua nor a look
//! for the way in is made for each script.

use super::{
    Answer, Exchange, Failure, Job, PAUSE, Question, is_small, natives, plain_text, unlimited, unwind, whole_reply,
};
use crate::limits::{SCRIPT_CROWDED_BYTES, SCRIPT_MEMORY_BYTES_MAX};
use crate::scripting::effort::Effort;
use crate::scripting::{convert, json, number, printed, type_name};
use corosensei::Yielder;
use mlua::{Function, Lua, MultiValue, Table, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

type Out = Yielder<Answer, Question>;

const BOOTSTRAP: &str = include_str!("../bootstrap.lua");

/// Sets up, leaves the stack, then runs one thing after the other.
pub(super) fn live(lua: &Lua, exchange: &Rc<Exchange>, settings: &Rc<json::Settings>, out: &Out) -> mlua::Result<()> {
    // What is to be run first when the loop begins.
    let first = RefCell::new(None);
    // Bytes that were in use when everything that was garbage had just been collected.
    let kept = Cell::new(0);
    let (first, kept) = (&first, &kept);
    lua.scope(|scope| {
        let native = natives::natives(lua, exchange, settings)?;
        let redis: Table = native.get("redis")?;
        redis.set(
            "call",
            scope
                .create_function(move |lua, args: MultiValue| call(lua, exchange, out, &args)?.map_err(whole_reply))?,
        )?;
        redis.set(
            "pcall",
            scope.create_function(move |lua, args: MultiValue| {
                call(lua, exchange, out, &args)?.or_else(|text| small(lua, || error_table(lua, &text)))
            })?,
        )?;
        redis.set(
            "acl_check_cmd",
            scope.create_function(move |lua, args: MultiValue| check(lua, exchange, out, &args))?,
        )?;
        let pause = scope.create_function(move |_, ()| {
            out.suspend(Question::Pause);
            Ok(())
        })?;
        lua.set_named_registry_value(PAUSE, pause)?;
        native.set(
            "collect",
            scope.create_function(move |lua, ()| {
                lua.gc_collect()?;
                kept.set(lua.used_memory());
                Ok(())
            })?,
        )?;
        native.set(
            "ask",
            scope.create_function(move |lua, (is_well, value, is_sequence): (Option<bool>, Value, bool)| {
                let ended = is_well.map(|is_well| Ended { is_well, value, is_sequence });
                unlimited(lua, || {
                    let (function, environment, keys, argv) = ask(lua, exchange, out, first, ended);
                    let is_crowded = lua.used_memory() > SCRIPT_CROWDED_BYTES.max(kept.get() + kept.get() / 4);
                    Ok((function, environment, keys, argv, is_crowded))
                })
            })?,
        )?;
        let doors: Table = lua.load(BOOTSTRAP).set_name("=pelago").call(native)?;
        let serve: Function = doors.get("serve")?;
        lua.set_named_registry_value("pelago.doors", doors)?;
        lua.set_memory_limit(0)?;
        loop {
            first.replace(Some(wait(out)));
            lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
            // It ends if a script is unwound, with all that is around it, or the memory is short around a script.
            let ended = serve.call::<()>(());
            lua.set_memory_limit(0)?;
            let text = ended.map_or_else(|error| plain_text(&error), |()| "the loop of scripts has ended".to_owned());
            exchange.failed.replace(Some(Failure { text: format!("ERR {text}"), place: None }));
        }
    })
}

/// Waits for what is to be run.
fn wait(out: &Out) -> Job {
    loop {
        if let Answer::Run(job) = out.suspend(Question::Done) {
            return job;
        }
    }
}

/// What the loop is to run: a function, what its environment reads from, its keys and its other arguments.
type Asked = (Function, Option<Table>, Option<Table>, Option<Table>);

/// What a run has ended with.
struct Ended {
    /// Whether it has returned the value, or failed with it.
    is_well: bool,
    value: Value,
    /// The value is a table that is answered as a sequence.
    is_sequence: bool,
}

/// Takes what a run has ended with, and gives what is to be run next.
fn ask(lua: &Lua, exchange: &Exchange, out: &Out, first: &RefCell<Option<Job>>, ended: Option<Ended>) -> Asked {
    if let Some(ended) = &ended
        && let Err(error) = note_end(lua, exchange, ended)
    {
        exchange.failed.replace(Some(Failure { text: format!("ERR {}", plain_text(&error)), place: None }));
    }
    drop(ended);
    let job = first.take();
    match job.unwrap_or_else(|| wait(out)) {
        Job::Script { function, environment, keys, argv } => (function, Some(environment), Some(keys), Some(argv)),
        Job::Function { function, keys, argv } => (function, None, Some(keys), Some(argv)),
        Job::Library(function) => (function, None, None, None),
    }
}

/// Notes what a run has returned, or the error that it ended with.
fn note_end(lua: &Lua, exchange: &Exchange, Ended { is_well, value, is_sequence }: &Ended) -> mlua::Result<()> {
    if *is_well {
        let (reply, effort) = (&mut exchange.answer.borrow_mut(), Effort::new(lua));
        let mut writer = convert::ReplyWriter { reply, script_version: exchange.version.get(), effort: &effort };
        return match value {
            Value::Table(table) if *is_sequence => writer.sequence(table),
            value => writer.value(value, 0),
        };
    }
    let failure = match value {
        Value::Table(table) => Failure {
            text: match table.raw_get::<Value>("err")? {
                Value::String(text) => text.to_string_lossy(),
                _ => "ERR unknown error".to_owned(),
            },
            place: match (table.raw_get::<Value>("source")?, table.raw_get::<Value>("line")?) {
                (Value::String(source), Value::Integer(line)) => Some(format!("{}:{line}", source.to_string_lossy())),
                _ => None,
            },
        },
        Value::String(text) => Failure { text: format!("ERR {}", text.to_string_lossy()), place: None },
        other => Failure { text: format!("ERR {}", type_name(other)), place: None },
    };
    exchange.failed.replace(Some(failure));
    Ok(())
}

/// `redis.call` and `redis.pcall`: a value, or the text of an error. The outer error ends the script.
fn call(lua: &Lua, exchange: &Rc<Exchange>, out: &Out, args: &MultiValue) -> mlua::Result<Result<Value, String>> {
    // What ended a coroutine of the script ends the script, before it does anything else.
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    if let Err(text) = take_words(lua, exchange, args)? {
        return Ok(Err(text.to_owned()));
    }
    out.suspend(Question::Call);
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let reply = exchange.reply.borrow();
    match reply.bytes().split_first() {
        Some((b'-', text)) => {
            let text = text.strip_suffix(b"\r\n").unwrap_or(text);
            Ok(Err(String::from_utf8_lossy(text).into_owned()))
        }
        _ if is_small(reply.len()) => small(lua, || convert::value_of(lua, reply.bytes())).map(Ok),
        _ => convert::value_of(lua, reply.bytes()).map(Ok),
    }
}

/// Does something small for the script that runs: without the limit, unless the script has reached it already.
fn small<T>(lua: &Lua, work: impl FnOnce() -> mlua::Result<T>) -> mlua::Result<T> {
    if lua.used_memory() < SCRIPT_MEMORY_BYTES_MAX { unlimited(lua, work) } else { work() }
}

fn error_table(lua: &Lua, text: &str) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(Value::Table(table))
}

/// `redis.acl_check_cmd`.
fn check(lua: &Lua, exchange: &Rc<Exchange>, out: &Out, args: &MultiValue) -> mlua::Result<bool> {
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    take_words(lua, exchange, args)?.map_err(|text| whole_reply(text.to_owned()))?;
    out.suspend(Question::Check);
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let unknown = || whole_reply("ERR Invalid command passed to redis.acl_check_cmd()".to_owned());
    exchange.allowed.get().ok_or_else(unknown)
}

/// Notes the words of a call. The inner error is the text of a refusal.
fn take_words(lua: &Lua, exchange: &Exchange, args: &MultiValue) -> mlua::Result<Result<(), &'static str>> {
    if args.is_empty() {
        return Ok(Err("ERR Please specify at least one argument for this redis lib call"));
    }
    let mut words = exchange.words.borrow_mut();
    words.clear();
    // One text may be many of the words.
    let effort = Effort::new(lua);
    for value in args {
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                effort.step(words.bytes() + text.len())?;
                words.push(&text);
            }
            other => match number(other) {
                Some(number) if number.trunc() == number && number.abs() < 1e15 && number != 0.0 => {
                    words.push(itoa::Buffer::new().format(number as i64).as_bytes());
                }
                Some(number) => words.push(printed(number, 17).as_bytes()),
                None => return Ok(Err("ERR Lua redis lib command arguments must be strings or integers")),
            },
        }
    }
    Ok(Ok(()))
}
