//! The process that a file is measured in, from outside: asked within a time, and started anew when it is gone.

use super::wire::{Answer, Request};
use anyhow::{Context, ensure};
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// What came of a file.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer(Answer),
    /// It was still at work.
    Hang,
    /// The process ended; how.
    Died(String),
}

/// Starts what is asked. Dropped, its process is killed.
#[derive(Debug)]
pub(crate) struct Measured {
    program: PathBuf,
    time: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Measured {
    /// The program beside this one; a file may take it `time`.
    pub(crate) fn new(time: Duration) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("mediamill-corpus-child");
        ensure!(
            program.is_file(),
            "{} is not there: cargo build --release -p mediamill-loadtests",
            program.display()
        );
        Ok(Self {
            program,
            time,
            running: None,
        })
    }

    /// Has a file processed.
    ///
    /// # Errors
    /// When no process can be started.
    pub(crate) async fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        match tokio::time::timeout(self.time, running.ask(request)).await {
            Ok(Ok(Some(answer))) => {
                self.running = Some(running);
                Ok(Reply::Answer(answer))
            }
            Ok(Ok(None) | Err(_)) => Ok(Reply::Died(running.child.wait().await?.to_string())),
            Err(_) => {
                running.child.kill().await?;
                Ok(Reply::Hang)
            }
        }
    }

    fn start(&self) -> anyhow::Result<Running> {
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let input = child.stdin.take().context("it has no standard input")?;
        let output = child.stdout.take().context("it has no standard output")?;
        Ok(Running {
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }
}

impl Running {
    async fn ask(&mut self, request: &Request) -> anyhow::Result<Option<Answer>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.input.write_all(&line).await?;
        let Some(line) = self.output.next_line().await? else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_str(&line)?))
    }
}
