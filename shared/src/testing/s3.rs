//! A real S3 server in the process: `s3s-fs` over a temporary directory and a real TCP port, signatures checked.
//!
//! It knows one pair of keys, has no `ListMultipartUploads`, and makes a bucket for whoever writes to one;
//! [`S3Server::unfinished`] tells what writes left behind.

use crate::{
    BoxError,
    placement::{Credentials, StorageSettings},
    secrets::SecretText,
};
use async_trait::async_trait;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

const ACCESS_KEY: &str = "test-access-key";
const SECRET_KEY: &str = "test-secret-key";

/// What nobody has the right to, by the names that S3 gives its operations.
#[derive(Clone, Default)]
struct Denied(Arc<Mutex<Vec<&'static str>>>);

#[async_trait]
impl S3Access for Denied {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cx.credentials().is_none() || denied.contains(&cx.s3_op().name()) {
            return Err(s3_error!(AccessDenied));
        }
        Ok(())
    }
}

/// A running server. Dropping it ends it and removes its objects.
pub struct S3Server {
    address: SocketAddr,
    directory: PathBuf,
    _owned: Option<TempDir>,
    service: S3Service,
    denied: Denied,
    tls: Option<TlsAcceptor>,
    /// File of the certificate, when it speaks TLS.
    ca: Option<PathBuf>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl S3Server {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port or no temporary directory.
    pub async fn start() -> Result<Self, BoxError> {
        let owned = TempDir::new()?;
        Self::listen(owned.path().to_owned(), Some(owned), None).await
    }

    /// The same, with its objects in a folder of the caller's.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start_in(folder: &std::path::Path) -> Result<Self, BoxError> {
        Self::listen(folder.to_owned(), None, None).await
    }

    /// The same with TLS, by a certificate of its own for 127.0.0.1, which [`S3Server::url`] names.
    ///
    /// # Errors
    /// As [`S3Server::start`], and when no certificate can be made.
    pub async fn start_tls() -> Result<Self, BoxError> {
        let made = rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        let directory = TempDir::new()?;
        std::fs::write(directory.path().join(".ca.pem"), made.cert.pem())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        Self::listen(
            directory.path().to_owned(),
            Some(directory),
            Some(Arc::new(config).into()),
        )
        .await
    }

    async fn listen(directory: PathBuf, owned: Option<TempDir>, tls: Option<TlsAcceptor>) -> Result<Self, BoxError> {
        let mut service = S3ServiceBuilder::new(FileSystem::new(&directory).map_err(|error| format!("{error:?}"))?);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let denied = Denied::default();
        service.set_access(denied.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Self {
            address: listener.local_addr()?,
            ca: tls.is_some().then(|| directory.join(".ca.pem")),
            directory,
            _owned: owned,
            service: service.build(),
            denied,
            tls,
            stop: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        server.accept(listener);
        Ok(server)
    }

    fn accept(&self, listener: TcpListener) {
        let accepting = accept(
            listener,
            self.service.clone(),
            self.tls.clone(),
            self.stop.clone(),
            self.connections.clone(),
        );
        self.connections.spawn(accepting);
    }

    /// Closes its port and cuts every connection, as a crash would; what it stored stays.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
    }

    /// Listens again where it did before [`S3Server::stop`].
    ///
    /// # Errors
    /// When somebody else took the port.
    pub async fn start_again(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.stop = CancellationToken::new();
        self.connections = TaskTracker::new();
        self.accept(listener);
        Ok(())
    }

    /// Takes the right to `operations`, `AbortMultipartUpload` for instance, from its keys; to all others they have it again.
    pub fn deny(&self, operations: &[&'static str]) {
        *self.denied.0.lock().unwrap_or_else(PoisonError::into_inner) = operations.to_vec();
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// An objects URL for a bucket, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn url(&self, bucket: &str) -> Result<Url, BoxError> {
        std::fs::create_dir_all(self.directory.join(bucket))?;
        self.url_at(bucket, self.address)
    }

    /// The same through another address, such as a proxy's.
    ///
    /// # Errors
    /// When the bucket's name does not fit a URL.
    pub fn url_at(&self, bucket: &str, address: SocketAddr) -> Result<Url, BoxError> {
        let mut url = Url::parse(&format!("s3://{bucket}"))?;
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        url.query_pairs_mut()
            .append_pair("endpoint", &format!("{scheme}://{address}"))
            .append_pair("access_key", ACCESS_KEY)
            .append_pair("secret_key", SECRET_KEY);
        if let Some(ca) = &self.ca {
            url.query_pairs_mut().append_pair("ca", &ca.to_string_lossy());
        }
        Ok(url)
    }

    /// The same as a storage's settings; the bucket is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn settings_at(&self, bucket: &str, address: SocketAddr) -> Result<StorageSettings, BoxError> {
        std::fs::create_dir_all(self.directory.join(bucket))?;
        let text = serde_json::json!({ "kind": "s3", "bucket": bucket, "endpoint": format!("http://{address}") });
        Ok(StorageSettings::from_json(&text.to_string())?)
    }

    /// What opens it.
    #[must_use]
    pub fn credentials() -> Credentials {
        Credentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SecretText::new(SECRET_KEY.to_owned()),
        }
    }

    /// Files of uploads and writes that were neither completed nor aborted.
    ///
    /// # Errors
    /// When the server's directory cannot be read.
    pub fn unfinished(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(".upload") || name.starts_with(".tmp.") {
                found.push(name);
            }
        }
        Ok(found)
    }
}

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Server({})", self.address)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    service: S3Service,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors or the like: the next one may do better.
                Err(_) => continue,
            },
            () = stop.cancelled() => return,
        };
        let (service, tls, stop) = (service.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            let served = async {
                match tls {
                    None => serve(stream, service).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, service).await,
                        Err(error) => tracing::debug!(error = %error, "no TLS"),
                    },
                }
            };
            tokio::select! { () = served => {}, () = stop.cancelled() => {} }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    // How a client ends its connection is its own affair.
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
