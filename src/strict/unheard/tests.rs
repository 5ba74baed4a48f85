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

/// A limiter with another quota has taken over from one that has told of `units` on `key`, and does not know whether the
/// store has heard it.
fn taken_over(key: Key, units: u32) -> (Arc<Unheard>, Arc<Unheard>) {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let (before, after) = (unheard(&old, 7), unheard(&new, 8));
    before.untold.add(key, units, at(1_000));
    assert!(admitted(&before, key, 1_000).is_some());
    before.unheard(key, at(1_000));
    hand_over(&before, &after, &old, &new);
    (before, after)
}

fn hand_over(before: &Unheard, after: &Arc<Unheard>, old: &[Quota], new: &[Quota]) {
    let [old, new] = [old, new].map(|quotas| {
        let policies = quotas.iter().map(|quota| Policy::from(*quota));
        policies.collect::<Vec<_>>()
    });
    let carry = Carry::new(&old, &new);
    before
        .untold
        .hand_over(&after.untold, carry.clone(), at(1_000));
    before.hand_over(after, carry, at(1_000));
}

/// It would be told at once else, before the message: others would get it until that is heard.
#[test]
fn what_was_told_and_handed_over_is_taken_back_once_it_was_heard() {
    let key = Key::of("a");
    let (before, after) = taken_over(key, 5);
    assert_eq!(before.give_back(key, 2, at(1_000)), 0);
    assert_eq!(before.give_back(key, 4, at(1_000)), 1);
    assert_eq!((before.keys(), after.keys()), (0, 1));
    assert_eq!(admitted(&after, key, 1_000), Some((1, vec![5])));
    after.heard(key, at(1_000));
    let sent = after.next(key, at(1_000)).expect("room").expect("it");
    let What::GivesBack(each) = &sent.what else {
        panic!("{sent:?}");
    };
    let expected = GiveBack::last([5].into(), after.untold.rules(), at(1_000));
    assert_eq!(format!("{each:?}"), format!("[{expected:?}]"));
    after.heard(key, at(1_000));
    assert_eq!((after.keys(), after.is_left()), (0, false));
}

/// Of 100 were ten used. Cut apart, twenty would be told, and then given back.
#[test]
fn a_smaller_burst_cuts_what_was_not_used() {
    let key = Key::of("a");
    let quotas = [100, 20].map(Quota::per_hour);
    let kinds = [
        (quotas, 20, 10),
        (quotas.map(Quota::sliding_log), 20, 10),
        (quotas.map(Quota::fixed), 100, 90),
    ];
    for ([old, new], told, unused) in kinds {
        let (before, after) = (unheard(&[old], 7), unheard(&[new], 8));
        before.untold.add(key, 100, at(1_000));
        assert!(admitted(&before, key, 1_000).is_some());
        assert_eq!(before.give_back(key, 90, at(1_000)), 0);
        before.unheard(key, at(1_000));
        hand_over(&before, &after, &[old], &[new]);
        assert_eq!(admitted(&after, key, 1_000), Some((1, vec![told])), "{new}");
        after.heard(key, at(1_000));
        let sent = after.next(key, at(1_000)).expect("room").expect("it");
        let What::GivesBack(each) = &sent.what else {
            panic!("{sent:?}");
        };
        let expected = GiveBack::last([unused].into(), after.untold.rules(), at(1_000));
        assert_eq!(format!("{each:?}"), format!("[{expected:?}]"), "{new}");
    }
}

#[test]
fn of_two_limiters_messages_about_a_key_each_counts_once() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let (before, after) = (unheard(&old, 7), unheard(&new, 8));
    let key = Key::of("a");
    for (unheard, units) in [(&before, 3), (&after, 4)] {
        unheard.untold.add(key, units, at(1_000));
        assert!(admitted(unheard, key, 1_000).is_some());
    }
    before.unheard(key, at(1_000));
    assert_eq!(before.give_back(key, 1, at(1_000)), 0);
    // While the other is in hand.
    hand_over(&before, &after, &old, &new);
    after.unheard(key, at(1_000));
    assert_eq!(
        before.give_back(key, 1, at(1_000)),
        0,
        "of what was told last"
    );
    let back = GiveBack::last([2].into(), after.untold.rules(), at(1_000));
    let back = format!("[{back:?}]");
    let mut told = Vec::new();
    while let Some(sent) = after.next(key, at(1_000)).expect("room") {
        told.push(match sent.what {
            What::Admitted(units) => (sent.id.sender, units[0].to_string()),
            What::GivesBack(each) => (sent.id.sender, format!("{each:?}")),
        });
        after.heard(key, at(1_000));
    }
    assert_eq!(told, [(8, "4".into()), (7, "3".into()), (8, back)]);
    assert_eq!((after.keys(), after.is_left()), (0, false));
}

#[test]
fn where_there_is_no_room_for_a_message_what_was_used_of_it_is_told_anew() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let before = unheard(&old, 7);
    let rules = new.map(|quota| Rule::new(quota.into()));
    let after = Unheard::new(8 << 11, Arc::new(Untold::new(&rules, 9)), 1).into();
    let (key, other) = (Key::of("a"), Key::of("b"));
    for (unheard, key) in [(&before, key), (&after, other)] {
        unheard.untold.add(key, 5, at(1_000));
        assert!(admitted(unheard, key, 1_000).is_some());
    }
    before.unheard(key, at(1_000));
    assert_eq!(before.give_back(key, 2, at(1_000)), 0);
    hand_over(&before, &after, &old, &new);
    assert_eq!((before.keys(), after.keys()), (0, 2));
    after.heard(other, at(1_000));
    assert!(matches!(admitted(&after, key, 1_000), Some((_, units)) if units == [3]));
}

/// The server leaves alone what a later message of the same sender has overtaken.
#[test]
fn no_message_that_is_handed_over_is_overtaken_by_later_ones() {
    let key = Key::of("a");
    let (before, after) = taken_over(key, 1);
    let mut senders = vec![7];
    for _ in 0..3 {
        before.add(key, 1, at(1_000));
        let sent = before.next(key, at(1_000)).expect("room").expect("news");
        senders.push(sent.id.sender);
        before.unheard(key, at(1_000));
    }
    assert_eq!((before.keys(), after.keys()), (0, 1));
    let told = std::iter::from_fn(|| {
        let sent = after.next(key, at(1_000)).expect("room")?;
        after.heard(key, at(1_000));
        Some(sent.id.sender)
    });
    assert_eq!(told.collect::<Vec<_>>(), senders);
    senders.sort_unstable();
    senders.dedup();
    assert_eq!(senders.len(), 4);
}

/// Nobody asks the second one any more.
#[test]
fn what_comes_late_goes_on_to_the_last_of_three_limiters() {
    let quotas = [
        [Quota::per_hour(10)],
        [Quota::per_hour(20)],
        [Quota::per_hour(30)],
    ];
    let [first, second, third] =
        [7, 8, 9].map(|sender| unheard(&quotas[sender as usize - 7], sender));
    hand_over(&first, &second, &quotas[0], &quotas[1]);
    hand_over(&second, &third, &quotas[1], &quotas[2]);
    let key = Key::of("a");
    // A reservation of the first is booked on top of, and its message is not heard.
    first.add(key, 4, at(1_000));
    assert_eq!(admitted(&first, key, 1_000), Some((1, vec![4])));
    first.unheard(key, at(1_000));
    let keys = [&first, &second, &third].map(|unheard| unheard.keys());
    assert_eq!(keys, [0, 0, 1]);
    assert_eq!(first.give_back(key, 1, at(1_000)), 0);
    assert!(matches!(admitted(&third, key, 1_000), Some((_, units)) if units == [4]));
}

#[test]
fn what_counts_under_no_rule_of_who_takes_over_stays() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_minute(20)]);
    let (before, after) = (unheard(&old, 7), unheard(&new, 8));
    let key = Key::of("a");
    before.untold.add(key, 5, at(1_000));
    assert!(admitted(&before, key, 1_000).is_some());
    before.unheard(key, at(1_000));
    hand_over(&before, &after, &old, &new);
    assert_eq!((before.keys(), after.keys()), (1, 0));
    assert_eq!(before.give_back(key, 2, at(1_000)), 0);
    assert_eq!(admitted(&before, key, 1_000), Some((1, vec![5])));
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
    unheard.forget_some(at(hour - 1));
    assert_eq!(unheard.keys(), 2);
    assert_eq!(going_back(&unheard, b, hour), None);
    unheard.forget_some(at(hour));
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

#[test]
fn however_many_messages_there_are_all_are_handed_over() {
    let (old, new) = ([Quota::per_hour(10)], [Quota::per_hour(20)]);
    let [before, after] = [(old, 7), (new, 8)].map(|(quotas, sender)| {
        let rules = quotas.map(|quota| Rule::new(quota.into()));
        let untold = Arc::new(Untold::new(&rules, 99));
        Arc::new(Unheard::new(sender << 11, untold, 99))
    });
    let keys: Vec<Key> = (0..50_u64).map(|number| Key::of(&number)).collect();
    for (number, key) in keys.iter().enumerate() {
        before.add(*key, 1, at(1_000));
        assert!(admitted(&before, *key, 1_000).is_some());
        if number % 3 > 0 {
            before.unheard(*key, at(1_000));
        }
    }
    hand_over(&before, &after, &old, &new);
    assert_eq!((before.keys(), after.keys()), (17, 33));
    for key in keys.iter().step_by(3) {
        before.unheard(*key, at(1_000));
    }
    assert_eq!((before.keys(), after.keys()), (0, 50));
}
