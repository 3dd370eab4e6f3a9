//! Scripts: scenarios of commands with the answers they must have.
//!
//! A line is `COMMAND ARGUMENT... -> ANSWER`; `## TITLE` begins a scenario, `## [pelago] TITLE` one that Redis answers
//! otherwise, `#` a comment. Arguments are split at spaces; those in double quotes may hold any bytes (`\xNN`, `\r`,
//! `\n`, `\"`, `\\`). Where RESP3 has another shape than RESP2, `@3 ANSWER` follows. Answers are read by `Expected`.

use super::expected::Expected;
use resp::Version;

/// Whom a scenario is meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    Redis,
    Pelago,
}

/// Commands that run one after the other, from an empty database on.
pub struct Scenario {
    pub title: String,
    only_pelago: bool,
    pub steps: Vec<Step>,
}

/// One command and what it must answer.
pub struct Step {
    pub line: usize,
    pub text: String,
    pub args: Vec<Vec<u8>>,
    resp2: Expected,
    resp3: Option<Expected>,
}

impl Scenario {
    pub fn is_for(&self, audience: Audience) -> bool {
        match audience {
            Audience::Pelago => true,
            Audience::Redis => !self.only_pelago,
        }
    }
}

impl Step {
    pub fn expected(&self, version: Version) -> &Expected {
        match version {
            Version::Resp2 => &self.resp2,
            Version::Resp3 => self.resp3.as_ref().unwrap_or(&self.resp2),
        }
    }
}

/// The scenarios of a script. What cannot be read is a mistake of the script and fails the test with its line.
pub fn parse(name: &str, text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}.txt:{}", index + 1);
        if let Some(title) = line.strip_prefix("## ") {
            let (only_pelago, title) = match title.strip_prefix("[pelago] ") {
                Some(title) => (true, title),
                None => (false, title),
            };
            scenarios.push(Scenario { title: title.to_owned(), only_pelago, steps: Vec::new() });
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let step = parse_step(index + 1, line).unwrap_or_else(|| panic!("{place}: cannot be read: {line}"));
            scenarios.last_mut().unwrap_or_else(|| panic!("{place}: stands before any title")).steps.push(step);
        }
    }
    scenarios
}

/// A command and its answer.
pub fn parse_step(line: usize, text: &str) -> Option<Step> {
    let (command, answer) = text.rsplit_once(" -> ")?;
    let (resp2, resp3) = match answer.split_once(" @3 ") {
        Some((resp2, resp3)) => (resp2, Some(resp3)),
        None => (answer, None),
    };
    Some(Step {
        line,
        text: command.trim().to_owned(),
        args: arguments(command.trim())?,
        resp2: Expected::parse(resp2)?,
        resp3: resp3.map(Expected::parse).map_or(Some(None), |parsed| parsed.map(Some))?,
    })
}

/// The words of a command.
pub fn arguments(mut text: &str) -> Option<Vec<Vec<u8>>> {
    let mut arguments = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Some(arguments);
        }
        if text.starts_with('"') {
            let (argument, rest) = quoted(text)?;
            arguments.push(argument);
            text = rest;
        } else {
            let (argument, rest) = text.split_once(' ').unwrap_or((text, ""));
            arguments.push(argument.as_bytes().to_vec());
            text = rest;
        }
    }
}

/// A text in double quotes at the beginning of `text`, and what follows it.
pub fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let mut characters = rest.chars();
        match characters.next()? {
            '"' => return Some((bytes, characters.as_str())),
            '\\' => {
                match characters.next()? {
                    'x' => {
                        let digits = characters.as_str().get(..2)?;
                        bytes.push(u8::from_str_radix(digits, 16).ok()?);
                        rest = &characters.as_str()[2..];
                        continue;
                    }
                    'r' => bytes.push(b'\r'),
                    'n' => bytes.push(b'\n'),
                    other => bytes.extend(other.to_string().bytes()),
                }
                rest = characters.as_str();
            }
            other => {
                bytes.extend(other.to_string().bytes());
                rest = characters.as_str();
            }
        }
    }
}
