//! `pelago dev cut` and `heal`: through the nodes' own commands, so that they work from another terminal.

use super::Cutting;
use crate::failure::{Failure, Result};
use crate::terminal;
use crate::verb::region::members;
use serde_json::Value;

/// Tells every node of the region; and, if only the links to another one are meant, every node of that.
pub fn order(cutting: &Cutting, order: &str) -> Result<()> {
    let mut any = cutting.secret.connect(&format!("127.0.0.1:{}", cutting.resp_port))?;
    let list = any.json(&["PELAGO", "REGION", "LIST"])?;
    let Some(other) = &cutting.other else {
        return tell(cutting, &list, order, &cutting.region, None);
    };
    if *other == cutting.region {
        return Err(Failure::Arguments(format!("{other} has no links to itself that could be cut")));
    }
    // Both must be there before one is told.
    meant(&list, other)?;
    tell(cutting, &list, order, &cutting.region, Some(other))?;
    tell(cutting, &list, order, other, Some(&cutting.region))
}

/// Gives the order to the nodes of a region, about `other` or about everybody.
fn tell(cutting: &Cutting, list: &Value, order: &str, region: &str, other: Option<&str>) -> Result<()> {
    for member in meant(list, region)? {
        let address = member["resp"].as_str().unwrap_or_default();
        let words: Vec<&str> = ["PELAGO", order].into_iter().chain(other).collect();
        cutting.secret.connect(address)?.json(&words)?;
        let node = terminal::plain(&member["node"]);
        let whom = other.unwrap_or("the other regions");
        terminal::line(match order {
            "CUT" => format!("{node} is cut off from {whom}. It still serves clients at {address}."),
            _ => format!("{node} meets {whom} again."),
        });
    }
    Ok(())
}

/// The nodes of a region, or the one node with this name.
fn meant<'a>(list: &'a Value, region: &str) -> Result<Vec<&'a Value>> {
    let there: Vec<&Value> = members(list).into_iter().filter(|member| member["state"] != "removed").collect();
    let is_meant = |member: &&Value| member["region"] == region || member["node"] == region;
    let meant: Vec<&Value> = there.iter().copied().filter(is_meant).collect();
    if meant.is_empty() {
        let known: Vec<&str> = there.iter().filter_map(|member| member["region"].as_str()).collect();
        return Err(Failure::Arguments(format!("there is no region {region}; there are {}", known.join(", "))));
    }
    Ok(meant)
}
