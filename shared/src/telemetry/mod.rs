//! How a process is watched: metric names in one place, the Prometheus page, logs.

pub mod logs;
pub mod names;
pub mod prometheus;
