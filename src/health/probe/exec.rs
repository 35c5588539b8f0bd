//! A command, started without a shell in a process group of its own, whose exit status is the answer.
//!
//! Its environment is this program's, and `FINGERPOST_REALSERVER`, `FINGERPOST_ADDRESS` and `FINGERPOST_PORT` say whom to look at. When its time
//! is up the whole group is killed, with what it has started.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{Problem, Target};
use crate::config::ExecCheck;

/// Octets of output that are kept; what comes after them is read and thrown away.
const OUTPUT_OCTETS_MAX: usize = 4096;
/// Characters of the last line of output that an error shows.
const SHOWN_MAX: usize = 120;

/// What belongs to this process alone and would confuse another one.
const NOT_INHERITED: &[&str] = &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "FINGERPOST_LOG"];

/// Waits for one of the `places`, before the probe's own time begins: a busy machine says nothing about a realserver.
pub(super) async fn wait_for_place(places: &Semaphore, patience: Duration) -> Result<SemaphorePermit<'_>, Problem> {
    match timeout(patience, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Problem::Unclear("too many commands are running".to_owned())),
    }
}

pub(super) async fn probe(target: &Target, check: &ExecCheck) -> Result<(), Problem> {
    let Some((program, arguments)) = check.command.split_first() else {
        return Err(Problem::Unclear("no command".to_owned()));
    };
    let mut command = Command::new(&**program);
    command
        .args(arguments.iter().map(|argument| &**argument))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("FINGERPOST_ADDRESS", target.address.ip().to_string())
        .process_group(0)
        .kill_on_drop(true);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    match &target.realserver {
        Some(realserver) => command.env("FINGERPOST_REALSERVER", realserver.to_string()),
        None => command.env_remove("FINGERPOST_REALSERVER"),
    };
    match target.address.port() {
        0 => command.env_remove("FINGERPOST_PORT"),
        port => command.env("FINGERPOST_PORT", port.to_string()),
    };
    let started =
        command.spawn().map_err(|error| Problem::Unclear(format!("`{program}` could not be started: {error}")));
    let mut group = Group(started?);
    let (status, output) = group.run().await?;
    if status.success() { Ok(()) } else { Err(Problem::Unexpected(failure(status, &output))) }
}

/// A command and all that it starts. Killed when dropped before the command has ended.
struct Group(Child);

impl Group {
    /// The exit status, and the beginning of what was said. What is still said after the command's end by those that it has left behind
    /// is not waited for.
    async fn run(&mut self) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let status = {
            let (heard, complained) = (listen(stdout, &mut output), listen(stderr, &mut errors));
            let both = async { tokio::join!(heard, complained) };
            let mut both = std::pin::pin!(both);
            tokio::select! {
                biased;
                // Output that is at its end says that the command soon will be.
                _ = &mut both => self.0.wait().await?,
                status = self.0.wait() => {
                    let status = status?;
                    // What is in the pipes already was said before the end.
                    let _ = std::future::poll_fn(|context| std::task::Poll::Ready(both.as_mut().poll(context))).await;
                    status
                }
            }
        };
        output.append(&mut errors);
        Ok((status, output))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The number is gone once the command was waited for, and may be somebody else's then.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended on its own a moment ago.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Reads to the end and keeps the beginning.
async fn listen(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_OCTETS_MAX.saturating_sub(into.len());
        into.extend(buffer.iter().take(length.min(room)));
    }
}

/// How it ended, and the last line that it said.
fn failure(status: ExitStatus, output: &[u8]) -> String {
    use std::os::unix::process::ExitStatusExt;
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => format!("{ended}: {}", line.chars().take(SHOWN_MAX).collect::<String>()),
        None => ended,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc};

    use super::{
        super::{
            Shared, probe,
            testing::{impatient, outcome, target},
        },
        *,
    };
    use crate::{config::CheckKind, types::RealserverName};

    fn exec(command: &[&str]) -> Target {
        let command = command.iter().map(|word| Box::from(*word)).collect();
        let exec = target(CheckKind::Exec(ExecCheck { command }), "192.0.2.1:8080".parse().expect("address"));
        let name = RealserverName { pool: "web".into(), realserver: "a".into() };
        Target { realserver: Some(Arc::new(name)), ..exec }
    }

    fn shell(script: &str) -> Target {
        exec(&["/bin/sh", "-c", script])
    }

    #[tokio::test]
    async fn exit_status_decides_and_the_last_line_is_told() {
        for (script, expected) in [
            ("true", "ok"),
            ("exit 3", "exit status 3"),
            ("echo one; echo two >&2; exit 1", "exit status 1: two"),
            ("kill -9 $$", "ended by signal 9"),
        ] {
            assert_eq!(outcome(&shell(script)).await, expected, "{script}");
        }
    }

    #[tokio::test]
    async fn command_is_told_whom_to_look_at_and_no_shell_reads_its_arguments() {
        let script = "echo \"$FINGERPOST_REALSERVER $FINGERPOST_ADDRESS $FINGERPOST_PORT $0\"; exit 1";
        let found = outcome(&exec(&["/bin/sh", "-c", script, "$(id) *"])).await;
        assert_eq!(found, "exit status 1: web/a 192.0.2.1 8080 $(id) *");
    }

    #[tokio::test]
    async fn program_that_is_not_there_is_nobodys_failure() {
        let found = outcome(&exec(&["/nowhere/probe"])).await;
        assert!(found.starts_with("unclear: `/nowhere/probe` could not be started"), "{found}");
    }

    #[tokio::test]
    async fn output_without_end_is_not_kept_and_harms_nobody() {
        assert_eq!(outcome(&shell("yes | head -c 3000000; exit 0")).await, "ok");
        let found = outcome(&shell("yes y | tr -d '\\n' | head -c 3000000; exit 1")).await;
        assert_eq!(found, format!("exit status 1: {}", "y".repeat(SHOWN_MAX)));
    }

    /// Whether a process runs; one that has ended and was not waited for does not.
    fn runs(pid: &str) -> bool {
        let status = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
        status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[tokio::test]
    async fn whole_group_is_killed_when_its_time_is_up() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $$ $! > {}; wait", file.display());
        assert_eq!(outcome(&impatient(shell(&script))).await, "timed out after 300ms");
        let pids = fs::read_to_string(&file).expect("written");
        for _ in 0..500 {
            if !pids.split_whitespace().any(runs) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still there: {pids}");
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; exit 0", file.display());
        assert_eq!(outcome(&shell(&script)).await, "ok");
        let pid = fs::read_to_string(&file).expect("written");
        let status = std::process::Command::new("kill").arg(pid.trim()).status().expect("kill");
        assert!(status.success());
    }

    #[tokio::test]
    async fn no_more_commands_run_at_once_than_allowed() {
        let shared = Shared { commands: Semaphore::new(1), ..Shared::new() };
        let busy = shared.commands.try_acquire().expect("a place");
        let found = probe(&impatient(shell("true")), &shared).await;
        assert_eq!(
            found.outcome.map_err(|failure| failure.text.to_string()),
            Err("too many commands are running".into())
        );
        drop(busy);
        assert_eq!(probe(&shell("true"), &shared).await.outcome, Ok(()));
    }
}
