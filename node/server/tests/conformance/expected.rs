//! What a script allows as an answer.
//!
//! `+OK` and `-ERR text` up to the end of the line, `+"text"` inside arrays, `:5`, `:5..10` (between, both in it),
//! `"bulk"`, `nil`, `[a b]` in this order, `any[a b]` in any order, `set[a b]` and `map[key value]` (in any order; arrays
//! in RESP2), `,1.5` (bulk in RESP2), `#t` (integer in RESP2), `text"txt:verbatim"` (bulk without format in RESP2),
//! `("a" | "b")` one of these, `_` anything.

use super::reply::Answer;
use super::script::quoted;
use resp::Version;
use std::fmt;

/// A pattern of answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Expected {
    Anything,
    Exactly(Answer),
    Between(i64, i64),
    OneOf(Vec<Expected>),
    InOrder(Vec<Expected>),
    AnyOrder(Vec<Expected>),
    Set(Vec<Expected>),
    /// Keys and values in turn.
    Map(Vec<Expected>),
}

impl Expected {
    /// Reads a whole pattern.
    pub fn parse(text: &str) -> Option<Expected> {
        let text = text.trim();
        if let Some(error) = text.strip_prefix('-') {
            return Some(Expected::Exactly(Answer::Error(error.to_owned())));
        }
        let (expected, rest) = Self::parse_one(text)?;
        rest.trim().is_empty().then_some(expected)
    }

    fn parse_one(text: &str) -> Option<(Expected, &str)> {
        type Build = fn(Vec<Expected>) -> Expected;
        const GROUPS: [(&str, Build); 5] = [
            ("[", Expected::InOrder),
            ("any[", Expected::AnyOrder),
            ("set[", Expected::Set),
            ("map[", Expected::Map),
            ("(", Expected::OneOf),
        ];
        for (open, build) in GROUPS {
            if let Some(rest) = text.strip_prefix(open) {
                let (patterns, rest) = Self::parse_many(rest)?;
                return Some((build(patterns), rest));
            }
        }
        if text.starts_with('"') {
            let (bytes, rest) = quoted(text)?;
            return Some((Expected::Exactly(Answer::Bulk(bytes)), rest));
        }
        if let Some(text) = text.strip_prefix("text").filter(|text| text.starts_with('"')) {
            let (bytes, rest) = quoted(text)?;
            return Some((Expected::Exactly(Answer::Verbatim(bytes)), rest));
        }
        if text.starts_with("+\"") {
            let (bytes, rest) = quoted(&text[1..])?;
            return Some((Expected::Exactly(Answer::Simple(String::from_utf8(bytes).ok()?)), rest));
        }
        let end = text.find([' ', ']', ')']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        Some((Self::parse_word(word)?, rest))
    }

    fn parse_word(word: &str) -> Option<Expected> {
        Some(match word.split_at_checked(1)? {
            _ if word == "nil" => Expected::Exactly(Answer::Null),
            _ if word == "nil-array" => Expected::Exactly(Answer::NullArray),
            ("_", "") => Expected::Anything,
            ("+", text) => Expected::Exactly(Answer::Simple(text.to_owned())),
            (",", number) => Expected::Exactly(Answer::Double(number.to_owned())),
            ("#", value) => Expected::Exactly(Answer::Boolean(value == "t")),
            (":", number) => match number.split_once("..") {
                Some((low, high)) => Expected::Between(low.parse().ok()?, high.parse().ok()?),
                None => Expected::Exactly(Answer::Integer(number.parse().ok()?)),
            },
            _ => return None,
        })
    }

    fn parse_many(mut text: &str) -> Option<(Vec<Expected>, &str)> {
        let mut patterns = Vec::new();
        loop {
            text = text.trim_start_matches([' ', '|']);
            if let Some(rest) = text.strip_prefix([']', ')']) {
                return Some((patterns, rest));
            }
            let (pattern, rest) = Self::parse_one(text)?;
            patterns.push(pattern);
            text = rest;
        }
    }

    /// Whether the answer, given in this version, is one of those.
    pub fn fits(&self, answer: &Answer, version: Version) -> bool {
        match (self, answer, version) {
            (Expected::Anything, _, _) => true,
            (Expected::Exactly(Answer::Double(text)), Answer::Bulk(bytes), Version::Resp2) => text.as_bytes() == bytes,
            (Expected::Exactly(Answer::Boolean(value)), Answer::Integer(number), Version::Resp2) => {
                i64::from(*value) == *number
            }
            (Expected::Exactly(Answer::Verbatim(text)), Answer::Bulk(bytes), Version::Resp2) => {
                text.get(4..) == Some(bytes)
            }
            (Expected::Exactly(expected), _, _) => expected == answer,
            (Expected::Between(low, high), Answer::Integer(value), _) => (low..=high).contains(&value),
            (Expected::OneOf(patterns), _, _) => patterns.iter().any(|pattern| pattern.fits(answer, version)),
            (Expected::InOrder(patterns), Answer::Array(answers), _) => {
                patterns.len() == answers.len()
                    && patterns.iter().zip(answers).all(|(pattern, answer)| pattern.fits(answer, version))
            }
            (Expected::AnyOrder(patterns), Answer::Array(answers), _)
            | (Expected::Set(patterns), Answer::Array(answers), Version::Resp2)
            | (Expected::Set(patterns), Answer::Set(answers), Version::Resp3) => {
                fit_in_any_order(patterns, answers, 1, version)
            }
            (Expected::Map(patterns), Answer::Array(answers), Version::Resp2)
            | (Expected::Map(patterns), Answer::Map(answers), Version::Resp3) => {
                fit_in_any_order(patterns, answers, 2, version)
            }
            _ => false,
        }
    }
}

/// Whether every group of so many patterns finds a group of answers for itself, and none is left.
fn fit_in_any_order(patterns: &[Expected], answers: &[Answer], group: usize, version: Version) -> bool {
    let mut left: Vec<&[Answer]> = answers.chunks(group).collect();
    let found = patterns.chunks(group).all(|wanted| {
        let fits = |answers: &&[Answer]| {
            wanted.len() == answers.len()
                && wanted.iter().zip(*answers).all(|(pattern, answer)| pattern.fits(answer, version))
        };
        left.iter().position(fits).map(|at| left.swap_remove(at)).is_some()
    });
    found && left.is_empty()
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |f: &mut fmt::Formatter<'_>, open: &str, patterns: &[Expected], between: &str, close: &str| {
            let texts: Vec<String> = patterns.iter().map(Expected::to_string).collect();
            write!(f, "{open}{}{close}", texts.join(between))
        };
        match self {
            Expected::Anything => f.write_str("_"),
            Expected::Exactly(answer) => answer.fmt(f),
            Expected::Between(low, high) => write!(f, ":{low}..{high}"),
            Expected::OneOf(patterns) => many(f, "(", patterns, " | ", ")"),
            Expected::InOrder(patterns) => many(f, "[", patterns, " ", "]"),
            Expected::AnyOrder(patterns) => many(f, "any[", patterns, " ", "]"),
            Expected::Set(patterns) => many(f, "set[", patterns, " ", "]"),
            Expected::Map(patterns) => many(f, "map[", patterns, " ", "]"),
        }
    }
}
