//! A user's rights: on or off, passwords, and selectors; how rules change them and how they are written down.

use super::selector::{RuleError, Selector};
use ring::digest::{SHA256, digest};

/// The SHA-256 of a password. Passwords themselves are nowhere kept.
pub type PasswordHash = [u8; 32];

/// Whether payloads of `RESTORE` are to be checked deeply. It is kept and shown; here all are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sanitizing {
    /// Nobody has said.
    Unsaid,
    /// They need not be.
    Skipped,
    /// They are to be.
    Wanted,
}

/// What a user may do, and how one becomes that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Whether anybody may become this user.
    pub is_on: bool,
    /// Whether any password will do.
    pub any_password: bool,
    sanitizing: Sanitizing,
    pub(super) passwords: Vec<PasswordHash>,
    /// The user's own rules first, then those in parentheses.
    pub(super) selectors: Vec<Selector>,
}

impl Rights {
    /// Those of a user that has just been made: off, without a password, allowed nothing (but all channels, if so).
    pub fn new(allows_all_channels: bool) -> Self {
        Self {
            is_on: false,
            any_password: false,
            sanitizing: Sanitizing::Unsaid,
            passwords: Vec::new(),
            selectors: vec![Selector::new(allows_all_channels)],
        }
    }

    /// Those of the user that connections begin with: everything, without a password.
    pub fn of_default_user() -> Self {
        let mut rights = Self::new(true);
        for rule in ["on", "nopass", "~*", "&*", "+@all"] {
            rights.apply(rule.as_bytes(), true).expect("these are rules");
        }
        rights
    }

    /// Whether everything is allowed.
    pub fn is_unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::is_unrestricted)
    }

    /// Whether one becomes this user with `password`.
    pub fn admits(&self, password: &[u8]) -> bool {
        let hash = hash_of(password);
        // All are compared, each in a time that does not depend on what is in it.
        let fits = self.passwords.iter().fold(false, |fits, known| fits | same(known, &hash));
        self.is_on && (self.any_password || fits)
    }

    /// Makes this the only password, or makes any password do.
    pub(super) fn require(&mut self, password: Option<PasswordHash>) {
        self.any_password = password.is_none();
        self.passwords.clear();
        self.passwords.extend(password);
    }

    /// Applies one rule. `allows_all_channels` is what new sets of rules begin with.
    pub fn apply(&mut self, rule: &[u8], allows_all_channels: bool) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() {
            // As in Redis: nothing is asked for.
        } else if is("on") {
            self.is_on = true;
        } else if is("off") {
            self.is_on = false;
        } else if is("nopass") {
            self.any_password = true;
            self.passwords.clear();
        } else if is("resetpass") {
            self.any_password = false;
            self.passwords.clear();
        } else if is("skip-sanitize-payload") {
            self.sanitizing = Sanitizing::Skipped;
        } else if is("sanitize-payload") {
            self.sanitizing = Sanitizing::Wanted;
        } else if is("clearselectors") {
            self.selectors.truncate(1);
        } else if is("reset") {
            *self = Self { sanitizing: Sanitizing::Wanted, ..Self::new(allows_all_channels) };
        } else {
            return self.apply_to_parts(rule, allows_all_channels);
        }
        Ok(())
    }

    /// Rules of passwords, and those of selectors.
    fn apply_to_parts(&mut self, rule: &[u8], allows_all_channels: bool) -> Result<(), RuleError> {
        match rule.split_first() {
            Some((b'>', password)) => self.add_password(hash_of(password)),
            Some((b'#', text)) => self.add_password(parse_hash(text).ok_or(RuleError::NotAHash)?),
            Some((b'<', password)) => return self.remove_password(&hash_of(password)),
            Some((b'!', text)) => return self.remove_password(&parse_hash(text).ok_or(RuleError::NotAHash)?),
            Some((b'(', rest)) if rest.ends_with(b")") => {
                let mut selector = Selector::new(allows_all_channels);
                let rules = rest[..rest.len() - 1].split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty());
                rules.into_iter().try_for_each(|rule| selector.apply(rule))?;
                self.selectors.push(selector);
            }
            _ => match self.selectors.first_mut() {
                Some(own) => return own.apply(rule),
                None => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.any_password = false;
    }

    fn remove_password(&mut self, hash: &PasswordHash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| known == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }

    /// The names of what is switched on, as `ACL GETUSER` lists them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.any_password {
            flags.push("nopass");
        }
        match self.sanitizing {
            Sanitizing::Unsaid => {}
            Sanitizing::Skipped => flags.push("skip-sanitize-payload"),
            Sanitizing::Wanted => flags.push("sanitize-payload"),
        }
        flags
    }

    /// The hashes of the passwords, as text.
    pub fn password_texts(&self) -> impl Iterator<Item = String> {
        self.passwords.iter().map(|hash| hexadecimal(hash))
    }

    /// The user's own rules.
    pub fn own(&self) -> Option<&Selector> {
        self.selectors.first()
    }

    /// The rules in parentheses.
    pub fn others(&self) -> &[Selector] {
        self.selectors.get(1..).unwrap_or_default()
    }

    /// All rules in a line, as `ACL LIST` and files have them after the name.
    pub fn describe(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.password_texts().map(|text| format!("#{text}").into_bytes()));
        words.extend(self.own().map(Selector::describe));
        words.extend(self.others().iter().map(|selector| [b"(", &*selector.describe(), b")"].concat()));
        words.join(&b' ')
    }
}

/// The SHA-256 of a password.
pub fn hash_of(password: &[u8]) -> PasswordHash {
    let mut hash = PasswordHash::default();
    hash.copy_from_slice(digest(&SHA256, password).as_ref());
    hash
}

fn same(one: &PasswordHash, other: &PasswordHash) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    std::hint::black_box(differing) == 0
}

fn parse_hash(text: &[u8]) -> Option<PasswordHash> {
    let mut hash = PasswordHash::default();
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    if pairs.len() != hash.len() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

/// Bytes as small hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}
