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

/// The number, what is said, and of how many units.
fn next(unheard: &Unheard, key: Key, millis: u64) -> Option<(u64, What, Vec<u64>)> {
    let sent = unheard.next(key, at(millis)).expect("room")?;
    Some((sent.id.number, sent.what, sent.units.into()))
}

#[test]
fn what_was_not_heard_goes_out_again_as_it_was_before_anything_new() {
    let unheard = unheard(&[Quota::per_second(10)], 7);
    let key = Key::of("a");
    unheard.untold.add(key, 5, at(1_000));
    assert_eq!(
        next(&unheard, key, 1_000),
        Some((1, What::Admitted, vec![5]))
    );
    assert!(!unheard.is_left() && unheard.keys() == 1);
    unheard.add(key, 2, at(1_000));
    unheard.unheard(key, at(1_000));
    assert!(unheard.is_left());
    assert_eq!(unheard.some(9), [key], "a message, and what is new");
    assert_eq!(unheard.keys(), 1);
    // One has come back by itself.
    assert_eq!(
        next(&unheard, key, 1_100),
        Some((1, What::Admitted, vec![4]))
    );
    unheard.heard(key, at(1_100));
    assert_eq!(
        next(&unheard, key, 1_100),
        Some((2, What::Admitted, vec![1]))
    );
    unheard.heard(key, at(1_100));
    assert_eq!(next(&unheard, key, 1_100), None);
    assert_eq!((unheard.keys(), unheard.is_left()), (0, false));
    // All of it has.
    unheard.add(key, 3, at(2_000));
    assert_eq!(
        next(&unheard, key, 2_000),
        Some((3, What::Admitted, vec![3]))
    );
    unheard.unheard(key, at(2_000));
    assert_eq!(next(&unheard, key, 3_000), None);
    assert_eq!(unheard.keys(), 0);
}

#[test]
fn what_was_told_and_counted_otherwise_is_taken_back_once_it_was_heard() {
    let unheard = unheard(&[Quota::per_hour(100).fixed()], 7);
    let key = Key::of("a");
    unheard.untold.add(key, 5, at(1_000));
    assert_eq!(
        next(&unheard, key, 1_000),
        Some((1, What::Admitted, vec![5]))
    );
    for _ in 0..2 {
        unheard.give_back(key, 3, at(1_000));
    }
    unheard.unheard(key, at(1_000));
    assert_eq!(
        next(&unheard, key, 1_000),
        Some((1, What::Admitted, vec![5]))
    );
    unheard.heard(key, at(1_000));
    assert_eq!(
        next(&unheard, key, 1_000),
        Some((2, What::TakenBack, vec![5]))
    );
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
        assert!(next(&before, key, 1_000).is_some());
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
        assert_eq!(*sent.units, [3]);
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
    assert!(next(&unheard, a, 1_000).is_some());
    unheard.add(b, 1, at(1_000));
    assert_eq!(untold.keys(), 1);
    assert!(unheard.next(b, at(1_000)).is_err());
    unheard.unheard(a, at(1_000));
    untold.add(b, 9, at(1_100));
    assert!(unheard.next(b, at(1_100)).is_ok_and(|sent| sent.is_some()));
}
