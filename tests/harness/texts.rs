//! Many keys with texts, of which everybody who knows the seed knows what each must be.

use crate::client::Client;
use crate::load::settle;
use crate::random::Random;
use crate::reply::Reply;
use crate::steady::Script;
use std::fmt::Write;

/// The keys.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// How many there are.
    pub keys: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// For the values.
    pub seed: u64,
}

/// Commands that wait for their answers at once while keys are written.
const PIPELINE: usize = 1_000;

impl Texts {
    /// The name of a key.
    pub fn key(index: usize) -> String {
        format!("key:{index:010}")
    }

    /// The value of a key: hexadecimal digits, about as hard to compress as what people store.
    pub fn value(&self, index: usize) -> String {
        let mut random = Random::new(self.seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut value = String::with_capacity(self.value_bytes + 16);
        while value.len() < self.value_bytes {
            // A text takes whatever is written to it.
            let _ = write!(value, "{:016x}", random.word());
        }
        value.truncate(self.value_bytes);
        value
    }

    /// Bytes of a key and its value.
    pub fn bytes_each(&self) -> usize {
        Self::key(0).len() + self.value_bytes
    }

    /// Writes all of them.
    pub fn fill(&self, client: &mut Client) {
        self.write(client, 0..self.keys);
    }

    /// Writes some of them, with what they must be.
    pub fn write(&self, client: &mut Client, indexes: impl Iterator<Item = usize>) {
        let mut queued = 0;
        for index in indexes {
            client.queue(&["SET".to_owned(), Self::key(index), self.value(index)]);
            queued += 1;
            if queued == PIPELINE {
                settle(client, &mut queued);
            }
        }
        settle(client, &mut queued);
    }

    /// Reads so many of them, chosen at random. The error is the first that is not what it must be.
    pub fn check(&self, client: &mut Client, random: &mut Random, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| match self.read(client, random.below(self.keys))? {
            Some(()) => Ok(()),
            None => Err("a server that has loaded says that it loads".to_owned()),
        })
    }

    /// Reads one of them. Nothing if the server says that it loads; an error if it answers anything but the value.
    pub fn read(&self, client: &mut Client, index: usize) -> Result<Option<()>, String> {
        let key = Self::key(index);
        match client.try_call(&["GET", &key]).map_err(|error| error.to_string())? {
            Reply::Error(error) if error.starts_with("LOADING") => Ok(None),
            Reply::Bulk(value) if value == self.value(index).as_bytes() => Ok(Some(())),
            other => Err(format!("{key} is answered with {other}")),
        }
    }
}

/// Reads and writes keys in turn, chosen at random; what it writes is what they are.
#[derive(Debug)]
pub struct ReadsAndWrites {
    /// The keys.
    pub texts: Texts,
    /// Chooses them.
    pub random: Random,
}

impl Script for ReadsAndWrites {
    fn command(&mut self, number: u64) -> Vec<String> {
        let index = self.random.below(self.texts.keys);
        match number % 2 {
            0 => vec!["GET".to_owned(), Texts::key(index)],
            _ => vec!["SET".to_owned(), Texts::key(index), self.texts.value(index)],
        }
    }

    fn judge(&self, command: &[String], reply: &Reply) -> Option<String> {
        let is_right = match (command.len(), reply) {
            (2, Reply::Bulk(value)) => value.len() == self.texts.value_bytes,
            (3, Reply::Simple(text)) => text == "OK",
            _ => false,
        };
        (!is_right).then(|| format!("{}: {reply}", command.join(" ")))
    }
}
