//! What `INFO` counts: all workers together, since the start or the last `CONFIG RESETSTAT`.
//!
//! A reset only notes the counts of that moment, so workers need not be disturbed and Prometheus sees no step back.

use std::collections::BTreeMap;

use super::Metrics;
use super::commands::CommandTotals;
use crate::command::table::table;
use crate::node::Node;
use crate::tally::Totals;

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections refused because too many were open.
    pub connections_refused: u64,
    /// What the workers counted.
    pub workers: Totals,
    /// Keys removed because their time was over.
    pub expired: u64,
    /// Keys removed because memory was short.
    pub evicted: u64,
    /// Fields of hashes removed because their time was over.
    pub expired_fields: u64,
    /// Error replies by code.
    pub errors: BTreeMap<String, u64>,
    /// Counts of each command, by its ordinal.
    pub by_command: Vec<CommandTotals>,
}

impl Statistics {
    /// The counts since the node started.
    pub(super) fn since_start(metrics: &Metrics, node: &Node) -> Self {
        let (tallies, clients) = (&node.tallies, &node.clients);
        let by_command =
            (0..table().len()).map(|ordinal| CommandTotals::new(tallies.command(ordinal), tallies.latencies(ordinal)));
        Self {
            connections_accepted: clients.accepted(),
            connections_refused: clients.refused(),
            workers: tallies.totals(),
            expired: metrics.keyspace.expired.value(),
            expired_fields: metrics.keyspace.expired_fields.value(),
            evicted: metrics.keyspace.evicted.value(),
            errors: tallies.errors(),
            by_command: by_command.collect(),
        }
    }

    /// The commands that somebody tried, with their full names.
    pub fn used_commands(&self) -> impl Iterator<Item = (&'static str, &CommandTotals)> {
        let used = self.by_command.iter().enumerate().filter(|(_, totals)| !totals.is_unused());
        used.filter_map(|(ordinal, totals)| Some((table().by_ordinal(ordinal)?.full_name.as_str(), totals)))
    }

    pub(super) fn subtract(&mut self, earlier: &Self) {
        let Totals {
            commands,
            bytes_in,
            bytes_out,
            reads,
            writes,
            protocol_errors,
            output_limit_closed,
            hits,
            misses,
            errors,
        } = &mut self.workers;
        let pairs = [
            (commands, earlier.workers.commands),
            (bytes_in, earlier.workers.bytes_in),
            (bytes_out, earlier.workers.bytes_out),
            (reads, earlier.workers.reads),
            (writes, earlier.workers.writes),
            (protocol_errors, earlier.workers.protocol_errors),
            (output_limit_closed, earlier.workers.output_limit_closed),
            (hits, earlier.workers.hits),
            (misses, earlier.workers.misses),
            (errors, earlier.workers.errors),
            (&mut self.connections_accepted, earlier.connections_accepted),
            (&mut self.connections_refused, earlier.connections_refused),
            (&mut self.expired, earlier.expired),
            (&mut self.expired_fields, earlier.expired_fields),
            (&mut self.evicted, earlier.evicted),
        ];
        for (own, less) in pairs {
            *own = own.saturating_sub(less);
        }
        for (code, less) in &earlier.errors {
            if let Some(own) = self.errors.get_mut(code) {
                *own = own.saturating_sub(*less);
            }
        }
        self.errors.retain(|_, count| *count > 0);
        self.by_command.iter_mut().zip(&earlier.by_command).for_each(|(own, less)| own.subtract(less));
    }
}
