//! The command line: what can be said to the program, and which function does it.

mod check;
mod demo;
mod explain;
mod operate;
mod plan;
mod serve;

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    control::protocol::{ExplainRequest, Way},
    state::{Wish, pattern::Pattern},
    types::{Admin, Force},
};

/// Exit status of a command that did what it should.
const OK: u8 = 0;
/// Exit status of a command that found mistakes, or was refused.
const FAILED: u8 = 1;
/// Exit status of `plan` when clients would move.
const MOVES: u8 = 3;
/// Exit status of a command that could not read its file, or reach the server.
const UNREACHABLE: u8 = 2;

/// DNS-based global load balancer and authoritative nameserver.
///
/// Answers A and AAAA from weighted, health-checked pools of realservers, sends browsers on by HTTP 302, and carries TCP over the last hop:
/// three ways, one decision.
#[derive(Debug, Parser)]
#[command(
    name = "fingerpost",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done; 1 mistakes were found, or the server refused; 2 a file could not be read, or no server answers; 3 `plan`: something moves"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration; commands to a running server find its control socket in it
    #[arg(long, global = true, value_name = "FILE", default_value = "fingerpost.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: DNS, redirector, L4 listeners, health checks
    ///
    /// Configuration, zones and geo databases are reloaded when they change, and on SIGHUP. SIGTERM and SIGINT drain and stop.
    /// The environment variable FINGERPOST_LOG sets what is logged (`warn`, `info`, `debug`, `fingerpost::dns=debug,info`).
    Serve {
        /// How log records are written to standard error
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
        log_format: LogFormat,
    },
    /// Check the configuration, its zones and databases, and report every mistake
    ///
    /// Exit status 0: all is well, perhaps with warnings; 1: there are errors; 2: the file could not be read.
    Check {
        /// Print the configuration in force, with every default
        #[arg(long)]
        print: bool,
        /// Print the outcome as one JSON object
        #[arg(long, conflicts_with = "print")]
        json: bool,
    },
    /// Try everything out on loopback, with realservers of its own and lines to paste; needs no root
    Demo {
        /// Stop by itself after so many seconds
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// Show zones, pools and realservers of the running server
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say what a client would get, and why; takes no turn of a round robin
    Explain {
        /// The name that is asked for; with `--via l4` also the name of a listener
        name: String,
        /// The record type
        #[arg(value_name = "TYPE", default_value = "A")]
        rtype: String,
        /// Who asks: for dns the resolver's address, else the client's own; 127.0.0.1 if not given
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        /// The client's network as the resolver tells it (EDNS Client Subnet)
        #[arg(long, value_name = "NET")]
        ecs: Option<IpNet>,
        /// The way the client comes: dns, redirect or l4
        #[arg(long, value_name = "WAY", default_value_t, value_parser = |text: &str| text.parse::<Way>())]
        via: Way,
        /// Ask no server, but the files: as if the configuration had just been loaded and everybody were up
        #[arg(long)]
        offline: bool,
        /// As if these were down: a realserver, several by `*` and `?`, or a pool; may be given again
        #[arg(long, value_name = "POOL/REALSERVER|POOL", requires = "offline")]
        down: Vec<Pattern>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Compare with another configuration: what changes, who moves, who carries how much if somebody fails
    ///
    /// Zones and databases are read from the files that both configurations name. Exit status 0: nothing moves; 1: there are errors;
    /// 2: a file could not be read; 3: something moves.
    Plan(plan::Asked),
    /// Give realservers nothing new; what runs, runs on, and they are still probed
    Drain(SetAdmin),
    /// Take realservers out altogether: no traffic even if all others are down, and no probes
    Maint(SetAdmin),
    /// Take `drain` or `maint` back
    Ready(SetReady),
    /// Say that realservers are up or down, whatever their probes say; `auto` lets these decide again
    ///
    /// Probes go on, and what they find is logged and counted.
    Force {
        /// What they are
        #[arg(value_enum, value_name = "up|down|auto")]
        health: Forced,
        #[command(flatten)]
        set: SetAdmin,
    },
    /// End a freeze: believe what the probes say
    ///
    /// When more than `guards.freeze_above` of all addresses fall at once, they stay in service until they are up again, or until this.
    Thaw,
    /// Read configuration, zones and databases again; returns when the outcome is known
    ///
    /// Changed files are reloaded without being told; this also says what came of it.
    Reload {
        /// Print the outcome as one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct SetAdmin {
    /// A realserver such as `web/ams-10`, several such as `'web/*'` or `'*/ams-?'`, or a pool: all of it, also what is added later
    #[arg(value_name = "POOL/REALSERVER|POOL")]
    target: String,
    /// When it ends by itself: `30m`, `2h`, `1d` from now, `06:00` (UTC), or `2026-12-24T06:00Z`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why; shown by `status` and `explain`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct SetReady {
    /// A realserver, several, or a pool, as for `drain`; what is set on a pool is taken back from the pool
    #[arg(value_name = "POOL/REALSERVER|POOL")]
    target: String,
}

/// What `force` says.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Forced {
    /// Up, and eligible
    Up,
    /// Down, and passed over
    Down,
    /// What probes say
    Auto,
}

impl From<Forced> for Force {
    fn from(forced: Forced) -> Self {
        match forced {
            Forced::Up => Self::Up,
            Forced::Down => Self::Down,
            Forced::Auto => Self::Auto,
        }
    }
}

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// One line for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Runs the command that the program was started with.
pub fn run() -> ExitCode {
    let Arguments { command, config } = Arguments::parse();
    let status = match command {
        Command::Serve { log_format } => serve::serve(&config, log_format),
        Command::Check { print, json } => check::check(&config, print, json),
        Command::Demo { seconds } => demo::demo(seconds),
        Command::Status { json } => operate::status(&config, json),
        Command::Explain { name, rtype, client, ecs, via, offline, down, json } => {
            let request = ExplainRequest { name, rtype, client, ecs, via };
            match offline {
                true => explain::offline(&config, down, &request, json),
                false => operate::explain(&config, request, json),
            }
        }
        Command::Plan(asked) => plan::plan(&config, &asked),
        Command::Drain(set) => operate::set(&config, Wish::Admin(Admin::Drain), set),
        Command::Maint(set) => operate::set(&config, Wish::Admin(Admin::Maint), set),
        Command::Ready(SetReady { target }) => {
            operate::set(&config, Wish::Admin(Admin::Ready), SetAdmin { target, until: None, reason: None })
        }
        Command::Force { health, set } => operate::set(&config, Wish::Force(health.into()), set),
        Command::Thaw => operate::thaw(&config),
        Command::Reload { json } => operate::reload(&config, json),
    };
    ExitCode::from(status)
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    let _ = output
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { output.write_all(b"\n") });
}
