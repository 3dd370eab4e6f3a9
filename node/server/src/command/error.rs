//! What a command refuses, in the words of Redis 7.0.

use keyspace::WrongKind;
use thiserror::Error;

/// Why a command was refused. Its text is the whole error reply, code included.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The arguments make no sense together.
    #[error("ERR syntax error")]
    Syntax,
    /// An integer was expected.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// A number was expected.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// A field of a hash does not hold an integer.
    #[error("ERR hash value is not an integer")]
    HashValueNotAnInteger,
    /// A field of a hash does not hold a number.
    #[error("ERR hash value is not a float")]
    HashValueNotAFloat,
    /// A number beyond its range: `ERR` and this text.
    #[error("ERR {0}")]
    OutOfRange(&'static str),
    /// A script came upon a key that is being moved. Where nothing is written yet, its command is given again.
    #[error("TRYAGAIN a key that the script does not declare is being moved")]
    KeyIsMoved,
    /// The key must exist.
    #[error("ERR no such key")]
    NoSuchKey,
    /// The counter would leave 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{name}' command")]
    WrongArity {
        /// The command, with its subcommand as in `config|get`.
        name: String,
    },
    /// The whole reply, fixed.
    #[error("{0}")]
    Plain(&'static str),
    /// The whole reply, with something of the request in it.
    #[error("{0}")]
    Detailed(String),
}

impl CommandError {
    /// The refusal of a call with too few or too many arguments.
    pub fn wrong_arity(name: &str) -> Self {
        Self::WrongArity { name: name.to_owned() }
    }

    /// The refusal of a command that needs a setting which nobody can make here, in the words that clients' tests look for.
    /// `name` is its full name.
    pub fn protected(name: &str) -> Self {
        let container = name.split('|').next().unwrap_or_default();
        Self::Detailed(format!(
            "ERR {} command not allowed. If the enable-{container}-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
            container.to_ascii_uppercase()
        ))
    }

    /// The refusal of a subcommand with more arguments than it knows of. `args` is the whole request.
    pub fn unknown_form(args: &[&[u8]]) -> Self {
        let container = String::from_utf8_lossy(args[0]).to_ascii_uppercase();
        let name = String::from_utf8_lossy(args.get(1).copied().unwrap_or_default());
        Self::Detailed(format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
        ))
    }
}

impl From<WrongKind> for CommandError {
    fn from(_: WrongKind) -> Self {
        Self::WrongType
    }
}
