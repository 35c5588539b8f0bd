//! A state file: others write who is up, one line for each realserver.
//!
//! ```text
//! # POOL/REALSERVER up|down, then words that say why
//! web-eu/ams-a down raid rebuild
//! web-eu/ams-b up
//! ```
//!
//! The file is read again when it changes, as a whole or not at all: one wrong line, and everybody keeps the health that they have, as they do
//! when the file is gone. Who is not in it keeps it too.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::Mutex, time::Instant};
use tracing::{info, warn};

use super::Problem;
use crate::types::RealserverName;

/// Files kept at once; more come only from many reloads.
const FILES_MAX: usize = 64;
/// Largest file: some hundred thousand realservers.
const FILE_OCTETS_MAX: u64 = 16 << 20;
/// How long a file is believed not to have changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What state files say.
#[derive(Debug, Default)]
pub(super) struct StateFiles(Mutex<HashMap<PathBuf, StateFile>>);

/// What one state file says.
#[derive(Debug)]
struct StateFile {
    looked: Instant,
    /// Time of change and size of what `said` is from.
    stamp: Option<(SystemTime, u64)>,
    said: Result<Arc<States>, String>,
}

/// Up or down by `POOL/REALSERVER`, with the words behind it.
type States = HashMap<Box<str>, (bool, Box<str>)>;

pub(super) async fn probe(path: &Path, realserver: Option<&RealserverName>, files: &StateFiles) -> Result<(), Problem> {
    let name = realserver.map(ToString::to_string).unwrap_or_default();
    let states = files.read(path).await.map_err(|error| Problem::Unclear(error.clone()))?;
    match states.get(&*name) {
        Some((true, _)) => Ok(()),
        Some((false, why)) if why.is_empty() => Err(Problem::Unexpected(format!("`{}` says so", path.display()))),
        Some((false, why)) => Err(Problem::Unexpected(why.to_string())),
        None => Err(Problem::Unclear(format!("`{name}` is not in `{}`", path.display()))),
    }
}

impl StateFiles {
    /// What the file says now, or what is wrong with it.
    async fn read(&self, path: &Path) -> Result<Arc<States>, String> {
        // Held over the reading: of many probes at once one reads, and the others want to know the same.
        let mut files = self.0.lock().await;
        let now = Instant::now();
        if let Some(file) = files.get(path).filter(|file| now.duration_since(file.looked) < LOOK_INTERVAL) {
            return file.said.clone();
        }
        let stamp = stamp(path).await;
        let before = files.get_mut(path);
        if let Some(file) = before
            && let Ok(stamp) = &stamp
            && file.stamp == Some(*stamp)
        {
            file.looked = now;
            return file.said.clone();
        }
        let said = match &stamp {
            Ok((_, size)) if *size > FILE_OCTETS_MAX => Err("it is too large".to_owned()),
            Ok(_) => match tokio::fs::read_to_string(path).await {
                Ok(text) => parse(&text),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let said = said.map(Arc::new).map_err(|error| format!("state file `{}`: {error}", path.display()));
        let before = files.get(path).map(|file| file.said.clone());
        match (&said, before) {
            (Err(error), before) if before.as_ref().and_then(|said| said.as_ref().err()) != Some(error) => {
                warn!(%error, "health from this file stays as it is");
            }
            (Ok(states), Some(Err(_))) => {
                info!(path = %path.display(), n_states = states.len(), "state file is good again")
            }
            _ => {}
        }
        if files.len() >= FILES_MAX && !files.contains_key(path) {
            files.clear();
        }
        let file = StateFile { looked: now, stamp: stamp.ok(), said: said.clone() };
        files.insert(path.to_owned(), file);
        said
    }
}

async fn stamp(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await?;
    Ok((metadata.modified()?, metadata.len()))
}

fn parse(text: &str) -> Result<States, String> {
    let mut states = States::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let (state, why) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let is_up = match state {
            "up" => true,
            "down" => false,
            _ => return Err(format!("line {number} is not `POOL/REALSERVER up` or `POOL/REALSERVER down`")),
        };
        if !name.contains('/') {
            return Err(format!("line {number}: `{name}` is not POOL/REALSERVER"));
        }
        if states.insert(name.into(), (is_up, why.trim_start().into())).is_some() {
            return Err(format!("line {number}: `{name}` is there twice"));
        }
    }
    // What was cut off in the middle of a line may have lost its end; what ends with a line at least says what it says.
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no end".to_owned());
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What a file with this text says of `web/a`.
    async fn says(text: &str) -> String {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("health.state");
        fs::write(&path, text).expect("written");
        let name = RealserverName { pool: "web".into(), realserver: "a".into() };
        match probe(&path, Some(&name), &StateFiles::default()).await {
            Ok(()) => "up".to_owned(),
            Err(Problem::Unexpected(text)) => format!("down: {text}"),
            Err(problem) => format!("unclear: {problem}"),
        }
        .replace(&path.display().to_string(), "FILE")
    }

    #[tokio::test]
    async fn line_of_the_realserver_decides() {
        for (text, expected) in [
            ("web/a up\n", "up"),
            ("# all\n\n  web/b down\nweb/a\tup  for now\n", "up"),
            ("web/a down\n", "down: `FILE` says so"),
            ("web/b up\nweb/a down  raid  rebuild\n", "down: raid  rebuild"),
            ("web/b up\n", "unclear: `web/a` is not in `FILE`"),
            ("", "unclear: `web/a` is not in `FILE`"),
        ] {
            assert_eq!(says(text).await, expected, "{text}");
        }
    }

    #[tokio::test]
    async fn one_wrong_line_makes_the_whole_file_say_nothing() {
        for (text, expected) in [
            ("web/a up\nweb/b dow\n", "line 2 is not `POOL/REALSERVER up` or `POOL/REALSERVER down`"),
            ("web/a up\na down\n", "line 2: `a` is not POOL/REALSERVER"),
            ("web/a up\nweb/a down\n", "line 2: `web/a` is there twice"),
            ("web/a up\nweb/b up", "its last line has no end"),
        ] {
            assert_eq!(says(text).await, format!("unclear: state file `FILE`: {expected}"), "{text}");
        }
    }

    #[tokio::test]
    async fn file_is_read_again_when_it_has_changed_and_missed_when_it_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("health.state");
        let (name, files) = (RealserverName { pool: "web".into(), realserver: "a".into() }, StateFiles::default());
        let look = async || {
            // As if the time had passed in which a file is believed.
            for file in files.0.lock().await.values_mut() {
                file.looked -= LOOK_INTERVAL;
            }
            probe(&path, Some(&name), &files).await.map_err(|problem| problem.to_string())
        };
        assert!(look().await.is_err_and(|error| error.contains("No such file")));
        fs::write(&path, "web/a up\n").expect("written");
        assert_eq!(look().await, Ok(()));
        fs::write(&path, "web/a down disk\n").expect("written");
        assert_eq!(look().await, Err("disk".to_owned()));
        let before = files.0.lock().await.get(&path).and_then(|file| file.said.clone().ok());
        assert_eq!(look().await, Err("disk".to_owned()));
        let after = files.0.lock().await.get(&path).and_then(|file| file.said.clone().ok());
        assert!(before.zip(after).is_some_and(|(before, after)| Arc::ptr_eq(&before, &after)), "not read for nothing");
        fs::remove_file(&path).expect("removed");
        assert!(look().await.is_err_and(|error| error.contains("No such file")));
    }
}
