//! Rules as text: the shortest that come back to the same permissions, as `ACL LIST` and files have them.
//!
//! Commands are told as Redis tells them: categories first, the best fitting one each time, then single commands.

use super::categories::{Categories, NAMES};
use super::selector::Selector;
use crate::command::table::{Entry, table};

impl Selector {
    /// The rules of keys, channels and commands, apart by single spaces.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for part in [self.describe_keys(), self.describe_channels(true)] {
            text.extend_from_slice(&part);
            if !part.is_empty() {
                text.push(b' ');
            }
        }
        text.extend_from_slice(&self.describe_commands());
        text
    }

    /// The rules of keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.allows_all_keys {
            return b"~*".to_vec();
        }
        let patterns = self.keys.iter().map(|key| {
            let prefix: &[u8] = match (key.reads, key.writes) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                (true, true) | (false, false) => b"~",
            };
            [prefix, &*key.pattern].concat()
        });
        patterns.collect::<Vec<_>>().join(&b' ')
    }

    /// The rules of channels; `from_nothing` says that those are all.
    pub fn describe_channels(&self, from_nothing: bool) -> Vec<u8> {
        if self.allows_all_channels {
            return b"&*".to_vec();
        }
        let first = from_nothing.then(|| b"resetchannels".to_vec());
        let patterns = self.channels.iter().map(|pattern| [b"&", &**pattern].concat());
        first.into_iter().chain(patterns).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules of commands.
    pub fn describe_commands(&self) -> Vec<u8> {
        let adds = !self.allows_future_commands;
        let mut rules: Vec<Vec<u8>> = vec![if adds { b"-@all".to_vec() } else { b"+@all".to_vec() }];
        // What the rules so far allow, and what of the commands is not told yet.
        let mut told = Selector::new(false);
        if !adds {
            table().every().for_each(|entry| told.set(entry, true));
        }
        let mut left = self.clone();
        let mut used = Categories::empty();
        while let Some((name, category)) = left.best_category(adds, used) {
            used |= category;
            told.set_all_of(category, adds);
            left.set_all_of(category, !adds);
            rules.push([if adds { b"+@" } else { b"-@" }, name.as_bytes()].concat());
        }
        for entry in table().entries() {
            self.describe_differences(entry, &mut told, &mut rules);
        }
        rules.join(&b' ')
    }

    /// The category that tells most of what is left, if one tells more than it spoils.
    fn best_category(&self, adds: bool, used: Categories) -> Option<(&'static str, Categories)> {
        let mut best = None;
        let (mut least_wrong, mut most_right) = (usize::MAX, 0);
        for (name, category) in NAMES.iter().filter(|(_, category)| !used.contains(*category)) {
            let of_category = table().every().filter(|entry| entry.categories.contains(*category));
            let (mut right, mut wrong) = (0, 0);
            for entry in of_category {
                if self.commands[entry.ordinal] == adds { right += 1 } else { wrong += 1 }
            }
            if right > wrong && (wrong < least_wrong || wrong == least_wrong && right > most_right) {
                (least_wrong, most_right) = (wrong, right);
                best = Some((*name, *category));
            }
        }
        best
    }

    /// The rules of a command and its subcommands where `told` says otherwise.
    fn describe_differences(&self, entry: &Entry, told: &mut Selector, rules: &mut Vec<Vec<u8>>) {
        let is_allowed = self.commands[entry.ordinal];
        let name = entry.full_name.as_bytes();
        if is_allowed != told.commands[entry.ordinal] {
            rules.push([if is_allowed { b"+" } else { b"-" }, name].concat());
            told.set(entry, is_allowed);
        }
        for subcommand in &entry.subcommands {
            self.describe_differences(subcommand, told, rules);
        }
        if !is_allowed {
            for argument in self.first_arguments.get(&entry.ordinal).into_iter().flatten() {
                rules.push([b"+", name, b"|", &**argument].concat());
            }
        }
    }
}
