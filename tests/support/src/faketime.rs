//! A wall clock of a server's own, by libfaketime: it steps when told to, and time goes by as it does everywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the library is; `None` if it is not installed.
pub(crate) fn library() -> Option<PathBuf> {
    let in_lib = fs::read_dir("/usr/lib").ok()?;
    let folders = in_lib.flatten().map(|entry| entry.path());
    let folders = folders.chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    folders
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
}

/// Has `command` run by the clock that `clock` says.
pub(crate) fn preload(command: &mut Command, library: &Path, clock: &Path) {
    if !clock.exists() {
        set(clock, 0);
    }
    // Before jemalloc, which asks for the time before anybody can tell it, comes the allocator of the C library.
    command
        .env("LD_PRELOAD", format!("{} libc.so.6", library.display()))
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        // The file is looked at whenever somebody asks for the time.
        .env("FAKETIME_NO_CACHE", "1")
        // Of a server whose clock is set, time goes by all the same.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // It would stay behind when the server is killed.
        .env("FAKETIME_DISABLE_SHM", "1");
}

/// From now on the clock is so many seconds ahead of the machine's.
pub(crate) fn set(clock: &Path, ahead: i64) {
    let next = clock.with_extension("next");
    fs::write(&next, format!("{ahead:+}\n")).expect("the directory is ours");
    // In one step: a file that is half written is no time.
    fs::rename(&next, clock).expect("the directory is ours");
}
