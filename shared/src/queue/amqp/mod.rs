//! s
use super::*;
/// s
#[derive(Clone, Debug)]
pub struct AmqpQueue;
/// s
#[derive(Debug)]
pub struct AmqpConsumer;
/// s
#[derive(Debug)]
pub struct AmqpAcker;
impl AmqpQueue {
    pub fn open(_: &Url, _: QueueContext) -> Result<Self, QueueError> {
        Ok(Self)
    }
}
impl AmqpAcker {
    pub(super) async fn done(self) -> Result<(), QueueError> {
        unimplemented!()
    }
    pub(super) async fn bury(self, _: &JobError) -> Result<(), QueueError> {
        unimplemented!()
    }
    pub(super) async fn again_in(self, _: &[u8], _: Duration) -> Result<(), QueueError> {
        unimplemented!()
    }
}
impl Broker for AmqpQueue {
    type Consumer = AmqpConsumer;
    async fn publish(&self, _: Pool, _: &[Envelope]) -> Result<(), QueueError> {
        unimplemented!()
    }
    fn consume(&self, _: Pool, _: u16) -> AmqpConsumer {
        unimplemented!()
    }
    async fn depth(&self, _: Pool) -> Result<Depth, QueueError> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), QueueError> {
        unimplemented!()
    }
}
impl Consume for AmqpConsumer {
    async fn next(&mut self) -> Delivery {
        unimplemented!()
    }
}
