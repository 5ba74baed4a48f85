//! Small worlds whose numbers can be told by hand, and nodes in trouble.

use super::*;

fn case(text: &str) -> Case {
    let scenario = Scenario::parse("test", text).unwrap();
    run(vec![scenario], || {}).pop().unwrap()
}

const HOSTILE: &str = r#"
    duration = 20
    warmup = 5
    seeds = [1, 2, 3]
    [backend]
    capacity = 20
    latency_ms = 20
    [nodes]
    count = 4
    events = [
        { at = 6, join = 2 },
        { at = 8, crash = [0] },
        { at = 9, restart = [0] },
        { at = 10, leave = [1] },
    ]
    [load]
    level = 2
    [network]
    backend_ms = [0.5, 5]
    store_ms = 3
    delay = "exponential"
    loss = 0.05
    duplication = 0.1
    late = { part = 0.05, ms = 300 }
    clock_offset_ms = 1000
    clock_drift_ppm = 20000
    partitions = [{ at = 12, length = 3, nodes = [2] }]
    store_events = [{ at = 14, change = "restart" }, { at = 17, change = "flush" }]
    [limiter]
    name = "leased"
"#;

#[test]
fn the_same_seed_gives_the_same_run() {
    let fingerprint = |case: &Case| {
        let values = |run: &Run| Metric::ALL.map(|metric| run.values.get(metric).to_bits());
        (
            case.events,
            case.runs.iter().map(values).collect::<Vec<_>>(),
        )
    };
    let first = fingerprint(&case(HOSTILE));
    assert_eq!(first, fingerprint(&case(HOSTILE)));
    assert_ne!(first.1[0], first.1[1]);
}

#[test]
fn a_fleet_in_trouble_keeps_its_promises_and_goes_on() {
    let case = case(HOSTILE);
    for run in &case.runs {
        assert_eq!(run.values.get(Metric::Violations), 0.0);
    }
    assert!(case.mean().get(Metric::Goodput) > 0.5);
}

/// Requests take 200 ms, and the successor is there after 50: the node that leaves drains beside it.
#[test]
fn a_node_that_is_replaced_drains_beside_its_successor() {
    for limiter in ["leased", "tidegate-queue", "fixed", "aimd", "hard-shares"] {
        let text = format!(
            "duration = 15\nwarmup = 2\nseeds = [1]\n[backend]\ncapacity = 20\nlatency_ms = 200\n\
             [nodes]\ncount = 2\nevents = [{{ at = 5, leave = [1] }}, {{ at = 5.05, restart = [1] }}, \
             {{ at = 8, leave = [0] }}, {{ at = 8.05, restart = [0] }}, {{ at = 8.1, crash = [0] }}]\n\
             [load]\nlevel = 2\n[limiter]\nname = \"{limiter}\"\n"
        );
        let values = case(&text).mean();
        assert_eq!(values.get(Metric::Violations), 0.0, "{limiter}");
        // `aimd` keeps a queue until clients time out, and here none does.
        if limiter != "aimd" {
            within(&values, Metric::InFlightMax, 0.5, 2.0);
            within(&values, Metric::Goodput, 0.4, 1.1);
        }
    }
}

#[test]
fn two_scenarios_of_one_name_are_each_measured_by_their_own_oracle() {
    let named = |level: &str| {
        let text = format!(
            "duration = 10\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n[load]\nlevel = {level}\n\
             [limiter]\nname = \"fixed\"\n"
        );
        Scenario::parse("same", &text).unwrap()
    };
    for case in run(vec![named("0.4"), named("0.9")], || {}) {
        within(&case.mean(), Metric::Goodput, 0.9, 1.01);
    }
}

#[test]
fn what_was_expected_and_did_not_happen_is_told() {
    let text = "
        duration = 5
        [backend]
        capacity = 10
        latency_ms = 10
        [load]
        level = 0.1
        [limiter]
        name = \"fixed\"
        [expect]
        false_rejects = { max = 0.001 }
        goodput = { min = 1.5 }
        settle = { max = 1 }
    ";
    let told = case(text).disappointments();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("goodput is") && told[1].starts_with("settle is NaN"));
}

/// The clients are gone before any answer, whoever admits them: that nothing is served says nothing of the limiter.
#[test]
fn where_the_oracle_serves_nothing_there_is_no_goodput_and_none_is_as_expected() {
    for limiter in ["none", "tidegate", "omniscient"] {
        let text = format!(
            "duration = 5\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\nservice = \"deterministic\"\n\
             [load]\nlevel = 0.5\ntimeout_ms = 10\n[limiter]\nname = \"{limiter}\"\n[expect]\ngoodput = {{ min = 0 }}\n"
        );
        let case = case(&text);
        within(&case.mean(), Metric::Rate, 0.0, 0.0);
        let told = case.disappointments();
        assert!(
            told.len() == 1 && told[0].starts_with("goodput is NaN"),
            "{told:?}"
        );
    }
}

/// One seed of `more` behind a backend of 10 that takes 20 ms.
fn small(level: &str, backend: &str, load: &str, limiter: &str) -> Values {
    let text = format!(
        "duration = 40\nwarmup = 5\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n{backend}\n\
         [load]\nlevel = {level}\n{load}\n[limiter]\nname = \"{limiter}\"\n"
    );
    case(&text).mean()
}

#[track_caller]
fn within(values: &Values, metric: Metric, min: f64, max: f64) {
    let value = values.get(metric);
    assert!(
        (min..=max).contains(&value),
        "{} is {value}, not between {min} and {max}",
        metric.name()
    );
}

#[test]
fn users_in_a_closed_loop_wait_for_their_answers() {
    // As many as offer twice the capacity when nobody waits: 2 * 500 * .12 = 120. The backend answers 500 a second,
    // so 50 think and 70 wait, for 140 ms, which is too late for most.
    let values = small("2", "", "think_ms = 100", "none");
    within(&values, Metric::Rate, 0.0, 60.0);
    within(&values, Metric::InFlightMean, 6.5, 7.5);
    let values = small("0.5", "", "think_ms = 100", "none");
    within(&values, Metric::Rate, 225.0, 260.0);
}

/// The one node is away from 3 s to 6 s: of what is measured, a tenth.
#[test]
fn whoever_asks_while_all_nodes_are_down_is_not_there_for_good() {
    for load in [
        "think_ms = 100",
        "spread = { skew = { part = 0.9, of = 0.1 } }",
        "retries = { attempts = 3, backoff_ms = 50 }",
        "think_ms = 10\nretries = { attempts = 3, backoff_ms = 500 }",
    ] {
        let text = format!(
            "duration = 32\nwarmup = 2\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n[nodes]\n\
             events = [{{ at = 3, crash = [0] }}, {{ at = 6, restart = [0] }}]\n\
             [load]\nlevel = 0.5\n{load}\n[limiter]\nname = \"none\"\n"
        );
        within(&case(&text).mean(), Metric::Rate, 205.0, 250.0);
    }
}

#[test]
fn what_clients_give_up_is_done_all_the_same() {
    let values = small("2", "", "timeout_ms = 40", "none");
    // Nobody is served in time behind a queue that grows all the while.
    within(&values, Metric::Rate, 0.0, 1.0);
    within(&values, Metric::InFlightMean, 500.0, 2000.0);
}

/// The backend takes 20 ms and gets twice what it can do: soon nobody is served within 40, and whoever is admitted has
/// waited for as long.
#[test]
fn what_clients_give_up_took_as_long_as_they_waited() {
    let deterministic = "service = \"deterministic\"";
    let values = small("2", deterministic, "timeout_ms = 40", "none");
    within(&values, Metric::P50, 1.99, 2.01);
    within(&values, Metric::P99, 1.99, 2.01);
    // Where there is no load they would have hung up as soon.
    let values = small("0.1", "", "timeout_ms = 30", "none");
    within(&values, Metric::P99, 0.99, 1.01);
}

/// A node joins another; the drain is the 99th percentile of what requests take, and seven round trips of 3 ms.
#[test]
fn how_soon_a_node_has_its_share_is_told_beside_what_requests_take() {
    let ramp = |service: &str| {
        let text = format!(
            "duration = 20\nwarmup = 5\nseeds = [1]\n[backend]\ncapacity = 20\nlatency_ms = 29\nservice = {service}\n\
             [nodes]\ncount = 1\nevents = [{{ at = 8, join = 1 }}]\n[load]\nlevel = 2\n[network]\nstore_ms = 3\n"
        );
        let values = case(&text).mean();
        (values.get(Metric::Ramp), values.get(Metric::RampPart))
    };
    for (service, drain) in [("\"deterministic\"", 29.0), ("\"exponential\"", 133.5)] {
        let (ramp, part) = ramp(service);
        let expected = ramp / (drain + 21.0);
        assert!((part / expected - 1.0).abs() < 0.05, "{ramp} is {part}");
    }
}

#[test]
fn retries_end_with_their_attempts_and_their_budget() {
    let refused = |load: &str| {
        let text = format!(
            "duration = 40\nwarmup = 5\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n\
             service = \"deterministic\"\n[load]\nlevel = 1\n{load}\n[limiter]\nname = \"fixed\"\ntold = 1\n"
        );
        case(&text).mean().get(Metric::Rejects)
    };
    let close =
        |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.01, "{found} is not {wanted}");
    let once = refused("");
    let again = refused("retries = { attempts = 1, backoff_ms = 50 }");
    let budget = refused("retries = { attempts = 1, backoff_ms = 50, budget = 0.2 }");
    // Erlang B for one server: of so many a second, this part gets the slot of 20 ms.
    let slot = |rate: f64| 1.0 / (1.0 + rate * 0.02);
    close(once, 1.0 - slot(500.0));
    // Each of 500 that is refused asks once more: r = 500 (1 + once).
    close(again, 1.0 - slot(500.0 * (1.0 + again)));
    close(budget, 1.0 - slot(600.0));
}

#[test]
fn a_stall_shows_in_the_tail() {
    let stalls = "stalls = { every = 5, length = 0.5 }\nservice = \"deterministic\"";
    let calm = small("0.5", "service = \"deterministic\"", "", "omniscient");
    let stalled = small("0.5", stalls, "", "omniscient");
    within(&calm, Metric::P999, 0.99, 1.01);
    within(&stalled, Metric::P999, 15.0, 27.0);
    within(&stalled, Metric::P50, 0.99, 1.01);
}

#[test]
fn a_full_queue_is_refused_by_the_backend_and_counts_as_overload() {
    let values = small("2", "queue = 0", "", "none");
    within(&values, Metric::InFlightMax, 0.9, 1.6);
    // Erlang B for 20 Erlangs on 10 servers: 46 % of 1000 a second are served.
    within(&values, Metric::Rate, 440.0, 485.0);
}

/// A backend that serves nobody any more still has in flight what it was sent.
#[test]
fn a_capacity_of_nothing_hides_no_overload() {
    let dead = "duration = 20\nwarmup = 1\nseeds = [1]\n[backend]\nlatency_ms = 20\n\
                capacity = [{ at = 0, value = 10 }, { at = 5, value = 0 }]\n[load]\nlevel = 0.5\n[limiter]\nname = \"none\"\n";
    let values = case(dead).mean();
    within(&values, Metric::InFlightMax, 1000.0, 5000.0);
    within(&values, Metric::InFlightMean, 100.0, 5000.0);
}

/// The backend takes a step more often than the steady state comes.
#[test]
fn a_steady_state_that_never_comes_has_no_maximum() {
    let text = "duration = 12\nwarmup = 4\nseeds = [1]\n[backend]\nlatency_ms = 20\n\
                capacity = [{ at = 0, value = 10 }, { at = 3, value = 5 }, { at = 6, value = 10 }, { at = 9, value = 5 }]\n[load]\nlevel = 2\n\
                [limiter]\nname = \"omniscient\"\n[expect]\nin_flight_max = { max = 9 }\n";
    let told = case(text).disappointments();
    assert!(
        told.len() == 1 && told[0].starts_with("in_flight_max is NaN"),
        "{told:?}"
    );
}
