//! Whether a user may make a request: the command, the keys that it names and what it does with them, its channels.

use super::selector::Selector;
use super::user::Rights;
use crate::command::key_uses::Use;
use crate::command::keys::Channels;
use crate::command::table::Entry;
use crate::command::{Flags, glob};

/// What a user lacks for a request. Positions count from the command's name, which is at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command itself.
    Command,
    /// The key at this position.
    Key(usize),
    /// The channel at this position.
    Channel(usize),
}

impl Denied {
    /// How much of the request was allowed: the selector that allowed most is told about.
    fn progress(self) -> (u8, usize) {
        match self {
            Self::Command => (0, 0),
            Self::Key(at) => (1, at),
            Self::Channel(at) => (2, at),
        }
    }

    /// The refusal of a request.
    pub fn refusal(self, entry: &Entry) -> String {
        match self {
            Self::Command => format!("NOPERM this user has no permissions to run the '{}' command", entry.full_name),
            Self::Key(_) => {
                "NOPERM this user has no permissions to access one of the keys used as arguments".to_owned()
            }
            Self::Channel(_) => {
                "NOPERM this user has no permissions to access one of the channels used as arguments".to_owned()
            }
        }
    }

    /// The answer of `ACL DRYRUN`.
    pub fn explanation(self, entry: &Entry, args: &[&[u8]]) -> String {
        let argument = |at: usize| String::from_utf8_lossy(args.get(at).copied().unwrap_or_default()).into_owned();
        match self {
            Self::Command => format!("This user has no permissions to run the '{}' command", entry.full_name),
            Self::Key(at) => format!("This user has no permissions to access the '{}' key", argument(at)),
            Self::Channel(at) => format!("This user has no permissions to access the '{}' channel", argument(at)),
        }
    }

    /// Why `EXEC` does not run a command that could be queued.
    pub fn refusal_in_exec(self) -> String {
        let reason = match self {
            Self::Command => "no permission to execute the command or subcommand",
            Self::Key(_) => "no permission to touch the specified keys",
            Self::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
             no longer allowed for the following reason: {reason}"
        )
    }
}

impl Rights {
    /// Whether one of the selectors allows all of a request.
    pub fn allows(&self, entry: &Entry, args: &[&[u8]]) -> Result<(), Denied> {
        let mut denied = Denied::Command;
        for selector in &self.selectors {
            match selector.allows(entry, args) {
                Ok(()) => return Ok(()),
                Err(other) if other.progress() > denied.progress() => denied = other,
                Err(_) => {}
            }
        }
        Err(denied)
    }

    /// Whether a command that may read any key, whatever its name, may do so.
    pub fn reads_every_key(&self, entry: &Entry, args: &[&[u8]]) -> bool {
        self.selectors.iter().any(|selector| {
            let reads_all = |key: &super::selector::KeyPattern| key.reads && glob::matches_everything(&key.pattern);
            selector.allows(entry, args).is_ok() && (selector.allows_all_keys || selector.keys.iter().any(reads_all))
        })
    }

    /// Whether a subscription to `channel`, or to a pattern of channels, is allowed.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors.iter().any(|selector| selector.allows_channel(channel, is_pattern))
    }
}

impl Selector {
    fn allows(&self, entry: &Entry, args: &[&[u8]]) -> Result<(), Denied> {
        if !self.allows_command(entry, args) {
            return Err(Denied::Command);
        }
        if !self.allows_all_keys
            && let Some(at) = self.first_denied_key(entry, args)
        {
            return Err(Denied::Key(at));
        }
        if self.allows_all_channels {
            return Ok(());
        }
        let (channels, is_pattern) = match entry.channels {
            Channels::None => (0..0, false),
            Channels::First => (1..args.len().min(2), false),
            Channels::All => (1..args.len(), false),
            Channels::Patterns => (1..args.len(), true),
        };
        let is_denied = |at: &usize| !self.allows_channel(args[*at], is_pattern);
        channels.into_iter().find(is_denied).map_or(Ok(()), |at| Err(Denied::Channel(at)))
    }

    fn allows_command(&self, entry: &Entry, args: &[&[u8]]) -> bool {
        if self.commands[entry.ordinal] || entry.command.flags.contains(Flags::NO_AUTH) {
            return true;
        }
        let known = self.first_arguments.get(&entry.ordinal);
        known.zip(args.get(1)).is_some_and(|(known, first)| known.iter().any(|known| known.eq_ignore_ascii_case(first)))
    }

    fn first_denied_key(&self, entry: &Entry, args: &[&[u8]]) -> Option<usize> {
        let uses = entry.uses.of(args);
        let (mut number, mut denied) = (0, None);
        // If the arguments make no sense, the handler says so.
        entry.command.keys.positions(args, |at| {
            let used = uses.get(number).or(uses.last()).copied().unwrap_or(Use::ANY);
            number += 1;
            if denied.is_none() && args.get(at).is_some_and(|key| !self.allows_key(key, used)) {
                denied = Some(at);
            }
        });
        denied
    }

    fn allows_key(&self, key: &[u8], used: Use) -> bool {
        let (reads, writes) = (used.reads(), used.writes());
        self.keys.iter().any(|allowed| {
            (allowed.reads || !reads) && (allowed.writes || !writes) && glob::matches(&allowed.pattern, key)
        })
    }

    fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        // A pattern is allowed if it stands among the rules: what it matches nobody can say.
        let fits = |allowed: &[u8]| if is_pattern { allowed == channel } else { glob::matches(allowed, channel) };
        self.allows_all_channels || self.channels.iter().any(|allowed| fits(allowed))
    }
}
