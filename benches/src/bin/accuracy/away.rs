//! Two regions whose global store is away for a minute: what each admits by itself meanwhile, what both admit together
//! afterwards, and whether every request was counted once in the end.

use crate::bed::Bed;
use crate::case::{Case, WINDOW, case};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};
use tidegate_test_support::{Load, Offered, TcpProxy};

/// Windows before, while it is away, and afterwards, of which the first ones are not compared.
const BEFORE: u32 = 1;
const AWAY: u32 = 6;
const AFTER: u32 = 4;
const SKIP: u32 = 2;
/// In all, for the log of progress.
pub(crate) const WINDOWS: u32 = BEFORE + AWAY + AFTER;
/// Of a policy over all windows: more than is admitted in them, and so little that regions tell each other of it.
const ALL: u32 = 30_000;

/// Some nodes, and what they have admitted.
#[derive(Clone)]
struct Nodes {
    nodes: Vec<LayeredLimiter>,
    admitted: Arc<AtomicU32>,
}

impl Nodes {
    async fn offer(&self, load: Load) -> Offered {
        let nodes = self.nodes.len();
        let ask = |node: usize| {
            let (node, admitted) = (self.nodes[node].clone(), Arc::clone(&self.admitted));
            async move {
                let allowed = node.decide(&Key::of("hot"), 1).await.is_allowed();
                admitted.fetch_add(allowed.into(), Ordering::Relaxed);
                allowed
            }
        };
        Load { nodes, ..load }.offer(ask).await
    }

    /// What the first of them counts of all regions.
    fn counted(&self) -> u32 {
        let told = self.nodes[0].peek_each(&Key::of("hot"));
        ALL - told.each()[1].remaining()
    }
}

/// Three lines of the table.
pub(crate) async fn lines(bed: &Bed) -> Vec<String> {
    let case = Case {
        what: "global away, windows 3 to 6",
        regions: 2,
        ..case(3, 1_000, 20, 0)
    };
    let link = TcpProxy::start(bed.global.address());
    let url = bed.global.url_through(link.address());
    let admitted = Arc::new(AtomicU32::new(0));
    let regions = [0, 1].map(|region| {
        let node = |_| {
            let quota = Quota::new(case.limit, WINDOW).expect("a window");
            let all = Quota::new(ALL, Quota::MAX_WINDOW).expect("a window");
            let store = RedisStore::new(&url).expect("an address");
            let builder = LayeredLimiter::builder(bed.origin(region, 0), "away", quota)
                .also("all", all)
                .global(store, ["eu", "us"][region]);
            builder.build().expect("settings that work")
        };
        Nodes {
            nodes: (0..case.nodes).map(node).collect(),
            admitted: Arc::clone(&admitted),
        }
    });
    let both = Nodes {
        nodes: regions.iter().flat_map(|it| it.nodes.clone()).collect(),
        admitted: Arc::clone(&admitted),
    };
    both.offer(case.load(BEFORE, 0)).await;
    link.refuse();
    // In the first ones each region counts what it still knows of the other, as it should.
    let away = case.load(AWAY, SKIP);
    let [eu, us] = regions.each_ref().map(|it| it.offer(away));
    let (eu, us) = tokio::join!(eu, us);
    let alone = [eu, us].map(|seen| f64::from(seen.admitted) / f64::from(seen.exact));
    link.heal();
    let seen = both.offer(case.load(AFTER, SKIP)).await;
    let together = f64::from(seen.admitted) / f64::from(seen.exact);
    // Until both know everything, or it is clear that they never will.
    let all = admitted.load(Ordering::Relaxed);
    let counted = || regions.each_ref().map(Nodes::counted);
    for _ in 0..100 {
        if counted() == [all; 2] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let counted = counted().map(|counted| f64::from(counted) / f64::from(all));
    let then = |what, bar| Case { what, bar, ..case };
    vec![
        case.line(furthest(alone), ""),
        then("  then both, last windows", "<= 1.05").line(together, ""),
        then("  then counted / admitted", "1").line(furthest(counted), ""),
    ]
}

/// Of two ratios the one that is further from one.
fn furthest([a, b]: [f64; 2]) -> f64 {
    if (a - 1.0).abs() > (b - 1.0).abs() {
        a
    } else {
        b
    }
}
