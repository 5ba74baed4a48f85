//! The example of two regions runs: six processes admit what they are asked for while that is below the limit.

use tidegate_test_support::{RedisServer, example};

#[test]
fn six_processes_of_two_regions_share_a_limit() {
    if RedisServer::start().is_none() {
        return;
    }
    let process = example("layered_regions", []);
    let line = process.expect_line("     1   ");
    let numbers: Vec<u32> = line
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let [second, eu @ .., all, window, left] = numbers.as_slice() else {
        panic!("{line}");
    };
    assert_eq!((*second, eu.len()), (1, 6));
    assert_eq!(eu, [25, 25, 25, 0, 0, 0]);
    assert_eq!((*all, *window), (75, 150));
    assert!(*left <= 1_000, "{line}");
}
