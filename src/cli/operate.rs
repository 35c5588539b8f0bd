//! The commands that talk to a running server: `status`, `explain`, `drain`, `maint`, `ready`, `force`, `thaw`, `reload`.

use std::path::Path;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::{FAILED, OK, SetAdmin, UNREACHABLE, print};
use crate::{
    config,
    control::{
        client,
        protocol::{ExplainRequest, Request, Response},
        text, until,
    },
    state::Wish,
};

pub(super) fn status(config: &Path, as_json: bool) -> u8 {
    match ask(config, &Request::Status) {
        Err(status) => status,
        Ok(Response::Status(status)) => {
            if as_json {
                print_json(&status);
            } else {
                print(&text::status_text(&status, Timestamp::now()));
            }
            OK
        }
        Ok(other) => refused(other),
    }
}

pub(super) fn explain(config: &Path, request: ExplainRequest, as_json: bool) -> u8 {
    match ask(config, &Request::Explain(request)) {
        Err(status) => status,
        Ok(Response::Explain(explanation)) => {
            if as_json {
                print_json(&explanation);
            } else {
                print(&super::explain::text(&explanation));
            }
            OK
        }
        Ok(other) => refused(other),
    }
}

pub(super) fn set(config: &Path, wish: Wish, set: SetAdmin) -> u8 {
    let SetAdmin { target, until, reason } = set;
    let until = until.as_deref();
    let until = match until.map(|text| until::parse_until(text, Timestamp::now())).transpose() {
        Ok(until) => until.map(whole_second),
        Err(problem) => {
            eprintln!("error: {problem}");
            return FAILED;
        }
    };
    let request = match wish {
        Wish::Admin(admin) => Request::SetAdmin { target, admin, until, reason },
        Wish::Force(force) => Request::Force { target, force, until, reason },
    };
    done(ask(config, &request))
}

/// The next whole second: nobody means the fraction that "now" happens to have, and everybody would have to read it.
fn whole_second(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)).unwrap_or(time)
}

pub(super) fn thaw(config: &Path) -> u8 {
    done(ask(config, &Request::Thaw))
}

/// Prints what was done.
fn done(response: Result<Response, u8>) -> u8 {
    match response {
        Err(status) => status,
        Ok(Response::Done { message }) => {
            print(&message);
            OK
        }
        Ok(other) => refused(other),
    }
}

pub(super) fn reload(config: &Path, as_json: bool) -> u8 {
    match ask(config, &Request::Reload) {
        Err(status) => status,
        Ok(Response::Reloaded(report)) => {
            if as_json {
                print_json(&report);
            } else {
                for findings in [&report.warnings, &report.errors].into_iter().filter(|findings| !findings.is_empty()) {
                    eprintln!("{findings}\n");
                }
                match report.changes.as_slice() {
                    [] if report.ok => print("nothing has changed"),
                    [] => {}
                    changes => print(&changes.join("\n")),
                }
            }
            if report.ok { OK } else { FAILED }
        }
        Ok(other) => refused(other),
    }
}

/// Finds the server through the configuration's control socket. An exit status if there is no answer.
///
/// The server may be running with an older, good version of a file that is broken now; then the socket's path is taken from what can be read.
pub(super) fn ask(config: &Path, request: &Request) -> Result<Response, u8> {
    let socket = match config::load(config) {
        Ok((config, _)) => config.control.socket,
        Err(problem) => match config::control_socket_of(config) {
            Some(socket) => socket,
            None => {
                match problem {
                    config::LoadError::Unreadable(problem) => eprintln!("{problem}"),
                    config::LoadError::Invalid(findings) => eprintln!("{findings}"),
                }
                return Err(UNREACHABLE);
            }
        },
    };
    client::request(&socket, request).map_err(|problem| {
        eprintln!("error: {problem}");
        UNREACHABLE
    })
}

fn refused(response: Response) -> u8 {
    match response {
        Response::Error { message } if message.starts_with("error") => eprintln!("{message}"),
        Response::Error { message } => eprintln!("error: {message}"),
        _ => eprintln!("error: the server answered something else"),
    }
    FAILED
}

pub(super) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(problem) => eprintln!("error: {problem}"),
    }
}
