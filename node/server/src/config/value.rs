//! From the text of a setting to its value and back: units, ranges and the sentences about what does not fit.
//!
//! Not for where texts come from (`sources`) nor for what settings there are (`table`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::address::Address;
use super::log_modules;

/// What the text of a setting must look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Any text.
    Text,
    /// Any number of lines of text.
    Lines,
    /// A name of lower-case letters, digits, `-`, `_` and `.`; empty when `optional`.
    Name {
        /// Whether the empty text is allowed.
        optional: bool,
    },
    /// `yes` or `no`.
    Flag,
    /// A whole number, both ends included.
    Integer {
        /// The smallest value allowed.
        low: i64,
        /// The largest value allowed.
        high: i64,
    },
    /// An amount of memory: `64mb`, `1gb`, `4096`.
    Bytes {
        /// The smallest value allowed.
        low: u64,
        /// The largest value allowed.
        high: u64,
    },
    /// A time span: `10s`, `250ms`.
    Duration {
        /// What a bare number counts, and how the value is shown.
        unit: Unit,
        /// The shortest span allowed.
        low: Duration,
        /// The longest span allowed.
        high: Duration,
    },
    /// One word of a list.
    Choice(&'static [&'static str]),
    /// One value for now; the sentence says why no other is taken.
    Only {
        /// The value.
        value: &'static str,
        /// What is said to somebody who asks for another.
        reason: &'static str,
    },
    /// `host:port`.
    Address,
    /// `host:port` or nothing.
    OptionalAddress,
    /// Any number of `host:port`, separated by commas or spaces.
    Addresses,
    /// A file or directory.
    Path,
    /// Levels of modules: `peers=debug,http=warn`.
    LogLevels,
    /// Redis' limits of output buffers: `class hard soft seconds` for each class.
    BufferLimits,
    /// Redis' letters for events of keys, and `R`.
    EventLetters,
}

/// What a bare number in a time span counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nothing: the unit must be written.
    Written,
}

impl Unit {
    /// What it is called; where the unit is written, the smallest one that can be.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds | Self::Written => "microseconds",
        }
    }

    /// Whether a span is a whole number of it: what is kept, shown and written into files is that number.
    fn divides(self, span: Duration) -> bool {
        match self {
            Self::Seconds => span.subsec_nanos() == 0,
            Self::Milliseconds => span.subsec_nanos().is_multiple_of(1_000_000),
            Self::Microseconds | Self::Written => true,
        }
    }
}

/// Why a text is not a value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueError {
    /// Digits were expected.
    NotAnInteger,
    /// Beyond the range, which is given as it is written.
    OutOfRange {
        /// The lower end.
        low: String,
        /// The upper end.
        high: String,
    },
    /// An amount of memory was expected.
    NotBytes,
    /// An amount of memory was expected, or a share of one.
    NotBytesOrPercent,
    /// `yes` or `no` was expected.
    NotAFlag,
    /// A time span was expected.
    NotADuration,
    /// A time span without its unit.
    UnitMissing,
    /// A time span that is not a whole number of what the setting counts.
    NotWhole(Unit),
    /// Not one of the words.
    NotOneOf(&'static [&'static str]),
    /// The one value there is was not named; the sentence says why.
    Refused(&'static str),
    /// `host:port` was expected.
    NotAnAddress,
    /// A name was expected.
    NotAName,
    /// Levels of modules were expected.
    NotLogLevels,
    /// A level for a module that there is not.
    UnknownModule(String),
    /// Limits of output buffers were expected; the sentence is Redis' own.
    BufferLimits(&'static str),
    /// A letter is none of those that events of keys have.
    EventLetter,
    /// Text that is not UTF-8, or has a line end or zero byte in it.
    NotPlainText,
}

impl ValueError {
    /// The reason as `CONFIG SET` gives it; the words are Redis' own where Redis has the case.
    pub fn redis_text(&self) -> String {
        match self {
            Self::NotOneOf(_) => format!("argument(s) {self}"),
            Self::Refused(reason) => (*reason).to_owned(),
            Self::BufferLimits(reason) => (*reason).to_owned(),
            Self::EventLetter => "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned(),
            Self::NotAnInteger
            | Self::OutOfRange { .. }
            | Self::NotBytes
            | Self::NotBytesOrPercent
            | Self::NotAFlag
            | Self::NotADuration
            | Self::UnitMissing
            | Self::NotWhole(_)
            | Self::NotAnAddress
            | Self::NotAName
            | Self::NotLogLevels
            | Self::UnknownModule(_)
            | Self::NotPlainText => format!("argument {self}"),
        }
    }
}

/// The reason as what follows the name of the setting in a sentence.
impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnInteger => f.write_str("couldn't be parsed into an integer"),
            Self::OutOfRange { low, high } => write!(f, "must be between {low} and {high} inclusive"),
            Self::NotBytes => f.write_str("must be a memory value"),
            Self::NotBytesOrPercent => f.write_str("must be a memory or percent value"),
            Self::NotAFlag => f.write_str("must be 'yes' or 'no'"),
            Self::NotADuration => f.write_str("must be a time span such as 10s or 250ms"),
            Self::UnitMissing => f.write_str("needs a unit: write 10s or 250ms"),
            Self::NotWhole(unit) => write!(f, "must be a whole number of {}", unit.name()),
            Self::NotOneOf(words) => write!(f, "must be one of the following: {}", words.join(", ")),
            Self::Refused(reason) => write!(f, "was refused: {reason}"),
            Self::NotAnAddress => f.write_str("must be an address such as 127.0.0.1:6379 or [::1]:6379"),
            Self::NotAName => {
                f.write_str("must be 1 to 64 lower-case letters, digits, '-', '_' or '.', and begin with a letter")
            }
            Self::NotLogLevels => {
                f.write_str("must be modules with their levels, such as peers=debug,http=warn (error, warn, info, debug, trace or off)")
            }
            Self::UnknownModule(module) => {
                write!(f, "must name modules that there are, and {module} is none")?;
                log_modules::nearest(module).map_or(Ok(()), |known| write!(f, "; did you mean {known}?"))
            }
            Self::BufferLimits(_) => f.write_str("must be 'class hard-limit soft-limit seconds' for each class (normal, replica, pubsub)"),
            Self::EventLetter => f.write_str("must be letters of Ag$lshzxeKEtmdnR, see Redis' page about keyspace notifications"),
            Self::NotPlainText => f.write_str("must be one line of UTF-8 text"),
        }
    }
}

/// A type that settings may have.
pub trait SettingValue: Sized {
    /// The value that `text` stands for under `rule`.
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError>;
    /// The value that `text` makes of this one; most values are replaced.
    fn parse_over(&self, text: &str, rule: &Rule) -> Result<Self, ValueError> {
        Self::parse(text, rule)
    }
    /// The text of the value, as `CONFIG GET` and files have it.
    fn show(&self, rule: &Rule) -> String;
}

/// Text that is not to be printed by accident. `show` gives it away on purpose, as `CONFIG GET` does.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "unset" } else { "(hidden)" })
    }
}

impl SettingValue for Secret {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        String::parse(text, rule).map(Self)
    }

    fn show(&self, _rule: &Rule) -> String {
        self.0.clone()
    }
}

impl SettingValue for String {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let lines = if matches!(rule, Rule::Lines) { text.matches('\n').count() } else { 0 };
        if text.matches(['\n', '\r', '\0']).count() > lines {
            return Err(ValueError::NotPlainText);
        }
        match rule {
            Rule::Name { optional } => check_name(text, *optional)?,
            Rule::Choice(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                return word.map(|word| (*word).to_owned()).ok_or(ValueError::NotOneOf(words));
            }
            Rule::Only { value, reason } if !text.eq_ignore_ascii_case(value) => {
                return Err(ValueError::Refused(reason));
            }
            Rule::Only { value, .. } => return Ok((*value).to_owned()),
            Rule::LogLevels => check_log_levels(text)?,
            Rule::Text
            | Rule::Lines
            | Rule::BufferLimits
            | Rule::EventLetters
            | Rule::Flag
            | Rule::Integer { .. }
            | Rule::Bytes { .. }
            | Rule::Duration { .. }
            | Rule::Address
            | Rule::OptionalAddress
            | Rule::Addresses
            | Rule::Path => {}
        }
        Ok(text.to_owned())
    }

    fn show(&self, _rule: &Rule) -> String {
        self.clone()
    }
}

impl SettingValue for PathBuf {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        String::parse(text, rule).map(Self::from)
    }

    fn show(&self, _rule: &Rule) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl SettingValue for bool {
    fn parse(text: &str, _rule: &Rule) -> Result<Self, ValueError> {
        if text.eq_ignore_ascii_case("yes") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("no") {
            Ok(false)
        } else {
            Err(ValueError::NotAFlag)
        }
    }

    fn show(&self, _rule: &Rule) -> String {
        if *self { "yes".to_owned() } else { "no".to_owned() }
    }
}

impl SettingValue for i64 {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let value = i64::from_str(text).map_err(|_| ValueError::NotAnInteger)?;
        if let Rule::Integer { low, high } = rule
            && !(*low..=*high).contains(&value)
        {
            return Err(ValueError::OutOfRange { low: low.to_string(), high: high.to_string() });
        }
        Ok(value)
    }

    fn show(&self, _rule: &Rule) -> String {
        self.to_string()
    }
}

impl SettingValue for u64 {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let Rule::Bytes { low, high } = rule else {
            let value = i64::parse(text, rule)?;
            return u64::try_from(value).map_err(|_| ValueError::NotAnInteger);
        };
        let value = parse_bytes(text)?;
        if !(*low..=*high).contains(&value) {
            return Err(ValueError::OutOfRange { low: low.to_string(), high: high.to_string() });
        }
        Ok(value)
    }

    fn show(&self, _rule: &Rule) -> String {
        self.to_string()
    }
}

impl SettingValue for Duration {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let Rule::Duration { unit, low, high } = rule else {
            return parse_duration(text, Unit::Written);
        };
        let out_of_range =
            || ValueError::OutOfRange { low: show_duration(*low, *unit), high: show_duration(*high, *unit) };
        if text.parse::<i64>().is_ok_and(|number| number < 0) {
            return Err(out_of_range());
        }
        let value = parse_duration(text, *unit)?;
        // SUBTLE: who asks for 250ms of what is counted in seconds must not get 0, which may mean that there is no limit.
        if !unit.divides(value) {
            return Err(ValueError::NotWhole(*unit));
        }
        if value < *low || value > *high { Err(out_of_range()) } else { Ok(value) }
    }

    fn show(&self, rule: &Rule) -> String {
        let unit = if let Rule::Duration { unit, .. } = rule { *unit } else { Unit::Written };
        show_duration(*self, unit)
    }
}

impl SettingValue for Address {
    fn parse(text: &str, _rule: &Rule) -> Result<Self, ValueError> {
        text.parse().map_err(|_| ValueError::NotAnAddress)
    }

    fn show(&self, _rule: &Rule) -> String {
        self.to_string()
    }
}

impl SettingValue for Option<Address> {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        if text.trim().is_empty() { Ok(None) } else { Address::parse(text, rule).map(Some) }
    }

    fn show(&self, rule: &Rule) -> String {
        self.as_ref().map(|address| address.show(rule)).unwrap_or_default()
    }
}

impl SettingValue for Vec<Address> {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let parts = text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Address::parse(part, rule)).collect()
    }

    fn show(&self, _rule: &Rule) -> String {
        self.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
    }
}

/// A short text of an amount of memory where it is round, for the documentation.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// The text of a time span in its setting's unit.
pub fn show_duration(span: Duration, unit: Unit) -> String {
    match unit {
        Unit::Seconds => span.as_secs().to_string(),
        Unit::Milliseconds => span.as_millis().to_string(),
        Unit::Microseconds => span.as_micros().to_string(),
        Unit::Written if !span.subsec_micros().is_multiple_of(1000) => format!("{}us", span.as_micros()),
        Unit::Written if span.subsec_millis() != 0 => format!("{}ms", span.as_millis()),
        Unit::Written => format!("{}s", span.as_secs()),
    }
}

/// Redis' `memtoull`: digits and one of `b k kb m mb g gb`, in any case.
pub(super) fn parse_bytes(text: &str) -> Result<u64, ValueError> {
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(ValueError::NotBytes),
    };
    let count = u64::from_str(digits).map_err(|_| ValueError::NotBytes)?;
    count.checked_mul(factor).ok_or(ValueError::NotBytes)
}

fn parse_duration(text: &str, unit: Unit) -> Result<Duration, ValueError> {
    let (digits, written) = split_unit(text);
    let wants_a_number = unit != Unit::Written && (written.is_empty() || digits.is_empty());
    let not_a_number = if wants_a_number { ValueError::NotAnInteger } else { ValueError::NotADuration };
    let count = u64::from_str(digits).map_err(|_| not_a_number)?;
    let micros_each: u64 = match (written.to_ascii_lowercase().as_str(), unit) {
        ("", Unit::Written) => return Err(ValueError::UnitMissing),
        ("us", _) | ("", Unit::Microseconds) => 1,
        ("ms", _) | ("", Unit::Milliseconds) => 1_000,
        ("s", _) | ("", Unit::Seconds) => 1_000_000,
        ("m" | "min", _) => 60_000_000,
        ("h", _) => 3_600_000_000,
        ("d", _) => 86_400_000_000,
        _ => return Err(ValueError::NotADuration),
    };
    count.checked_mul(micros_each).map(Duration::from_micros).ok_or(ValueError::NotADuration)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

fn check_name(text: &str, optional: bool) -> Result<(), ValueError> {
    if text.is_empty() && optional {
        return Ok(());
    }
    let begins_well = text.starts_with(|letter: char| letter.is_ascii_lowercase());
    let letters_fit = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if begins_well && letters_fit && text.len() <= NAME_BYTES_MAX { Ok(()) } else { Err(ValueError::NotAName) }
}

fn check_log_levels(text: &str) -> Result<(), ValueError> {
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (module, level) = part.split_once('=').ok_or(ValueError::NotLogLevels)?;
        let module_fits = !module.is_empty()
            && module.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
        let level_fits = LOG_LEVELS.contains(&level.to_ascii_lowercase().as_str());
        if !module_fits || !level_fits {
            return Err(ValueError::NotLogLevels);
        }
        if !log_modules::is_known(module) {
            return Err(ValueError::UnknownModule(module.to_owned()));
        }
    }
    Ok(())
}

/// The levels that `log-levels` knows.
pub const LOG_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
/// Names of regions and nodes appear in host names, labels and file names, which end at 63 or 64 bytes.
const NAME_BYTES_MAX: usize = 64;
