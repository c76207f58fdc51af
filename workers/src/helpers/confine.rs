//! What a helper gives up before it reads the first byte of a picture.
//!
//! Every step is taken whether the one before it worked or not, and what a system does not have is told by name: the
//! worker says it once, with what to do about it. Nothing here can be undone by the process that did it.

use super::Confinement;

#[cfg(target_os = "linux")]
mod filter;

/// Confines this process for good. It can then compute, use the memory that it is allowed, and read and write what is
/// open already: no file, no network, no other process.
#[must_use]
pub fn confine() -> Confinement {
    let mut confinement = Confinement::default();
    steps(&mut confinement);
    confinement
}

#[cfg(not(target_os = "linux"))]
fn steps(confinement: &mut Confinement) {
    confinement.note(
        "confinement",
        Err("this is no Linux".to_owned()),
        "run workers that take other people's pictures on Linux",
    );
}

#[cfg(target_os = "linux")]
fn steps(confinement: &mut Confinement) {
    use linux::{
        alone, descriptors, environment, first_to_go, landlock, limits, nowhere, outlives_nobody, privileges, signals,
    };
    const BUG: &str = "look at what starts this process: a helper is started by a worker alone";
    const KERNEL: &str = "look whether a security module or a container forbids it";
    const LANDLOCK: &str = "use a kernel of 6.7 or later with landlock among its `lsm=`, and in a container a seccomp profile that lets \
                            its system calls pass";
    const SECCOMP: &str =
        "use a kernel with CONFIG_SECCOMP_FILTER, and in a container a seccomp profile that lets `seccomp` pass";
    confinement.note("empty environment", environment(), BUG);
    confinement.note("working directory /", nowhere(), KERNEL);
    confinement.note("no open files", descriptors(), "mount /proc");
    confinement.note("ends with its worker", outlives_nobody(), KERNEL);
    confinement.note("signals of the worker's group do not reach it", signals(), KERNEL);
    confinement.note("the first to go when memory is short", first_to_go(), KERNEL);
    confinement.note("no new privileges", privileges(), KERNEL);
    confinement.note("no core dumps", alone(), KERNEL);
    confinement.note("limits", limits(), KERNEL);
    confinement.note("landlock", landlock(), LANDLOCK);
    confinement.note("system-call filter", filter::install(), SECCOMP);
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
        RulesetError, RulesetStatus, Scope,
    };
    use nix::sys::signal::{SigSet, Signal as Blocked};
    use rustix::{
        process::{DumpableBehavior, Resource, Rlimit, Signal},
        thread,
    };

    type Step = Result<(), String>;

    /// Descriptors that it may have: its three, and the one that landlock's rules are made with.
    const DESCRIPTORS: u64 = 8;
    /// Stack, bytes: what a thread of Linux has by default.
    const STACK: u64 = 8 * 1024 * 1024;
    /// The first descriptor that is none of standard input, output and error.
    const FIRST: i32 = 3;

    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }

    /// The worker clears it: secrets come in variables.
    pub(super) fn environment() -> Step {
        match std::env::vars_os().count() {
            0 => Ok(()),
            some => Err(format!("{some} variables are set")),
        }
    }

    pub(super) fn nowhere() -> Step {
        std::env::set_current_dir("/").map_err(words)
    }

    /// What the worker opens closes by itself; what was open when the worker was started does not.
    pub(super) fn descriptors() -> Step {
        let open = || -> std::io::Result<Vec<i32>> {
            let mut open = Vec::new();
            for entry in std::fs::read_dir("/proc/self/fd")? {
                let number: Option<i32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
                open.extend(number.filter(|number| *number >= FIRST));
            }
            Ok(open)
        };
        for number in open().map_err(words)? {
            // The one that the listing itself was read through is closed by now.
            let _ = nix::unistd::close(number);
        }
        match open().map_err(words)?.len() {
            // The listing's own.
            0 | 1 => Ok(()),
            more => Err(format!("{} stay open", more.saturating_sub(1))),
        }
    }

    pub(super) fn outlives_nobody() -> Step {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(words)
    }

    /// A service manager that stops a worker signals all of its group; the worker finishes what it has in hand, and needs
    /// its helpers for that. Its own end is theirs.
    pub(super) fn signals() -> Step {
        let mut blocked = SigSet::empty();
        for signal in [Blocked::SIGTERM, Blocked::SIGINT, Blocked::SIGHUP, Blocked::SIGQUIT] {
            blocked.add(signal);
        }
        blocked.thread_block().map_err(words)
    }

    pub(super) fn first_to_go() -> Step {
        std::fs::write("/proc/self/oom_score_adj", "1000").map_err(words)
    }

    pub(super) fn privileges() -> Step {
        thread::set_no_new_privs(true).map_err(words)
    }

    /// Neither traced nor dumped: a limit of 0 does not hold for core dumps that go to a program.
    pub(super) fn alone() -> Step {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(words)
    }

    /// Memory and processor time are limited from outside, for each picture anew. Threads count as processes of a user, so
    /// that their number cannot be limited here; the filter forbids processes.
    pub(super) fn limits() -> Step {
        let limits = [
            (Resource::Core, 0),
            (Resource::Fsize, 0),
            (Resource::Nofile, DESCRIPTORS),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
            (Resource::Stack, STACK),
        ];
        for (resource, most) in limits {
            let had = rustix::process::getrlimit(resource);
            let most = had.maximum.map_or(most, |maximum| maximum.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            rustix::process::setrlimit(resource, limit).map_err(|error| format!("{resource:?}: {error}"))?;
        }
        Ok(())
    }

    /// No file system, no TCP, no signals and no abstract sockets, as far as the kernel knows these.
    pub(super) fn landlock() -> Step {
        let enforced = || -> Result<RestrictionStatus, RulesetError> {
            // What only newer kernels have, where it is: signals, abstract sockets, devices.
            let _ = Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(ABI::V6))?
                .scope(Scope::from_all(ABI::V6))?
                .create()?
                .restrict_self()?;
            // What there must be: files of every kind, and TCP.
            Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(ABI::V4))?
                .handle_access(AccessNet::from_all(ABI::V4))?
                .create()?
                .restrict_self()
        };
        let status = enforced().map_err(words)?;
        match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            RulesetStatus::PartiallyEnforced => Err(format!("it is there in part: {:?}", status.landlock)),
            RulesetStatus::NotEnforced => Err(format!("the kernel has none: {:?}", status.landlock)),
        }
    }
}
