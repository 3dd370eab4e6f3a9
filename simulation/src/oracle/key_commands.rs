//! What commands on keys as wholes, and on their lives, answer and write.

use super::commands::{Answer, Call, count, flag};
use super::history::{Key, Life};
use super::shown::{Content, Kind, Shown};
use crate::reply::Value;

const NO_KEY: &str = "ERR no such key";

impl Call<'_, '_> {
    pub(super) fn generic(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let keys = self.keys_from(1);
        Some(match name {
            "del" | "unlink" => Ok(count(keys.iter().filter(|key| self.execution.delete(key)).count())),
            "exists" | "touch" => Ok(count(keys.iter().filter(|key| self.execution.shown(key).is_some()).count())),
            "type" => Ok(Value::Simple(type_name(self.execution.shown(&key)).to_owned())),
            "rename" | "renamenx" => self.rename(&key, name == "renamenx"),
            "copy" => {
                let database = self.amount("db", 1).and_then(|d| u8::try_from(d).ok()).unwrap_or(self.database);
                let target = Key::new(database, self.arg(2));
                let is_free = self.has("replace") || self.execution.shown(&target).is_none();
                let copies = self.execution.shown(&key).is_some() && is_free;
                if copies {
                    self.execution.copy(&key, &target);
                }
                Ok(flag(copies))
            }
            "move" => {
                let target = Key::new(self.arg(2).parse().unwrap_or(0), self.arg(1));
                let moves = self.execution.shown(&key).is_some() && self.execution.shown(&target).is_none();
                if moves {
                    self.execution.copy(&key, &target);
                    self.execution.delete(&key);
                }
                Ok(flag(moves))
            }
            "flushdb" => {
                self.execution.clear(Some(self.database));
                Ok(Value::ok())
            }
            "flushall" => {
                self.execution.clear(None);
                Ok(Value::ok())
            }
            _ => return None,
        })
    }

    fn rename(&mut self, source: &Key, only_if_free: bool) -> Answer {
        let target = self.key(2);
        if self.execution.shown(source).is_none() {
            return Err(NO_KEY);
        }
        let renames = !only_if_free || self.execution.shown(&target).is_none();
        if renames && *source != target {
            self.execution.copy(source, &target);
            self.execution.delete(source);
        }
        Ok(if only_if_free { flag(renames) } else { Value::ok() })
    }

    pub(super) fn life(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        let now = self.execution.now;
        let unit = match name {
            "expire" | "ttl" => 1000,
            "pexpire" | "pttl" | "pexpiretime" | "persist" => 1,
            _ => return None,
        };
        let life = self.execution.shown(&key).map(|shown| shown.life);
        Some(Ok(match name {
            "expire" | "pexpire" => {
                let ms = self.arg(2).parse::<u64>().unwrap_or(0) * unit;
                let applies = life.is_some_and(|current| Condition::of(self.arg(3)).allows(current, now + ms));
                flag(applies && self.execution.set_life(&key, Life::Until(now + ms)))
            }
            "persist" => {
                let persists = matches!(life, Some(Life::Until(_)));
                flag(persists && self.execution.set_life(&key, Life::Never))
            }
            _ => Value::Integer(match life {
                None => -2,
                Some(Life::Never) => -1,
                Some(Life::Until(deadline)) if name == "pexpiretime" => deadline as i64,
                Some(Life::Until(deadline)) if name == "ttl" => ((deadline - now + 500) / 1000) as i64,
                Some(Life::Until(deadline)) => (deadline - now) as i64,
            }),
        }))
    }
}

/// A condition of a command that sets an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    None,
    Without,
    With,
    Later,
    Sooner,
}

impl Condition {
    pub(super) fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "nx" => Self::Without,
            "xx" => Self::With,
            "gt" => Self::Later,
            "lt" => Self::Sooner,
            _ => Self::None,
        }
    }

    /// Whether a new end may take the place of a life. One without end is the longest.
    pub(super) fn allows(self, current: Life, deadline: u64) -> bool {
        match self {
            Self::None => true,
            Self::Without => current == Life::Never,
            Self::With => current != Life::Never,
            Self::Later => Life::Until(deadline) > current,
            Self::Sooner => Life::Until(deadline) < current,
        }
    }
}

fn type_name(shown: Option<Shown>) -> &'static str {
    match shown.map(|shown| kind(&shown.content)) {
        None => "none",
        Some(Kind::String) => "string",
        Some(Kind::Hash) => "hash",
        Some(Kind::Set) => "set",
        Some(Kind::SortedSet) => "zset",
        Some(Kind::List) => "list",
        Some(Kind::Stream) => "stream",
    }
}

fn kind(content: &Content) -> Kind {
    match content {
        Content::String(_) => Kind::String,
        Content::Hash(_) => Kind::Hash,
        Content::Set(_) => Kind::Set,
        Content::SortedSet(_) => Kind::SortedSet,
        Content::List(_) => Kind::List,
        Content::Stream(_) => Kind::Stream,
    }
}
