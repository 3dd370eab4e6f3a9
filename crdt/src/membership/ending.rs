//! How a node number ends: what members report that they hold of it, and the seal that closes it for ever.
//!
//! A number has ended when its node goes on under another one, or was removed. Some members may hold a tail of it that
//! others lack. Each member tells once what it holds, having made sure that it hears nothing more from the life that
//! wrote it; from then on what it takes of the number comes from members, so the most that anybody told is the most
//! that there is. That goes for what members tell who know of the same removals and the same ended lives: one that ends
//! takes its report back, and others may have taken more from it after they told. Whoever holds all of that seals the
//! number there. Should all who had come so far end before they could pass it on, the others begin another *round*:
//! they tell again, in view of the seal, and find what is left. This file keeps what was told; what follows from it for
//! a member is decided in the protocol crate.

use crate::Stamp;
use serde::{Deserialize, Serialize};

/// What waits at a member of a number's batches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub enum Waiting {
    /// Nothing.
    #[default]
    Nothing,
    /// Batches that follow on what is applied: they wait for others, or for the clock.
    InLine,
    /// Batches with a gap before them, and none in line.
    BeyondGap,
}

/// What a member holds of a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Everything up to here is applied.
    pub applied: Stamp,
    /// Up to here some of it is known by state catch-up; not less than what is applied.
    pub reach: Stamp,
    /// What waits.
    pub waiting: Waiting,
}

/// What a member told. The later one of the same member counts. (The order of the fields is the order of reports.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The round of the seal that it had seen; zero if there was none.
    pub round: u32,
    /// When.
    pub stamp: Stamp,
    /// How many identities and lives it had fenced by then: see [`super::View::fenced`]. What it took from one that others
    /// had fenced already is not in it unless this equals their count.
    pub fenced: u32,
    /// What it held.
    pub holding: Holding,
}

/// Where a number is closed. (The order of the fields is that of seals: a number is closed later, or again.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Seal {
    /// Nothing of the number comes after this, and nothing up to here is still to come.
    pub at: Stamp,
    /// Counts from one how often that was found.
    pub round: u32,
    /// Up to here all of it is known. Of what lies between, as much as state catch-up had brought to some member.
    pub whole: Stamp,
}
