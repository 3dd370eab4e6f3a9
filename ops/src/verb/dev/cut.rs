//! `pelago dev cut` and `heal`: through the nodes' own commands, so that they work from another terminal.

use super::Cutting;
use crate::failure::{Failure, Result};
use crate::terminal;
use crate::verb::region::members;
use serde_json::Value;

/// Tells every node of the region.
pub fn order(cutting: &Cutting, order: &str) -> Result<()> {
    let mut any = cutting.secret.connect(&format!("127.0.0.1:{}", cutting.resp_port))?;
    let list = any.json(&["PELAGO", "REGION", "LIST"])?;
    let is_meant =
        |member: &&Value| member["region"] == cutting.region.as_str() || member["node"] == cutting.region.as_str();
    let meant: Vec<&Value> = members(&list).into_iter().filter(is_meant).collect();
    if meant.is_empty() {
        let known: Vec<&str> = members(&list).iter().filter_map(|member| member["region"].as_str()).collect();
        return Err(Failure::Arguments(format!(
            "there is no region {}; there are {}",
            cutting.region,
            known.join(", ")
        )));
    }
    for member in meant {
        let address = member["resp"].as_str().unwrap_or_default();
        cutting.secret.connect(address)?.json(&["PELAGO", order])?;
        let node = terminal::plain(&member["node"]);
        terminal::line(match order {
            "CUT" => format!("{node} is cut off from the other regions. It still serves clients at {address}."),
            _ => format!("{node} meets the other regions again."),
        });
    }
    Ok(())
}
