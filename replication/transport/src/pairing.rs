//! Which of several connections between the same two nodes is *the* link: exactly one, on both sides the same.
//!
//! Pure: a state for each peer, and decisions. Of the two nodes the one with the smaller identity decides (the
//! arbiter), the other follows, whoever dialed. The follower opens with a `Hello` that says which of its connections
//! it still believes in; the arbiter answers the one it takes with a `Welcome`. So a fresh connection replaces one that
//! the follower has given up or forgotten (it was restarted) at once, and of two that were dialed at the same time the
//! first to arrive stays.
//!
//! SUBTLE: two Welcomes travel on two connections and may overtake each other. They are numbered, and the follower
//! never goes back.

use std::collections::BTreeSet;

/// What the follower says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Which life of the follower: a new one forgets everything.
    pub(crate) life: u64,
    /// Numbers this connection among those of this life.
    pub(crate) number: u64,
    /// Connections with smaller numbers are dead for the follower.
    pub(crate) oldest_alive: u64,
}

/// What the arbiter answers on the connection that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// Which life of the arbiter.
    pub(crate) life: u64,
    /// Numbers the decisions of this life.
    pub(crate) decision: u64,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the link now. Another one, if there is any, was given up for it.
    Take,
    /// The other one stays.
    Refuse,
}

/// The arbiter's choice: `current` is the greeting of its present link.
pub(crate) fn arbitrate(current: Option<Hello>, offered: Hello) -> Verdict {
    match current {
        None => Verdict::Take,
        Some(current) if current.life != offered.life => Verdict::Take,
        Some(current) if current.number < offered.oldest_alive => Verdict::Take,
        Some(_) => Verdict::Refuse,
    }
}

/// The follower's: `current` is the welcome of its present link.
pub(crate) fn follow(current: Option<Welcome>, received: Welcome) -> Verdict {
    match current {
        Some(current) if current.life == received.life && current.decision > received.decision => Verdict::Refuse,
        Some(_) | None => Verdict::Take,
    }
}

/// The follower's connections to one peer that it has greeted and still believes in.
#[derive(Debug, Default)]
pub(crate) struct Greeted(BTreeSet<u64>);

impl Greeted {
    /// The greeting of a new connection.
    pub(crate) fn greet(&mut self, life: u64, number: u64) -> Hello {
        self.0.insert(number);
        Hello { life, number, oldest_alive: self.0.first().copied().unwrap_or(number) }
    }

    /// A connection ended, whether it was the link or not.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hello {
    const TAG: u8 = 1;
    pub(crate) const BYTES: usize = 25;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [Self::TAG; Self::BYTES];
        bytes[1..9].copy_from_slice(&self.life.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.number.to_le_bytes());
        bytes[17..].copy_from_slice(&self.oldest_alive.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [tag, words @ ..] = bytes;
        let hello = Self { life: word(words, 0), number: word(words, 1), oldest_alive: word(words, 2) };
        (*tag == Self::TAG).then_some(hello)
    }
}

impl Welcome {
    const TAG: u8 = 2;
    pub(crate) const BYTES: usize = 17;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [Self::TAG; Self::BYTES];
        bytes[1..9].copy_from_slice(&self.life.to_le_bytes());
        bytes[9..].copy_from_slice(&self.decision.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [tag, words @ ..] = bytes;
        (*tag == Self::TAG).then(|| Self { life: word(words, 0), decision: word(words, 1) })
    }
}

fn word(words: &[u8], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&words[index * 8..][..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_at_the_same_time_the_first_to_arrive_stays() {
        let mut greeted = Greeted::default();
        let (first, second) = (greeted.greet(7, 1), greeted.greet(7, 2));
        for (one, other) in [(first, second), (second, first)] {
            assert_eq!(arbitrate(None, one), Verdict::Take);
            assert_eq!(arbitrate(Some(one), other), Verdict::Refuse);
        }
    }

    #[test]
    fn a_fresh_connection_replaces_one_that_the_follower_gave_up() {
        let mut greeted = Greeted::default();
        let dead = greeted.greet(7, 1);
        greeted.forget(1);
        assert_eq!(arbitrate(Some(dead), greeted.greet(7, 2)), Verdict::Take);
    }

    #[test]
    fn a_restarted_follower_is_believed_at_once() {
        let before = Greeted::default().greet(7, 900);
        assert_eq!(arbitrate(Some(before), Greeted::default().greet(8, 1)), Verdict::Take);
    }

    #[test]
    fn a_follower_never_goes_back_to_an_earlier_decision() {
        let welcome = |life, decision| Welcome { life, decision };
        assert_eq!(follow(None, welcome(1, 1)), Verdict::Take);
        assert_eq!(follow(Some(welcome(1, 2)), welcome(1, 1)), Verdict::Refuse);
        assert_eq!(follow(Some(welcome(1, 2)), welcome(1, 3)), Verdict::Take);
        assert_eq!(follow(Some(welcome(1, 2)), welcome(5, 1)), Verdict::Take);
    }

    #[test]
    fn greetings_are_read_as_they_are_written() {
        let hello = Hello { life: u64::MAX - 3, number: 2, oldest_alive: 1 };
        let welcome = Welcome { life: 99, decision: 1 << 40 };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        assert_eq!(Welcome::decode(&welcome.encode()), Some(welcome));
        assert_eq!(Hello::decode(&[0; Hello::BYTES]), None);
        assert_eq!(Welcome::decode(&[1; Welcome::BYTES]), None);
    }
}
