//! s
pub mod names;
