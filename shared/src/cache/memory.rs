//! s
use super::*;
/// s
#[derive(Clone, Debug)]
pub struct MemoryCache;
impl MemoryCache {
    pub fn new(_: Clock) -> Self {
        Self
    }
}
impl CachePort for MemoryCache {
    async fn get(&self, _: &str) -> Result<Option<Versioned>, CacheError> {
        unimplemented!()
    }
    async fn put(&self, _: &str, _: &Versioned, _: Duration) -> Result<bool, CacheError> {
        unimplemented!()
    }
    async fn remove(&self, _: &str) -> Result<(), CacheError> {
        unimplemented!()
    }
    async fn add_within(&self, _: &str, _: i64, _: Option<i64>) -> Result<Added, CacheError> {
        unimplemented!()
    }
    async fn seed(&self, _: &str, _: i64, _: Duration) -> Result<bool, CacheError> {
        unimplemented!()
    }
    async fn acquire(&self, _: &str, _: &str, _: Duration) -> Result<Option<Fence>, CacheError> {
        unimplemented!()
    }
    async fn release(&self, _: &str, _: &str) -> Result<(), CacheError> {
        unimplemented!()
    }
    async fn signal(&self, _: &'static str, _: &[String]) -> Result<(), CacheError> {
        unimplemented!()
    }
    fn listen(&self) -> broadcast::Receiver<Signal> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), CacheError> {
        unimplemented!()
    }
}
