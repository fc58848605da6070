//! What commands that use a remote have in common: which remote, and whether the network may be
//! used.

use clap::Args;

use repro_engine::exchange::{Network, Which};

/// Which remote.
#[derive(Debug, Clone, Default, Args)]
pub struct RemoteArgs {
    /// The remote, by its name in `repro remote list`; by default the default remote.
    #[arg(long, value_name = "NAME")]
    pub remote: Option<String>,
    /// Publish under this scope, which only those read who name it. It is for writers who are not
    /// trusted, such as pull requests. What everybody reads is read first, then the scope.
    #[arg(long, value_name = "NAME")]
    pub scope: Option<String>,
}

impl RemoteArgs {
    /// The same as the engine's type.
    ///
    /// # Errors
    /// The text is not a valid name of a scope.
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
