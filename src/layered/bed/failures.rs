//! What goes wrong, and what is admitted then.

use super::{MS, SECOND, Scene, World, hot};
use crate::key::Key;
use crate::layered::link::Outage;
use std::num::NonZeroU32;

const WINDOW: u64 = 10 * SECOND;
const LIMIT: u32 = 1_000;

fn scene() -> Scene {
    Scene::new(3, LIMIT, WINDOW, 20 * MS)
}

/// What origin knows of all windows is what was admitted.
fn origin_knows_everything(world: &World) {
    assert_eq!(world.known(), world.seen.admitted);
}

#[test]
fn nothing_is_lost_or_counted_twice_when_a_tenth_of_the_messages_is_lost() {
    let mut scene = scene();
    scene.loss = 10;
    let mut world = scene.overloaded(3);
    let seen = world.watch(3 * WINDOW + 5 * SECOND);
    origin_knows_everything(&world);
    assert!(
        (900..=1_300).contains(&seen.accuracy()),
        "{} {seen:?}",
        seen.accuracy()
    );
    for node in &world.nodes {
        assert_eq!(node.tier.tally().expired, 0);
    }
}

#[test]
fn while_origin_is_away_nodes_go_on_and_it_catches_up() {
    let mut world = scene().overloaded(4);
    world.run(WINDOW / 2);
    world.origins[0].away = true;
    let away = world.watch(3 * SECOND);
    // Each node alone, from what it knew: no more than all that is asked, and no less than before.
    assert!(away.admitted >= away.exact, "{away:?}");
    world.origins[0].away = false;
    world.run(WINDOW / 2 - 3 * SECOND + WINDOW);
    let after = world.watch(WINDOW);
    assert!(
        (950..=1_050).contains(&after.accuracy()),
        "{} {after:?}",
        after.accuracy()
    );
    world.run(WINDOW + 2 * SECOND);
    origin_knows_everything(&world);
}

#[test]
fn in_a_long_outage_nodes_that_know_their_number_keep_the_limit() {
    let mut scene = scene();
    let nodes = NonZeroU32::new(3).expect("not 0");
    scene.outage = Outage::Share { nodes };
    let mut world = scene.overloaded(6);
    world.run(WINDOW / 2);
    world.origins[0].away = true;
    world.run(WINDOW / 2 + 2 * WINDOW);
    let away = world.watch(WINDOW);
    assert!(
        (950..=1_000).contains(&away.accuracy()),
        "{} {away:?}",
        away.accuracy()
    );
    world.origins[0].away = false;
    world.run(WINDOW);
    let after = world.watch(WINDOW);
    assert!(
        (950..=1_050).contains(&after.accuracy()),
        "{} {after:?}",
        after.accuracy()
    );
}

#[test]
fn an_origin_that_lost_its_data_gets_it_back_from_the_nodes() {
    let mut world = scene().overloaded(3);
    world.run(WINDOW + WINDOW / 2);
    let before = world.seen.admitted;
    world.origins[0].cells.clear();
    let lost = world.watch(WINDOW / 2);
    assert!(lost.accuracy() <= 1_050, "{} {lost:?}", lost.accuracy());
    let known = world.known();
    // The window that was lost in its middle is there again.
    assert!(known >= u64::from(LIMIT) * 95 / 100, "{known} of {before}");
    let after = world.watch(WINDOW);
    assert!(
        (950..=1_050).contains(&after.accuracy()),
        "{} {after:?}",
        after.accuracy()
    );
}

/// From a snapshot, or on a replica that lagged: it knows all nodes, and less than they told it.
#[test]
fn an_origin_that_came_back_as_it_was_earlier_counts_once_what_it_hears_again() {
    for seed in 1..=4 {
        let mut scene = scene();
        scene.seed = seed;
        let mut world = scene.overloaded(3);
        world.run(WINDOW + 3 * SECOND);
        let earlier = world.origins[0].cells.clone();
        world.run(3 * SECOND);
        world.origins[0].cells = earlier;
        let before = world.seen.admitted;
        let back = world.watch(4 * SECOND);
        assert!(
            (950..=1_050).contains(&back.accuracy()),
            "{} {back:?}",
            back.accuracy()
        );
        let known = world.known();
        // But for what was under way when it went back, or is now.
        let admitted = before + back.admitted;
        assert!(known.abs_diff(admitted) <= 20, "{known} of {admitted}");
        let after = world.watch(WINDOW);
        assert!(
            (950..=1_050).contains(&after.accuracy()),
            "{} {after:?}",
            after.accuracy()
        );
    }
}

#[test]
fn a_clock_two_seconds_off_changes_nothing() {
    for skew in [2, -2] {
        let mut scene = scene();
        scene.skew = vec![skew * SECOND as i64];
        let mut world = scene.overloaded(3);
        let seen = world.watch(3 * WINDOW);
        assert!(
            (950..=1_050).contains(&seen.accuracy()),
            "{} {seen:?}",
            seen.accuracy()
        );
    }
}

#[test]
fn without_the_global_store_regions_go_on_and_agree_again_when_it_is_back() {
    let mut scene = scene();
    scene.regions = 2;
    let mut world = scene.start();
    world.run_to_boundary();
    world.load(hot(), 1, 1_500, 6 * WINDOW, &[0, 1]);
    world.run(WINDOW);
    world.global_up = false;
    world.run(WINDOW);
    let alone = world.watch(WINDOW);
    // Each region alone is below the limit.
    assert!(
        (1_300..=1_550).contains(&alone.accuracy()),
        "{} {alone:?}",
        alone.accuracy()
    );
    world.global_up = true;
    world.run(WINDOW);
    let after = world.watch(WINDOW);
    assert!(
        (950..=1_050).contains(&after.accuracy()),
        "{} {after:?}",
        after.accuracy()
    );
}

/// Also where as much has changed since as was lost, and it has seen no fewer changes than each region remembers.
#[test]
fn a_global_store_that_came_back_as_it_was_earlier_keeps_no_region_from_hearing() {
    for another_server in [false, true] {
        let mut scene = scene();
        scene.regions = 2;
        let mut world = scene.start();
        world.run_to_boundary();
        world.load(hot(), 1, 1_500, 8 * WINDOW, &[0, 1]);
        world.run(WINDOW);
        let earlier = world.global.clone();
        world.run(3 * WINDOW + WINDOW / 2);
        let version = world.global.cursor.version;
        world.global = earlier;
        if another_server {
            world.global.cursor.server += 1;
            world.global.cursor.version = version;
        }
        let back = world.watch(WINDOW);
        assert!(
            (950..=1_050).contains(&back.accuracy()),
            "{} {back:?}",
            back.accuracy()
        );
        let after = world.watch(2 * WINDOW);
        assert!(
            (950..=1_050).contains(&after.accuracy()),
            "{} {after:?}",
            after.accuracy()
        );
    }
}

#[test]
fn random_identifiers_take_no_more_room_than_there_is() {
    let mut scene = scene();
    scene.room = 50;
    let mut world = scene.start();
    for number in 0..2_000u64 {
        world.load(Key::of(&number), 1, 5, WINDOW, &[0]);
    }
    world.run(WINDOW);
    for node in &world.nodes {
        assert_eq!(node.tier.slots().len(), 50);
        assert!(node.tier.slots().evicted() + node.tier.tally().overflowed > 1_000);
    }
    world.run(WINDOW);
    // What is told is what was admitted, but for the keys that shared one cell.
    let known = world.known();
    let overflowed: u64 = world
        .nodes
        .iter()
        .map(|node| node.tier.tally().overflowed)
        .sum();
    assert!(known <= world.seen.admitted && known + overflowed >= world.seen.admitted);
}
