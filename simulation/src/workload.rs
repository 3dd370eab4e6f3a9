//! What clients do: random commands over a few keys, so that regions meet on every one of them. One file a family.

mod counters;
mod fields;
mod groups;
mod hashes;
mod keys;
mod lists;
mod lives;
mod places;
mod scripts;
mod sets;
mod sketches;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;

use crate::random::Random;
pub use scripts::commands_of;
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
    sketches::FAMILY,
    places::FAMILY,
    scripts::FAMILY,
];

/// How often each family is drawn, in the order of [`FAMILIES`].
#[derive(Clone, Copy, Debug)]
pub struct Mixture(pub [u32; FAMILIES.len()]);

impl Mixture {
    /// Everything.
    pub const ALL: Self = Self([22, 20, 18, 12, 16, 16, 18, 16, 8, 7, 8, 0, 10, 6, 8]);
    /// Counters above all.
    pub const COUNTING: Self = Self([4, 70, 20, 4, 2, 10, 2, 2, 1, 1, 2, 0, 2, 0, 2]);
    /// Lives above all.
    pub const EXPIRING: Self = Self([22, 16, 12, 24, 10, 8, 10, 10, 30, 5, 5, 0, 8, 4, 5]);

    /// Fields that end above all.
    pub const FIELDS: Self = Self([4, 4, 20, 60, 4, 0, 0, 0, 10, 6, 4, 0, 0, 0, 0]);

    /// Consumer groups above all, and nothing that removes keys.
    pub const GROUPS: Self = Self([6, 10, 6, 0, 6, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0]);

    /// Collections whose elements stand in an order, and what is put together from several of them.
    pub const ORDERED: Self = Self([4, 0, 4, 0, 10, 34, 40, 30, 8, 10, 4, 0, 0, 12, 6]);
    /// Strings that regions write in parts: bits, ranges, what is appended, sketches.
    pub const PATCHED: Self = Self([60, 8, 0, 0, 0, 0, 0, 0, 6, 8, 12, 0, 40, 0, 4]);

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
pub(crate) const GROUPED: &[&str] = &["w1", "w2", "w3", "w4"];
/// Those whose groups are destroyed, made anew and set to other ids.
pub(crate) const REGROUPED: &[&str] = &["w3", "w4"];
/// Stands for the id of an entry that the client was given: clients put one in its place.
pub(crate) const DELIVERED: &str = "@delivered";
/// The key of the user who moves, which nobody else writes.
pub(crate) const MOVED: &str = "u";
pub(crate) const SKETCHES: &[&str] = &["y1", "y2", "y3"];
pub(crate) const PLACED: &[&str] = &["g1", "g2", "g3"];
pub(crate) const SORTED_SETS: &[&str] = &["z1", "z2", "{l}2", "m"];
pub(crate) const NAMES: &[&str] = &["f", "g", "h", "i"];
/// What is counted by sketches: each with the register that it raises, and to what. All are different registers.
pub(crate) const SKETCHED: &[(&str, usize, u8)] = &[
    ("1", 7527, 1),
    ("40", 15127, 3),
    ("abc", 9474, 1),
    ("f", 1646, 1),
    ("g", 8378, 2),
    ("h", 11960, 1),
    ("i", 4184, 1),
    ("xyzzy", 10838, 5),
];
/// A place on the earth.
pub(crate) struct Place {
    pub(crate) longitude: &'static str,
    pub(crate) latitude: &'static str,
    /// The score of a member that is there.
    pub(crate) score: &'static str,
    /// Whether it is within 300 km of 15 degrees east and 37 north; else it is of 1 east and 50 north.
    pub(crate) is_south: bool,
}
pub(crate) const PLACES: &[Place] = &[
    Place { longitude: "13.361389", latitude: "38.115556", score: "3479099956230698", is_south: true },
    Place { longitude: "15.087269", latitude: "37.502669", score: "3479447370796909", is_south: true },
    Place { longitude: "2.352222", latitude: "48.856613", score: "3663832779125283", is_south: false },
    Place { longitude: "-0.127758", latitude: "51.507351", score: "2163557714754256", is_south: false },
];
pub(crate) const VALUES: &[&str] = &["1", "-3", "40", "2.50", "abc", "xyzzy", "0.1", "7"];

/// All of them.
pub(crate) fn all_keys() -> BTreeSet<&'static str> {
    let groups =
        [MIXED, STRINGS, COUNTERS, HASHES, SETS, LISTS, STREAMS, GROUPED, SORTED_SETS, SKETCHES, PLACED, &[MOVED]];
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
