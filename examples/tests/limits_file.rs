//! Limits follow their file while requests go on: counts stay, and a file that makes no sense changes nothing.

mod support;
#[path = "../limits_file/watch.rs"]
mod watch;

use std::fs;
use std::path::PathBuf;
use support::Client;
use tidegate_test_support::{ChildGuard, example};
use watch::{News, Watch};

/// A file of limits of its own for a test, gone with it.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        let name = format!("tidegate-limits-{}.toml", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// In one step, so that nobody reads half of it.
    fn write(&self, text: &str) {
        let draft = self.0.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &self.0).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Server {
    process: ChildGuard,
    address: String,
}

impl Server {
    fn start(file: &File) -> Self {
        let process = example("limits_file", [file.0.to_str().unwrap(), "127.0.0.1:0"]);
        let line = process.expect_line("listening on ");
        let address = line.split("http://").last().unwrap().to_owned();
        Self { process, address }
    }

    /// The status, and what the `RateLimit` header says.
    fn get(&self, path: &str) -> (u16, Option<String>) {
        let answer = Client::connect(&self.address).get(path);
        (answer.status, answer.header("ratelimit").map(Into::into))
    }

    fn remaining(&self, path: &str) -> u32 {
        let (_, told) = self.get(path);
        let told = told.expect("the path has a limit");
        let remaining = told.split(";r=").nth(1).unwrap();
        remaining.split(';').next().unwrap().parse().unwrap()
    }
}

/// A day is long enough that nothing comes back during the test.
fn limits(items: &str) -> String {
    format!(
        "[limits]\nitems = {items}\nothers = \"3/d fixed\"\n\
         [routes]\n\"/items/{{id}}\" = \"items\"\n\"<unmatched>\" = \"others\"\n"
    )
}

#[test]
fn limits_follow_their_file_and_counts_stay() {
    let file = File::new();
    file.write(&limits("\"9/d\""));
    let server = Server::start(&file);
    assert_eq!(server.remaining("/items/1"), 8);
    assert_eq!(server.remaining("/items/2"), 7);
    assert_eq!(server.remaining("/made/up"), 2);
    assert_eq!(server.get("/health"), (200, None));

    file.write(&limits("\"20/d\""));
    server.process.expect_line("limit items: 9/d -> 20/d");
    assert_eq!(server.remaining("/items/1"), 17);

    file.write(&limits("\"2 per day\""));
    let said = server.process.expect_line("kept the old limits: ");
    assert!(
        said.contains("line 2, limits.items: cannot read \"2 per day\""),
        "{said}"
    );
    assert_eq!(server.remaining("/items/1"), 16);

    file.write(&limits("\"2/d\""));
    server.process.expect_line("limit items: 20/d -> 2/d");
    assert_eq!(server.get("/items/1").0, 429);
    assert_eq!(server.remaining("/made/up"), 1);

    fs::remove_file(&file.0).unwrap();
    let said = server.process.expect_line("kept the old limits: ");
    assert!(said.contains(file.0.to_str().unwrap()), "{said}");
    assert_eq!(server.get("/items/1").0, 429);

    // As one that stays empty for longer than it takes to write.
    file.write("");
    server
        .process
        .expect_line(": line 1, limits: there are none");
    assert_eq!(server.get("/items/1").0, 429);

    file.write("limits = {}\n");
    server
        .process
        .expect_line("route /items/{id}: items -> none");
    assert_eq!(server.get("/items/1"), (200, None));
}

#[test]
fn the_file_beside_the_example_is_one() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/limits.toml")).unwrap();
    let plan = tidegate::limits::Plan::from_toml(&text);
    assert!(plan.is_ok(), "{plan:?}");
}

fn text(text: &str) -> Result<String, String> {
    Ok(text.into())
}

#[test]
fn what_an_editor_leaves_for_a_moment_is_not_believed() {
    let gone = || Err("gone".to_owned());
    let mut watch = Watch::new("old".into());
    assert_eq!(watch.handle(text("old")), News::None);
    // Emptied, half written, written.
    for draft in ["", "ne", "new"] {
        assert_eq!(watch.handle(text(draft)), News::None);
    }
    assert_eq!(watch.handle(text("new")), News::Text("new".into()));
    assert_eq!(watch.handle(text("new")), News::None);
    // Taken away, and another one put there.
    for draft in [gone(), text("newer")] {
        assert_eq!(watch.handle(draft), News::None);
    }
    assert_eq!(watch.handle(text("newer")), News::Text("newer".into()));
    // Emptied for good.
    assert_eq!(watch.handle(text("")), News::None);
    assert_eq!(watch.handle(text("")), News::Text(String::new()));
}

#[test]
fn a_file_that_cannot_be_read_is_told_once() {
    let gone = || Err("gone".to_owned());
    let mut watch = Watch::new("old".into());
    assert_eq!(watch.handle(gone()), News::None);
    assert_eq!(watch.handle(gone()), News::Gone("gone".into()));
    for _ in 0..9 {
        assert_eq!(watch.handle(gone()), News::None);
    }
    // Back as it was: what it says is enforced already, and changes nothing.
    assert_eq!(watch.handle(text("old")), News::None);
    assert_eq!(watch.handle(text("old")), News::Text("old".into()));
}
