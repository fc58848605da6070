//! What commands that use a remote have in common: which one is meant, and whether the network may be used.

use clap::Args;

use repro_engine::exchange::{Network, Which};

/// Which remote.
#[derive(Debug, Clone, Default, Args)]
pub struct RemoteArgs {
    /// The remote, as `repro remote list` calls it; the default one when absent.
    #[arg(long, value_name = "NAME")]
    pub remote: Option<String>,
    /// Publish under this scope, which nobody reads who does not name it; for writers who are not trusted, such as pull
    /// requests. Read is what everybody reads, then the scope.
    #[arg(long, value_name = "NAME")]
    pub scope: Option<String>,
}

impl RemoteArgs {
    /// As the engine takes it.
    ///
    /// # Errors
    /// The scope is no name of one.
    pub fn which(&self) -> anyhow::Result<Which> {
        Which::named(self.remote.as_deref(), self.scope.as_deref())
    }
}

/// By the flag `--offline`.
pub fn network(offline: bool) -> Network {
    match offline {
        true => Network::Off,
        false => Network::Used,
    }
}
