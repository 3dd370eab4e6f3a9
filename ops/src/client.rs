//! Questions to a node, one after the other: words as text, answers whole, JSON understood. What goes over the connection
//! is `wire`'s business.

use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::wire::Wire;
use serde_json::Value;
use std::time::Duration;

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Asks over this connection from now on.
    pub fn over(wire: Wire) -> Result<Self> {
        wire.wait_at_most(ANSWER_TIME)?;
        Ok(Self { wire })
    }

    /// How long an answer may take from now on.
    pub fn wait_at_most(&mut self, time: Duration) -> Result<()> {
        self.wire.wait_at_most(time)
    }

    /// One command. An error reply is a failure.
    pub fn call(&mut self, words: &[&str]) -> Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.wire.call(&words)
    }

    /// One command whose answer is JSON.
    pub fn json(&mut self, words: &[&str]) -> Result<Value> {
        let reply = self.call(words)?;
        let value = reply.text().and_then(|text| serde_json::from_str(&text).ok());
        value.ok_or_else(|| Failure::Answer { address: self.wire.address().to_owned(), question: words.join(" ") })
    }
}

/// A node that is alive answers a question within this, however busy.
const ANSWER_TIME: Duration = Duration::from_secs(10);
