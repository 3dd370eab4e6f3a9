//! How much may wait for a client that does not read, by its class: Redis' `client-output-buffer-limit`.

use super::value::{Rule, SettingValue, ValueError, parse_bytes};
use std::str::FromStr;
use std::time::Duration;

/// What a client is, as far as the bytes that wait for it are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// It asks and is answered.
    Normal,
    /// It follows the data, as a replica of Redis does.
    Replica,
    /// It has subscribed to channels.
    PubSub,
}

impl ClientClass {
    /// All classes, in the order of `CONFIG GET`.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Replica, Self::PubSub];

    /// The name in `CONFIG GET`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Replica => "slave",
            Self::PubSub => "pubsub",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("replica") {
            return Some(Self::Replica);
        }
        Self::ALL.into_iter().find(|class| class.name().eq_ignore_ascii_case(text))
    }
}

/// How much may wait for clients of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// With more bytes than this the connection is closed at once; 0 is no limit.
    pub hard_bytes: u64,
    /// With more bytes than this for longer than `soft_time` the connection is closed; 0 is no limit.
    pub soft_bytes: u64,
    /// How long that is.
    pub soft_time: Duration,
}

/// The limits of all classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits([OutputLimit; 3]);

impl OutputLimits {
    /// The limits of a class.
    #[inline]
    pub const fn of(&self, class: ClientClass) -> OutputLimit {
        self.0[class as usize]
    }
}

impl SettingValue for OutputLimits {
    fn parse(text: &str, rule: &Rule) -> Result<Self, ValueError> {
        Self::default().parse_over(text, rule)
    }

    /// Classes that are not named keep their limits.
    fn parse_over(&self, text: &str, _rule: &Rule) -> Result<Self, ValueError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (classes, rest) = words.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(ValueError::BufferLimits("Wrong number of arguments in buffer limit configuration."));
        }
        let mut limits = *self;
        for [class, hard, soft, seconds] in classes {
            let class = ClientClass::parse(class)
                .ok_or(ValueError::BufferLimits("Invalid client class specified in buffer limit configuration."))?;
            let number =
                ValueError::BufferLimits("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
            limits.0[class as usize] = OutputLimit {
                hard_bytes: parse_bytes(hard).map_err(|_| number.clone())?,
                soft_bytes: parse_bytes(soft).map_err(|_| number.clone())?,
                soft_time: Duration::from_secs(u32::from_str(seconds).map_err(|_| number)?.into()),
            };
        }
        Ok(limits)
    }

    fn show(&self, _rule: &Rule) -> String {
        let class = |class: ClientClass| {
            let OutputLimit { hard_bytes, soft_bytes, soft_time } = self.of(class);
            format!("{} {hard_bytes} {soft_bytes} {}", class.name(), soft_time.as_secs())
        };
        ClientClass::ALL.map(class).join(" ")
    }
}
