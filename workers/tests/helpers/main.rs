//! Helper processes, from both sides. This test is its own helper: it starts itself.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod confinement;
#[cfg(target_os = "linux")]
mod pool;

#[cfg(target_os = "linux")]
#[expect(clippy::unwrap_used, reason = "tests: a failure is the message")]
fn main() {
    use mediamill_workers::helpers::{ARGUMENT, serve};
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [ARGUMENT] => serve().unwrap(),
        [confinement::ATTEMPT, name, confined @ ..] => confinement::victim(name, !confined.is_empty()),
        // Whatever a test's harness would be told.
        _ => {
            confinement::judge();
            pool::judge();
        }
    }
}
