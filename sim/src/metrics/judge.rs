//! Numbers out of what was heard: settling, fairness, parts.

use super::BIN;
use crate::engine::{SECOND, seconds};

/// Bins in half a second.
pub(super) const HALF: usize = (SECOND / 2 / BIN) as usize;
/// Bins in the 5 s in which what has settled stays, on the mean; fewer where the run or the next step comes first.
const HELD: usize = 10 * HALF;
/// A cut by more than this part is timed: as much as a latency that moves may cost for a moment.
const CUT: f64 = 0.25;

/// The admitted part of (asked, admitted); a request that waits across the end of the warm-up may make it more than 1.
pub(super) fn admitted((asked, admitted): (u64, u64)) -> f64 {
    if asked == 0 {
        f64::NAN
    } else {
        admitted as f64 / asked as f64
    }
}

/// Seconds until half a second's mean, and the two after it, and the mean of the 5 s that begin with it, are within 10 %
/// of the mean of the last third, or within `slot`, the part of the capacity that one slot is: where that is more no limit
/// comes closer. Who passes through the band has not settled; a single half second may be outside of it later, as where a
/// limiter lowers its limit for a moment to look for the baseline.
pub(super) fn settled_after(ratios: &[f64], slot: f64) -> f64 {
    let end = mean(&ratios[ratios.len() - ratios.len() / 3..]);
    let near = |window: &[f64]| (mean(window) - end).abs() <= slot.max(0.1 * end);
    let settled = ratios
        .windows(3 * HALF)
        .enumerate()
        .position(|(from, bins)| {
            let held = &ratios[from..ratios.len().min(from + HELD)];
            bins.chunks(HALF).all(near) && near(held)
        });
    settled.map_or(f64::INFINITY, |bins| bins as f64 * seconds(BIN))
}

/// Of the limits before a step and after it: the deepest cut, as a part of their mean before, that lasts a second on the
/// mean; and for how many seconds more than [`CUT`] was cut. No numbers of who does not limit.
pub(super) fn cut_after(before: &[f64], after: &[f64]) -> (f64, f64) {
    let was = mean(before);
    if !was.is_finite() {
        return (f64::NAN, f64::NAN);
    }
    let seconds_of = after.windows(2 * HALF).map(mean);
    let deepest = seconds_of
        .map(|limit| 1.0 - limit / was)
        .fold(f64::NAN, f64::max);
    let cut = after.iter().filter(|limit| **limit < (1.0 - CUT) * was);
    (deepest, cut.count() as f64 * seconds(BIN))
}

/// Jain's index of what each node was served, divided by its max-min share of all that was served.
pub(super) fn jain(asked: &[f64], served: &[f64]) -> Option<f64> {
    let total: f64 = served.iter().sum();
    let level = water_level(asked, total);
    let parts: Vec<f64> = asked
        .iter()
        .zip(served)
        .filter(|(asked, _)| **asked > 0.0)
        .map(|(asked, served)| served / asked.min(level))
        .collect();
    let (sum, squares) = parts.iter().fold((0.0, 0.0), |(sum, squares), part| {
        (sum + part, squares + part * part)
    });
    (squares > 0.0).then(|| sum * sum / (parts.len() as f64 * squares))
}

/// The level at which the demands, cut to it, add up to `total`.
pub(crate) fn water_level(demands: &[f64], total: f64) -> f64 {
    let mut sorted: Vec<f64> = demands.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut left = total;
    for (index, demand) in sorted.iter().enumerate() {
        let level = left / (sorted.len() - index) as f64;
        if *demand >= level {
            return level;
        }
        left -= demand;
    }
    f64::INFINITY
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn water_is_filled_from_below() {
        // 5 + 21 + 24 leaves 50 for two.
        assert_eq!(water_level(&[27.0, 5.0, 100.0, 24.0, 21.0], 100.0), 25.0);
        assert_eq!(water_level(&[1.0, 2.0], 9.0), f64::INFINITY);
    }

    #[test]
    fn serving_by_max_min_is_fair_and_by_demand_is_not() {
        assert_eq!(jain(&[90.0, 10.0], &[40.0, 10.0]), Some(1.0));
        assert!(jain(&[90.0, 10.0], &[45.0, 5.0]).unwrap() < 0.95);
        assert_eq!(jain(&[0.0, 0.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn a_cut_is_of_the_limit_before_and_is_timed_below_three_quarters_of_it() {
        let before = [120.0; 50];
        let mut after = vec![120.0; 10];
        after.extend([84.0; 5]);
        after.extend([96.0; 5]);
        after.extend([130.0; 30]);
        let (deepest, time) = cut_after(&before, &after);
        assert!((deepest - 0.25).abs() < 1e-9, "{deepest}");
        assert_eq!(time, 0.5);
        // Who does not limit cuts nothing, and who only grows less than nothing.
        let (deepest, time) = cut_after(&[f64::INFINITY], &[f64::INFINITY; 20]);
        assert!(deepest.is_nan() && time.is_nan());
        assert_eq!(cut_after(&[100.0], &[150.0; 20]), (-0.5, 0.0));
    }

    #[test]
    fn it_has_settled_with_three_half_seconds_in_the_band_and_five_seconds_on_the_mean() {
        let mut ratios = vec![2.0; 20];
        ratios.extend([1.0; 5]);
        ratios.extend([2.0; 5]);
        ratios.extend([1.0; 60]);
        assert_eq!(settled_after(&ratios, 0.05), 3.0);
        let never: Vec<f64> = (0..90)
            .map(|n| if n / 20 % 2 == 0 { 1.0 } else { 2.0 })
            .collect();
        assert_eq!(settled_after(&never, 0.05), f64::INFINITY);
        // Who passes through the band on its way down has not settled, nor who is back above it soon.
        let passing = [[2.0; 20], [1.05; 20], [0.3; 20], [1.0; 20], [1.0; 20]].concat();
        assert_eq!(settled_after(&passing, 0.05), 6.0);
        let back = [[2.0; 20], [1.0; 20], [1.5; 20], [1.0; 20], [1.0; 20]].concat();
        assert_eq!(settled_after(&back, 0.05), 6.0);
        // A dip of half a second is none.
        let mut dip = [[2.0; 20], [1.0; 20], [1.0; 20], [1.0; 20], [1.0; 20]].concat();
        dip[40..45].fill(0.7);
        assert_eq!(settled_after(&dip, 0.05), 2.0);
        // Of four slots one is a quarter.
        let mut few = vec![1.5; 20];
        few.extend([[1.2; 10], [0.8; 10]].concat().repeat(4));
        assert_eq!(settled_after(&few, 0.25), 2.0);
        assert_eq!(settled_after(&few, 0.05), f64::INFINITY);
    }
}
