//! Which events of keys are published: Redis' `notify-keyspace-events`, with one letter more.

use super::value::{Rule, SettingValue, ValueError};
use keyspace::EventClass;

/// Which events of keys are published, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyEvents {
    /// `K`: to the channel of the key.
    pub to_key: bool,
    /// `E`: to the channel of the event.
    pub to_event: bool,
    /// `d`: of types that modules define. There are none; the letter is kept.
    for_modules: bool,
    classes: EventClass,
}

/// The letters of the classes, in the order in which Redis shows them.
const LETTERS: [(char, EventClass); 9] = [
    ('g', EventClass::GENERIC),
    ('$', EventClass::STRING),
    ('l', EventClass::LIST),
    ('s', EventClass::SET),
    ('h', EventClass::HASH),
    ('z', EventClass::SORTED_SET),
    ('x', EventClass::EXPIRED),
    ('e', EventClass::EVICTED),
    ('t', EventClass::STREAM),
];

impl NotifyEvents {
    /// What is published; nothing if there is nowhere to publish it.
    pub fn wanted(&self) -> EventClass {
        if self.to_key || self.to_event { self.classes } else { EventClass::empty() }
    }

    fn all() -> EventClass {
        LETTERS.iter().fold(EventClass::empty(), |all, (_, class)| all.union(*class))
    }
}

impl SettingValue for NotifyEvents {
    fn parse(text: &str, _rule: &Rule) -> Result<Self, ValueError> {
        let mut events = Self::default();
        for letter in text.chars() {
            match letter {
                'A' => (events.classes, events.for_modules) = (events.classes.union(Self::all()), true),
                'K' => events.to_key = true,
                'E' => events.to_event = true,
                'd' => events.for_modules = true,
                'm' => events.classes |= EventClass::KEY_MISS,
                'n' => events.classes |= EventClass::NEW,
                'R' => events.classes |= EventClass::ARRIVED,
                _ => {
                    let known = LETTERS.iter().find(|(known, _)| *known == letter);
                    events.classes |= known.ok_or(ValueError::EventLetter)?.1;
                }
            }
        }
        Ok(events)
    }

    fn show(&self, _rule: &Rule) -> String {
        let mut text = String::new();
        if self.classes.contains(Self::all()) && self.for_modules {
            text.push('A');
        } else {
            text.extend(LETTERS.iter().filter(|(_, class)| self.classes.contains(*class)).map(|(letter, _)| *letter));
            text.extend(self.for_modules.then_some('d'));
        }
        let others = [
            (self.classes.contains(EventClass::NEW), 'n'),
            (self.to_key, 'K'),
            (self.to_event, 'E'),
            (self.classes.contains(EventClass::KEY_MISS), 'm'),
            (self.classes.contains(EventClass::ARRIVED), 'R'),
        ];
        text.extend(others.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| *letter));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_shown_as_redis_shows_them() {
        let cases = [
            ("", ""),
            ("KEA", "AKE"),
            ("KEAm", "AKEm"),
            ("gK", "gK"),
            ("xE", "xE"),
            ("$lshzxetdgKE", "AKE"),
            ("nmd", "dnm"),
            ("Ad", "A"),
            ("RKEA", "AKER"),
        ];
        for (text, shown) in cases {
            let events = NotifyEvents::parse(text, &Rule::Text).unwrap();
            assert_eq!(events.show(&Rule::Text), shown, "{text}");
            assert_eq!(NotifyEvents::parse(shown, &Rule::Text).unwrap(), events, "{text}");
        }
        assert!(matches!(NotifyEvents::parse("KEq", &Rule::Text), Err(ValueError::EventLetter)));
    }

    #[test]
    fn without_a_channel_nothing_is_published() {
        assert_eq!(NotifyEvents::parse("Am", &Rule::Text).unwrap().wanted(), EventClass::empty());
        assert!(NotifyEvents::parse("AE", &Rule::Text).unwrap().wanted().contains(EventClass::STREAM));
    }
}
