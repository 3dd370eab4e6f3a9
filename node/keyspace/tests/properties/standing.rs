//! The standing comparison of replicas, as nodes do it: a slot that has rested since a vector is that slot at every cut
//! from there to now, and two replicas whose spans meet must hold the same.

use crate::generator::Step;
use crate::replicas::{Cluster, Traffic};
use crate::system::{System, slots};
use crdt::{Stamp, VersionVector};

/// What each replica remembers: readings of its clock, with the vector that held everything done by then.
pub struct Standing {
    moments: Vec<Vec<(Stamp, VersionVector)>>,
}

/// A slot that can be compared: since when it has been as it is, and what it is.
struct Span<'m> {
    since: &'m VersionVector,
    digest: u64,
}

impl Standing {
    pub fn new(replicas: usize) -> Self {
        Self { moments: vec![Vec::new(); replicas] }
    }

    /// Looks at the replicas after a step: one that has closed its batch remembers the moment, one that came back remembers
    /// nothing, and all are compared with each other. Says what differs although it must not.
    pub fn look(&mut self, cluster: &Cluster<System>, step: &Step) -> Option<String> {
        let nows: Vec<VersionVector> = (0..self.moments.len()).map(|at| cluster.closed_vector(at)).collect();
        match *step {
            Step::Traffic(Traffic::Close { at }) => {
                let clock = cluster.replicas[at].keyspace.clock();
                self.moments[at].push((clock, nows[at].clone()));
            }
            Step::Restart { at, .. } => self.moments[at].clear(),
            Step::Traffic(_)
            | Step::Commands { .. }
            | Step::Tick { .. }
            | Step::Sweep { .. }
            | Step::Renumber { .. } => {}
        }
        let pairs = (0..nows.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        pairs.flat_map(|pair| slots().iter().map(move |&slot| (pair, slot))).find_map(|((one, other), slot)| {
            let (mine, theirs) = (self.span(cluster, one, slot)?, self.span(cluster, other, slot)?);
            let meet = nows[other].covers_all(mine.since) && nows[one].covers_all(theirs.since);
            (meet && mine.digest != theirs.digest).then(|| {
                let (since, from) = (mine.since, theirs.since);
                format!("slot {slot} at {one} since {since:?} differs from that at {other} since {from:?}")
            })
        })
    }

    fn span(&self, cluster: &Cluster<System>, at: usize, slot: u16) -> Option<Span<'_>> {
        let found = cluster.replicas[at].keyspace.digest_of(slot);
        let moments = &self.moments[at];
        let (_, since) = moments.get(moments.partition_point(|(clock, _)| *clock < found.changed))?;
        found.settled.then_some(Span { since, digest: found.digest })
    }
}
