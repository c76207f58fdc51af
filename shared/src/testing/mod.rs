//! What tests and drivers need: server URLs, fixtures, a breakable proxy, an S3 server in the process.

pub mod database;
mod generated;
pub mod s3;
pub mod servers;
mod world;

pub use generated::generated;
pub use world::{PATIENCE, World};
