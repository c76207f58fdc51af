//! To come.
/// To come.
#[derive(Debug)]
pub struct Outbox;
/// To come.
#[derive(Debug)]
pub struct OutboxSettings;
