//! The API's description, generated from the handlers, and a page for people to read it.

use crate::{problem::Cause, routes, state::State};
use axum::{
    Json,
    http::header,
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;
use std::fmt::Write as _;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(
    info(title = "mediamill", description = "Uploads in, cleaned pictures out. The tenant is decided by `Host`."),
    modifiers(&Keys),
    tags((name = "media"), (name = "jobs"), (name = "usage"), (name = "files"), (name = "link-keys"),
        (name = "storages", description = "The tenant's own storages, for keys of its administrators: see docs/storages.md."),
        (name = "resumable", description = "Uploads in pieces by the tus protocol 1.0.0: see docs/resumable.md."),
        (name = "direct", description = "Uploads whose bytes go to the store itself: see docs/direct.md."), (name = "tenants"),
        (name = "tenants-api", description = "For providers, compatible with Chevereto's Tenants API: see docs/tenants-api.md."))
)]
struct Description;

struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "X-API-Key",
            "Or the same key as `Authorization: Bearer`.",
        )));
        let operator = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "X-API-Key",
            "An operator's key, `chv_<number>_<secret>`.",
        )));
        let signature = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "X-Signature",
            "HMAC-SHA256 of the body in hexadecimal, where `tenants_api_request_secret` is set; or `X-Signature-Full` with \
             `X-Signature-Time` and `X-Signature-Nonce`, which covers method, path and query too and is taken once.",
        )));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", header);
        components.add_security_scheme("operator", operator);
        components.add_security_scheme("signature", signature);
    }
}

/// Routes that the description describes.
pub(crate) fn described() -> (axum::Router<State>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(routes::upload::upload, routes::media::list))
        .routes(routes!(routes::from_url::upload))
        .routes(routes!(routes::media::show, routes::media::edit, routes::media::delete))
        .routes(routes!(routes::jobs::show))
        .routes(routes!(routes::jobs::events))
        .routes(routes!(routes::usage::show))
        .routes(routes!(routes::limits::show))
        .routes(routes!(routes::files::serve))
        .routes(routes!(routes::link_keys::list, routes::link_keys::create))
        .routes(routes!(routes::link_keys::remove))
        .routes(routes!(routes::storages::list, routes::storages::add))
        .routes(routes!(
            routes::storages::show,
            routes::storages::edit,
            routes::storages::remove
        ))
        .routes(routes!(routes::storages::check))
        .routes(routes!(
            routes::storages::begin,
            routes::storages::task,
            routes::storages::stop
        ))
        .routes(routes!(routes::batches::receive, routes::batches::list))
        .routes(routes!(routes::batches::show))
        .routes(routes!(routes::batches::events))
        .routes(routes!(routes::batches::rows))
        .routes(routes!(routes::batches::result))
        .routes(routes!(routes::batches::pause))
        .routes(routes!(routes::batches::resume))
        .routes(routes!(routes::batches::cancel))
        .routes(routes!(routes::batches::retry))
        .routes(routes!(routes::direct::create))
        .routes(routes!(routes::direct::show, routes::direct::remove))
        .routes(routes!(routes::direct::complete))
        .routes(routes!(routes::direct::content))
        .merge(routes::tus::router())
        .merge(operators())
        .split_for_parts()
}

/// The Tenants API.
fn operators() -> OpenApiRouter<State> {
    use routes::operator::{auth, dead, install, limits, plans, states, storages, tenants, traefik, usage};
    OpenApiRouter::new()
        .routes(routes!(auth::verify))
        .routes(routes!(traefik::config))
        .routes(routes!(usage::export))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::show, tenants::edit, tenants::delete))
        .routes(routes!(install::install))
        .routes(routes!(install::reset_password))
        .routes(routes!(limits::effective))
        .routes(routes!(limits::history))
        .routes(routes!(states::suspend))
        .routes(routes!(states::resume))
        .routes(routes!(states::restore))
        .routes(routes!(states::purge_now))
        .routes(routes!(states::move_there))
        .routes(routes!(states::add_host))
        .routes(routes!(states::remove_host))
        .routes(routes!(states::trial))
        .routes(routes!(states::refresh_stats))
        .routes(routes!(states::job))
        .routes(routes!(plans::list, plans::create))
        .routes(routes!(plans::show, plans::edit, plans::delete))
        .routes(routes!(plans::preview))
        .routes(routes!(storages::list, storages::add))
        .routes(routes!(storages::show, storages::edit, storages::remove))
        .routes(routes!(storages::check))
        .routes(routes!(storages::begin, storages::task, storages::stop))
        .routes(routes!(dead::list))
        .routes(routes!(dead::summary))
        .routes(routes!(dead::show, dead::purge))
        .routes(routes!(dead::retry))
        .routes(routes!(dead::retry_many))
        .routes(routes!(dead::purge_many))
}

/// The description.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().1
}

pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

/// The description as a page: no scripts, nothing from elsewhere.
pub(crate) async fn page() -> Response {
    let document = serde_json::to_value(openapi()).unwrap_or_default();
    let policy = [(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    )];
    (policy, Html(render(&document))).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn render(document: &Value) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>mediamill API</title><style>body{font:16px/1.5 system-ui,\
         sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}code{background:#eee;padding:.1em .3em}h2{margin-top:2.5rem}\
         dt{margin-top:.5rem;font-weight:600}</style><h1>mediamill API</h1>",
    );
    // Writing to a String has no way to fail.
    let _ = write!(
        page,
        "<p>{} The machine-readable form is at <a href=\"/openapi.json\">/openapi.json</a>.</p>",
        escape(text(document, "/info/description"))
    );
    let paths = document
        .get("paths")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (path, methods) in &paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let _ = write!(
                page,
                "<h2><code>{} {}</code></h2><p>{}</p>",
                method.to_uppercase(),
                escape(path),
                escape(text(operation, "/summary"))
            );
            let _ = write!(page, "<p>{}</p><dl>", escape(text(operation, "/description")));
            for parameter in operation
                .get("parameters")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let _ = write!(
                    page,
                    "<dt><code>{}</code> ({})</dt><dd>{}</dd>",
                    escape(text(parameter, "/name")),
                    escape(text(parameter, "/in")),
                    escape(text(parameter, "/description"))
                );
            }
            for (status, response) in operation
                .get("responses")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let _ = write!(
                    page,
                    "<dt>{}</dt><dd>{}</dd>",
                    escape(status),
                    escape(text(response, "/description"))
                );
            }
            page.push_str("</dl>");
        }
    }
    page.push_str(
        "<h2>Problems</h2><p>Every failure is an RFC 9457 document whose <code>type</code> is one of these.</p><dl>",
    );
    for cause in Cause::ALL {
        let _ = write!(
            page,
            "<dt id=\"{0}\"><code>/problems/{0}</code>, {1}</dt><dd>{2}</dd>",
            cause.code(),
            cause.status().as_u16(),
            escape(cause.title())
        );
    }
    page.push_str("</dl></html>");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_document_is_what_the_code_says() {
        let text = openapi().to_pretty_json().unwrap() + "\n";
        mediamill_shared::testing::generated("docs/openapi.json", &text);
    }

    #[test]
    fn only_what_stands_in_a_path_is_a_parameter_of_the_path() {
        let document = serde_json::to_value(openapi()).unwrap();
        let mut seen = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap();
                    if parameter["in"] == "header" {
                        continue;
                    }
                    let stands = path.contains(&format!("{{{name}}}"));
                    assert_eq!(parameter["in"], if stands { "path" } else { "query" }, "{path} {name}");
                    assert_eq!(parameter["required"], stands, "{path} {name}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 5);
    }

    #[test]
    fn the_page_names_every_route_and_problem() {
        let page = render(&serde_json::to_value(openapi()).unwrap());
        for part in [
            "POST /v1/media",
            "GET /m/{id}/{variant}",
            "GET /v1/jobs/{id}/events",
            "/problems/over-quota",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}
