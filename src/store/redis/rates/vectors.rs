//! The script reproduces the golden cases of the rules.

use crate::key::Key;
use crate::rule::vectors::{cases, told};
use crate::store::RedisStore;
use crate::store::redis::rates::{Rates, Spelling, StoreMoment};
use std::time::Duration;
use tidegate_test_support::RedisServer;

#[tokio::test]
async fn the_script_reproduces_every_golden_case() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, case) in cases().into_iter().enumerate() {
        let spelling = Spelling::new(&case.policies).expect("whole microseconds");
        let rates = Rates::new(store.clone(), "vectors", spelling);
        let key = Key::of(&(number as u64));
        for step in case.steps {
            let operation = rates.spelling().decide(step.cost, step.random);
            let now = Some(StoreMoment::from_micros(step.at));
            let standing = rates.ask_at(key, operation, now, Duration::from_secs(60));
            let standing = standing.await.expect("an answer");
            let decisions = standing.decisions(rates.spelling(), step.cost, step.random);
            let decisions = decisions.expect("the script decides as the rules do");
            let (first, at) = (case.policies[0].quota(), step.at);
            assert_eq!(told(&decisions), step.told, "{first} at {at} us");
        }
    }
}
