//! Keys whose life is over go, everywhere, whoever set their deadlines.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::oracle::{Key, Life, shown};
use crate::world::World;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "lives",
    summary: "keys whose life is over are removed on every node, also when their owner is gone, and every node counts \
              the same keys",
    looked_at: Looked::WhileWaiting,
};

/// The longest life that clients give, the grace period of the simulated settings, and some rounds.
const PATIENCE_MS: u64 = 60_000;

/// Waits until only what lives for ever is left.
pub fn wait(world: &mut World) -> Result<(), Broken> {
    let done = world.run_until(PATIENCE_MS, |world| difference(world).is_none())?;
    match difference(world) {
        Some(difference) if !done => Err(Broken::new(INVARIANT.name, difference)),
        Some(_) | None => Ok(()),
    }
}

fn difference(world: &World) -> Option<String> {
    let observer = world.observer.borrow();
    let nodes: Vec<_> = world.live().into_iter().filter_map(|index| Some((index, world.node(index)?))).collect();
    for database in 0..2u8 {
        let counts: Vec<(&str, u64)> = nodes
            .iter()
            .map(|(index, node)| (world.hosts[*index].name.as_str(), node.keyspace.len(database)))
            .collect();
        if counts.iter().any(|(_, count)| *count != counts[0].1) {
            return Some(format!("database {database} has so many keys: {counts:?}"));
        }
    }
    for (index, node) in &nodes {
        let (me, applied) = (node.keyspace.number(), node.keyspace.applied());
        let sees = |stamp: crdt::Stamp| stamp.author() == me || applied.covers(stamp);
        let alive = |key: &&Key| shown(&observer.history.standing(key, &sees), 0);
        let name = &world.hosts[*index].name;
        let (mut known, mut lasting) = ([0u64; 2], None);
        for key in observer.history.keys() {
            let found = alive(&key);
            // A field that has not gone is as bad as a key.
            let first_end = found.as_ref().and_then(|shown| shown.ends.values().min().copied());
            match found.map(|shown| first_end.map_or(shown.life, Life::Until)) {
                Some(Life::Never) => known[usize::from(key.database.min(1))] += 1,
                Some(life @ Life::Until(_)) if !observer.history.is_uncertain(key) => lasting = Some((key, life)),
                Some(Life::Until(_)) | None => {}
            }
        }
        if let Some((key, life)) = lasting {
            return Some(format!(
                "{name} still has {key:?}, which lives {life:?}; its clock says {}",
                node.wall_clock()
            ));
        }
        for database in 0..2u8 {
            let (count, expected) = (node.keyspace.len(database), known[usize::from(database)]);
            if count != expected && !observer.history.any_uncertain(Some(database)) {
                return Some(format!("{name} counts {count} keys in database {database}, not {expected}"));
            }
        }
    }
    None
}
