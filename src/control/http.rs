//! Read only over HTTP: `/metrics`, `/health`, `/api/v1/status`, `/api/v1/explain` and a dashboard at `/`. Nothing here can change
//! anything; that is what the socket is for.
//!
//! A connection is for one request and lives for [`CONNECTION_TIMEOUT`] at most, so that no slow client holds a place.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response as HttpResponse},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{
    ANYBODY, Backend, connections,
    metrics::{self, Metrics},
    protocol::{ExplainRequest, Request, Response, Service, Status, Way},
};
use crate::shutdown::Shutdown;

/// Connections at once; what is over it waits in the listen backlog.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of a request's head.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// Longest life of a connection, from accept to the last octet taken.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an answer of the backend.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for `/health`, whose askers do not wait long.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything comes from here and nothing else is loaded, run, framed or sent anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers at `listener` until `shutdown.drain`, and lets running requests end until `shutdown.abort`.
pub async fn serve<B: Backend>(
    listener: std::net::TcpListener,
    backend: Arc<B>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "control: the HTTP socket cannot be served");
            return;
        }
    };
    let router = router(backend, metrics);
    let serve = |stream| serve_connection(stream, router.clone(), shutdown.clone());
    let running = connections::accept(&listener, CONNECTIONS_MAX, &shutdown, serve).await;
    drop(listener);
    connections::finish(running, &shutdown).await;
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_OCTETS_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = timeout(CONNECTION_TIMEOUT, async {
        tokio::select! {
            served = &mut connection => served,
            () = shutdown.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control: HTTP connection lost"),
        Err(_) => tracing::debug!("control: a client does not take its response"),
    }
}

/// What every request can reach.
struct Context<B> {
    backend: Arc<B>,
    metrics: Arc<Metrics>,
}

type Shared<B> = State<Arc<Context<B>>>;

fn router<B: Backend>(backend: Arc<B>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("dashboard/index.html"))))
        .route(
            "/dashboard.css",
            get(async || asset("text/css; charset=utf-8", include_str!("dashboard/dashboard.css"))),
        )
        .route(
            "/dashboard.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js"))),
        )
        .route("/metrics", get(get_metrics::<B>))
        .route("/health", get(get_health::<B>))
        .route("/api/v1/status", get(get_status::<B>))
        .route("/api/v1/explain", get(get_explain::<B>))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD: changes go through the control socket")
        })
        .fallback(async || {
            error(
                StatusCode::NOT_FOUND,
                "nothing here; see `/`, `/metrics`, `/health`, `/api/v1/status`, `/api/v1/explain`",
            )
        })
        .layer(axum::middleware::map_response(harden))
        .with_state(Arc::new(Context { backend, metrics }))
}

fn asset(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], body)
}

fn error(status: StatusCode, message: impl Into<String>) -> HttpResponse {
    (status, Json(json!({ "error": message.into() }))).into_response()
}

/// Adds what keeps a browser from doing more with a response than show it.
async fn harden(mut response: HttpResponse) -> HttpResponse {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why the backend has nothing to show.
enum Refused {
    /// It said so.
    Error(String),
    /// It did not answer in time, or not what was asked.
    Silent,
}

impl IntoResponse for Refused {
    fn into_response(self) -> HttpResponse {
        match self {
            Self::Error(message) => error(StatusCode::BAD_REQUEST, message),
            Self::Silent => error(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER),
        }
    }
}

const NO_ANSWER: &str = "the owner of the state does not answer";

async fn status<B: Backend>(context: &Context<B>, wait: Duration) -> Result<Status, Refused> {
    match timeout(wait, context.backend.handle(Request::Status, ANYBODY.to_owned())).await {
        Ok(Response::Status(status)) => Ok(status),
        Ok(Response::Error { message }) => Err(Refused::Error(message)),
        Ok(_) | Err(_) => Err(Refused::Silent),
    }
}

async fn get_status<B: Backend>(State(context): Shared<B>) -> Result<Json<Status>, Refused> {
    status(&context, ANSWER_TIMEOUT).await.map(Json)
}

async fn get_metrics<B: Backend>(State(context): Shared<B>) -> HttpResponse {
    match context.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
    }
}

#[derive(Deserialize)]
struct HealthQuery {
    /// There or not; its value says nothing.
    verbose: Option<String>,
}

async fn get_health<B: Backend>(
    State(context): Shared<B>,
    query: Result<Query<HealthQuery>, QueryRejection>,
) -> HttpResponse {
    let is_verbose = query.is_ok_and(|Query(query)| query.verbose.is_some());
    let (reasons, notes) = match status(&context, HEALTH_TIMEOUT).await {
        Ok(status) => (reasons(&status), notes(&status)),
        Err(Refused::Error(message)) => (vec![message], vec![]),
        Err(Refused::Silent) => (vec![NO_ANSWER.to_owned()], vec![]),
    };
    let is_healthy = reasons.is_empty();
    if is_healthy && !is_verbose {
        return "ok\n".into_response();
    }
    let code = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = match is_verbose {
        true => json!({ "healthy": is_healthy, "reasons": reasons, "notes": notes }),
        false => json!({ "healthy": is_healthy, "reasons": reasons }),
    };
    (code, Json(body)).into_response()
}

/// Why no client should be sent to this node; empty if it does its work.
fn reasons(status: &Status) -> Vec<String> {
    let is_dns = status.sockets.iter().any(|socket| socket.service == Service::Dns);
    if is_dns && status.zones.iter().all(|zone| zone.serial.is_none()) {
        return vec!["no zone is loaded".to_owned()];
    }
    Vec::new()
}

/// What an operator may want to look at although this node does its work.
fn notes(status: &Status) -> Vec<String> {
    let zones = status.zones.iter().filter_map(|zone| Some(format!("zone {}: {}", zone.apex, zone.error.as_ref()?)));
    let pools = status.pools.iter().filter_map(|pool| match (pool.is_degraded, pool.is_failed) {
        (true, _) => Some(format!("pool {}: degraded, nobody is eligible", pool.name)),
        (false, true) => Some(format!("pool {}: failed", pool.name)),
        (false, false) => None,
    });
    let reload = status.reload_error.iter().map(|error| format!("the reload at {} failed: {}", error.at, error.errors));
    zones.chain(pools).chain(reload).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    name: String,
    #[serde(rename = "type", default = "default_rtype")]
    rtype: String,
    client: Option<IpAddr>,
    ecs: Option<IpNet>,
    #[serde(default)]
    via: Way,
}

fn default_rtype() -> String {
    "A".to_owned()
}

async fn get_explain<B: Backend>(
    State(context): Shared<B>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> HttpResponse {
    let ExplainQuery { name, rtype, client, ecs, via } = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return error(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let request = Request::Explain(ExplainRequest { name, rtype, client, ecs, via });
    match timeout(ANSWER_TIMEOUT, context.backend.handle(request, ANYBODY.to_owned())).await {
        Ok(Response::Explain(explanation)) => Json(explanation).into_response(),
        Ok(Response::Error { message }) => Refused::Error(message).into_response(),
        Ok(_) | Err(_) => Refused::Silent.into_response(),
    }
}
