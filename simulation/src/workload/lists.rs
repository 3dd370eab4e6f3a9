//! Lists: pushes and pops at both ends, capped timelines, and elements that are put, set and removed in the middle.

use super::{Family, LISTS, NAMES, Requests, VALUES, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family {
    name: "lists",
    summary: "LPUSH, RPUSH, LPUSHX, RPUSHX, pops of one and of many, LMPOP, LTRIM, LINSERT, LSET, LREM, LMOVE and RPOPLPUSH between \
              and within lists, and reads",
    draw,
};

/// Elements that are pushed at once, now and then.
const MANY: usize = 600;
const ENDS: &[&str] = &["LEFT", "RIGHT"];

fn draw(random: &mut Random) -> Requests {
    let (key, value, other) = (*random.pick(LISTS), *random.pick(VALUES), *random.pick(NAMES));
    let index = ["0", "1", "-1", "2"][random.below(4)];
    let push = ["LPUSH", "RPUSH"][random.below(2)];
    match random.below(29) {
        0..4 => vec![request(&[push, key, value])],
        4 => vec![request(&[push, key, value, other, "1"])],
        5 => vec![request(&["LPUSH", key, value]), request(&["LTRIM", key, "0", "4"])],
        6..8 => vec![request(&["LPOP", key])],
        8 => vec![request(&["RPOP", key])],
        9..11 => vec![request(&["LINSERT", key, ["BEFORE", "AFTER"][random.below(2)], value, other])],
        11 => vec![request(&["LSET", key, index, other])],
        12 => vec![request(&["LREM", key, index, value])],
        13 => vec![request(&["LTRIM", key, "0", "2"])],
        14 => {
            let (source, target) = two(random, LISTS);
            vec![request(&["LMOVE", source, target, *random.pick(ENDS), *random.pick(ENDS)])]
        }
        15 => vec![request(&["LMOVE", key, key, *random.pick(ENDS), *random.pick(ENDS)])],
        16 => vec![request(&["LLEN", key])],
        17 => vec![request(&[["LPUSHX", "RPUSHX"][random.below(2)], key, value])],
        18 => vec![request(&[["LPOP", "RPOP"][random.below(2)], key, "2"])],
        19 | 20 => {
            let (one, another) = two(random, LISTS);
            vec![request(&["LMPOP", "2", one, another, *random.pick(ENDS), "COUNT", "2"])]
        }
        21 => {
            let (source, target) = two(random, LISTS);
            vec![request(&["RPOPLPUSH", source, target])]
        }
        22 => vec![request(&["LPOS", key, value])],
        23 => vec![request(&["LINDEX", key, index])],
        // So many that they go by one operation.
        24 if random.below(4) == 0 => {
            let many: Vec<String> = (0..MANY).map(|number| format!("{value}{number}")).collect();
            let words: Vec<&str> = [push, key].into_iter().chain(many.iter().map(String::as_str)).collect();
            let (first, last) = [("0", "2"), ("-3", "-1"), ("150", "152")][random.below(3)];
            vec![request(&words), request(&["LTRIM", key, first, last])]
        }
        _ => vec![request(&["LRANGE", key, "0", "-1"])],
    }
}
