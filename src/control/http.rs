//! Read only over HTTP: `/metrics`, `/health`, `/api/v1/status`, `/api/v1/explain` and a dashboard at `/`. Nothing here can change
//! anything; that is what the socket is for.
//!
//! A connection is for one request and lives for 30 seconds at most, so that no slow client holds a place.

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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::control::{
        fixture::{self, Fake},
        metrics::tests::check_exposition,
        protocol::VERSION,
    };

    struct Server {
        address: SocketAddr,
        shutdown: Shutdown,
        task: tokio::task::JoinHandle<()>,
    }

    impl Server {
        fn start<B: Backend>(backend: Arc<B>) -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
            let address = listener.local_addr().expect("address");
            let shutdown = Shutdown::new();
            let metrics = Arc::new(Metrics::new(vec![]));
            let task = tokio::spawn(serve(listener, backend, metrics, shutdown.clone()));
            Self { address, shutdown, task }
        }

        /// The whole response to `request`, until the server closes.
        async fn raw(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.expect("connection");
            stream.write_all(request.as_bytes()).await.expect("request");
            let mut response = String::new();
            stream.read_to_string(&mut response).await.expect("response");
            response
        }

        /// Status code, head and body.
        async fn ask(&self, method: &str, target: &str) -> (u16, String, String) {
            let response = self.raw(&format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            let (head, body) = response.split_once("\r\n\r\n").expect("head");
            let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("code");
            (code, head.to_owned(), body.to_owned())
        }

        async fn get(&self, target: &str) -> (u16, String) {
            let (code, _, body) = self.ask("GET", target).await;
            (code, body)
        }
    }

    fn healthy() -> Status {
        fixture::status()
    }

    fn fake(status: Status) -> Arc<Fake> {
        Arc::new(Fake::new(status))
    }

    fn json(text: &str) -> serde_json::Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[tokio::test]
    async fn health_is_ok_while_something_is_served_and_verbose_tells_more() {
        let server = Server::start(fake(healthy()));
        assert_eq!(server.get("/health").await, (200, "ok\n".to_owned()));
        let (code, body) = server.get("/health?verbose").await;
        let notes = json!([
            "zone example.net.: zones/example.net.zone:3:8: unknown pool `wbe`",
            "pool web-us: degraded, nobody is eligible",
            "the reload at 2026-11-26T11:59:00Z failed: error: unknown key `polls`\n --> fingerpost.toml:9:1",
        ]);
        assert_eq!((code, json(&body)), (200, json!({ "healthy": true, "reasons": [], "notes": notes })));
    }

    #[tokio::test]
    async fn health_is_503_while_dns_is_served_without_a_zone() {
        let mut status = healthy();
        status.zones.retain(|zone| zone.serial.is_none());
        let server = Server::start(fake(status.clone()));
        let expected = json!({ "healthy": false, "reasons": ["no zone is loaded"] });
        let (code, body) = server.get("/health").await;
        assert_eq!((code, json(&body)), (503, expected));
        status.sockets.retain(|socket| socket.service != Service::Dns);
        let server = Server::start(fake(status));
        assert_eq!(server.get("/health").await.0, 200, "without DNS no zone is needed");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_state_owner_is_503() {
        let server = Server::start(Arc::new(fixture::Mute));
        let (code, body) = server.get("/health").await;
        assert_eq!((code, json(&body)), (503, json!({ "healthy": false, "reasons": [NO_ANSWER] })));
        for target in ["/api/v1/status", "/api/v1/explain?name=example.org"] {
            let (code, body) = server.get(target).await;
            assert_eq!((code, json(&body)), (503, json!({ "error": NO_ANSWER })));
        }
        assert_eq!(server.get("/metrics").await.0, 200, "metrics need no answer");
    }

    #[tokio::test]
    async fn status_is_the_same_as_the_command_lines() {
        let server = Server::start(fake(healthy()));
        let (code, body) = server.get("/api/v1/status").await;
        assert_eq!((code, serde_json::from_str::<Status>(&body).expect("status")), (200, healthy()));
    }

    #[tokio::test]
    async fn explain_reads_its_parameters_and_says_which_are_wrong() {
        let backend = fake(healthy());
        let server = Server::start(backend.clone());
        let (code, body) = server
            .get("/api/v1/explain?name=www.example.org&type=AAAA&client=2001:db8::1&ecs=192.0.2.0/24&via=redirect")
            .await;
        assert_eq!((code, json(&body)), (200, json!({ "name": "www.example.org", "via": "redirect" })));
        assert_eq!(server.get("/api/v1/explain?name=a").await.0, 200);
        let explain = |name: &str, rtype: &str, client, ecs, via| {
            let (name, rtype) = (name.to_owned(), rtype.to_owned());
            (Request::Explain(ExplainRequest { name, rtype, client, ecs, via }), ANYBODY.to_owned())
        };
        let full =
            explain("www.example.org", "AAAA", "2001:db8::1".parse().ok(), "192.0.2.0/24".parse().ok(), Way::Redirect);
        assert_eq!(*backend.asked.lock().expect("asked"), [full, explain("a", "A", None, None, Way::Dns)]);
        for (query, word) in
            [("", "name"), ("?name=a&client=x", "client"), ("?name=a&via=x", "via"), ("?name=a&typ=A", "typ")]
        {
            let (code, body) = server.get(&format!("/api/v1/explain{query}")).await;
            assert!(code == 400 && json(&body)["error"].as_str().is_some_and(|error| error.contains(word)), "{body}");
        }
        let (code, body) = server.get("/api/v1/explain?name=a&type=NONE").await;
        assert_eq!((code, json(&body)), (400, json!({ "error": "unknown type `NONE`" })));
    }

    #[tokio::test]
    async fn metrics_are_what_a_scraper_takes() {
        let server = Server::start(fake(healthy()));
        let (code, head, body) = server.ask("GET", "/metrics").await;
        assert_eq!(code, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        check_exposition(&body).expect("exposition");
        assert!(body.contains(&format!("fingerpost_build_info{{version=\"{VERSION}\"}} 1\n")));
    }

    #[tokio::test]
    async fn nothing_can_be_written_and_nothing_else_is_there() {
        let backend = fake(healthy());
        let server = Server::start(backend.clone());
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let (code, head, _) = server.ask(method, "/api/v1/status").await;
            assert!(code == 405 && head.to_lowercase().contains("\r\nallow: get,head\r\n"), "{method}: {head}");
        }
        for target in ["/nothing", "/api", "/api/v1/status/", "/../etc/passwd", "/favicon.ico", "//metrics"] {
            assert_eq!(server.get(target).await.0, 404, "{target}");
        }
        assert!(backend.asked.lock().expect("asked").is_empty());
        let (code, head, body) = server.ask("HEAD", "/health").await;
        assert!(code == 200 && body.is_empty() && head.contains("content-length: 3"), "{head}");
    }

    #[tokio::test]
    async fn every_response_is_hardened_and_ends_its_connection() {
        let server = Server::start(fake(healthy()));
        for target in ["/", "/dashboard.js", "/metrics", "/health", "/nothing", "/api/v1/status", "/api/v1/explain"] {
            let (_, head, _) = server.ask("GET", target).await;
            for header in [
                "content-security-policy: default-src 'none';",
                "x-content-type-options: nosniff",
                "referrer-policy: no-referrer",
                "cache-control: no-store",
                "cross-origin-resource-policy: same-origin",
                "connection: close",
            ] {
                assert!(head.to_lowercase().contains(header), "{target} lacks {header}: {head}");
            }
        }
    }

    #[tokio::test]
    async fn dashboard_loads_nothing_but_what_is_served_here() {
        let server = Server::start(fake(healthy()));
        let (code, head, page) = server.ask("GET", "/").await;
        assert!(code == 200 && head.contains("text/html"));
        let links = ["src=\"", "href=\""].into_iter().flat_map(|attribute| page.split(attribute).skip(1));
        let targets: Vec<&str> =
            links.filter_map(|rest| rest.split('"').next()).filter(|target| *target != "data:,").collect();
        assert!(targets.contains(&"dashboard.js") && targets.contains(&"dashboard.css"), "{targets:?}");
        for target in targets {
            assert_eq!(server.get(&format!("/{target}")).await.0, 200, "{target}");
        }
        let script = include_str!("dashboard/dashboard.js");
        let is_html =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"].iter().any(|way| script.contains(way));
        assert!(!is_html, "text must enter the page as text");
        assert!(
            !page.contains("<style") && !page.contains(" style=") && !page.contains("onload"),
            "the policy blocks it"
        );
    }

    #[tokio::test]
    async fn head_that_is_too_long_is_refused() {
        let server = Server::start(fake(healthy()));
        let long = server.raw(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_OCTETS_MAX))).await;
        assert!(long.starts_with("HTTP/1.1 414") || long.starts_with("HTTP/1.1 431"), "{long}");
        let many = server.raw(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1))).await;
        assert!(many.starts_with("HTTP/1.1 431"), "{many}");
        assert!(server.raw("hello\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        assert_eq!(server.get("/health").await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_finish_its_request_is_dropped() {
        let server = Server::start(fake(healthy()));
        for start in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
            let began = tokio::time::Instant::now();
            assert_eq!(server.raw(start).await, "", "{start:?}");
            assert!(began.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(1), "{start:?}: {:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn drain_closes_idle_connections_and_returns() {
        let server = Server::start(fake(healthy()));
        let mut idle = TcpStream::connect(server.address).await.expect("connection");
        assert_eq!(server.get("/health").await.0, 200);
        server.shutdown.drain.cancel();
        let mut nothing = Vec::new();
        idle.read_to_end(&mut nothing).await.expect("end");
        assert!(nothing.is_empty());
        server.task.await.expect("served");
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn abort_drops_what_still_runs() {
        let server = Server::start(Arc::new(fixture::Mute));
        let mut running = TcpStream::connect(server.address).await.expect("connection");
        running.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("request");
        server.shutdown.drain.cancel();
        server.shutdown.abort.cancel();
        server.task.await.expect("served");
        let mut nothing = Vec::new();
        // Closed or reset, but over.
        let _ = running.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());
    }
}
