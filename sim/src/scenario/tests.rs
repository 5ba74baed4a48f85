//! What a file may say and what it may not.

use super::*;

const GOOD: &str = "duration = 9\n[backend]\ncapacity = 5\nlatency_ms = 1\n[load]\nlevel = 1\n";

/// What is said of the good scenario with `more` at its end.
fn refused(more: &str) -> String {
    Scenario::parse("test", &format!("{GOOD}{more}")).expect_err(more)
}

#[test]
fn defaults_fill_what_is_not_said() {
    let scenario = Scenario::parse("test", GOOD).unwrap();
    assert_eq!((scenario.nodes, scenario.seeds.len()), (1, 5));
    assert_eq!(scenario.limiter.name, "tidegate");
    assert_eq!(scenario.unit(), 5000.0);
    assert_eq!(scenario.slo, 5_000_000);
}

#[test]
fn clients_wait_for_heads_and_an_slo_is_of_them() {
    let with = |head: f64| {
        GOOD.replace(
            "latency_ms = 1\n",
            &format!("latency_ms = 1\nhead = {head}\n"),
        )
    };
    let scenario = Scenario::parse("test", &with(0.2)).unwrap();
    assert_eq!((scenario.slo, scenario.backend.head), (1_000_000, 0.2));
    for head in [0.0, 1.5, f64::NAN] {
        let refused = Scenario::parse("test", &with(head)).expect_err("no such part");
        assert!(refused.to_string().contains("line 5"), "{refused}");
    }
}

#[test]
fn what_is_unknown_or_contradictory_is_refused_with_its_line() {
    for (more, line, part) in [
        ("levle = 2", "line 7", "unknown field `levle`"),
        ("[network]\nloss = 2.0", "line 8", "loss is 2, not between"),
        (
            "bursts = { on = 1, off = 1, factor = 3 }\nthink_ms = 3",
            "line 8",
            "closed loop",
        ),
        (
            "[limiter]\nname = \"magic\"",
            "line 8",
            "no limiter is called magic",
        ),
        (
            "[limiter]\nname = \"none\"\ntold = 3",
            "line 9",
            "none is not told",
        ),
        (
            "[limiter]\nsettings = { estimate = \"guess\" }",
            "line 8",
            "cannot read estimate=guess",
        ),
        (
            "[nodes]\nevents = [{ at = 3, crash = [1] }]",
            "line 8",
            "there is no node 1",
        ),
        (
            "[nodes]\nevents = [{ at = 3, restart = [0] }]",
            "line 8",
            "node 0 is up then",
        ),
        (
            "[nodes]\nevents = [{ at = 33, crash = [0] }]",
            "line 8",
            "not within the duration",
        ),
        (
            "[nodes]\nevents = [{ at = 3, join = 1, crash = [0] }]",
            "line 8",
            "say one of",
        ),
        ("[expect]\nspeed = { min = 1 }", "line 8", "no such metric"),
        (
            "[expect]\ngoodput = { min = 2, max = 1 }",
            "line 8",
            "min is above max",
        ),
    ] {
        let message = refused(more);
        assert!(
            message.contains(part),
            "{message:?} does not contain {part:?}"
        );
        assert!(message.contains(line), "{message:?} is not at {line}");
    }
}

#[test]
fn the_knee_includes_what_is_on_the_way() {
    let text = GOOD.replace(
        "[load]",
        "tenant = [{ at = 0, value = 0 }, { at = 5, value = 0.4 }]\n[load]",
    );
    let scenario =
        Scenario::parse("test", &format!("{text}[network]\nbackend_ms = [0, 2]")).unwrap();
    // 5 at the backend for 1 ms each, and as many on the way for another.
    assert_eq!(scenario.knee(0), 10.0);
    assert_eq!(scenario.knee(6_000_000_000), 6.0);
    assert_eq!(scenario.backend.steps(), [5_000_000_000]);
}

#[test]
fn a_run_that_would_keep_millions_of_bins_is_refused() {
    let with = |duration: &str| {
        let text = GOOD.replace("duration = 9\n", &format!("duration = {duration}\n"));
        Scenario::parse("test", &text.replace("level = 1\n", "level = 0.1\n"))
    };
    with("1e5").unwrap();
    let refused = with("1.1e5").expect_err("more than a day");
    assert!(
        refused.contains("line 1: duration is 110000, not between 0.1 and 100000"),
        "{refused}"
    );
}

/// Fields that fit neither the run nor one another.
#[test]
fn what_cannot_be_is_refused_with_its_line() {
    for (more, line, part) in [
        // What would have to be counted out.
        (
            "[nodes]\nevents = [{ at = 3, join = 4294967295 }]",
            "line 8",
            "10000 nodes at most",
        ),
        (
            "[nodes]\nevents = [{ at = 3, join = 0 }]",
            "line 8",
            "1 join at least",
        ),
        (
            "[nodes]\nevents = [{ at = 3, leave = [] }]",
            "line 8",
            "say which nodes",
        ),
        ("think_ms = 1e8", "line 7", "more than 1000000 users"),
        // Limits that contradict one another.
        (
            "[limiter]\ninitial = 20000",
            "line 8",
            "initial limit cannot be 20000",
        ),
        (
            "[limiter]\ninitial = 5\nsettings = { min_limit = 10 }",
            "line 8",
            "initial limit cannot be 5",
        ),
        (
            "[limiter]\ninitial = 5\nsettings = { initial_limit = 6 }",
            "line 8",
            "an initial limit too",
        ),
        (
            "[limiter]\nname = \"leased\"\ntold = 1e6\nsettings = { min_limit = 9, max_limit = 8 }",
            "line 10",
            "the limit is fixed, so that min_limit says nothing",
        ),
        (
            "[limiter]\nsettings = { min_limit = 9, max_limit = 8 }",
            "line 8",
            "limits cannot be (9, 8)",
        ),
        (
            "[limiter]\nsettings = { estimate = \"fixed:100\" }\ninitial = 50",
            "line 9",
            "the limit is fixed, and begins",
        ),
        (
            "[limiter]\nsettings = { estimate = \"fixed:100\", min_limit = 200 }",
            "line 8",
            "so that min_limit says nothing",
        ),
        (
            "[limiter]\nsettings = { estimate = \"fixed:100\", max_limit = 50 }",
            "line 8",
            "so that max_limit says nothing",
        ),
        (
            "[limiter]\nsettings = { estimate = \"fixed:100\", initial_limit = 100 }",
            "line 8",
            "so that initial_limit says nothing",
        ),
        (
            "[limiter]\nname = \"tidegate-median-equal\"\nsettings = { estimate = \"fleet\" }",
            "line 9",
            "the estimate of tidegate-median-equal is its own",
        ),
        (
            "[limiter]\nname = \"leased\"\nsettings = { estimate = \"fleet\" }",
            "line 9",
            "the estimate of leased is its own",
        ),
        // Nodes that are not there, or there twice.
        (
            "classes = { bulk = 1 }\nclasses_of = [{ nodes = [1], classes = { critical = 1 } }]",
            "line 8",
            "there is no node 1",
        ),
        (
            "classes = { bulk = 1 }\nclasses_of = [{ nodes = [0], classes = { critical = 1 } }, \
             { nodes = [0], classes = { bulk = 1 } }]",
            "line 8",
            "node 0 are there twice",
        ),
        (
            "[nodes]\nliars = [{ node = 0, factor = 2 }, { node = 0, factor = 3 }]",
            "line 8",
            "node 0 lies twice of the same",
        ),
        (
            "[nodes]\nliars = [{ node = 0, factor = 2, of = \"age\" }]",
            "line 8",
            "unknown variant `age`",
        ),
        (
            "[network]\ndetours = [{ at = 1, length = 1, nodes = [], ms = 3 }]",
            "line 8",
            "say which nodes",
        ),
        (
            "[network]\ndistances = [{ nodes = [0], ms = 1 }, { nodes = [0], ms = 2 }]",
            "line 8",
            "node 0 is there twice",
        ),
        (
            "[network]\npartitions = [{ at = 1, length = 1, nodes = [0, 0] }]",
            "line 8",
            "node 0 is there twice",
        ),
        (
            "[network]\npartitions = [{ at = 1, length = 1, nodes = [] }]",
            "line 8",
            "say which nodes",
        ),
        (
            "[network]\ndetours = [{ at = 1, length = 1, nodes = [0], ms = 0 }]",
            "line 8",
            "a detour takes more time",
        ),
        (
            "[network]\ndistances = [{ nodes = [0], ms = -1 }]",
            "line 8",
            "a distance is 0 to",
        ),
        (
            "[network]\nclocks = [{ nodes = [1] }]",
            "line 8",
            "there is no node 1",
        ),
        (
            "[network]\nclocks = [{ nodes = [0], drift_ppm = nan }]",
            "line 8",
            "off by 100000000 ms and 100000 ppm at most",
        ),
        (
            "[network]\npartitions = [{ at = 1, length = 1, way = \"back\" }]",
            "line 8",
            "unknown variant `back`",
        ),
        // After the end, or at no time.
        (
            "[network]\nstore_events = [{ at = 9, change = \"flush\" }]",
            "line 8",
            "not within the duration",
        ),
        (
            "[network]\nstore_events = [{ at = nan, change = \"flush\" }]",
            "line 8",
            "not within the duration",
        ),
        (
            "[network]\npartitions = [{ at = 9.5, length = 1 }]",
            "line 8",
            "not within the duration",
        ),
        (
            "[network]\nstore_ms = [{ at = 0, value = 1 }, { at = 20, value = 2 }]",
            "line 8",
            "20 is not within the duration",
        ),
        // What would be ignored.
        (
            "[network]\nstore_ms = [{ at = 0, value = 1, ramp = 3 }, { at = 4, value = 2 }]",
            "line 8",
            "the first point has nothing to ramp from",
        ),
        (
            "[network]\nlate = { part = 0.1, ms = 0 }",
            "line 8",
            "the time above 0",
        ),
        (
            "[network]\nlate = { part = 0, ms = 500 }",
            "line 8",
            "the part is above 0",
        ),
        // What is not a number.
        ("classes = { default = nan }", "line 7", "add up to 1"),
        (
            "classes = { default = 1, bulk = nan }",
            "line 7",
            "add up to 1",
        ),
        (
            "retries = { attempts = 1, backoff_ms = 1, budget = nan }",
            "line 7",
            "a budget of 0 or more",
        ),
        (
            "[expect]\ngoodput = { min = nan }",
            "line 8",
            "a bound is a number",
        ),
        ("[expect]\ngoodput = {}", "line 8", "say min, max or both"),
    ] {
        let message = refused(more);
        assert!(
            message.contains(part),
            "{message:?} does not contain {part:?}"
        );
        assert!(message.contains(line), "{message:?} is not at {line}");
    }
}

#[test]
fn what_is_told_to_nobody_and_bounds_alone_are_filled_in() {
    for limiter in [
        "settings = { min_limit = 50 }",
        "settings = { max_limit = 5 }",
        "name = \"leased\"\ntold = 1",
    ] {
        Scenario::parse("test", &format!("{GOOD}[limiter]\n{limiter}\n")).expect(limiter);
    }
    let text = GOOD.replace("capacity = 5", "capacity = 1\ntenant = 0.8");
    let scenario = Scenario::parse("test", &format!("{text}[limiter]\nname = \"leased\""));
    assert!(scenario.unwrap().knee(0) < 0.5);
}

#[test]
fn chosen_nodes_are_as_far_as_is_said_and_count_in_the_mean() {
    let text = format!(
        "{GOOD}[network]\nbackend_ms = [2, 6]\ndistances = [{{ nodes = [1], ms = 40 }}]\n[nodes]\ncount = 3\n"
    );
    let scenario = Scenario::parse("test", &text).unwrap();
    let far: Vec<u64> = (0..3)
        .map(|node| scenario.distance(node) / 1_000_000)
        .collect();
    assert_eq!((far, scenario.mean_distance()), (vec![2, 40, 6], 16e6));
}

#[test]
fn stalls_that_would_stop_time_are_refused() {
    for stalls in [
        "{ every = 1e-10, length = 5e-11 }",
        "{ every = 1, length = 1 }",
    ] {
        let good = GOOD.replace(
            "latency_ms = 1\n",
            &format!("latency_ms = 1\nstalls = {stalls}\n"),
        );
        let error = Scenario::parse("test", &good).expect_err(stalls);
        assert!(
            error.contains("line 5") && error.contains("both by a microsecond"),
            "{error}"
        );
    }
}

/// Of what is deterministic, or has a least; the nearest node counts, and the quickest class at the quickest time.
#[test]
fn an_slo_that_no_request_can_meet_is_refused_with_what_to_write() {
    let with = |slo: &str, latency: &str, more: &str| {
        let text = GOOD.replace("latency_ms = 1\n", &format!("latency_ms = {latency}\n"));
        Scenario::parse("test", &format!("slo_ms = {slo}\n{text}{more}"))
    };
    let far = "[network]\nbackend_ms = [3, 9]\n[nodes]\ncount = 2\n";
    let steps = "[{ at = 0, value = 20 }, { at = 5, value = 8 }]\nservice = \"deterministic\"";
    for (least, below, latency, more) in [
        ("20", "19.9", "20\nservice = \"deterministic\"", ""),
        ("23", "22.9", "20\nservice = \"deterministic\"", far),
        ("8", "7.9", steps, ""),
        ("10", "9.9", "20\nservice = { pareto = 2 }", ""),
        // No service time is too short, but every node is as far.
        ("3", "2.9", "20", far),
        (
            "5",
            "4.9",
            "20\nservice = \"deterministic\"\nsecond_class = { latency_ms = 5, part = 0.5 }",
            "",
        ),
        (
            "30",
            "29.9",
            "20\nservice = \"deterministic\"\nsecond_class = { latency_ms = 30, part = 1 }",
            "",
        ),
    ] {
        with(least, latency, more).unwrap();
        let refused = with(below, latency, more).expect_err(below);
        assert!(
            refused.contains("line 1: no request is answered so soon")
                && refused.contains(&format!("write {least} at least")),
            "{refused}"
        );
    }
}
