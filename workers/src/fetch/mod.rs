//! Fetches what a tenant's URL gives, as a stream, and reaches nothing that it should not.
//!
//! For each place on the way (the URL, and where redirects lead) the host is resolved once, by us; every address that it has
//! must be one that [`Rules`] let through; and the connection goes to one of those very addresses, so that a name that resolves
//! differently a moment later leads nowhere. TLS is verified against the name. There are no proxies, no cookies, no
//! credentials, no decompression, no connection that is used twice, and no redirect that is not judged like the URL itself.
//!
//! A server may be slow, endless or hostile: headers are bounded, so is every wait, and the caller bounds the body and the whole.

mod connect;
mod error;
#[cfg(test)]
mod tests;

pub(crate) use error::FetchError;

use bytes::Bytes;
use connect::Trust;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use mediamill_shared::{
    config::Config,
    fetch::{Rules, SourceUrl},
    jobs::FetchMedia,
    units::ByteCount,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Redirects that are followed at most.
const MOST_REDIRECTS: usize = 5;
/// Headers of an answer at most.
const MOST_HEADERS: usize = 100;
/// Bytes of an answer's headers at most, and of what is read ahead of its body.
const BUFFER: usize = 64 * 1024;
/// From a request to the headers of its answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest pause within an answer's body.
const PAUSE: Duration = Duration::from_secs(15);

/// What tells whoever is asked who asks.
const USER_AGENT: &str = concat!("mediamill/", env!("CARGO_PKG_VERSION"));

/// Fetches by an installation's rules. Cloning shares what is read of the system once.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    rules: Rules,
    trust: Arc<Trust>,
    /// Longest fetch, for the caller to hold it to.
    pub(crate) deadline: Duration,
}

/// What a URL gives, its headers read.
pub(crate) struct Answer {
    body: Incoming,
    /// The connection, driven as long as the body is read.
    connection: JoinSet<()>,
}

impl Fetcher {
    /// By the configuration, trusting whom the system trusts.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            rules: Rules::from_config(config),
            trust: Arc::new(Trust::system()),
            deadline: config.fetch_timeout.min(FetchMedia::LONGEST_FETCH),
        }
    }

    /// Asks for what `url` gives, over at most [`MOST_REDIRECTS`] redirects. An answer that says it has more bytes than `limit` is
    /// not read. Dropping it ends the connection.
    pub(crate) async fn get(&self, url: &SourceUrl, limit: ByteCount) -> Result<Answer, FetchError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut connection = JoinSet::new();
            let response = self.ask(&url, &mut connection).await?;
            match redirect(&response)? {
                Some(location) => url = url.join(location).map_err(FetchError::Refused)?,
                None => return answer(response, connection, limit),
            }
        }
        Err(FetchError::Redirects)
    }

    /// One request over a connection of its own.
    async fn ask(&self, url: &SourceUrl, connection: &mut JoinSet<()>) -> Result<Response<Incoming>, FetchError> {
        self.rules.admit(url).map_err(FetchError::Refused)?;
        let stream = connect::connect(&self.rules, &self.trust, url).await?;
        let failed = |error: hyper::Error| FetchError::Http(Box::new(error));
        let (mut sender, driver) = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        connection.spawn(async move {
            // What goes wrong is told to whoever reads the answer.
            let _ = driver.await;
        });
        let asked = tokio::time::timeout(ANSWER, sender.send_request(request(url)?)).await;
        asked.map_err(|_| FetchError::Silent)?.map_err(failed)
    }
}

fn request(url: &SourceUrl) -> Result<Request<Empty<Bytes>>, FetchError> {
    Request::get(url.target())
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "image/*, */*;q=0.1")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| FetchError::Http(Box::new(error)))
}

/// Where an answer leads, if it leads elsewhere.
fn redirect(response: &Response<Incoming>) -> Result<Option<&str>, FetchError> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location = response.headers().get(header::LOCATION).map(HeaderValue::to_str);
            match location {
                Some(Ok(location)) => Ok(Some(location)),
                Some(Err(_)) | None => Err(FetchError::Nowhere),
            }
        }
        _ => Ok(None),
    }
}

/// An answer with a body that may be a picture, or why it is none.
fn answer(response: Response<Incoming>, connection: JoinSet<()>, limit: ByteCount) -> Result<Answer, FetchError> {
    let status = response.status();
    if status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
    {
        return Err(FetchError::Unwilling(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::NotFound(status.as_u16()));
    }
    if is_encoded(response.headers()) {
        return Err(FetchError::Encoded);
    }
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit.unsigned()) {
        return Err(FetchError::TooLarge(limit));
    }
    Ok(Answer {
        body: response.into_body(),
        connection,
    })
}

/// Whether the body is coded although it was asked for as it is: what it would be decoded to has no known end.
fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings
        .into_iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl Answer {
    /// The next bytes. `None`: that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = tokio::time::timeout(PAUSE, self.body.frame()).await;
            match frame.map_err(|_| FetchError::Silent)? {
                None => return Ok(None),
                Some(Err(error)) => return Err(FetchError::Http(Box::new(error))),
                // Trailers are nobody's business.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The first bytes, about `enough` of them, or all there are.
    pub(crate) async fn head(&mut self, enough: usize) -> Result<Bytes, FetchError> {
        let mut head = bytes::BytesMut::new();
        while head.len() < enough {
            match self.next().await? {
                Some(bytes) => head.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(head.freeze())
    }

    /// What has not been read yet.
    pub(crate) fn rest(self) -> impl Stream<Item = Result<Bytes, FetchError>> + Send {
        stream::try_unfold(self, |mut answer| async move {
            let next = answer.next().await?;
            if next.is_none() {
                answer.connection.shutdown().await;
            }
            Ok(next.map(|bytes| (bytes, answer)))
        })
    }
}
