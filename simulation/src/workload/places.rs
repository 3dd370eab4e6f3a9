//! Places on the earth: members of sorted sets whose scores are where they are.

use super::{Family, NAMES, PLACED, PLACES, Requests, request, two};
use crate::random::Random;

/// The family.
pub const FAMILY: Family =
    Family { name: "places", summary: "GEOADD in all its forms, GEOSEARCH, GEOSEARCHSTORE, ZREM and reads", draw };

fn draw(random: &mut Random) -> Requests {
    let (key, member, place) = (*random.pick(PLACED), *random.pick(NAMES), random.pick(PLACES));
    let (target, source) = two(random, PLACED);
    // Each has two of the places in it.
    let (longitude, latitude) = [("15", "37"), ("1", "50")][random.below(2)];
    let circle = ["FROMLONLAT", longitude, latitude, "BYRADIUS", "300", "km"];
    vec![match random.below(14) {
        0..4 => request(&["GEOADD", key, place.longitude, place.latitude, member]),
        4 => request(&["GEOADD", key, "NX", place.longitude, place.latitude, member]),
        5 => request(&["GEOADD", key, "XX", "CH", place.longitude, place.latitude, member]),
        6..8 => request(&["ZREM", key, member]),
        8 | 9 => request(&[&["GEOSEARCHSTORE", target, source][..], &circle].concat()),
        10 | 11 => request(&[&["GEOSEARCH", key][..], &circle].concat()),
        12 => request(&["ZSCORE", key, member]),
        _ => request(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
    }]
}
