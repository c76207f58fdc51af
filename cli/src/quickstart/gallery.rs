//! A page that shows a tenant's newest pictures: for the demo only. No script, no form, no key.

use crate::moments::shown as moment;
use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use mediamill_shared::{
    ids::MediaId,
    services::Services,
    tenancy::{
        TenantDb,
        store::media::{Media, ORIGINAL, Variant},
    },
};
use serde::Deserialize;
use std::fmt::Write as _;

use super::report::removed_in_words;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;background:#fafafa;color:#222}\
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1.5rem}\
figure{margin:0;background:#fff;border:1px solid #ddd;border-radius:.5rem;overflow:hidden}\
figure a{display:flex;height:15rem;align-items:center;justify-content:center;background:#eee}\
img{max-width:100%;max-height:100%;object-fit:contain}figcaption{padding:.75rem;font-size:.85rem;overflow-wrap:anywhere}\
figcaption b{display:block}small{color:#666}";

/// Pictures on a page.
const PAGE: i64 = 60;

/// The page at `/` and its style.
pub(crate) fn router(services: Services, demo: String) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/gallery.css", get(style))
        .with_state(Gallery { services, demo })
}

#[derive(Clone)]
struct Gallery {
    services: Services,
    /// Where the demo's tenant is served.
    demo: String,
}

#[derive(Deserialize)]
struct Asked {
    before: Option<String>,
}

async fn style() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=3600"),
        ],
        STYLE,
    )
}

async fn page(State(gallery): State<Gallery>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    match tables(&gallery, host).await {
        Ok(Some(db)) => {
            let before: Option<MediaId> = asked.before.and_then(|id| id.parse().ok());
            let now = gallery.services.clock.now();
            match db.media_page(before.as_ref(), PAGE, Some(now)).await {
                Ok(pictures) => html(&gallery, StatusCode::OK, &render(&pictures)),
                Err(error) => away(&gallery, &error),
            }
        }
        Ok(None) => html(&gallery, StatusCode::NOT_FOUND, &elsewhere(&gallery.demo)),
        Err(error) => away(&gallery, &error),
    }
}

async fn tables(gallery: &Gallery, host: &str) -> Result<Option<TenantDb>, mediamill_shared::tenancy::ResolveError> {
    let tenant = Box::pin(gallery.services.resolver.by_host(host)).await?;
    Ok(tenant.and_then(|tenant| tenant.db().ok()))
}

fn away(gallery: &Gallery, error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::warn!(error, "the gallery could not be shown");
    html(
        gallery,
        StatusCode::SERVICE_UNAVAILABLE,
        "<p>The database does not answer. Try again in a moment.</p>",
    )
}

fn html(gallery: &Gallery, status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>mediamill</title><link rel=\"stylesheet\" href=\"/gallery.css\"></head><body><h1>mediamill</h1>{body}</body></html>"
    );
    let headers: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy(gallery)),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, page).into_response()
}

fn policy(gallery: &Gallery) -> &'static str {
    // A picture may be a redirect to the store, which the policy follows.
    if gallery.services.config.objects_url.scheme() == "s3" {
        "default-src 'none'; img-src 'self' http: https:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    } else {
        "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    }
}

fn elsewhere(demo: &str) -> String {
    let demo = escaped(demo);
    format!(
        "<p>Tenants are told apart by host name, and none is served at this one. The demo is at <a href=\"{demo}/\">{demo}</a>.</p>"
    )
}

fn render(pictures: &[(Media, Vec<Variant>)]) -> String {
    let Some((oldest, _)) = pictures.last() else {
        return "<p>No pictures here.</p>".to_owned();
    };
    let mut text = String::from("<main>");
    for (media, files) in pictures {
        figure(&mut text, media, files);
    }
    text.push_str("</main>");
    if i64::try_from(pictures.len()).is_ok_and(|count| count >= PAGE) {
        let _ = write!(text, "<p><a href=\"/?before={}\">older</a></p>", oldest.id);
    }
    text
}

fn figure(text: &mut String, media: &Media, files: &[Variant]) {
    let named = |name: &str| files.iter().any(|file| file.name == name);
    let small = if named("thumb") { "thumb" } else { ORIGINAL };
    let large = if named("large") { "large" } else { ORIGINAL };
    let name = escaped(media.file_name.as_deref().unwrap_or(media.id.as_str()));
    let removed = removed_in_words(&media.removed);
    let removed = if removed.is_empty() {
        "nothing".to_owned()
    } else {
        removed.join(", ")
    };
    // Writing to a String has no way to fail.
    let _ = write!(
        text,
        "<figure><a href=\"/m/{id}/{large}\"><img src=\"/m/{id}/{small}\" alt=\"{name}\" loading=\"lazy\"></a>\
         <figcaption><b>{name}</b>{width} × {height}, {format}, {uploaded} uploaded, {stored} stored<br>removed: {removed}<br>\
         <small>{moment} · <a href=\"/m/{id}/{ORIGINAL}\">original</a></small></figcaption></figure>",
        id = media.id,
        large = escaped(large),
        small = escaped(small),
        width = media.width,
        height = media.height,
        format = escaped(&media.format),
        uploaded = media.uploaded_bytes,
        stored = media.stored_bytes,
        removed = escaped(&removed),
        moment = moment(media.created_at),
    );
}

/// Text for HTML, in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::{
        placement::Places,
        units::{ByteCount, Millis},
    };

    fn media(name: &str, removed: &str) -> Media {
        Media {
            id: "01hf7y0000000000000000000a".parse().unwrap(),
            job: "01hf7y0000000000000000000b".parse().unwrap(),
            key: None,
            file_name: Some(name.to_owned()),
            format: "jpeg".to_owned(),
            width: 40,
            height: 30,
            uploaded_bytes: ByteCount::new(5_000),
            stored_bytes: ByteCount::new(6_000),
            removed: removed.to_owned(),
            facts: "{}".to_owned(),
            created_at: Millis::new(0),
            frames: 1,
            expires_at: None,
            sha256: None,
        }
    }

    #[test]
    fn what_uploaders_wrote_stays_text() {
        let removed = r#"[{"what":"comment","detail":"<script>alert(1)</script>","bytes":1}]"#;
        let page = render(&[(media("\"><img src=x onerror='1'>&", removed), Vec::new())]);
        assert!(
            !page.contains("<script") && !page.contains("<img src=x") && !page.contains("onerror='"),
            "{page}"
        );
        assert!(
            page.contains("alt=\"&quot;&gt;&lt;img src=x onerror=&#39;1&#39;&gt;&amp;\""),
            "{page}"
        );
        assert!(
            page.contains("removed: comment (&lt;script&gt;alert(1)&lt;/script&gt;)"),
            "{page}"
        );
    }

    #[test]
    fn a_thumbnail_leads_to_the_large_variant_and_without_variants_to_the_original() {
        let variant = |name: &str| Variant {
            media: media("a", "[]").id,
            name: name.to_owned(),
            format: "jpeg".to_owned(),
            object: format!("media/demo/x/{name}.jpg").parse().unwrap(),
            width: 4,
            height: 3,
            bytes: ByteCount::new(1),
            sha256: String::new(),
            places: Places::main(),
        };
        let with = render(&[(media("a", "[]"), vec![variant("thumb"), variant("large")])]);
        assert!(
            with.contains("a/large\"><img src=\"/m/01hf7y0000000000000000000a/thumb\""),
            "{with}"
        );
        let without = render(&[(media("a", "[]"), vec![variant(ORIGINAL)])]);
        assert!(
            without.contains("a/original\"><img src=\"/m/01hf7y0000000000000000000a/original\""),
            "{without}"
        );
        assert!(render(&[]).contains("No pictures"));
    }
}
