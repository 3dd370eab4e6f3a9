//! TLS for clients: which certificate is shown, which of theirs are believed, and that both can change while the node runs.
//!
//! The links between nodes have TLS of their own, in `transport`; the two share no certificate.

use crate::certificates::{Untimely, seconds};
use crate::config::Config;
use crate::limits::TLS_HANDSHAKE_TIME_MAX;
use crate::node::Node;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use transport::CertificateFacts;
use xxhash_rust::xxh3::xxh3_64;

/// Why there is no TLS with these settings. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A setting that TLS needs is empty.
    #[error("tls-port needs the setting {0}")]
    Missing(&'static str),
    /// A file cannot be read, or is not what it should be.
    #[error("cannot read {setting} {}: {reason}", .path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} (tls-cert-file) has expired", .0.display())]
    Expired(PathBuf),
    /// The certificate's time has not come.
    #[error("the certificate in {} (tls-cert-file) is not valid yet; look at its dates and at this machine's clock", .0.display())]
    NotYetValid(PathBuf),
    /// The files do not go together.
    #[error("tls-cert-file and tls-key-file do not go together: {0}")]
    Pair(rustls::Error),
    /// The authorities cannot be used.
    #[error("tls-ca-cert-file cannot be used: {0}")]
    Authorities(String),
    /// The system's side of it.
    #[error("TLS cannot be offered: {0}")]
    Unusable(rustls::Error),
}

/// The TLS of a node's clients.
#[derive(Debug, Default)]
pub struct ClientTls {
    current: ArcSwapOption<ServerConfig>,
    files: Mutex<Files>,
    /// Connections whose handshake is under way.
    handshakes: AtomicU64,
}

/// What is known of the files.
#[derive(Debug, Default)]
struct Files {
    /// A hash of what each held just before it was last used.
    seen: Seen,
    /// The certificate that clients are shown.
    shown: Option<CertificateDer<'static>>,
    /// From when on and until when a certificate is good, in seconds since the Unix epoch, that was seen when it was not.
    good: Option<(i64, i64)>,
}

type Seen = [Option<u64>; 3];

/// What is done about a certificate that no client believes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfUntimely {
    /// It is told and shown all the same.
    Shown,
    /// It is refused, unless it is shown already.
    Refused,
}

impl ClientTls {
    /// Uses what the settings say when the node starts, at this time in milliseconds. A certificate that has expired is told
    /// and keeps no node from starting: there is no other one to show, and who is not on TLS needs none.
    pub fn begin(&self, config: &Config, now_ms: u64) -> Result<(), TlsError> {
        self.take(config, seconds(now_ms), IfUntimely::Shown)
    }

    /// Uses what the settings say from now on. If they cannot be used, nothing changes.
    pub fn apply(&self, config: &Config, now_ms: u64) -> Result<(), TlsError> {
        self.take(config, seconds(now_ms), IfUntimely::Refused)
    }

    fn take(&self, config: &Config, now: i64, if_untimely: IfUntimely) -> Result<(), TlsError> {
        let mut files = self.files.lock();
        files.good = None;
        if config.tls_port == 0 {
            self.current.store(None);
            files.shown = None;
            return Ok(());
        }
        // SUBTLE: before they are used: files that change in between are found to have changed.
        files.seen = contents(config);
        let chain = certificates("tls-cert-file", config, &config.tls_cert_file)?;
        let shown = chain.first().cloned();
        let tls = server_config(config, chain)?;
        // One that is shown already stays whatever its time is: all other settings can still be changed.
        if files.shown != shown
            && let Some((untimely, good)) = shown.as_ref().and_then(|shown| untimely(now, shown))
        {
            let path = config.path(&config.tls_cert_file);
            let error = match untimely {
                Untimely::Expired => TlsError::Expired(path),
                Untimely::NotYetValid => TlsError::NotYetValid(path),
            };
            if if_untimely == IfUntimely::Refused {
                files.good = Some(good);
                return Err(error);
            }
            tracing::error!(%error, "clients are shown a certificate that they do not believe");
        }
        files.shown = shown;
        self.current.store(Some(Arc::new(tls)));
        Ok(())
    }

    /// Reads the files again if what is in them has changed, or the time has come of the certificate in them. A change that
    /// cannot be used is told once and changes nothing.
    fn look(&self, config: &Config, now_ms: u64) {
        if config.tls_port == 0 || !self.files.lock().are_due(config, seconds(now_ms)) {
            return;
        }
        match self.apply(config, now_ms) {
            Ok(()) => tracing::info!("clients are shown the certificate that is in the files now"),
            Err(error) => tracing::error!(%error, "clients go on being shown the certificate that there was before"),
        }
    }

    /// Whether a client can be served over TLS now.
    pub fn is_offered(&self) -> bool {
        self.current.load().is_some()
    }

    /// Takes a client's side of the handshake. At most `most` are under way at once.
    pub async fn accept(&self, stream: TcpStream, most: u64) -> io::Result<TlsStream<TcpStream>> {
        let config = self.current.load_full().ok_or_else(|| io::Error::other("there is no certificate"))?;
        let _under_way = UnderWay::begin(&self.handshakes, most)?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        tokio::time::timeout(TLS_HANDSHAKE_TIME_MAX, handshake).await.map_err(io::Error::other)?
    }
}

impl Files {
    /// Whether they are to be read again.
    fn are_due(&self, config: &Config, now: i64) -> bool {
        self.seen != contents(config) || self.good.is_some_and(|(from, until)| from <= now && now <= until)
    }
}

/// What is wrong with a certificate at this time, and when its time begins and ends. One of which only TLS can make sense is left to
/// the clients.
fn untimely(now: i64, certificate: &CertificateDer<'_>) -> Option<(Untimely, (i64, i64))> {
    let facts = CertificateFacts::read(certificate).ok()?;
    Some((Untimely::at(now, &facts)?, (facts.valid_from, facts.valid_until)))
}

/// A handshake that is counted while it is under way.
struct UnderWay<'h>(&'h AtomicU64);

impl<'h> UnderWay<'h> {
    fn begin(handshakes: &'h AtomicU64, most: u64) -> io::Result<Self> {
        let begun = Self(handshakes);
        if handshakes.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(io::Error::other("as many handshakes as clients may connect are under way"));
        }
        Ok(begun)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks once a second whether the files have changed. Runs for as long as the node does.
pub async fn watch_files(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        ticks.tick().await;
        node.tls.look(&node.config.load(), node.wall_clock());
    }
}

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What rustls needs to show these certificates with these settings.
fn server_config(config: &Config, chain: Vec<CertificateDer<'static>>) -> Result<ServerConfig, TlsError> {
    let path = named("tls-key-file", config, &config.tls_key_file)?;
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| TlsError::File {
        setting: "tls-key-file",
        path,
        reason: error.to_string(),
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&config.tls_protocols))
        .map_err(TlsError::Unusable)?;
    let builder = if config.tls_auth_clients == "no" {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls-ca-cert-file", config, &config.tls_ca_cert_file)? {
            roots.add(certificate).map_err(|error| TlsError::Authorities(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = if config.tls_auth_clients == "optional" { verifier.allow_unauthenticated() } else { verifier };
        builder.with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Authorities(error.to_string()))?)
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
    // A session that is taken up again would skip the look at a client's certificate, and cost memory for each client.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

/// The versions of a list; one that is empty is all that there are.
fn versions(names: &str) -> Vec<&'static SupportedProtocolVersion> {
    let is_named = |name: &str| names.is_empty() || names.split_whitespace().any(|known| known == name);
    let all = [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];
    all.into_iter().filter(|(name, _)| is_named(name)).map(|(_, version)| version).collect()
}

fn certificates(setting: &'static str, config: &Config, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = named(setting, config, path)?;
    let failed = |reason: String| TlsError::File { setting, path: path.clone(), reason };
    let found = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    let found: Vec<CertificateDer<'static>> = found.map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("there is no certificate in it".to_owned())) } else { Ok(found) }
}

fn named(setting: &'static str, config: &Config, path: &Path) -> Result<PathBuf, TlsError> {
    if path.as_os_str().is_empty() { Err(TlsError::Missing(setting)) } else { Ok(config.path(path)) }
}

fn contents(config: &Config) -> Seen {
    [&config.tls_cert_file, &config.tls_key_file, &config.tls_ca_cert_file]
        .map(|path| fs::read(config.path(path)).ok().map(|bytes| xxh3_64(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_certificate_is_shown_within_its_time_only() {
        const IN_2021: u64 = 1_622_505_600_000;
        const IN_2027: u64 = 1_798_761_600_000;
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        // Good from the first day of one year to that of another.
        let write = |from: i32, until: i32| {
            let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
            wanted.not_after = rcgen::date_time_ymd(until, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let made = wanted.self_signed(&key).unwrap();
            fs::write(path("key"), key.serialize_pem()).unwrap();
            fs::write(path("chain"), made.pem()).unwrap();
            Some(made.der().clone())
        };
        let config = Config {
            tls_port: 1,
            tls_cert_file: path("chain"),
            tls_key_file: path("key"),
            tls_auth_clients: "no".to_owned(),
            ..Config::default()
        };
        let tls = ClientTls::default();
        let shown = || tls.files.lock().shown.clone();
        let over = write(2001, 2002);
        assert!(matches!(tls.apply(&config, IN_2021), Err(TlsError::Expired(_))));
        assert_eq!((shown(), tls.is_offered()), (None, false));
        tls.begin(&config, IN_2021).unwrap();
        assert_eq!((shown(), tls.is_offered()), (over, true), "a node that starts has no other one");
        tls.apply(&config, IN_2021).unwrap();
        let good = write(2020, 2040);
        tls.look(&config, IN_2021);
        assert_eq!(shown(), good);
        write(2001, 2002);
        tls.look(&config, IN_2021);
        assert_eq!(shown(), good, "the one before goes on");
        let early = write(2026, 2028);
        tls.look(&config, IN_2021);
        assert_eq!(shown(), good, "the one before goes on");
        tls.look(&config, IN_2021);
        assert_eq!(shown(), good);
        tls.look(&config, IN_2027);
        assert_eq!(shown(), early, "its time has come");
    }
}
