//! What tests and drivers need: server URLs, fixtures, a breakable proxy, an S3 server in the process.

pub mod bare;
pub mod database;
mod dead;
mod disk;
pub mod faults;
mod generated;
pub mod s3;
pub mod seed;
pub mod servers;
pub mod web;
mod world;

pub use disk::SmallDisk;
pub use generated::generated;
pub use world::{PATIENCE, World, connected, differences, make_tenant};

/// One named test a case and side: each case is an `async fn(World)`.
#[macro_export]
macro_rules! on_both_sides {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::testing::World::embedded().await).await;
            })+
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case($crate::testing::World::distributed().await).await;
            })+
        }
    };
}
