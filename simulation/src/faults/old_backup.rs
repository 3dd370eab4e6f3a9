//! A copy of a node's directory, put back after the node has gone on.

use super::Fault;

/// The fault.
pub const OLD_BACKUP: Fault = Fault {
    name: "old-backup",
    summary: "a node's directory is copied; some time later its process ends, and the copy is put back and started, on a host \
              that stayed up",
    lasts_ms: (200, 5000),
    strike: |world, random| {
        let live = world.live();
        // One region at least keeps the data.
        if live.len() < 2 {
            return Ok(None);
        }
        let victim = *random.pick(&live);
        let host = world.hosts[victim].clone();
        let backup = (host.catalogue.backup(), host.files.backup());
        Ok(Some(Box::new(move |world| {
            if world.removed.contains(&victim) {
                return;
            }
            world.crash(victim, false);
            let host = world.hosts[victim].clone();
            host.catalogue.restore(&backup.0);
            host.files.restore(&backup.1);
            world.observer.borrow_mut().lose_disk(&host.name);
            world.restart(victim);
        })))
    },
};
