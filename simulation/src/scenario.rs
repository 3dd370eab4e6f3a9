//! Kinds of runs: how many regions, what clients do, which faults strike and how often.

use crate::random::Random;
use crate::workload::Mixture;
use crdt::STAMP_EPOCH_MS;
use server::config::Config;
use std::time::Duration;

/// A kind of run.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a sentence without full stop.
    pub summary: &'static str,
    /// Regions at the beginning.
    pub regions: usize,
    /// Clients of each region.
    pub clients: usize,
    /// What clients do.
    pub mixture: Mixture,
    /// The longest pause of a client between two calls, in milliseconds.
    pub pause_ms_max: u64,
    /// For how long clients write, in milliseconds.
    pub lasts_ms: u64,
    /// The faults that strike, by name, with how often.
    pub faults: &'static [(&'static str, u32)],
    /// The time between two faults, in milliseconds: at least and at most.
    pub gap_ms: (u64, u64),
    /// Faults that may last at once.
    pub at_once_max: usize,
    /// When the run begins.
    pub epoch: Epoch,
    /// Settings of all nodes that differ from the defaults; some are drawn.
    pub settings: fn(&mut Config, &mut Random),
}

/// When runs begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Epoch {
    /// In 2027.
    Usual,
    /// By the seed: in 2027, or so that stamps pass 2^31 and 2^32, 2^53, 2^62 or 2^63 during the run, or so that
    /// deadlines pass 2^41.
    BySeed,
}

const USUAL_MS: u64 = 1_800_000_000_000;

impl Epoch {
    /// The Unix time at the beginning, in milliseconds.
    pub fn choose(self, random: &mut Random) -> u64 {
        // A stamp is the milliseconds since its epoch, shifted by 23 bits.
        let crossing = |bits: u32| STAMP_EPOCH_MS + (1 << (bits - 23)) - 8_000;
        match (self, random.below(10)) {
            (Self::Usual, _) | (Self::BySeed, 0..5) => USUAL_MS,
            (Self::BySeed, 5) => STAMP_EPOCH_MS + 100,
            (Self::BySeed, 6) => crossing(53),
            (Self::BySeed, 7) => crossing(62),
            (Self::BySeed, 8) => crossing(63),
            (Self::BySeed, _) => (1 << 41) - 8_000,
        }
    }
}

/// Less patience than in production, so that a run need not last for minutes.
fn impatient(config: &mut Config, _: &mut Random) {
    config.max_clock_drift = Duration::from_secs(5);
    config.fill_timeout = Duration::from_secs(3);
}

fn kept(config: &mut Config, random: &mut Random) {
    impatient(config, random);
    config.persistence = "on".to_owned();
    config.auto_aof_rewrite_min_size = 20_000;
    config.journal_retain_bytes = 200_000;
}

fn kept_with_tiny_ring(config: &mut Config, random: &mut Random) {
    kept(config, random);
    config.ring_bytes = 12_000;
}

fn tiny_ring(config: &mut Config, random: &mut Random) {
    impatient(config, random);
    config.ring_bytes = 12_000;
}

/// Room for some of the keys.
fn short_of_memory(config: &mut Config, random: &mut Random) {
    const POLICIES: &[&str] = &[
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    impatient(config, random);
    config.maxmemory = random.between(1_200, 4_000);
    config.maxmemory_policy = (*random.pick(POLICIES)).to_owned();
}

const USUAL: Scenario = Scenario {
    name: "mix",
    summary: "everything, by the seed",
    regions: 3,
    clients: 3,
    mixture: Mixture::ALL,
    pause_ms_max: 60,
    lasts_ms: 15_000,
    faults: &[
        ("partition", 5),
        ("one-way-partition", 4),
        ("link-cut", 5),
        ("process-crash", 3),
        ("host-crash", 2),
        ("lost-disk", 1),
        ("clean-restart", 1),
        ("loss", 3),
        ("duplication", 2),
        ("reordering", 3),
        ("latency", 3),
        ("clock-skew", 3),
        ("region-add", 2),
        ("region-remove", 1),
        ("region-remove-forced", 1),
    ],
    gap_ms: (300, 3000),
    at_once_max: 3,
    epoch: Epoch::BySeed,
    settings: impatient,
};

/// All scenarios; the first is the default.
pub const SCENARIOS: &[Scenario] = &[
    USUAL,
    Scenario {
        name: "calm",
        summary: "no fault at all: nothing is sent twice, and nothing waits for long",
        faults: &[],
        lasts_ms: 8_000,
        ..USUAL
    },
    Scenario {
        name: "partition",
        summary: "regions are cut off from the others, one or both ways",
        faults: &[("partition", 3), ("one-way-partition", 2)],
        gap_ms: (200, 2000),
        ..USUAL
    },
    Scenario {
        name: "link-cut",
        summary: "two regions reach each other only through a third",
        faults: &[("link-cut", 1)],
        gap_ms: (200, 2000),
        at_once_max: 1,
        ..USUAL
    },
    Scenario {
        name: "crash",
        summary: "processes and hosts die and come back, with and without their disks",
        faults: &[("process-crash", 4), ("host-crash", 3), ("lost-disk", 2), ("clean-restart", 2), ("partition", 1)],
        gap_ms: (500, 3000),
        at_once_max: 2,
        ..USUAL
    },
    Scenario {
        name: "cold-start",
        summary: "all nodes lose power at once",
        faults: &[("cold-start", 3), ("process-crash", 1), ("partition", 1)],
        gap_ms: (3000, 7000),
        at_once_max: 1,
        ..USUAL
    },
    Scenario {
        name: "kept",
        summary: "keys are on disk too: processes and hosts die and come back with what their disks have",
        faults: &[
            ("process-crash", 6),
            ("host-crash", 3),
            ("lost-disk", 1),
            ("old-backup", 2),
            ("clean-restart", 1),
            ("partition", 2),
        ],
        gap_ms: (300, 2500),
        at_once_max: 2,
        epoch: Epoch::Usual,
        settings: kept,
        ..USUAL
    },
    Scenario {
        name: "disk",
        summary: "disks fill up, fail, are slow and rot while processes die and come back",
        faults: &[
            ("full-disk", 3),
            ("failing-flushes", 3),
            ("failing-writes", 2),
            ("slow-disk", 2),
            ("rot", 2),
            ("process-crash", 4),
            ("host-crash", 2),
            ("interrupted-start", 2),
            ("partition", 1),
        ],
        gap_ms: (300, 2500),
        at_once_max: 3,
        epoch: Epoch::Usual,
        settings: kept_with_tiny_ring,
        ..USUAL
    },
    Scenario {
        name: "clock",
        summary: "clocks are off and jump",
        faults: &[("clock-skew", 5), ("clock-step", 1), ("partition", 1), ("process-crash", 1)],
        mixture: Mixture::EXPIRING,
        gap_ms: (300, 3000),
        ..USUAL
    },
    Scenario {
        name: "groups",
        summary: "consumer groups above all, with cuts, crashes, regions that compare state, and clocks that are off",
        mixture: Mixture::GROUPS,
        faults: &[
            ("partition", 4),
            ("one-way-partition", 2),
            ("link-cut", 2),
            ("process-crash", 2),
            ("host-crash", 1),
            ("clock-skew", 2),
            ("reordering", 1),
        ],
        settings: tiny_ring,
        ..USUAL
    },
    Scenario {
        name: "ordered",
        summary: "lists, sorted sets, places, streams and what is put together of them, with cuts, crashes and regions that compare \
                  state",
        mixture: Mixture::ORDERED,
        faults: &[("partition", 4), ("one-way-partition", 1), ("link-cut", 2), ("process-crash", 2), ("reordering", 1)],
        pause_ms_max: 40,
        settings: tiny_ring,
        ..USUAL
    },
    Scenario {
        name: "patched",
        summary: "strings that regions write in parts, and sketches, with cuts, crashes, regions that compare state, and clocks that \
                  are off",
        mixture: Mixture::PATCHED,
        faults: &[("partition", 4), ("link-cut", 2), ("process-crash", 2), ("clock-skew", 2), ("duplication", 1)],
        pause_ms_max: 40,
        settings: tiny_ring,
        ..USUAL
    },
    Scenario {
        name: "ring-overflow",
        summary: "the ring holds next to nothing, so that outages are caught up with by comparing state",
        faults: &[("partition", 4), ("one-way-partition", 2), ("link-cut", 2), ("process-crash", 1), ("loss", 1)],
        pause_ms_max: 120,
        settings: tiny_ring,
        ..USUAL
    },
    Scenario {
        name: "loss",
        summary: "datagrams are lost, doubled and reordered nearly all the time",
        faults: &[("loss", 3), ("duplication", 2), ("reordering", 3), ("latency", 2)],
        gap_ms: (50, 500),
        ..USUAL
    },
    Scenario {
        name: "counting",
        summary: "counters above all, with crashes and cuts: every acknowledged increment that anybody has is counted once",
        mixture: Mixture::COUNTING,
        faults: &[("partition", 3), ("process-crash", 2), ("link-cut", 2), ("duplication", 1)],
        ..USUAL
    },
    Scenario {
        name: "fields",
        summary: "fields of hashes that end above all, with crashes, cuts and clocks that are off",
        mixture: Mixture::FIELDS,
        faults: &[("partition", 4), ("link-cut", 2), ("process-crash", 2), ("clock-skew", 2), ("duplication", 1)],
        pause_ms_max: 40,
        ..USUAL
    },
    Scenario {
        name: "memory",
        summary: "memory is short, by every policy in turn: keys are evicted, or writes refused, while regions are cut off",
        faults: &[("partition", 4), ("one-way-partition", 1), ("link-cut", 2), ("process-crash", 2), ("latency", 1)],
        gap_ms: (300, 2500),
        at_once_max: 2,
        settings: short_of_memory,
        ..USUAL
    },
    Scenario {
        name: "regions",
        summary: "regions come and go",
        faults: &[("region-add", 3), ("region-remove", 2), ("region-remove-forced", 2), ("partition", 1)],
        gap_ms: (1000, 4000),
        lasts_ms: 20_000,
        ..USUAL
    },
];

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
