//! Hostile bytes are decoded where they can do no harm: in processes of this same program that have given up everything
//! but computing.
//!
//! A worker keeps as many helpers as it has processors, started when they are needed. A helper takes a picture through a
//! pipe, runs the engine on it, and gives the files back; the worker believes no more of an answer than it can check. One
//! that dies, hangs or takes more than it may costs the attempt that it worked for, and is replaced. A helper that has seen
//! one tenant's picture is shown no other tenant's: whoever takes one over by a picture meets nothing but pictures of
//! their own.
//!
//! [`serve`] is the helper's side, [`confine`] what it gives up; [`HelperPool`] is the worker's.

mod bounds;
mod confine;
mod pool;
mod process;
mod serve;
mod starter;
mod task;
mod wire;

pub use confine::confine;
pub use pool::{HelperPool, NotMade, Picture};
pub use process::{Cause, Died, NotStarted};
pub use serve::serve;
pub use task::{Everything, Task, VariantsAlone};
pub use wire::Refusal;

use mediamill_shared::config::{Config, MediaHelpers};
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf};

/// The argument that makes this program a helper.
pub const ARGUMENT: &str = "media-helper";

/// Where a worker decodes pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Helpers {
    /// In its own process.
    Inline,
    /// In processes of this program, which calls [`serve`] when its only argument is [`ARGUMENT`].
    Program(PathBuf),
}

impl Helpers {
    /// As `config` says, in processes of the program that runs.
    ///
    /// # Errors
    /// When the system does not tell which program that is.
    pub fn of_this_program(config: &Config) -> io::Result<Self> {
        match config.media_helpers {
            MediaHelpers::Inline => Ok(Self::Inline),
            MediaHelpers::Process => {
                // This file also when a newer release has taken its place under its name.
                let running = PathBuf::from("/proc/self/exe");
                let program = if running.try_exists().unwrap_or(false) {
                    running
                } else {
                    std::env::current_exe()?
                };
                Ok(Self::Program(program))
            }
        }
    }
}

/// What a helper has given up, step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Steps that hold.
    pub active: Vec<String>,
    /// Steps that this system does not have.
    pub missing: Vec<Missing>,
}

/// A step of the confinement that this system does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Which.
    pub step: String,
    /// Why.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl Confinement {
    fn note(&mut self, step: &str, done: Result<(), String>, advice: &str) {
        match done {
            Ok(()) => self.active.push(step.to_owned()),
            Err(problem) => self.missing.push(Missing {
                step: step.to_owned(),
                problem,
                advice: advice.to_owned(),
            }),
        }
    }
}
