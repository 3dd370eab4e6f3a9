//! `docs/metrics.md`, from the declarations.

use super::commands::{COMMAND_METRICS, DURATION, DURATION_HELP};
use super::group::MetricGroup;
use super::groups::{
    AllocatorMetrics, ClientMetrics, ConsoleMetrics, KeyspaceMetrics, MessageMetrics, PeerMetrics, ProcessMetrics,
    ReplicationTotals, ScriptMetrics, StoreMetrics, TrackingMetrics,
};
use super::instrument::Kind;
use super::{ERRORS, ERRORS_HELP};

/// The text of `docs/metrics.md`.
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n## Clients and commands\n\n");
    text.push_str(HEAD);
    text.push_str(&row("pelago_info", "gauge", "Which node this is; always 1. Labels `version`, `node`, `region`."));
    group::<ClientMetrics>(&mut text);
    for (name, help, kind, _) in COMMAND_METRICS {
        text.push_str(&row(name, kind_name(*kind), &format!("{help} Label `command`.")));
    }
    text.push_str(&row(DURATION, "summary", &format!("{DURATION_HELP} Labels `command`, `quantile`.")));
    text.push_str(&row(ERRORS, "counter", &format!("{ERRORS_HELP} Label `code`.")));
    section::<MessageMetrics>(&mut text, "Messages", "");
    section::<TrackingMetrics>(&mut text, "Clients that cache", "");
    section::<ScriptMetrics>(&mut text, "Scripts and functions", "");
    section::<KeyspaceMetrics>(&mut text, "Keyspace", "");
    section::<ReplicationTotals>(&mut text, "Replication", "");
    section::<PeerMetrics>(&mut text, "Peers", "Each with the label `peer`, the name of the other node.\n\n");
    section::<StoreMetrics>(&mut text, "Disk", "");
    section::<ProcessMetrics>(&mut text, "Process", "");
    section::<AllocatorMetrics>(&mut text, "Allocator", "");
    section::<ConsoleMetrics>(&mut text, "Observation", "");
    text
}

fn section<G: MetricGroup>(text: &mut String, title: &str, note: &str) {
    text.push_str(&format!("\n## {title}\n\n{note}{HEAD}"));
    group::<G>(text);
}

fn group<G: MetricGroup>(text: &mut String) {
    for field in G::FIELDS {
        text.push_str(&row(&field.name(), kind_name(field.kind), &field.help()));
    }
}

fn row(name: &str, kind: &str, help: &str) -> String {
    format!("| `{name}` | {kind} | {help} |\n")
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

const HEAD: &str = "| name | type | meaning |\n|---|---|---|\n";

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from node/server/src/metrics/groups.rs; a test fails when this page is stale. -->

A node serves them at `/metrics` of its `http` address, in Prometheus' text format. They count from the start of the
process; `CONFIG RESETSTAT` resets what `INFO` shows and leaves these alone.

Commands whose cost grows with something are all timed. Of those that take constant time one in 128 is, because reading
the clock would cost as much again: their durations, and what the slow log sees of them, are a sample.
";
