//! Messages that are numbered: what is repeated or was overtaken changes nothing, and of whom the server has forgotten
//! nothing goes back twice.

use crate::decision::Policy;
use crate::key::Key;
use crate::quota::Quota;
use crate::rule::Moment;
use crate::store::RedisStore;
use crate::store::redis::rates::{GiveBack, MessageId, Operation, Rates, Spelling, StoreMoment};
use crate::time::LocalTime;
use std::time::Duration;
use tidegate_test_support::RedisServer;

const PATIENCE: Duration = Duration::from_secs(60);

/// A count of a thousand that lives longer than any test.
fn rates(server: &RedisServer) -> Rates {
    let quota = Quota::new(1_000, Quota::MAX_WINDOW).expect("a window within bounds");
    let policies: [Policy; 1] = [quota.fixed().into()];
    let store = RedisStore::new(server.url()).expect("an address");
    let spelling = Spelling::new(&policies).expect("whole microseconds");
    Rates::new(store, "messages", spelling)
}

const fn id(sender: u64, number: u64) -> MessageId {
    MessageId {
        sender,
        number,
        again: false,
    }
}

const fn again(sender: u64, number: u64) -> MessageId {
    MessageId {
        sender,
        number,
        again: true,
    }
}

/// Units that are booked on `key`, and when.
async fn booked(rates: &Rates, key: Key) -> (u32, StoreMoment) {
    let standing = rates.ask(key, Operation::Ask(0), PATIENCE).await;
    let standing = standing.expect("an answer");
    let decisions = standing.decisions(rates.spelling(), 0, 0);
    let left = decisions.expect("as here").binding().remaining();
    (1_000 - left, standing.now())
}

async fn book(rates: &Rates, key: Key, id: MessageId) -> u32 {
    let (units, id) = (&[1][..], Some(id));
    let operation = Operation::Book { units, id };
    rates.ask(key, operation, PATIENCE).await.expect("heard");
    booked(rates, key).await.0
}

async fn give_back(rates: &Rates, key: Key, id: MessageId) -> u32 {
    let at: Moment = booked(rates, key).await.1.moment(0);
    let last = || GiveBack::last([1].into(), rates.spelling().rules(), at);
    let (each, id) = (&[last(), last()][..], Some(id));
    let operation = Operation::GiveBack { each, id };
    rates.ask(key, operation, PATIENCE).await.expect("heard");
    booked(rates, key).await.0
}

#[tokio::test]
async fn a_message_counts_once_however_often_it_comes() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (rates, key) = (rates(&server), Key::of("a"));
    let largest = (1 << 53) - 1;
    assert_eq!(book(&rates, key, id(largest, 7)).await, 1);
    assert_eq!(book(&rates, key, id(largest, 8)).await, 2);
    assert_eq!(book(&rates, key, again(largest, 8)).await, 2);
    assert_eq!(book(&rates, key, id(largest, 7)).await, 2, "overtaken");
    assert_eq!(book(&rates, key, id(7, 7)).await, 3, "another sender");
    assert_eq!(book(&rates, key, again(largest, 8)).await, 3);
    assert_eq!(give_back(&rates, key, id(largest, 9)).await, 1);
    assert_eq!(give_back(&rates, key, again(largest, 9)).await, 1);
    let left = ["rates", "heard"].map(|what| server.cli(&["PTTL", &rates.key(key, what)]));
    let [counts, heard] = left.map(|left| left.integer());
    assert!(
        heard > 0 && heard.abs_diff(counts) < 60_000,
        "{heard} ms of {counts}"
    );
}

/// What is booked is booked again then, and what goes back does not.
#[tokio::test]
async fn of_more_senders_than_are_remembered_nothing_goes_back_twice() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (rates, key) = (rates(&server), Key::of("a"));
    for sender in 100..110 {
        book(&rates, key, id(sender, 1)).await;
    }
    assert_eq!(give_back(&rates, key, again(7, 1)).await, 8, "never heard");
    assert_eq!(give_back(&rates, key, again(7, 1)).await, 8);
    for sender in 110..174 {
        book(&rates, key, id(sender, 1)).await;
    }
    assert_eq!(give_back(&rates, key, again(7, 1)).await, 72, "forgotten");
    assert_eq!(book(&rates, key, again(110, 1)).await, 72, "the last of 64");
    assert_eq!(book(&rates, key, again(100, 1)).await, 73, "forgotten");
    assert_eq!(give_back(&rates, key, id(7, 2)).await, 71, "a new one");
}

/// Units of one moment that are heard of at a later one, when others have spent as much again.
#[tokio::test]
async fn what_goes_back_late_takes_nothing_from_those_who_came_later() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let begin = 6 * 365 * 86_400 * 1_000_u64;
    // In milliseconds: when the others come, when the message does, and what it still gives back.
    for (quota, others, heard, gives_back) in [
        ("100/s", 100, 250, 25),
        ("100/s", 400, 500, 0),
        ("100/s fixed", 100, 999, 50),
        ("100/s fixed", 1_000, 1_000, 0),
        ("100/s sliding", 1_000, 1_000, 50),
        ("100/s sliding", 2_000, 2_000, 0),
        ("100/s log", 100, 999, 50),
        ("100/s log", 1_001, 1_001, 0),
        ("100/h calendar", 100, 3_599_999, 50),
        ("100/h calendar", 3_600_000, 3_600_000, 0),
    ] {
        let policies: [Policy; 1] = [quota.parse::<Quota>().expect("a quota").into()];
        let spelling = Spelling::new(&policies).expect("whole microseconds");
        let rates = Rates::new(store.clone(), "late", spelling);
        let moment = |millis: u64| StoreMoment::from_micros((begin + millis) * 1_000);
        let rules = rates.spelling().rules();
        for by_mark in [false, true] {
            let key = Key::of(&format!("{quota} {heard} {by_mark}"));
            let ask = async |millis, operation| {
                let answer = rates.ask_at(key, operation, Some(moment(millis)), PATIENCE);
                answer.await.expect("an answer")
            };
            let book = Operation::Decide {
                cost: 50,
                random: 0,
            };
            let first = ask(0, book.clone()).await;
            let back = match by_mark {
                false => GiveBack::last([50].into(), rules, moment(0).moment(0)),
                true => GiveBack::booked(50, first.booking(rates.spelling(), 50)),
            };
            assert!(first.booked() && ask(others, book).await.booked());
            let left = async || {
                let standing = ask(heard, Operation::Ask(0)).await;
                let told = standing.decisions(rates.spelling(), 0, 0);
                told.expect("as here").binding().remaining()
            };
            let before = left().await;
            let (each, id) = (&[back][..], Some(id(1, 1)));
            ask(heard, Operation::GiveBack { each, id }).await;
            assert_eq!(left().await, before + gives_back, "{quota} {by_mark}");
        }
    }
}

#[test]
fn what_goes_back_is_over_when_all_of_it_has_come_back_by_itself() {
    let at = |millis: u64| Moment::at(LocalTime::from_nanos(millis * 1_000_000));
    let over = |quota: &str, begin, end| {
        let policies: [Policy; 1] = [quota.parse::<Quota>().expect("a quota").into()];
        let spelling = Spelling::new(&policies).expect("whole microseconds");
        let last = GiveBack::last([5].into(), spelling.rules(), at(begin));
        assert!(!last.is_over(at(end - 1)), "{quota}");
        assert!(last.is_over(at(end)), "{quota}");
    };
    over("10/s", 1_300, 1_800);
    over("10/s fixed", 1_300, 2_000);
    over("5/s log", 1_300, 2_300);
    // Of five in the window before, the last one counts until a fifth is left of this one.
    over("10/s sliding", 1_300, 2_801);
}
