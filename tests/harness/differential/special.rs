//! Arguments that the documentation has no words for: scripts, access rules, settings.

use super::generator::{Generator, bytes, is_racy};
use super::pools;
use super::scripts;

/// Commands that are not called in scripts and talks: those whose answer depends on chance, time, or on an order that nobody promises, and those that go on after
/// the script.
pub const UNFIT: &[&str] = &[
    "smembers",
    "sinter",
    "sunion",
    "sdiff",
    "hgetall",
    "hkeys",
    "hvals",
    "keys",
    "sort",
    "sort_ro",
    "spop",
    "srandmember",
    "hrandfield",
    "zrandmember",
    "randomkey",
    "scan",
    "sscan",
    "hscan",
    "zscan",
    "time",
    "dump",
    "eval",
    "evalsha",
    "eval_ro",
    "evalsha_ro",
    "fcall",
    "fcall_ro",
    "georadius",
    "geosearch",
    "wait",
    "waitaof",
    "migrate",
];
/// The families that are.
pub const DATA_GROUPS: &[&str] =
    &["string", "bitmap", "generic", "hash", "set", "sorted-set", "list", "stream", "transactions", "hyperloglog"];

impl Generator<'_> {
    /// The words after the name of a command with such arguments; nothing for all others.
    pub(super) fn special(&mut self, name: &str) -> Option<Vec<Vec<u8>>> {
        Some(match name {
            "eval" | "eval_ro" => self.script_and_keys(),
            "evalsha" | "evalsha_ro" => {
                let mut words = vec![self.digest()];
                words.extend(self.keys_and_arguments());
                words
            }
            "script|load" => vec![self.script()],
            "script|exists" => (0..1 + self.random.below(3)).map(|_| self.digest()).collect(),
            "script|debug" => vec![self.word(&["NO", "no", "maybe", ""])],
            "function|load" => {
                let replace = self.random.percent(60).then(|| b"REPLACE".to_vec());
                replace.into_iter().chain([self.library()]).collect()
            }
            "function|delete" => vec![self.word(scripts::LIBRARIES)],
            "function|restore" => {
                let payload = self.grammar.libraries.clone();
                let payload = if self.random.percent(80) { payload } else { b"nonsense".to_vec() };
                let policy = self.random.percent(60).then(|| self.word(&["FLUSH", "append", "REPLACE", "other"]));
                [payload].into_iter().chain(policy).collect()
            }
            "fcall" | "fcall_ro" => {
                let mut words = vec![self.word(&["f1", "f2", "f3", "fixed", "F1", "none"])];
                words.extend(self.keys_and_arguments());
                words
            }
            "acl|setuser" => {
                let mut words = vec![self.word(pools::USERS)];
                words.extend((0..self.random.below(5)).map(|_| self.word(pools::RULES)).collect::<Vec<_>>());
                words
            }
            // Not the one that all clients are.
            "acl|deluser" => (0..1 + self.random.below(2)).map(|_| self.word(pools::USERS)).collect(),
            "acl|dryrun" => {
                let mut words = vec![self.word(pools::USERS)];
                words.extend(self.other_call());
                words
            }
            "command|getkeys" | "command|getkeysandflags" => self.other_call(),
            "config|get" => (0..1 + self.random.below(2)).map(|_| self.word(pools::SETTINGS)).collect(),
            "config|set" => (0..1 + self.random.below(2))
                .flat_map(|_| [self.word(pools::SETTINGS), self.word(pools::SETTING_VALUES)])
                .collect(),
            "migrate" => self.keys_for_nobody(),
            _ => return None,
        })
    }

    /// Keys that are to go where nobody listens.
    fn keys_for_nobody(&mut self) -> Vec<Vec<u8>> {
        let key = if self.random.percent(60) { self.word(pools::ALL_KEYS) } else { Vec::new() };
        let mut words = vec![bytes("127.0.0.1"), bytes("1"), key, self.word(&["0", "1", "-1", "x"])];
        words.push(self.word(&["100", "1000", "0", "-1", "x"]));
        for _ in 0..self.random.below(3) {
            words.push(self.word(&["COPY", "replace", "AUTH", "auth2", "pw1", "nonsense"]));
        }
        if self.random.percent(50) {
            words.push(self.word(&["KEYS", "keys"]));
            words.extend((0..self.random.below(3)).map(|_| self.word(pools::ALL_KEYS)).collect::<Vec<_>>());
        }
        words
    }

    /// A call of any command, as an argument of another.
    fn other_call(&mut self) -> Vec<Vec<u8>> {
        loop {
            let other = self.random_name();
            if !["command|getkeys", "command|getkeysandflags", "acl|dryrun"].contains(&other.as_str()) {
                return self.of_command(&other);
            }
        }
    }

    fn call_in_script(&mut self) -> Vec<Vec<u8>> {
        loop {
            let name = self.random_name();
            let group = self.grammar.commands[&name].group.as_str();
            if DATA_GROUPS.contains(&group) && !UNFIT.contains(&name.as_str()) {
                let call = self.of_command(&name);
                if !is_racy(&call) {
                    return call;
                }
            }
        }
    }

    fn script(&mut self) -> Vec<u8> {
        if self.random.percent(30) {
            let scripts = self.grammar.scripts.clone();
            return self.random.one_of(&scripts).0.clone();
        }
        let calls = self.some_calls();
        let mut next = calls.into_iter().cycle();
        let mut random = self.random.clone();
        let head = match self.random.below(20) {
            0 => "#!lua\n",
            1 => "#!lua flags=no-writes\n",
            2 => "#!lua flags=allow-oom,no-cluster\n",
            3 => "#!lua flags=nonsense\n",
            4 => "#!lua name=x\n",
            5 => "#!ruby\n",
            6 => "#!lua flags=no-writes",
            _ => "",
        };
        let body = scripts::body(&mut random, &mut |_| next.next().unwrap_or_default());
        self.random.word();
        (head.to_owned() + &body).into_bytes()
    }

    fn library(&mut self) -> Vec<u8> {
        let mut next = self.some_calls().into_iter().cycle();
        let mut random = self.random.clone();
        let code = scripts::library(&mut random, &mut |_| next.next().unwrap_or_default());
        self.random.word();
        code.into_bytes()
    }

    fn some_calls(&mut self) -> Vec<Vec<Vec<u8>>> {
        (0..4).map(|_| self.call_in_script()).collect()
    }

    fn script_and_keys(&mut self) -> Vec<Vec<u8>> {
        let mut words = vec![self.script()];
        words.extend(self.keys_and_arguments());
        words
    }

    fn keys_and_arguments(&mut self) -> Vec<Vec<u8>> {
        let keys = self.random.below(3);
        let told = if self.random.percent(93) { keys.to_string() } else { self.pick(pools::COUNTS) };
        let mut words = vec![told.into_bytes()];
        words.extend((0..keys).map(|_| self.word(pools::ALL_KEYS)).collect::<Vec<_>>());
        words.extend((0..self.random.below(3)).map(|_| self.word(pools::VALUES)).collect::<Vec<_>>());
        words
    }

    /// The name of a script that may be known.
    fn digest(&mut self) -> Vec<u8> {
        let scripts = self.grammar.scripts.clone();
        let digest = self.random.one_of(&scripts).1.clone();
        match self.random.below(10) {
            0 => digest.to_ascii_uppercase(),
            1 => b"ffffffffffffffffffffffffffffffffffffffff".to_vec(),
            2 => b"short".to_vec(),
            _ => digest,
        }
    }

    pub(super) fn word(&mut self, pool: &[&str]) -> Vec<u8> {
        bytes(&self.pick(pool))
    }
}
