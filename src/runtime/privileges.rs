//! Becomes another user once the sockets are bound.

use std::{ffi::CString, fs, io, os::unix::fs::chown, path::Path};

use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

/// Why the user could not be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DropError {
    /// There is no such user.
    #[error("there is no user `{0}` on this system")]
    UnknownUser(String),
    /// A system call failed.
    #[error("could not become user `{user}`: {error}")]
    Failed {
        /// Who.
        user: String,
        /// Why.
        error: io::Error,
    },
}

/// The user of this name, if the process is root and would have to change.
pub(super) fn user_to_become(name: &str) -> Result<Option<User>, DropError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name(name).map_err(|error| failed(name, error))?;
    user.ok_or_else(|| DropError::UnknownUser(name.to_owned())).map(Some)
}

/// Gives `path`, and the files right in it, to `user`: what root has made, the server must be able to write as that user.
pub(super) fn give_to(user: &User, path: &Path) -> io::Result<()> {
    let owner = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    chown(path, owner.0, owner.1)?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                chown(entry.path(), owner.0, owner.1)?;
            }
        }
    }
    Ok(())
}

/// Becomes `user` for the whole process, for good.
pub(super) fn become_user(user: &User) -> Result<(), DropError> {
    let name = CString::new(user.name.as_str())
        .map_err(|error| DropError::Failed { user: user.name.clone(), error: error.into() })?;
    let change = |gid: Gid, uid: Uid| {
        initgroups(&name, gid)?;
        setgid(gid)?;
        setuid(uid)
    };
    change(user.gid, user.uid).map_err(|error| failed(&user.name, error))
}

fn failed(user: &str, error: nix::Error) -> DropError {
    DropError::Failed { user: user.to_owned(), error: error.into() }
}
