//! Fields of a hash that end: how long they stay is set, kept and repeated here.

use crate::access::{Access, Database, WrongKind};
use crate::collection::{Collection, ElementView};
use crate::entry::View;
use crate::observe::Observed;
use crate::write::{NewLifetime, begin_element, end_element};
use crdt::{Kind, Lifetime, Operation, Stamps};

impl Access<'_> {
    /// Sets a field of a hash and how long it stays. True if the field is new.
    pub fn put_field_for(
        &mut self,
        database: Database,
        key: &[u8],
        field: &[u8],
        value: &[u8],
        lifetime: NewLifetime,
    ) -> Result<bool, WrongKind> {
        let before = self.hash(database, key)?.and_then(|fields| fields.lifetime(field));
        let lifetime = match lifetime {
            NewLifetime::Keep => before.unwrap_or(Lifetime::Never),
            NewLifetime::Set(lifetime) => lifetime,
        };
        if lifetime == Lifetime::Never {
            return self.put_field(database, key, field, value);
        }
        let hasher = self.shared().hasher.clone();
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Hash, recorder);
            let fields = entry.filter(|_| !found.clears).and_then(|entry| Collection::in_entry(entry, Kind::Hash));
            let element = fields.and_then(|fields| fields.find(&hasher, field));
            let Observed { drops, resets } = Observed::of_element(element, recorder.stamp.author());
            recorder.record(&Operation::Put { kind: Kind::Hash, name: field, drops, resets, value });
            recorder.record(&Operation::LiveField { name: field, drops: Stamps::new(), lifetime });
            end_element(entry, &found, recorder);
        });
        Ok(before.is_none())
    }

    /// Sets how long a field of a hash stays. False if it is not there.
    pub fn set_field_lifetime(
        &mut self,
        database: Database,
        key: &[u8],
        field: &[u8],
        lifetime: Lifetime,
    ) -> Result<bool, WrongKind> {
        if !self.hash(database, key)?.is_some_and(|fields| fields.contains(field)) {
            return Ok(false);
        }
        let hasher = self.shared().hasher.clone();
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Hash, recorder);
            let fields = entry.and_then(|entry| Collection::in_entry(entry, Kind::Hash));
            if let Some(element) = fields.and_then(|fields| fields.find(&hasher, field)) {
                recorder.live_field(&element, lifetime);
            }
            end_element(entry, &found, recorder);
        });
        Ok(true)
    }

    /// Removes those of some fields of a hash that are over, or of which only assertions are left, and the hash with the
    /// last one. The others go from the list.
    pub(crate) fn remove_dead_fields(&mut self, database: Database, key: &[u8], names: &mut Vec<Box<[u8]>>) {
        let (now, shared) = (self.now, self.shared());
        let entry = self.locked(key).find(shared, database.0, key);
        let fields = entry.and_then(|entry| Collection::in_entry(entry, Kind::Hash));
        let is_over = |element: ElementView<'_>| !element.is_shown(now);
        names.retain(|name| fields.and_then(|fields| fields.find(&shared.hasher, name)).is_some_and(is_over));
        if names.is_empty() {
            return;
        }
        let names = &*names;
        self.change(database, key, |entry, _, recorder| {
            let Some(entry) = entry else { return };
            let Some(fields) = Collection::in_entry(entry, Kind::Hash) else { return };
            for name in names {
                let element = fields.find(&shared.hasher, name);
                let Observed { drops, resets } = Observed::of_element(element, recorder.stamp.author());
                recorder.record(&Operation::Remove { kind: Kind::Hash, name, drops, resets });
            }
            let is_all = matches!(entry.view(), View::Wide(body) if body.kinds() == 1);
            if is_all && fields.len() == names.len() {
                recorder.live(Some(entry), None);
            }
        });
    }
}
