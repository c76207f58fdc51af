//! What a process that has confined itself can still do: nothing that a picture could use against the machine.
//!
//! Each attempt is made by a victim that has confined itself, and by one that has not, so that none fails for a reason of
//! its own.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a failure is the message, and what a victim found goes to its parent"
)]

use mediamill_workers::helpers::confine;
use std::{
    io::{self, Read},
    net::{TcpListener, UdpSocket},
    os::unix::{net::UnixDatagram, process::ExitStatusExt},
    process::{Command, Output, Stdio},
};

/// Comes before an attempt's name.
pub(crate) const ATTEMPT: &str = "--attempt-of-a-victim";
/// Comes after it, when a confined process is to make it.
const CONFINED: &str = "confined";

type Attempt = fn() -> io::Result<()>;

/// What is tried, and how it ends where all steps hold: refused, or with the end of the process.
const ATTEMPTS: [(&str, Attempt, Fate); 14] = [
    (
        "read a file",
        || std::fs::read("/etc/hostname").map(drop),
        Fate::Refused,
    ),
    (
        "write a file",
        || std::fs::write("/tmp/mediamill-confinement", "x"),
        Fate::Refused,
    ),
    ("list a directory", || std::fs::read_dir("/").map(drop), Fate::Refused),
    (
        "look at a file",
        || std::fs::metadata("/etc/passwd").map(drop),
        Fate::Ended,
    ),
    (
        "make a directory",
        || std::fs::create_dir_all("/tmp/mediamill-confined"),
        Fate::Ended,
    ),
    (
        "remove a file",
        || removed("/tmp/mediamill-confinement-none"),
        Fate::Ended,
    ),
    (
        "open a TCP socket",
        || TcpListener::bind("127.0.0.1:0").map(drop),
        Fate::Ended,
    ),
    (
        "open a UDP socket",
        || UdpSocket::bind("127.0.0.1:0").map(drop),
        Fate::Ended,
    ),
    ("open a UNIX socket", || UnixDatagram::unbound().map(drop), Fate::Ended),
    (
        "start a process",
        || Command::new("/bin/true").status().map(drop),
        Fate::Ended,
    ),
    ("signal its parent", signal_parent, Fate::Ended),
    ("raise its own limit", raise_limit, Fate::Ended),
    (
        "have a file in memory",
        || Ok(rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::empty()).map(drop)?),
        Fate::Ended,
    ),
    ("change its directory", || std::env::set_current_dir("/"), Fate::Ended),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Refused,
    Ended,
}

fn removed(path: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn signal_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().unwrap();
    Ok(rustix::process::test_kill_process(parent)?)
}

fn raise_limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    Ok(setrlimit(Resource::Cpu, getrlimit(Resource::Cpu))?)
}

/// Tries, and says so.
pub(crate) fn victim(name: &str, confined: bool) {
    if confined {
        let confinement = confine();
        println!("missing {}", confinement.missing.len());
        for missing in &confinement.missing {
            println!("{}: {}", missing.step, missing.problem);
        }
    }
    println!("trying");
    match name {
        "descriptors" | "environment" | "memory" | "threads" | "panic" => can(name),
        name => {
            let (_, attempt, _) = ATTEMPTS.iter().find(|(known, _, _)| *known == name).unwrap();
            match attempt() {
                Ok(()) => println!("done"),
                Err(error) => println!("refused: {error}"),
            }
        }
    }
}

/// What it must be able to do, and what its parent looks at from outside.
fn can(name: &str) {
    match name {
        "memory" => {
            let mut large = vec![1_u8; 200_000_000];
            large.resize(200_100_000, 2);
            println!("done {}", large.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        "threads" => {
            let threads: Vec<_> = (0..4_u64)
                .map(|number| std::thread::spawn(move || number * 2))
                .collect();
            let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            let processors = std::thread::available_parallelism().unwrap();
            println!("done {sum} {}", processors.get() > 0);
        }
        "panic" => panic!("a bug in a decoder"),
        // Until its parent has seen enough.
        _ => {
            println!("done");
            let _ = io::stdin().read(&mut [0]);
        }
    }
}

fn command(name: &str, confined: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().arg(ATTEMPT).arg(name);
    if confined {
        command.arg(CONFINED);
    }
    command
}

fn run(name: &str, confined: bool) -> (Output, String) {
    let output = command(name, confined).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    (output, said)
}

pub(crate) fn judge() {
    let (_, said) = run("memory", true);
    let (missing, _) = said.split_once("trying").unwrap();
    assert!(
        !missing.contains("system-call filter"),
        "this system filters no system calls, so that nothing can be said of what is confined: {missing}"
    );
    // What follows must hold by the filter alone, too.
    print!("{missing}");
    for (name, _, fate) in ATTEMPTS {
        let (free, said) = run(name, false);
        assert!(
            free.status.success() && said.ends_with("done\n"),
            "{name}, unconfined: {free:?}"
        );
        let (output, said) = run(name, true);
        let ended = output.status.signal() == Some(libc::SIGSYS) && said.ends_with("trying\n");
        let refused = output.status.success() && said.contains("trying\nrefused: ");
        let expected = match fate {
            Fate::Refused => refused,
            Fate::Ended => ended,
        };
        assert!(expected, "{name}: {fate:?} was expected: {output:?}");
        println!("{name}: {fate:?}");
    }
    // What the unconfined ones made.
    std::fs::remove_file("/tmp/mediamill-confinement").unwrap();
    std::fs::remove_dir("/tmp/mediamill-confined").unwrap();
    computing_goes_on();
    it_has_three_descriptors_and_no_environment();
}

fn computing_goes_on() {
    let (output, said) = run("memory", true);
    assert!(
        output.status.success() && said.ends_with("done 200200000\n"),
        "{output:?}"
    );
    let (output, said) = run("threads", true);
    assert!(
        output.status.success() && said.ends_with("done 12 true\n"),
        "{output:?}"
    );
    let (output, _) = run("panic", true);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(101), "{output:?}");
    assert!(error.contains("a bug in a decoder"), "{error}");
    println!("it computes, it has threads, it says what it died of");
}

/// Whatever was open when its parent was started.
fn it_has_three_descriptors_and_no_environment() {
    // A shell leaves a descriptor open to what it starts, as `flock` and service managers do.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 7</dev/null 9</dev/null; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([ATTEMPT, "descriptors", CONFINED])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let mut output = child.stdout.take().unwrap();
    while !said.ends_with("done\n") {
        let mut part = [0; 256];
        let count = output.read(&mut part).unwrap();
        assert!(count > 0, "it ended early: {said}");
        said.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
    let mut open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    // PWD and the like are a shell's doing, and are told.
    assert!(said.contains("empty environment"), "{said}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    println!("it has three descriptors");
}
