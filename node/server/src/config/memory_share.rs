//! An amount of memory that may be said as a share of `maxmemory`: Redis' `maxmemory-clients`.

use super::value::{Rule, SettingValue, ValueError};

/// An amount of memory, or a share of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShare {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths.
    Percent(u64),
}

impl MemoryShare {
    /// The bytes that it is of `whole` bytes.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(u64::MAX),
        }
    }
}

impl SettingValue for MemoryShare {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        let Some(percent) = text.strip_suffix('%') else {
            return u64::parse(text, rule).map(Self::Bytes).map_err(|error| match error {
                ValueError::NotBytes => ValueError::NotBytesOrPercent,
                other => other,
            });
        };
        let percent = percent.parse().map_err(|_| ValueError::NotBytesOrPercent)?;
        if percent > 100 {
            return Err(ValueError::Refused("percentage argument must be less or equal to 100"));
        }
        Ok(Self::Percent(percent))
    }

    fn show(&self, rule: &Rule) -> String {
        match self {
            Self::Bytes(bytes) => bytes.show(rule),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule::Bytes { low: 0, high: 1 << 50 };

    #[test]
    fn a_share_is_of_the_whole_and_bytes_are_not() {
        let check = |text: &str, shown: &str, bytes: u64| {
            let share = MemoryShare::parse(text, &RULE).unwrap();
            assert_eq!((share.show(&RULE).as_str(), share.of(1000)), (shown, bytes));
        };
        check("5%", "5%", 50);
        check("100%", "100%", 1000);
        check("0%", "0%", 0);
        check("1kb", "1024", 1024);
        assert_eq!(MemoryShare::Percent(100).of(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_neither_is_refused_in_the_words_of_redis() {
        let refusal = |text: &str| MemoryShare::parse(text, &RULE).unwrap_err().redis_text();
        assert_eq!(refusal("101%"), "percentage argument must be less or equal to 100");
        assert_eq!(refusal("-5%"), "argument must be a memory or percent value");
        assert_eq!(refusal("many"), "argument must be a memory or percent value");
    }
}
