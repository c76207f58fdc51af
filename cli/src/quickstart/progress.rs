//! How far it is: bars on a terminal, a line for each step elsewhere.

use super::files::Picture;
use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Shared by all uploads.
#[derive(Debug)]
pub(crate) struct Progress {
    total: usize,
    ended: AtomicUsize,
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    upload: ProgressBar,
    processing: ProgressBar,
    ready: ProgressBar,
}

impl Progress {
    /// Bars when standard error is a terminal.
    pub(crate) fn start(pictures: &[Picture]) -> anyhow::Result<Self> {
        let bars = if std::io::stderr().is_terminal() {
            Some(Bars::draw(pictures)?)
        } else {
            None
        };
        Ok(Self {
            total: pictures.len(),
            ended: AtomicUsize::new(0),
            bars,
        })
    }

    /// So many bytes more have been handed to the network. A repeated upload counts again.
    pub(crate) fn sent(&self, bytes: usize) {
        if let Some(bars) = &self.bars {
            bars.upload.inc(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// It is accepted: its bytes are stored and its job is on record.
    pub(crate) fn accepted(&self, name: &str) {
        if self.bars.is_none() {
            output::remark(format!("accepted    {}", output::plain(name)));
        }
    }

    /// A worker has it.
    pub(crate) fn processing(&self, name: &str) {
        match &self.bars {
            Some(bars) => bars.processing.inc(1),
            None => output::remark(format!("processing  {}", output::plain(name))),
        }
    }

    /// It came to an end, this one or another.
    pub(crate) fn ended(&self, name: &str, what: &str, was_processing: bool) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        match &self.bars {
            Some(bars) => {
                if !was_processing {
                    bars.processing.inc(1);
                }
                bars.ready.inc(1);
            }
            None => output::remark(format!(
                "{what:<10}  {} ({ended} of {})",
                output::plain(name),
                self.total
            )),
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        if let Some(bars) = &self.bars {
            for bar in [&bars.upload, &bars.processing, &bars.ready] {
                bar.finish();
            }
            // A terminal that cannot be cleared shows the bars a little longer.
            let _ = bars.all.clear();
        }
    }
}

impl Bars {
    fn draw(pictures: &[Picture]) -> anyhow::Result<Self> {
        let all = MultiProgress::new();
        let bytes = pictures
            .iter()
            .fold(0_u64, |sum, picture| sum.saturating_add(picture.bytes));
        let count = u64::try_from(pictures.len()).unwrap_or(u64::MAX);
        let bar = |name: &'static str, length: u64, template: &str| -> anyhow::Result<ProgressBar> {
            let style = ProgressStyle::with_template(template)?.progress_chars("━━╌");
            Ok(all.add(ProgressBar::new(length).with_style(style).with_message(name)))
        };
        let by_bytes = "{msg:10} {bar:40.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec}";
        let by_count = "{msg:10} {bar:40.cyan/dim} {pos}/{len}";
        Ok(Self {
            upload: bar("upload", bytes, by_bytes)?,
            processing: bar("processing", count, by_count)?,
            ready: bar("ready", count, by_count)?,
            all,
        })
    }
}
