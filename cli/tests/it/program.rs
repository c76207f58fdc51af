//! The built program, run as a person or an orchestrator would run it.

use mediamill_shared::services::Services;
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

/// What has not happened by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program with its configuration.
#[derive(Clone)]
pub(crate) struct Program {
    variables: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A run that goes on. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    pub(crate) fn new<'a>(variables: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables
                .map(|(name, value)| (format!("MEDIAMILL_{name}"), value))
                .collect(),
        }
    }

    /// Embedded back ends in `folder`.
    pub(crate) fn embedded(folder: &Path) -> Self {
        Self::new([
            ("DATA_DIR", folder.display().to_string()),
            ("LISTEN", "127.0.0.1:0".to_owned()),
        ])
    }

    /// On the back ends of an installation that a test has open. Nothing that is sealed there can be read.
    pub(crate) fn of(services: &Services) -> Self {
        let config = &services.config;
        Self::new([
            ("DATA_DIR", config.data_dir.display().to_string()),
            ("DATABASE_URL", config.database_url.to_string()),
            ("QUEUE_URL", config.queue_url.to_string()),
            ("CACHE_URL", config.cache_url.to_string()),
            ("OBJECTS_URL", config.objects_url.to_string()),
        ])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mediamill"));
        // Nothing of whoever runs the tests.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MEDIAMILL_")) {
            command.env_remove(name);
        }
        command
            .envs(self.variables.clone())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it to its end, which must be good; returns its answer.
    pub(crate) fn answer(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out.trim_end().to_owned()
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Running {
            child,
            lines,
            seen: Vec::new(),
        }
    }
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line it writes that holds `text`.
    pub(crate) fn says(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("it never said {text:?} ({error}), but:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Sends it a signal such as `TERM`, and waits for its end.
    pub(crate) fn end(mut self, signal: &str) -> ExitStatus {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        // Its streams close when it ends, and not later than that.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        // The streams close a moment before the process is gone.
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in a line such as `… http://demo.localhost:40641/ …` or `address=127.0.0.1:40641`.
pub(crate) fn port_after(line: &str, marker: &str) -> u16 {
    let (_, rest) = line
        .split_once(marker)
        .unwrap_or_else(|| panic!("no {marker:?} in {line:?}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Every file beneath `folder`.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Whether `bytes` hold `text` anywhere.
pub(crate) fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
