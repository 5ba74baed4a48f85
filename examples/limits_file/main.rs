//! Limits from a file, which can be changed while it runs: `cargo run --release --example limits_file`, then
//!
//! ```text
//! curl -i http://127.0.0.1:3000/items/1            100 a second
//! curl -i -X POST http://127.0.0.1:3000/items/1    5 a second and 1000 an hour
//! curl -i http://127.0.0.1:3000/made/up            10 a minute
//! curl -i http://127.0.0.1:3000/health             no limit
//! ```
//!
//! and change `examples/limits.toml`. Another file, and another address, can be given as arguments.

mod watch;

use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidegate::limits::{Change, Limits, Plan};
use tidegate_axum::{key, routed};
use tokio::net::TcpListener;
use watch::{News, Watch};

/// Between two looks at the file.
const PAUSE: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments.next().map_or_else(beside_this, Into::into);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());

    let text = read(&path)?;
    let plan = Plan::from_toml(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let limits = Limits::new(&plan);
    let app = Router::new()
        .route(
            "/items/{id}",
            get(|| async { "an item" }).post(|| async { "changed" }),
        )
        .route("/health", get(|| async { "well" }))
        .layer(routed(limits.clone()).key(key::peer()))
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::spawn(follow(path, text, limits));
    Ok(axum::serve(listener, app).await?)
}

/// Enforces what the file says whenever it says something else, and goes on with the old limits while it makes no
/// sense, or is not there.
async fn follow(path: PathBuf, known: String, limits: Limits) {
    let mut ticks = tokio::time::interval(PAUSE);
    let mut watch = Watch::new(known);
    loop {
        ticks.tick().await;
        match watch.handle(read(&path)) {
            News::None => {}
            News::Gone(error) => println!("kept the old limits: {error}"),
            News::Text(text) => match change(&limits, &text) {
                Ok(changes) => changes.iter().for_each(|change| println!("{change}")),
                Err(error) => println!("kept the old limits: {}: {error}", path.display()),
            },
        }
    }
}

fn change(limits: &Limits, text: &str) -> Result<Vec<Change>, Box<dyn std::error::Error>> {
    Ok(limits.change(&Plan::from_toml(text)?)?)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn beside_this() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("limits.toml")
}
