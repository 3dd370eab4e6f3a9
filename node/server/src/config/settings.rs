//! The settings of a running node: read without locks, changed by `CONFIG SET`.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::address::Address;
use super::rewrite::{self, RewriteError};
use super::sources::Origin;
use super::table::{Applies, Config, SETTINGS, Setting};
use super::value::{Rule, SettingValue, ValueError};
use crate::command::glob;

/// What is told of a change: the values before and after.
type Observer = Box<dyn Fn(&Config, &Config) + Send + Sync>;

/// The values of all settings, shared by everything in a node.
///
/// `load` costs a few nanoseconds and takes no lock; a `Reader` costs one comparison as long as nothing changed.
pub struct Settings {
    current: Arc<ArcSwap<Config>>,
    change: Mutex<Change>,
    file: Option<PathBuf>,
}

struct Change {
    origins: Vec<Origin>,
    observers: Vec<Observer>,
}

/// One thread's view of the settings, for its hot path.
pub type Reader = arc_swap::Cache<Arc<ArcSwap<Config>>, Arc<Config>>;

/// Why `CONFIG SET` changed nothing; the words are Redis' own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A name that no setting has.
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    UnknownSetting(String),
    /// Only a restart changes it.
    #[error("CONFIG SET failed (possibly related to argument '{0}') - can't set immutable config")]
    AppliesAtStart(String),
    /// Named twice in one command.
    #[error("CONFIG SET failed (possibly related to argument '{0}') - duplicate parameter")]
    SetTwice(String),
    /// The value does not fit.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {}", .error.redis_text())]
    WrongValue {
        /// The name that was given, in lower case.
        name: String,
        /// What does not fit.
        error: ValueError,
    },
    /// The values do not go together.
    #[error("CONFIG SET failed - {0}")]
    Contradiction(String),
}

impl Settings {
    /// Settings with these values, all of which count as defaults. For tests and embedding; see `Sources`.
    pub fn new(config: Config) -> Self {
        Self::with_origins(config, vec![Origin::Default; SETTINGS.len()], None)
    }

    pub(super) fn with_origins(config: Config, origins: Vec<Origin>, file: Option<PathBuf>) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(config));
        Self { current, change: Mutex::new(Change { origins, observers: Vec::new() }), file }
    }

    /// The values now. Do not keep the guard for long; clone the `Arc` in it instead.
    pub fn load(&self) -> Guard<Arc<Config>> {
        self.current.load()
    }

    /// A view for one thread's hot path: `reader.load()` gives the values for one comparison.
    pub fn reader(&self) -> Reader {
        arc_swap::Cache::new(Arc::clone(&self.current))
    }

    /// The file the settings were read from.
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// Calls `observer` after every change, on the thread that made it. It must be quick and must not change settings.
    pub fn on_change(&self, observer: impl Fn(&Config, &Config) + Send + Sync + 'static) {
        self.change.lock().observers.push(Box::new(observer));
    }

    /// The names that match any of the patterns, each once, with their values. A name that is asked for without a
    /// pattern is answered as it was written, as Redis does. For `CONFIG GET`.
    pub fn matching(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let config = self.load();
        let mut found: Vec<(String, String)> = Vec::new();
        for written in patterns {
            let pattern = written.to_ascii_lowercase();
            let is_plain = !pattern.iter().any(|byte| b"*?[".contains(byte));
            for (name, show) in rows() {
                let is_wanted =
                    if is_plain { pattern == name.as_bytes() } else { glob::matches(&pattern, name.as_bytes()) };
                if is_wanted && !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    let name = if is_plain { String::from_utf8_lossy(written).into_owned() } else { name.to_owned() };
                    found.push((name, show(&config)));
                }
            }
        }
        found
    }

    /// Changes all of these or none. For `CONFIG SET`.
    pub fn set(&self, pairs: &[(&str, &str)]) -> Result<(), SetError> {
        let mut change = self.change.lock();
        let before = self.current.load_full();
        let (after, changed) = with(&before, pairs)?;
        for position in changed {
            change.origins[position] = Origin::RunTime;
        }
        let after = Arc::new(after);
        self.current.store(Arc::clone(&after));
        for observer in &change.observers {
            observer(&before, &after);
        }
        Ok(())
    }

    /// What the settings would be with these, for those who must try before they know whether it works.
    pub fn preview(&self, pairs: &[(&str, &str)]) -> Result<Config, SetError> {
        with(&self.current.load(), pairs).map(|(after, _)| after)
    }

    /// Notes what the users are now, for `CONFIG REWRITE`. Nobody is told: it is from there that users come.
    pub fn note_users(&self, lines: String) {
        let mut change = self.change.lock();
        let mut after = Config::clone(&self.current.load());
        after.user = lines;
        if let Some(position) = super::position("user") {
            change.origins[position] = Origin::RunTime;
        }
        self.current.store(Arc::new(after));
    }

    /// Where the value of a setting comes from.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        super::position(name).map(|position| self.change.lock().origins[position])
    }

    /// Writes what `CONFIG SET` changed into the file, keeping its comments and order. For `CONFIG REWRITE`.
    pub fn rewrite(&self) -> Result<(), RewriteError> {
        let Some(file) = &self.file else { return Err(RewriteError::NoFile) };
        let change = self.change.lock();
        let config = self.load();
        let positions = (0..SETTINGS.len()).filter(|position| change.origins[*position] == Origin::RunTime);
        let values: Vec<_> =
            positions.map(|position| (&SETTINGS[position], (SETTINGS[position].show)(&config))).collect();
        rewrite::write_file(file, &values)
    }
}

/// These settings with some changed, and the positions of those.
fn with(before: &Config, pairs: &[(&str, &str)]) -> Result<(Config, Vec<usize>), SetError> {
    let mut after = before.clone();
    let mut targets: Vec<Target> = Vec::with_capacity(pairs.len());
    // What is derived may be told what it is already, as clients do that want to be sure.
    let new = || pairs.iter().filter(|(name, value)| !is_derived_as(before, name, value));
    for (name, _) in new() {
        let target = changeable(name)?;
        if targets.iter().any(|other| other.is(&target)) {
            return Err(SetError::SetTwice(name.to_ascii_lowercase()));
        }
        targets.push(target);
    }
    for (target, (name, value)) in targets.iter().zip(new()) {
        target
            .parse_into(&mut after, value)
            .map_err(|error| SetError::WrongValue { name: name.to_ascii_lowercase(), error })?;
    }
    match after.contradiction() {
        Some(sentence) => Err(SetError::Contradiction(sentence)),
        None => Ok((after, targets.iter().flat_map(Target::positions).collect())),
    }
}

/// What a name means to `CONFIG SET`.
enum Target {
    /// The setting at a position of the table.
    Setting(usize),
    /// A part of one, and how it is read.
    Part(&'static Derived, ParseInto),
}

impl Target {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Setting(position), Self::Setting(other)) => position == other,
            (Self::Part(derived, _), Self::Part(other, _)) => derived.name == other.name,
            (Self::Setting(_), Self::Part(..)) | (Self::Part(..), Self::Setting(_)) => false,
        }
    }

    fn parse_into(&self, config: &mut Config, value: &str) -> Result<(), ValueError> {
        match self {
            Self::Setting(position) => (SETTINGS[*position].parse_into)(config, value),
            Self::Part(_, parse_into) => parse_into(config, value),
        }
    }

    /// The settings that change with it.
    fn positions(&self) -> Vec<usize> {
        match self {
            Self::Setting(position) => vec![*position],
            Self::Part(derived, _) => derived.of.iter().filter_map(|name| super::position(name)).collect(),
        }
    }
}

/// Whether a name is derived from another setting and has this value.
fn is_derived_as(config: &Config, name: &str, value: &str) -> bool {
    derived(name).is_some_and(|derived| (derived.show)(config).eq_ignore_ascii_case(value))
}

fn derived(name: &str) -> Option<&'static Derived> {
    DERIVED.iter().find(|derived| derived.name.eq_ignore_ascii_case(name))
}

/// What `CONFIG SET` changes under this name, if it may.
fn changeable(name: &str) -> Result<Target, SetError> {
    if let Some(derived) = derived(name) {
        let part = derived.parse_into.map(|parse_into| Target::Part(derived, parse_into));
        return part.ok_or_else(|| SetError::AppliesAtStart(name.to_ascii_lowercase()));
    }
    let position = super::position(name).ok_or_else(|| SetError::UnknownSetting(name.to_owned()))?;
    if SETTINGS[position].applies == Applies::AtStart {
        return Err(SetError::AppliesAtStart(name.to_ascii_lowercase()));
    }
    Ok(Target::Setting(position))
}

/// All names with how their values are shown: settings under each of their names, then what is derived.
fn rows() -> impl Iterator<Item = (&'static str, Show)> {
    let named = |setting: &'static Setting| setting.names.iter().map(move |name| (*name, setting.show));
    SETTINGS.iter().flat_map(named).chain(DERIVED.iter().map(|derived| (derived.name, derived.show)))
}

type Show = fn(&Config) -> String;
type ParseInto = fn(&mut Config, &str) -> Result<(), ValueError>;

/// A name that is there for the sake of Redis' clients, and is a part of other settings.
struct Derived {
    name: &'static str,
    /// The settings that it is a part of.
    of: &'static [&'static str],
    show: Show,
    /// Reads it into them, if `CONFIG SET` takes it.
    parse_into: Option<ParseInto>,
}

const DERIVED: &[Derived] = &[
    Derived { name: "bind", of: &["resp"], show: |config| config.resp.host().to_owned(), parse_into: Some(parse_bind) },
    Derived {
        name: "port",
        of: &["resp", "resp-plain"],
        show: |config| if config.resp_plain { config.resp.port().to_string() } else { "0".to_owned() },
        parse_into: Some(parse_port),
    },
    Derived {
        name: "appendonly",
        of: &["persistence"],
        show: |config| if config.persistence == "on" { "yes".to_owned() } else { "no".to_owned() },
        parse_into: None,
    },
];

/// As in Redis, 0 is for clients that come over TLS alone. The port is kept for when others are let in again.
fn parse_port(config: &mut Config, text: &str) -> Result<(), ValueError> {
    let port = <u64 as SettingValue>::parse(text, &Rule::Integer { low: 0, high: u16::MAX.into() })?;
    config.resp_plain = port > 0;
    if let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) {
        config.resp = Address::new(config.resp.host(), port);
    }
    Ok(())
}

fn parse_bind(config: &mut Config, text: &str) -> Result<(), ValueError> {
    let host = if text == "*" { "0.0.0.0" } else { text };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let written = format!("{host}:{}", config.resp.port());
    config.resp = written.parse().map_err(|_| ValueError::Refused(ONE_ADDRESS))?;
    Ok(())
}

const ONE_ADDRESS: &str = "one address is wanted, such as 127.0.0.1, or 0.0.0.0 for all of this machine";
