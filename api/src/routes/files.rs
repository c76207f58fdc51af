//! `GET /m/{id}/{variant}`: the pictures themselves. Public, immutable, and never anything but a picture to a browser.

use super::{on_demand, views::id};
use crate::{
    extract::Site,
    problem::{Cause, Problem},
    rates::Rates,
    state::State,
};
use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;
use mediamill_shared::{
    ids::MediaId,
    objects::ObjectError,
    placement::ReadError,
    tenancy::{
        ImageFormat,
        store::media::{Served, Variant},
    },
    units::ByteCount,
};
use serde::Deserialize;
use std::{ops::Range, time::Duration};
use utoipa::IntoParams;

/// How long a presigned URL opens its object.
const PRESIGNED: Duration = Duration::from_secs(600);
/// A year: the longest that RFC 9111's readers keep anything.
const FOR_EVER: Duration = Duration::from_secs(31_536_000);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinkQuery {
    /// Needed where the file is still to be made: `hex(HMAC-SHA256(secret of a link key, decoded path))`.
    sig: Option<String>,
}

/// Serves a file of a picture, or redirects to where the store serves it.
///
/// The bytes that are sent count against the tenant's `bytes_out_month`; a redirect counts as the whole file, and `HEAD` and 304 as
/// nothing.
///
/// A name such as `w400,h300,cover.webp` is a variant that nobody has set. The first signed link to it makes it; from then on
/// it is there like every other file. At most 30 seconds are waited for that.
#[utoipa::path(get, path = "/m/{id}/{variant}", tag = "files",
    params(("id" = String, Path), ("variant" = String, Path, description = "`original` or a variant's name, where an extension that fits is allowed; or what a link asks for"), LinkQuery),
    responses((status = 200, description = "The file."), (status = 206, description = "The range that was asked for."),
        (status = 302, description = "Where the store serves it."), (status = 304, description = "The client has it."),
        (status = 400, description = "bad-request: a signed link asks for no variant"), (status = 403, description = "wrong-link, over-quota, frozen"),
        (status = 404, description = "not-found"), (status = 416, description = "range-not-satisfiable"),
        (status = 422, description = "media-failed"), (status = 429, description = "rate-limited: `bytes_out_month` is used up"), (status = 503, description = "unavailable: it is still being made")))]
pub(crate) async fn serve(
    Shared(state): Shared<State>,
    site: Site,
    Extension(rates): Extension<Rates>,
    Path((media, name)): Path<(String, String)>,
    query: Result<Query<LinkQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let media: MediaId = id(&media)?;
    let missing = || Problem::new(Cause::NotFound, format!("there is no {name:?} of {media} here"));
    let (stem, extension) = name
        .split_once('.')
        .map_or((name.as_str(), None), |(stem, end)| (stem, Some(end)));
    let fitting = |variant: &Variant| extension.is_none_or(|extension| fits(extension, &variant.format));
    let now = state.services.clock.now();
    let found = site.db.served(&media, stem, now).await?;
    let served = if let Some(found) = found.filter(|found| fitting(&found.variant)) {
        found
    } else {
        state.served.room_for(&site.tenant, 1, &rates).await?;
        let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
        let made = on_demand::variant(&state, &site, &media, &name, query.sig.as_deref()).await?;
        made.filter(|made| fitting(&made.variant)).ok_or_else(missing)?
    };
    let Served { variant, until } = served;
    let left = until.map(|until| until.since(state.services.clock.now()));
    let etag = format!("\"{}\"", variant.sha256);
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| names(value, &etag))
    {
        return Ok(dressed(StatusCode::NOT_MODIFIED, &variant, &etag, left, Body::empty()));
    }
    let total = variant.bytes.unsigned();
    let storages = &state.services.storages;
    let lives = left.map_or(PRESIGNED, |left| left.min(PRESIGNED));
    let redirect = storages.redirect(site.tenant.id(), &variant.places, &variant.object, lives);
    if let Some(url) = redirect.await? {
        let mut response = StatusCode::FOUND.into_response();
        let location = HeaderValue::try_from(url.as_str()).map_err(|_| missing())?;
        if method != Method::HEAD {
            // What the store will send is not seen here: it is taken for the whole file, once.
            state.served.room_for(&site.tenant, total, &rates).await?;
            state.served.meter(site.tenant.id()).add(total);
        }
        // Shorter than the URL lives.
        let cached = format!("private, max-age={}", lives.as_secs() / 2);
        let out = response.headers_mut();
        out.insert(header::LOCATION, location);
        out.insert(
            header::CACHE_CONTROL,
            HeaderValue::try_from(cached).map_err(|_| missing())?,
        );
        return Ok(response);
    }
    let range = range(&headers, &etag, total)?;
    let (status, wanted) = match &range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        None => (StatusCode::OK, 0..total),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        state
            .served
            .room_for(&site.tenant, wanted.end.saturating_sub(wanted.start), &rates)
            .await?;
        let tenant = site.tenant.id();
        let fetched = match storages
            .get(tenant, &variant.places, &variant.object, range.clone())
            .await
        {
            Err(ReadError::Objects(ObjectError::Missing { .. })) => {
                // It may have been moved since its places were read.
                let present = site.db.variant(&media, &variant.name).await?.ok_or_else(missing)?;
                storages
                    .get(tenant, &present.places, &present.object, range.clone())
                    .await?
            }
            fetched => fetched?,
        };
        let meter = state.served.meter(tenant);
        let counted = fetched
            .body
            .inspect_ok(move |chunk| meter.add(ByteCount::of(chunk.len()).unsigned()));
        Body::from_stream(counted.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file broke off while it was served"
            );
            error
        }))
    };
    let mut response = dressed(status, &variant, &etag, left, body);
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(wanted.end - wanted.start));
    if range.is_some() {
        let text = format!("bytes {}-{}/{total}", wanted.start, wanted.end.saturating_sub(1));
        if let Ok(value) = HeaderValue::try_from(text) {
            out.insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

fn fits(extension: &str, format: &str) -> bool {
    match format {
        "jpeg" => matches!(extension, "jpg" | "jpeg"),
        "tiff" => matches!(extension, "tif" | "tiff"),
        other => extension == other,
    }
}

fn mime(format: &str) -> &'static str {
    let mut known = ImageFormat::ALL.iter();
    let known = known.find(|known| known.as_str().eq_ignore_ascii_case(format));
    // Written by a newer release: a browser is told nothing that it could run.
    known.map_or("application/octet-stream", |known| known.mime())
}

/// RFC 9110 13.1.2: any of a list, or `*`; weak tags compare equal.
fn names(value: &HeaderValue, etag: &str) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// `left` is how long the picture will be there, where that is known: nobody keeps it for longer.
fn dressed(status: StatusCode, variant: &Variant, etag: &str, left: Option<Duration>, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let cached = match left {
        Some(left) if left < FOR_EVER => format!("public, max-age={}", left.as_secs()),
        Some(_) | None => format!("public, max-age={}, immutable", FOR_EVER.as_secs()),
    };
    if let Ok(cached) = HeaderValue::try_from(cached) {
        headers.insert(header::CACHE_CONTROL, cached);
    }
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, mime(&variant.format)),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_DISPOSITION, "inline"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// RFC 9110 14: one range of bytes. Several, or one that is not understood, are answered with the whole.
fn range(headers: &HeaderMap, etag: &str, total: u64) -> Result<Option<Range<u64>>, Problem> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    // If-Range: with another tag the client's part is of another file.
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|value| value.to_str().ok() != Some(etag))
    {
        return Ok(None);
    }
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .filter(|spec| !spec.contains(','))
        .and_then(|spec| spec.split_once('-'))
    else {
        return Ok(None);
    };
    let (first, last) = (first.trim(), last.trim());
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(total),
        (Ok(first), Err(_)) if last.is_empty() => first..total,
        (Err(_), Ok(length)) if first.is_empty() => total.saturating_sub(length)..total,
        _ => return Ok(None),
    };
    if range.start >= range.end {
        let problem = Problem::new(Cause::RangeNotSatisfiable, format!("the file has {total} bytes"));
        return Err(problem.with("size", total));
    }
    Ok(Some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range_text: &str, if_range: Option<&str>) -> Result<Option<Range<u64>>, Cause> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range_text.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        range(&headers, "\"e\"", 100).map_err(|problem| problem.cause())
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_refused_past_it() {
        assert_eq!(asked("bytes=0-9", None), Ok(Some(0..10)));
        assert_eq!(asked("bytes=90-", None), Ok(Some(90..100)));
        assert_eq!(asked("bytes=-5", None), Ok(Some(95..100)));
        assert_eq!(asked("bytes=-500", None), Ok(Some(0..100)));
        assert_eq!(asked("bytes=50-500", None), Ok(Some(50..100)));
        assert_eq!(asked("bytes=100-", None), Err(Cause::RangeNotSatisfiable));
        assert_eq!(asked("bytes=-0", None), Err(Cause::RangeNotSatisfiable));
        for whole in ["bytes=5-1", "bytes=0-1,5-6", "bytes=a-b", "lines=0-1"] {
            assert_eq!(asked(whole, None), Ok(None), "{whole}");
        }
        assert_eq!(asked("bytes=0-9", Some("\"e\"")), Ok(Some(0..10)));
        assert_eq!(asked("bytes=0-9", Some("\"other\"")), Ok(None));
    }

    #[test]
    fn every_format_is_told_to_browsers_and_has_its_extension() {
        for format in mediamill_shared::tenancy::ImageFormat::ALL {
            let name = format.as_str().to_ascii_lowercase();
            assert_eq!(mime(&name), format!("image/{name}"));
            assert!(fits(&name, &name), "{name}");
        }
        assert!(fits("jpg", "jpeg") && fits("tif", "tiff") && !fits("png", "avif"));
        assert_eq!(mime("jpegxl"), "application/octet-stream");
    }

    #[test]
    fn tags_are_compared_as_the_specification_says() {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        assert!(names(&value("\"a\", W/\"e\""), "\"e\""));
        assert!(names(&value("*"), "\"e\""));
        assert!(!names(&value("\"a\""), "\"e\""));
    }
}
