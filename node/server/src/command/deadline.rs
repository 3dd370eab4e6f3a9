//! Expiry arguments: from `EX 10`, `PXAT 1700000000000` or `EXPIRE key 10` to an absolute deadline.
//!
//! Whether a deadline that has passed deletes, and what NX, XX, GT and LT ask, is decided by the command.

use super::CommandError;
use super::number;
use crdt::UnixMillis;

/// What an amount of time counts, and from when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Measure {
    /// Seconds from now: `EX`, `EXPIRE`.
    Seconds,
    /// Milliseconds from now: `PX`, `PEXPIRE`.
    Millis,
    /// Seconds since the Unix epoch: `EXAT`, `EXPIREAT`.
    UnixSeconds,
    /// Milliseconds since the Unix epoch: `PXAT`, `PEXPIREAT`.
    UnixMillis,
}

impl Measure {
    /// The measure that an option of `SET` or `GETEX` names.
    pub(super) fn of_option(word: &[u8]) -> Option<Self> {
        const OPTIONS: [(&[u8], Measure); 4] = [
            (b"ex", Measure::Seconds),
            (b"px", Measure::Millis),
            (b"exat", Measure::UnixSeconds),
            (b"pxat", Measure::UnixMillis),
        ];
        OPTIONS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|&(_, measure)| measure)
    }

    /// `amount` as milliseconds since the Unix epoch, possibly before it; nothing if 64 bits do not hold it.
    pub(super) fn deadline(self, amount: i64, now: UnixMillis) -> Option<i64> {
        let now = i64::try_from(now).ok()?;
        match self {
            Measure::Seconds => amount.checked_mul(1000)?.checked_add(now),
            Measure::Millis => amount.checked_add(now),
            Measure::UnixSeconds => amount.checked_mul(1000),
            Measure::UnixMillis => Some(amount),
        }
    }
}

/// The deadline of a write such as `SETEX`: an amount that is not positive is refused, an absolute one that has
/// passed is not.
pub(super) fn positive(
    amount: &[u8],
    measure: Measure,
    now: UnixMillis,
    command: &str,
) -> Result<UnixMillis, CommandError> {
    let amount = number::integer(amount)?;
    let deadline = if amount > 0 { measure.deadline(amount, now) } else { None };
    deadline.and_then(|deadline| UnixMillis::try_from(deadline).ok()).ok_or_else(|| invalid(command))
}

/// The refusal of an expiry that cannot be.
pub(super) fn invalid(command: &str) -> CommandError {
    CommandError::Detailed(format!("ERR invalid expire time in '{command}' command"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_absolute_and_never_wrap() {
        for (measure, amount, expected) in [
            (Measure::Seconds, 10, Some(11_000)),
            (Measure::Millis, 10, Some(1010)),
            (Measure::UnixSeconds, 10, Some(10_000)),
            (Measure::UnixMillis, 10, Some(10)),
            (Measure::Seconds, -10, Some(-9000)),
            (Measure::Seconds, i64::MAX / 1000, None),
            (Measure::Seconds, i64::MAX, None),
            (Measure::Millis, i64::MAX, None),
            (Measure::UnixSeconds, i64::MIN, None),
            (Measure::UnixMillis, i64::MAX, Some(i64::MAX)),
        ] {
            assert_eq!(measure.deadline(amount, 1000), expected, "{measure:?} {amount}");
        }
    }

    #[test]
    fn option_words_are_known_in_any_case() {
        assert_eq!(Measure::of_option(b"PxAt"), Some(Measure::UnixMillis));
        assert_eq!(Measure::of_option(b"ttl"), None);
    }
}
