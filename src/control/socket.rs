//! The server's end of the control socket: takes a request line, has it answered, writes the response line, closes.
//!
//! Who may come is decided by the socket's file mode (owner and group), who came by the kernel (`SO_PEERCRED`).

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::{Uid, User};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    Backend, connections,
    protocol::{self, REQUEST_OCTETS_MAX, Response},
};
use crate::shutdown::Shutdown;

/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Length of the listen backlog.
const BACKLOG: i32 = 128;
/// Longest wait for a whole request.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time an answer may take, above the longest that a client waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a response to be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a user's name: it may come from a directory service.
const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("a running server answers at the control socket `{}` already", .0.display())]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system says no.
    #[error("could not {doing} `{}`: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// At which path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Opens the socket at `path`: makes its directory, replaces a socket that nobody answers at, and lets owner and group in.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| BindError::Io { doing, path, error }
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed("create the directory", parent))?;
    }
    remove_stale(path)?;
    let opening = || failed("open the control socket", path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(opening())?;
    socket.bind(&SockAddr::unix(path).map_err(opening())?).map_err(opening())?;
    // Before `listen` nobody can connect: there is no moment in which the mode is not yet right.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(opening())?;
    socket.listen(BACKLOG).map_err(opening())?;
    socket.set_nonblocking(true).map_err(opening())?;
    Ok(socket.into())
}

/// Removes the socket of a server that is gone.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::Io { doing: "look at", path: path.to_owned(), error }),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        // `WouldBlock`: its backlog is full, so somebody is there.
        Ok(()) => return Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(BindError::InUse(path.to_owned())),
        Err(error) => return Err(BindError::Io { doing: "connect to the existing", path: path.to_owned(), error }),
    }
    fs::remove_file(path).map_err(|error| BindError::Io {
        doing: "remove the stale control socket",
        path: path.to_owned(),
        error,
    })
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Answers at `listener` until `shutdown.drain`, lets running requests end until `shutdown.abort`, and removes the socket's file.
pub async fn serve<B: Backend>(listener: UnixListener, backend: Arc<B>, shutdown: Shutdown) {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "control: the socket cannot be served");
            return;
        }
    };
    let serve = |stream| serve_connection(stream, backend.clone(), shutdown.clone());
    let running = connections::accept(&listener, CONNECTIONS_MAX, &shutdown, serve).await;
    // While the listener is open the path is ours: a new server would have found that somebody answers. What cannot be removed here,
    // because privileges are gone, the next start finds stale.
    if let Some(path) = path {
        let _ = fs::remove_file(path);
    }
    drop(listener);
    connections::finish(running, &shutdown).await;
}

async fn serve_connection<B: Backend>(mut stream: UnixStream, backend: Arc<B>, shutdown: Shutdown) {
    let line = tokio::select! {
        line = timeout(READ_TIMEOUT, read_line(&mut stream)) => line,
        () = shutdown.drain.cancelled() => return,
    };
    let response = match line {
        Err(_) => Response::error("no whole request came in time"),
        Ok(Err(error)) => {
            tracing::debug!(%error, "control: connection lost");
            return;
        }
        Ok(Ok(Line::Nothing)) => return,
        Ok(Ok(Line::TooLong)) => Response::error(format!("the request is longer than {REQUEST_OCTETS_MAX} octets")),
        Ok(Ok(Line::Whole(line))) => answer(&line, &stream, &*backend).await,
    };
    let line = match protocol::encode_response(&response) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "control: a response cannot be written");
            return;
        }
    };
    match timeout(WRITE_TIMEOUT, stream.write_all(&line)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control: connection lost"),
        Err(_) => tracing::debug!("control: a client does not take its response"),
    }
}

async fn answer<B: Backend>(line: &[u8], stream: &UnixStream, backend: &B) -> Response {
    let request = match protocol::decode_request(line) {
        Ok(request) => request,
        Err(error) => return Response::error(error.to_string()),
    };
    let by = match stream.peer_cred() {
        Ok(credentials) => user_name(Uid::from_raw(credentials.uid())).await,
        Err(error) => return Response::error(format!("could not tell who is asking: {error}")),
    };
    tracing::debug!(?request, by, "control: request");
    match timeout(ANSWER_TIMEOUT, backend.handle(request, by)).await {
        Ok(response) => response,
        Err(_) => Response::error("the server did not get to an answer in time"),
    }
}

/// The name of the user `uid`, `uid N` if it has none.
async fn user_name(uid: Uid) -> String {
    let lookup = tokio::task::spawn_blocking(move || User::from_uid(uid));
    match timeout(USER_TIMEOUT, lookup).await {
        Ok(Ok(Ok(Some(user)))) => user.name,
        _ => format!("uid {uid}"),
    }
}

/// What came before the first newline.
enum Line {
    Whole(Vec<u8>),
    TooLong,
    /// The other end closed without a word.
    Nothing,
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Line> {
    let mut line = Vec::with_capacity(1024);
    loop {
        let start = line.len();
        let room = REQUEST_OCTETS_MAX - start;
        if room == 0 {
            return Ok(Line::TooLong);
        }
        let is_end = (&mut *stream).take(room as u64).read_buf(&mut line).await? == 0;
        if let Some(newline) = line.iter().skip(start).position(|&byte| byte == b'\n') {
            line.truncate(start + newline);
            return Ok(Line::Whole(line));
        }
        if is_end {
            return Ok(if line.is_empty() { Line::Nothing } else { Line::Whole(line) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        io::{BufRead, BufReader, Write},
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tempfile::TempDir;
    use tokio::sync::{Notify, Semaphore};

    use super::*;
    use crate::{
        control::{
            client::{self, ClientError},
            fixture::{self, Fake},
            protocol::Request,
        },
        types::Admin,
    };

    /// A server in a directory of its own.
    struct Server {
        path: PathBuf,
        shutdown: Shutdown,
        task: tokio::task::JoinHandle<()>,
        _dir: TempDir,
    }

    impl Server {
        fn start<B: Backend>(backend: Arc<B>) -> Self {
            let dir = tempfile::tempdir().expect("directory");
            let path = dir.path().join("run/control.sock");
            let shutdown = Shutdown::new();
            let task = tokio::spawn(serve(bind(&path).expect("socket"), backend, shutdown.clone()));
            Self { path, shutdown, task, _dir: dir }
        }

        async fn request(&self, request: Request) -> Result<Response, ClientError> {
            let path = self.path.clone();
            tokio::task::spawn_blocking(move || client::request(&path, &request)).await.expect("client")
        }

        /// What comes back when `parts` are written one by one, and then, if `is_closed`, nothing more can come.
        async fn raw(&self, parts: &[&[u8]], is_closed: bool) -> Vec<u8> {
            let mut stream = UnixStream::connect(&self.path).await.expect("connection");
            for part in parts {
                // A server that has refused already does not read the rest.
                if stream.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if is_closed {
                stream.shutdown().await.expect("shutdown");
            }
            let mut response = Vec::new();
            match stream.read_to_end(&mut response).await {
                // What the server had not read is lost, its answer is not.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => response,
                end => end.map(|_| response).expect("response"),
            }
        }
    }

    fn message(response: &[u8]) -> String {
        match protocol::decode_response(response) {
            Ok(Response::Error { message }) => message,
            other => panic!("no refusal: {other:?}"),
        }
    }

    fn drain(target: &str) -> Request {
        let (until, reason) = (Some(fixture::NOW), Some("new kernel".to_owned()));
        Request::SetAdmin { target: target.to_owned(), admin: Admin::Drain, until, reason }
    }

    #[tokio::test]
    async fn request_comes_with_its_users_name_and_the_answer_goes_back() {
        let backend = Arc::new(Fake::new(fixture::status()));
        let server = Server::start(backend.clone());
        assert_eq!(server.request(Request::Status).await.expect("answer"), Response::Status(fixture::status()));
        let done = Response::Done { message: "web-eu/ams-a is set to drain".to_owned() };
        assert_eq!(server.request(drain("web-eu/ams-a")).await.expect("answer"), done);
        let refused = Response::error("unknown realserver");
        assert_eq!(server.request(drain("web-eu/nobody")).await.expect("answer"), refused);
        let me =
            User::from_uid(Uid::effective()).expect("users").map_or(format!("uid {}", Uid::effective()), |me| me.name);
        let expected =
            [Request::Status, drain("web-eu/ams-a"), drain("web-eu/nobody")].map(|asked| (asked, me.clone()));
        assert_eq!(*backend.asked.lock().expect("asked"), expected);
    }

    #[tokio::test]
    async fn user_without_a_name_is_a_number() {
        assert_eq!(user_name(Uid::from_raw(4_294_000_000)).await, "uid 4294000000");
    }

    #[tokio::test]
    async fn request_may_come_in_pieces_and_end_with_the_stream() {
        let server = Server::start(Arc::new(Fake::new(fixture::status())));
        let line = protocol::encode_request(&Request::Status).expect("line");
        let octets: Vec<&[u8]> = line.chunks(1).collect();
        let response = protocol::decode_response(&server.raw(&octets, false).await).expect("response");
        assert_eq!(response, Response::Status(fixture::status()));
        let whole = line.strip_suffix(b"\n").expect("newline");
        let response = protocol::decode_response(&server.raw(&[whole], true).await).expect("response");
        assert_eq!(response, Response::Status(fixture::status()));
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_the_next_one_answered() {
        let backend = Arc::new(Fake::new(fixture::status()));
        let server = Server::start(backend.clone());
        for garbage in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00\n", b"{}\n", b"[[[[[[[[\n"] {
            assert!(message(&server.raw(&[garbage], false).await).starts_with("not a line of the control protocol"));
        }
        let head = br#"{"protocol":1,"version":"x","request":"#;
        let nested = [&head[..], &b"[".repeat(60_000), b"\n"].concat();
        assert!(message(&server.raw(&[&nested], false).await).starts_with("not a line of the control protocol"));
        let other = b"{\"protocol\":99,\"version\":\"7.0.0\",\"request\":\"status\"}\n";
        assert!(message(&server.raw(&[other], false).await).starts_with("fingerpost 7.0.0 speaks control protocol 99"));
        assert_eq!(server.raw(&[], true).await, b"", "nothing asked, nothing answered");
        assert!(backend.asked.lock().expect("asked").is_empty());
        assert!(server.request(Request::Status).await.is_ok());
    }

    #[tokio::test]
    async fn request_over_64_kib_is_refused_one_that_just_fits_is_answered() {
        let server = Server::start(Arc::new(Fake::new(fixture::status())));
        for excess in [0, 1, 1_000_000] {
            let endless = vec![b' '; REQUEST_OCTETS_MAX + excess];
            assert_eq!(message(&server.raw(&[&endless], false).await), "the request is longer than 65536 octets");
        }
        let mut line = protocol::encode_request(&Request::Status).expect("line");
        line.splice(0..0, vec![b' '; REQUEST_OCTETS_MAX - line.len()]);
        let response = protocol::decode_response(&server.raw(&[&line], false).await).expect("response");
        assert_eq!(response, Response::Status(fixture::status()));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_request_and_slow_backend_end_in_a_refusal() {
        let server = Server::start(Arc::new(Fake::new(fixture::status())));
        assert_eq!(message(&server.raw(&[b"{\"protocol\":1,"], false).await), "no whole request came in time");
        let server = Server::start(Arc::new(fixture::Mute));
        let line = protocol::encode_request(&Request::Reload).expect("line");
        let expected = "the server did not get to an answer in time";
        assert_eq!(message(&server.raw(&[&line], false).await), expected);
    }

    /// Counts who is in at once, and lets nobody out before the gate is open.
    struct Gated {
        gate: Semaphore,
        is_in: Notify,
        n_in: AtomicUsize,
        n_in_max: Mutex<usize>,
    }

    impl Gated {
        fn new() -> Arc<Self> {
            let (n_in, n_in_max) = (AtomicUsize::new(0), Mutex::new(0));
            Arc::new(Self { gate: Semaphore::new(0), is_in: Notify::new(), n_in, n_in_max })
        }

        async fn wait_for(&self, count: usize) {
            while self.n_in.load(Ordering::SeqCst) < count {
                self.is_in.notified().await;
            }
        }
    }

    impl Backend for Gated {
        fn handle(&self, _: Request, _: String) -> impl Future<Output = Response> + Send {
            let n_in = self.n_in.fetch_add(1, Ordering::SeqCst) + 1;
            let mut n_in_max = self.n_in_max.lock().expect("count");
            *n_in_max = n_in.max(*n_in_max);
            self.is_in.notify_one();
            async {
                let _pass = self.gate.acquire().await;
                self.n_in.fetch_sub(1, Ordering::SeqCst);
                Response::Done { message: "through".to_owned() }
            }
        }
    }

    #[tokio::test]
    async fn never_more_than_32_connections_at_once_and_the_others_wait() {
        let backend = Gated::new();
        let server = Server::start(backend.clone());
        let line = protocol::encode_request(&Request::Status).expect("line");
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 8 {
            let mut stream = UnixStream::connect(&server.path).await.expect("connection");
            stream.write_all(&line).await.expect("request");
            streams.push(stream);
        }
        backend.wait_for(CONNECTIONS_MAX).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        backend.gate.add_permits(Semaphore::MAX_PERMITS);
        for mut stream in streams {
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.expect("response");
            assert!(protocol::decode_response(&response).is_ok());
        }
        assert_eq!(*backend.n_in_max.lock().expect("count"), CONNECTIONS_MAX);
    }

    #[tokio::test]
    async fn drain_ends_what_runs_takes_nothing_new_and_removes_the_socket() {
        let backend = Gated::new();
        let server = Server::start(backend.clone());
        let mut silent = UnixStream::connect(&server.path).await.expect("connection");
        let mut running = UnixStream::connect(&server.path).await.expect("connection");
        running.write_all(&protocol::encode_request(&Request::Reload).expect("line")).await.expect("request");
        backend.wait_for(1).await;
        server.shutdown.drain.cancel();
        let mut nothing = Vec::new();
        silent.read_to_end(&mut nothing).await.expect("end");
        assert!(nothing.is_empty());
        assert!(!server.path.exists());
        assert!(matches!(server.request(Request::Status).await, Err(ClientError::NoServer(_))));
        backend.gate.add_permits(1);
        let mut response = Vec::new();
        running.read_to_end(&mut response).await.expect("response");
        assert!(matches!(protocol::decode_response(&response), Ok(Response::Done { .. })));
        server.task.await.expect("served");
    }

    #[tokio::test]
    async fn abort_drops_what_still_runs() {
        let backend = Gated::new();
        let server = Server::start(backend.clone());
        let mut running = UnixStream::connect(&server.path).await.expect("connection");
        running.write_all(&protocol::encode_request(&Request::Reload).expect("line")).await.expect("request");
        backend.wait_for(1).await;
        server.shutdown.drain.cancel();
        server.shutdown.abort.cancel();
        server.task.await.expect("served");
        let mut nothing = Vec::new();
        running.read_to_end(&mut nothing).await.expect("end");
        assert!(nothing.is_empty());
    }

    #[test]
    fn socket_is_for_owner_and_group_in_a_directory_made_for_it() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("a/b/control.sock");
        let _listener = bind(&path).expect("socket");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o660);
    }

    #[test]
    fn stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("control.sock");
        drop(bind(&path).expect("first"));
        assert!(path.exists(), "left behind");
        let listener = bind(&path).expect("in place of the stale one");
        let shown = path.display();
        let error = bind(&path).expect_err("in use").to_string();
        assert_eq!(error, format!("a running server answers at the control socket `{shown}` already"));
        // Its own try to connect waits in the backlog: who is there keeps being there, also with a full one.
        let full: Vec<_> = iter_full(&path).collect();
        assert!(!full.is_empty());
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
        drop((listener, full));
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "precious").expect("file");
        let error = bind(&path).expect_err("no socket").to_string();
        assert_eq!(error, format!("`{shown}` exists and is not a socket"));
        assert_eq!(fs::read_to_string(&path).expect("file"), "precious");
    }

    /// Connections until the backlog is full.
    fn iter_full(path: &Path) -> impl Iterator<Item = Socket> {
        std::iter::from_fn(move || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket");
            socket.set_nonblocking(true).expect("non-blocking");
            socket.connect(&SockAddr::unix(path).expect("path")).ok().map(|()| socket)
        })
        .take(10_000)
    }

    #[test]
    fn directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("file"), "").expect("file");
        let error = bind(&dir.path().join("file/control.sock")).expect_err("no directory").to_string();
        let parent = dir.path().join("file");
        assert!(error.starts_with(&format!("could not create the directory `{}`: ", parent.display())), "{error}");
    }

    /// What a client makes of a server that reads a line and then writes `response`.
    fn client_of(response: &'static [u8]) -> Result<Response, ClientError> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("socket");
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("connection");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("line");
            (&stream).write_all(response).expect("response");
        });
        let result = client::request(&path, &Request::Status);
        server.join().expect("server");
        result
    }

    #[test]
    fn client_says_what_is_wrong_with_the_server() {
        let error = client::request(Path::new("/nonexistent/control.sock"), &Request::Status).expect_err("no server");
        let expected =
            "no server answers at `/nonexistent/control.sock`; is `fingerpost serve` running with this configuration?";
        assert_eq!(error.to_string(), expected);
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("control.sock");
        drop(bind(&path).expect("stale"));
        assert!(matches!(client::request(&path, &Request::Status), Err(ClientError::NoServer(_))));
        assert!(matches!(client_of(b""), Err(ClientError::Closed(_))));
        assert!(matches!(client_of(b"{\"protocol\":1,\"vers"), Err(ClientError::Closed(_))), "cut short");
        assert!(matches!(client_of(b"hello\n"), Err(ClientError::Line(_))));
        let error = client_of(b"{\"protocol\":2,\"version\":\"8.0.0\",\"response\":{}}\n").expect_err("other version");
        assert!(error.to_string().starts_with("fingerpost 8.0.0 speaks control protocol 2"), "{error}");
    }
}
