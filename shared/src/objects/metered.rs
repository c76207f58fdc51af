//! A body on its way into a store: counted, held to its limit, handed on in pieces of the store's size.

use super::{Body, ObjectError, ObjectKey};
use crate::units::ByteCount;
use bytes::Bytes;
use futures_util::StreamExt;

/// A body and how much of it has come.
pub(super) struct Metered {
    key: ObjectKey,
    body: Body,
    limit: ByteCount,
    arrived: ByteCount,
    /// What arrived and was not handed on yet.
    rest: Bytes,
    ended: bool,
}

impl Metered {
    pub(super) fn new(key: &ObjectKey, body: Body, limit: ByteCount) -> Self {
        Self {
            key: key.clone(),
            body,
            limit,
            arrived: ByteCount::ZERO,
            rest: Bytes::new(),
            ended: false,
        }
    }

    /// The next `size` bytes; fewer only at the body's end.
    pub(super) async fn gather(&mut self, size: usize) -> Result<Vec<u8>, ObjectError> {
        // Copied, not kept as slices: a body of tiny slices would hold far more memory than its bytes.
        let mut gathered = Vec::new();
        while gathered.len() < size && !self.at_end().await? {
            let take = self.rest.len().min(size - gathered.len());
            gathered.extend_from_slice(&self.rest.split_to(take));
        }
        Ok(gathered)
    }

    /// Whether everything was handed on. Waits for the next bytes to know.
    pub(super) async fn at_end(&mut self) -> Result<bool, ObjectError> {
        while self.rest.is_empty() && !self.ended {
            match self.body.next().await {
                None => self.ended = true,
                Some(Ok(chunk)) => {
                    self.arrived = self.arrived.plus(ByteCount::of(chunk.len()));
                    if self.arrived > self.limit {
                        self.ended = true;
                        return Err(ObjectError::TooLong {
                            key: self.key.clone(),
                            limit: self.limit,
                        });
                    }
                    self.rest = chunk;
                }
                Some(Err(source)) => {
                    self.ended = true;
                    return Err(ObjectError::Body {
                        key: self.key.clone(),
                        source,
                    });
                }
            }
        }
        Ok(self.rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn body(chunks: &[&'static str], limit: i64) -> Metered {
        let key = "a/b".parse().unwrap();
        let chunks: Vec<_> = chunks
            .iter()
            .map(|text| Ok(Bytes::from_static(text.as_bytes())))
            .collect();
        Metered::new(&key, stream::iter(chunks).boxed(), ByteCount::new(limit))
    }

    #[tokio::test]
    async fn pieces_have_the_size_asked_for_whatever_arrives() {
        let mut body = body(&["ab", "", "cdefg", "h"], 8);
        assert_eq!(body.gather(3).await.unwrap(), b"abc");
        assert_eq!(body.gather(3).await.unwrap(), b"def");
        assert!(!body.at_end().await.unwrap());
        assert_eq!(body.gather(3).await.unwrap(), b"gh");
        assert!(body.gather(3).await.unwrap().is_empty());
        assert!(body.at_end().await.unwrap());
    }

    #[tokio::test]
    async fn the_first_byte_past_the_limit_ends_it() {
        let mut body = body(&["abcd", "e"], 4);
        assert_eq!(body.gather(4).await.unwrap(), b"abcd");
        assert!(matches!(body.gather(4).await, Err(ObjectError::TooLong { .. })));
    }
}
