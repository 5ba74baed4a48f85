//! The lines between windows: what other regions used beyond one, and answers that come after one.

use super::{MS, SECOND, Scene};
use crate::key::Key;

const WINDOW: u64 = 10 * SECOND;
const LIMIT: u32 = 1_000;

/// Both regions know the key; then the second one alone spends all of a window `spent` after it has begun, and the first
/// is asked for it `asked` after that window has begun.
fn one_spends_and_the_other_is_asked(spent: u64, asked: u64) -> (u64, u64) {
    let mut scene = Scene::new(1, LIMIT, WINDOW, 20 * MS);
    scene.regions = 2;
    let mut world = scene.start();
    let key = Key::of("shared");
    world.run_to_boundary();
    world.load(key, 1, 20, WINDOW, &[0, 1]);
    world.run(WINDOW);
    world.run(spent);
    world.load(key, 1, 10 * u64::from(LIMIT), 2 * SECOND, &[1]);
    let before = world.watch(2 * SECOND);
    assert!(before.admitted >= u64::from(LIMIT) * 95 / 100, "{before:?}");
    world.run(asked - spent - 2 * SECOND);
    world.load(key, 1, 20 * u64::from(LIMIT), SECOND, &[0]);
    let seen = world.watch(SECOND + 100 * MS);
    println!("{seen:?}");
    (seen.admitted, seen.exact)
}

#[test]
fn what_another_region_used_counts_for_a_key_that_is_known_from_the_window_before() {
    let (admitted, exact) = one_spends_and_the_other_is_asked(0, WINDOW / 2);
    assert!(
        admitted <= exact + u64::from(LIMIT) / 20,
        "{admitted} {exact}"
    );
}

#[test]
fn what_another_region_used_in_a_window_that_was_left_out_counts_as_the_one_before() {
    let (admitted, exact) = one_spends_and_the_other_is_asked(WINDOW - 3 * SECOND, WINDOW);
    assert!(
        admitted <= exact + u64::from(LIMIT) / 20,
        "{admitted} {exact}"
    );
    // What has gone since is there again.
    assert!(admitted > 0);
}

#[test]
fn nobody_waits_for_ever_where_windows_are_shorter_than_a_round_trip() {
    for (window, round_trip) in [(50, 120), (100, 100), (100, 80), (10, 900)] {
        let mut world = Scene::new(2, 100, window * MS, round_trip * MS).start();
        let key = Key::of("hot");
        world.load(key, 1, 10, 2 * SECOND, &[0]);
        let seen = world.watch(2 * SECOND + 4 * round_trip * MS);
        let waiting: usize = world.nodes.iter().map(|node| node.waiting.len()).sum();
        assert_eq!(waiting, 0, "{window} ms, {round_trip} ms: {seen:?}");
        // Those who waited for the first answer are decided on in one window.
        assert!(seen.admitted * 2 >= seen.requests, "{seen:?}");
        assert!(seen.requests >= 200);
    }
}
