//! Scenarios that nobody wrote: drawn from most of the format, so that nothing is tuned to the files that are there.

use crate::random::of_request;
use crate::scenario::Scenario;
use fastrand::Rng;
use std::fmt::Write as _;

/// The drawn scenario of this number.
pub(crate) fn scenario(number: u64) -> Scenario {
    Scenario::parse(&format!("drawn-{number}"), &text(number))
        .expect("what is drawn is within bounds, as a test holds")
}

/// Its text, as it could stand in a file.
pub(crate) fn text(number: u64) -> String {
    let mut draw = Draw(of_request(0, number));
    let mut text = "duration = 60\nwarmup = 15\nseeds = [1]\n[backend]\n".to_owned();
    let capacity = draw.log(8.0, 400.0).round();
    draw.over(&mut text, "capacity", capacity, 0.4, (0.5, 2.0));
    let latency = draw.log(10.0, 100.0).round();
    draw.over(&mut text, "latency_ms", latency, 0.15, (1.0, 2.0));
    let model = draw.one_of(&[
        "\"fifo\"",
        "\"fifo\"",
        "\"fifo\"",
        "\"sharing\"",
        "{ linear = 1.5 }",
        "{ exponential = 1 }",
        "{ usl = { contention = 0.3, coherency = 0.3 } }",
    ]);
    let _ = writeln!(text, "model = {model}");
    let service = draw.one_of(&[
        "\"deterministic\"",
        "\"erlang-2\"",
        "\"exponential\"",
        "{ log-normal = 0.8 }",
        "{ pareto = 2.2 }",
    ]);
    let _ = writeln!(text, "service = {service}");
    if draw.chance(0.1) {
        let slow = (latency * draw.log(2.0, 8.0)).round();
        let _ = writeln!(text, "second_class = {{ latency_ms = {slow}, part = 0.1 }}");
    }
    if draw.chance(0.1) {
        let _ = writeln!(text, "queue = {}", draw.log(5.0, 50.0).round());
    }
    if draw.chance(0.1) {
        text.push_str("stalls = { every = 10, length = 0.2 }\n");
    }
    if draw.chance(0.1) {
        text.push_str(
            "tenant = [{ at = 0, value = 0 }, { at = 25, value = 0.3 }, { at = 45, value = 0 }]\n",
        );
    }

    let most = (capacity / 4.0).clamp(1.0, 64.0);
    let nodes = draw.log(1.0, most).round().max(1.0);
    let _ = writeln!(text, "[nodes]\ncount = {nodes}");
    if draw.chance(0.2) {
        text.push_str(match draw.0.u32(..4) {
            0 => "events = [{ at = 20, crash = [0] }, { at = 24, restart = [0] }]\n",
            1 => "events = [{ at = 20, join = 1 }, { at = 35, join = 2 }]\n",
            2 if nodes > 1.0 => "events = [{ at = 25, leave = [0] }]\n",
            _ => "events = [{ at = 20, join = 1 }, { at = 30, crash = [0] }]\n",
        });
    }

    text.push_str("[load]\n");
    let level = draw.one_of(&["0.5", "0.9", "1.2", "2", "2", "3", "5", "10"]);
    let _ = match draw.0.u32(..6) {
        0 => writeln!(
            text,
            "level = [{{ at = 0, value = 0.4 }}, {{ at = 25, value = {level} }}]"
        ),
        1 => writeln!(
            text,
            "level = [{{ at = 0, value = {level} }}, {{ at = 30, value = 0.5, ramp = 20 }}]"
        ),
        _ => writeln!(text, "level = {level}"),
    };
    let spread = draw.one_of(&[
        "\"equal\"",
        "\"equal\"",
        "{ skew = { part = 0.9, of = 0.1 } }",
        "{ zipf = 1.1 }",
        "{ hot = { part = 0.6, every = 5 } }",
    ]);
    let _ = writeln!(text, "spread = {spread}");
    match draw.0.u32(..8) {
        0 => text.push_str("bursts = { on = 1, off = 6, factor = 5 }\n"),
        1 => text.push_str("wave = { period = 40, depth = 0.6 }\n"),
        2 => text.push_str("think_ms = 150\n"),
        _ => {}
    }
    if draw.chance(0.2) {
        let _ = writeln!(text, "timeout_ms = {}", latency * 10.0);
    }
    if draw.chance(0.15) {
        text.push_str("retries = { attempts = 2, backoff_ms = 50, budget = 0.2 }\n");
    }

    text.push_str("[network]\n");
    if draw.chance(0.5) {
        let _ = writeln!(
            text,
            "backend_ms = [0.5, {:.1}]",
            draw.log(0.6, latency / 2.0)
        );
    }
    let _ = writeln!(text, "store_ms = {:.1}", draw.log(0.5, 20.0));
    if draw.chance(0.5) {
        text.push_str("delay = \"exponential\"\n");
    }
    if draw.chance(0.2) {
        text.push_str("loss = 0.03\nduplication = 0.03\nlate = { part = 0.01, ms = 300 }\n");
    }
    if draw.chance(0.1) {
        text.push_str("partitions = [{ at = 25, length = 4, nodes = [0] }]\n");
    }
    if draw.chance(0.05) {
        text.push_str("store_events = [{ at = 25, change = \"flush\" }]\n");
    }
    text.push_str(
        "clock_offset_ms = 5000\nclock_drift_ppm = 200\n[expect]\nviolations = { max = 0 }\n",
    );
    text
}

struct Draw(Rng);

impl Draw {
    fn chance(&mut self, part: f64) -> bool {
        self.0.f64() < part
    }

    /// As likely between 10 and 20 as between 100 and 200.
    fn log(&mut self, from: f64, to: f64) -> f64 {
        from * (to / from).powf(self.0.f64())
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.0.usize(..choices.len())]
    }

    /// A value that with a chance of `part` is multiplied half way, and perhaps comes back.
    fn over(&mut self, text: &mut String, field: &str, value: f64, part: f64, factor: (f64, f64)) {
        if !self.chance(part) {
            let _ = writeln!(text, "{field} = {value}");
            return;
        }
        let other = (value * self.log(factor.0, factor.1)).round().max(1.0);
        let ramp = if self.chance(0.3) { 10 } else { 0 };
        let back = if self.chance(0.5) {
            format!(", {{ at = 45, value = {value} }}")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "{field} = [{{ at = 0, value = {value} }}, {{ at = 28, value = {other}, ramp = {ramp} }}{back}]"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_drawn_is_a_scenario() {
        for number in 0..2000 {
            let scenario = Scenario::parse("drawn", &text(number));
            assert!(scenario.is_ok(), "{}\n{scenario:?}", text(number));
        }
        assert_ne!(text(1), text(2));
    }
}
