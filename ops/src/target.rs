//! Which node a verb asks, as whom, and how the way there is kept from others.

use crate::client::Client;
use crate::encryption::{Encryption, EncryptionFiles};
use crate::failure::Result;
use crate::wire::Wire;
use clap::Args;

/// The node to ask.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// RESP address of a live node of the cluster
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379", global = true)]
    pub via: String,
    #[command(flatten)]
    pub secret: Password,
}

/// Who asks, of nodes that want to know, and TLS.
#[derive(Clone, Debug, Default, Args)]
pub struct Password {
    /// The user to be; by default the one named default
    #[arg(long, env = USER_VARIABLE, global = true)]
    pub user: Option<String>,
    /// Password of the user, or of nodes with `requirepass`; better given in the environment
    #[arg(long, env = PASSWORD_VARIABLE, hide_env_values = true, global = true)]
    pub password: Option<String>,
    #[command(flatten)]
    pub tls: EncryptionFiles,
}

impl Target {
    /// Connects to it.
    pub fn connect(&self) -> Result<Client> {
        self.secret.connect(&self.via)
    }

    /// Connects to it, for requests of any bytes.
    pub fn wire(&self) -> Result<Wire> {
        self.secret.wire(&self.via)
    }
}

impl Password {
    /// Connects to a node as this user.
    pub fn connect(&self, address: &str) -> Result<Client> {
        Client::over(self.wire(address)?)
    }

    /// The same, for requests of any bytes.
    pub fn wire(&self, address: &str) -> Result<Wire> {
        let encryption = Encryption::of(&self.tls)?;
        Wire::connect_over(address, self.user.as_deref(), self.password.as_deref(), encryption.as_ref())
    }
}

/// The environment variable of the password. It is not one of the node's settings.
pub const PASSWORD_VARIABLE: &str = "PELAGO_PASSWORD";
/// That of the user. `PELAGO_USER` is the setting with the node's users.
pub const USER_VARIABLE: &str = "PELAGO_USERNAME";
