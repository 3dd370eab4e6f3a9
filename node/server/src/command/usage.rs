//! How commands are called: the arguments of each, read from its line in `usage.txt`.
//!
//! From there come the arguments that `COMMAND DOCS` tells and the syntax in `docs/commands.md`. Handlers read requests
//! by themselves; nothing is checked against this.

mod syntax;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How a command is called.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What follows its name.
    pub arguments: Vec<Argument>,
    /// Since when something else should be used, and what.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// It is of no use to applications.
    pub is_internal: bool,
}

/// One argument, or several that go together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// What it is.
    pub kind: Kind,
    /// The word that introduces it, or that it consists of.
    pub token: Option<&'static str>,
    /// The search for keys that finds it, by its number, if it has to do with keys.
    pub key_search: Option<usize>,
    /// The version that has it first, if the command is older.
    pub since: Option<&'static str>,
    /// Since when it should not be used.
    pub deprecated_since: Option<&'static str>,
    /// Whether it may be left out.
    pub is_optional: bool,
    /// How often it may be given.
    pub times: Times,
}

/// What an argument is.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A key.
    Key,
    /// A pattern.
    Pattern,
    /// Seconds or milliseconds since 1970.
    UnixTime,
    /// A word that is given as it is.
    Token,
    /// One of several.
    OneOf(Vec<Argument>),
    /// Several that go together.
    Block(Vec<Argument>),
}

impl Kind {
    /// The name in `COMMAND DOCS`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::Token => "pure-token",
            Self::OneOf(_) => "oneof",
            Self::Block(_) => "block",
        }
    }
}

/// How often an argument may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Once.
    #[default]
    Once,
    /// Once or more often.
    Several,
    /// The same, and the word that introduces it is given each time.
    SeveralWithToken,
}

impl Argument {
    /// Those of which it consists, if any.
    pub fn parts(&self) -> &[Argument] {
        match &self.kind {
            Kind::OneOf(parts) | Kind::Block(parts) => parts,
            Kind::Text | Kind::Integer | Kind::Double | Kind::Key | Kind::Pattern | Kind::UnixTime | Kind::Token => &[],
        }
    }

    /// The names of its flags in `COMMAND DOCS`.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let is_several = self.times != Times::Once;
        let named = [
            ("optional", self.is_optional),
            ("multiple", is_several),
            ("multiple_token", self.times == Times::SeveralWithToken),
        ];
        named.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name)
    }
}

impl Usage {
    /// That of the command with this full name, as in `config|get`; of one that is not described, without arguments.
    pub fn of_command(full_name: &str) -> &'static Usage {
        static NONE: Usage = Usage { arguments: Vec::new(), deprecated: None, is_internal: false };
        described().get(full_name).unwrap_or(&NONE)
    }

    /// The arguments as people write them down, as in `key [NX | XX]`.
    pub fn syntax(&self) -> String {
        syntax::of_sequence(&self.arguments)
    }

    /// Versions after which more arguments could be given, and these.
    pub fn history(&self) -> BTreeMap<&'static str, Vec<&str>> {
        let mut history = BTreeMap::new();
        self.arguments.iter().for_each(|argument| note_history(argument, &mut history));
        history
    }
}

/// Notes when an argument came, by the words that are given for it.
fn note_history<'a>(argument: &'a Argument, history: &mut BTreeMap<&'static str, Vec<&'a str>>) {
    if let Some(since) = argument.since {
        let words = history.entry(since).or_default();
        match (argument.token, &argument.kind) {
            (None, Kind::OneOf(choices)) => words.extend(choices.iter().filter_map(|choice| choice.token)),
            (token, _) => words.push(token.unwrap_or(&argument.name)),
        }
    }
    argument.parts().iter().for_each(|part| note_history(part, history));
}

/// All that are described, by the full names of their commands.
fn described() -> &'static BTreeMap<&'static str, Usage> {
    static DESCRIBED: LazyLock<BTreeMap<&'static str, Usage>> = LazyLock::new(|| {
        let (described, wrong) = read(include_str!("usage.txt"));
        // A test looks at the file, so nobody ever reads this.
        wrong.iter().for_each(|line| tracing::error!(line, "how a command is called is not understood"));
        described
    });
    &DESCRIBED
}

/// What a text describes, and the lines in it that say nothing.
fn read(text: &'static str) -> (BTreeMap<&'static str, Usage>, Vec<&'static str>) {
    let (mut described, mut wrong): (BTreeMap<&'static str, Usage>, _) = (BTreeMap::new(), Vec::new());
    let mut last = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(remark) = line.strip_prefix("  ") {
            let understood = described.get_mut(last).is_some_and(|usage| note_remark(usage, remark));
            if !understood {
                wrong.push(line);
            }
            continue;
        }
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut reader = Reader { rest };
        let arguments = reader.sequence();
        match arguments.filter(|_| reader.rest.is_empty()) {
            Some(arguments) if !described.contains_key(name) => {
                last = name;
                described.insert(name, Usage { arguments, ..Usage::default() });
            }
            Some(_) | None => wrong.push(line),
        }
    }
    (described, wrong)
}

/// Notes what stands beneath a command. False if it is not understood.
fn note_remark(usage: &mut Usage, remark: &'static str) -> bool {
    if remark == "internal" {
        usage.is_internal = true;
        return true;
    }
    usage.deprecated = remark.strip_prefix("deprecated ").and_then(|rest| rest.split_once(' '));
    usage.deprecated.is_some()
}

/// The rest of a line that is read.
struct Reader {
    rest: &'static str,
}

impl Reader {
    /// Arguments with single spaces between them, up to the end of the line, of their brackets, or of the choice.
    fn sequence(&mut self) -> Option<Vec<Argument>> {
        let mut arguments = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with([')', ']', '|']) {
            if !arguments.is_empty() {
                self.take(" ")?;
            }
            arguments.push(self.argument()?);
        }
        Some(arguments)
    }

    fn argument(&mut self) -> Option<Argument> {
        if self.take("[").is_some() {
            let argument = self.argument()?;
            self.take("]")?;
            return Some(Argument { is_optional: true, ..argument });
        }
        let word = self.word()?;
        let mut argument = match word.rsplit_once('=') {
            Some((token, name)) => token_of(token, name),
            None if word.bytes().any(|byte| byte.is_ascii_lowercase()) => self.value(word)?,
            None if self.take(" ").is_some() => {
                let name = self.word()?;
                Argument { token: Some(word), ..self.value(name)? }
            }
            None => token_of(word, ""),
        };
        if self.take("...").is_some() {
            argument.times = if self.take("*").is_some() { Times::SeveralWithToken } else { Times::Several };
        }
        argument.since = self.version("@");
        argument.deprecated_since = self.version("!");
        Some(argument)
    }

    /// An argument whose name has been read.
    fn value(&mut self, word: &'static str) -> Option<Argument> {
        if self.take("(").is_some() {
            let kind = self.parts()?;
            self.take(")")?;
            return Some(Argument { name: word.into(), kind, ..Argument::default() });
        }
        let (name, kind) = word.rsplit_once(':').unwrap_or((word, ""));
        let (letter, number) = kind.split_at_checked(1).unwrap_or(("", ""));
        let key_search = number.parse().ok();
        let kind = match letter {
            "i" => Kind::Integer,
            "d" => Kind::Double,
            "t" => Kind::UnixTime,
            "p" if number.is_empty() || key_search.is_some() => Kind::Pattern,
            "k" if number.is_empty() || key_search.is_some() => {
                let key_search = Some(key_search.unwrap_or_default());
                return Some(Argument { name: name.into(), kind: Kind::Key, key_search, ..Argument::default() });
            }
            // What stands behind the colon belongs to the name.
            _ => return Some(Argument { name: word.into(), ..Argument::default() }),
        };
        Some(Argument { name: name.into(), kind, key_search, ..Argument::default() })
    }

    /// What stands in brackets: choices, or what goes together.
    fn parts(&mut self) -> Option<Kind> {
        let mut choices = vec![self.sequence()?];
        while self.take("|").is_some() {
            choices.push(self.sequence()?);
        }
        match choices.len() {
            1 => choices.pop().filter(|parts| !parts.is_empty()).map(Kind::Block),
            _ if choices.iter().all(|choice| choice.len() == 1) => {
                Some(Kind::OneOf(choices.into_iter().flatten().collect()))
            }
            _ => None,
        }
    }

    /// The letters up to the next sign; of signs that stand for themselves all.
    fn word(&mut self) -> Option<&'static str> {
        let end = self.rest.find([' ', '(', ')', '[', ']', '|', '@', '!', '.']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word)
    }

    /// A version behind its sign.
    fn version(&mut self, sign: &str) -> Option<&'static str> {
        self.take(sign)?;
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(self.rest.len());
        let (version, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(version)
    }

    fn take(&mut self, sign: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(sign)?;
        Some(())
    }
}

/// A word that is given as it is. Without a name it is called like itself.
fn token_of(token: &'static str, name: &'static str) -> Argument {
    let name = if name.is_empty() { Cow::Owned(token.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Argument { name, kind: Kind::Token, token: Some(token), ..Argument::default() }
}
