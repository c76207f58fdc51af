//! s
use super::*;
/// s
#[derive(Clone, Debug)]
pub struct S3Store;
impl S3Store {
    pub fn open(_: &Url, _: Clock, _: Entropy) -> Result<Self, ObjectError> {
        Ok(Self)
    }
}
impl Store for S3Store {
    async fn put(&self, _: &ObjectKey, _: Bytes, _: &str) -> Result<Stored, ObjectError> {
        unimplemented!()
    }
    async fn put_stream(&self, _: &ObjectKey, _: Body, _: ByteCount) -> Result<Stored, ObjectError> {
        unimplemented!()
    }
    async fn get(&self, _: &ObjectKey, _: Option<Range<u64>>) -> Result<Fetched, ObjectError> {
        unimplemented!()
    }
    async fn stat(&self, _: &ObjectKey) -> Result<Option<Stat>, ObjectError> {
        unimplemented!()
    }
    async fn delete(&self, _: &ObjectKey) -> Result<(), ObjectError> {
        unimplemented!()
    }
    async fn list(&self, _: &str, _: Option<&ObjectKey>, _: u16) -> Result<Vec<Listed>, ObjectError> {
        unimplemented!()
    }
    async fn presign(&self, _: &ObjectKey, _: Duration) -> Result<Option<Url>, ObjectError> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), ObjectError> {
        unimplemented!()
    }
}
