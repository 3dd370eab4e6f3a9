//! Transactions: several commands of the other families that every region sees at once.

use super::{Family, Requests, counters, hashes, keys, lists, request, sets, sketches, sorted_sets, streams, strings};
use crate::random::Random;

/// The family.
pub const FAMILY: Family = Family { name: "transactions", summary: "MULTI, two to five commands, EXEC", draw };

fn draw(random: &mut Random) -> Requests {
    let families = [
        &strings::FAMILY,
        &counters::FAMILY,
        &hashes::FAMILY,
        &sets::FAMILY,
        &keys::FAMILY,
        &sorted_sets::FAMILY,
        &lists::FAMILY,
        &streams::FAMILY,
        &sketches::FAMILY,
    ];
    let mut requests = vec![request(&["MULTI"])];
    for _ in 0..random.between(2, 5) {
        let weights = [25, 25, 15, 14, 2, 14, 14, 8, 6];
        requests.extend((families[random.weighted(&weights)].draw)(random));
    }
    requests.push(request(&["EXEC"]));
    requests
}
