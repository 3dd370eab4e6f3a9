//! The life of Lua's stack: the functions that leave it, and what is run on it, one thing after the other.
//!
//! A loop of Lua's own asks for what is to be run, runs it and says how it ended: neither a call into Lua nor a look
//! for the way in is made for each script.

use super::{
    Answer, Exchange, Failure, Job, List, PAUSE, Question, is_small, natives, plain_text, unlimited, unwind,
    whole_reply,
};
use crate::command::table::Entry;
use crate::limits::{SCRIPT_CROWDED_BYTES, SCRIPT_MEMORY_BYTES_MAX};
use crate::scripting::effort::Effort;
use crate::scripting::{convert, json, number, printed, type_name};
use corosensei::Yielder;
use mlua::{FromLua, Function, Lua, LuaString, MultiValue, Table, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

type Out = Yielder<Answer, Question>;

const BOOTSTRAP: &str = include_str!("../bootstrap.lua");

/// Sets up, leaves the stack, then runs one thing after the other.
pub(super) fn live(lua: &Lua, exchange: &Rc<Exchange>, settings: &Rc<json::Settings>, out: &Out) -> mlua::Result<()> {
    // What is to be run first when the loop begins.
    let first = RefCell::new(None);
    // Bytes that were in use when everything that was garbage had just been collected.
    let kept = Cell::new(0);
    let is_sequence = OnceCell::<Function>::new();
    let names = Names::default();
    let (first, kept, is_sequence, names) = (&first, &kept, &is_sequence, &names);
    lua.scope(|scope| {
        let native = natives::natives(lua, exchange, settings)?;
        let redis: Table = native.get("redis")?;
        redis.set(
            "call",
            scope.create_function(move |lua, args: Arguments| {
                call(lua, exchange, out, names, &args)?.map_err(whole_reply)
            })?,
        )?;
        redis.set(
            "pcall",
            scope.create_function(move |lua, args: Arguments| {
                call(lua, exchange, out, names, &args)?.or_else(|text| small(lua, || error_table(lua, &text)))
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
            scope.create_function(move |lua, (is_well, value): (Option<bool>, Value)| {
                let is_sequence = match (&value, is_sequence.get()) {
                    (Value::Table(table), Some(is_sequence)) if is_well == Some(true) => is_sequence.call(table)?,
                    _ => false,
                };
                let ended = is_well.map(|is_well| Ended { is_well, value, is_sequence });
                unlimited(lua, || {
                    let asked = ask(lua, exchange, out, first, ended);
                    let is_crowded = lua.used_memory() > SCRIPT_CROWDED_BYTES.max(kept.get() + kept.get() / 4);
                    let (function, environment, (key_count, keys), (argument_count, argv)) = asked;
                    Ok((function, environment, key_count, keys, argument_count, argv, is_crowded))
                })
            })?,
        )?;
        let doors: Table = lua.load(BOOTSTRAP).set_name("=pelago").call(native)?;
        let serve: Function = doors.get("serve")?;
        let _ = is_sequence.set(doors.get("is_sequence")?);
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
type Asked = (Function, Option<Table>, Listed, Listed);

/// A list as the loop is given it: how many words it has if it makes the list, [`MADE`] if it need not, and nothing if there
/// is none; and the word or the list.
type Listed = (Option<i32>, Value);

/// In place of a number of words: the list is made.
const MADE: i32 = -1;

fn listed(list: List) -> Listed {
    match list {
        List::Empty => (Some(0), Value::Nil),
        List::One(word) => (Some(1), Value::String(word)),
        List::Made(table) => (Some(MADE), Value::Table(table)),
    }
}

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
        Job::Script { function, environment, keys, argv } => (function, Some(environment), listed(keys), listed(argv)),
        Job::Function { function, keys, argv } => (function, None, listed(keys), listed(argv)),
        Job::Library(function) => (function, None, (None, Value::Nil), (None, Value::Nil)),
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
fn call(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    out: &Out,
    names: &Names,
    args: &Arguments,
) -> mlua::Result<Result<Value, String>> {
    // What ended a coroutine of the script ends the script, before it does anything else.
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    // A name that was called before is neither read from Lua nor looked up again.
    let name = match given(args).next() {
        Some(Value::String(name)) => Some(name),
        _ => None,
    };
    exchange.words.borrow_mut().clear();
    let known = name.and_then(|name| names.take(name, exchange));
    exchange.named.set(known);
    if let Err(text) = take_words(lua, exchange, given(args).skip(usize::from(known.is_some())))? {
        return Ok(Err(text.to_owned()));
    }
    out.suspend(Question::Call);
    if known.is_none()
        && let (Some(name), Some(entry)) = (name, exchange.named.get())
    {
        names.keep(name, entry);
    }
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let reply = exchange.reply.borrow();
    match reply.bytes().split_first() {
        Some((b'-', text)) => {
            let text = text.strip_suffix(b"\r\n").unwrap_or(text);
            Ok(Err(String::from_utf8_lossy(text).into_owned()))
        }
        // A number takes nothing of Lua's memory.
        Some((b':', _)) => convert::value_of(lua, reply.bytes()).map(Ok),
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
    exchange.words.borrow_mut().clear();
    take_words(lua, exchange, args.iter())?.map_err(|text| whole_reply(text.to_owned()))?;
    out.suspend(Question::Check);
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let unknown = || whole_reply("ERR Invalid command passed to redis.acl_check_cmd()".to_owned());
    exchange.allowed.get().ok_or_else(unknown)
}

/// Notes the words of a call, behind those that are noted. The inner error is the text of a refusal.
fn take_words<'v>(
    lua: &Lua,
    exchange: &Exchange,
    args: impl Iterator<Item = &'v Value>,
) -> mlua::Result<Result<(), &'static str>> {
    let mut words = exchange.words.borrow_mut();
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
    Ok(if words.is_empty() { Err("ERR Please specify at least one argument for this redis lib call") } else { Ok(()) })
}

/// What `redis.call` is called with: the first values without memory of their own, and the rest.
type Arguments = (Given, Given, Given, Given, MultiValue);

/// A value, if one was given: nil is one, and no word.
struct Given(Option<Value>);

impl FromLua for Given {
    fn from_lua(value: Value, _lua: &Lua) -> mlua::Result<Self> {
        Ok(Self(Some(value)))
    }

    /// Called for a value that is not there; one that is goes through `from_lua`.
    fn from_lua_arg(_missing: Value, _at: usize, _function: Option<&str>, _lua: &Lua) -> mlua::Result<Self> {
        Ok(Self(None))
    }
}

/// Those that were given.
fn given((first, second, third, fourth, rest): &Arguments) -> impl Iterator<Item = &Value> {
    [first, second, third, fourth].into_iter().filter_map(|given| given.0.as_ref()).chain(rest)
}

/// How many names of commands are remembered: few scripts call more.
const NAMES_MAX: usize = 8;

/// The names of commands that scripts have called last. Lua has each text only once, so one that is kept is known again by
/// its place.
#[derive(Default)]
struct Names {
    known: RefCell<Vec<Known>>,
    /// Which one makes room for the next.
    oldest: Cell<usize>,
}

struct Known {
    place: *const c_void,
    bytes: Box<[u8]>,
    entry: &'static Entry,
    /// Kept, so that no other text comes to its place.
    _name: LuaString,
}

impl Names {
    /// Notes the name as a word and gives its command, if it is known.
    fn take(&self, name: &LuaString, exchange: &Exchange) -> Option<&'static Entry> {
        let place = name.to_pointer();
        let known = self.known.borrow();
        let known = known.iter().find(|known| known.place == place)?;
        exchange.words.borrow_mut().push(&known.bytes);
        Some(known.entry)
    }

    fn keep(&self, name: &LuaString, entry: &'static Entry) {
        let bytes = name.as_bytes().as_ref().into();
        let new = Known { place: name.to_pointer(), bytes, entry, _name: name.clone() };
        let mut known = self.known.borrow_mut();
        if known.len() < NAMES_MAX {
            known.push(new);
            return;
        }
        let oldest = self.oldest.get();
        self.oldest.set((oldest + 1) % NAMES_MAX);
        known[oldest] = new;
    }
}
