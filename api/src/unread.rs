//! Requests that are answered before their bodies were read.

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};
use http_body::{Frame, SizeHint};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// A rest that is no longer, and here by then, is skipped.
const SHORT: u64 = 64 * 1024;
const SOON: Duration = Duration::from_millis(500);

/// Tells a client whose body is left unread that its connection ends with the answer: a long body is skipped by nothing else in
/// HTTP/1.1, and whoever does not know sends the next request into a connection that is closed.
pub(crate) async fn end_connection(request: Request, next: Next) -> Response {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    // A client that asks first has sent nothing yet, and would by being read from.
    let has_asked = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(Rest { body, is_over: false })));
    let request = Request::from_parts(parts, Body::new(shared.clone()));
    let mut response = next.run(request).await;
    if !shared.is_over() && (has_asked || !shared.skip().await) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// A body that is there yet when whoever was to read it is not.
#[derive(Clone)]
struct Shared(Arc<Mutex<Rest>>);

struct Rest {
    body: Body,
    /// It was read to its end, which one of no length does not tell.
    is_over: bool,
}

impl Shared {
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        let rest = self.rest();
        rest.is_over || rest.body.is_end_stream()
    }

    /// Skips a short rest. Returns whether the body is at its end.
    async fn skip(mut self) -> bool {
        if self.size_hint().lower() > SHORT {
            return false;
        }
        let skipped = async {
            let mut left = SHORT;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                let Ok(frame) = frame else { return false };
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match left.checked_sub(length) {
                    Some(less) => left = less,
                    None => return false,
                }
            }
            true
        };
        tokio::time::timeout(SOON, skipped).await.unwrap_or(false)
    }
}

impl HttpBody for Shared {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut rest = self.rest();
        let polled = Pin::new(&mut rest.body).poll_frame(cx);
        rest.is_over |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest().body.size_hint()
    }
}
