//! The example of two regions runs: six processes admit what they are asked for while that is below the limit, and the
//! limit when it is not.

use tidegate_test_support::{PATIENCE, RedisServer, example};

#[test]
fn six_processes_of_two_regions_share_a_limit() {
    if RedisServer::start().is_none() {
        return;
    }
    let mut process = example("layered_regions", []);
    let ended = process.wait(3 * PATIENCE).expect("it ends by itself");
    let text = process.output().text();
    assert!(ended.success(), "{text}");
    // Second, what six processes admitted in it, their sum, that of ten seconds, and what is left.
    let row = |line: &str| -> Option<[u32; 10]> {
        let numbers: Result<Vec<u32>, _> = line.split_whitespace().map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    };
    let rows: Vec<[u32; 10]> = text.lines().filter_map(row).collect();
    assert_eq!(rows.len(), 35, "{text}");
    assert_eq!(rows[1][..9], [1, 25, 25, 25, 0, 0, 0, 75, 150]);
    // From second 8 on all are asked: 1500 times in ten seconds, and no region by itself as often as the limit. Ten seconds
    // later they know of each other. How soon they hear of more depends on how fast this machine is, and each second of a
    // stall is one of ten windows.
    let mut windows: Vec<u32> = rows[18..].iter().map(|row| row[8]).collect();
    windows.sort_unstable();
    assert!(windows[windows.len() / 2] <= 1_050, "{text}");
    assert!(windows.iter().all(|window| *window <= 1_250), "{text}");
}
