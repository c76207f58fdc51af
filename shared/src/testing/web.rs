//! A web server that says what a test wants, bad manners included, and knows what it was asked.

use bytes::Bytes;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Status, headers, body; its length is told.
    Whole(u16, Vec<(&'static str, String)>, Bytes),
    /// These bytes as they are, head and all; then the connection ends.
    Raw(Bytes),
    /// The same, and then nothing for as long as the client stays.
    Held(Bytes),
    /// 200, these bytes, and zeros for as long as the client reads.
    Endless(Bytes),
}

impl Reply {
    /// 200 and a body.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::Whole(200, Vec::new(), body.into())
    }

    /// A status without a body.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Bytes::new())
    }

    /// A redirect.
    #[must_use]
    pub fn to(location: impl Into<String>) -> Self {
        Self::Whole(302, vec![("location", location.into())], Bytes::new())
    }
}

type Answer = dyn Fn(&str) -> Reply + Send + Sync;

/// The server, on a port of its own on every IPv4 address of this machine. Dropping it hangs up on everybody.
pub struct Web {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    /// Of its certificate, which is its own authority.
    certificate: Option<CertificateDer<'static>>,
}

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl Web {
    /// Answers a request for a path (with its query) by what `answer` says.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Arc::new(answer), None, None).await
    }

    /// The same over TLS, with a certificate for `name`.
    ///
    /// # Panics
    /// When no certificate can be made, or no port is free.
    pub async fn start_tls(name: &str, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let certificate = made.cert.der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a certificate that fits its key");
        Self::listen(Arc::new(answer), Some(Arc::new(config).into()), Some(certificate)).await
    }

    async fn listen(
        answer: Arc<Answer>,
        tls: Option<TlsAcceptor>,
        certificate: Option<CertificateDer<'static>>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, stop, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(
            listener,
            answer,
            Arc::clone(&asked),
            tls,
            stop.clone(),
            tasks.clone(),
        ));
        Self {
            port,
            asked,
            stop,
            certificate,
        }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, over TLS.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// A URL of it, at `host`.
    #[must_use]
    pub fn at(&self, host: &str, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}{path}", self.port)
    }

    /// A URL of it at 127.0.0.1.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.at("127.0.0.1", path)
    }

    /// The heads of the requests that came, in their order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    answer: Arc<Answer>,
    asked: Arc<Mutex<Vec<String>>>,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted: std::io::Result<(_, SocketAddr)> = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (answer, asked, tls, stop) = (Arc::clone(&answer), Arc::clone(&asked), tls.clone(), stop.clone());
        tasks.spawn(async move {
            let served = async {
                match tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &*answer, &asked).await,
                        Err(error) => Err(error),
                    },
                    None => serve(stream, &*answer, &asked).await,
                }
            };
            // A client that hangs up is what some tests are about.
            tokio::select! { () = stop.cancelled() => {}, _ = served => {} }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &Answer,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    match answer(&path) {
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.extend([name, ": ", value.as_str(), "\r\n"]);
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Held(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            while stream.read(&mut [0; 64]).await? > 0 {}
        }
        Reply::Endless(bytes) => {
            stream
                .write_all(b"HTTP/1.1 200 Said\r\nconnection: close\r\n\r\n")
                .await?;
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(&[0; 4096]).await?;
            }
        }
    }
    stream.shutdown().await
}
