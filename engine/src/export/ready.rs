//! Making a selection ready: its bytes are here, and results of one's own are signed.

use super::Selection;
use crate::exchange::{Network, bring};
use crate::notice::Tell;
use crate::trust::{self, Facts, Signer};

impl Selection<'_> {
    /// Gets what was pulled and is on the remote only.
    ///
    /// # Errors
    /// A result is not to be had; the store cannot be read or written.
    pub fn bring(&self, network: Network, tell: Tell) -> anyhow::Result<()> {
        let failed = bring(self.session, self.contents(), network, tell)?;
        for piece in &self.pieces {
            if let Some(why) = piece.record.outputs.values().find_map(|c| failed.get(c)) {
                let id = &self.instance(piece).id;
                anyhow::bail!(
                    "the result of `{id}` is on the remote only ({why}); `repro pull '{id}'` gets it"
                );
            }
        }
        Ok(())
    }

    /// Adds a signature to the results that were made here and do not have it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn sign(&mut self, signer: &Signer) -> anyhow::Result<()> {
        let store = &self.session.store;
        for piece in &mut self.pieces {
            let mut envelopes = piece.envelopes.iter();
            let is_signed = envelopes.any(|e| trust::claimed_signer(e) == Some(signer.id()));
            if is_signed || !trust::is_own(&piece.record) {
                continue;
            }
            let record = &piece.record;
            let envelope = signer.sign(record, &Facts::of(record));
            let id = signer.id().to_string();
            store.keep_envelope(&record.key, &record.result(), &id, &envelope)?;
            piece.envelopes.push(envelope);
        }
        Ok(())
    }
}
