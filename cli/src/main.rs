//! The one binary, `mediamill`.

fn main() {}
