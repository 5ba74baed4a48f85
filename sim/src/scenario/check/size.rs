//! What a run may cost: its requests, and the users of a closed loop.

use super::{Checked, wrong};
use crate::engine::MS;
use crate::scenario::{Scenario, file};

/// Of a closed loop.
const MOST_USERS: u32 = 1_000_000;
/// That are expected to ask in one run.
const MOST_REQUESTS: f64 = 1e9;

/// Whether `scenario`, which says what `file` does, ends within hours and has room.
pub(super) fn size(scenario: &Scenario, file: &file::File) -> Checked<()> {
    if let Some(think) = &file.load.think_ms
        && scenario.users(scenario.load.level.greatest()) > MOST_USERS
    {
        let message = format!("that makes more than {MOST_USERS} users");
        return wrong(think, message);
    }
    let requests = requests(scenario);
    if requests > MOST_REQUESTS {
        let part = MOST_REQUESTS / requests;
        let instead = match file.load.level.get_ref().0[..] {
            [(_, level, _)] => format!("write {} at most", rounded_down(level * part)),
            _ => format!("multiply its values by {} at most", rounded_down(part)),
        };
        let message = format!(
            "that makes {requests:.1e} requests in a run, of which there can be {MOST_REQUESTS:e}: {instead}, or let it end \
             sooner"
        );
        return wrong(&file.load.level, message);
    }
    Ok(())
}

/// How many requests are expected to ask in one run, at the most.
fn requests(scenario: &Scenario) -> f64 {
    let load = &scenario.load;
    let mut requests = load.level.integral(scenario.duration) * scenario.unit();
    if let Some(bursts) = load.bursts {
        let (on, off) = (bursts.on as f64, bursts.off as f64);
        requests *= (on * bursts.factor + off) / (on + off);
    }
    if let Some(think) = load.think {
        // Who is refused at once is back sooner than who is answered.
        let (answered, refused) = (scenario.backend.mean_latency(0), MS as f64);
        let think = think as f64;
        requests *= ((think + answered) / (think + refused)).max(1.0);
    }
    if let Some(retries) = load.retries {
        requests *= 1.0 + retries.budget.min(f64::from(retries.attempts));
    }
    requests
}

/// To three digits, as TOML reads it.
fn rounded_down(value: f64) -> String {
    let last = 10_f64.powf(value.log10().floor() - 2.0);
    format!("{:.2e}", (value / last).floor() * last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(level: &str, more: &str) -> Result<Scenario, String> {
        let text = format!(
            "duration = 100\n[backend]\ncapacity = 10\nlatency_ms = 10\n[load]\nlevel = {level}\n{more}\n"
        );
        Scenario::parse("test", &text)
    }

    #[test]
    fn requests_are_counted_with_bursts_retries_and_users_who_are_refused() {
        let bursts = "bursts = { on = 1, off = 3, factor = 5 }";
        for (level, more, expected) in [
            ("2", "", 200_000.0),
            (
                "[{ at = 0, value = 2 }, { at = 50, value = 4 }]",
                "",
                300_000.0,
            ),
            ("2", bursts, 400_000.0),
            (
                "2",
                "retries = { attempts = 3, backoff_ms = 5, budget = 0.5 }",
                300_000.0,
            ),
            ("2", "retries = { attempts = 3, backoff_ms = 5 }", 800_000.0),
            // Twenty users who are back after a millisecond, not after ten.
            ("2", "think_ms = 0", 2_000_000.0),
            ("2", "think_ms = 999", 201_800.0),
        ] {
            let found = requests(&of(level, more).expect(level));
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{found}: {level}, {more}"
            );
        }
    }

    #[test]
    fn more_requests_than_a_run_can_have_are_refused_with_what_to_write() {
        let large = |level: &str| {
            let text = format!(
                "duration = 100\n[backend]\ncapacity = 1e6\nlatency_ms = 0.001\n[load]\nlevel = {level}\n"
            );
            Scenario::parse("test", &text)
        };
        for (level, instead) in [
            (
                "1e4",
                "1.0e18 requests in a run, of which there can be 1e9: write 1.00e-5 at most",
            ),
            ("2e-5", "write 1.00e-5 at most"),
            (
                "[{ at = 0, value = 0 }, { at = 50, value = 1 }]",
                "multiply its values by 2.00e-5 at most",
            ),
        ] {
            let refused = large(level).expect_err(level);
            assert!(
                refused.starts_with("line 6: that makes") && refused.contains(instead),
                "{refused}"
            );
        }
        large("1e-5").expect("what is written instead");
        assert_eq!(rounded_down(0.123_999), "1.23e-1");
    }
}
