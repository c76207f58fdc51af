//! The router, and the server that runs it.

use crate::{
    openapi,
    problem::{Cause, Problem},
    rates::Rates,
    routes,
    state::{MetricsPage, Operations, State},
    unread,
};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Path, Request, State as Shared},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use mediamill_shared::{clock::Stopwatch, ids::TraceId, services::Services, telemetry::names};
use std::{any::Any, net::SocketAddr, time::Duration};
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

/// A request's head arrives within this, or its connection ends.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Who is at the other end of a request's connection. Requests that came over none have none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// All routes.
pub fn router(services: &Services, metrics: Option<MetricsPage>) -> Router {
    let state = State::new(services.clone(), metrics);
    let (described, _) = openapi::described();
    described
        .route("/livez", get(routes::health::live))
        .route("/readyz", get(routes::health::ready))
        .route("/metrics", get(routes::health::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .route("/problems/{code}", get(problem_page))
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async {
            Problem::new(Cause::MethodNotAllowed, "this route takes other methods")
        })
        // Limits are the tenant's, and hold while the body streams.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(routes::operator::envelope))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .layer(middleware::from_fn(unread::end_connection))
        .with_state(state)
}

/// The routes for whoever runs it, and no others: for the address of a worker or a scheduler.
pub fn operations(services: &Services, metrics: Option<MetricsPage>) -> Router {
    Router::new()
        .route("/livez", get(routes::health::live))
        .route("/readyz", get(routes::health::ready))
        .route("/metrics", get(routes::health::metrics))
        .fallback(|| async { Problem::new(Cause::NotFound, "here are /livez, /readyz and /metrics alone") })
        .with_state(Operations {
            services: services.clone(),
            metrics,
        })
}

async fn problem_page(Path(code): Path<String>) -> Response {
    match Cause::ALL.iter().find(|cause| cause.code() == code) {
        Some(cause) => Redirect::temporary(&format!("/docs#{}", cause.code())).into_response(),
        None => Problem::new(Cause::NotFound, "there is no such problem").into_response(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer wants")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!("answering 500: a handler panicked: {}", text.unwrap_or("no text"));
    Problem::new(Cause::Internal, "something went wrong here").into_response()
}

/// A span, a trace id, a count and a time for every request.
async fn observe(Shared(state): Shared<State>, mut request: Request<Body>, next: Next) -> Response {
    let watch = Stopwatch::start();
    let trace = TraceId::generate(&state.services.clock, &state.services.entropy);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| known_route(path.as_str()));
    let method = known_method(request.method().as_str());
    let span = tracing::info_span!("request", trace.id = %trace, tenant.id = tracing::field::Empty, method, route);
    request.extensions_mut().insert(trace.clone());
    let rates = Rates::default();
    request.extensions_mut().insert(rates.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let headers = response.headers_mut();
    rates.write(headers, state.services.clock.now());
    if let Ok(value) = HeaderValue::try_from(trace.as_str()) {
        headers.insert("x-trace-id", value);
    }
    headers
        .entry(header::X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    let status = response.status();
    let class = status.as_str().to_owned();
    metrics::counter!(names::HTTP_REQUESTS, "route" => route, "method" => method, "status" => class).increment(1);
    metrics::histogram!(names::HTTP_SECONDS, "route" => route, "method" => method).record(watch.elapsed());
    let duration_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), duration_ms, "answered"));
    response
}

/// Routes as labels: a closed set, whatever is asked for.
fn known_route(path: &str) -> &'static str {
    const ROUTES: &[&str] = &[
        "/v1/media",
        "/v1/media/from-url",
        "/v1/media/{id}",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/events",
        "/v1/usage",
        "/v1/limits",
        "/v1/tus",
        "/v1/tus/{id}",
        "/v1/uploads",
        "/v1/uploads/{id}",
        "/v1/uploads/{id}/complete",
        "/v1/uploads/{id}/content",
        "/v1/link-keys",
        "/v1/link-keys/{id}",
        "/v1/storages",
        "/v1/storages/{id}",
        "/v1/storages/{id}/check",
        "/v1/storages/{id}/task",
        "/_/api/4/auth/verify",
        "/_/api/4/config/traefik",
        "/_/api/4/dead",
        "/_/api/4/dead/purge",
        "/_/api/4/dead/retry",
        "/_/api/4/dead/summary",
        "/_/api/4/dead/{id}",
        "/_/api/4/dead/{id}/retry",
        "/_/api/4/jobs/{id}",
        "/_/api/4/tenants",
        "/_/api/4/tenants/{id}",
        "/_/api/4/tenants/{id}/audit",
        "/_/api/4/tenants/{id}/hosts",
        "/_/api/4/tenants/{id}/hosts/{host}",
        "/_/api/4/tenants/{id}/install",
        "/_/api/4/tenants/{id}/limits",
        "/_/api/4/tenants/{id}/move",
        "/_/api/4/tenants/{id}/purge",
        "/_/api/4/tenants/{id}/restore",
        "/_/api/4/tenants/{id}/resume",
        "/_/api/4/tenants/{id}/stats",
        "/_/api/4/tenants/{id}/suspend",
        "/_/api/4/tenants/{id}/trial",
        "/_/api/4/tenants/{id}/user-password-reset",
        "/_/api/4/tenants-plans",
        "/_/api/4/tenants-plans/{id}",
        "/_/api/4/tenants-plans/{id}/preview",
        "/_/api/4/storages",
        "/_/api/4/storages/{id}",
        "/_/api/4/storages/{id}/check",
        "/_/api/4/storages/{id}/task",
        "/_/api/4/usage",
        "/m/{id}/{variant}",
        "/v1/tenants/batches",
        "/v1/tenants/batches/{id}",
        "/v1/tenants/batches/{id}/events",
        "/v1/tenants/batches/{id}/rows",
        "/v1/tenants/batches/{id}/result",
        "/v1/tenants/batches/{id}/pause",
        "/v1/tenants/batches/{id}/resume",
        "/v1/tenants/batches/{id}/cancel",
        "/v1/tenants/batches/{id}/retry",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
    ];
    ROUTES.iter().find(|route| **route == path).copied().unwrap_or("other")
}

fn known_method(method: &str) -> &'static str {
    ["GET", "HEAD", "POST", "PATCH", "DELETE"]
        .iter()
        .find(|known| **known == method)
        .copied()
        .unwrap_or("other")
}

/// Serves `router`, `name`d in logs, until the shutdown's soft token, then finishes the requests in hand.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(services: &Services, name: &str, listener: TcpListener, router: Router) -> std::io::Result<()> {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT);
    tracing::info!(address = %listener.local_addr()?, "{name} listens");
    loop {
        let (stream, peer) = tokio::select! {
            () = services.shutdown.soft() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that was gone at once: others may come.
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                    services.clock.sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // An error says that the socket is closing.
        let _ = stream.set_nodelay(true);
        let service = router.clone().map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let connection = graceful.watch(connection);
        services.shutdown.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tokio::select! { () = graceful.shutdown() => {}, () = services.shutdown.hard() => {} }
    tracing::info!("{name} stopped");
    Ok(())
}
