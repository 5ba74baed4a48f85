//! As much of the limit is used as one counter would admit, for few round trips, and nothing is lost on the way.

use super::{MS, SECOND, Scene, World};
use crate::key::Key;

fn hot(scene: &Scene, rate: u64, seconds: u64) -> World {
    let mut world = World::new(scene);
    world.load(Key::of("hot"), rate, seconds * SECOND, 1, 0..scene.nodes);
    world.run((seconds + 1) * SECOND);
    assert_eq!(world.breach(&scene.policies), None);
    world
}

/// In thousandths: units spent of those that one counter would have admitted; questions, and waits, a request.
fn figures(world: &World) -> [u64; 3] {
    let (spent, exact) = world.sums();
    let asked = world.asked[&Key::of("hot")].len() as u64;
    [
        spent * 1_000 / exact,
        world.round_trips * 1_000 / asked,
        world.waits * 1_000 / asked,
    ]
}

#[test]
fn five_nodes_at_twice_the_limit_use_nearly_all_of_it() {
    for quota in [
        "1000/s fixed",
        "1000/s sliding",
        "1000/s",
        "1000/s burst 100",
        "10000/10s fixed",
        "1000/s, 10000/10s sliding",
    ] {
        for round_trip in [1, 10, 50] {
            let world = hot(&Scene::new(5, quota, round_trip * MS), 2_000, 10);
            let [used, asked, _] = figures(&world);
            assert!(used >= 970, "{quota}, {round_trip} ms: used {used}");
            assert!(asked < 1_000, "{quota}, {round_trip} ms: asked {asked}");
        }
    }
}

#[test]
fn below_the_limit_hot_keys_rarely_wait() {
    for (quota, round_trip, asked_at_most, waits_at_most) in [
        ("10000/s fixed", 1, 150, 50),
        ("10000/s fixed", 10, 120, 100),
        ("10000/s sliding", 1, 150, 50),
        ("10000/s", 1, 100, 50),
        ("10000/s", 10, 100, 50),
        ("1000000/hour calendar", 10, 120, 100),
    ] {
        let world = hot(&Scene::new(5, quota, round_trip * MS), 1_000, 10);
        let [used, asked, waits] = figures(&world);
        assert_eq!(used, 1_000, "{quota}, {round_trip} ms");
        assert!(
            asked <= asked_at_most,
            "{quota}, {round_trip} ms: asked {asked}"
        );
        assert!(
            waits <= waits_at_most,
            "{quota}, {round_trip} ms: waits {waits}"
        );
    }
}

/// Lost, repeated and late messages: in the end the store has counted what was spent, to the unit.
#[test]
fn what_is_left_comes_back_whole_though_messages_get_lost() {
    for seed in 0..20 {
        let scene = Scene {
            trouble: 15,
            seed,
            ..Scene::new(4, "100000/day calendar", 10 * MS)
        };
        let mut world = World::new(&scene);
        let key = Key::of("hot");
        world.load(key, 1_000, 5 * SECOND, 3, 0..4);
        world.run(15 * SECOND);
        let (spent, _) = world.sums();
        assert!(spent > 700, "seed {seed}: {spent}");
        assert_eq!(world.store[&key].booked(0), spent, "seed {seed}");
    }
}

#[test]
fn what_an_idle_node_had_is_there_for_another() {
    let scene = Scene::new(2, "2000/hour calendar", 10 * MS);
    let mut world = World::new(&scene);
    let key = Key::of("hot");
    world.load(key, 1_000, SECOND, 1, 0..1);
    world.run(2 * SECOND);
    world.load(key, 2_000, SECOND, 1, 1..2);
    world.run(2 * SECOND);
    assert_eq!(world.sums(), (2_000, 2_000));
}

#[test]
fn a_node_that_dies_takes_with_it_what_it_had_in_hand_and_no_more() {
    let scene = Scene {
        max_batch: 50,
        crash_every: 300 * MS,
        ..Scene::new(1, "100000/day calendar", 10 * MS)
    };
    let mut world = World::new(&scene);
    let key = Key::of("hot");
    world.load(key, 2_000, 10 * SECOND, 1, 0..1);
    world.run(15 * SECOND);
    let lives = world.lives;
    let (spent, _) = world.sums();
    let lost = world.store[&key].booked(0) - spent;
    // What was asked for by callers who died with it, too.
    assert!(lives > 20 && lost > 0, "{lost} in {lives} lives");
    assert!(lost <= lives * (50 + 2 * 20 * 2), "{lost} in {lives} lives");
}

#[test]
fn keys_make_room_for_others_and_give_back_what_they_had() {
    let scene = Scene {
        room: 3,
        ..Scene::new(2, "100000/day calendar", 10 * MS)
    };
    let mut world = World::new(&scene);
    let keys: Vec<Key> = (0..20_u64).map(|number| Key::of(&number)).collect();
    for round in 0..200 {
        let key = keys[round * 7 % 20];
        world.load(key, 500, 40 * MS, 1, 0..2);
        world.run(20 * MS);
        assert!(
            world.nodes.iter().all(|node| node.tier.keys() <= 8),
            "round {round}"
        );
    }
    world.run(5 * SECOND);
    let evicted: u64 = world.nodes.iter().map(|node| node.tier.evicted()).sum();
    assert!(evicted > 100, "{evicted}");
    let booked: u64 = keys.iter().map(|key| world.store[key].booked(0)).sum();
    assert_eq!(booked, world.sums().0);
    assert!(world.nodes.iter().all(|node| node.tier.keys() <= 3));
}

/// Two requests in a hurry promise no third: the store is not asked on and on for what nobody comes for.
#[test]
fn what_nobody_comes_for_is_not_taken_again() {
    for (quota, round_trip) in [("100/s", 100), ("100/s", 1), ("100/s sliding", 100)] {
        let mut world = World::new(&Scene::new(1, quota, round_trip * MS));
        for key in 0..50_u64 {
            for at in [0, 15 * MS, 230 * MS] {
                world.at(at, super::Event::Request(0, Key::of(&key), 1));
            }
        }
        world.run(60 * SECOND);
        let asked = world.round_trips;
        assert!(asked <= 50 * 3 * 3, "{quota}, {round_trip} ms: {asked}");
    }
}

/// With many keys or few, nothing is looked at for nothing: a quiet tier has nothing to do.
#[test]
fn a_tier_that_nobody_asks_is_quiet() {
    let mut world = hot(&Scene::new(3, "1000/s", MS), 2_000, 2);
    world.run(5 * SECOND);
    let asked = world.round_trips;
    world.run(60 * SECOND);
    assert_eq!(world.round_trips, asked);
    let quiet = crate::time::LocalTime::NEVER;
    assert!(
        world
            .nodes
            .iter()
            .all(|node| node.tier.poll_timeout() == quiet)
    );
}
