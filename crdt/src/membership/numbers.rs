//! Node numbers: who may hand out which, and whose each one is. Grants only accumulate, and who holds a number is a
//! pure function of the set of grants, so that it merges by itself.
//!
//! A grant counts only if its giver held the numbers when it gave them. Grants are looked at in the order of their
//! stamps; the giver of each had seen what gave it the numbers, so its stamp is greater. A giver never gives a number
//! twice, because its own grants are in its own membership before they leave. If one does all the same (two lives of
//! one directory), the earlier grant stands everywhere and the later one is an alarm.

use super::record::NodeIdentity;
use crate::{NODE_NUMBERS_MAX, NodeNumber, Stamp};
use alloc::{vec, vec::Vec};
use serde::{Deserialize, Serialize};

/// What a grant does with its numbers. The order matters among grants under one stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) enum GrantKind {
    /// The first node of a cluster takes all numbers.
    Founding,
    /// The receiver may hand these numbers out.
    Range,
    /// The number is the receiver's, for ever.
    Number,
}

/// Numbers that pass from one member to another, or are spent. Ordered by stamp first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct Grant {
    pub stamp: Stamp,
    pub kind: GrantKind,
    pub low: u16,
    /// Inclusive.
    pub high: u16,
    pub giver: NodeIdentity,
    pub receiver: NodeIdentity,
}

impl Grant {
    /// Whether the numbers are numbers and the kind fits them. Asked of what peers send.
    pub fn is_well_formed(&self) -> bool {
        let bounded = self.low <= self.high && self.high < NODE_NUMBERS_MAX;
        match self.kind {
            GrantKind::Founding => bounded && self.giver == self.receiver,
            GrantKind::Range => bounded,
            GrantKind::Number => bounded && self.low == self.high,
        }
    }
}

/// Where one number stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Holding {
    /// No grant reaches it.
    #[default]
    Nobody,
    /// It may be handed out by this member.
    Unspent(NodeIdentity),
    /// It is this identity's number, since this stamp.
    Spent(NodeIdentity, Stamp),
}

/// A grant that does not count, in whole or in part, because its giver did not hold what it gave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Refusal {
    pub number: u16,
    pub holder: Option<NodeIdentity>,
    pub receiver: NodeIdentity,
}

/// Where every number stands: the answer to a set of grants.
#[derive(Clone, Debug)]
pub(super) struct NumberTable(Vec<Holding>);

impl NumberTable {
    /// The table that follows from `grants` in order of their stamps, and what had to be refused on the way.
    pub fn of<'g>(grants: impl Iterator<Item = &'g Grant>) -> (Self, Vec<Refusal>) {
        let mut table = Self(vec![Holding::Nobody; usize::from(NODE_NUMBERS_MAX)]);
        let mut refusals = Vec::new();
        for grant in grants.filter(|grant| grant.is_well_formed()) {
            refusals.extend(table.apply(grant));
        }
        (table, refusals)
    }

    /// Gives what the giver holds. The first number that it does not hold is returned.
    fn apply(&mut self, grant: &Grant) -> Option<Refusal> {
        let mut refusal = None;
        for number in grant.low..=grant.high {
            let holding = &mut self.0[usize::from(number)];
            let (holds, holder) = match (*holding, grant.kind) {
                (Holding::Nobody, kind) => (kind == GrantKind::Founding, None),
                (Holding::Unspent(holder), kind) => {
                    (kind != GrantKind::Founding && holder == grant.giver, Some(holder))
                }
                (Holding::Spent(owner, _), _) => (false, Some(owner)),
            };
            if holds {
                *holding = match grant.kind {
                    GrantKind::Founding | GrantKind::Range => Holding::Unspent(grant.receiver),
                    GrantKind::Number => Holding::Spent(grant.receiver, grant.stamp),
                };
            } else {
                refusal.get_or_insert(Refusal { number, holder, receiver: grant.receiver });
            }
        }
        refusal
    }

    /// Whose number this is, if it is anybody's.
    pub fn owner_of(&self, number: NodeNumber) -> Option<NodeIdentity> {
        match self.0[usize::from(number.value())] {
            Holding::Spent(owner, _) => Some(owner),
            Holding::Nobody | Holding::Unspent(_) => None,
        }
    }

    /// Every number with where it stands, in order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeNumber, Holding)> + '_ {
        let numbers = (0..NODE_NUMBERS_MAX).filter_map(NodeNumber::new);
        numbers.zip(self.0.iter().copied())
    }

    /// The numbers that `member` may hand out, in order.
    pub fn unspent_of(&self, member: NodeIdentity) -> impl Iterator<Item = NodeNumber> + '_ {
        let held = move |(number, holding)| (holding == Holding::Unspent(member)).then_some(number);
        self.iter().filter_map(held)
    }

    /// All that `member` may hand out but the first `kept`, as runs of numbers, first and last of each, in order.
    pub fn runs_of(&self, member: NodeIdentity, kept: usize) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for number in self.unspent_of(member).skip(kept).map(NodeNumber::value) {
            match runs.last_mut() {
                Some((_, high)) if *high + 1 == number => *high = number,
                _ => runs.push((number, number)),
            }
        }
        runs
    }

    /// The longest run of numbers, at most `length_max` and the last of them, that ends `member`'s highest unspent ones.
    /// A piece is cut from the end, since members spend their own from the start.
    pub fn last_run_of(&self, member: NodeIdentity, length_max: u16) -> Option<(u16, u16)> {
        let held = |number: u16| self.0[usize::from(number)] == Holding::Unspent(member);
        let high = (0..NODE_NUMBERS_MAX).rev().find(|&number| held(number))?;
        let lowest = (high + 1).saturating_sub(length_max);
        let low = (lowest..=high).rev().take_while(|&number| held(number)).last()?;
        Some((low, high))
    }
}
