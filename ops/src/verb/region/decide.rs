//! `pelago region release-drift` and `seal`: what only an operator can decide. Each shows first what it would do.

use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{self, described};
use crate::verb::is_agreed;
use clap::Args;

/// A node whose clock was ahead.
#[derive(Debug, Args)]
pub struct ReleaseDrift {
    /// The node or region whose writes are held because of their time
    node: String,
    #[command(flatten)]
    decision: Decision,
}

/// A node that was removed.
#[derive(Debug, Args)]
pub struct Seal {
    /// The removed node: the beginning of its identity, as `pelago region list` shows it, or all of it
    node: String,
    #[command(flatten)]
    decision: Decision,
}

/// How an order is given.
#[derive(Debug, Args)]
struct Decision {
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    preview: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl ReleaseDrift {
    /// Shows or does it.
    pub fn run(self) -> Result<()> {
        self.decision.carry_out("RELEASE-DRIFT", &self.node)
    }
}

impl Seal {
    /// Shows or does it.
    pub fn run(self) -> Result<()> {
        self.decision.carry_out("SEAL", &self.node)
    }
}

impl Decision {
    fn carry_out(&self, order: &str, node: &str) -> Result<()> {
        let mut client = self.target.connect()?;
        if !self.yes {
            let preview = client.json(&["PELAGO", order, node, "PREVIEW"])?;
            terminal::line(if self.json { preview.to_string() } else { described(&preview) });
            if self.preview || !is_agreed("Do this?")? {
                return Ok(());
            }
        }
        let answer = client.json(&["PELAGO", order, node])?;
        terminal::line(if self.json { answer.to_string() } else { described(&answer) });
        Ok(())
    }
}
