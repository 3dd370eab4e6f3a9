//! `docs/faults.md`, from the tables of scenarios, faults, invariants and workloads.

use crate::faults::FAULTS;
use crate::invariants::{INVARIANTS, Looked};
use crate::scenario::SCENARIOS;
use crate::workload::FAMILIES;

/// The document.
pub fn document() -> String {
    let mut out = String::from(
        "# What the simulator does\n\n\
         Generated from the tables of the crate `simulation`; a test fails when it is stale. \
         `SIMULATION_DOCUMENT=write cargo test -p simulation` writes it anew.\n\n\
         The simulator runs the real node, several times over, on one thread with simulated time, network, clocks and \
         disks. The same seed gives the same run, to the last datagram, and the same trace hash.\n\n\
         ```\ncargo run --release -p simulation -- --seed 1 --seeds 100 --scenario mix\n```\n\n\
         It prints `seed S: ok` with the trace hash, or the invariant that was broken and the line that repeats it.\n",
    );
    out.push_str("\n## Scenarios\n\n| scenario | what it is about | faults |\n|---|---|---|\n");
    for scenario in SCENARIOS {
        let faults: Vec<&str> = scenario.faults.iter().map(|(name, _)| *name).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
        out.push_str(&format!("| `{}` | {} | {faults} |\n", scenario.name, scenario.summary));
    }
    out.push_str("\n## Faults\n\n| fault | what happens | lasts |\n|---|---|---|\n");
    for fault in FAULTS {
        let lasts = match fault.lasts_ms {
            (_, 0) => "for good".to_owned(),
            (low, high) => format!("{low} to {high} ms"),
        };
        out.push_str(&format!("| `{}` | {} | {lasts} |\n", fault.name, fault.summary));
    }
    out.push_str("\n## Invariants\n\n| invariant | what must hold | looked at |\n|---|---|---|\n");
    for invariant in INVARIANTS {
        let looked_at = match invariant.looked_at {
            Looked::AtEveryCommand => "at every command",
            Looked::AllTheTime(_) => "all the time",
            Looked::WhileWaiting => "after the faults, until it holds or takes too long",
            Looked::AtTheEnd(_) => "when everything is exchanged, and again when all lives are over",
        };
        out.push_str(&format!("| `{}` | {} | {looked_at} |\n", invariant.name, invariant.summary));
    }
    out.push_str("\n## What clients do\n\n| family | commands |\n|---|---|\n");
    for family in FAMILIES {
        out.push_str(&format!("| {} | {} |\n", family.name, family.summary));
    }
    out
}
