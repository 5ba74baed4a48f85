//! What is repeated, and as what.

use super::*;
use crate::decision::Policy;
use crate::quota::Quota;
use crate::rule::Rule;
use crate::time::LocalTime;

fn unheard(quotas: &[Quota], sender: u64) -> Arc<Unheard> {
    let rules: Vec<Rule> = quotas
        .iter()
        .map(|quota| Rule::new((*quota).into()))
        .collect();
    let untold = Arc::new(Untold::new(&rules, 9));
    Arc::new(Unheard::new(sender << 11, untold, 9))
}

fn at(millis: u64) -> Moment {
    Moment::at(LocalTime::from_nanos(millis * 1_000_000))
}

/// The number, and of how many units is said that they were admitted.
fn admitted(unheard: &Unheard, key: Key, millis: u64) -> Option<(u64, Vec<u64>)> {
    let sent = unheard.next(key, at(millis)).expect("room")?;
    match sent.what {
        What::Admitted(units) => Some((sent.id.number, units.into())),
        What::GivesBack(each) => panic!("{each:?}"),
    }
}

/// The number, whether it may have been heard, and how many bookings go back.
fn going_back(unheard: &Unheard, key: Key, millis: u64) -> Option<(u64, bool, usize)> {
    let sent = unheard.next(key, at(millis)).expect("room")?;
    match sent.what {
        What::Admitted(units) => panic!("{units:?}"),
        What::GivesBack(each) => Some((sent.id.number, sent.id.again, each.len())),
    }
}

#[test]
fn what_was_not_heard_goes_out_again_as_it_was_before_anything_new() {
    let unheard = unheard(&[Quota::per_second(10)], 7);
    let key = Key::of("a");
    unheard.untold.add(key, 5, at(1_000));
    assert_eq!(admitted(&unheard, key, 1_000), Some((1, vec![5])));
    assert!(!unheard.is_left() && unheard.keys() == 1);
    unheard.add(key, 2, at(1_000));
    unheard.unheard(key, at(1_000));
    assert!(unheard.is_left());
    assert_eq!(unheard.some(9), [key], "a message, and what is new");
    assert_eq!(unheard.keys(), 1);
    // One has come back by itself.
    assert_eq!(admitted(&unheard, key, 1_100), Some((1, vec![4])));
    unheard.heard(key, at(1_100));
    assert_eq!(admitted(&unheard, key, 1_100), Some((2, vec![1])));
    unheard.heard(key, at(1_100));
    assert_eq!(admitted(&unheard, key, 1_100), None);
    assert_eq!((unheard.keys(), unheard.is_left()), (0, false));
    // All of it has.
    unheard.add(key, 3, at(2_000));
    assert_eq!(admitted(&unheard, key, 2_000), Some((3, vec![3])));
    unheard.unheard(key, at(2_000));
    assert_eq!(admitted(&unheard, key, 3_000), None);
    assert_eq!(unheard.keys(), 0);
}

#[test]
fn what_was_told_and_counted_otherwise_is_taken_back_once_it_was_heard() {
    let unheard = unheard(&[Quota::per_hour(100).fixed()], 7);
    let key = Key::of("a");
    unheard.untold.add(key, 5, at(1_000));
    assert_eq!(admitted(&unheard, key, 1_000), Some((1, vec![5])));
    for _ in 0..2 {
        unheard.give_back(key, 3, at(1_000));
    }
    unheard.unheard(key, at(1_000));
    assert_eq!(admitted(&unheard, key, 1_000), Some((1, vec![5])));
    unheard.heard(key, at(1_000));
    let sent = unheard.next(key, at(1_000)).expect("room").expect("it");
    let What::GivesBack(each) = &sent.what else {
        panic!("{sent:?}");
    };
    assert_eq!(sent.id.number, 2);
    let expected = GiveBack::last([5].into(), unheard.untold.rules(), at(1_000));
    assert_eq!(format!("{each:?}"), format!("[{expected:?}]"));
    unheard.heard(key, at(1_000));
    assert_eq!((unheard.keys(), unheard.is_left()), (0, false));
}

#[test]
fn who_takes_over_repeats_the_messages_of_who_was_before() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let (before, after) = (unheard(&old, 7), unheard(&new, 8));
    let [a, b] = ["a", "b"].map(Key::of);
    for key in [a, b] {
        before.add(key, 3, at(1_000));
        assert!(admitted(&before, key, 1_000).is_some());
    }
    before.unheard(a, at(1_000));
    let [old, new] = [old, new].map(|quotas| quotas.map(Policy::from));
    before.hand_over(&after, Carry::new(&old, &new), at(1_000));
    // In hand when it was handed over.
    before.unheard(b, at(1_000));
    assert_eq!((before.keys(), after.keys()), (0, 2));
    for (key, number) in [(a, 1), (b, 2)] {
        let sent = after
            .next(key, at(1_000))
            .expect("room")
            .expect("a message");
        assert_eq!((sent.id.sender, sent.id.number), (7, number));
        assert!(matches!(&sent.what, What::Admitted(units) if **units == [3]));
    }
    // Later news of who was before does not overtake these.
    before.add(a, 1, at(1_000));
    let sent = before.next(a, at(1_000)).expect("room").expect("news");
    assert!(![7, 8].contains(&sent.id.sender));
}

#[test]
fn there_is_room_for_so_many_messages_and_what_has_come_back_needs_none() {
    let rules = [Rule::new(Quota::per_second(10).into())];
    let untold = Arc::new(Untold::new(&rules, 9));
    let unheard = Unheard::new(7, Arc::clone(&untold), 1);
    let [a, b] = ["a", "b"].map(Key::of);
    unheard.add(a, 1, at(1_000));
    assert!(admitted(&unheard, a, 1_000).is_some());
    unheard.add(b, 1, at(1_000));
    assert_eq!(untold.keys(), 1);
    assert!(unheard.next(b, at(1_000)).is_err());
    unheard.unheard(a, at(1_000));
    untold.add(b, 9, at(1_100));
    assert!(unheard.next(b, at(1_100)).is_ok_and(|sent| sent.is_some()));
}

#[test]
fn what_goes_back_is_gathered_while_a_message_is_under_way_and_told_until_it_is_heard() {
    let unheard = unheard(&[Quota::per_hour(100).fixed()], 7);
    let key = Key::of("a");
    unheard.go_back_last(key, 1, at(1_000));
    assert_eq!(going_back(&unheard, key, 1_000), Some((1, false, 1)));
    for _ in 0..3 {
        unheard.go_back_last(key, 1, at(1_000));
    }
    unheard.unheard(key, at(1_000));
    assert!(unheard.is_left());
    assert_eq!(going_back(&unheard, key, 2_000), Some((1, true, 1)));
    // What was admitted goes first.
    unheard.add(key, 2, at(2_000));
    unheard.heard(key, at(2_000));
    assert_eq!(admitted(&unheard, key, 2_000), Some((2, vec![2])));
    unheard.heard(key, at(2_000));
    assert_eq!(going_back(&unheard, key, 2_000), Some((3, false, 3)));
    unheard.heard(key, at(2_000));
    assert_eq!((unheard.keys(), unheard.is_left()), (0, false));
    assert_eq!(unheard.lock().going_back, 0);
}

#[test]
fn what_goes_back_is_forgotten_with_its_window() {
    let hour = 3_600_000;
    let unheard = unheard(&[Quota::per_hour(100).fixed()], 7);
    let [a, b] = ["a", "b"].map(Key::of);
    unheard.go_back_last(a, 1, at(hour - 1));
    assert_eq!(going_back(&unheard, a, hour - 1), Some((1, false, 1)));
    unheard.go_back_last(a, 1, at(hour - 1));
    unheard.go_back_last(b, 1, at(hour - 1));
    unheard.unheard(a, at(hour - 1));
    unheard.forget_what_is_back(at(hour - 1));
    assert_eq!(unheard.keys(), 2);
    assert_eq!(going_back(&unheard, b, hour), None);
    unheard.forget_what_is_back(at(hour));
    assert_eq!((unheard.keys(), unheard.is_left()), (0, false));
    assert_eq!(unheard.lock().going_back, 0);
}

#[test]
fn no_more_goes_back_than_there_is_room_for_and_what_was_admitted_has_its_own() {
    let unheard = unheard(&[Quota::per_hour(100).fixed()], 7);
    for number in 0..6_u64 {
        unheard.go_back_last(Key::of(&number), 2, at(1_000));
    }
    assert_eq!((unheard.keys(), unheard.kept()), (4, 4), "half of nine");
    for _ in 0..9 {
        unheard.go_back_last(Key::of(&0_u64), 1, at(1_000));
    }
    assert_eq!((unheard.keys(), unheard.kept()), (4, 8), "nine in all");
    for number in 10..15_u64 {
        unheard.add(Key::of(&number), 1, at(1_000));
        assert!(unheard.next(Key::of(&number), at(1_000)).is_ok());
    }
    let (full, other) = (Key::of("full"), Key::of("other"));
    unheard.untold.add(full, 1, at(1_000));
    assert!(unheard.next(full, at(1_000)).is_err());
    assert!(
        unheard
            .next(other, at(1_000))
            .is_ok_and(|sent| sent.is_none())
    );
}

#[test]
fn what_goes_back_stays_with_the_limiter_under_whose_rules_it_was_booked() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let (before, after) = (unheard(&old, 7), unheard(&new, 8));
    let [a, b] = ["a", "b"].map(Key::of);
    before.go_back_last(a, 1, at(1_000));
    assert_eq!(going_back(&before, a, 1_000), Some((1, false, 1)));
    before.go_back_last(b, 1, at(1_000));
    let [old, new] = [old, new].map(|quotas| quotas.map(Policy::from));
    before.hand_over(&after, Carry::new(&old, &new), at(1_000));
    before.unheard(a, at(1_000));
    assert_eq!((before.keys(), after.keys()), (2, 0));
    let sent = before.next(a, at(1_000)).expect("room").expect("it");
    assert_eq!((sent.id.sender, sent.id.number), (7, 1));
    assert!(going_back(&before, b, 1_000).is_some());
}
