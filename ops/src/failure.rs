//! Why a verb failed: one plain sentence for standard error that says what to do.

use server::config::ConfigError;
use server::launch::{LaunchError, StopError};
use server::peers::StartError;
use server::setup::SetupError;
use std::io;
use std::path::PathBuf;

/// Outcome of what a verb does.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers.
    #[error("no node answers at {address}: {error}; is it running, and is that its RESP address?")]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The connection ended or was silent for too long.
    #[error("the connection to {address} was lost: {error}")]
    Broken {
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// Something else listens there.
    #[error("what answers at {address} does not speak the Redis protocol; give a node's RESP address")]
    Protocol {
        /// Where.
        address: String,
    },
    /// An error reply.
    #[error("{address} says: {text}")]
    Refused {
        /// Where.
        address: String,
        /// The reply, without its code where that says nothing.
        text: String,
    },
    /// A password is wanted.
    #[error("the node at {address} wants a password; give it with PELAGO_PASSWORD in the environment or --password")]
    Password {
        /// Where.
        address: String,
    },
    /// A reply that this version does not understand.
    #[error("the answer of {address} to {question} is not understood; is that a node of Pelago of this version?")]
    Answer {
        /// Where.
        address: String,
        /// The command.
        question: String,
    },
    /// What was typed does not fit; a whole sentence.
    #[error("{0}")]
    Arguments(String),
    /// Directories.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// Settings.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A node that does not start.
    #[error("{0}")]
    Launch(#[from] LaunchError),
    /// A node that stopped by itself.
    #[error("{0}")]
    Stop(#[from] StopError),
    /// What is in a backup.
    #[error("{0}")]
    Backup(#[from] server::persistence::backup::BackupError),
    /// What a node keeps on disk.
    #[error("{0}")]
    Check(#[from] server::persistence::CheckError),
    /// The authority.
    #[error("{0}")]
    Authority(#[from] transport::AuthorityError),
    /// Certificates.
    #[error("{0}")]
    Credentials(#[from] transport::CredentialsError),
    /// What a certificate says.
    #[error("{0}")]
    Certificate(#[from] transport::IdentityError),
    /// The file system refused.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {doing}: {error}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl Failure {
    /// An error reply, with its code where that says something.
    pub fn refused(address: &str, reply: &str) -> Self {
        let address = address.to_owned();
        if reply.starts_with("NOAUTH") {
            return Self::Password { address };
        }
        // The code of an ordinary error says nothing to people.
        Self::Refused { address, text: reply.strip_prefix("ERR ").unwrap_or(reply).to_owned() }
    }

    /// The process's exit status. A node that cannot run in its directory, however often it is started, is told apart
    /// from one that should be started again.
    pub fn status(&self) -> u8 {
        let never = matches!(
            self,
            Self::Launch(LaunchError::Peers(StartError::Removed | StartError::NotAdmitted | StartError::OtherNode(_)))
        );
        if never { CANNOT_RUN_HERE } else { 1 }
    }

    /// Whether an order may have been carried out although no answer came.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Protocol { .. } | Self::Answer { .. })
    }
}

/// What the headers of C call `EX_CONFIG`.
const CANNOT_RUN_HERE: u8 = 78;
