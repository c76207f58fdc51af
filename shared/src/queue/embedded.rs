//! s
use super::*;
/// s
#[derive(Clone, Debug)]
pub struct EmbeddedQueue;
/// s
#[derive(Debug)]
pub struct EmbeddedConsumer;
/// s
#[derive(Debug)]
pub struct EmbeddedAcker;
impl EmbeddedQueue {
    pub async fn open(_: QueueContext) -> Self {
        Self
    }
}
impl EmbeddedAcker {
    pub(super) async fn done(self) -> Result<(), QueueError> {
        unimplemented!()
    }
    pub(super) async fn bury(self, _: &JobError) -> Result<(), QueueError> {
        unimplemented!()
    }
    pub(super) async fn again_in(self, _: Duration) -> Result<(), QueueError> {
        unimplemented!()
    }
}
impl Broker for EmbeddedQueue {
    type Consumer = EmbeddedConsumer;
    async fn publish(&self, _: Pool, _: &[Envelope]) -> Result<(), QueueError> {
        unimplemented!()
    }
    fn consume(&self, _: Pool, _: u16) -> EmbeddedConsumer {
        unimplemented!()
    }
    async fn depth(&self, _: Pool) -> Result<Depth, QueueError> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), QueueError> {
        unimplemented!()
    }
}
impl Consume for EmbeddedConsumer {
    async fn next(&mut self) -> Delivery {
        unimplemented!()
    }
}
