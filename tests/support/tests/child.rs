//! Child processes: what they say is heard, signals arrive, and ends are told apart.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;
use tidegate_test_support::{ChildGuard, PATIENCE};

fn shell(script: &str) -> ChildGuard {
    ChildGuard::spawn(Command::new("sh").arg("-c").arg(script).env("TIDE", "high"))
}

#[test]
fn both_streams_environment_and_status_come_through() {
    let mut child = shell("echo out $TIDE; echo err >&2; exit 3");
    assert_eq!(child.expect_line("out"), "out high");
    assert_eq!(child.expect_line("err"), "err");
    assert_eq!(child.wait(PATIENCE).unwrap().code(), Some(3));
    assert!(child.has_ended());
    assert_eq!(child.output().wait_for("never said", PATIENCE), None);
}

#[test]
fn a_child_may_end_in_its_own_way_when_asked_to() {
    let mut child = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do read -r x; done");
    child.expect_line("ready");
    child.terminate();
    assert_eq!(child.expect_line("bye"), "bye");
    assert!(child.wait(PATIENCE).unwrap().success());
}

#[test]
fn a_stopped_child_hears_nothing_until_it_goes_on() {
    let mut child = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do read -r x; done");
    child.expect_line("ready");
    child.stop();
    child.terminate();
    assert_eq!(child.wait(Duration::from_millis(100)), None);
    child.cont();
    assert!(child.wait(PATIENCE).unwrap().success());
}

#[test]
fn a_stopped_child_can_be_killed() {
    let mut child = shell("echo ready; read -r x; while :; do :; done");
    child.expect_line("ready");
    child.stop();
    child.kill();
    assert_eq!(child.wait(PATIENCE).unwrap().signal(), Some(9));
    // The id is nobody's now: nothing is sent.
    child.terminate();
}
