//! What commands on sketches answer and write. Their elements are few and raise different registers, so that every count is
//! exact.

use super::commands::{Answer, Call, count, flag};
use super::history::{Key, Patch, sketch_text};
use crate::reply::Value;
use std::collections::BTreeSet;

const NO_SKETCH: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";

impl Call<'_, '_> {
    pub(super) fn sketch(&mut self, name: &str) -> Option<Answer> {
        Some(match name {
            "pfadd" => self.call_pfadd(),
            "pfcount" => self.union(1).map(|elements| count(elements.len())),
            "pfmerge" => self.call_pfmerge(),
            _ => return None,
        })
    }

    /// What has been added to a sketch; nothing if there is none.
    fn elements(&mut self, key: &Key) -> Result<Option<BTreeSet<String>>, &'static str> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let mut words = text.split(' ').map(str::to_owned);
        let is_sketch = words.next().is_some_and(|word| word == sketch_text(&BTreeSet::new()));
        if is_sketch { Ok(Some(words.collect())) } else { Err(NO_SKETCH) }
    }

    fn union(&mut self, at: usize) -> Result<BTreeSet<String>, &'static str> {
        let mut all = BTreeSet::new();
        for key in self.keys_from(at) {
            all.extend(self.elements(&key)?.unwrap_or_default());
        }
        Ok(all)
    }

    fn call_pfadd(&mut self) -> Answer {
        let key = self.key(1);
        let found = self.elements(&key)?;
        let known = found.clone().unwrap_or_default();
        let new: BTreeSet<String> =
            self.args[2..].iter().filter(|element| !known.contains(*element)).cloned().collect();
        let is_changed = found.is_none() || !new.is_empty();
        if is_changed {
            self.raise(&key, new)?;
        }
        Ok(flag(is_changed))
    }

    fn call_pfmerge(&mut self) -> Answer {
        let target = self.key(1);
        let all = self.union(1)?;
        let known = self.elements(&target)?.unwrap_or_default();
        self.raise(&target, all.difference(&known).cloned().collect())?;
        Ok(Value::ok())
    }

    fn raise(&mut self, key: &Key, new: BTreeSet<String>) -> Result<(), &'static str> {
        let old = self.text(key)?;
        self.execution.patch_string(key, old, Patch::Sketch(new));
        Ok(())
    }
}
