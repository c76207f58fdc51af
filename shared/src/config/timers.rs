//! How often timers run.

use super::values::duration;
use std::{collections::BTreeMap, time::Duration};

/// Periods of timers by their names, where they are not the timers' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerPeriods(BTreeMap<String, Duration>);

impl TimerPeriods {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30 * 86_400);

    /// Each timer that has one, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.0.iter().map(|(name, every)| (name.as_str(), *every))
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let mut periods = BTreeMap::new();
        for word in words.filter(|word| !word.is_empty()) {
            let Some((name, every)) = word.split_once('=') else {
                return Err(format!("{word:?} is no period: write NAME=TIME, such as prune=1h"));
            };
            let every = duration(every)?;
            if !(Self::SHORTEST..=Self::LONGEST).contains(&every) {
                return Err(format!("{word:?}: a period is 100ms to 30d"));
            }
            if periods.insert(name.to_owned(), every).is_some() {
                return Err(format!("{name:?} has two periods"));
            }
        }
        Ok(Self(periods))
    }

    pub(super) fn show(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(|(name, every)| format!("{name}={every:?}")).collect();
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_or_refused() {
        let read = TimerPeriods::read("prune=1h, reconcile-usage=90s\n").unwrap();
        let all: Vec<_> = read.all().collect();
        assert_eq!(
            all,
            [
                ("prune", Duration::from_secs(3_600)),
                ("reconcile-usage", Duration::from_secs(90))
            ]
        );
        assert_eq!(TimerPeriods::read("").unwrap(), TimerPeriods::default());
        for bad in [
            "prune",
            "prune=",
            "prune=0s",
            "prune=99ms",
            "prune=31d",
            "prune=1h prune=2h",
            "prune=often",
        ] {
            assert!(TimerPeriods::read(bad).is_err(), "{bad}");
        }
    }
}
