//! `/livez`, `/readyz`, `/metrics`: for whoever runs it.

use crate::{problem::Problem, state::Operations};
use axum::{
    Json,
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{cache::CachePort, chain, objects::Store, queue::Broker};
use serde_json::{Value, json};
use std::{error::Error, future::Future, time::Duration};

/// Every part answers within this, or counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says that the process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

async fn check<E: Error + 'static>(part: impl Future<Output = Result<(), E>>) -> (bool, Value) {
    match tokio::time::timeout(PATIENCE, part).await {
        Ok(Ok(())) => (true, json!({ "ok": true })),
        Ok(Err(error)) => (false, json!({ "ok": false, "reason": chain(&error) })),
        Err(_) => (false, json!({ "ok": false, "reason": "no answer within 2 s" })),
    }
}

/// Says whether uploads can be accepted, with a reason for each part. A cache or a queue that is away makes work slower,
/// it does not stop accepting.
pub(crate) async fn ready(Shared(Operations { services, .. }): Shared<Operations>) -> Response {
    let schema = async {
        match services.control.control_migrations_missing().await {
            Ok(0) => Ok(()),
            Ok(missing) => Err(std::io::Error::other(format!(
                "{missing} migrations are missing: run `mediamill migrate`"
            ))),
            Err(error) => Err(std::io::Error::other(error)),
        }
    };
    let (database, schema, queue, cache, objects) = tokio::join!(
        check(services.control.ping()),
        check(schema),
        check(services.queue.ping()),
        check(services.cache.ping()),
        check(services.objects.ping()),
    );
    let ready = database.0 && schema.0 && objects.0 && !services.shutdown.stopping();
    let body = json!({
        "ready": ready,
        "parts": { "database": database.1, "schema": schema.1, "queue": queue.1, "cache": cache.1, "objects": objects.1 },
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// The metrics page.
pub(crate) async fn metrics(Shared(operations): Shared<Operations>) -> Result<Response, Problem> {
    match &operations.metrics {
        Some(page) => Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page()).into_response()),
        None => Err(Problem::new(
            crate::problem::Cause::NotFound,
            "metrics are switched off",
        )),
    }
}
