//! A region that serves goes on serving, whatever its peers do.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "serving",
    summary: "a node that has begun to serve never answers LOADING again",
    looked_at: Looked::AllTheTime(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    let mut observer = world.observer.borrow_mut();
    for life in &mut observer.lives {
        let Some(node) = &life.node else { continue };
        let loads = node.condition.is_loading();
        if loads && life.has_served {
            return Err(Broken::new(INVARIANT.name, format!("{} answers LOADING after it has served", life.name)));
        }
        life.has_served |= !loads;
    }
    Ok(())
}
