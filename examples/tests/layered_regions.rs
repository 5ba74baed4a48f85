//! The example of two regions runs: six processes admit what they are asked for while that is below the limit, and the
//! limit when it is not.

use tidegate_test_support::{RedisServer, example};

#[test]
fn six_processes_of_two_regions_share_a_limit() {
    if RedisServer::start().is_none() {
        return;
    }
    let process = example("layered_regions", []);
    let numbers = |second: u32| -> Vec<u32> {
        let line = process.expect_line(&format!("{second:6}   "));
        let numbers = line.split_whitespace();
        numbers
            .map(|word| word.parse().expect("a number"))
            .collect()
    };
    let first = numbers(1);
    let [1, eu @ .., all, window, _] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert_eq!(eu, [25, 25, 25, 0, 0, 0]);
    assert_eq!((*all, *window), (75, 150));
    // From second 8 on all are asked: 1500 times in ten seconds, and no region by itself as often as the limit. How soon
    // they know of each other depends on how fast this machine is, so not every second is judged.
    let mut windows = (2..35).filter_map(|second| match numbers(second).as_slice() {
        [said, .., window, _] if *said == second && second >= 18 => Some(*window),
        _ => None,
    });
    assert!(windows.any(|window| window <= 1_250));
}
