//! Libraries of functions: what `FUNCTION LOAD` loads, and what a worker's machine has of it.

use super::cache::Reach;
use super::machine::{Exchange, Job, Machine, Question, plain_text};
use super::shebang::{self, ScriptFlags};
use mlua::{Function, Lua, MultiValue, Value};
use resp::Version;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A function that the code of a library has registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// What it does, for readers.
    pub description: Option<String>,
    /// What it says of itself.
    pub flags: ScriptFlags,
    function: Function,
}

/// A library as a machine has loaded it.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its code, the first line included.
    pub code: Rc<[u8]>,
    /// Its functions, in the order in which they were registered.
    pub functions: Vec<Registered>,
}

/// A function that can be called.
#[derive(Debug)]
pub struct Callable {
    /// Itself.
    pub function: Function,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// Which keys its runs have used.
    pub reach: Reach,
}

/// The libraries of a machine.
#[derive(Debug, Default)]
pub struct Libraries {
    libraries: BTreeMap<String, Library>,
    functions: HashMap<String, Rc<Callable>>,
}

impl Libraries {
    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<Rc<Callable>> {
        self.functions.get(name).cloned()
    }

    /// All libraries by name.
    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.libraries.values()
    }

    /// The library of this name.
    pub fn get(&self, name: &str) -> Option<&Library> {
        self.libraries.get(name)
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// How many libraries there are.
    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.libraries.is_empty()
    }

    /// The name of a function that another library has already.
    pub fn taken<'l>(&self, library: &'l Library) -> Option<&'l str> {
        let others = || self.libraries.values().filter(|other| other.name != library.name);
        let names = library.functions.iter().map(|function| function.name.as_str());
        names.clone().find(|name| others().any(|other| other.functions.iter().any(|known| known.name == **name)))
    }

    /// Takes these libraries in place of those that are there. Where two libraries of different regions have registered
    /// one name, that of the library whose name comes first is called, everywhere.
    pub fn replace(&mut self, libraries: BTreeMap<String, Library>) {
        self.libraries = libraries;
        self.functions.clear();
        for library in self.libraries.values() {
            for function in &library.functions {
                let callable =
                    Callable { function: function.function.clone(), flags: function.flags, reach: Reach::default() };
                self.functions.entry(function.name.clone()).or_insert_with(|| Rc::new(callable));
            }
        }
    }
}

/// Loads the code of a library into a machine, without keeping it. The error is a whole reply.
pub fn load(machine: &mut Machine, code: &[u8], time_max_ns: u64) -> Result<Library, String> {
    let (name, _) = shebang::of_library(code)?;
    let function =
        machine.compile(code, "@user_function").map_err(|text| format!("ERR Error compiling function: {text}"))?;
    let (environment, loading, running) =
        machine.library_environment(&function).map_err(|error| format!("ERR {}", plain_text(&error)))?;
    environment.raw_set("redis", loading).map_err(|error| format!("ERR {error}"))?;
    machine.exchange.registered.replace(Some(Vec::new()));
    let mut question = machine.begin(Job::Library(function), Version::Resp2, time_max_ns);
    loop {
        match question {
            Question::Done => break,
            Question::Pause => machine.exchange.run.kill(),
            Question::Call | Question::Check => machine.exchange.reply.borrow_mut().truncate(0),
        }
        question = machine.go_on();
    }
    let was_killed = machine.exchange.run.is_killed();
    let failed = machine.exchange.failed.take();
    let functions = machine.exchange.registered.take().unwrap_or_default();
    machine.end();
    environment.raw_set("redis", running).map_err(|error| format!("ERR {error}"))?;
    if was_killed {
        return Err("ERR Error registering functions: ERR FUNCTION LOAD timeout".to_owned());
    }
    if let Some(failure) = failed {
        return Err(format!("ERR Error registering functions: {}", failure.text));
    }
    if functions.is_empty() {
        return Err("ERR No functions registered".to_owned());
    }
    Ok(Library { name, code: code.into(), functions })
}

/// `redis.register_function`. The error is a whole reply.
pub fn register(_lua: &Lua, exchange: &Exchange, args: &MultiValue) -> Result<(), String> {
    let mut registered = exchange.registered.borrow_mut();
    let Some(functions) = registered.as_mut() else {
        return Err("ERR redis.register_function can only be called on FUNCTION LOAD command".to_owned());
    };
    let function = match args.len() {
        1 => by_names(&args[0])?,
        2 => by_order(&args[0], &args[1])?,
        _ => return Err("ERR wrong number of arguments to redis.register_function".to_owned()),
    };
    if function.name.is_empty() || !function.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err("ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                    character long"
            .to_owned());
    }
    if functions.iter().any(|known| known.name == function.name) {
        return Err("ERR Function already exists in the library".to_owned());
    }
    functions.push(function);
    Ok(())
}

fn by_order(name: &Value, function: &Value) -> Result<Registered, String> {
    let name = match name {
        Value::String(name) => name.to_string_lossy(),
        other => match super::number(other) {
            Some(number) => super::printed(number, 14),
            None => return Err("ERR first argument to redis.register_function must be a string".to_owned()),
        },
    };
    let Value::Function(function) = function else {
        return Err("ERR second argument to redis.register_function must be a function".to_owned());
    };
    let function = function.clone();
    Ok(Registered { name, description: None, flags: ScriptFlags::empty(), function })
}

fn by_names(arguments: &Value) -> Result<Registered, String> {
    let Value::Table(arguments) = arguments else {
        return Err("ERR calling redis.register_function with a single argument is only applicable to Lua table \
                    (representing named arguments)."
            .to_owned());
    };
    let (mut name, mut function, mut description, mut flags) = (None, None, None, ScriptFlags::empty());
    for pair in arguments.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| format!("ERR {error}"))?;
        let Value::String(key) = key else {
            return Err("ERR named argument key given to redis.register_function is not a string".to_owned());
        };
        match (key.to_string_lossy().as_str(), value) {
            ("function_name", Value::String(value)) => name = Some(value.to_string_lossy()),
            ("function_name", _) => {
                return Err("ERR function_name argument given to redis.register_function must be a string".to_owned());
            }
            ("description", Value::String(value)) => description = Some(value.to_string_lossy()),
            ("description", _) => {
                return Err("ERR description argument given to redis.register_function must be a string".to_owned());
            }
            ("callback", Value::Function(value)) => function = Some(value),
            ("callback", _) => {
                return Err("ERR callback argument given to redis.register_function must be a function".to_owned());
            }
            ("flags", Value::Table(names)) => {
                for flag in names.sequence_values::<Value>() {
                    let flag = match flag {
                        Ok(Value::String(flag)) => ScriptFlags::named(&flag.to_string_lossy()),
                        _ => None,
                    };
                    flags |= flag.ok_or("ERR unknown flag given")?;
                }
            }
            ("flags", _) => {
                return Err(
                    "ERR flags argument to redis.register_function must be a table representing function flags"
                        .to_owned(),
                );
            }
            _ => return Err("ERR unknown argument given to redis.register_function".to_owned()),
        }
    }
    let name = name.ok_or("ERR redis.register_function must get a function name argument")?;
    let function = function.ok_or("ERR redis.register_function must get a callback argument")?;
    Ok(Registered { name, description, flags, function })
}
