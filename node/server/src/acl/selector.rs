//! A selector: which commands, keys and channels a set of rules allows, and the rules that change it.
//!
//! A user has one, and may have more in parentheses; a request is allowed if one of them allows all of it. Not passwords and
//! switches: those are the user's (`user`).

use super::categories::Categories;
use crate::command::table::{Entry, table};
use std::collections::BTreeMap;

/// Why a rule was not taken. The sentences are Redis' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Nothing that a rule begins with, or something is missing.
    #[error("Syntax error")]
    Syntax,
    /// There is no such command or category.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// All keys are allowed already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
         'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// All channels are allowed already.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
         'resetchannels' to start with an empty list of channels"
    )]
    AfterAllChannels,
    /// The password that is to go is not there.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// Not a hash.
    #[error("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")]
    NotAHash,
    /// The first argument of a subcommand.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgumentOfSubcommand,
    /// A user stands twice in one file.
    #[error("Duplicate user found. A user can only be defined once in config files")]
    Duplicate,
}

/// Keys, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// What is in them may be read.
    pub reads: bool,
    /// They may be changed.
    pub writes: bool,
    /// Which.
    pub pattern: Box<[u8]>,
}

/// What a set of rules allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Whether each command is allowed, by ordinal.
    pub(super) commands: Box<[bool]>,
    /// Whether commands that only a later version has are allowed: the rules began with all.
    pub(super) allows_future_commands: bool,
    /// Commands that are allowed with these first arguments only.
    pub(super) first_arguments: BTreeMap<usize, Vec<Box<[u8]>>>,
    pub(super) allows_all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) allows_all_channels: bool,
    pub(super) channels: Vec<Box<[u8]>>,
}

impl Selector {
    /// Allows nothing, or all channels and nothing else.
    pub fn new(allows_all_channels: bool) -> Self {
        Self {
            commands: vec![false; table().len()].into(),
            allows_future_commands: false,
            first_arguments: BTreeMap::new(),
            allows_all_keys: false,
            keys: Vec::new(),
            allows_all_channels,
            channels: Vec::new(),
        }
    }

    /// Whether it allows everything.
    pub fn is_unrestricted(&self) -> bool {
        self.allows_all_keys && self.allows_all_channels && self.commands.iter().all(|allowed| *allowed)
    }

    /// Applies one rule: of commands, keys or channels.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || rule == b"~*" {
            self.allows_all_keys = true;
            self.keys.clear();
        } else if is("resetkeys") {
            self.allows_all_keys = false;
            self.keys.clear();
        } else if is("allchannels") || rule == b"&*" {
            self.allows_all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.allows_all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(false);
        } else {
            return match rule.split_first() {
                Some((b'~', pattern)) => self.add_keys(true, true, pattern),
                Some((b'%', rest)) => self.add_some_keys(rest),
                Some((b'&', pattern)) => self.add_channels(pattern),
                Some((b'+', name)) => self.add(name),
                Some((b'-', name)) => self.remove(name),
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.commands.fill(allowed);
        self.allows_future_commands = allowed;
        self.first_arguments.clear();
    }

    /// `%RW~pattern`, without the sign in front.
    fn add_some_keys(&mut self, rest: &[u8]) -> Result<(), RuleError> {
        let (mut reads, mut writes) = (false, false);
        let mut at = 0;
        for byte in rest {
            at += 1;
            match byte {
                b'r' | b'R' if !reads => reads = true,
                b'w' | b'W' if !writes => writes = true,
                b'~' => break,
                _ => return Err(RuleError::Syntax),
            }
        }
        if !reads && !writes {
            return Err(RuleError::Syntax);
        }
        self.add_keys(reads, writes, &rest[at..])
    }

    fn add_keys(&mut self, reads: bool, writes: bool, pattern: &[u8]) -> Result<(), RuleError> {
        if self.allows_all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.reads |= reads;
                known.writes |= writes;
            }
            None => self.keys.push(KeyPattern { reads, writes, pattern: pattern.into() }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.allows_all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
        Ok(())
    }

    /// `+command`, `+command|subcommand`, `+command|argument` or `+@category`, without the sign.
    fn add(&mut self, name: &[u8]) -> Result<(), RuleError> {
        if let Some(category) = name.strip_prefix(b"@") {
            return self.set_category(category, true);
        }
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            self.set(table().find(name).ok_or(RuleError::Unknown)?, true);
            return Ok(());
        };
        let (command, argument) = (&name[..bar], &name[bar + 1..]);
        let entry = table().find_full(command).ok_or(RuleError::Unknown)?;
        if command.contains(&b'|') {
            return Err(RuleError::FirstArgumentOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if entry.subcommands.is_empty() {
            tracing::warn!(
                rule = %String::from_utf8_lossy(name),
                "allowing a first argument of a command that is not allowed otherwise is deprecated in Redis, and may go"
            );
            let known = self.first_arguments.entry(entry.ordinal).or_default();
            if !known.iter().any(|known| known.eq_ignore_ascii_case(argument)) {
                known.push(argument.into());
            }
        } else {
            self.set(entry.subcommand(argument).ok_or(RuleError::Unknown)?, true);
        }
        Ok(())
    }

    /// `-command`, `-command|subcommand` or `-@category`, without the sign.
    fn remove(&mut self, name: &[u8]) -> Result<(), RuleError> {
        if let Some(category) = name.strip_prefix(b"@") {
            return self.set_category(category, false);
        }
        self.set(table().find_full(name).ok_or(RuleError::Unknown)?, false);
        Ok(())
    }

    fn set_category(&mut self, name: &[u8], allowed: bool) -> Result<(), RuleError> {
        let category = Categories::named(name).ok_or(RuleError::Unknown)?;
        self.set_all_of(category, allowed);
        Ok(())
    }

    /// Allows or forbids all commands of a category.
    pub(super) fn set_all_of(&mut self, category: Categories, allowed: bool) {
        for entry in table().every().filter(|entry| entry.categories.contains(category)) {
            self.set(entry, allowed);
        }
    }

    /// Allows or forbids a command with all its subcommands.
    pub(super) fn set(&mut self, entry: &Entry, allowed: bool) {
        for entry in std::iter::once(entry).chain(&entry.subcommands) {
            self.commands[entry.ordinal] = allowed;
            self.first_arguments.remove(&entry.ordinal);
        }
    }
}

/// Whether there is a byte among these that would end a word of a file of users.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b))
}
