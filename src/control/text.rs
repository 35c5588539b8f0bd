//! [`Status`] for people: tables for a terminal, what needs attention at the top and beside what it is about.
//!
//! Pure: a value in, text out. Whatever comes from zones, operators or the network is shown without its control characters, which a
//! terminal would obey.

use std::{iter, net::SocketAddr, time::Duration};

use jiff::Timestamp;

use super::protocol::{
    AddressStatus, OverrideStatus, PoolStatus, RealserverStatus, ReloadError, SecondaryStatus, SocketStatus, Status,
    ZoneStatus,
};
use crate::types::{Admin, Force, Health};

/// The status as `fingerpost status` prints it, `now` being the time that ages are counted to. Ends with a newline.
pub fn status_text(status: &Status, now: Timestamp) -> String {
    let mut parts = vec![headline(status)];
    parts.extend(status.reload_error.as_ref().map(|error| reload_text(error, now)));
    parts.extend(status.frozen_since.map(|since| frozen_text(since, now)));
    parts.extend(status.state_problem.as_ref().map(|problem| format!("STATE {}\n", printable(problem))));
    if !status.overrides.is_empty() {
        parts.push(overrides_text(&status.overrides, now));
    }
    if !status.zones.is_empty() {
        parts.push(zones_text(&status.zones, now));
    }
    parts.extend(status.pools.iter().map(|pool| pool_text(pool, now)));
    if !status.sockets.is_empty() {
        parts.push(sockets_text(&status.sockets));
    }
    parts.join("\n")
}

/// How long something has lasted, in its two largest units at most: `12s`, `3m`, `4h 12m`, `3d 4h`.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        (_, _, _) => format!("{days}d {}h", hours % 24),
    }
}

/// How long ago `since` was; 0 for what the other clock puts in the future.
fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// `text` with every control character as an escape, on one line.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_unprintable(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
        shown
    })
}

/// Control characters, and those that turn the direction of what follows.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Each line of `text`, printable and indented.
fn indented(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| format!("  {}", printable(line)).trim_end().to_owned())
}

fn headline(status: &Status) -> String {
    let n_broken = status.zones.iter().filter(|zone| zone.error.is_some()).count();
    let n_degraded = status.pools.iter().filter(|pool| pool.is_degraded).count();
    let n_failed = status.pools.iter().filter(|pool| pool.is_failed && !pool.is_degraded).count();
    let but = |count: usize, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
    format!(
        "fingerpost {}, up {}, generation {}\nzones: {}{}; pools: {}{}{}\n",
        printable(&status.version),
        age(Duration::from_secs(status.uptime_seconds)),
        status.generation,
        status.zones.len(),
        but(n_broken, "with errors"),
        status.pools.len(),
        but(n_degraded, "degraded"),
        but(n_failed, "failed"),
    )
}

fn reload_text(error: &ReloadError, now: Timestamp) -> String {
    let ago = age(elapsed(error.at, now));
    let first = format!("RELOAD FAILED {ago} ago; what was in force before it still is");
    lines(iter::once(first).chain(indented(&error.errors)))
}

fn overrides_text(overrides: &[OverrideStatus], now: Timestamp) -> String {
    let row = |set: &OverrideStatus| {
        let what = match (set.admin, set.force) {
            (Some(admin), _) => admin.to_string(),
            (None, force) => force.unwrap_or_default().to_string(),
        };
        let until = set.until.map_or("-".to_owned(), |until| format!("in {}", age(elapsed(now, until))));
        let reason = set.reason.as_deref().map(printable).unwrap_or_default();
        let is_gone = if set.is_gone { "nobody has this name" } else { "" };
        let separator = if reason.is_empty() || !set.is_gone { "" } else { "; " };
        Row {
            cells: [
                printable(&set.target),
                what,
                format!("{} ago", age(elapsed(set.since, now))),
                until,
                printable(&set.by),
                format!("{reason}{separator}{is_gone}"),
            ],
            notes: Vec::new(),
        }
    };
    lines(table(["OVERRIDE", "SET", "SINCE", "ENDS", "BY", "WHY"], overrides.iter().map(row).collect()))
}

fn zones_text(zones: &[ZoneStatus], now: Timestamp) -> String {
    let row = |zone: &ZoneStatus| Row {
        cells: [
            printable(&zone.apex),
            zone.serial.map_or("-".to_owned(), |serial| serial.to_string()),
            zone.records.to_string(),
            zone.since.map_or("never".to_owned(), |since| format!("{} ago", age(elapsed(since, now)))),
            printable(&zone.path),
        ],
        notes: zone
            .secondary
            .iter()
            .map(|secondary| secondary_text(secondary, now))
            .chain(zone.error.iter().flat_map(|error| indented(error)))
            .collect(),
    };
    lines(table(["ZONE", "SERIAL", "RECORDS", "LOADED", "FILE"], zones.iter().map(row).collect()))
}

/// How it stands with the primaries, in one line.
fn secondary_text(secondary: &SecondaryStatus, now: Timestamp) -> String {
    let ago = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| format!("{} ago", age(elapsed(at, now))));
    let after = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| format!("in {}", age(elapsed(now, at))));
    let primary = secondary.primary.map_or("-".to_owned(), |primary| primary.to_string());
    let expires = match (secondary.is_expired, secondary.refreshed) {
        (true, None) => "not there yet".to_owned(),
        (true, Some(_)) => "EXPIRED".to_owned(),
        (false, _) => format!("expires {}", after(secondary.expires)),
    };
    let (refreshed, next) = (ago(secondary.refreshed), after(secondary.next));
    format!("  secondary of {primary}, refreshed {refreshed}, next {next}, {expires}")
}

fn pool_text(pool: &PoolStatus, now: Timestamp) -> String {
    let check = pool.check.as_ref().map_or(String::new(), |check| format!(", check {}", printable(check)));
    let members = match &pool.members[..] {
        [] => String::new(),
        members => format!(" of {}", printable(&members.join(", "))),
    };
    let mark = match (pool.is_degraded, pool.is_failed) {
        (true, _) => "  DEGRADED: nobody is eligible, everybody who is ready is used",
        (false, true) => "  FAILED",
        (false, false) => "",
    };
    let first = format!("POOL {}  {}{members}{check}{mark}", printable(&pool.name), printable(&pool.policy));
    if pool.realservers.is_empty() {
        return lines(iter::once(first));
    }
    let rows = pool.realservers.iter().flat_map(|realserver| realserver_rows(pool, realserver, now)).collect();
    let header = ["REALSERVER", "ADDRESS", "WEIGHT", "HEALTH", "SET", "TRAFFIC", "WHY"];
    lines(iter::once(first).chain(table(header, rows).map(|line| format!("  {line}"))))
}

/// One row for each address, for each has its own health; what is the realserver's stands in the first.
fn realserver_rows(pool: &PoolStatus, realserver: &RealserverStatus, now: Timestamp) -> Vec<Row<7>> {
    let row = |(index, address): (usize, &AddressStatus)| {
        let first = |text: String| if index == 0 { text } else { String::new() };
        let operator = first(operator_text(realserver));
        let probe = match (address.health, &address.last_error) {
            (Health::Up, None) | (_, None) => String::new(),
            (Health::Up, Some(error)) => format!("last probe failed: {}", printable(error)),
            (_, Some(error)) => printable(error),
        };
        let certificate = address.certificate_ends.filter(|_| address.certificate_ending);
        let certificate = certificate.map_or(String::new(), |ends| match ends > now {
            true => format!("certificate ends in {}", age(elapsed(now, ends))),
            false => "certificate has ended".to_owned(),
        });
        let why: Vec<String> = [operator, probe, certificate].into_iter().filter(|text| !text.is_empty()).collect();
        Row {
            cells: [
                first(printable(&realserver.name)),
                address_text(address, realserver.port),
                first(weight_text(realserver)),
                health_text(pool, address, now),
                first(admin_text(realserver, now)),
                first(traffic_text(pool, realserver).to_owned()),
                why.join("; "),
            ],
            notes: Vec::new(),
        }
    };
    realserver.addresses.iter().enumerate().map(row).collect()
}

fn address_text(address: &AddressStatus, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address.address, port).to_string(),
        None => address.address.to_string(),
    }
}

fn health_text(pool: &PoolStatus, address: &AddressStatus, now: Timestamp) -> String {
    let health = address.health;
    let since = address.since.map_or(String::new(), |since| format!(" {}", age(elapsed(since, now))));
    let stale = if address.stale { " (stale)" } else { "" };
    if let Some(probed) = address.probed {
        return format!("{health} (forced; probes say {probed})");
    }
    match (&pool.check, address.restored) {
        (None, _) => format!("{health} (no check)"),
        (Some(_), true) => format!("{health}{since} (before the restart){stale}"),
        (Some(_), false) => format!("{health}{since}{stale}"),
    }
}

/// What counts, and how much of it while the realserver has just come up.
fn weight_text(realserver: &RealserverStatus) -> String {
    match realserver.ramp_percent {
        Some(percent) => format!("{} ({percent}%)", realserver.weight),
        None => realserver.weight.to_string(),
    }
}

fn admin_text(realserver: &RealserverStatus, now: Timestamp) -> String {
    let set = match (realserver.admin, realserver.force) {
        (Admin::Ready, Force::Auto) => Admin::Ready.to_string(),
        (Admin::Ready, force) => force.to_string(),
        (admin, _) if realserver.is_set_on_pool => format!("{admin} (pool)"),
        (admin, _) => admin.to_string(),
    };
    match realserver.until {
        Some(until) => format!("{set} for {}", age(elapsed(now, until))),
        None => set,
    }
}

fn frozen_text(since: Timestamp, now: Timestamp) -> String {
    format!(
        "FROZEN {} ago: so many addresses fell at once that this node's own network is the likelier cause.\n  They stay in service until they \
         are up again, or until `fingerpost thaw`.\n",
        age(elapsed(since, now))
    )
}

fn traffic_text(pool: &PoolStatus, realserver: &RealserverStatus) -> &'static str {
    match (realserver.eligible, pool.is_degraded, realserver.admin) {
        (true, _, _) if realserver.held => "held",
        (true, _, _) => "yes",
        (false, true, Admin::Ready) => "fail-open",
        (false, _, _) => "no",
    }
}

/// Who set a realserver's state and why.
fn operator_text(realserver: &RealserverStatus) -> String {
    match (&realserver.by, &realserver.reason) {
        (Some(by), Some(reason)) => format!("{}: {}", printable(by), printable(reason)),
        (Some(by), None) => printable(by),
        (None, Some(reason)) => printable(reason),
        (None, None) => String::new(),
    }
}

fn sockets_text(sockets: &[SocketStatus]) -> String {
    let row = |socket: &SocketStatus| {
        let text = |text: &Option<String>| text.as_deref().map(printable).unwrap_or_default();
        Row {
            cells: [socket.service.to_string(), socket.address.to_string(), text(&socket.listener), text(&socket.pool)],
            notes: Vec::new(),
        }
    };
    lines(table(["SERVICE", "ADDRESS", "LISTENER", "POOL"], sockets.iter().map(row).collect()))
}

/// A row of a table, and lines that belong under it.
struct Row<const N: usize> {
    cells: [String; N],
    notes: Vec<String>,
}

/// The lines of a table whose columns are as wide as they must be.
fn table<const N: usize>(header: [&str; N], rows: Vec<Row<N>>) -> impl Iterator<Item = String> {
    let header = Row { cells: header.map(str::to_owned), notes: Vec::new() };
    let rows: Vec<Row<N>> = iter::once(header).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    rows.into_iter().flat_map(move |row| {
        let cells: Vec<String> = row.cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        iter::once(cells.join("  ").trim_end().to_owned()).chain(row.notes)
    })
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture;

    #[test]
    fn status_shows_what_needs_attention_beside_what_it_is_about() {
        insta::assert_snapshot!(status_text(&fixture::status(), fixture::NOW), @r"
        fingerpost 0.1.0, up 3d 4h, generation 17
        zones: 2, 1 with errors; pools: 4, 1 degraded

        RELOAD FAILED 1m ago; what was in force before it still is
          error: unknown key `polls`
           --> fingerpost.toml:9:1

        OVERRIDE      SET          SINCE    ENDS      BY     WHY
        web-eu/ams-c  drain        10m ago  in 2h 0m  alice  new kernel
        web-ap        forced down  1m ago   -         bob    nobody has this name

        ZONE          SERIAL      RECORDS  LOADED  FILE
        example.com.  2026112201  1234     3m ago  zones/example.com.zone
        example.net.  -           0        never   zones/example.net.zone
          zones/example.net.zone:3:8: unknown pool `wbe`

        POOL web  geo of web-eu, web-us

        POOL web-eu  wrr, check web
          REALSERVER  ADDRESS            WEIGHT  HEALTH     SET              TRAFFIC  WHY
          ams-a       192.0.2.10:80      4       up 3m      ready            yes
          ams-b       192.0.2.11:80      3       up 4h 12m  ready            yes      last probe failed: connection refused
                      [2001:db8::11]:80          down 12s                             connection refused
          ams-c       192.0.2.12:80      2       up 1d 1h   drain for 2h 0m  no       alice: new kernel

        POOL web-us  wrr, check web  DEGRADED: nobody is eligible, everybody who is ready is used
          REALSERVER  ADDRESS        WEIGHT  HEALTH                         SET    TRAFFIC    WHY
          fra-a       192.0.2.20:80  1       down 10m (before the restart)  ready  fail-open  timeout

        POOL static  failover
          REALSERVER  ADDRESS        WEIGHT  HEALTH         SET    TRAFFIC  WHY
          solo        192.0.2.30:80  1       up (no check)  ready  yes

        SERVICE  ADDRESS       LISTENER  POOL
        dns      0.0.0.0:53
        l4       192.0.2.1:80  web       web-eu
        ");
    }

    #[test]
    fn quiet_server_has_nothing_but_its_headline() {
        let status = Status {
            zones: vec![],
            pools: vec![],
            sockets: vec![],
            overrides: vec![],
            reload_error: None,
            ..fixture::status()
        };
        insta::assert_snapshot!(status_text(&status, fixture::NOW), @r"
        fingerpost 0.1.0, up 3d 4h, generation 17
        zones: 0; pools: 0
        ");
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400, 400 * 86_400].map(|s| age(Duration::from_secs(s)));
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h 0m", "23h 59m", "1d 0h", "400d 0h"]);
    }

    #[test]
    fn text_from_elsewhere_never_reaches_the_terminal_as_control_characters() {
        let mut status = fixture::status();
        let hostile = "x\u{1b}[2J\u{7}\u{202e}\r\u{9b}y".to_owned();
        status.version.clone_from(&hostile);
        status.reload_error = Some(ReloadError { at: fixture::NOW, errors: hostile.clone() });
        for zone in &mut status.zones {
            (zone.apex, zone.path, zone.error) = (hostile.clone(), hostile.clone(), Some(hostile.clone()));
        }
        for pool in &mut status.pools {
            (pool.name, pool.policy, pool.check) = (hostile.clone(), hostile.clone(), Some(hostile.clone()));
            pool.members.fill(hostile.clone());
            for realserver in &mut pool.realservers {
                realserver.name.clone_from(&hostile);
                (realserver.reason, realserver.by) = (Some(hostile.clone()), Some(hostile.clone()));
                for address in &mut realserver.addresses {
                    address.last_error = Some(hostile.clone());
                }
            }
        }
        for set in &mut status.overrides {
            (set.target, set.by, set.reason) = (hostile.clone(), hostile.clone(), Some(hostile.clone()));
        }
        status.state_problem = Some(hostile.clone());
        for socket in &mut status.sockets {
            (socket.listener, socket.pool) = (Some(hostile.clone()), Some(hostile.clone()));
        }
        let text = status_text(&status, fixture::NOW);
        assert!(text.contains("x\\u{1b}[2J"));
        assert!(!text.contains(|c: char| c != '\n' && is_unprintable(c)), "{text:?}");
    }
}
