//! TLS between the command line and a node: whom it believes, and what it shows.

use crate::failure::{Failure, Result};
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files that TLS needs.
#[derive(Clone, Debug, Default, Args)]
pub struct EncryptionFiles {
    /// Connect over TLS, to the node's tls-port
    #[arg(long, global = true, requires = "cacert")]
    pub tls: bool,
    /// The authority that has signed the node's certificate (PEM)
    #[arg(long, value_name = "FILE", global = true, requires = "tls")]
    pub cacert: Option<PathBuf>,
    /// The certificate to show to a node that wants one (PEM)
    #[arg(long, value_name = "FILE", global = true, requires = "tls")]
    pub cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long = "key", id = "tls-key", value_name = "FILE", global = true, requires = "tls")]
    pub private_key: Option<PathBuf>,
}

/// How to connect over TLS.
#[derive(Clone, Debug)]
pub struct Encryption(Arc<ClientConfig>);

/// A connection, with TLS or without.
#[derive(Debug)]
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With it.
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Encryption {
    /// What the files make of it; nothing without TLS.
    pub fn of(files: &EncryptionFiles) -> Result<Option<Self>> {
        if !files.tls {
            return Ok(None);
        }
        let authorities = files.cacert.as_deref().ok_or_else(|| unusable("--tls needs --cacert"))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities)? {
            roots.add(certificate).map_err(unusable)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?.with_root_certificates(roots);
        let config = match (&files.cert, &files.private_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => {
                let read = PrivateKeyDer::from_pem_file(key);
                let read = read.map_err(|error| unusable(format!("cannot read {}: {error}", key.display())))?;
                builder.with_client_auth_cert(certificates(chain)?, read).map_err(unusable)?
            }
            _ => return Err(unusable("--cert and --key go together")),
        };
        Ok(Some(Self(Arc::new(config))))
    }

    /// Begins TLS with the node at `address`; its certificate must be for that name.
    pub fn begin(&self, socket: TcpStream, address: &str) -> Result<Stream> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(unusable)?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(unusable)?;
        Ok(Stream::Encrypted(Box::new(StreamOwned::new(connection, socket))))
    }
}

impl Stream {
    /// The socket beneath.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Encrypted(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| unusable(format!("cannot read {}: {error}", path.display())))
}

fn unusable(reason: impl std::fmt::Display) -> Failure {
    Failure::Arguments(format!("TLS cannot be used: {reason}"))
}
