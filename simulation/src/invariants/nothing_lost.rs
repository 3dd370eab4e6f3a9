//! What was acknowledged and is held by anybody who lives is not lost.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;
use crdt::Stamp;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "nothing-lost",
    summary: "every write of a node that lives, and every write of a dead one that any node had applied or a disk has, is \
              everywhere",
    looked_at: Looked::AtTheEnd(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    let observer = world.observer.borrow();
    for index in world.live() {
        let Some(node) = world.node(index) else { continue };
        let applied = node.keyspace.applied();
        for other in world.live().into_iter().filter(|&other| other != index) {
            let Some(author) = world.node(other) else { continue };
            let number = author.keyspace.number();
            let (last, seen) = (observer.last_written(number), applied.of(number));
            if observer.last_written_up_to(number, seen) < last {
                return Err(lost(world, index, last, seen));
            }
        }
        let kept = observer.kept.iter().map(|(number, (stamp, _))| (number, stamp));
        for (&number, &must) in observer.must_survive.iter().chain(kept) {
            let must = observer.last_written_up_to(number, must);
            if applied.of(number) < must && node.keyspace.number() != number {
                return Err(lost(world, index, must, applied.of(number)));
            }
        }
    }
    Ok(())
}

fn lost(world: &World, index: usize, last: Stamp, seen: Stamp) -> Broken {
    let name = &world.hosts[index].name;
    Broken::new(
        INVARIANT.name,
        format!("{name} has not seen {last:?}, only up to {seen:?}, of number {}", last.author()),
    )
}
