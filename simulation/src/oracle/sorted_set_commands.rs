//! What commands on sorted sets answer and write.

use super::commands::{Answer, Call, WRONG_TYPE, bulks, count, pairs};
use super::decimal::Decimal;
use super::history::{Key, Payload, Place};
use super::shown::Content;
use crate::reply::Value;
use std::collections::BTreeMap;

/// Members with their scores, as texts.
type Scores = BTreeMap<String, String>;

impl Call<'_, '_> {
    pub(super) fn scores(&mut self, key: &Key) -> Result<Scores, &'static str> {
        match self.execution.shown(key).map(|shown| shown.content) {
            None => Ok(Scores::new()),
            Some(Content::SortedSet(members)) => Ok(members),
            Some(Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::List(_) | Content::Stream(_)) => {
                Err(WRONG_TYPE)
            }
        }
    }

    pub(super) fn sorted_set(&mut self, name: &str) -> Option<Answer> {
        const NAMES: [&str; 14] = [
            "zadd",
            "zincrby",
            "zrem",
            "zscore",
            "zcard",
            "zrange",
            "zpopmin",
            "zpopmax",
            "zremrangebyscore",
            "zremrangebyrank",
            "zrank",
            "zrevrank",
            "zcount",
            "zrangebyscore",
        ];
        if !NAMES.contains(&name) {
            return None;
        }
        let key = self.key(1);
        let members = match self.scores(&key) {
            Ok(members) => members,
            Err(error) => return Some(Err(error)),
        };
        let length = members.len();
        Some(match name {
            "zadd" => self.call_zadd(&key, &members),
            "zincrby" => self.add_to_score(&key, self.arg(3).to_owned(), score_of(self.arg(2))),
            "zrem" => Ok(self.remove_scored(&key, self.args[2..].to_vec())),
            "zscore" => Ok(Value::bulk(members.get(self.arg(2)).cloned())),
            "zcard" => Ok(count(length)),
            "zrange" => Ok(pairs(by_score(members))),
            "zpopmin" => Ok(pairs(self.pop_scored(&key, members, false, 1))),
            "zpopmax" => Ok(pairs(self.pop_scored(&key, members, true, 1))),
            "zremrangebyscore" => {
                let removed = self.within_scores(members).into_iter().map(|(member, _)| member).collect();
                Ok(self.remove_scored(&key, removed))
            }
            "zremrangebyrank" => {
                let removed = by_score(members).drain(self.range_at(2, length)).map(|(member, _)| member).collect();
                Ok(self.remove_scored(&key, removed))
            }
            "zcount" => Ok(count(self.within_scores(members).len())),
            "zrangebyscore" => Ok(pairs(self.within_scores(members))),
            _ => {
                let rank = by_score(members).into_iter().position(|(member, _)| member == self.arg(2));
                let from_end = name == "zrevrank";
                Ok(rank.map_or(Value::Null, |rank| count(if from_end { length - 1 - rank } else { rank })))
            }
        })
    }

    /// `ZADD`, with conditions or without.
    fn call_zadd(&mut self, key: &Key, members: &Scores) -> Answer {
        let is_option = |word: &&String| ["NX", "XX", "GT", "LT", "CH", "INCR"].contains(&word.as_str());
        let options: Vec<String> = self.args[2..].iter().take_while(is_option).cloned().collect();
        let has = |option: &str| options.iter().any(|word| word == option);
        let given = self.args[2 + options.len()..].chunks_exact(2);
        let given: Vec<(String, Decimal)> = given.map(|pair| (pair[1].clone(), score_of(&pair[0]))).collect();
        let (mut added, mut changed, mut increased) = (0, 0, None);
        for (member, score) in given {
            let current = members.get(&member).map(|text| score_of(text));
            let wanted = Decimal(score.0 + current.filter(|_| has("INCR")).map_or(0, |current| current.0));
            let is_allowed = match current {
                None => !has("XX"),
                Some(current) => !(has("NX") || has("GT") && wanted <= current || has("LT") && wanted >= current),
            };
            if !is_allowed {
                continue;
            }
            added += usize::from(current.is_none());
            changed += usize::from(current.is_some_and(|current| current != wanted));
            if has("INCR") {
                increased = Some(self.add_to_score(key, member, score)?);
            } else {
                self.execution.put_element(key, Place::Scored(member), Payload::Value(score.redis_text()));
            }
        }
        Ok(match (has("INCR"), has("CH")) {
            (true, _) => increased.unwrap_or(Value::Null),
            (false, counts_changes) => count(if counts_changes { added + changed } else { added }),
        })
    }

    fn add_to_score(&mut self, key: &Key, member: String, amount: Decimal) -> Answer {
        self.execution.increment(key, Place::Scored(member.clone()), amount);
        self.scores(key).map(|members| Value::bulk(members.get(&member).cloned()))
    }

    fn remove_scored(&mut self, key: &Key, names: Vec<String>) -> Value {
        let remove = |name| self.execution.remove_element(key, Place::Scored(name));
        count(names.into_iter().map(remove).filter(|&was_there| was_there).count())
    }

    /// Removes so many members from an end, and says which.
    fn pop_scored(&mut self, key: &Key, members: Scores, from_end: bool, most: usize) -> Vec<(String, String)> {
        let mut ordered = by_score(members);
        if from_end {
            ordered.reverse();
        }
        ordered.truncate(most);
        self.remove_scored(key, ordered.iter().map(|(member, _)| member.clone()).collect());
        ordered
    }

    /// The members whose scores are from the third argument to the fourth.
    fn within_scores(&self, members: Scores) -> Vec<(String, String)> {
        let (least, greatest) = (score_of(self.arg(2)), score_of(self.arg(3)));
        let is_within = |(_, score): &(String, String)| (least..=greatest).contains(&score_of(score));
        by_score(members).into_iter().filter(is_within).collect()
    }

    /// What several sorted sets take part in, or what becomes another one.
    pub(super) fn score_algebra(&mut self, name: &str) -> Option<Answer> {
        Some(match name {
            "zunionstore" | "zinterstore" | "zdiffstore" => self.combine_scores(name),
            "zrangestore" => self.scores(&self.key(2)).map(|members| {
                let range = self.range_at(3, members.len());
                let kept = by_score(members).drain(range).collect();
                self.store_scores(kept)
            }),
            "zmpop" => self.call_zmpop(),
            _ => return None,
        })
    }

    /// The members of a sorted set, or of a set: those count one each.
    fn weighed(&mut self, key: &Key) -> Result<Scores, &'static str> {
        match self.members(key) {
            Ok(members) if !members.is_empty() => {
                Ok(members.into_iter().map(|member| (member, "1".to_owned())).collect())
            }
            Ok(_) | Err(_) => self.scores(key),
        }
    }

    fn combine_scores(&mut self, name: &str) -> Answer {
        let sources = [self.weighed(&self.key(3))?, self.weighed(&self.key(4))?];
        let [mut one, other] = sources.map(|members| {
            let numbers = members.into_iter().map(|(member, score)| (member, score_of(&score).0));
            numbers.collect::<BTreeMap<String, i128>>()
        });
        match name {
            "zdiffstore" => one.retain(|member, _| !other.contains_key(member)),
            "zinterstore" => {
                one.retain(|member, _| other.contains_key(member));
                one.iter_mut().for_each(|(member, score)| *score += other[member]);
            }
            _ => other.into_iter().for_each(|(member, score)| *one.entry(member).or_default() += score),
        }
        let texts = one.into_iter().map(|(member, score)| (member, Decimal(score).redis_text()));
        let combined = texts.collect();
        Ok(self.store_scores(combined))
    }

    /// Writes members in place of what the first key holds.
    pub(super) fn store_scores(&mut self, members: Vec<(String, String)>) -> Value {
        let stored = count(members.len());
        let adds = members.into_iter().map(|(member, score)| (Place::Scored(member), Payload::Value(score)));
        self.execution.replace(&self.key(1), adds.collect());
        stored
    }

    fn call_zmpop(&mut self) -> Answer {
        let from_end = self.arg(4).eq_ignore_ascii_case("max");
        for key in [self.key(2), self.key(3)] {
            let members = self.scores(&key)?;
            if !members.is_empty() {
                let popped = self.pop_scored(&key, members, from_end, self.number(6) as usize);
                let popped = popped.into_iter().map(|(member, score)| bulks([member, score])).collect();
                return Ok(Value::Array(vec![Value::Bulk(key.name), Value::Array(popped)]));
            }
        }
        Ok(Value::Null)
    }
}

fn score_of(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or(Decimal(0))
}

/// Members in the order of their scores, those of one score in that of their names.
fn by_score(members: Scores) -> Vec<(String, String)> {
    let mut ordered: Vec<(String, String)> = members.into_iter().collect();
    ordered.sort_by_key(|(_, score)| score_of(score).0);
    ordered
}
