//! The built program, from the outside.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where what it needs is missing"
)]

mod batches;
mod dead_cli;
mod distributed;
mod helpers;
mod house;
mod http;
mod isolation;
mod model;
mod operator;
mod pictures_cli;
mod program;
mod quickstart;
mod secrets;
mod storages_cli;
mod tenants_api;
mod tenants_cli;
mod usage_cli;
