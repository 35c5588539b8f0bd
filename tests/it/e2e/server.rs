//! `fingerpost serve` on a folder of its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::tools::{SOON, curl, dig, get, run, stderr, stdout, within};

/// The program.
pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_fingerpost");

/// What every configuration here starts with.
pub(super) const HEAD: &str = r#"version = 1
[dns]
listen = ["127.0.0.1:0"]
[redirect]
listen = ["127.0.0.1:0"]
[control]
socket = "control.sock"
listen = "127.0.0.1:0"
[state]
dir = "state"
[process]
drain_timeout = "3s"
"#;

/// A zone with one name of each kind.
pub(super) const ZONE: &str = "\
$ORIGIN example.org.
$TTL 300
@         SOA  ns1 hostmaster 1 3600 600 1209600 300
@         NS   ns1
@         POOL web
ns1       A    127.0.0.1
www    30 POOL web
*.cdn  30 POOL web
static    A    192.0.2.7
alias     CNAME www
";

/// A folder with a configuration, zones, control socket and state.
pub(super) struct Site {
    folder: TempDir,
}

impl Site {
    /// Puts `config` and one zone there.
    pub(super) fn new(config: &str, zone: &str) -> Self {
        let site = Self { folder: TempDir::new().expect("folder") };
        fs::create_dir(site.path("zones")).expect("zones");
        site.write("fingerpost.toml", config);
        site.write("zones/example.org.zone", zone);
        site
    }

    /// [`HEAD`] and `config`, with [`ZONE`].
    pub(super) fn with(config: &str) -> Self {
        Self::new(&format!("{HEAD}{config}"), ZONE)
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a file as a whole.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).expect("write");
        fs::rename(&new, self.path(name)).expect("rename");
    }

    /// What a file says.
    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect(name)
    }

    /// Replaces in a file.
    pub(super) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, &text.replace(from, to));
    }

    /// `fingerpost serve` on this folder, not waited for.
    pub(super) fn spawn(&self) -> Server<'_> {
        self.spawn_by(Command::new(PROGRAM).args(["serve", "--config"]).arg(self.path("fingerpost.toml")))
    }

    /// A server that `command` starts.
    pub(super) fn spawn_by(&self, command: &mut Command) -> Server<'_> {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("log");
        command.env_remove("FINGERPOST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Server { site: self, child: command.spawn().expect("server") }
    }

    /// A server that answers.
    #[track_caller]
    pub(super) fn start(&self) -> Server<'_> {
        let mut server = self.spawn();
        server.wait_until_served();
        server
    }

    /// Runs a command with this configuration to its end.
    #[track_caller]
    pub(super) fn command(&self, arguments: &str) -> Output {
        let config = self.path("fingerpost.toml").display().to_string();
        run(PROGRAM, arguments.split_whitespace().chain(["--config", &config]))
    }

    /// What a command that should succeed shows.
    #[track_caller]
    pub(super) fn tell(&self, arguments: &str) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// The same, as JSON.
    #[track_caller]
    pub(super) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.tell(&format!("{arguments} --json"))).expect("JSON")
    }
}

/// A running server. Stopped when dropped; if its test has failed it shows its log.
pub(super) struct Server<'s> {
    pub(super) site: &'s Site,
    child: Child,
}

impl Server<'_> {
    /// Waits until the server answers commands, which it does once everything is served.
    #[track_caller]
    pub(super) fn wait_until_served(&mut self) {
        let (site, child) = (self.site, &mut self.child);
        within(SOON, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the server has ended: {status}");
            }
            let output = site.command("status");
            if output.status.success() { Ok(()) } else { Err(stderr(&output)) }
        });
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where `service` is served; for `l4` the listener `NAME` is `l4/NAME`.
    #[track_caller]
    pub(super) fn address(&self, service: &str) -> SocketAddr {
        let status = self.site.json("status");
        let (service, listener) = service.split_once('/').map_or((service, None), |(l4, name)| (l4, Some(name)));
        let sockets = status["sockets"].as_array().expect("sockets");
        let socket =
            sockets.iter().find(|socket| socket["service"] == service && socket["listener"].as_str() == listener);
        let address = socket.and_then(|socket| socket["address"].as_str()).expect(service);
        address.parse().expect("address")
    }

    /// What dig shows.
    #[track_caller]
    pub(super) fn dig(&self, question: &str) -> String {
        dig(self.address("dns"), question)
    }

    /// Status code and `Location` for a GET of `/` with this Host.
    #[track_caller]
    pub(super) fn redirect(&self, host: &str) -> String {
        let url = format!("http://{}/", self.address("redirect"));
        let host = format!("Host: {host}");
        stdout(&curl(["--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}", "-H", &host, &url]))
    }

    /// The value of a metric, labels and all.
    #[track_caller]
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let text = get(&format!("http://{}/metrics", self.address("control")));
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("number"))
    }

    /// A realserver's part of the status.
    #[track_caller]
    pub(super) fn realserver(&self, pool: &str, name: &str) -> Value {
        let status = self.site.json("status");
        let find = |list: &Value, name: &str| {
            list.as_array()
                .and_then(|list| list.iter().find(|entry| entry["name"] == name).cloned())
                .expect("in status")
        };
        find(&find(&status["pools"], pool)["realservers"], name)
    }

    /// Waits until probes have found these realservers to be so.
    #[track_caller]
    pub(super) fn wait_for_health(&self, pool: &str, names: &[&str], health: &str) {
        for name in names {
            super::tools::becomes(SOON, health.to_owned(), || {
                self.realserver(pool, name)["health"].as_str().unwrap_or("").to_owned()
            });
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(super) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        wait_for_end(&mut self.child, deadline).unwrap_or_else(|| panic!("still running after {deadline:?}"))
    }

    /// Has it drain and waits for its end.
    #[track_caller]
    pub(super) fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait(SOON);
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}---", fs::read_to_string(self.site.path("log")).unwrap_or_default());
        }
    }
}

/// Sends a signal to a process that is not yet waited for.
pub(super) fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().expect("sh");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// Waits for the end of a child; `None` if it does not come.
pub(super) fn wait_for_end(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if start.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a child, by force if it does not listen.
pub(super) fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    // No assertion here: this runs while a failed test is being cleaned up.
    let pid = child.id().to_string();
    let _ = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status();
    if wait_for_end(child, Duration::from_secs(5)).is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
