//! Which node a verb asks, and with which password.

use crate::client::Client;
use crate::failure::Result;
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

/// The password of nodes that want one.
#[derive(Clone, Debug, Default, Args)]
pub struct Password {
    /// Password of nodes with `requirepass`; better given in the environment
    #[arg(long, env = PASSWORD_VARIABLE, hide_env_values = true, global = true)]
    pub password: Option<String>,
}

impl Target {
    /// Connects to it.
    pub fn connect(&self) -> Result<Client> {
        self.secret.connect(&self.via)
    }
}

impl Password {
    /// Connects to a node with this password.
    pub fn connect(&self, address: &str) -> Result<Client> {
        Client::connect(address, self.password.as_deref())
    }
}

/// The environment variable of the password. It is not one of the node's settings.
pub const PASSWORD_VARIABLE: &str = "PELAGO_PASSWORD";
