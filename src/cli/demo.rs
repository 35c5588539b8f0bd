//! `fingerpost demo`: the whole product on loopback, with little realservers of its own. Needs no root and leaves nothing behind.

use std::{
    convert::Infallible,
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{FAILED, LogFormat, OK, print, serve::start_logging};
use crate::{runtime, shutdown::Shutdown};

/// Connections that a little realserver serves at once.
const CONNECTIONS_MAX: usize = 256;
/// Tries to find ports that are still free when they are bound.
const SET_UP_TRIES: usize = 5;
/// Longest time of one connection to a little realserver.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the demo until Ctrl-C, or for so many seconds.
pub(super) fn demo(seconds: Option<u64>) -> u8 {
    // The folder goes while it is still watched, and what the watcher says to that is nobody's concern.
    start_logging(LogFormat::Text, "warn,notify=error");
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let _context = runtime.enter();
        // Before there is anything that Ctrl-C could leave behind.
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let (scene, stage) = set_up()?;
        play(&runtime, &scene, stage, signals, seconds)
    });
    match outcome {
        Ok(()) => OK,
        Err(problem) => {
            eprintln!("error: the demo could not run: {problem}");
            FAILED
        }
    }
}

/// Picks ports and binds them. In between another program may take one, as a second demo would: then others are picked.
fn set_up() -> io::Result<(Scene, Stage)> {
    let mut tries_left = SET_UP_TRIES;
    loop {
        tries_left -= 1;
        let scene = Scene::new()?;
        match scene.bind() {
            Ok(stage) => return Ok((scene, stage)),
            Err(_) if tries_left > 0 => {}
            Err(problem) => return Err(problem),
        }
    }
}

/// Everything that the demo serves, bound.
struct Stage {
    realservers: Vec<TcpListener>,
    server: runtime::Bound,
}

/// Everything that the demo puts somewhere: ports, and a folder that goes when this does.
struct Scene {
    folder: PathBuf,
    dns: SocketAddr,
    redirect: SocketAddr,
    listener: SocketAddr,
    control: SocketAddr,
    realservers: Vec<SocketAddr>,
    geo_database: Option<PathBuf>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // If it cannot be removed there is nobody left to tell.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("fingerpost-demo-{}", std::process::id()));
        fs::create_dir_all(folder.join("zones"))?;
        let realservers =
            (0..3u8).map(|index| free_tcp(Ipv4Addr::new(127, 0, 0, 11 + index), 8080)).collect::<io::Result<_>>();
        let places = [PathBuf::from("geoip"), Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip")];
        let database = places.iter().map(|place| place.join("country.mmdb")).find(|path| path.exists());
        let scene = Self {
            dns: free_dns(5300)?,
            redirect: free_tcp(Ipv4Addr::LOCALHOST, 8000)?,
            listener: free_tcp(Ipv4Addr::LOCALHOST, 8001)?,
            control: free_tcp(Ipv4Addr::LOCALHOST, 8002)?,
            realservers: realservers?,
            geo_database: database.map(fs::canonicalize).transpose()?,
            folder,
        };
        fs::write(scene.zone_path(), ZONE)?;
        fs::write(scene.config_path(), scene.config())?;
        Ok(scene)
    }

    fn bind(&self) -> io::Result<Stage> {
        let realservers = self.realservers.iter().map(TcpListener::bind).collect::<io::Result<_>>()?;
        let server = runtime::bind(&self.config_path()).map_err(io::Error::other)?;
        Ok(Stage { realservers, server })
    }

    fn config_path(&self) -> PathBuf {
        self.folder.join("fingerpost.toml")
    }

    fn zone_path(&self) -> PathBuf {
        self.folder.join("zones/demo.example.zone")
    }

    fn config(&self) -> String {
        let Self { dns, redirect, listener, control, .. } = self;
        let database =
            self.geo_database.as_ref().map(|path| format!("{:?}", path.display().to_string())).unwrap_or_default();
        let mut text = format!(
            r#"version = 1

[dns]
listen = ["{dns}"]
zones = "zones"
[geoip]
databases = [{database}]
[redirect]
listen = ["{redirect}"]
max_connections = 100
[control]
socket = "control.sock"
listen = "{control}"
[state]
dir = "state"
[process]
drain_timeout = "1s"

[checks.web]
type = "http"
path = "/healthz"
interval = "1s"
timeout = "500ms"
rise = 2
fall = 2

# www.demo.example: three realservers, weights 4, 3, 2
[pools.web]
check = "web"
"#
        );
        let names = [("a", 4), ("b", 3), ("c", 2)];
        let realserver = |(name, weight): (&str, u16), address: &SocketAddr| {
            format!(
                "{{ name = \"{name}\", address = \"{}\", port = {}, weight = {weight} }}",
                address.ip(),
                address.port()
            )
        };
        let members: Vec<String> =
            names.into_iter().zip(&self.realservers).map(|(name, address)| realserver(name, address)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "realservers = [\n  {},\n]\n", members.join(",\n  "));
        text.push_str(GEO_POOL);
        for (pool, member) in ["eu", "us", "asia"].into_iter().zip(&members) {
            let _ = writeln!(text, "[pools.{pool}]\ncheck = \"web\"\nrealservers = [{member}]");
        }
        let _ = writeln!(
            text,
            "\n# the last hop: TCP, carried to the same realservers\n[listeners.web]\nbind = \"{listener}\"\npool = \"web\"\nmax_connections = 100"
        );
        text
    }

    fn introduction(&self) -> String {
        let Self { dns, redirect, listener, control, folder, .. } = self;
        let program = std::env::current_exe().unwrap_or_else(|_| "fingerpost".into());
        let [program, config, zone] = [program, self.config_path(), self.zone_path()].map(|path| quoted(&path));
        let dig = format!("dig @{} -p {}", dns.ip(), dns.port());
        let second = self.realservers.get(1).map_or(String::new(), ToString::to_string);
        let geo = if self.geo_database.is_some() {
            ""
        } else {
            "   # no geoip/country.mmdb here: everybody is in the default place"
        };
        format!(
            r#"
Fingerpost is running on loopback. Paste these into another terminal:

DNS, weighted round robin: run it nine times and see A A B A B C A B C (.11 .11 .12 .11 .12 .13 …)
  {dig} www.demo.example +short
DNS by place: a Dutch, an American and a Japanese network{geo}
  {dig} world.demo.example +subnet=193.0.0.0/21 +short
  {dig} world.demo.example +subnet=8.8.8.0/24 +short
  {dig} world.demo.example +subnet=133.11.0.0/16 +short
HTTP 302, path and query kept; -L follows it to the realserver
  curl -i -H 'Host: www.demo.example' 'http://{redirect}/a/path?and=query'
The last hop: TCP carried to a realserver
  curl http://{listener}/
Break a realserver and ask again after two seconds; `mend` brings it back
  curl -X POST http://{second}/break
  {dig} www.demo.example +short
  curl -X POST http://{second}/mend
Edit the zone and ask at once
  echo 'new A 192.0.2.99' >> {zone}
  {dig} new.demo.example +short
How everything stands, and why a client gets what it gets
  {program} status --config {config}
  {program} explain world.demo.example --ecs 193.0.0.0/21 --config {config}
  {program} drain web/a --reason 'to see what happens' --config {config}
Dashboard and metrics
  http://{control}/   http://{control}/metrics

Everything it needs is in {folder}; Ctrl-C stops it and removes that."#,
            folder = folder.display()
        )
    }
}

const ZONE: &str = "\
$ORIGIN demo.example.
$TTL 300
@      SOA   ns1 hostmaster 1 3600 600 1209600 300
@      NS    ns1
@      POOL  web
ns1    A     127.0.0.1
www  5 POOL  web
world 5 POOL world
";

const GEO_POOL: &str = r#"# world.demo.example: by the client's place, the others in line behind
[pools.world]
policy = "geo"
[pools.world.geo]
europe = ["eu", "us", "asia"]
north-america = ["us", "eu", "asia"]
asia = ["asia", "us", "eu"]
default = ["eu", "us", "asia"]

"#;

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// This port if it is free, else any.
fn free_tcp(ip: Ipv4Addr, port: u16) -> io::Result<SocketAddr> {
    TcpListener::bind((ip, port)).or_else(|_| TcpListener::bind((ip, 0)))?.local_addr()
}

/// The same for UDP and TCP together.
fn free_dns(port: u16) -> io::Result<SocketAddr> {
    for port in [port, port + 1, port + 2, 0, 0, 0, 0, 0] {
        let Ok(tcp) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port for DNS"))
}

fn play(
    runtime: &tokio::runtime::Runtime,
    scene: &Scene,
    stage: Stage,
    [mut interrupt, mut terminate]: [Signal; 2],
    seconds: Option<u64>,
) -> io::Result<()> {
    let mut realservers = JoinSet::new();
    for ((name, address), listener) in ["a", "b", "c"].into_iter().zip(&scene.realservers).zip(stage.realservers) {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        realservers.spawn_on(
            serve_realserver(Arc::new(LittleRealserver::new(name, address.ip())), listener),
            runtime.handle(),
        );
    }
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        let introduction = scene.introduction();
        let server = stage.server.run(shutdown.clone(), move |_, _| print(&introduction));
        let stop = async {
            let time_is_up = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(0)));
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = time_is_up, if seconds.is_some() => {}
            }
            shutdown.drain.cancel();
        };
        tokio::join!(server, stop);
        realservers.shutdown().await;
        Ok(())
    })
}

/// A realserver that says who it is.
struct LittleRealserver {
    name: &'static str,
    address: IpAddr,
    is_broken: AtomicBool,
    n_served: AtomicU64,
}

impl LittleRealserver {
    fn new(name: &'static str, address: IpAddr) -> Self {
        Self { name, address, is_broken: AtomicBool::new(false), n_served: AtomicU64::new(0) }
    }

    fn answer(&self, request: &Request<Incoming>) -> (StatusCode, String) {
        let (name, address) = (self.name, self.address);
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/break") => {
                self.is_broken.store(true, Ordering::Relaxed);
                (StatusCode::OK, format!("realserver {name} fails its checks from now on\n"))
            }
            (&Method::POST, "/mend") => {
                self.is_broken.store(false, Ordering::Relaxed);
                (StatusCode::OK, format!("realserver {name} is well again\n"))
            }
            _ if self.is_broken.load(Ordering::Relaxed) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("realserver {name} at {address} is broken\n"))
            }
            (_, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            _ => {
                let count = self.n_served.fetch_add(1, Ordering::Relaxed) + 1;
                (
                    StatusCode::OK,
                    format!("I am realserver {name} at {address}; you asked for {}, request {count}\n", request.uri()),
                )
            }
        }
    }
}

async fn serve_realserver(realserver: Arc<LittleRealserver>, listener: tokio::net::TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok((stream, _)) = accepted else { continue };
                let realserver = realserver.clone();
                connections.spawn(async move {
                    let answer = service_fn(move |request: Request<Incoming>| {
                        let (status, text) = realserver.answer(&request);
                        let mut response = Response::new(Full::new(Bytes::from(text)));
                        *response.status_mut() = status;
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
                    // A client that breaks off is none of the demo's business.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
