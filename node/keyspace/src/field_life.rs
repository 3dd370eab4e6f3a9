//! The life of one field of a hash, where changes meet it: what a key's life is, one level down.
//!
//! A write of a field asserts by its own dot that the field has no end, and drops what it observed of its life; an
//! increment that creates one does so by its birth. An assertion of its own drops the observed ones, those of the content
//! too, which is silent from then on. The longest life wins.

use crate::body::KeyBody;
use crate::hash::{digest_of_contribution, digest_of_element_life, digest_of_field_life};
use crate::merge::{Site, Write};
use crate::slot::Context;
use crdt::{Element, Kind, Lifetime, Stamp};
use smallvec::SmallVec;

impl Site<'_> {
    /// Lets `work` change an element, and has the digest and the sweeper follow what becomes of its life. `digest` is that
    /// of its name.
    pub fn with_life(&mut self, digest: u64, element: &mut Element, work: impl FnOnce(&mut Self, &mut Element)) {
        self.memory.digest ^= digest_of_element_life(digest, element.life.as_deref());
        work(self, element);
        element.tidy_life();
        self.memory.digest ^= digest_of_element_life(digest, element.life.as_deref());
        match element.end() {
            None => {}
            Some(0) => self.expires_at(self.shared.now()),
            Some(deadline) => self.expires_at(deadline),
        }
    }

    /// Drops assertions about a field's life, and makes a new one.
    pub fn live_field(&mut self, body: &mut KeyBody, stamp: Stamp, name: &[u8], drops: &[Stamp], lifetime: Lifetime) {
        self.change_element(body, Kind::Hash, name, |site, digest, element| {
            let life_digest = digest_of_field_life(digest);
            // A removal of the field drops assertions under the name of the field itself.
            let is_new = site.is_new(stamp, life_digest) && site.is_new(stamp, digest);
            let mut missing: SmallVec<[Stamp; 2]> = drops.into();
            site.silence(digest, element, |content| {
                missing.retain(|drop| *drop != content);
                let is_own = content.author() == stamp.author() && (content < stamp || content == stamp && is_new);
                is_own || drops.contains(&content)
            });
            let life = element.life_mut();
            life.assertions.retain(|&mut (dot, _)| {
                missing.retain(|drop| *drop != dot);
                !drops.contains(&dot) && (dot.author() != stamp.author() || dot >= stamp)
            });
            if is_new {
                life.assert(stamp, lifetime);
            }
            let asserted = life.assertions.len();
            missing.iter().for_each(|&dot| site.remember_drop(dot, life_digest));
            site.conflict(asserted, |conflicts| &conflicts.lives);
        });
    }

    /// What a write or removal of a field does to the assertions about its life: those that it observed go. Takes what is
    /// found out of `missing`.
    pub fn drop_assertions(&mut self, element: &mut Element, write: &Write<'_>, missing: &mut SmallVec<[Stamp; 2]>) {
        if let Some(life) = &mut element.life {
            life.assertions.retain(|&mut (dot, _)| {
                missing.retain(|drop| *drop != dot);
                !write.drops.contains(&dot) && (dot.author() != write.stamp.author() || dot >= write.stamp)
            });
        }
    }

    /// Whether what this content asserts about its field's life was dropped before the content came.
    pub fn was_dropped_early(&self, digest: u64, content: Stamp) -> bool {
        let dropped = |context: &Context| context.early.contains(&(content, digest_of_field_life(digest)));
        self.memory.context().is_some_and(dropped)
    }

    /// What a new sibling of a field asserts: that the field has no end, unless that has been dropped already.
    pub fn assert_by_sibling(&mut self, digest: u64, element: &mut Element, dot: Stamp) {
        if self.was_dropped_early(digest, dot) {
            element.life_mut().silence(dot);
        } else if let Some(life) = &mut element.life {
            life.assert_by_content(dot);
        }
    }

    /// Has what `is_dropped` names of the content assert nothing from now on. The digest follows for contributions.
    pub fn silence(&mut self, digest: u64, element: &mut Element, is_dropped: impl FnMut(Stamp) -> bool) {
        let sum =
            |element: &Element| element.contributions.iter().fold(0, |sum, c| sum ^ digest_of_contribution(digest, c));
        self.memory.digest ^= sum(element);
        element.silence(is_dropped);
        self.memory.digest ^= sum(element);
    }
}
