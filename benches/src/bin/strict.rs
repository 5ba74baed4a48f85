//! How many strict decisions 64 callers get from one Redis, beside a plain GCRA script on the same kind of connection.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin strict
//! ```
//!
//! The script is the least that a limit in Redis does: `TIME`, one `GET`, one `SET`, one `EVALSHA` a decision, all
//! callers on one multiplexed connection. redis-cell answers the same five numbers. Slices of half a second alternate;
//! the medians are told. Nothing is denied, so that nothing is remembered.

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Script};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tidegate::store::RedisStore;
use tidegate::strict::StrictLimiter;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;
use tokio::task::JoinSet;

const CALLERS: u64 = 64;
const KEYS: u64 = 1_000;
const SLICE: Duration = Duration::from_millis(500);
const SLICES: usize = 9;

const PLAIN: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)) + interval
local used = tat - now
if used > interval * burst then return {1, burst, 0, used - interval * burst, used - interval} end
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil(used / 1000))
return {0, burst, math.floor(burst - used / interval), -1, used}
";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = RedisServer::start() else {
        return Ok(());
    };
    let quotas = [
        ("token bucket", Quota::per_second(1_000_000)),
        ("fixed window", Quota::per_second(1_000_000).fixed()),
        ("sliding window", Quota::per_second(1_000_000).sliding()),
    ];
    let mut limiters = Vec::new();
    for (name, quota) in quotas {
        let store = RedisStore::new(server.url())?;
        let limiter = StrictLimiter::builder(store, name, quota).denied_keys(0);
        limiters.push((name, limiter.patience(Duration::from_secs(60)).build()?));
    }
    let config = ConnectionManagerConfig::new().set_response_timeout(None);
    let client = Client::open(server.url())?;
    let plain = Plain {
        connection: ConnectionManager::new_with_config(client, config).await?,
        script: Arc::new(Script::new(PLAIN)),
    };
    let mut counted = vec![Vec::new(); limiters.len() + 1];
    for _ in 0..SLICES {
        let asked = plain.clone();
        counted[0].push(slice(move |key| asked.clone().ask(key)).await);
        for (place, (_, limiter)) in limiters.iter().enumerate() {
            let limiter = limiter.clone();
            let ask = move |key: u64| {
                let limiter = limiter.clone();
                async move { limiter.decide(&Key::of(&key), 1).await.is_allowed() }
            };
            counted[place + 1].push(slice(ask).await);
        }
    }
    let names = limiters.iter().map(|(name, _)| *name);
    let base = median(&mut counted[0]);
    println!("| {CALLERS} callers | decisions/s | ratio |\n|---|---:|---:|");
    for (name, counted) in std::iter::once("plain script")
        .chain(names)
        .zip(&mut counted)
    {
        let rate = median(counted);
        println!("| {name} | {rate:.0} | {:.2} |", rate / base);
    }
    Ok(())
}

#[derive(Clone)]
struct Plain {
    connection: ConnectionManager,
    script: Arc<Script>,
}

impl Plain {
    async fn ask(mut self, key: u64) -> bool {
        let mut call = self.script.key(format!("plain:{key}"));
        call.arg(1).arg(1_000_000);
        let told: redis::RedisResult<[i64; 5]> = call.invoke_async(&mut self.connection).await;
        told.is_ok_and(|told| told[0] == 0)
    }
}

/// Decisions a second while all callers ask for one after the other.
async fn slice<F>(ask: impl Fn(u64) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = bool> + Send,
{
    let clock = Clock::system();
    let (ended, allowed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut callers = JoinSet::new();
    let began = clock.now();
    for caller in 0..CALLERS {
        let (ask, ended, allowed) = (ask.clone(), Arc::clone(&ended), Arc::clone(&allowed));
        callers.spawn(async move {
            let mut key = caller;
            while !ended.load(Ordering::Relaxed) {
                key = (key + CALLERS) % KEYS;
                allowed.fetch_add(u64::from(ask(key).await), Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(SLICE).await;
    ended.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let seconds = clock.now().since(began).as_secs_f64();
    allowed.load(Ordering::Relaxed) as f64 / seconds
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
