//! `--from FILE`: metrics from a file, where the store has none.

use std::path::PathBuf;

use clap::Args;

use repro_engine::results::given::Given;
use repro_engine::session::Session;

/// Where metrics come from that are not in the store.
#[derive(Debug, Clone, Default, Args)]
pub struct FromArgs {
    /// Read what the store does not have from this file, which `repro metrics --parquet` wrote. So a
    /// clone shows results without running anything. The file is compared with repro.lock.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

impl FromArgs {
    /// The file as the engine reads it.
    ///
    /// # Errors
    /// It cannot be read, or is of another study.
    pub fn read(&self, session: &Session) -> anyhow::Result<Option<Given>> {
        let read = |path: &PathBuf| Given::read(session, path);
        self.from.as_ref().map(read).transpose()
    }

    /// The same, and says on standard error how it fits.
    ///
    /// # Errors
    /// As for [`FromArgs::read`].
    pub fn read_and_tell(&self, session: &Session) -> anyhow::Result<Option<Given>> {
        let given = self.read(session)?;
        for remark in given.iter().flat_map(Given::remarks) {
            crate::say!("{remark}");
        }
        Ok(given)
    }
}
