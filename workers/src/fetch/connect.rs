//! A connection to one of the addresses that were judged, and no other.

use super::FetchError;
use mediamill_shared::{
    BoxError,
    fetch::{Rules, SourceUrl, UrlRefused},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::OnceCell,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

/// For a name's addresses.
const RESOLVE: Duration = Duration::from_secs(10);
/// For a connection to one address, and for TLS over it.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const MOST_TRIED: usize = 4;

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Who is believed to be who it says.
#[derive(Debug)]
pub(super) struct Trust {
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// Whom the system trusts; read when the first server has to be verified.
    pub(super) const fn system() -> Self {
        Self {
            config: OnceCell::const_new(),
        }
    }

    /// These alone.
    #[cfg(test)]
    pub(super) fn only(roots: RootCertStore) -> Self {
        Self {
            config: OnceCell::new_with(client(roots).ok()),
        }
    }

    async fn client(&self) -> Result<Arc<ClientConfig>, FetchError> {
        let read = || async {
            let roots = tokio::task::spawn_blocking(system_roots).await;
            client(roots.map_err(|error| FetchError::Http(Box::new(error)))?)
        };
        self.config.get_or_try_init(read).await.cloned()
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a certificate store of this system cannot be read"
        );
    }
    // Some that systems have are too old to be understood.
    roots.add_parsable_certificates(found.certs);
    roots
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, FetchError> {
    if roots.is_empty() {
        return Err(FetchError::NoRoots);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| FetchError::Http(Box::new(error)))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Servers of different tenants' URLs cannot tell from a session that the same process asks.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to the URL's host: resolved here and once, every address judged, and verified where the URL says https.
pub(super) async fn connect(rules: &Rules, trust: &Trust, url: &SourceUrl) -> Result<Box<dyn Wire>, FetchError> {
    let addresses = resolve(url).await?;
    // All of them: a name that has one address too many is not what it seems to be.
    if !addresses.iter().all(|address| rules.reaches(address.ip())) {
        return Err(FetchError::Refused(UrlRefused::Address));
    }
    let stream = open(url, &addresses).await?;
    if url.is_secure() {
        secure(trust, url, stream).await
    } else {
        Ok(Box::new(stream))
    }
}

async fn resolve(url: &SourceUrl) -> Result<Vec<SocketAddr>, FetchError> {
    if let Some(address) = url.address() {
        return Ok(vec![SocketAddr::new(address, url.port())]);
    }
    let failed = |source: BoxError| FetchError::Unresolved {
        host: url.host().to_owned(),
        source,
    };
    let found = tokio::time::timeout(RESOLVE, lookup_host((url.host(), url.port()))).await;
    let found = found.map_err(|late| failed(late.into()))?;
    let found: Vec<SocketAddr> = found.map_err(|error| failed(error.into()))?.collect();
    if found.is_empty() {
        return Err(failed("it has no address".into()));
    }
    Ok(found)
}

async fn open(url: &SourceUrl, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
    let mut last: BoxError = "it has no address".into();
    for address in addresses.iter().take(MOST_TRIED) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error.into(),
            Err(late) => last = late.into(),
        }
    }
    Err(FetchError::Unconnected {
        host: url.host().to_owned(),
        source: last,
    })
}

async fn secure(trust: &Trust, url: &SourceUrl, stream: TcpStream) -> Result<Box<dyn Wire>, FetchError> {
    let host = || url.host().to_owned();
    let name = ServerName::try_from(host()).map_err(|error| FetchError::Untrusted {
        host: host(),
        source: error.into(),
    })?;
    let connector = TlsConnector::from(trust.client().await?);
    match tokio::time::timeout(CONNECT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) if is_untrusted(&error) => Err(FetchError::Untrusted {
            host: host(),
            source: error.into(),
        }),
        Ok(Err(error)) => Err(FetchError::Unconnected {
            host: host(),
            source: error.into(),
        }),
        Err(late) => Err(FetchError::Unconnected {
            host: host(),
            source: late.into(),
        }),
    }
}

fn is_untrusted(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
