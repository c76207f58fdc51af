//! What answers look like.

use crate::{extract::Site, problem::Problem};
use mediamill_shared::{
    control::jobs::JobRow,
    jobs::JobState,
    tenancy::{
        Finding,
        store::media::{Media, Variant},
    },
    units::Millis,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A stored file of a picture.
#[derive(Serialize, ToSchema)]
pub(crate) struct VariantView {
    /// `original`, or what the tenant calls a variant: `thumb`, `medium` and `large` where it says nothing. What a link
    /// asked for begins with `_`.
    name: String,
    /// `jpeg`, `png`, …
    format: String,
    /// Pixels across.
    width: i64,
    /// Pixels down.
    height: i64,
    /// Size, bytes.
    bytes: i64,
    /// SHA-256 of the file, hexadecimal.
    sha256: String,
    /// Where it is served.
    url: String,
}

/// Something that was removed from an upload.
#[derive(Serialize, serde::Deserialize, ToSchema)]
pub(crate) struct RemovedView {
    /// What, in words: `GPS position`.
    what: String,
    /// What it said, where that is short and readable.
    detail: String,
    /// Its size in the file; 0 for a part of a block that is named too.
    bytes: u64,
}

/// A picture.
#[derive(Serialize, ToSchema)]
pub(crate) struct MediaView {
    /// Its id.
    id: String,
    /// `ready`, `processing` or `failed`.
    state: &'static str,
    /// Name it was uploaded under.
    file_name: Option<String>,
    /// Format of the original.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    /// Pixels across, as displayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<i64>,
    /// Pixels down, as displayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<i64>,
    /// Size as uploaded, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded_bytes: Option<i64>,
    /// Size of all stored files, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<i64>,
    /// What was removed from the upload.
    removed: Vec<RemovedView>,
    /// What its metadata told: camera, lens, date taken.
    facts: serde_json::Value,
    /// When it was accepted, RFC 3339.
    created_at: String,
    /// When it expires, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Its files, the largest first.
    variants: Vec<VariantView>,
    /// Why there is no picture, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<CauseView>,
}

/// Why a job did not succeed.
#[derive(Serialize, ToSchema)]
pub(crate) struct CauseView {
    /// Stable, for programs.
    pub(crate) code: String,
    /// For people.
    pub(crate) text: String,
}

/// A job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobView {
    /// Its id.
    id: String,
    /// `media.process`, `media.fetch`, `media.delete`, …
    kind: &'static str,
    /// `queued`, `running`, `done`, `failed` (for good) or `dead` (an operator may retry it).
    state: &'static str,
    /// Attempts begun.
    attempts: i64,
    /// The picture it is about.
    media: Option<String>,
    /// When it was accepted, RFC 3339.
    created_at: String,
    /// When it became final, RFC 3339.
    finished_at: Option<String>,
    /// When it is tried again at the earliest, RFC 3339; only while it waits for that.
    next_attempt_at: Option<String>,
    /// Why its last attempt failed.
    cause: Option<CauseView>,
}

/// A moment as RFC 3339, UTC, to the millisecond.
pub(crate) fn rfc3339(moment: Millis) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    // Years of four digits: what is beyond the first or the last is shown as that.
    let shown = time::OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::milliseconds(moment.get()));
    shown.format(format).unwrap_or_default()
}

/// Why a job's last attempt failed.
pub(crate) fn cause(row: &JobRow) -> Option<CauseView> {
    Some(CauseView {
        code: row.cause_code.clone()?,
        text: row.cause.clone().unwrap_or_default(),
    })
}

impl MediaView {
    /// A picture that is ready.
    pub(crate) fn ready(site: &Site, scheme: &str, media: Media, variants: Vec<Variant>) -> Self {
        let base = format!("{scheme}://{}/m/{}", site.host, media.id);
        let variants = variants
            .into_iter()
            .map(|variant| VariantView {
                url: format!("{base}/{}", variant.name),
                name: variant.name,
                format: variant.format,
                width: variant.width,
                height: variant.height,
                bytes: variant.bytes.get(),
                sha256: variant.sha256,
            })
            .collect();
        Self {
            id: media.id.to_string(),
            state: "ready",
            file_name: media.file_name,
            format: Some(media.format),
            width: Some(media.width),
            height: Some(media.height),
            uploaded_bytes: Some(media.uploaded_bytes.get()),
            stored_bytes: Some(media.stored_bytes.get()),
            // Written by a worker of this or another release: what is not readable is left out, not an error.
            removed: serde_json::from_str(&media.removed).unwrap_or_default(),
            facts: serde_json::from_str(&media.facts).unwrap_or_default(),
            created_at: rfc3339(media.created_at),
            expires_at: media.expires_at.map(rfc3339),
            variants,
            cause: None,
        }
    }

    /// One that is still, or for ever, only a job.
    pub(crate) fn only_job(id: String, row: &JobRow) -> Self {
        let failed = matches!(row.state, JobState::Failed | JobState::Dead);
        Self {
            id,
            state: if failed { "failed" } else { "processing" },
            file_name: None,
            format: None,
            width: None,
            height: None,
            uploaded_bytes: None,
            stored_bytes: None,
            removed: Vec::new(),
            facts: serde_json::Value::Object(serde_json::Map::new()),
            created_at: rfc3339(row.created_at),
            expires_at: None,
            variants: Vec::new(),
            cause: if failed { cause(row) } else { None },
        }
    }
}

/// Something of a tenant that does not fit.
#[derive(Serialize, ToSchema)]
pub(crate) struct FindingView {
    /// The limit's name, or `trial`: that is over.
    limit_name: &'static str,
    /// `grace`, `expiring` (the oldest pictures are being deleted) or `frozen` (uploads are refused).
    state: &'static str,
    /// How much is used, when that was looked at last; 0 of a trial.
    used: i64,
    /// How much may be; 0 of a trial.
    limit: i64,
    /// Since when, RFC 3339; of a trial its end.
    since: String,
    /// When its grace is over, or was, RFC 3339.
    freeze_at: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            limit_name: finding.reason.as_str(),
            state: finding.state.as_str(),
            used: finding.used,
            limit: finding.allowed,
            since: rfc3339(finding.since),
            freeze_at: rfc3339(finding.freeze_at),
        }
    }
}

impl JobView {
    pub(crate) fn of(row: &JobRow, now: Millis) -> Self {
        let waits = row.state == JobState::Queued && row.due_at > now;
        Self {
            id: row.id.to_string(),
            kind: row.kind.as_str(),
            state: row.state.as_str(),
            attempts: row.attempts,
            media: row.subject.clone(),
            created_at: rfc3339(row.created_at),
            finished_at: row.finished_at.map(rfc3339),
            next_attempt_at: waits.then(|| rfc3339(row.due_at)),
            cause: cause(row),
        }
    }
}

/// An id in a path or query that is none is a thing that is not there.
pub(crate) fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Problem::new(crate::problem::Cause::NotFound, format!("there is no {text:?} here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_dates() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_392_000_000, "2026-11-23T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Millis::new(millis)), text);
        }
    }
}
