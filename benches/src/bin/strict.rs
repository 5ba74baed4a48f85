//! How many strict decisions 64 callers get from one Redis, beside a plain GCRA script on the same kind of connection.
//!
//! ```text
//! cargo run --release -p tidegate-bench --features peers --bin strict
//! ```
//!
//! The plain script is the least that a limit in Redis does: `TIME`, one `GET`, one `SET`, one `EVALSHA` a decision, all
//! callers on one multiplexed connection. The next one answers `CL.THROTTLE` as redis-cell does, from its arguments, in
//! whole seconds; redis-cell itself is a module of the server and needs no Lua. No module that writes can be faster than
//! the server's own `SET` with an end, which is told too. With the feature `peers` trypema's Redis limiter is beside.
//! Slices of half a second alternate; the medians are told. Nothing is denied, so that nothing is remembered.

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};
use std::pin::Pin;
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

const CELL: &str = r"
local burst, count, period, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local interval = math.floor(period * 1000000 / count)
local tolerance = interval * (burst + 1)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local next = tat + interval * units
local over = next - tolerance - now
local function seconds(micros) return math.ceil(micros / 1000000) end
if over > 0 then
  local retry = interval * units <= tolerance and seconds(over) or -1
  return {1, burst + 1, math.floor((tolerance - tat + now) / interval), retry, seconds(tat - now)}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'EX', seconds(next - now))
return {0, burst + 1, math.floor(-over / interval), -1, seconds(next - now)}
";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(server) = RedisServer::start() else {
        return Ok(());
    };
    let mut rows = vec![
        (
            "plain script",
            scripted(&server.url(), PLAIN, &[1, 1_000_000]).await?,
        ),
        (
            "redis-cell's rule in Lua",
            scripted(&server.url(), CELL, &[1_000_000, 1_000_000, 1, 1]).await?,
        ),
        ("`SET` with an end", set(&server.url()).await?),
    ];
    #[cfg(feature = "peers")]
    rows.push(("trypema, absolute", trypema(&server.url()).await?));
    let quota = Quota::per_second(1_000_000);
    for (name, quota) in [
        ("token bucket", quota),
        ("fixed window", quota.fixed()),
        ("sliding window", quota.sliding()),
    ] {
        rows.push((name, limiter(&server.url(), name, quota)?));
    }
    let mut rates = vec![Vec::new(); rows.len()];
    for _ in 0..SLICES {
        for ((_, ask), rates) in rows.iter().zip(&mut rates) {
            rates.push(slice(ask).await);
        }
    }
    let base = median(&mut rates[0]);
    println!("| {CALLERS} callers | decisions/s | ratio |\n|---|---:|---:|");
    for ((name, _), rates) in rows.iter().zip(&mut rates) {
        let rate = median(rates);
        println!("| {name} | {rate:.0} | {:.2} |", rate / base);
    }
    Ok(())
}

/// Asks about a key; whether it was allowed.
type Ask = Arc<dyn Fn(u64) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

fn limiter(url: &str, name: &str, quota: Quota) -> Result<Ask, Box<dyn std::error::Error>> {
    let limiter = StrictLimiter::builder(RedisStore::new(url)?, name, quota)
        .denied_keys(0)
        .patience(Duration::from_secs(60))
        .build()?;
    Ok(Arc::new(move |key| {
        let limiter = limiter.clone();
        Box::pin(async move { limiter.decide(&Key::of(&key), 1).await.is_allowed() })
    }))
}

async fn connect(url: &str) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new().set_response_timeout(None);
    ConnectionManager::new_with_config(Client::open(url)?, config).await
}

/// A script whose first number is 0 where it allows.
async fn scripted(url: &str, script: &str, words: &'static [u32]) -> RedisResult<Ask> {
    let (connection, script) = (connect(url).await?, Arc::new(Script::new(script)));
    Ok(Arc::new(move |key| {
        let (mut connection, script) = (connection.clone(), Arc::clone(&script));
        Box::pin(async move {
            let mut call = script.key(format!("plain{}:{key}", words.len()));
            words.iter().for_each(|word| {
                call.arg(word);
            });
            let told: RedisResult<[i64; 5]> = call.invoke_async(&mut connection).await;
            told.is_ok_and(|told| told[0] == 0)
        })
    }))
}

/// The server's own write of a number that ends.
async fn set(url: &str) -> RedisResult<Ask> {
    let connection = connect(url).await?;
    Ok(Arc::new(move |key| {
        let mut connection = connection.clone();
        Box::pin(async move {
            let mut call = redis::cmd("SET");
            call.arg(format!("set:{key}"))
                .arg(1_234_567_890)
                .arg("PX")
                .arg(1_000);
            call.query_async::<()>(&mut connection).await.is_ok()
        })
    }))
}

#[cfg(feature = "peers")]
async fn trypema(url: &str) -> Result<Ask, Box<dyn std::error::Error>> {
    use trypema::redis::{RedisKey, RedisRateLimiterProvider};
    use trypema::{RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

    let provider = RedisRateLimiterProvider::builder(connect(url).await?)
        .window_size(WindowSize::seconds(1)?)
        .build()?;
    let rate = RateLimit::per_second(1_000_000.0)?;
    Ok(Arc::new(move |key| {
        let provider = Arc::clone(&provider);
        Box::pin(async move {
            let Ok(key) = RedisKey::try_from(format!("key-{key}")) else {
                return false;
            };
            let told = provider.absolute().inc(&key, &rate, 1).await;
            matches!(told, Ok(RateLimitDecision::Allowed))
        })
    }))
}

/// Decisions a second while all callers ask for one after the other.
async fn slice(ask: &Ask) -> f64 {
    let clock = Clock::system();
    let (ended, allowed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut callers = JoinSet::new();
    let began = clock.now();
    for caller in 0..CALLERS {
        let (ask, ended, allowed) = (Arc::clone(ask), Arc::clone(&ended), Arc::clone(&allowed));
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
