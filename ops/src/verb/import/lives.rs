//! Lives of keys and fields while a source is followed: they are held.
//!
//! A replica of Redis ends no key by itself, it waits until the source says that it is over. Here every key ends by itself,
//! and one that ended before a late command renewed it would be lost. So as long as an import may be gone on with, every
//! deadline that it writes is later by [`HELD_MS`], and what is over goes by the source's `DEL`. A held deadline is known by
//! itself, wherever it stands: nothing needs to be remembered, whoever goes on and whatever was interrupted. Keys are given
//! back their own ends by [`super::release`].

use resp::write_request;

/// How deadlines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lives {
    /// As they are: what is over at this moment, in Unix milliseconds of the target, is left out.
    Own {
        /// Which moment.
        now: u64,
    },
    /// Held, also of what is over: the source has not said so yet.
    Held,
}

impl Lives {
    /// Whether something with this deadline is left out.
    pub fn is_over(self, deadline: u64) -> bool {
        match self {
            Self::Own { now } => deadline <= now,
            Self::Held => false,
        }
    }

    /// The deadline as it is written.
    pub fn deadline(self, own: u64) -> u64 {
        match self {
            Self::Own { .. } => own,
            Self::Held => held(own),
        }
    }
}

/// The deadline that stands for this one while it is held. Who lives for more than a thousand years anyway is not held.
pub fn held(own: u64) -> u64 {
    if own < HELD_MS { own + HELD_MS } else { own.max(2 * HELD_MS) }
}

/// The deadline that this one stands for, if it is a held one.
pub fn own(held: u64) -> Option<u64> {
    (HELD_MS..2 * HELD_MS).contains(&held).then(|| held - HELD_MS)
}

/// How a command says when something ends.
#[derive(Clone, Copy)]
struct Measure {
    /// Milliseconds of its unit.
    unit_ms: u64,
    /// From the moment at which it is carried out. Sources before Redis 7 say it like that.
    is_relative: bool,
}

/// Appends a command of the stream with its deadline held. False, and nothing appended, if it names none.
pub fn hold(name: &[u8], words: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let Some((at, measure)) = deadline_of(name, words) else { return false };
    let amount = words.get(at).and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
    let Some(held) = amount.and_then(|amount| measure.held(amount)) else { return false };
    let text = held.to_string();
    let mut words = words.to_vec();
    words[at] = text.as_bytes();
    write_request(out, &words);
    true
}

/// Whether this command may name a deadline; it is written in small letters.
pub fn may_name_a_deadline(name: &[u8]) -> bool {
    deadline_at(name).is_some()
}

impl Measure {
    const fn of(unit_ms: u64, is_relative: bool) -> Self {
        Self { unit_ms, is_relative }
    }

    /// The amount that stands for this one. Nothing is held that is over in any case, or is no time at all.
    fn held(self, amount: u64) -> Option<u64> {
        let own = amount.checked_mul(self.unit_ms).filter(|own| *own > 0)?;
        // SUBTLE: both are whole seconds, so that no unit is cut.
        let held = match self.is_relative {
            false => held(own),
            true if own < HELD_MS - MOMENT_MS_MAX => own + HELD_MS,
            true => own.max(2 * HELD_MS),
        };
        Some(held / self.unit_ms)
    }
}

/// Where a command names a deadline.
enum At {
    /// Always in this word.
    Word(usize, Measure),
    /// After an option, of which the first may be this word.
    Options(usize),
    /// `RESTORE`, whose option says how the third word is meant.
    Restore,
}

fn deadline_at(name: &[u8]) -> Option<At> {
    let of = |unit_ms, is_relative| Some(At::Word(2, Measure::of(unit_ms, is_relative)));
    match name {
        b"set" => Some(At::Options(3)),
        b"getex" | b"hsetex" | b"hgetex" => Some(At::Options(2)),
        b"expire" | b"hexpire" | b"setex" => of(1000, true),
        b"pexpire" | b"hpexpire" | b"psetex" => of(1, true),
        b"expireat" | b"hexpireat" => of(1000, false),
        b"pexpireat" | b"hpexpireat" => of(1, false),
        b"restore" | b"restore-asking" => Some(At::Restore),
        _ => None,
    }
}

fn deadline_of(name: &[u8], words: &[&[u8]]) -> Option<(usize, Measure)> {
    match deadline_at(name)? {
        At::Word(at, measure) => Some((at, measure)),
        At::Restore => {
            let is_absolute = words.iter().skip(4).any(|word| word.eq_ignore_ascii_case(b"absttl"));
            Some((2, Measure::of(1, !is_absolute)))
        }
        At::Options(first) => {
            let options = words.iter().enumerate().skip(first);
            // What follows FIELDS is fields and values, whatever it looks like.
            let mut options = options.take_while(|(_, word)| !word.eq_ignore_ascii_case(b"fields"));
            options.find_map(|(at, word)| Some((at + 1, measure_of(word)?)))
        }
    }
}

/// What an option measures in.
fn measure_of(option: &[u8]) -> Option<Measure> {
    const MEASURES: [(&[u8], Measure); 4] = [
        (b"ex", Measure::of(1000, true)),
        (b"px", Measure::of(1, true)),
        (b"exat", Measure::of(1000, false)),
        (b"pxat", Measure::of(1, false)),
    ];
    MEASURES.iter().find(|(name, _)| option.eq_ignore_ascii_case(name)).map(|(_, measure)| *measure)
}

/// By how much a held deadline is later: 1109 years. Held ones lie between the years 3079 and 4188, where no other deadline
/// is, and below the 2^46 that fields of hashes may have. Whole seconds, because some commands count in those.
const HELD_MS: u64 = 35_000_000_000_000;
/// No clock shows a later moment: the year 2286.
const MOMENT_MS_MAX: u64 = 10_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_deadline_is_known_and_stands_for_one_only() {
        for deadline in [1, 1_700_000_000_000, 9_999_999_999_999, HELD_MS - 1] {
            assert_eq!((own(deadline), own(held(deadline))), (None, Some(deadline)));
        }
        // Lives of a thousand years and more.
        for deadline in [HELD_MS, 2 * HELD_MS, 100_000_000_000_000, u64::MAX] {
            assert_eq!(own(held(deadline)), None, "{deadline}");
        }
        assert_eq!(held(2 * HELD_MS), 2 * HELD_MS);
    }

    #[test]
    fn every_command_that_names_a_deadline_is_held() {
        let (ms, s) = (HELD_MS, HELD_MS / 1000);
        for (line, expected) in [
            ("SET k PX PXAT 7", format!("SET k PX PXAT {}", ms + 7)),
            ("set k v nx get ex 7", format!("set k v nx get ex {}", s + 7)),
            ("SET k v EXAT 7 XX", format!("SET k v EXAT {} XX", s + 7)),
            ("SETEX k 7 v", format!("SETEX k {} v", s + 7)),
            ("PSETEX k 7 v", format!("PSETEX k {} v", ms + 7)),
            ("GETEX k PX 7", format!("GETEX k PX {}", ms + 7)),
            ("EXPIRE k 7 GT", format!("EXPIRE k {} GT", s + 7)),
            ("PEXPIRE k 7", format!("PEXPIRE k {}", ms + 7)),
            ("EXPIREAT k 7", format!("EXPIREAT k {}", s + 7)),
            ("PEXPIREAT k 7 NX", format!("PEXPIREAT k {} NX", ms + 7)),
            ("RESTORE k 7 payload ABSTTL REPLACE", format!("RESTORE k {} payload ABSTTL REPLACE", ms + 7)),
            ("RESTORE k 7 payload", format!("RESTORE k {} payload", ms + 7)),
            ("HPEXPIREAT k 7 FIELDS 1 f", format!("HPEXPIREAT k {} FIELDS 1 f", ms + 7)),
            ("HSETEX k FNX PXAT 7 FIELDS 1 f v", format!("HSETEX k FNX PXAT {} FIELDS 1 f v", ms + 7)),
            ("PEXPIRE k 99999999999999", "PEXPIRE k 99999999999999".to_owned()),
            ("PEXPIRE k 34000000000000", format!("PEXPIRE k {}", 2 * ms)),
        ] {
            let (words, mut out, mut same) = (words(line), Vec::new(), Vec::new());
            assert!(hold(&words[0].to_ascii_lowercase(), &words, &mut out), "{line}");
            write_request(&mut same, &self::words(&expected));
            assert_eq!(out, same, "{line}: {}", out.escape_ascii());
        }
    }

    #[test]
    fn what_names_no_deadline_goes_on_as_it_came() {
        let lines = "SET k v|SET k EX|SET k v KEEPTTL|SET k v EX|SET k v PX no|GETEX k PERSIST|EXPIRE k -1|EXPIRE k 0|EXPIRE k|\
             RESTORE k 0 payload|HSETEX k FIELDS 2 EX 7 PX 8|INCR k|PERSIST k|EXPIRE k 18446744073709551615";
        for line in lines.split('|') {
            let (words, mut out) = (words(line), Vec::new());
            assert!(!hold(&words[0].to_ascii_lowercase(), &words, &mut out) && out.is_empty(), "{line}");
        }
    }

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }
}
