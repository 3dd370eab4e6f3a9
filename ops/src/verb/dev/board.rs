//! A line for each region that changes while the cluster runs: keys, commands a second, lag and links.

use crate::terminal::grouped;
use crate::verb::run;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use server::info::{LinkState, MemberState, MemberStatus};
use server::launch::Running;

/// The lines, on a terminal.
pub struct Board {
    lines: Vec<ProgressBar>,
    _together: MultiProgress,
}

impl Board {
    /// A line for each node.
    pub fn new(nodes: usize) -> Self {
        let together = MultiProgress::new();
        let lines = (0..nodes)
            .map(|_| {
                let line = together.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    line.set_style(style);
                }
                line
            })
            .collect();
        Self { lines, _together: together }
    }

    /// Shows how the nodes are now.
    pub fn show(&self, nodes: &[Running]) {
        for (line, node) in self.lines.iter().zip(nodes) {
            line.set_message(text(node));
        }
    }

    /// Leaves the lines as they are.
    pub fn finish(&self) {
        self.lines.iter().for_each(|line| line.abandon());
    }
}

/// The line of a node.
fn text(running: &Running) -> String {
    let node = running.node();
    let name = node.config.load().region.clone();
    let port = running.addresses().resp.port();
    if running.has_stopped() {
        return format!("{name:<12} :{port}  stopped");
    }
    let commands = node.console.metrics.rates().commands;
    let cluster = node.console.cluster();
    let condition = if node.console.stop_requested().is_some() {
        "  stopping"
    } else if node.condition.is_loading() {
        "  filling"
    } else {
        ""
    };
    let is_other = |member: &&MemberStatus| member.node != cluster.node && member.state != MemberState::Removed;
    let others = cluster.members.iter().filter(is_other).map(link_text);
    format!(
        "{name:<12} :{port}{condition}  {:>12} keys  {:>10} ops/s   {}",
        grouped(run::keys(running)),
        grouped(commands as u64),
        others.collect::<Vec<_>>().join("   ")
    )
}

fn link_text(member: &MemberStatus) -> String {
    let name = if member.region.is_empty() { &member.node } else { &member.region };
    match member.link {
        LinkState::Up => match member.applied_lag_ms {
            Some(lag) => format!("→ {name} {lag} ms"),
            None => format!("→ {name} up"),
        },
        LinkState::Greeting => format!("→ {name} starts, and reads its disk"),
        LinkState::CatchingUp => format!("→ {name} catching up"),
        LinkState::Down => format!("→ {name} CUT OFF, {} changes wait", grouped(member.unacked_changes)),
    }
}
