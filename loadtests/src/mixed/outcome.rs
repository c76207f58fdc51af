//! What became of what was sent.

use crate::client::Client;
use anyhow::bail;
use mediamill_shared::clock::{Clock, Stopwatch};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Between two looks at one job.
const LOOK: Duration = Duration::from_millis(100);

/// A picture that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) kind: &'static str,
    pub(super) good: bool,
    pub(super) bytes: u64,
    /// Its job, or why it was not accepted.
    pub(super) job: Result<String, String>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    kind: &'static str,
    good: bool,
    /// `None`: it is ready; else the cause's code.
    cause: Option<String>,
}

/// Waits for its end.
///
/// # Errors
/// When its job is not over in time.
pub(super) async fn wait(client: &Client, sent: &Sent, patience: u64, clock: &Clock) -> anyhow::Result<Ended> {
    let cause = match &sent.job {
        Ok(job) => settled(client, job, patience, clock).await?,
        Err(refused) => Some(refused.clone()),
    };
    Ok(Ended {
        kind: sent.kind,
        good: sent.good,
        cause,
    })
}

async fn settled(client: &Client, job: &str, patience: u64, clock: &Clock) -> anyhow::Result<Option<String>> {
    let since = Stopwatch::start();
    loop {
        let row = client.job(job).await;
        let state = row.as_ref().ok().and_then(|row| row.get("state")?.as_str());
        match state {
            Some("done") => return Ok(None),
            Some(state @ ("failed" | "dead")) => {
                let code = row
                    .as_ref()
                    .ok()
                    .and_then(|row| row.pointer("/cause/code"))
                    .and_then(Value::as_str);
                return Ok(Some(code.unwrap_or(state).to_owned()));
            }
            _ if since.elapsed().as_secs() > patience => bail!("job {job} is not over: {row:?}"),
            _ => clock.sleep(LOOK).await,
        }
    }
}

/// Ends, counted.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Summary {
    pub(super) good: usize,
    pub(super) ready: usize,
    /// Good ones that are not ready, by kind and cause.
    pub(super) lost: BTreeMap<String, usize>,
    pub(super) hostile: usize,
    /// Hostile ones that are pictures all the same.
    pub(super) survived: usize,
    /// Hostile ones that are not, by the cause's code.
    pub(super) refused: BTreeMap<String, usize>,
}

impl Summary {
    pub(super) fn of(ended: &[Ended]) -> Self {
        let mut summary = Self::default();
        for one in ended {
            match (&one.cause, one.good) {
                (None, true) => summary.ready += 1,
                (None, false) => summary.survived += 1,
                (Some(cause), true) => *summary.lost.entry(format!("{}: {cause}", one.kind)).or_default() += 1,
                (Some(cause), false) => *summary.refused.entry(cause.clone()).or_default() += 1,
            }
            if one.good {
                summary.good += 1;
            } else {
                summary.hostile += 1;
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_by_whether_they_ought_to_be() {
        let end = |good, cause: Option<&str>| Ended {
            kind: "PNG",
            good,
            cause: cause.map(str::to_owned),
        };
        let ends = [
            end(true, None),
            end(true, Some("corrupt")),
            end(false, None),
            end(false, Some("corrupt")),
            end(false, Some("corrupt")),
        ];
        let summary = Summary::of(&ends);
        assert_eq!((summary.good, summary.ready), (2, 1));
        assert_eq!((summary.hostile, summary.survived), (3, 1));
        assert_eq!(summary.lost.get("PNG: corrupt"), Some(&1));
        assert_eq!(summary.refused.get("corrupt"), Some(&2));
    }
}
