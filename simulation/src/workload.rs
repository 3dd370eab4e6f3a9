//! What clients do: random commands over a few keys, so that regions meet on every one of them. One file a family.

mod counters;
mod fields;
mod groups;
mod hashes;
mod keys;
mod lists;
mod lives;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

use crate::random::Random;
use std::collections::BTreeSet;

/// Requests that a client sends at once.
pub type Requests = Vec<Vec<String>>;

/// A family of commands.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a clause.
    pub summary: &'static str,
    /// Draws what a client does next.
    pub draw: fn(&mut Random) -> Requests,
}

/// All families.
pub const FAMILIES: &[Family] = &[
    strings::FAMILY,
    counters::FAMILY,
    hashes::FAMILY,
    fields::FAMILY,
    sets::FAMILY,
    sorted_sets::FAMILY,
    lists::FAMILY,
    streams::FAMILY,
    lives::FAMILY,
    keys::FAMILY,
    transactions::FAMILY,
    groups::FAMILY,
];

/// How often each family is drawn, in the order of [`FAMILIES`].
#[derive(Clone, Copy, Debug)]
pub struct Mixture(pub [u32; FAMILIES.len()]);

impl Mixture {
    /// Everything.
    pub const ALL: Self = Self([20, 22, 20, 12, 16, 12, 16, 16, 8, 6, 8, 0]);
    /// Counters above all.
    pub const COUNTING: Self = Self([4, 70, 20, 4, 2, 10, 2, 2, 1, 1, 2, 0]);
    /// Lives above all.
    pub const EXPIRING: Self = Self([22, 16, 12, 24, 10, 8, 10, 10, 30, 5, 5, 0]);

    /// Fields that end above all.
    pub const FIELDS: Self = Self([4, 4, 20, 60, 4, 0, 0, 0, 10, 6, 4, 0]);

    /// Consumer groups above all, and nothing that removes keys.
    pub const GROUPS: Self = Self([6, 10, 6, 0, 6, 0, 0, 0, 0, 0, 0, 90]);

    /// Draws what a client does next.
    pub fn draw(&self, random: &mut Random) -> Requests {
        (FAMILIES[random.weighted(&self.0)].draw)(random)
    }
}

/// Keys that any type may come to; `l` and `{l}2` share a slot.
pub(crate) const MIXED: &[&str] = &["k", "l", "{l}2", "m"];
pub(crate) const STRINGS: &[&str] = &["s1", "s2", "k", "l"];
pub(crate) const COUNTERS: &[&str] = &["c1", "c2", "c3", "k", "m"];
pub(crate) const HASHES: &[&str] = &["h1", "h2", "{l}2", "m"];
pub(crate) const SETS: &[&str] = &["t1", "t2", "l", "{l}2"];
pub(crate) const LISTS: &[&str] = &["q1", "q2", "l", "m"];
pub(crate) const STREAMS: &[&str] = &["x1", "x2", "l", "m"];
/// Streams that are read by groups, and that nothing else is done to.
pub(crate) const GROUPED: &[&str] = &["w1", "w2", "w3"];
pub(crate) const SORTED_SETS: &[&str] = &["z1", "z2", "{l}2", "m"];
pub(crate) const NAMES: &[&str] = &["f", "g", "h", "i"];
pub(crate) const VALUES: &[&str] = &["1", "-3", "40", "2.50", "abc", "xyzzy", "0.1", "7"];

/// All of them.
pub(crate) fn all_keys() -> BTreeSet<&'static str> {
    let groups = [MIXED, STRINGS, COUNTERS, HASHES, SETS, LISTS, STREAMS, GROUPED, SORTED_SETS];
    groups.into_iter().flatten().copied().collect()
}

/// One request from words.
pub(crate) fn request(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Two different ones.
pub(crate) fn two<'a>(random: &mut Random, of: &[&'a str]) -> (&'a str, &'a str) {
    let first = random.below(of.len());
    let second = (first + 1 + random.below(of.len() - 1)) % of.len();
    (of[first], of[second])
}
