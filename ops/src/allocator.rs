//! What the allocator says of itself, for `INFO memory` and the metrics.

use server::metrics::AllocatorFigures;
use tikv_jemalloc_ctl::{epoch, stats};

/// The figures now. They are 0 if the allocator does not keep any.
pub fn figures() -> AllocatorFigures {
    // The figures are those of the last advance.
    if epoch::advance().is_err() {
        return AllocatorFigures::default();
    }
    let bytes = |figure: Result<usize, _>| -> u64 {
        let figure: Result<usize, tikv_jemalloc_ctl::Error> = figure;
        figure.map_or(0, |bytes| bytes as u64)
    };
    AllocatorFigures {
        allocated: bytes(stats::allocated::read()),
        active: bytes(stats::active::read()),
        resident: bytes(stats::resident::read()),
    }
}
