//! A TCP proxy that can be broken: what happens between a client and its server, without root and without luck.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Bytes go through.
    Open,
    /// Connections stand and nothing goes through, as behind a cable that was pulled.
    Silent,
    /// Who connects is hung up on, as at a server that is gone.
    Down,
    /// Every HTTP request is answered 503, as by a gateway whose server is busy.
    Busy,
    /// Every connection is cut once this many bytes have gone to the server on it.
    Short(usize),
}

/// Where the line stands, and how often it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    line: Line,
    cuts: u64,
}

/// A line to one server. Dropping it cuts it for good.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl Proxy {
    /// A line to the server that `url` names, and the same URL by way of it.
    ///
    /// # Panics
    /// When the URL has no host and port, or no port is free.
    pub async fn to(url: &Url) -> (Self, Url) {
        let host = url.host_str().expect("a host").to_owned();
        let port = url.port().expect("a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, watched) = watch::channel(State {
            line: Line::Open,
            cuts: 0,
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, (host, port), watched, stop.clone(), tasks.clone()));
        let mut through = url.clone();
        through.set_host(Some("127.0.0.1")).expect("a URL with a host");
        through.set_port(Some(address.port())).expect("a URL with a port");
        (Self { address, state, stop }, through)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn set(&self, line: Line, cut: bool) {
        self.state.send_modify(|state| {
            state.line = line;
            state.cuts += u64::from(cut);
        });
    }

    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        self.set(Line::Open, true);
    }

    /// Ends every connection and takes none, until [`Proxy::mend`].
    pub fn down(&self) {
        self.set(Line::Down, true);
    }

    /// Lets nothing through any more, without a word to either side, until [`Proxy::mend`].
    pub fn silence(&self) {
        self.set(Line::Silent, false);
    }

    /// Answers every HTTP request with 503, until [`Proxy::mend`].
    pub fn busy(&self) {
        self.set(Line::Busy, true);
    }

    /// Cuts every connection once `bytes` have gone to the server on it, until [`Proxy::mend`].
    pub fn cut_after(&self, bytes: usize) {
        self.set(Line::Short(bytes), true);
    }

    /// Lets bytes through again, those that were held back too.
    pub fn mend(&self) {
        self.set(Line::Open, false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((client, _)) = client else { continue };
        let line = state.borrow().line;
        match line {
            Line::Down => continue,
            Line::Busy => {
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! { () = answer_busy(client) => {}, () = stop.cancelled() => {} }
                });
                continue;
            }
            Line::Open | Line::Silent | Line::Short(_) => {}
        }
        let (server, state, stop) = (server.clone(), state.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! { () = carry(client, server, state) => {}, () = stop.cancelled() => {} }
        });
    }
}

/// Reads a request's head, answers it, and hangs up when its sender does.
async fn answer_busy(mut client: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (mut head, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    if client.write_all(ANSWER).await.is_err() || client.shutdown().await.is_err() {
        return;
    }
    // What is still sent is read: closed before, the answer might be lost.
    while let Ok(1..) = client.read(&mut buffer).await {}
}

/// Carries bytes both ways until an end of the line is gone or it is cut.
async fn carry(client: TcpStream, server: (String, u16), mut state: watch::Receiver<State>) {
    let cuts = state.borrow().cuts;
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, down) = (state.clone(), state.clone());
    let most = match state.borrow().line {
        Line::Short(bytes) => bytes,
        Line::Open | Line::Silent | Line::Down | Line::Busy => usize::MAX,
    };
    tokio::select! {
        () = forward(from_client, to_server, up, most) => {}
        () = forward(from_server, to_client, down, usize::MAX) => {}
        // An error says that the proxy is gone.
        _ = state.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    most: usize,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = most;
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read.min(left),
        };
        left -= read;
        let flows = |state: &State| matches!(state.line, Line::Open | Line::Short(_));
        if read == 0 || state.wait_for(flows).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
