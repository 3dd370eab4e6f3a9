//! Where the keys of a command are among its arguments.

/// Where the keys of a command are. Positions count from the command's name, which is at 0.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// It names none.
    None,
    /// From `first` to `last`, every `step`-th argument. A negative `last` counts from the end: -1 is the last one.
    Range {
        /// The first key.
        first: usize,
        /// The last key.
        last: i32,
        /// From one key to the next.
        step: usize,
    },
    /// The argument at `count` says how many keys follow it; there may be one more key at `also`.
    Counted {
        /// Where the number of keys is.
        count: usize,
        /// Another key with a fixed place: the target.
        also: Option<usize>,
    },
    /// Only the function knows. It gives the positions, or nothing if the arguments make no sense.
    Computed(fn(&[&[u8]]) -> Option<Vec<usize>>),
    /// Those that `named` knows, as above, and others that are known only when the first of them has been read, if `are_open`
    /// says so of the arguments. The handler changes locks for them ([`keyspace::Access::hold_instead`]).
    Open {
        /// The positions of the keys that are named.
        named: fn(&[&[u8]]) -> Option<Vec<usize>>,
        /// Whether there may be others.
        are_open: fn(&[&[u8]]) -> bool,
    },
    /// `EXEC`: the keys of all that is queued, and those that are watched.
    Queued,
}

impl Keys {
    /// One key, the first argument.
    pub const ONE: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// Two keys, the first two arguments.
    pub const TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// Every argument is a key.
    pub const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };
    /// Keys and values in turn.
    pub const PAIRS: Self = Self::Range { first: 1, last: -1, step: 2 };

    /// Gives the position of each key to `each`. False if the arguments make no sense; then the command's handler
    /// refuses them too, and needs no lock for that.
    #[inline]
    pub fn positions(self, args: &[&[u8]], mut each: impl FnMut(usize)) -> bool {
        match self {
            Self::None | Self::Queued => true,
            Self::Range { first, last, step } => {
                let last = match usize::try_from(last) {
                    Ok(last) => last.min(args.len().saturating_sub(1)),
                    Err(_) => args.len().saturating_sub(usize::try_from(last.unsigned_abs()).unwrap_or(usize::MAX)),
                };
                let mut position = first;
                while position <= last {
                    each(position);
                    position += step.max(1);
                }
                true
            }
            Self::Counted { count, also } => {
                let after = count + 1;
                let keys = args.get(count).and_then(|text| resp::parse_integer(text)).filter(|keys| *keys > 0);
                let Some(keys) = keys.and_then(|keys| usize::try_from(keys).ok()) else { return false };
                if keys > args.len().saturating_sub(after) {
                    return false;
                }
                also.into_iter().for_each(&mut each);
                (after..after + keys).for_each(each);
                true
            }
            Self::Computed(positions) | Self::Open { named: positions, .. } => match positions(args) {
                Some(positions) => {
                    positions.into_iter().for_each(each);
                    true
                }
                None => false,
            },
        }
    }

    /// First key, last key and step, as `COMMAND INFO` gives them: zeros if they are not in a plain range.
    pub fn range(self) -> (i64, i64, i64) {
        match self {
            Self::None | Self::Queued | Self::Counted { also: None, .. } => (0, 0, 0),
            // The first one is where a simple client looks for it.
            Self::Computed(_) | Self::Open { .. } => (1, 1, 1),
            Self::Counted { also: Some(also), .. } => (also as i64, also as i64, 1),
            Self::Range { first, last, step } => (first as i64, i64::from(last), step as i64),
        }
    }

    /// Whether a client must ask (`COMMAND GETKEYS`) because a range does not describe them.
    pub fn are_movable(self) -> bool {
        match self {
            Self::None | Self::Queued | Self::Range { .. } => false,
            Self::Counted { .. } | Self::Computed(_) | Self::Open { .. } => true,
        }
    }

    /// Whether a request works on keys that it does not name.
    #[inline]
    pub fn are_open(self, args: &[&[u8]]) -> bool {
        match self {
            Self::None | Self::Queued | Self::Range { .. } | Self::Counted { .. } | Self::Computed(_) => false,
            Self::Open { are_open, .. } => are_open(args),
        }
    }

    /// Whether it names keys at all.
    pub fn any(self) -> bool {
        match self {
            Self::None | Self::Queued => false,
            Self::Range { .. } | Self::Counted { .. } | Self::Computed(_) | Self::Open { .. } => true,
        }
    }
}

/// Where the channels are that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// It names none, or only such as it leaves.
    None,
    /// The first argument.
    First,
    /// All arguments.
    All,
    /// All arguments, and they are patterns.
    Patterns,
}

impl Channels {
    /// Those of the command with this full name.
    pub fn of_command(full_name: &str) -> Self {
        match full_name {
            "publish" | "spublish" => Self::First,
            "subscribe" | "ssubscribe" => Self::All,
            "psubscribe" => Self::Patterns,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: Keys, request: &str, expected: Option<&[usize]>) {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let mut positions = Vec::new();
        let fits = keys.positions(&args, |position| positions.push(position));
        assert_eq!(fits.then_some(positions.as_slice()), expected, "{request}");
    }

    #[test]
    fn keys_are_found_where_the_row_says() {
        check(Keys::None, "ping a", Some(&[]));
        check(Keys::ONE, "get a", Some(&[1]));
        check(Keys::TWO, "rename a b", Some(&[1, 2]));
        check(Keys::ALL, "del a b c", Some(&[1, 2, 3]));
        check(Keys::PAIRS, "mset a 1 b 2", Some(&[1, 3]));
        check(Keys::Range { first: 2, last: 2, step: 1 }, "object encoding a", Some(&[2]));
        check(Keys::Range { first: 2, last: -1, step: 1 }, "bitop not a b", Some(&[2, 3]));
        check(Keys::Range { first: 2, last: -2, step: 1 }, "x y a b 10", Some(&[2, 3]));
        check(Keys::Counted { count: 1, also: None }, "sintercard 2 a b limit 5", Some(&[2, 3]));
        check(Keys::Counted { count: 2, also: Some(1) }, "zunionstore t 2 a b", Some(&[1, 3, 4]));
        check(Keys::Counted { count: 1, also: None }, "sintercard 3 a b", None);
        check(Keys::Counted { count: 1, also: None }, "sintercard 0 a b", None);
        check(Keys::Counted { count: 1, also: None }, "sintercard x a b", None);
        check(Keys::Counted { count: 1, also: None }, "sintercard 99999999999999999 a b", None);
    }

    #[test]
    fn a_range_never_leaves_the_arguments() {
        check(Keys::ONE, "get", Some(&[]));
        check(Keys::Range { first: 2, last: -3, step: 1 }, "get a", Some(&[]));
    }
}
