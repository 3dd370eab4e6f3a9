//! What commands on sets answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, bulks, count, flag};
use super::history::{Key, Payload, Place};
use super::shown::Content;
use crate::reply::Value;
use std::collections::BTreeSet;

impl Call<'_, '_> {
    pub(super) fn members(&mut self, key: &Key) -> Result<BTreeSet<String>, &'static str> {
        match self.execution.shown(key).map(|shown| shown.content) {
            None => Ok(BTreeSet::new()),
            Some(Content::Set(members)) => Ok(members),
            Some(
                Content::String(_) | Content::Hash(_) | Content::SortedSet(_) | Content::List(_) | Content::Stream(_),
            ) => Err(WRONG_TYPE),
        }
    }

    pub(super) fn set(&mut self, name: &str) -> Option<Answer> {
        if !matches!(
            name,
            "sadd" | "srem" | "smembers" | "sismember" | "smismember" | "scard" | "spop" | "srandmember" | "smove"
        ) {
            return None;
        }
        let key = self.key(1);
        let members = match self.members(&key) {
            Ok(members) => members,
            Err(error) => return Some(Err(error)),
        };
        let names: Vec<String> = self.args[2..].to_vec();
        Some(match name {
            "sadd" => {
                let add = |name| self.execution.put_element(&key, Place::Member(name), Payload::Member);
                Ok(count(names.into_iter().map(add).filter(|&is_new| is_new).count()))
            }
            "srem" => {
                let remove = |name| self.execution.remove_element(&key, Place::Member(name));
                Ok(count(names.into_iter().map(remove).filter(|&was_there| was_there).count()))
            }
            "smembers" => Ok(Value::Array(members.into_iter().map(Value::Bulk).collect())),
            "sismember" => Ok(flag(members.contains(self.arg(2)))),
            "smismember" => Ok(Value::Array(names.iter().map(|name| flag(members.contains(name))).collect())),
            "srandmember" => Ok(match self.actual {
                Value::Bulk(chosen) if members.contains(chosen) => Value::Bulk(chosen.clone()),
                _ => members.into_iter().next().map_or(Value::Null, Value::Bulk),
            }),
            "spop" if !names.is_empty() => {
                let wanted = members.len().min(self.number(2) as usize);
                let chosen: Vec<String> = match self.actual {
                    Value::Array(chosen) => chosen.iter().filter_map(|value| value.text().map(str::to_owned)).collect(),
                    _ => Vec::new(),
                };
                let distinct: BTreeSet<&String> = chosen.iter().filter(|name| members.contains(*name)).collect();
                if distinct.len() == wanted && chosen.len() == wanted {
                    chosen.iter().for_each(|name| {
                        self.execution.remove_element(&key, Place::Member(name.clone()));
                    });
                    Ok(bulks(chosen))
                } else {
                    Ok(bulks(members.into_iter().take(wanted)))
                }
            }
            "scard" => Ok(count(members.len())),
            "spop" => Ok(match self.actual {
                // Any member will do, if it is one.
                Value::Bulk(chosen) if members.contains(chosen) => {
                    self.execution.remove_element(&key, Place::Member(chosen.clone()));
                    Value::Bulk(chosen.clone())
                }
                _ => members.into_iter().next().map_or(Value::Null, Value::Bulk),
            }),
            _ => self.call_smove(&key, &members),
        })
    }

    fn call_smove(&mut self, source: &Key, members: &BTreeSet<String>) -> Answer {
        let (target, member) = (self.key(2), self.arg(3).to_owned());
        if members.is_empty() {
            return Ok(flag(false));
        }
        self.members(&target)?;
        let is_member = members.contains(&member);
        if is_member && *source != target {
            self.execution.remove_element(source, Place::Member(member.clone()));
            self.execution.put_element(&target, Place::Member(member), Payload::Member);
        }
        Ok(flag(is_member))
    }

    /// What is put together from several sets: answered, or written in place of what the first key holds.
    pub(super) fn set_algebra(&mut self, name: &str) -> Option<Answer> {
        let stores = name.ends_with("store");
        let sources = match name {
            "sinter" | "sunion" | "sdiff" => self.keys_from(1),
            "sinterstore" | "sunionstore" | "sdiffstore" => self.keys_from(2),
            _ => return None,
        };
        let sets: Result<Vec<BTreeSet<String>>, _> = sources.iter().map(|key| self.members(key)).collect();
        Some(sets.map(|sets| {
            let combined = sets.into_iter().reduce(|one, other| match &name[..3] {
                "sin" => &one & &other,
                "sun" => &one | &other,
                _ => &one - &other,
            });
            let combined = combined.unwrap_or_default();
            if !stores {
                return bulks(combined);
            }
            let stored = count(combined.len());
            let adds = combined.into_iter().map(|member| (Place::Member(member), Payload::Member));
            self.execution.replace(&self.key(1), adds.collect());
            stored
        }))
    }
}
