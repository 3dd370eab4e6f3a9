//! What is answered, as words: the Redis protocol's version 2. How answers are found in what arrives is `wire`'s business.

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A status or a text.
    Text(Vec<u8>),
    /// An error with its code.
    Error(String),
    /// A number.
    Integer(i64),
    /// Nothing.
    Null,
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// The text of a reply that is one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Self::Error(_) | Self::Integer(_) | Self::Null | Self::List(_) => None,
        }
    }
}

/// What ends every line and every text.
pub const END: &[u8] = b"\r\n";
