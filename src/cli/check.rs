//! `fingerpost check`: everything that `serve` would read, read once, and every mistake in it.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::{FAILED, OK, UNREACHABLE, print};
use crate::{
    config::{self, Config, LoadError, Members},
    diagnostic::{Diagnostic, Diagnostics, Severity},
    dns,
    geo::Geo,
    health::probe::icmp,
    protect::Secrets,
    state::{self, State},
    zone::directory,
};

/// What was found.
struct Outcome {
    config: Config,
    n_zones: usize,
    n_records: usize,
    findings: Diagnostics,
}

/// Checks the file at `path`; the exit status.
pub(super) fn check(path: &Path, prints_config: bool, as_json: bool) -> u8 {
    match load(path) {
        Err(LoadError::Unreadable(problem)) => {
            report(as_json, &problem.into(), None);
            UNREACHABLE
        }
        Err(LoadError::Invalid(findings)) => {
            report(as_json, &findings, None);
            FAILED
        }
        Ok(outcome) => {
            if prints_config {
                print(&config::print(&outcome.config));
            }
            report(as_json, &outcome.findings, (!prints_config).then_some(&outcome));
            if outcome.findings.has_errors() { FAILED } else { OK }
        }
    }
}

fn load(path: &Path) -> Result<Outcome, LoadError> {
    let (config, mut findings) = config::load(path)?;
    match Geo::load(&config.geo_databases) {
        Ok(geo) => findings.extend(state::place::check(&config, &geo)),
        Err(unusable) => findings.extend(unusable),
    }
    if let Some(encrypted) = &config.dns.encrypted {
        match dns::Certificate::load(encrypted, Timestamp::now()) {
            Ok((_, warnings)) => findings.extend(warnings),
            Err(unusable) => findings.extend(unusable),
        }
    }
    let secret_file = config.dns.cookies.as_ref().and_then(|cookies| cookies.secret_file.as_deref());
    for path in secret_file.into_iter().chain(config.redirect.cookie_secret_file.as_deref()) {
        if let Err(unusable) = Secrets::load(path) {
            findings.extend(unusable);
        }
    }
    if let Err(unavailable) = icmp::check_available(&config) {
        // The server may be another user, on another machine.
        findings.push(Diagnostic { severity: Severity::Warning, ..unavailable });
    }
    let (mut n_zones, mut n_records) = (0, 0);
    if let Some(zones) = &config.dns.zones {
        let (zones, found) = directory::load_all(zones);
        findings.extend(found);
        for zone in zones {
            n_zones += 1;
            n_records += zone.n_records();
            if let Err(unknown) = State::check_zone(&config, &zone) {
                findings.extend(unknown);
            }
        }
    }
    Ok(Outcome { config, n_zones, n_records, findings })
}

fn n_realservers(config: &Config) -> usize {
    let count = |pool: &config::Pool| match &pool.members {
        Members::Realservers { realservers, .. } => realservers.len(),
        Members::Pools { .. } => 0,
    };
    config.pools.iter().map(count).sum()
}

/// Findings go to standard error, the counts (or everything, as JSON) to standard output.
fn report(as_json: bool, findings: &Diagnostics, outcome: Option<&Outcome>) {
    let (n_errors, n_warnings) = findings.counts();
    if as_json {
        let counts = outcome.map(|outcome| {
            let pools = outcome.config.pools.len();
            json!({ "zones": outcome.n_zones, "records": outcome.n_records, "pools": pools, "realservers": n_realservers(&outcome.config) })
        });
        let findings: Vec<_> = findings.0.iter().map(as_value).collect();
        let ok = n_errors == 0;
        print(
            &json!({ "ok": ok, "errors": n_errors, "warnings": n_warnings, "counts": counts, "findings": findings })
                .to_string(),
        );
        return;
    }
    if !findings.0.is_empty() {
        eprintln!("{findings}\n");
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let found = match (n_errors, n_warnings) {
        (0, 0) => "ok".to_owned(),
        (0, _) => format!("ok, {}", plural(n_warnings, "warning")),
        (_, 0) => plural(n_errors, "error"),
        _ => format!("{}, {}", plural(n_errors, "error"), plural(n_warnings, "warning")),
    };
    match outcome {
        Some(outcome) => print(&format!(
            "{found}: {}, {}, {}, {}",
            plural(outcome.n_zones, "zone"),
            plural(outcome.n_records, "record"),
            plural(outcome.config.pools.len(), "pool"),
            plural(n_realservers(&outcome.config), "realserver")
        )),
        None => eprintln!("{found}"),
    }
}

fn as_value(finding: &Diagnostic) -> serde_json::Value {
    let position =
        finding.place.as_ref().map(|(source, span)| (source.path.display().to_string(), source.position(span.start)));
    let (file, line, column) = match position {
        Some((file, (line, column))) => (Some(file), Some(line), Some(column)),
        None => (None, None, None),
    };
    let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
    json!({ "severity": severity, "file": file, "line": line, "column": column, "message": finding.message, "hint": finding.hint })
}
