//! The node's own certificate: a renewed one is used from the next link on.

use super::Peers;
use transport::CertificateFacts;

impl Peers {
    /// Uses what is in the files of the certificate, if they have changed. Links that stand are not touched.
    pub(super) fn look_at_certificates(&mut self) {
        let Some(found) = self.certificates.as_mut().and_then(|files| files.look()) else { return };
        let renewed = found.map_err(|error| error.to_string()).and_then(|credentials| {
            let facts = credentials.facts().map_err(|error| error.to_string())?;
            self.transport.renew(&credentials).map_err(|error| error.to_string())?;
            Ok(facts)
        });
        match renewed {
            Ok(facts) => {
                tracing::info!(valid_until = facts.valid_until, "the renewed certificate is used from now on");
                self.note_certificate(&facts);
            }
            Err(error) => {
                tracing::error!(%error, "the certificate's files have changed and cannot be used: the old one stays");
            }
        }
    }

    /// Shows until when the certificate is good.
    pub(super) fn note_certificate(&self, facts: &CertificateFacts) {
        let until = &self.node.console.metrics.replication.certificate_valid_until_seconds;
        until.set(facts.valid_until);
    }
}
