//! A number that changes with time: piecewise constant, with linear ramps where they are asked for.

use crate::engine::{Nanos, nanos, seconds};

/// From `at` on the value moves linearly to `value` within `ramp`, at once if that is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) at: Nanos,
    pub(crate) value: f64,
    pub(crate) ramp: Nanos,
}

/// A number over time. The first point is at zero.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile(Vec<Point>);

impl Profile {
    pub(crate) fn constant(value: f64) -> Self {
        Self(vec![Point {
            at: 0,
            value,
            ramp: 0,
        }])
    }

    /// `points` as (seconds, value, seconds of ramp), all before `end`. Says what is wrong with them.
    pub(crate) fn new(points: &[(f64, f64, f64)], end: Nanos) -> Result<Self, String> {
        if points.first().is_none_or(|first| first.0 != 0.0) {
            return Err("the first point must be at 0".to_owned());
        }
        if points[0].2 != 0.0 {
            return Err("the first point has nothing to ramp from".to_owned());
        }
        for (at, value, ramp) in points {
            if ![*at, *value, *ramp]
                .iter()
                .all(|number| number.is_finite() && *number >= 0.0)
            {
                return Err("times and values are finite and not negative".to_owned());
            }
            if nanos(*at) >= end {
                return Err(format!("the point at {at} is not within the duration"));
            }
        }
        for pair in points.windows(2) {
            if pair[0].0 + pair[0].2 > pair[1].0 || pair[0].0 >= pair[1].0 {
                return Err(format!(
                    "the point at {} begins before the one at {} is reached",
                    pair[1].0, pair[0].0
                ));
            }
        }
        let point = |(at, value, ramp): &(f64, f64, f64)| Point {
            at: nanos(*at),
            value: *value,
            ramp: nanos(*ramp),
        };
        Ok(Self(points.iter().map(point).collect()))
    }

    pub(crate) fn at(&self, now: Nanos) -> f64 {
        let after = self.0.partition_point(|point| point.at <= now);
        let Some(index) = after.checked_sub(1) else {
            return self.0[0].value;
        };
        let point = self.0[index];
        let into = now - point.at;
        if into >= point.ramp || index == 0 {
            return point.value;
        }
        let from = self.0[index - 1].value;
        from + (point.value - from) * into as f64 / point.ramp as f64
    }

    pub(crate) fn first(&self) -> f64 {
        self.0[0].value
    }

    pub(crate) fn greatest(&self) -> f64 {
        self.0.iter().map(|point| point.value).fold(0.0, f64::max)
    }

    pub(crate) fn least(&self) -> f64 {
        let values = self.0.iter().map(|point| point.value);
        values.fold(f64::INFINITY, f64::min)
    }

    /// The sum of it over time until `end`, in values times seconds.
    pub(crate) fn integral(&self, end: Nanos) -> f64 {
        let ends = self.0.iter().skip(1).map(|point| point.at);
        let spans = self.0.iter().zip(ends.chain([end]));
        spans
            .map(|(point, until)| {
                let reached = (point.at + point.ramp).clamp(point.at, until);
                let moving = f64::midpoint(self.at(point.at), self.at(reached));
                moving * seconds(reached - point.at) + point.value * seconds(until - reached)
            })
            .sum()
    }

    /// When the value begins to be another.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Nanos> {
        self.0
            .windows(2)
            .filter(|pair| pair[0].value != pair[1].value)
            .map(|pair| pair[1].at)
    }

    /// When the value must be read again until `end`: at every change, and every `step` along a ramp.
    pub(crate) fn readings(&self, step: Nanos, end: Nanos) -> Vec<Nanos> {
        let mut readings = Vec::new();
        for point in &self.0[1..] {
            let ramp = point.ramp.min(end.saturating_sub(point.at));
            readings.extend((0..ramp.div_ceil(step)).map(|n| point.at + n * step));
            readings.push(point.at + ramp);
        }
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    #[test]
    fn steps_and_ramps_are_read_as_written() {
        let profile = Profile::new(
            &[(0.0, 100.0, 0.0), (10.0, 50.0, 0.0), (20.0, 100.0, 10.0)],
            100 * SECOND,
        )
        .unwrap();
        for (at, value) in [
            (0, 100.0),
            (9, 100.0),
            (10, 50.0),
            (20, 50.0),
            (25, 75.0),
            (30, 100.0),
            (99, 100.0),
        ] {
            assert_eq!(profile.at(at * SECOND), value, "at {at} s");
        }
        assert_eq!(
            profile.changes().collect::<Vec<_>>(),
            [10 * SECOND, 20 * SECOND]
        );
        let readings = profile.readings(5 * SECOND, 100 * SECOND);
        assert_eq!(readings, [10, 20, 25, 30].map(|at| at * SECOND));
        // 10 s at 100, 10 at 50, 10 between, and the rest at 100.
        assert_eq!(profile.integral(100 * SECOND), 9250.0);
        assert_eq!(profile.integral(22 * SECOND), 1000.0 + 500.0 + 2.0 * 55.0);
    }

    #[test]
    fn a_ramp_is_read_until_the_end_however_long_it_is() {
        for ramp in [1e9, 1e10, 1e300] {
            let profile = Profile::new(&[(0.0, 1.0, 0.0), (10.0, 2.0, ramp)], 20 * SECOND).unwrap();
            let readings = profile.readings(5 * SECOND, 20 * SECOND);
            assert_eq!(readings, [10, 15, 20].map(|at| at * SECOND));
        }
    }

    #[test]
    fn points_out_of_order_are_refused() {
        let is_refused = |points: &[_]| Profile::new(points, 9 * SECOND).is_err();
        assert!(is_refused(&[]));
        assert!(is_refused(&[(1.0, 2.0, 0.0)]));
        assert!(is_refused(&[
            (0.0, 2.0, 0.0),
            (5.0, 3.0, 4.0),
            (8.0, 1.0, 0.0)
        ]));
        assert!(is_refused(&[(0.0, f64::NAN, 0.0)]));
        assert!(is_refused(&[(0.0, 2.0, 1.0), (5.0, 3.0, 0.0)]));
        assert!(is_refused(&[(0.0, 2.0, 0.0), (9.0, 3.0, 0.0)]));
    }
}
