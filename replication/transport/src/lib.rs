//! Carries opaque frames between nodes: QUIC with mutual TLS 1.3, one stream a lane, bounded queues both ways.
//!
//! It knows who is at the other end (an identity proven by a certificate of the same cluster), keeps dialing those it
//! was told to dial, and leaves exactly one link between any two nodes. It is *not* for deciding what to say: what
//! frames mean, heartbeats and the answer to a link that has gone silent belong to `protocol` and its driver.

mod authority;
mod backoff;
mod credentials;
mod delay;
mod dialer;
mod event;
mod frame;
mod identity;
mod lane_queue;
pub mod limits;
mod link;
mod links;
mod pairing;
mod quic;
mod reason;
mod seams;
mod settings;
mod tls;

pub use authority::{Authority, AuthorityError, CertificateRequest, Validity};
pub use backoff::Backoff;
pub use credentials::{CredentialsError, NodeCredentials};
pub use delay::Delay;
pub use event::{LinkId, TransportEvent, TransportEvents};
pub use identity::{
    CertificateFacts, IdentityError, cluster_of, identity_of_key, parse_cluster, parse_identity, server_name,
};
pub use protocol::{ClusterId, Lane, NodeIdentity};
pub use quic::{LinkStats, SendError, Transport, TransportError};
pub use seams::{Random, Seams, WallClock};
pub use settings::{Admission, Bind, NotAdmitted, Resolve, Resolving, TransportSettings};
pub use tls::TlsError;
