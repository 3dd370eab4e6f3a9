//! Scripts: Lua 5.1 as Redis 7 embeds it, a virtual machine for each worker.
//!
//! A script runs where its command does, with the slots of its keys locked, and what it changes is one group: it is one
//! step here and arrives elsewhere whole. Its effects travel, never its text.
//!
//! - [`cache`]: the sources that the node knows by their digests, shared by all workers.
//! - [`shebang`]: what the first line of a script says.
//! - [`machine`]: one virtual machine, and the stack that Lua runs on: whatever a script asks of the node, it asks by
//!   leaving that stack, so nothing borrowed is ever within Lua's reach.
//! - [`run`]: one run of a script: its calls are executed here, with the locks that they need.
//! - [`stage`]: the stack on which the whole command runs, locks included, so that a script that runs for very long can be
//!   put aside while its worker serves others.
//! - [`running`]: what others know of scripts that run, and how they end them.
//! - [`convert`]: values of Lua to replies and back.
//! - [`effort`]: what such work takes, as part of what the script may take.
//! - [`library`]: libraries of functions.
//! - [`json`], [`message_pack`], [`structs`], [`bits`]: the libraries that Redis has beside Lua's own.

pub mod bits;
pub mod cache;
pub mod convert;
pub mod effort;
pub mod json;
pub mod library;
pub mod machine;
pub mod message_pack;
pub mod run;
pub mod running;
pub mod shebang;
pub mod stage;
pub mod structs;

use cache::Cache;
use library::Library;
use parking_lot::RwLock;
use running::Running;
use shebang::ScriptFlags;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the workers of a node share about scripts.
#[derive(Debug, Default)]
pub struct Scripts {
    /// The sources that are known.
    pub cache: Cache,
    /// The scripts that run.
    pub running: Running,
    libraries: AtomicUsize,
    functions: AtomicUsize,
    library_bytes: AtomicUsize,
    known: RwLock<Known>,
}

/// What is known of the functions of all libraries.
#[derive(Debug, Default)]
struct Known {
    /// What those say of themselves that are called.
    flags: HashMap<String, ScriptFlags>,
    shadowed: Vec<Shadowed>,
}

/// A function that nobody can call: another library has registered one of this name too. That happens when two regions load
/// libraries at once, which one region refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Its name.
    pub function: String,
    /// Its library.
    pub library: String,
    /// The library whose function is called: that whose name comes first.
    pub called: String,
}

impl Scripts {
    /// Notes the libraries that a worker has found, or who counts them, if they are still those: whoever has changed them
    /// since notes them too, and may have done so already.
    pub fn note_libraries(&self, libraries: &BTreeMap<String, Library>, are_current: impl FnOnce() -> bool) {
        let known = Known::of(libraries);
        let mut before = self.known.write();
        if !are_current() {
            return;
        }
        let functions = libraries.values().map(|library| library.functions.len()).sum();
        let bytes = libraries.values().map(|library| library.code.len()).sum();
        self.libraries.store(libraries.len(), Ordering::Relaxed);
        self.functions.store(functions, Ordering::Relaxed);
        self.library_bytes.store(bytes, Ordering::Relaxed);
        for shadowed in known.shadowed.iter().filter(|shadowed| !before.shadowed.contains(shadowed)) {
            let Shadowed { function, library, called } = shadowed;
            tracing::warn!(
                function,
                library,
                called,
                "two libraries have registered a function of one name: that of the library whose name comes first is \
                 called, in every region; delete one of the two"
            );
        }
        *before = known;
    }

    /// What the function says of itself that is called by this name.
    pub fn flags_of(&self, function: &str) -> Option<ScriptFlags> {
        self.known.read().flags.get(function).copied()
    }

    /// The functions that nobody can call, found likewise.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        self.known.read().shadowed.clone()
    }

    /// Bytes of the code of all libraries, as whoever looked last has found: within a fifth of a second of a change.
    pub fn library_bytes(&self) -> usize {
        self.library_bytes.load(Ordering::Relaxed)
    }

    /// How many libraries and functions there are, found likewise.
    pub fn functions(&self) -> (usize, usize) {
        (self.libraries.load(Ordering::Relaxed), self.functions.load(Ordering::Relaxed))
    }
}

impl Known {
    fn of(libraries: &BTreeMap<String, Library>) -> Self {
        let (mut known, mut called) = (Self::default(), HashMap::new());
        // In the order of their names, as `Libraries::replace` takes them.
        for (library, function) in libraries.values().flat_map(|own| own.functions.iter().map(move |f| (&own.name, f)))
        {
            match called.entry(&function.name) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(library);
                    known.flags.insert(function.name.clone(), function.flags);
                }
                hash_map::Entry::Occupied(first) => known.shadowed.push(Shadowed {
                    function: function.name.clone(),
                    library: library.clone(),
                    called: (*first.get()).clone(),
                }),
            }
        }
        known
    }
}

/// A sentence that a script's function fails with, as an error of Lua.
pub fn fail(lua: &mlua::Lua, sentence: &str) -> mlua::Error {
    let place = lua.inspect_stack(1, |frame| {
        let source = frame.source();
        frame.current_line().map(|line| format!("{}:{line}: ", source.short_src.as_deref().unwrap_or("?")))
    });
    mlua::Error::RuntimeError(format!("{}{sentence}", place.flatten().unwrap_or_default()))
}

/// The number that a value is, if it is one.
pub fn number(value: &mlua::Value) -> Option<f64> {
    match value {
        mlua::Value::Integer(number) => Some(*number as f64),
        mlua::Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// The number that a value is or that its text says.
pub fn to_number(value: &mlua::Value) -> Option<f64> {
    match value {
        mlua::Value::String(text) => std::str::from_utf8(&text.as_bytes()).ok()?.trim().parse().ok(),
        other => number(other),
    }
}

/// What Lua calls the type of a value.
pub fn type_name(value: &mlua::Value) -> &'static str {
    match value {
        mlua::Value::Nil => "nil",
        mlua::Value::Boolean(_) => "boolean",
        mlua::Value::LightUserData(_) | mlua::Value::UserData(_) | mlua::Value::Error(_) => "userdata",
        mlua::Value::Integer(_) | mlua::Value::Number(_) => "number",
        mlua::Value::String(_) => "string",
        mlua::Value::Table(_) => "table",
        mlua::Value::Function(_) => "function",
        mlua::Value::Thread(_) => "thread",
        mlua::Value::Other(_) => "no value",
    }
}

/// A number as C's `%.14g` or `%.17g` prints it: so many digits that count, without zeros at the end.
pub fn printed(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".to_owned() } else { "nan".to_owned() };
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trimmed(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests;
