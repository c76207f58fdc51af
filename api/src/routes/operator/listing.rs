//! Lists of any length: a page that was asked for, or the whole, written as it is read.

use crate::problem::{Cause, Problem};
use axum::{
    Json,
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mediamill_shared::BoxError;
use serde::Serialize;

/// Items read at a time where the whole list is wanted.
pub(super) const CHUNK: i64 = 500;
/// Items of one page at most.
const LARGEST_PAGE: i64 = 500;

/// Some items, and where the next begin; `None`: there are no more.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// The first `limit` of `rows`, of which there is one more when there are more pages; `cursor` says where an item is.
pub(super) fn cut<R>(mut rows: Vec<R>, limit: i64, cursor: impl Fn(&R) -> String) -> (Vec<R>, Option<String>) {
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

/// A page's size as it was asked for.
pub(super) fn size(limit: i64) -> Result<i64, Problem> {
    if (1..=LARGEST_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(Cause::BadRequest, format!("limit is 1 to {LARGEST_PAGE}")))
}

/// One page, with the way to the next as RFC 8288's `Link`. `query` are the other parameters.
pub(super) fn page<T: Serialize>(page: Page<T>, path: &str, limit: i64, query: &[(&str, Option<&str>)]) -> Response {
    let mut response = Json(page.items).into_response();
    if let Some(next) = page.next {
        let mut target = url::form_urlencoded::Serializer::new(String::new());
        target
            .append_pair("limit", &limit.to_string())
            .append_pair("cursor", &next);
        for (name, value) in query {
            if let Some(value) = value {
                target.append_pair(name, value);
            }
        }
        let link = format!("<{path}?{}>; rel=\"next\"", target.finish());
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}

impl<T: Serialize> Page<T> {
    /// The same with its items as JSON texts.
    pub(super) fn written(self) -> Page<String> {
        // Views are structures of texts and numbers: serialising them has no way to fail.
        let text = |item| serde_json::to_string(item).unwrap_or_default();
        Page {
            items: self.items.iter().map(text).collect(),
            next: self.next,
        }
    }
}

/// Where a list stands that is answered whole.
enum At {
    /// A page is there to be written.
    Has(Page<String>),
    /// The next page begins there.
    Wants(String),
    /// All pages are written.
    Closes,
    /// Nothing is left to write.
    Ended,
}

/// What stands around the items of a list.
pub(super) struct Around {
    pub(super) open: String,
    /// Whether there is an item in `open`.
    pub(super) begun: bool,
    pub(super) close: String,
}

impl Around {
    /// An array's brackets.
    pub(super) fn array() -> Self {
        Self {
            open: "[".to_owned(),
            begun: false,
            close: "]".to_owned(),
        }
    }
}

/// Everything that `more` gives, from the first on, as one JSON document. The first page is read before the answer begins;
/// what fails later breaks the answer off, so that nobody takes a part for the whole.
pub(super) async fn whole<F, R>(around: Around, more: F) -> Result<Response, Problem>
where
    F: Fn(Option<String>) -> R + Send + 'static,
    R: Future<Output = Result<Page<String>, Problem>> + Send + 'static,
{
    let Around { open, begun, close } = around;
    let first = At::Has(more(None).await?);
    let chunks = stream::unfold((first, begun, more), move |(at, mut begun, more)| {
        let close = close.clone();
        async move {
            let page = match at {
                At::Has(page) => Ok(page),
                At::Wants(cursor) => more(Some(cursor)).await,
                At::Closes => return Some((Ok(Bytes::from(close)), (At::Ended, begun, more))),
                At::Ended => return None,
            };
            let page = match page {
                Ok(page) => page,
                Err(problem) => {
                    tracing::warn!(cause = problem.cause().code(), "a list broke off while it was answered");
                    let broken = BoxError::from("a page could not be read");
                    return Some((Err(broken), (At::Ended, begun, more)));
                }
            };
            let mut text = String::new();
            for item in &page.items {
                if begun {
                    text.push(',');
                }
                text.push_str(item);
                begun = true;
            }
            let at = page.next.map_or(At::Closes, At::Wants);
            Some((Ok::<_, BoxError>(Bytes::from(text)), (at, begun, more)))
        }
    });
    let open = stream::iter([Ok(Bytes::from(open))]);
    let body = Body::from_stream(open.chain(chunks));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(around: Around, pages: Vec<Vec<&'static str>>) -> String {
        let more = move |cursor: Option<String>| {
            let at: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let items = pages[at].iter().map(|item| (*item).to_owned()).collect();
            let next = (at + 1 < pages.len()).then(|| (at + 1).to_string());
            async move { Ok(Page { items, next }) }
        };
        let response = whole(around, more).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn pages_become_one_document() {
        assert_eq!(answered(Around::array(), vec![vec![]]).await, "[]");
        assert_eq!(
            answered(Around::array(), vec![vec!["1", "2"], vec![], vec!["3"]]).await,
            "[1,2,3]"
        );
        let object = Around {
            open: "{\"a\":1".to_owned(),
            begun: true,
            close: "}".to_owned(),
        };
        assert_eq!(answered(object, vec![vec!["\"b\":2"]]).await, r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn a_page_ends_where_it_was_asked_to_and_names_the_next() {
        assert_eq!(
            cut(vec![1, 2, 3], 2, ToString::to_string),
            (vec![1, 2], Some("2".to_owned()))
        );
        assert_eq!(cut(vec![1, 2], 2, ToString::to_string), (vec![1, 2], None));
        assert!(size(0).is_err() && size(501).is_err() && size(500).is_ok());
    }
}
