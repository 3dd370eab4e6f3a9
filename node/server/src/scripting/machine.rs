//! One worker's virtual machine, and the stack that Lua runs on.
//!
//! Lua runs on a stack of its own for as long as the machine lives. Whatever a script wants of the node, its function
//! leaves that stack with a [`Question`] and goes on when it is resumed; so commands are executed on the side of who
//! resumes, with whatever they borrow, and Lua's functions own nothing of it.

mod life;
mod natives;

use super::cache::{Digest, Script};
use super::running::Run;
use super::{convert, json, library, shebang};
use crate::command::table::Entry;
use crate::config;
use crate::limits::{SCRIPT_MEMORY_BYTES_MAX, SCRIPT_STACK_BYTES, SCRIPT_UNLIMITED_BYTES_MAX};
use crate::node::Node;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlua::{Function, HookTriggers, Lua, LuaOptions, LuaString, StdLib, Table, Value, VmState};
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
        keys: List,
        /// `ARGV`.
        argv: List,
    },
    /// A function of a library.
    Function {
        /// Itself.
        function: Function,
        /// Its keys.
        keys: List,
        /// Its other arguments.
        argv: List,
    },
    /// The code of a library, which registers functions.
    Library(Function),
}

/// A list of words for Lua.
pub enum List {
    /// An empty one: Lua makes it when it is asked for.
    Empty,
    /// One of this word: Lua makes it, at a lower price.
    One(LuaString),
    /// One that is made.
    Made(Table),
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

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
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
    /// The command that the first of them names, where that is known.
    pub named: Cell<Option<&'static Entry>>,
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
    /// Where it was when it was killed, as in `@user_script:1`.
    pub killed_at: RefCell<Option<String>>,
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
    /// Nothing runs: what is compiled or kept meanwhile is no script's doing.
    rests: Cell<bool>,
}

/// Bytes of a buffer that is kept for the next script.
const KEPT_BYTES: usize = 1 << 20;

impl Exchange {
    /// Gives back the memory of buffers that one script made large.
    fn give_back(&self) {
        let mut words = self.words.borrow_mut();
        if words.bytes.capacity() > KEPT_BYTES {
            *words = Words::default();
        }
        for reply in [&self.reply, &self.answer] {
            // What is in them now may be little, and what was before it much.
            let mut reply = reply.borrow_mut();
            let buffer = reply.replace_buffer(Vec::new());
            if buffer.capacity() <= KEPT_BYTES {
                reply.replace_buffer(buffer);
            }
        }
    }
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

/// Where Lua finds what is asked how long a script has run.
struct Watched {
    exchange: Rc<Exchange>,
    node: Arc<Node>,
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
    /// The last one that was looked for by its source: most pipelines run one script.
    last: Option<Rc<Compiled>>,
    generation: u64,
    hasher: foldhash::fast::FixedState,
    /// The libraries of functions as this machine has loaded them.
    pub libraries: library::Libraries,
    /// Says when the libraries have changed; nothing before they were looked at.
    pub watch: Option<keyspace::Watch>,
    settings: config::Reader,
    node: Arc<Node>,
}

/// What the first chunk has given.
#[derive(Clone)]
struct Doors {
    script: Function,
    library: Function,
}

/// After so many instructions it is looked how long a script has run: about a tenth of a millisecond.
const LOOK_INSTRUCTIONS: u32 = 10_000;

/// A script that has run for too long goes on for so long before others are served.
const SLICE_NS: u64 = 2_000_000;

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
            named: Cell::new(None),
            reply: RefCell::new(Reply::new(Version::Resp2)),
            allowed: Cell::new(None),
            answer: RefCell::new(Reply::new(Version::Resp2)),
            failed: RefCell::default(),
            stop: Cell::new(None),
            killed_at: RefCell::default(),
            version: Cell::new(Version::Resp2),
            registered: RefCell::default(),
            began_ns: Cell::new(0),
            resumed_ns: Cell::new(0),
            threshold_ns: Cell::new(0),
            run: node.scripts.running.enter(),
            chance: Cell::new(natives::UNSEEDED),
            rests: Cell::new(true),
        });
        lua.set_app_data(Watched { exchange: Rc::clone(&exchange), node: Arc::clone(&node) });
        let json = Rc::new(json::Settings::default());
        let stack = DefaultStack::new(SCRIPT_STACK_BYTES).map_err(mlua::Error::external)?;
        let (inner, shared, settings) = (lua.clone(), Rc::clone(&exchange), Rc::clone(&json));
        let mut stack = Coroutine::with_stack(stack, move |yielder: &Yielder<Answer, Question>, _: Answer| {
            if let Err(error) = life::live(&inner, &shared, &settings, yielder) {
                tracing::error!(%error, "the virtual machine for scripts could not be set up");
            }
        });
        // The first run only sets up, and leaves with the doors in place.
        match stack.resume(Answer::Continue) {
            CoroutineResult::Yield(_) => {}
            CoroutineResult::Return(()) => return Err(mlua::Error::RuntimeError("no machine for scripts".to_owned())),
        }
        let doors: Table = lua.named_registry_value("pelago.doors")?;
        let doors = Doors { script: doors.get("script")?, library: doors.get("library")? };
        let machine = Self {
            lua,
            stack,
            exchange,
            doors,
            json,
            compiled: HashMap::new(),
            by_body: HashMap::new(),
            last: None,
            generation: 0,
            hasher: foldhash::fast::FixedState::with_seed(node.seed()),
            libraries: library::Libraries::default(),
            watch: None,
            settings: node.config.reader(),
            node,
        };
        machine.look_now_and_then()?;
        Ok(machine)
    }

    /// The script with this source as compiled here, if it was.
    pub fn find_body(&mut self, body: &[u8]) -> Option<Rc<Compiled>> {
        use std::hash::BuildHasher;
        self.forget_flushed();
        if let Some(last) = self.last.as_ref().filter(|last| *last.script.body == *body) {
            return Some(Rc::clone(last));
        }
        let known = self.by_body.get(&self.hasher.hash_one(body))?;
        self.last = (*known.script.body == *body).then(|| Rc::clone(known));
        self.last.clone()
    }

    /// The script with this digest as compiled here, if it was.
    pub fn find_digest(&mut self, digest: &Digest) -> Option<Rc<Compiled>> {
        self.forget_flushed();
        self.compiled.get(digest).cloned()
    }

    /// Compiles a source. The error is a sentence of Lua's.
    pub fn compile(&self, body: &[u8], name: &str) -> Result<Function, String> {
        let chunk = self.lua.load(shebang::without(body)).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        limited(&self.lua, || chunk.into_function()).map_err(|error| plain_text(&error))
    }

    /// Compiles a script and keeps it.
    pub fn keep(&mut self, script: &Arc<Script>) -> Result<Rc<Compiled>, String> {
        use std::hash::BuildHasher;
        let function = self.compile(&script.body, "@user_script")?;
        let environment = limited(&self.lua, || self.doors.script.call(function.clone()));
        let environment = environment.map_err(|error| plain_text(&error))?;
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
            self.last = None;
            let cache = &self.node.scripts.cache;
            self.compiled.retain(|digest, _| cache.find(digest).is_some());
            let compiled = &self.compiled;
            self.by_body.retain(|_, known| compiled.contains_key(&known.script.digest));
        }
    }

    /// The environment of a library: what it reads from, `redis` while it is loaded, and after.
    pub fn library_environment(&self, function: &Function) -> mlua::Result<(Table, Table, Table)> {
        limited(&self.lua, || self.doors.library.call(function.clone()))
    }

    /// A list of strings, from 1 on.
    pub fn list(&self, words: &[&[u8]]) -> mlua::Result<List> {
        match words {
            [] => return Ok(List::Empty),
            [word] if is_small(word.len()) => return self.lua.create_string(word).map(List::One),
            _ => {}
        }
        let bytes: usize = words.iter().map(|word| word.len()).sum();
        let make = || convert::sequence(&self.lua, words.iter().map(|word| convert::element_of(&self.lua, word)));
        let made = if is_small(bytes + words.len() * WORD_BYTES) { make() } else { limited(&self.lua, make) };
        made.map(List::Made)
    }

    /// For how long a script may run before others are told; 0: for ever.
    pub fn threshold_ns(&mut self) -> u64 {
        u64::try_from(self.settings.load().busy_reply_threshold).unwrap_or(0).saturating_mul(1_000_000)
    }

    /// Begins to run something.
    pub fn begin(&mut self, job: Job, version: Version, threshold_ns: u64) -> Question {
        let exchange = &self.exchange;
        let now = self.node.monotonic_ns();
        exchange.began_ns.set(now);
        exchange.resumed_ns.set(now);
        exchange.threshold_ns.set(threshold_ns);
        exchange.rests.set(false);
        exchange.stop.set(None);
        exchange.killed_at.take();
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
            CoroutineResult::Yield(question) => {
                if matches!(question, Question::Done) {
                    // SUBTLE: Lua also runs while its stack rests, to compile and to make environments. Only who is on the stack can
                    // leave it, so nobody may be asked to from here on.
                    self.exchange.rests.set(true);
                }
                question
            }
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
        self.exchange.give_back();
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

/// Does something with the limit of memory, which is lifted while no script runs.
///
/// Under the limit every step of a conversion is made ready to fail, at a price many times that of the step. So what is
/// small is converted without it, also for a script that runs: it goes beyond its limit by no more than that.
fn limited<T>(lua: &Lua, work: impl FnOnce() -> mlua::Result<T>) -> mlua::Result<T> {
    lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
    let done = work();
    lua.set_memory_limit(0)?;
    done
}

/// Does something small without the limit of memory that the script that runs is under.
fn unlimited<T>(lua: &Lua, work: impl FnOnce() -> mlua::Result<T>) -> mlua::Result<T> {
    lua.set_memory_limit(0)?;
    let done = work();
    lua.set_memory_limit(SCRIPT_MEMORY_BYTES_MAX)?;
    done
}

/// Whether so many bytes of words or of a reply are few enough to be converted without a limit. In Lua they take up to some
/// thirty times as much.
fn is_small(bytes: usize) -> bool {
    bytes <= SCRIPT_UNLIMITED_BYTES_MAX
}

/// What a word takes in Lua at least.
const WORD_BYTES: usize = 16;

/// A look at a script in the middle of work on its values, which Lua does not see.
pub(super) fn look_at_work(lua: &Lua) -> mlua::Result<()> {
    let watched = lua.app_data_ref::<Watched>();
    let Some((exchange, node)) =
        watched.as_ref().map(|watched| (Rc::clone(&watched.exchange), Arc::clone(&watched.node)))
    else {
        return Ok(());
    };
    drop(watched);
    look(lua, &exchange, &node).map(|_| ())
}

/// A look at a script that runs. Nothing runs while the machine rests, and a kill that comes then has come too late.
fn look(lua: &Lua, exchange: &Rc<Exchange>, node: &Node) -> mlua::Result<VmState> {
    if exchange.rests.get() {
        return Ok(VmState::Continue);
    }
    let threshold = exchange.threshold_ns.get();
    let now = node.monotonic_ns();
    if threshold > 0
        && now.saturating_sub(exchange.began_ns.get()) > threshold
        && now.saturating_sub(exchange.resumed_ns.get()) > SLICE_NS
    {
        lua.named_registry_value::<Function>(PAUSE)?.call::<()>(())?;
        exchange.resumed_ns.set(node.monotonic_ns());
    }
    if exchange.run.is_killed() && exchange.stop.get().is_none() {
        exchange.killed_at.replace(place(lua, 0).map(|(source, line, _)| format!("{source}:{line}")));
        exchange.stop.set(Some(Stop::Killed));
    }
    if exchange.stop.get().is_some() {
        return Err(unwind(lua));
    }
    Ok(VmState::Continue)
}

/// Ends a script whatever it catches: from here on each of its instructions fails.
fn unwind(lua: &Lua) -> mlua::Error {
    let ended = || mlua::Error::external(WholeReply("ERR Script killed by user with SCRIPT KILL...".to_owned()));
    let fail_always = move |_: &Lua, _: &mlua::debug::Debug<'_>| Err(ended());
    match lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), fail_always) {
        Ok(()) => ended(),
        Err(error) => error,
    }
}

fn whole_reply(text: String) -> mlua::Error {
    mlua::Error::external(WholeReply(text))
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

/// An error of a function of Lua's that was called by one of the first chunk: without the place, which is no script's.
fn unplaced(lua: &Lua, value: Value) -> mlua::Result<Value> {
    if let Value::String(text) = &value
        && let Some(sentence) = own_sentence(&text.as_bytes())
    {
        return Ok(Value::String(lua.create_string(sentence)?));
    }
    Ok(value)
}

/// What such an error says after its place.
fn own_sentence(text: &[u8]) -> Option<&[u8]> {
    let placed = text.strip_prefix(b"pelago:")?;
    let digits = placed.iter().take_while(|byte| byte.is_ascii_digit()).count();
    placed[digits..].strip_prefix(b": ").filter(|_| digits > 0)
}

/// The handler of errors: what was raised as a table that says where.
fn position(lua: &Lua, value: Value) -> mlua::Result<Table> {
    let mut own = None;
    let table = match plain(lua, value)? {
        Value::Table(table) => table,
        Value::String(text) if own_sentence(&text.as_bytes()).is_some() => {
            own = own_sentence(&text.as_bytes()).map(<[u8]>::to_vec);
            lua.create_table()?
        }
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
    let mut said = String::new();
    if let Some((source, line, name)) = place(lua, 1) {
        said = format!("{name}:{line}: ");
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    if let Some(sentence) = own {
        table.raw_set("err", lua.create_string([b"ERR ".as_slice(), said.as_bytes(), &sentence].concat())?)?;
    }
    Ok(table)
}

/// Where a script is, from this level of its stack on: the source, the line, and what the source is called in sentences.
fn place(lua: &Lua, from: usize) -> Option<(String, usize, String)> {
    for level in from..from + PLACE_LEVELS {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let is_ours = source.what == "C" || source.source.as_deref() == Some("=pelago");
            let line = frame.current_line().filter(|_| !is_ours)?;
            let [source, name] = [source.source, source.short_src].map(|text| text.unwrap_or_default().into_owned());
            Some((source, line, name))
        })?;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// How deep in the stack a place is looked for: nothing of ours has more levels in between.
const PLACE_LEVELS: usize = 7;

/// A string of Lua as text.
pub fn text(value: &LuaString) -> String {
    value.to_string_lossy()
}
