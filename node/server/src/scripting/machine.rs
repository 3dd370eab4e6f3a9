//! One worker's virtual machine, and the stack that Lua runs on.
//!
//! Lua runs on a stack of its own for as long as the machine lives. Whatever a script wants of the node, its function
//! leaves that stack with a [`Question`] and goes on when it is resumed; so commands are executed on the side of who
//! resumes, with whatever they borrow, and Lua's functions own nothing of it.

mod natives;

use super::cache::{Digest, Script};
use super::running::Run;
use super::{convert, json, library, printed, shebang};
use crate::limits::{SCRIPT_MEMORY_BYTES_MAX, SCRIPT_STACK_BYTES};
use crate::node::Node;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlua::{Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState};
use resp::{Reply, Version};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What leaves Lua's stack.
#[derive(Debug)]
pub enum Question {
    /// A command: its words are in [`Exchange::words`], its reply is expected in [`Exchange::reply`].
    Call,
    /// May the command in [`Exchange::words`] be called? The answer is expected in [`Exchange::allowed`].
    Check,
    /// It has run for longer than it should: may it go on?
    Pause,
    /// What was to be run has ended, see [`Exchange::failed`] and [`Exchange::answer`].
    Done,
}

/// What goes to Lua's stack.
enum Answer {
    Run(Job),
    Continue,
}

/// What Lua is to run.
pub enum Job {
    /// A script.
    Script {
        /// Its chunk.
        function: Function,
        /// What its environment reads from.
        environment: Table,
        /// `KEYS`.
        keys: Table,
        /// `ARGV`.
        argv: Table,
    },
    /// A function of a library.
    Function {
        /// Itself.
        function: Function,
        /// Its keys.
        keys: Table,
        /// Its other arguments.
        argv: Table,
    },
    /// The code of a library, which registers functions.
    Library(Function),
}

/// Words of a request in memory of their own.
#[derive(Debug, Default)]
pub struct Words {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Words {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds one.
    pub fn push(&mut self, word: &[u8]) {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }
}

/// Why a run ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody killed it.
    Killed,
    /// It is to begin again with other locks.
    Again,
    /// It came upon a key that is being moved: its command is to be given again.
    Frozen,
}

/// An error that a script ended with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The text with its code.
    pub text: String,
    /// Where, as in `@user_script:1`.
    pub place: Option<String>,
}

/// What both sides of Lua's stack see.
#[derive(Debug)]
pub struct Exchange {
    /// The words of a call.
    pub words: RefCell<Words>,
    /// The reply of a call.
    pub reply: RefCell<Reply>,
    /// The answer to [`Question::Check`]; nothing if there is no such command.
    pub allowed: Cell<Option<bool>>,
    /// The reply of the script.
    pub answer: RefCell<Reply>,
    /// The error that it ended with.
    pub failed: RefCell<Option<Failure>>,
    /// Why it is to end early.
    pub stop: Cell<Option<Stop>>,
    /// The version of the protocol that the script has chosen.
    pub version: Cell<Version>,
    /// Functions that the library registers that is being loaded.
    pub registered: RefCell<Option<Vec<library::Registered>>>,
    /// When the script began, by the clock for statistics.
    pub began_ns: Cell<u64>,
    /// When it last went on.
    resumed_ns: Cell<u64>,
    /// For how long it may run before others are told that the node is busy; 0: for ever.
    pub threshold_ns: Cell<u64>,
    /// What others see of it.
    pub run: Arc<Run>,
    chance: Cell<u64>,
}

/// A script that was compiled here.
pub struct Compiled {
    /// Its source.
    pub script: Arc<Script>,
    /// Its chunk.
    pub function: Function,
    /// What its environment reads from.
    pub environment: Table,
}

/// The virtual machine of a worker.
pub struct Machine {
    lua: Lua,
    stack: Coroutine<Answer, Question, (), DefaultStack>,
    /// What both sides of the stack see.
    pub exchange: Rc<Exchange>,
    doors: Doors,
    json: Rc<json::Settings>,
    compiled: HashMap<Digest, Rc<Compiled>>,
    by_body: HashMap<u64, Rc<Compiled>>,
    generation: u64,
    hasher: foldhash::fast::FixedState,
    /// The libraries of functions as this machine has loaded them.
    pub libraries: library::Libraries,
    /// Says when the libraries have changed; nothing before they were looked at.
    pub watch: Option<keyspace::Watch>,
    node: Arc<Node>,
}

/// What the first chunk has given.
#[derive(Clone)]
struct Doors {
    script: Function,
    library: Function,
    run: Function,
    run_function: Function,
    load_library: Function,
}

/// After so many instructions it is looked how long a script has run: about a tenth of a millisecond.
const LOOK_INSTRUCTIONS: u32 = 10_000;

/// A script that has run for too long goes on for so long before others are served.
const SLICE_NS: u64 = 2_000_000;

const BOOTSTRAP: &str = include_str!("bootstrap.lua");

/// Where Lua finds the function that leaves its stack for a pause.
const PAUSE: &str = "pelago.pause";

/// Marks an error whose text is a whole reply and gets no position.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WholeReply(String);

impl Machine {
    /// A new one for scripts of `node`.
    pub fn new(node: Arc<Node>) -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
        lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
        let exchange = Rc::new(Exchange {
            words: RefCell::default(),
            reply: RefCell::new(Reply::new(Version::Resp2)),
            allowed: Cell::new(None),
            answer: RefCell::new(Reply::new(Version::Resp2)),
            failed: RefCell::default(),
            stop: Cell::new(None),
            version: Cell::new(Version::Resp2),
            registered: RefCell::default(),
            began_ns: Cell::new(0),
            resumed_ns: Cell::new(0),
            threshold_ns: Cell::new(0),
            run: node.scripts.running.enter(),
            chance: Cell::new(natives::UNSEEDED),
        });
        let json = Rc::new(json::Settings::default());
        let stack = DefaultStack::new(SCRIPT_STACK_BYTES).map_err(mlua::Error::external)?;
        let (inner, shared, settings) = (lua.clone(), Rc::clone(&exchange), Rc::clone(&json));
        let mut stack = Coroutine::with_stack(stack, move |yielder: &Yielder<Answer, Question>, first: Answer| {
            if let Err(error) = live(&inner, &shared, &settings, yielder, first) {
                tracing::error!(%error, "the virtual machine for scripts could not be set up");
            }
        });
        // The first run only sets up, and leaves with the doors in place.
        match stack.resume(Answer::Continue) {
            CoroutineResult::Yield(_) => {}
            CoroutineResult::Return(()) => return Err(mlua::Error::RuntimeError("no machine for scripts".to_owned())),
        }
        let doors: Table = lua.named_registry_value("pelago.doors")?;
        let doors = Doors {
            script: doors.get("script")?,
            library: doors.get("library")?,
            run: doors.get("run")?,
            run_function: doors.get("run_function")?,
            load_library: doors.get("load_library")?,
        };
        lua.set_named_registry_value("pelago.run", doors.run.clone())?;
        lua.set_named_registry_value("pelago.run_function", doors.run_function.clone())?;
        lua.set_named_registry_value("pelago.load_library", doors.load_library.clone())?;
        let machine = Self {
            lua,
            stack,
            exchange,
            doors,
            json,
            compiled: HashMap::new(),
            by_body: HashMap::new(),
            generation: 0,
            hasher: foldhash::fast::FixedState::with_seed(node.seed()),
            libraries: library::Libraries::default(),
            watch: None,
            node,
        };
        machine.look_now_and_then()?;
        Ok(machine)
    }

    /// The script with this source as compiled here, if it was.
    pub fn find_body(&mut self, body: &[u8]) -> Option<Rc<Compiled>> {
        use std::hash::BuildHasher;
        self.forget_flushed();
        let known = self.by_body.get(&self.hasher.hash_one(body))?;
        (*known.script.body == *body).then(|| Rc::clone(known))
    }

    /// The script with this digest as compiled here, if it was.
    pub fn find_digest(&mut self, digest: &Digest) -> Option<Rc<Compiled>> {
        self.forget_flushed();
        self.compiled.get(digest).cloned()
    }

    /// Compiles a source. The error is a sentence of Lua's.
    pub fn compile(&self, body: &[u8], name: &str) -> Result<Function, String> {
        let chunk = self.lua.load(shebang::without(body)).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        chunk.into_function().map_err(|error| plain_text(&error))
    }

    /// Compiles a script and keeps it.
    pub fn keep(&mut self, script: &Arc<Script>) -> Result<Rc<Compiled>, String> {
        use std::hash::BuildHasher;
        let function = self.compile(&script.body, "@user_script")?;
        let environment = self.doors.script.call(function.clone()).map_err(|error| plain_text(&error))?;
        let compiled = Rc::new(Compiled { script: Arc::clone(script), function, environment });
        self.compiled.insert(script.digest, Rc::clone(&compiled));
        self.by_body.insert(self.hasher.hash_one(&*script.body), Rc::clone(&compiled));
        Ok(compiled)
    }

    /// Forgets what the node has forgotten.
    fn forget_flushed(&mut self) {
        let generation = self.node.scripts.cache.generation();
        if generation != self.generation {
            self.generation = generation;
            let cache = &self.node.scripts.cache;
            self.compiled.retain(|digest, _| cache.find(digest).is_some());
            let compiled = &self.compiled;
            self.by_body.retain(|_, known| compiled.contains_key(&known.script.digest));
        }
    }

    /// The environment of a library: what it reads from, `redis` while it is loaded, and after.
    pub fn library_environment(&self, function: &Function) -> mlua::Result<(Table, Table, Table)> {
        self.doors.library.call(function.clone())
    }

    /// A table of strings, from 1 on.
    pub fn sequence(&self, words: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(words.len(), 0)?;
        for (index, word) in words.iter().enumerate() {
            table.raw_set(index as i64 + 1, self.lua.create_string(word)?)?;
        }
        Ok(table)
    }

    /// Begins to run something.
    pub fn begin(&mut self, job: Job, version: Version, threshold_ns: u64) -> Question {
        let exchange = &self.exchange;
        let now = self.node.monotonic_ns();
        exchange.began_ns.set(now);
        exchange.resumed_ns.set(now);
        exchange.threshold_ns.set(threshold_ns);
        exchange.stop.set(None);
        exchange.failed.take();
        exchange.version.set(Version::Resp2);
        exchange.run.begin();
        let mut answer = exchange.answer.borrow_mut();
        answer.truncate(0);
        answer.set_version(version);
        drop(answer);
        self.resume(Answer::Run(job))
    }

    /// Lets it go on.
    pub fn go_on(&mut self) -> Question {
        self.resume(Answer::Continue)
    }

    fn resume(&mut self, answer: Answer) -> Question {
        match self.stack.resume(answer) {
            CoroutineResult::Yield(question) => question,
            CoroutineResult::Return(()) => unreachable!("the stack of scripts ends with its machine"),
        }
    }

    /// Tidies up after a run.
    pub fn end(&mut self) {
        self.json.reset();
        if self.exchange.stop.take().is_some() || self.exchange.run.is_killed() {
            self.exchange.run.begin();
            let _ = self.look_now_and_then();
        }
        if self.exchange.failed.borrow().as_ref().is_some_and(|failure| failure.text.contains("not enough memory")) {
            let _ = self.lua.gc_collect();
        }
        self.exchange.run.note_memory(self.lua.used_memory());
    }

    /// Looks now and then how long a script has run.
    fn look_now_and_then(&self) -> mlua::Result<()> {
        let (exchange, node) = (Rc::clone(&self.exchange), Arc::clone(&self.node));
        self.lua.set_global_hook(HookTriggers::new().every_nth_instruction(LOOK_INSTRUCTIONS), move |lua, _| {
            look(lua, &exchange, &node)
        })
    }
}

/// A look at a script that runs.
fn look(lua: &Lua, exchange: &Rc<Exchange>, node: &Node) -> mlua::Result<VmState> {
    let threshold = exchange.threshold_ns.get();
    let now = node.monotonic_ns();
    if threshold > 0
        && now.saturating_sub(exchange.began_ns.get()) > threshold
        && now.saturating_sub(exchange.resumed_ns.get()) > SLICE_NS
    {
        lua.named_registry_value::<Function>(PAUSE)?.call::<()>(())?;
        exchange.resumed_ns.set(node.monotonic_ns());
    }
    if exchange.run.is_killed() {
        exchange.stop.set(exchange.stop.get().or(Some(Stop::Killed)));
    }
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    Ok(VmState::Continue)
}

/// Ends a script whatever it catches: from here on each of its instructions fails.
fn unwind(lua: &Lua) -> mlua::Error {
    let ended = || mlua::Error::external(WholeReply("ERR Script killed by user with SCRIPT KILL.".to_owned()));
    let fail_always = move |_: &Lua, _: &mlua::debug::Debug<'_>| Err(ended());
    match lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), fail_always) {
        Ok(()) => ended(),
        Err(error) => error,
    }
}

/// The life of Lua's stack: sets up, then runs one thing after the other.
fn live(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    settings: &Rc<json::Settings>,
    yielder: &Yielder<Answer, Question>,
    _first: Answer,
) -> mlua::Result<()> {
    lua.scope(|scope| {
        let native = natives::natives(lua, exchange, settings)?;
        let redis: Table = native.get("redis")?;
        redis.set(
            "call",
            scope.create_function(move |lua, args: MultiValue| {
                call(lua, exchange, yielder, &args)?.map_err(whole_reply)
            })?,
        )?;
        redis.set(
            "pcall",
            scope.create_function(move |lua, args: MultiValue| {
                call(lua, exchange, yielder, &args)?.or_else(|text| error_table(lua, &text))
            })?,
        )?;
        redis.set(
            "acl_check_cmd",
            scope.create_function(move |lua, args: MultiValue| check(lua, exchange, yielder, &args))?,
        )?;
        let pause = scope.create_function(move |_, ()| {
            yielder.suspend(Question::Pause);
            Ok(())
        })?;
        lua.set_named_registry_value(PAUSE, pause)?;
        let doors: Table = lua.load(BOOTSTRAP).set_name("=pelago").call(native)?;
        lua.set_named_registry_value("pelago.doors", doors)?;
        let mut answer = yielder.suspend(Question::Done);
        loop {
            if let Answer::Run(job) = answer {
                let ended = run(lua, exchange, job);
                if let Err(error) = ended {
                    let text = format!("ERR {}", plain_text(&error));
                    *exchange.failed.borrow_mut() = Some(Failure { text, place: None });
                }
            }
            answer = yielder.suspend(Question::Done);
        }
    })
}

fn run(lua: &Lua, exchange: &Rc<Exchange>, job: Job) -> mlua::Result<()> {
    let door = |name: &str| lua.named_registry_value::<Function>(name);
    let (is_well, value): (bool, Value) = match job {
        Job::Script { function, environment, keys, argv } => {
            door("pelago.run")?.call((function, environment, keys, argv))?
        }
        Job::Function { function, keys, argv } => door("pelago.run_function")?.call((function, keys, argv))?,
        Job::Library(function) => {
            let (is_well, value): (bool, Value) = door("pelago.load_library")?.call(function)?;
            (is_well, if is_well { Value::Nil } else { value })
        }
    };
    if is_well {
        return convert::answer(&value, &mut exchange.answer.borrow_mut(), exchange.version.get(), 0);
    }
    let failure = match &value {
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
        other => Failure { text: format!("ERR {}", super::type_name(other)), place: None },
    };
    *exchange.failed.borrow_mut() = Some(failure);
    Ok(())
}

/// `redis.call` and `redis.pcall`: a value, or the text of an error. The outer error ends the script.
fn call(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    yielder: &Yielder<Answer, Question>,
    args: &MultiValue,
) -> mlua::Result<Result<Value, String>> {
    if let Err(text) = take_words(exchange, args) {
        return Ok(Err(text.to_owned()));
    }
    yielder.suspend(Question::Call);
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let reply = exchange.reply.borrow();
    match reply.bytes().split_first() {
        Some((b'-', text)) => {
            let text = text.strip_suffix(b"\r\n").unwrap_or(text);
            Ok(Err(String::from_utf8_lossy(text).into_owned()))
        }
        _ => convert::value_of(lua, reply.bytes()).map(Ok),
    }
}

fn error_table(lua: &Lua, text: &str) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(Value::Table(table))
}

/// `redis.acl_check_cmd`.
fn check(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    yielder: &Yielder<Answer, Question>,
    args: &MultiValue,
) -> mlua::Result<bool> {
    take_words(exchange, args).map_err(|text| whole_reply(text.to_owned()))?;
    yielder.suspend(Question::Check);
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    let unknown = || whole_reply("ERR Invalid command passed to redis.acl_check_cmd()".to_owned());
    exchange.allowed.get().ok_or_else(unknown)
}

fn whole_reply(text: String) -> mlua::Error {
    mlua::Error::external(WholeReply(text))
}

fn take_words(exchange: &Exchange, args: &MultiValue) -> Result<(), &'static str> {
    if args.is_empty() {
        return Err("ERR Please specify at least one argument for this redis lib call");
    }
    let mut words = exchange.words.borrow_mut();
    words.clear();
    for value in args {
        match value {
            Value::String(text) => words.push(&text.as_bytes()),
            other => match super::number(other) {
                Some(number) if number.trunc() == number && number.abs() < 1e15 && number != 0.0 => {
                    words.push(itoa::Buffer::new().format(number as i64).as_bytes());
                }
                Some(number) => words.push(printed(number, 17).as_bytes()),
                None => return Err("ERR Lua redis lib command arguments must be strings or integers"),
            },
        }
    }
    Ok(())
}

/// What a value that was raised is to scripts: errors of ours are their text.
fn plain(lua: &Lua, value: Value) -> mlua::Result<Value> {
    match value {
        Value::Error(error) => match whole(&error) {
            Some(text) => {
                let table = lua.create_table()?;
                table.raw_set("err", text)?;
                Ok(Value::Table(table))
            }
            None => Ok(Value::String(lua.create_string(plain_text(&error))?)),
        },
        other => Ok(other),
    }
}

/// The text of an error whose text is a whole reply.
fn whole(error: &mlua::Error) -> Option<String> {
    error.downcast_ref::<WholeReply>().map(|WholeReply(text)| text.clone())
}

/// The sentence of an error, without what the binding to Lua says around it.
pub fn plain_text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => {
            let message = message.split("\nstack traceback:").next().unwrap_or(message);
            message.to_owned()
        }
        mlua::Error::MemoryError(_) => "not enough memory".to_owned(),
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => plain_text(cause),
        other => whole(other).unwrap_or_else(|| other.to_string()),
    }
}

/// The handler of errors: what was raised as a table that says where.
fn position(lua: &Lua, value: Value) -> mlua::Result<Table> {
    let table = match plain(lua, value)? {
        Value::Table(table) => table,
        other => {
            let text = match lua.coerce_string(other.clone())? {
                Some(text) => text.as_bytes().to_vec(),
                None => super::type_name(&other).as_bytes().to_vec(),
            };
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string([b"ERR ".as_slice(), &text].concat())?)?;
            table
        }
    };
    for level in 1..8 {
        let frame = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let is_ours = source.what == "C" || source.source.as_deref() == Some("=pelago");
            (!is_ours).then(|| (source.source.map(|source| source.into_owned()), frame.current_line()))
        });
        match frame {
            Some(Some((source, Some(line)))) => {
                table.raw_set("source", source)?;
                table.raw_set("line", line)?;
                break;
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(table)
}

/// A string of Lua as text.
pub fn text(value: &LuaString) -> String {
    value.to_string_lossy()
}
