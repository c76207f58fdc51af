//! When schedulers were let run, and when they ran which timer.

use anyhow::Context;
use mediamill_shared::units::Millis;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// When a process was let run.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// From, to; the last one may have no end.
    awake: Vec<(Millis, Option<Millis>)>,
    kills: Vec<Millis>,
}

impl Life {
    pub(super) fn began(&mut self, now: Millis) {
        self.awake.push((now, None));
    }

    pub(super) fn stopped(&mut self, now: Millis) {
        if let Some(last) = self.awake.last_mut() {
            last.1 = Some(now);
        }
    }

    pub(super) fn woken(&mut self, now: Millis) {
        self.awake.push((now, None));
    }

    pub(super) fn killed(&mut self, now: Millis) {
        self.stopped(now);
        self.kills.push(now);
    }

    /// The parts of a time that the process was awake in.
    fn within(&self, from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
        let parts = self.awake.iter().filter_map(|(woke, slept)| {
            let (from, to) = (from.max(*woke), slept.map_or(to, |slept| to.min(slept)));
            (from < to).then_some((from, to))
        });
        parts.collect()
    }
}

/// A run of a timer.
#[derive(Debug)]
struct Run {
    began: Millis,
    ended: Millis,
    /// It was left before its end, or its process was killed.
    left: bool,
    awake: Vec<(Millis, Millis)>,
}

/// All runs, by timer.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<String, Vec<Run>>,
    fences: BTreeSet<i64>,
}

impl Runs {
    /// Reads a process's log; it may have been started several times.
    pub(super) fn read(&mut self, log: &str, process: &Life) -> anyhow::Result<()> {
        let mut open: BTreeMap<(String, String), Millis> = BTreeMap::new();
        for line in log.lines() {
            // A process that was killed may have left half a line.
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let (Some(timer), Some(at)) = (text(&line, "timer"), line.get("at").and_then(Value::as_i64)) else {
                continue;
            };
            let (holder, at) = (text(&line, "holder").context("a run of nobody")?, Millis::new(at));
            let fence = line
                .get("fence")
                .and_then(Value::as_i64)
                .context("a run without a fence")?;
            let (key, message) = ((timer.clone(), holder), text(&line, "message").unwrap_or_default());
            if message.ends_with("begins") {
                self.fences.insert(fence);
                open.insert(key, at);
            } else if let Some(began) = open.remove(&key) {
                self.add(timer, process, began, at, !message.ends_with("ended"));
            }
        }
        for ((timer, _), began) in open {
            let killed = process.kills.iter().find(|killed| **killed >= began);
            let ended = *killed.context("a run that neither ended nor was killed")?;
            self.add(timer, process, began, ended, true);
        }
        Ok(())
    }

    fn add(&mut self, timer: String, process: &Life, began: Millis, ended: Millis, left: bool) {
        let awake = process.within(began, ended);
        self.runs.entry(timer).or_default().push(Run {
            began,
            ended,
            left,
            awake,
        });
    }

    /// How often leadership was taken.
    pub(super) fn fences(&self) -> usize {
        self.fences.len()
    }

    fn of(&self, timer: &str) -> &[Run] {
        self.runs.get(timer).map_or(&[], Vec::as_slice)
    }

    /// Runs, and those of them that were left.
    pub(super) fn count(&self, timer: &str) -> (usize, usize) {
        let runs = self.of(timer);
        (runs.len(), runs.iter().filter(|run| run.left).count())
    }

    /// The longest time that two runs were at work at once.
    pub(super) fn overlap(&self, timer: &str) -> Duration {
        let runs = self.of(timer);
        let mut longest = Duration::ZERO;
        for (place, one) in runs.iter().enumerate() {
            for other in runs.iter().skip(place + 1) {
                let both = one.awake.iter().flat_map(|a| other.awake.iter().map(move |b| (a, b)));
                let shared = both.map(|(a, b)| a.1.min(b.1).since(a.0.max(b.0)));
                longest = longest.max(shared.max().unwrap_or_default());
            }
        }
        longest
    }

    /// The longest time between the beginnings of two runs, or before the first, or after the last.
    pub(super) fn longest_gap(&self, timer: &str, began: Millis, ended: Millis) -> Duration {
        let mut moments: Vec<Millis> = self.of(timer).iter().map(|run| run.began).collect();
        moments.extend([began, ended]);
        moments.sort();
        let gaps = moments.iter().zip(moments.iter().skip(1));
        gaps.map(|(a, b)| b.since(*a)).max().unwrap_or_default()
    }

    /// The longest that one run took, where it was not left.
    pub(super) fn longest(&self, timer: &str) -> Duration {
        let whole = self.of(timer).iter().filter(|run| !run.left);
        whole.map(|run| run.ended.since(run.began)).max().unwrap_or_default()
    }
}

fn text(line: &Value, name: &str) -> Option<String> {
    line.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, holder: &str, fence: i64, at: i64) -> String {
        format!(
            r#"{{"timer":"prune","message":"a timer's run {message}","holder":"{holder}","fence":{fence},"at":{at}}}"#
        )
    }

    #[test]
    fn runs_at_once_are_seen_but_not_while_one_of_them_sleeps() {
        let at = Millis::new;
        let (mut a, mut b) = (Life::default(), Life::default());
        a.began(at(0));
        b.began(at(0));
        a.stopped(at(110));
        a.woken(at(400));
        let mut runs = Runs::default();
        let left = "was left: its process does not lead any more";
        let log = [line("begins", "a", 1, 100), line(left, "a", 1, 401)].join("\n");
        runs.read(&log, &a).unwrap();
        let log = [line("begins", "b", 2, 300), line("ended", "b", 2, 390)].join("\n");
        runs.read(&log, &b).unwrap();
        assert_eq!(runs.overlap("prune"), Duration::ZERO);
        assert_eq!((runs.count("prune"), runs.fences()), ((2, 1), 2));
        assert_eq!(runs.longest_gap("prune", at(0), at(1_000)), Duration::from_millis(700));
        // One that is killed in the middle of a run which overlaps another's.
        b.killed(at(460));
        let log = [line("begins", "b", 2, 380), "{half".to_owned()].join("\n");
        runs.read(&log, &b).unwrap();
        assert_eq!(runs.overlap("prune"), Duration::from_millis(10));
        assert_eq!(runs.longest("prune"), Duration::from_millis(90));
    }
}
