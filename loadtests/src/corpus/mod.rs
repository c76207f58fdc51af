//! Runs every file of folders that nobody here filled through the engine, and looks at what comes out.
//!
//! Each file is processed in a process of its own sort, whose every allocation is counted, and then by the real helper
//! processes. What is ready is looked at from outside: by `ExifTool`, byte by byte for the source's texts, and by another
//! decoder.

mod child;
mod exiftool;
mod look;
mod report;
mod runs;
mod wire;

use anyhow::{Context, ensure};
use child::{Measured, Reply};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_media::{Format, ProbeError, probe};
use mediamill_shared::ids::TenantId;
use mediamill_workers::helpers::{Everything, HelperPool, NotMade, Picture};
use report::{Kind, Violation};
use runs::Run;
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use wire::{Answer, Made, Outcome, Request};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of files, pictures or not; each file once, wherever it lies.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Files at a time [default: one for each processor].
    #[arg(long)]
    jobs: Option<usize>,
    /// Longest time that a file may take in one run, seconds.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Keep what is made in this folder, which must be empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What came of one file in all runs.
#[derive(Debug)]
struct Seen {
    source: PathBuf,
    /// `None`: it does not begin like a picture of a known format.
    format: Option<Format>,
    /// In the order of the runs.
    results: Vec<Result<Vec<Made>, Refused>>,
    /// Most memory of all runs against what headers said, in percent.
    memory_percent: u64,
}

#[derive(Debug)]
struct Refused {
    code: String,
    text: String,
}

type Violations = Mutex<Vec<Violation>>;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let files = files(&args.dirs)?;
    ensure!(!files.is_empty(), "there are no files");
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let temporary = tempfile::tempdir()?;
    let folder = match &args.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            let used = std::fs::read_dir(folder)?.next().is_some();
            ensure!(!used, "{} is not empty", folder.display());
            folder.as_path()
        }
        None => temporary.path(),
    };
    let bar = ProgressBar::new(u64::try_from(files.len())?).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} files  {elapsed_precise}",
    )?);
    let time = Duration::from_secs(args.time);
    let corpus = Corpus {
        runs: runs::all(),
        idle: Mutex::new((0..jobs).map(|_| Measured::new(time)).collect::<Result<_, _>>()?),
        helpers: HelperPool::new(std::env::current_exe()?, jobs, time),
        tenant: "corpus".parse().context("the tenant's name")?,
        violations: Violations::default(),
    };
    let mut seen: Vec<Seen> = futures_util::stream::iter(files.iter().enumerate())
        .map(|(number, source)| {
            let (corpus, bar) = (&corpus, &bar);
            let folder = folder.join(number.to_string());
            async move {
                let seen = corpus.file(source, &folder).await?;
                bar.inc(1);
                Ok::<_, anyhow::Error>(seen)
            }
        })
        .buffered(jobs)
        .try_collect()
        .await?;
    corpus.helpers.close().await;
    bar.finish_and_clear();
    let Corpus { runs, violations, .. } = corpus;
    let mut violations = violations.into_inner().unwrap_or_else(PoisonError::into_inner);
    let looked = look::at(&runs, &mut seen, jobs, &mut violations).await?;
    report::print(&seen, looked, &violations, args.json);
    ensure!(violations.is_empty(), "{} violations", violations.len());
    Ok(())
}

struct Corpus {
    runs: Vec<Run>,
    idle: Mutex<Vec<Measured>>,
    helpers: HelperPool,
    tenant: TenantId,
    violations: Violations,
}

impl Corpus {
    /// All runs of one file.
    async fn file(&self, source: &Path, folder: &Path) -> anyhow::Result<Seen> {
        let bytes = bytes::Bytes::from(std::fs::read(source)?);
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = idle().pop();
        let mut measured = measured.context("more files than processes")?;
        let mut seen = Seen {
            source: source.to_owned(),
            format: Format::sniff(&bytes),
            results: Vec::new(),
            memory_percent: 0,
        };
        for run in &self.runs {
            let folder = folder.join(run.name);
            std::fs::create_dir_all(&folder)?;
            let request = Request {
                source: source.to_owned(),
                settings: run.settings.clone(),
                folder,
            };
            let reply = measured.ask(&request).await?;
            let result = self.judged(source, run, reply, &mut seen.memory_percent);
            if run.clean {
                self.helped(source, run, &bytes, &result).await?;
            }
            seen.results.push(result);
        }
        idle().push(measured);
        Ok(seen)
    }

    fn tell(&self, source: &Path, run: &Run, kind: Kind, text: impl Into<String>) {
        let violation = Violation {
            source: source.to_owned(),
            run: run.name,
            kind,
            text: text.into(),
        };
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(violation);
    }

    fn judged(&self, source: &Path, run: &Run, reply: Reply, percent: &mut u64) -> Result<Vec<Made>, Refused> {
        let failed = |code: &str, text: String| Refused {
            code: code.to_owned(),
            text,
        };
        let answer = match reply {
            Reply::Answer(answer) => answer,
            Reply::Hang => {
                self.tell(source, run, Kind::Hang, "still at work when its time was over");
                return Err(failed("hang", "it is still at work".to_owned()));
            }
            Reply::Died(how) => {
                self.tell(source, run, Kind::Died, &how);
                return Err(failed("died", how));
            }
        };
        let Answer {
            outcome,
            peak,
            allowed,
            panics,
            pixels,
        } = answer;
        for panic in panics {
            self.tell(source, run, Kind::Panic, panic);
        }
        for difference in pixels {
            self.tell(source, run, Kind::Pixels, difference);
        }
        if let Some(allowed) = allowed {
            *percent = (*percent).max(peak.saturating_mul(100) / allowed.max(1));
            if peak > allowed {
                self.tell(source, run, Kind::Memory, format!("{peak} of {allowed} bytes"));
            }
        }
        match outcome {
            Outcome::Ready { files, .. } => Ok(files),
            Outcome::Refused { code, text } => Err(Refused { code, text }),
        }
    }

    /// The same by a real helper, within its bounds: it must come to the same.
    async fn helped(
        &self,
        source: &Path,
        run: &Run,
        bytes: &bytes::Bytes,
        result: &Result<Vec<Made>, Refused>,
    ) -> anyhow::Result<()> {
        let probed = match probe(bytes) {
            Ok(probed) if probed.check(&run.settings.limits).is_ok() => probed,
            // No helper is asked for what headers refuse.
            Ok(_) | Err(ProbeError::NeedMore | ProbeError::Media(_)) => return Ok(()),
        };
        let picture = Picture {
            tenant: &self.tenant,
            bytes: bytes.clone(),
            settings: &run.settings,
            memory: probed.memory_bytes(u64::try_from(bytes.len())?, &run.settings),
        };
        let problem = match (self.helpers.make::<Everything>(picture).await, result) {
            (Ok(processed), Ok(files)) => {
                let original = files.iter().find(|file| file.variant.is_none());
                let same = match original {
                    Some(file) => std::fs::read(&file.path)? == processed.original.bytes,
                    None => false,
                };
                (!same).then(|| "it makes another original".to_owned())
            }
            (Err(NotMade::Refused(refusal)), Err(refused)) if refusal.code == refused.code => None,
            (Err(NotMade::Died(died)), _) => Some(died.to_string()),
            (Err(NotMade::NotStarted(error)), _) => return Err(error.into()),
            (Err(NotMade::Refused(refusal)), _) => Some(format!("it refuses: {refusal}")),
            (Ok(_), Err(refused)) => Some(format!("it takes what is refused: {}", refused.text)),
        };
        if let Some(problem) = problem {
            self.tell(source, run, Kind::Helper, problem);
        }
        Ok(())
    }
}

/// Every file below `dirs`, in order, each content once.
fn files(dirs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut open = dirs.to_vec();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let about = std::fs::symlink_metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        if about.is_dir() {
            for entry in std::fs::read_dir(&path).with_context(|| format!("{} cannot be read", path.display()))? {
                open.push(entry?.path());
            }
        } else if about.is_file() && about.len() > 0 {
            found.push(path.canonicalize()?);
        }
    }
    found.sort();
    let mut contents = HashSet::new();
    let mut once = Vec::new();
    for path in found {
        let mut hasher = DefaultHasher::new();
        std::fs::read(&path)?.hash(&mut hasher);
        if contents.insert(hasher.finish()) {
            once.push(path);
        }
    }
    Ok(once)
}
