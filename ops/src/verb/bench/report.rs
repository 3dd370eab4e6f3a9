//! What a bench found, for people and for scripts. Percentiles are exact within 12 %.

use super::lag::Lag;
use super::load::Measured;
use crate::terminal::grouped;
use serde_json::{Map, Value, json};
use server::metrics::Latencies;
use std::time::Duration;

/// What a bench found.
#[derive(Debug)]
pub struct Report {
    /// How long it took.
    pub seconds: f64,
    /// How soon other regions saw writes.
    pub lags: Vec<Lag>,
    nodes: Vec<String>,
    requests: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Vec<Latencies>,
    slowest: Duration,
}

impl Report {
    /// Nothing yet, of a load on these nodes.
    pub fn new(nodes: Vec<String>) -> Self {
        Self {
            seconds: 0.0,
            lags: Vec::new(),
            nodes,
            requests: 0,
            errors: 0,
            first_error: None,
            latencies: Vec::new(),
            slowest: Duration::ZERO,
        }
    }

    /// Adds what a connection measured.
    pub fn add_load(&mut self, load: Measured) {
        self.requests += load.requests;
        self.errors += load.errors;
        self.first_error = self.first_error.take().or(load.first_error);
        self.slowest = self.slowest.max(load.slowest);
        self.latencies.push(load.latencies);
    }

    /// For people.
    pub fn text(&self, heading: &str) -> String {
        let mut lines = vec![
            format!("{heading}, at {}", self.nodes.join(" and ")),
            format!(
                "  throughput  {} requests/s  ({} in {:.1} s)",
                grouped(self.throughput() as u64),
                grouped(self.requests),
                self.seconds
            ),
            format!("  latency     {}", figures(&self.all_latencies(), self.slowest)),
        ];
        for lag in &self.lags {
            let missing =
                if lag.missing > 0 { format!(", {} NOT SEEN within 10 s", lag.missing) } else { String::new() };
            lines.push(format!("  seen in {}  {}{missing}", lag.target, figures(&lag.latencies, lag.slowest)));
        }
        if let Some(error) = &self.first_error {
            lines.push(format!("  {} requests had an error, the first: {error}", grouped(self.errors)));
        }
        lines.join("\n")
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let lags: Vec<Value> = self
            .lags
            .iter()
            .map(|lag| {
                let mut row = microseconds(&lag.latencies, lag.slowest);
                row["from"] = json!(self.nodes[0]);
                row["to"] = json!(lag.target);
                row["missing"] = json!(lag.missing);
                row
            })
            .collect();
        json!({
            "nodes": self.nodes, "requests": self.requests, "errors": self.errors, "first_error": self.first_error,
            "seconds": self.seconds, "requests_per_second": self.throughput(),
            "latency_us": microseconds(&self.all_latencies(), self.slowest), "lag_us": lags,
        })
    }

    fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { self.requests as f64 / self.seconds } else { 0.0 }
    }

    fn all_latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        self.latencies.iter().for_each(|one| all.add(one));
        all
    }
}

fn figures(latencies: &Latencies, slowest: Duration) -> String {
    let longest = slowest.as_secs_f64() * 1e3;
    let shares = SHARES.iter().map(|(name, share)| {
        // Ranges end above what is in them, and nothing took longer than the longest.
        format!("{name} {:.2} ms", (latencies.percentile_us(*share) / 1000.0).min(longest))
    });
    format!("{}  max {longest:.2} ms", shares.collect::<Vec<_>>().join("  "))
}

fn microseconds(latencies: &Latencies, slowest: Duration) -> Value {
    let longest = slowest.as_secs_f64() * 1e6;
    let mut row: Map<String, Value> = SHARES
        .iter()
        .map(|(name, share)| ((*name).to_owned(), json!(latencies.percentile_us(*share).min(longest))))
        .collect();
    row.insert("max".to_owned(), json!(longest));
    row.insert("samples".to_owned(), json!(latencies.count()));
    Value::Object(row)
}

const SHARES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];
