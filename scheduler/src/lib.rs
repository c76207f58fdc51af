//! Timers: what must happen again and again, by one leader at a time.
//!
//! A timer takes no input, reads the whole state it is about, and changes only what is wrong: a missed, doubled or
//! early run is harmless. To add one: a file in `timers/` that implements [`Timer`], and a line in [`Timers::standard`].

mod leader;
mod run;
mod timer;
mod timers;

pub use leader::{Leader, Standing};
pub use run::{Listed, list, names, run, run_once};
pub use timer::{Report, Timer, TimerError, Timers};
