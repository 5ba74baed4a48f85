//! The layered limit over short windows on real servers, under more load than fits: lines between windows, an origin
//! that is killed and comes back with its data or without, a global store that is away, clocks that are off.
//!
//! What is asserted holds at any speed: upper bounds on what was admitted in a window, and what origin has counted of
//! it. A machine that stalls admits less.

#![cfg(feature = "redis")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tidegate::layered::{LayeredLimiter, LayeredLimiterBuilder};
use tidegate::store::RedisStore;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_test_support::{Data, PATIENCE, RedisServer};
use tokio::task::JoinHandle;

const LIMIT: u32 = 320;
const WINDOW: Duration = Duration::from_secs(1);
/// Each of three nodes may be ahead of origin by a 16th of the room it sees.
const AHEAD: u32 = 3 * LIMIT / 16;

fn store(redis: &RedisServer) -> RedisStore {
    RedisStore::new(redis.url()).expect("an address")
}

fn builder(origin: &RedisServer) -> LayeredLimiterBuilder {
    let quota = Quota::new(LIMIT, WINDOW).expect("a window");
    LayeredLimiter::builder(store(origin), "windows", quota).patience(Duration::from_millis(500))
}

fn three_nodes(origin: &RedisServer) -> Vec<LayeredLimiter> {
    let node = || builder(origin).build().expect("settings that work");
    vec![node(), node(), node()]
}

fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().expect("after 1970")
}

/// The window that it is, on the clock of this machine, which is origin's too.
fn present() -> u64 {
    (since_1970().as_nanos() / WINDOW.as_nanos()) as u64
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let polls = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, polls).await.is_ok(),
        "{what}: not within {PATIENCE:?}"
    );
}

async fn pass(windows: u64) {
    let end = present() + windows;
    until("windows pass", || present() >= end).await;
}

/// What was asked for and admitted, by the window in which it was answered.
#[derive(Clone, Debug, Default)]
struct Seen(BTreeMap<u64, (u32, u32)>);

impl Seen {
    fn admitted(&self) -> u32 {
        self.0.values().map(|(_, admitted)| admitted).sum()
    }

    /// Holds half of the windows `from..to` to `most`, of those that were asked for more than two regions that know
    /// nothing of each other would admit.
    fn assert_half_at_most(&self, most: u32, from: u64, to: u64) {
        let windows = self.0.range(from..to).map(|(_, window)| *window);
        let windows = windows.filter(|(asked, _)| *asked > 2 * LIMIT);
        let mut admitted: Vec<u32> = windows.map(|(_, admitted)| admitted).collect();
        admitted.sort_unstable();
        assert!(admitted.len() >= 3, "{from}..{to} of {:?}", self.0);
        let middle = admitted[admitted.len() / 2];
        assert!(middle <= most, "{middle} in {from}..{to} of {:?}", self.0);
    }

    /// Holds the windows `from..to` to `most`, and sees that some of them were asked for more.
    fn assert_at_most(&self, most: u32, from: u64, to: u64) {
        let windows = self.0.range(from..to);
        let asked = windows.clone().map(|(_, (asked, _))| *asked).max();
        assert!(asked > Some(most), "{from}..{to} of {:?}", self.0);
        for (window, (_, admitted)) in windows {
            assert!(*admitted <= most, "window {window} of {:?}", self.0);
        }
    }
}

/// Some times the limit, on all nodes in turn, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

impl Load {
    fn start(nodes: &[LayeredLimiter], times: u32) -> Self {
        let (stop, nodes) = (Arc::new(AtomicBool::new(false)), nodes.to_vec());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (clock, seen) = (Clock::system(), Arc::new(Mutex::new(Seen::default())));
            let (begun, mut asked) = (clock.now(), 0);
            let mut callers = tokio::task::JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let passed = clock.now().since(begun);
                let due =
                    (passed.as_nanos() * u128::from(times * LIMIT) / WINDOW.as_nanos()) as usize;
                for number in asked..due {
                    let (node, seen) = (nodes[number % nodes.len()].clone(), Arc::clone(&seen));
                    callers.spawn(async move {
                        let allowed = node.decide(&Key::of("hot"), 1).await.is_allowed();
                        let mut seen = seen.lock().expect("nothing panics under this lock");
                        let (asked, admitted) = seen.0.entry(present()).or_default();
                        (*asked, *admitted) = (*asked + 1, *admitted + u32::from(allowed));
                    });
                }
                asked = due;
            }
            while let Some(caller) = callers.join_next().await {
                caller.expect("no panic");
            }
            let seen = seen.lock().expect("nothing panics under this lock");
            seen.clone()
        });
        Self { stop, task }
    }

    async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}

/// What origin counts, by window.
fn counted(origin: &RedisServer) -> BTreeMap<u64, u32> {
    let script = "local lines = {}
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            table.insert(lines, string.match(key, ':(%d+)$') .. ' ' .. redis.call('HGET', key, '#'))
        end
        return table.concat(lines, ',')";
    let text = origin.cli(&["EVAL", script, "0"]).text();
    let cell = |line: &str| {
        let (window, count) = line.split_once(' ').expect("two words");
        let count = count.parse().expect("a count");
        (window.parse().expect("a window"), count)
    };
    let lines = text.split(',').filter(|line| !line.is_empty());
    lines.map(cell).collect()
}

/// Closes all; answers what origin has not confirmed in time.
async fn close(nodes: &[LayeredLimiter]) -> u32 {
    let mut expired = 0;
    for node in nodes {
        node.close().await.expect("origin is there");
        expired += u32::try_from(node.stats().expired).expect("few");
    }
    expired
}

/// A request answered on the other side of a line than it was counted.
const AT_A_LINE: u32 = LIMIT / 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_lines_between_windows_no_window_gets_more_and_each_accept_counts_once() {
    let Some(origin) = RedisServer::start() else {
        return;
    };
    let nodes = three_nodes(&origin);
    let load = Load::start(&nodes, 2);
    let begun = present();
    pass(5).await;
    let seen = load.stop().await;
    seen.assert_at_most(LIMIT + AHEAD + AT_A_LINE, begun, present() + 1);
    assert!(seen.admitted() >= 2 * LIMIT, "{seen:?}");
    let expired = close(&nodes).await;
    let cells = counted(&origin);
    for (window, count) in &cells {
        assert!(*count <= LIMIT + AHEAD, "window {window} of {cells:?}");
    }
    let sum: u32 = cells.values().sum();
    assert!((seen.admitted() - expired..=seen.admitted()).contains(&sum));
}

/// While it is away each node decides alone: at most the limit each, as [`Outage::Local`] says.
async fn an_origin_is_killed(data: Data) {
    let Some(mut origin) = RedisServer::builder().persistent().start() else {
        return;
    };
    let nodes = three_nodes(&origin);
    // More than three that know nothing of each other would admit.
    let load = Load::start(&nodes, 4);
    let begun = present();
    pass(2).await;
    origin.kill();
    let killed = present();
    pass(1).await;
    origin.restart(data);
    until("all nodes have found it", || {
        nodes.iter().all(|node| node.stats().up)
    })
    .await;
    let back = present();
    pass(4).await;
    let seen = load.stop().await;
    let most = LIMIT + AHEAD + AT_A_LINE;
    seen.assert_at_most(most, begun, killed);
    seen.assert_at_most(3 * LIMIT + AT_A_LINE, begun, present() + 1);
    // The window that saw it come back, and the one on which that weighs, have been.
    seen.assert_at_most(most, back + 2, present() + 1);
    let expired = close(&nodes).await;
    let cells = counted(&origin);
    let sum: u32 = cells.values().sum();
    match data {
        Data::Keep => {
            let told = seen.admitted() - expired..=seen.admitted();
            assert!(told.contains(&sum), "{cells:?} of {seen:?}");
        }
        // The windows before are gone. Who had been told, and had not heard so, is told of once more.
        Data::Lose => {
            let of = |from: u64| -> (u32, u32) {
                let counted = cells.range(from..).map(|(_, count)| count).sum();
                let admitted = seen.0.range(from..).map(|(_, (_, admitted))| admitted);
                (counted, admitted.sum())
            };
            let (counted, admitted) = of(killed);
            assert!(
                counted <= admitted + AHEAD + AT_A_LINE,
                "{cells:?} of {seen:?}"
            );
            let (counted, admitted) = of(back + 2);
            assert!(counted <= admitted + AT_A_LINE, "{cells:?} of {seen:?}");
            assert!(
                counted + AT_A_LINE + expired >= admitted,
                "{cells:?} of {seen:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_comes_back_with_its_data_counts_everything_once() {
    an_origin_is_killed(Data::Keep).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_comes_back_empty_hears_what_the_nodes_know() {
    an_origin_is_killed(Data::Lose).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_agree_again_when_the_global_store_is_back() {
    let (Some(eu), Some(us), Some(mut global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let region = |origin: &RedisServer, name: &str| {
        builder(origin)
            .global(store(&global), name)
            .global_every(Duration::from_millis(20))
            .build()
            .expect("settings that work")
    };
    let nodes = [region(&eu, "eu"), region(&us, "us")];
    // More than two that know nothing of each other would admit.
    let load = Load::start(&nodes, 3);
    let begun = present();
    pass(6).await;
    global.kill();
    let killed = present();
    until("trouble is seen", || {
        nodes.iter().all(|node| node.stats().global_failures > 0)
    })
    .await;
    global.restart(Data::Lose);
    let back = present();
    pass(7).await;
    let seen = load.stop().await;
    // Until they know of each other each may admit its limit.
    seen.assert_at_most(2 * LIMIT + AT_A_LINE, begun, present() + 1);
    // What they do not know of each other yet depends on how fast this machine is: a stall is a window's, not all windows'.
    seen.assert_half_at_most(LIMIT + LIMIT / 4, begun + 1, killed);
    seen.assert_half_at_most(LIMIT + LIMIT / 4, back + 2, present());
    close(&nodes).await;
    // Another region's counts are not one's own.
    let sum: u32 = [&eu, &us]
        .iter()
        .flat_map(|origin| counted(origin).into_values())
        .sum();
    assert!(sum <= seen.admitted(), "{sum} of {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_two_seconds_off_keep_the_windows_of_origin() {
    let Some(origin) = RedisServer::start() else {
        return;
    };
    let (now, off) = (since_1970(), Duration::from_secs(2));
    let nodes = [now, now + off, now - off].map(|wall| {
        let node = builder(&origin).wall_clock(wall);
        node.build().expect("settings that work")
    });
    let begun = present();
    let load = Load::start(&nodes, 2);
    pass(4).await;
    let seen = load.stop().await;
    let ended = present();
    seen.assert_at_most(LIMIT + AHEAD + AT_A_LINE, begun, ended + 1);
    let expired = close(&nodes).await;
    let cells = counted(&origin);
    assert!(
        cells.keys().all(|window| (begun..=ended).contains(window)),
        "{cells:?}"
    );
    let sum: u32 = cells.values().sum();
    assert!((seen.admitted() - expired..=seen.admitted()).contains(&sum));
}
