//! `fingerpost plan`: what another configuration would change, before it is in force.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{FAILED, MOVES, OK, UNREACHABLE, explain::load, operate, print};
use crate::{
    control::protocol::{Request, Response, Status},
    plan::{self, Clients, Side, queries::Query},
    runtime::Offline,
    state::{Wish, pattern::Pattern},
    types::{Admin, Force, Health},
};

/// Longest line of a query log that is read.
const LINE_OCTETS_MAX: u64 = 64 * 1024;

/// What `plan` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// The configuration that is to be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Compare over these queries: one JSON object a line, with `name`, and `type`, `client`, `ecs` if they are known
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    queries: Option<PathBuf>,
    /// Compare over so many addresses, not over every network that is treated alike
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sample: Option<u32>,
    /// Take health and overrides from the running server; without it everybody is up
    #[arg(long)]
    live: bool,
    /// Load of all clients of a pool together, in the unit of `capacity`; without it as much as fits while nobody fails
    #[arg(long, value_name = "N")]
    load: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares the configuration in use with another one; the exit status.
pub(super) fn plan(config: &Path, asked: &Asked) -> u8 {
    match try_plan(config, asked) {
        Ok(true) => MOVES,
        Ok(false) => OK,
        Err(status) => status,
    }
}

fn try_plan(config: &Path, asked: &Asked) -> Result<bool, u8> {
    let start = Instant::now();
    let mut old = load(config, None)?;
    let mut new = load(&asked.new, Some(&old))?;
    if asked.live {
        let Response::Status(status) = operate::ask(config, &Request::Status)? else {
            eprintln!("error: the server answered something else");
            return Err(FAILED);
        };
        [&mut old, &mut new].into_iter().for_each(|side| take_over(side, &status));
    }
    let side = |offline: &Offline| (offline.config().clone(), offline.snapshot().clone());
    let ((old_config, old_snapshot), (new_config, new_snapshot)) = (side(&old), side(&new));
    let (old_side, new_side) =
        (Side { config: &old_config, snapshot: &old_snapshot }, Side { config: &new_config, snapshot: &new_snapshot });
    let mut plan = match &asked.queries {
        Some(path) => {
            let mut log = Log::open(path)?;
            let plan = plan::compare_queries(old_side, new_side, &mut log);
            log.report()?;
            plan
        }
        None => plan::compare(old_side, new_side, asked.sample.map_or(Clients::Networks, Clients::Sample)),
    };
    #[expect(clippy::cast_precision_loss, reason = "a load, not a count")]
    let load = asked.load.map(|load| load as f64);
    plan.failures = plan::rehearse(new_side, load, &mut |whom| failed(&mut new, whom));
    if asked.json {
        operate::print_json(&plan);
    } else {
        print(&plan::text::text(&plan, start.elapsed()));
    }
    Ok(plan.moves_anything())
}

/// The snapshot in which somebody is down, and everybody else as they are.
fn failed(offline: &mut Offline, whom: &str) -> Option<std::sync::Arc<crate::snapshot::Snapshot>> {
    let pattern: Pattern = whom.parse().ok()?;
    offline.suppose(pattern.clone(), Wish::Force(Force::Down), "plan").ok()?;
    let snapshot = offline.snapshot().clone();
    offline.suppose(pattern, Wish::Force(Force::Auto), "plan").ok()?;
    Some(snapshot)
}

/// Makes it as the running server has it. Who is not in this configuration is of no interest.
fn take_over(offline: &mut Offline, status: &Status) {
    for pool in &status.pools {
        for realserver in &pool.realservers {
            let Ok(pattern) = format!("{}/{}", pool.name, realserver.name).parse::<Pattern>() else { continue };
            if realserver.admin != Admin::Ready {
                let _ = offline.suppose(pattern.clone(), Wish::Admin(realserver.admin), "the server");
            }
            if realserver.health == Health::Down {
                let _ = offline.suppose(pattern, Wish::Force(Force::Down), "the server");
            }
        }
    }
}

/// A query log that is read line by line.
struct Log {
    path: PathBuf,
    lines: BufReader<File>,
    n_read: u64,
    n_bad: u64,
    first_bad: Option<String>,
    failure: Option<io::Error>,
}

impl Log {
    fn open(path: &Path) -> Result<Self, u8> {
        match File::open(path) {
            Ok(file) => {
                let lines = BufReader::with_capacity(1 << 20, file);
                Ok(Self { path: path.to_owned(), lines, n_read: 0, n_bad: 0, first_bad: None, failure: None })
            }
            Err(problem) => {
                eprintln!("error: could not read `{}`: {problem}", path.display());
                Err(UNREACHABLE)
            }
        }
    }

    /// Says what of the log was of no use: some lines are a warning, all of them are an error.
    fn report(&self) -> Result<(), u8> {
        let path = self.path.display();
        if let Some(problem) = &self.failure {
            eprintln!("error: could not read `{path}`: {problem}");
            return Err(UNREACHABLE);
        }
        let Some(first) = &self.first_bad else { return Ok(()) };
        let is_all = self.n_bad == self.n_read;
        let severity = if is_all { "error" } else { "warning" };
        eprintln!(
            "{severity}: {} of {} lines of `{path}` are no queries; the first is {first}",
            self.n_bad, self.n_read
        );
        if is_all { Err(FAILED) } else { Ok(()) }
    }
}

impl Iterator for Log {
    type Item = Query;

    fn next(&mut self) -> Option<Query> {
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.lines.by_ref().take(LINE_OCTETS_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(problem) => {
                    self.failure = Some(problem);
                    return None;
                }
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.n_read += 1;
            match Query::parse(&line) {
                Ok(query) => return Some(query),
                Err(problem) => {
                    self.n_bad += 1;
                    let n_read = self.n_read;
                    self.first_bad.get_or_insert_with(|| format!("number {n_read}: {problem}"));
                }
            }
        }
    }
}
