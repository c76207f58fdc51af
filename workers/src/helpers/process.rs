//! One helper, as its worker sees it: started, asked, and ended. What it says is read within bounds of size and time.

use super::{
    ARGUMENT, Confinement, bounds,
    starter::Starter,
    task::Task,
    wire::{self, Answer, HEAD, Nonsense, Refusal, Request},
};
use bytes::{Buf, Bytes};
use mediamill_media::Settings;
use mediamill_shared::{clock::Stopwatch, ids::TenantId, telemetry::names, units::ByteCount};
use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

/// Longest time from its start to its first word.
const STARTING: Duration = Duration::from_secs(20);
/// Longest time that a helper that was ended takes to be gone.
const DYING: Duration = Duration::from_secs(5);
/// Bytes that a pipe holds at a time: fewer turns for a picture than the kernel's 64 KiB take.
const PIPE: usize = 1024 * 1024;
/// Pictures that one helper makes at most.
const MOST_PICTURES: u32 = 500;
/// Memory that a helper may hold on to between two pictures, bytes.
const MOST_KEPT: u64 = 96 * 1024 * 1024;
/// Bytes of what it says on standard error that are kept.
const LAST_WORDS: usize = 1_000;
/// Where its memory is not told.
const UNTOLD: u64 = 64 * 1024 * 1024;

/// A picture to be made.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) bytes: Bytes,
    pub(super) settings: &'a Settings,
    /// Upper bound of what the engine needs for it.
    pub(super) memory: u64,
    /// Longest time, by the clock and on a processor.
    pub(super) time: Duration,
}

/// A helper did not survive a picture, or is believed no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the process that decodes the picture {cause}")]
pub struct Died {
    /// What happened.
    pub cause: Cause,
    /// What it said last, for the log: it may hold anything.
    pub words: String,
}

/// How a helper ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It asked for more memory than the picture's headers call for.
    #[error("needed more than the {} that the picture's headers call for", ByteCount::of_u64(*.0))]
    Memory(u64),
    /// It was still at work when its time was over.
    #[error("was still at work after {} s", .0.as_secs_f64())]
    Time(Duration),
    /// A signal ended it.
    #[error("was ended by signal {}", signal(*.0))]
    Signal(i32),
    /// It ended by itself.
    #[error("ended by itself{}", code(*.0))]
    Exit(Option<i32>),
    /// It answered what was not asked.
    #[error("answered what nobody asked: {0}")]
    Answer(String),
    /// The kernel does not let its worker set what it may use.
    #[error("could not be held to its bounds: {0}")]
    Unbounded(String),
}

impl Cause {
    /// Its name in metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Time(_) => "time",
            Self::Signal(_) => "signal",
            Self::Exit(_) => "exit",
            Self::Answer(_) => "answer",
            Self::Unbounded(_) => "unbounded",
        }
    }
}

/// No helper could be started.
#[derive(Debug, thiserror::Error)]
#[error("a process that decodes pictures cannot be started{}", quoted(.words))]
pub struct NotStarted {
    /// What it said before.
    words: String,
    #[source]
    source: io::Error,
}

impl NotStarted {
    pub(super) fn before_its_first_word(source: io::Error) -> Self {
        Self {
            words: String::new(),
            source,
        }
    }
}

/// A helper process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    words: Words,
    pid: u32,
    pictures: u32,
    /// Whose pictures it has seen; nobody else's will be shown to it.
    pub(super) tenant: Option<TenantId>,
    /// Since when it is idle.
    pub(super) idle: Stopwatch,
    /// How it ends, for the metrics.
    end: &'static str,
}

/// Why no picture came back.
enum Failure {
    Pipe(io::Error),
    Nonsense(Nonsense),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Pipe(error)
    }
}

impl From<Nonsense> for Failure {
    fn from(nonsense: Nonsense) -> Self {
        Self::Nonsense(nonsense)
    }
}

impl Helper {
    /// Starts `program` as a helper, and waits until it has confined itself.
    ///
    /// # Errors
    /// When it does not get that far.
    pub(super) async fn start(program: &Path, starter: &Starter) -> Result<(Self, Confinement), NotStarted> {
        let mut command = Command::new(program);
        command
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own: Ctrl-C in a terminal is for the worker, which finishes what it has in hand.
        #[cfg(unix)]
        command.process_group(0).arg0("mediamill");
        let mut child = starter
            .start(command)
            .await
            .map_err(NotStarted::before_its_first_word)?;
        let (Some(input), Some(output), Some(error), Some(pid)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take(), child.id())
        else {
            return Err(NotStarted::before_its_first_word(io::ErrorKind::BrokenPipe.into()));
        };
        widen(&input, &output);
        metrics::counter!(names::HELPERS_STARTED).increment(1);
        let mut helper = Self {
            child,
            input,
            output,
            words: Words::of(error),
            pid,
            pictures: 0,
            tenant: None,
            idle: Stopwatch::start(),
            end: "exit",
        };
        let Self { output, words, .. } = &mut helper;
        let ready = tokio::time::timeout(STARTING, async {
            tokio::select! { ready = ready(output) => ready, () = words.listen() => Err(io::ErrorKind::UnexpectedEof.into()) }
        });
        let source = match ready.await {
            Ok(Ok(confinement)) => {
                helper.end = "retired";
                return Ok((helper, confinement));
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        let words = helper.post_mortem().await.1;
        Err(NotStarted { words, source })
    }

    /// Whether it is still there.
    pub(super) fn lives(&mut self) -> bool {
        match self.child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                let cause = judge(Some(status), "", 0, Duration::ZERO);
                self.end = cause.label();
                tracing::warn!(helper.pid = self.pid, "an idle helper is gone: it {cause}");
                false
            }
            Err(_) => false,
        }
    }

    /// Makes a picture. Dropped before its end, the helper must not be asked again.
    pub(super) async fn make<T: Task>(&mut self, ask: Ask<'_>) -> Result<Result<T::Made, Refusal>, Died> {
        self.pictures = self.pictures.saturating_add(1);
        self.end = "cut";
        let (time, memory) = (ask.time, ask.memory);
        let held = bounds::memory(self.pid).unwrap_or(UNTOLD);
        if let Err(error) = bounds::allow(self.pid, held, memory, time)
            && self.lives()
        {
            let cause = Cause::Unbounded(error.to_string());
            self.end = cause.label();
            let (_, words) = self.post_mortem().await;
            return Err(Died { cause, words });
        }
        let Self {
            input, output, words, ..
        } = self;
        let talk = async {
            let mut talk = std::pin::pin!(exchange::<T>(input, output, ask));
            tokio::select! {
                made = &mut talk => made,
                // It has closed its standard error, as its end does.
                () = words.listen() => talk.await,
            }
        };
        let cause = match tokio::time::timeout(time, talk).await {
            Ok(Ok(answer)) => {
                self.end = "retired";
                return Ok(answer);
            }
            Ok(Err(Failure::Nonsense(nonsense))) => Some(Cause::Answer(nonsense.0)),
            Ok(Err(Failure::Pipe(_))) => None,
            Err(_) => Some(Cause::Time(time)),
        };
        // One that broke off its pipes is about to be gone by itself, and its status tells why.
        let by_itself = cause.is_none() && self.ends().await;
        let (status, words) = self.post_mortem().await;
        let cause = cause.unwrap_or_else(|| {
            if by_itself {
                judge(status, &words, memory, time)
            } else {
                Cause::Answer("it closed its pipes and went on".to_owned())
            }
        });
        self.end = cause.label();
        tracing::warn!(helper.pid = self.pid, "a helper is gone: it {cause}{}", quoted(&words));
        Err(Died { cause, words })
    }

    /// Whether it may make another picture: it is not too old and holds no memory that it does not need.
    pub(super) fn fit(&self) -> bool {
        let kept = bounds::memory(self.pid).unwrap_or(0);
        self.pictures < MOST_PICTURES && kept <= MOST_KEPT
    }

    /// Ends it and waits until it is gone.
    pub(super) async fn end(mut self) {
        self.post_mortem().await;
    }

    /// What it said since the last time, for the log.
    pub(super) fn remarks(&mut self) -> String {
        self.words.take()
    }

    /// Waits for the end of one that seems to be ending. Whether it does.
    async fn ends(&mut self) -> bool {
        let end = async {
            self.words.listen().await;
            self.child.wait().await
        };
        matches!(tokio::time::timeout(DYING, end).await, Ok(Ok(_)))
    }

    /// Kills it where it lives, and says how it ended and what it said last.
    async fn post_mortem(&mut self) -> (Option<ExitStatus>, String) {
        // It may be gone already.
        let _ = self.child.start_kill();
        let status = tokio::time::timeout(DYING, self.child.wait()).await;
        // All that it wrote is in the pipe.
        let _ = tokio::time::timeout(DYING, self.words.listen()).await;
        (status.ok().and_then(Result::ok), self.words.take())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        metrics::counter!(names::HELPERS_ENDED, "reason" => self.end).increment(1);
    }
}

/// Larger pipes, where the kernel has them for this user.
fn widen(input: &ChildStdin, output: &ChildStdout) {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::pipe::fcntl_setpipe_size(input, PIPE);
        let _ = rustix::pipe::fcntl_setpipe_size(output, PIPE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (input, output, PIPE);
}

async fn ready(output: &mut ChildStdout) -> io::Result<Confinement> {
    match read_answer(output, 0).await {
        Ok((Answer::Ready(confinement), _)) => Ok(confinement),
        Ok((Answer::Made(_) | Answer::Refused(_), _)) => Err(io::Error::other("its first word is another")),
        Err(Failure::Pipe(error)) => Err(error),
        Err(Failure::Nonsense(nonsense)) => Err(io::Error::other(nonsense)),
    }
}

async fn exchange<T: Task>(
    input: &mut ChildStdin,
    output: &mut ChildStdout,
    ask: Ask<'_>,
) -> Result<Result<T::Made, Refusal>, Failure> {
    let Ask {
        bytes,
        settings,
        memory,
        ..
    } = ask;
    let request = Request {
        settings: settings.clone(),
        original: T::ORIGINAL,
    };
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut frame = Bytes::from(wire::frame(&request, length)?).chain(bytes);
    input.write_all_buf(&mut frame).await?;
    // From here on only the helper has the picture.
    drop(frame);
    match read_answer(output, memory).await? {
        (Answer::Made(made), body) => {
            let mut files = Vec::new();
            for size in made.sizes(body)? {
                files.push(read_exactly(output, size).await?);
            }
            Ok(Ok(made.check::<T>(files, settings)?))
        }
        (Answer::Refused(refusal), 0) => Ok(Err(refusal.check()?)),
        (Answer::Refused(_) | Answer::Ready(_), _) => Err(Nonsense("a word at the wrong time".to_owned()).into()),
    }
}

/// Reads an answer, and how long its body is: `most` bytes at most.
async fn read_answer(output: &mut ChildStdout, most: u64) -> Result<(Answer, u64), Failure> {
    let mut head = [0; HEAD];
    output.read_exact(&mut head).await?;
    let (header, body) = wire::lengths(head, most)?;
    let mut text = vec![0; header];
    output.read_exact(&mut text).await?;
    Ok((wire::header(&text)?, body))
}

async fn read_exactly(output: &mut ChildStdout, size: u64) -> Result<Vec<u8>, Failure> {
    let wanted = usize::try_from(size).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(io::Error::other)?;
    output.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() != wanted {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes)
}

/// What a status and last words tell.
fn judge(status: Option<ExitStatus>, words: &str, memory: u64, time: Duration) -> Cause {
    // The allocator of the standard library says so before it aborts.
    if words.contains("memory allocation of ") {
        return Cause::Memory(memory);
    }
    #[cfg(unix)]
    if let Some(number) = status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status)) {
        return if signal(number) == "SIGXCPU" {
            Cause::Time(time)
        } else {
            Cause::Signal(number)
        };
    }
    let _ = time;
    Cause::Exit(status.and_then(|status| status.code()))
}

/// A signal's name.
fn signal(number: i32) -> String {
    #[cfg(target_os = "linux")]
    if let Ok(signal) = nix::sys::signal::Signal::try_from(number) {
        let name = signal.as_str();
        return match signal {
            nix::sys::signal::Signal::SIGSYS => format!("{name}: it called what no decoder needs"),
            nix::sys::signal::Signal::SIGKILL => format!("{name}: from outside, as when the machine is out of memory"),
            _ => name.to_owned(),
        };
    }
    number.to_string()
}

fn code(code: Option<i32>) -> String {
    code.map_or_else(String::new, |code| format!(" with exit code {code}"))
}

fn quoted(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!("; its last words: {words}")
    }
}

/// The end of what a helper says on standard error.
#[derive(Debug)]
struct Words {
    error: ChildStderr,
    last: Vec<u8>,
}

impl Words {
    fn of(error: ChildStderr) -> Self {
        Self {
            error,
            last: Vec::new(),
        }
    }

    /// Reads until it is closed. Cancel-safe.
    async fn listen(&mut self) {
        let mut part = [0; 1_024];
        while let Ok(count) = self.error.read(&mut part).await
            && count > 0
        {
            self.last.extend_from_slice(part.get(..count).unwrap_or_default());
            let beyond = self.last.len().saturating_sub(LAST_WORDS);
            self.last.drain(..beyond);
        }
    }

    /// What was read, in one line.
    fn take(&mut self) -> String {
        let words = String::from_utf8_lossy(&self.last);
        let line: String = words
            .trim()
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        self.last.clear();
        line
    }
}
