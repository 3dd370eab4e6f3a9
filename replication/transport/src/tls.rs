//! TLS 1.3 both ways, and QUIC's settings: what makes a connection of a cluster.
//!
//! ring is passed explicitly as the provider; there is no process-wide default to be surprised by. Sessions are not
//! resumed and nothing travels before the handshake is done: links last for days, and a resumed session would skip the
//! peer's certificate.

use crate::seams::{ConnectionIds, Random, Seams, initial_connection_id};
use crate::{NodeCredentials, TransportSettings, limits};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::client::{Resumption, WebPkiServerVerifier};
use quinn::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use quinn::rustls::{self, RootCertStore, version::TLS13};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    VarInt,
};
use std::{sync::Arc, time::Duration};
use thiserror::Error;

/// Names the protocol in the handshake. Nodes that speak another version refuse each other in TLS.
const PROTOCOL: &[u8] = b"pelago/1";

/// Why the certificates, the key or the timeouts make no transport. The operator acts on it.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No authority to believe.
    #[error("an authority's certificate cannot be used: {0}")]
    Authority(String),
    /// The node's certificate or key.
    #[error("the node's certificate and key cannot be used: {0}")]
    Node(rustls::Error),
    /// A timeout beyond what QUIC can say.
    #[error("an idle timeout of {0:?} is too long")]
    IdleTimeout(Duration),
}

/// The part that a renewed certificate replaces.
pub(crate) struct Configs {
    pub(crate) client: ClientConfig,
    pub(crate) server: ServerConfig,
}

/// What the settings say about connections, kept for renewals.
#[derive(Clone)]
pub(crate) struct ConnectionSettings {
    seams: Seams,
    idle_timeout: IdleTimeout,
    keep_alive: Duration,
    discovers_mtu: bool,
}

impl ConnectionSettings {
    pub(crate) fn new(settings: &TransportSettings, discovers_mtu: bool) -> Result<Self, TlsError> {
        let idle_timeout =
            IdleTimeout::try_from(settings.idle_timeout).map_err(|_| TlsError::IdleTimeout(settings.idle_timeout))?;
        let seams = settings.seams.clone();
        Ok(Self { seams, idle_timeout, keep_alive: settings.keep_alive, discovers_mtu })
    }

    /// Configurations for both roles.
    pub(crate) fn configs(&self, credentials: &NodeCredentials, ids: &Random) -> Result<Configs, TlsError> {
        let transport = Arc::new(self.transport());
        let mut client = ClientConfig::new(Arc::new(self.client_tls(credentials)?));
        let ids = ids.clone();
        client.initial_dst_cid_provider(Arc::new(move || initial_connection_id(&ids)));
        client.transport_config(transport.clone());
        // Address proofs of former connections are not kept, so that dials look the same in every life.
        client.token_store(Arc::new(quinn::NoneTokenStore));

        let token_key =
            ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, b"pelago token key").extract(credentials.key.secret_der());
        let mut server = ServerConfig::new(Arc::new(self.server_tls(credentials)?), Arc::new(token_key));
        server.transport_config(transport);
        server.time_source(self.seams.quic_clock());
        server.max_incoming(limits::HANDSHAKES_MAX);
        server.incoming_buffer_size(64 << 10);
        server.incoming_buffer_size_total((limits::HANDSHAKES_MAX as u64) * (16 << 10));
        let mut tokens = quinn::ValidationTokenConfig::default();
        tokens.sent(0);
        server.validation_token_config(tokens);
        Ok(Configs { client, server })
    }

    fn client_tls(&self, credentials: &NodeCredentials) -> Result<QuicClientConfig, TlsError> {
        let provider = self.seams.crypto_provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(credentials)?, provider.clone())
            .build()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        let mut tls = rustls::ClientConfig::builder_with_details(provider, self.seams.tls_clock())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Node)?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
            .map_err(TlsError::Node)?;
        tls.alpn_protocols = vec![PROTOCOL.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_early_data = false;
        QuicClientConfig::try_from(tls).map_err(|error| TlsError::Node(rustls::Error::General(error.to_string())))
    }

    fn server_tls(&self, credentials: &NodeCredentials) -> Result<QuicServerConfig, TlsError> {
        let provider = self.seams.crypto_provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(credentials)?, provider.clone())
            .build()
            .map_err(|error| TlsError::Authority(error.to_string()))?;
        let mut tls = rustls::ServerConfig::builder_with_details(provider, self.seams.tls_clock())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Node)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
            .map_err(TlsError::Node)?;
        tls.alpn_protocols = vec![PROTOCOL.to_vec()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        QuicServerConfig::try_from(tls).map_err(|error| TlsError::Node(rustls::Error::General(error.to_string())))
    }

    fn transport(&self) -> TransportConfig {
        let all_lanes = u64::from(limits::LANE_WINDOW_BYTES) * u64::from(limits::LANES);
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(limits::LANES))
            .max_idle_timeout(Some(self.idle_timeout))
            .keep_alive_interval(Some(self.keep_alive))
            .initial_rtt(limits::INITIAL_ROUND_TRIP)
            .stream_receive_window(VarInt::from_u32(limits::LANE_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(limits::LANE_WINDOW_BYTES * limits::LANES))
            .send_window(all_lanes)
            .datagram_receive_buffer_size(None);
        let mut acknowledgements = AckFrequencyConfig::default();
        acknowledgements
            .ack_eliciting_threshold(VarInt::from_u32(limits::PACKETS_UNACKNOWLEDGED_MAX))
            .max_ack_delay(Some(limits::ACKNOWLEDGEMENT_DELAY_MAX));
        transport.ack_frequency_config(Some(acknowledgements));
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(limits::DATAGRAM_BYTES_MAX);
        transport.mtu_discovery_config(self.discovers_mtu.then_some(discovery));
        transport
    }
}

/// The endpoint's own settings: its connection ids and the key of its stateless resets.
///
/// SUBTLE: the reset key comes from the node's key. Packets of a former life get a valid reset from the next one, so
/// that peers notice a restart within a round trip and not by their idle timeout.
pub(crate) fn endpoint_config(seams: &Seams, credentials: &NodeCredentials, ids: &Random) -> EndpointConfig {
    let mut text = b"pelago reset key".to_vec();
    text.extend_from_slice(credentials.key.secret_der());
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, digest.as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    let ids = ids.clone();
    config.max_udp_payload_size(limits::DATAGRAM_BYTES_MAX).expect("more than the smallest that QUIC allows");
    config.cid_generator(move || Box::new(ConnectionIds(ids.clone())));
    if seams.seed.is_some() {
        let mut seed = [0; 32];
        seams.random("endpoint").fill(&mut seed);
        config.rng_seed(Some(seed));
    }
    config
}

fn roots(credentials: &NodeCredentials) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in &credentials.authorities {
        roots.add(authority.clone()).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    Ok(Arc::new(roots))
}
