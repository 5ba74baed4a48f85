//! The counting backend as a program of its own, to put load on by hand.
//!
//! `counting_backend 127.0.0.1:9000 --capacity 24 --service-ms 20`, then `GET /stats`.

use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};
use tidegate_test_support::{Backend, BackendBuilder};

fn main() -> ExitCode {
    let Some(builder) = parse(env::args().skip(1)) else {
        eprintln!("usage: counting_backend [127.0.0.1:PORT] [--capacity N] [--service-ms N]");
        return ExitCode::FAILURE;
    };
    let backend = builder.start();
    println!("listening on {}", backend.url());
    loop {
        thread::park();
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<BackendBuilder> {
    let mut builder = Backend::builder();
    while let Some(word) = words.next() {
        builder = match word.as_str() {
            "--capacity" => builder.capacity(words.next()?.parse().ok()?),
            "--service-ms" => {
                builder.service_time(Duration::from_millis(words.next()?.parse().ok()?))
            }
            address => builder.listen(address.parse().ok()?),
        };
    }
    Some(builder)
}
