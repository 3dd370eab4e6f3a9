//! Through which node an import has written, and whether all of that is at the node through which it goes on.
//!
//! The note of the place is a key like others: where a node that was cut off has not sent its latest changes, the note that
//! the others have is older, too. Who went on from that would write twice what the node sends later.

use super::Destination;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::wire::Wire;

/// What an earlier run has noted, whichever node it wrote through: all that it has written has come.
#[derive(Debug)]
pub struct Earlier {
    /// The note, which ends with the name of the node that it was written through.
    pub note: Option<String>,
    /// The node that notes from now on; empty if it is none of Pelago.
    pub writer: String,
}

impl Earlier {
    /// Asks the target. `client` is a connection to it.
    pub fn of(into: &Destination, client: &mut Client, marker: &str) -> Result<Self> {
        let mut wire = into.wire()?;
        let nodes = Nodes::of(&mut wire)?;
        let note = client.call(&["GET", marker])?.text();
        let Some(noted) = note else { return Ok(Self { note, writer: nodes.own }) };
        let writer = noted.rsplit(' ').next().unwrap_or_default();
        nodes.await_all_of(writer, &mut wire, into)?;
        Ok(Self { note: client.call(&["GET", marker])?.text(), writer: nodes.own })
    }
}

/// What a node says of itself and of the others.
#[derive(Debug, Default)]
struct Nodes {
    /// Its own name; empty if it is none of Pelago.
    own: String,
    /// Names and RESP addresses of those that belong to the cluster.
    members: Vec<(String, String)>,
}

impl Nodes {
    /// Asks it.
    fn of(wire: &mut Wire) -> Result<Self> {
        Ok(Self::parse(&wire.call(&[b"INFO", b"pelago"])?.text().unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let mut nodes = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            if name == "node" {
                value.clone_into(&mut nodes.own);
            } else if name.starts_with("member") {
                let fact = |wanted: &str| {
                    let facts = value.split(',').filter_map(|fact| fact.split_once('='));
                    facts.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
                };
                if let (Some(node), Some(resp), Some(state)) = (fact("node"), fact("resp"), fact("state"))
                    && state != "removed"
                {
                    nodes.members.push((node.to_owned(), resp.to_owned()));
                }
            }
        }
        nodes
    }

    /// Waits until everything that `writer` has written is at this node. What a node that was removed from the cluster has
    /// not sent never comes.
    fn await_all_of(&self, writer: &str, wire: &mut Wire, into: &Destination) -> Result<()> {
        let Some((_, address)) = self.members.iter().find(|(name, _)| name == writer) else { return Ok(()) };
        if writer == self.own {
            return Ok(());
        }
        let outcome = match into.wire_to(address) {
            Ok(mut other) => has_come(&mut other, wire),
            Err(failure) => Err(failure),
        };
        let reason = match outcome {
            Ok(true) => return Ok(()),
            Ok(false) => format!("it has not come after {AWAIT_SECONDS} s"),
            Err(failure) => failure.to_string(),
        };
        Err(Failure::Arguments(format!(
            "this import has written through {writer}, and whether all of that is here is not known ({reason}): what {writer} sends \
             later would be there twice. Go on through {writer}, or when it is linked with this node again; if it is lost, \
             remove it from the cluster first"
        )))
    }
}

/// Waits until everything that is visible at one node is at the other.
fn has_come(from: &mut Wire, to: &mut Wire) -> Result<bool> {
    let token = from.call(&[b"PELAGO", b"TOKEN"])?.text().unwrap_or_default();
    let milliseconds = (AWAIT_SECONDS * 1000).to_string();
    Ok(to.call(&[b"PELAGO", b"AWAIT", token.as_bytes(), milliseconds.as_bytes()])? == Reply::Integer(1))
}

/// Less than a connection waits for an answer.
const AWAIT_SECONDS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_from_what_a_node_says() {
        let text = "# Pelago\r\nnode:a-1\r\nregion:a\r\nmembers:2\r\n\
             member0:node=a-1,region=a,state=active,link=up,resp=h:1\r\n\
             member1:node=b-1,region=b,state=unreachable,link=down,applied_lag_ms=,resp=h:2\r\n\
             member2:node=c-1,region=c,state=removed,link=down,resp=h:3\r\n";
        let nodes = Nodes::parse(text);
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!((nodes.own.as_str(), nodes.members), ("a-1", vec![pair("a-1", "h:1"), pair("b-1", "h:2")]));
        assert_eq!(Nodes::parse("").own, "");
    }
}
