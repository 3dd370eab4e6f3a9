//! What commands on places answer and write: their scores are known beforehand.

use super::commands::{Answer, Call, bulks, count};
use super::history::{Payload, Place};
use crate::workload::PLACES;

impl Call<'_, '_> {
    pub(super) fn place(&mut self, name: &str) -> Option<Answer> {
        Some(match name {
            "geoadd" => self.call_geoadd(),
            "geosearch" => {
                let found = self.found_places(1, 3);
                found.map(|found| bulks(found.into_iter().map(|(member, _)| member)))
            }
            "geosearchstore" => self.found_places(2, 4).map(|found| self.store_scores(found)),
            _ => return None,
        })
    }

    fn call_geoadd(&mut self) -> Answer {
        let key = self.key(1);
        let members = self.scores(&key)?;
        let at = self.args.len() - 3;
        let member = self.arg(at + 2).to_owned();
        let place = PLACES.iter().find(|place| place.longitude == self.arg(at));
        let score = place.map_or("", |place| place.score);
        let current = members.get(&member);
        let is_allowed = if current.is_some() { !self.has("nx") } else { !self.has("xx") };
        if !is_allowed {
            return Ok(count(0));
        }
        self.execution.put_element(&key, Place::Scored(member), Payload::Value(score.to_owned()));
        let is_changed = current.is_none_or(|current| self.has("ch") && current != score);
        Ok(count(usize::from(is_changed)))
    }

    /// The members of the key at `source` that are around the longitude at `middle`.
    fn found_places(&mut self, source: usize, middle: usize) -> Result<Vec<(String, String)>, &'static str> {
        let members = self.scores(&self.key(source))?;
        let wants_south = self.arg(middle) == "15";
        let is_found =
            |score: &String| PLACES.iter().any(|place| place.score == score && place.is_south == wants_south);
        Ok(members.into_iter().filter(|(_, score)| is_found(score)).collect())
    }
}
