//! Seeded randomness, one stream for each use, so that what one part draws moves nothing in another.

use fastrand::Rng;

/// What randomness is drawn for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Arrivals = 1,
    Bursts,
    Nodes,
    Service,
    Network,
    Store,
    Clients,
    Identities,
}

/// The generator of `stream` in the run of `seed`.
pub(crate) fn stream(seed: u64, stream: Stream) -> Rng {
    Rng::with_seed(scramble(seed, stream as u64))
}

/// The generator of request number `number`: its service is the same, whoever admits it and when.
pub(crate) fn of_request(seed: u64, number: u64) -> Rng {
    Rng::with_seed(scramble(scramble(seed, Stream::Service as u64), number))
}

/// The finalizer of splitmix64 over both: neighbouring seeds give unrelated streams.
const fn scramble(seed: u64, salt: u64) -> u64 {
    let mut z = seed
        .wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Exponential with mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// Standard normal, after Box and Muller.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

/// How service times are spread around their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Service {
    Deterministic,
    Erlang2,
    Exponential,
    /// With this sigma of the logarithm.
    LogNormal(f64),
    /// With this tail index, above 1.
    Pareto(f64),
}

impl Service {
    /// What no service time is below, in means.
    pub(crate) fn least(self) -> f64 {
        match self {
            Self::Deterministic => 1.0,
            Self::Pareto(tail) => (tail - 1.0) / tail,
            Self::Erlang2 | Self::Exponential | Self::LogNormal(_) => 0.0,
        }
    }

    /// A service time, in means.
    pub(crate) fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Deterministic => 1.0,
            Self::Erlang2 => f64::midpoint(exponential(rng), exponential(rng)),
            Self::Exponential => exponential(rng),
            Self::LogNormal(sigma) => (sigma * normal(rng) - sigma * sigma / 2.0).exp(),
            Self::Pareto(tail) => (tail - 1.0) / tail * (1.0 - rng.f64()).powf(-1.0 / tail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_time_has_the_mean_one_and_its_least() {
        for service in [
            Service::Deterministic,
            Service::Erlang2,
            Service::Exponential,
            Service::LogNormal(1.0),
            Service::Pareto(2.2),
        ] {
            let mut rng = stream(7, Stream::Service);
            let draws = 400_000;
            let (sum, least) = (0..draws)
                .map(|_| service.draw(&mut rng))
                .fold((0.0, f64::INFINITY), |(sum, least), draw| {
                    (sum + draw, draw.min(least))
                });
            let mean = sum / f64::from(draws);
            // What is drawn comes close to it, and not below.
            let above = least - service.least();
            assert!((0.0..0.02).contains(&above), "{service:?} has {least}");
            assert!((mean - 1.0).abs() < 0.03, "{service:?} has mean {mean}");
        }
    }

    #[test]
    fn a_request_is_the_same_whenever_it_is_asked_for() {
        let draw = |seed, number| {
            Service::Exponential
                .draw(&mut of_request(seed, number))
                .to_bits()
        };
        assert_eq!(draw(1, 9), draw(1, 9));
        assert_ne!(draw(1, 9), draw(1, 10));
        assert_ne!(draw(1, 9), draw(2, 9));
    }
}
