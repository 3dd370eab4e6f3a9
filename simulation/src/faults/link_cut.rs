//! The path between two regions is cut while both still reach a third: what one writes must reach the other through it.

use super::Fault;

/// The fault.
pub const LINK_CUT: Fault = Fault {
    name: "link-cut",
    summary: "two regions cannot reach each other, both reach a third",
    lasts_ms: (1500, 8000),
    strike: |world, random| {
        let members = world.members();
        if members.len() < 3 {
            return Ok(None);
        }
        let one = random.below(members.len());
        let other = members[(one + 1 + random.below(members.len() - 1)) % members.len()];
        let one = members[one];
        world.set_cut(one, other, true);
        world.set_cut(other, one, true);
        Ok(Some(Box::new(move |world| {
            world.set_cut(one, other, false);
            world.set_cut(other, one, false);
        })))
    },
};
