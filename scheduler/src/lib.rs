//! Timers: what must happen again and again, by one leader at a time.
//!
//! A timer takes no input, reads the state it is about from the back ends, and changes only what is wrong: a missed, doubled or
//! early run is harmless. What may be too much for one run is done in pages. To add one: a file in `timers/` that implements [`Timer`], and a line in [`Timers::standard`].

mod accept;
mod leader;
mod pages;
mod run;
mod scope;
mod timer;
mod timers;

pub use leader::{LEASE_TTL, Leader, RENEW, Standing};
pub use run::{Listed, check, list, run, run_in, run_once};
pub use scope::{Note, Scope};
pub use timer::{Report, Scoped, Timer, TimerError, Timers};
