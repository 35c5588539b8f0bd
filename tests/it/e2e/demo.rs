//! `fingerpost demo`, and what it tells a new user to paste.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    server::{PROGRAM, end, signal, wait_for_end},
    tools::{SOON, becomes, run, stderr, stdout, within},
};

/// Folder for temporary files, with what a shell would trip over.
const FOLDER: &str = "it's a folder";

/// A running demo and what it has printed.
struct Demo {
    child: Child,
    introduction: String,
}

impl Demo {
    #[track_caller]
    fn start(folder: &TempDir) -> Self {
        fs::create_dir_all(folder.path().join(FOLDER)).expect("folder");
        let mut command = Command::new(PROGRAM);
        command
            .args(["demo", "--seconds", "120"])
            .env("TMPDIR", folder.path().join(FOLDER))
            .env_remove("FINGERPOST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("demo");
        let lines = BufReader::new(child.stdout.take().expect("output")).lines().map_while(Result::ok);
        let mut introduction = String::new();
        for line in lines {
            introduction += &(line + "\n");
            if introduction.contains("Ctrl-C") {
                break;
            }
        }
        Self { child, introduction }
    }

    /// The printed commands that contain `part`, in order.
    fn commands(&self, part: &str) -> Vec<&str> {
        let commands = self.introduction.lines().filter_map(|line| line.strip_prefix("  "));
        commands.filter(|line| line.contains(part) && !line.starts_with("http")).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            let mut log = String::new();
            // What the demo said is a help, and its absence no second failure.
            let _ = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut log));
            eprintln!("--- the demo\n{}{log}---", self.introduction);
        }
    }
}

/// Pastes a line into a shell.
#[track_caller]
fn paste(line: &str) -> String {
    let output = run("sh", ["-c", line]);
    assert!(output.status.success(), "{line}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn printed_lines_work_when_pasted_and_nothing_is_left_behind() {
    let folder = TempDir::new().expect("folder");
    let mut demo = Demo::start(&folder);
    let dig_www = demo.commands("www.demo.example +short");
    assert_eq!(dig_www.len(), 2, "{}", demo.introduction);
    let dig_www = dig_www[0];

    // All three are up, so that no probe's first result comes between the nine.
    let status = demo.commands(" status ")[0];
    within(SOON, || {
        let shown: serde_json::Value = serde_json::from_str(&paste(&format!("{status} --json"))).expect("JSON");
        let healths: Vec<_> = (0..3).map(|index| shown["pools"][0]["realservers"][index]["health"].clone()).collect();
        if healths.iter().all(|health| health == "up") { Ok(()) } else { Err(format!("{healths:?}")) }
    });
    let order: String = (0..9).map(|_| paste(dig_www)).collect();
    let order =
        order.replace("127.0.0.11", "A").replace("127.0.0.12", "B").replace("127.0.0.13", "C").replace('\n', "");
    assert_eq!(order, "AABABCABC");

    let places: Vec<String> = demo.commands("world.demo.example +subnet").into_iter().map(paste).collect();
    assert_eq!(places, ["127.0.0.11\n", "127.0.0.12\n", "127.0.0.13\n"]);

    let redirected = paste(demo.commands("curl -i")[0]);
    assert!(redirected.starts_with("HTTP/1.1 302") && redirected.contains("/a/path?and=query\r\n"), "{redirected}");
    let followed = paste(&demo.commands("curl -i")[0].replace("curl -i", "curl -sL"));
    assert!(followed.contains("I am realserver") && followed.contains("/a/path?and=query"), "{followed}");
    let carried = demo.commands("curl http");
    assert_eq!(carried.len(), 1, "{}", demo.introduction);
    assert!(paste(carried[0]).starts_with("I am realserver a"), "{}", paste(carried[0]));

    assert!(paste(demo.commands("/break")[0]).contains("fails its checks from now on"));
    let three = || (0..3).map(|_| paste(dig_www)).collect::<String>().contains("127.0.0.12");
    becomes(Duration::from_secs(4), false, three);
    assert!(paste(demo.commands("/mend")[0]).contains("well again"));
    becomes(Duration::from_secs(4), true, three);

    paste(demo.commands("echo ")[0]);
    becomes(Duration::from_secs(2), "192.0.2.99\n".to_owned(), || paste(demo.commands("new.demo.example")[0]));

    assert!(paste(status).contains("web"), "{}", paste(status));
    let explained = paste(demo.commands(" explain ")[0]);
    assert!(explained.contains("127.0.0.11"), "{explained}");
    assert!(paste(demo.commands(" drain ")[0]).contains("web/a is set to drain"));
    let drained: String = (0..5).map(|_| paste(dig_www)).collect();
    assert!(!drained.contains("127.0.0.11"), "{drained}");

    let urls = demo.introduction.lines().find(|line| line.trim().starts_with("http")).expect("dashboard and metrics");
    for url in urls.split_whitespace() {
        paste(&format!("curl --silent --fail --show-error --noproxy '*' {url}"));
    }

    let left = || fs::read_dir(folder.path().join(FOLDER)).expect("folder").count();
    assert_eq!(left(), 1);
    signal(demo.child.id(), "INT");
    let status = wait_for_end(&mut demo.child, SOON).expect("the demo ends");
    assert!(status.success(), "{status}");
    assert_eq!(left(), 0);
    let mut said = String::new();
    demo.child.stderr.take().expect("log").read_to_string(&mut said).expect("log");
    // The broken realserver, and the record that was added under the old serial.
    let is_expected =
        |line: &&str| ["down", "nobody in the pool", "did not go up"].iter().any(|text| line.contains(text));
    let said: Vec<&str> = said.lines().filter(|line| !is_expected(line)).collect();
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn second_demo_finds_other_ports() {
    let folder = TempDir::new().expect("folder");
    let demos = [Demo::start(&folder), Demo::start(&folder)];
    let [first, second] = demos.each_ref().map(|demo| demo.commands("www.demo.example +short"));
    assert_ne!(first[0], second[0]);
    for dig in [first[0], second[0]] {
        assert!(paste(dig).starts_with("127.0.0.1"), "{dig}");
    }
}

#[test]
fn demo_stops_by_itself_after_so_many_seconds() {
    let folder = TempDir::new().expect("folder");
    let mut command = Command::new(PROGRAM);
    command.args(["demo", "--seconds", "1"]).env("TMPDIR", folder.path()).stdin(Stdio::null());
    let output = command.output().expect("demo");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("dig @"), "{}", stdout(&output));
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0);
}
