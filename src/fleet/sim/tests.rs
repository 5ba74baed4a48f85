//! Nodes and a store by messages alone, and a queue at a node.

use super::*;

#[test]
fn a_node_and_a_store_agree_on_a_share_through_messages_alone() {
    let config = Config::parse("estimate=fixed:3").unwrap();
    let mut store = Store::new(&config);
    let mut node = Node::new("a", 7, &config, 1, 1_000);
    assert_eq!(
        node.try_acquire(Criticality::Default).unwrap_err(),
        Shed::Cold
    );
    let mut sent = node.step(1);
    let mut planned = None;
    while let Some(message) = sent.pop() {
        assert!(message.bytes() > 0);
        let told = store.handle(7, &message);
        planned = planned.or(told.planned);
        for (to, message) in told.messages {
            assert_eq!(to, 7);
            sent.extend(node.handle(message, 1));
        }
    }
    assert_eq!((planned, node.limit(), node.sample()), (Some(3), 3, (3, 0)));
    assert_eq!(store.committed(), (3, 3));
    assert_eq!((store.held_by(7), store.held_by(8)), (3, 0));
    assert!(node.is_active() && !node.is_refused() && store.has_planned());
}

/// All numbers of a beat, those of the protocol in front.
fn numbers(message: &Message) -> ([u64; 3], u32, u64, Vec<u64>) {
    let Payload::Beat(beat) = &message.0 else {
        panic!("a node beats first");
    };
    let report = &beat.report;
    let mut work = vec![
        report.baseline_us,
        report.latency_us,
        report.latency_us2,
        report.held_us,
        report.lingered_us,
        report.arrivals,
        report.sheds,
        report.other_sheds,
        report.drops,
    ];
    let few = [report.local_limit, report.demand, report.peak];
    work.extend(few.into_iter().chain(report.ranked).map(u64::from));
    let protocol = [beat.sequence, beat.generation, u64::from(beat.share)];
    (protocol, beat.in_flight, report.completions, work)
}

#[test]
fn a_node_lies_of_what_it_is_said_to_lie_of_and_of_nothing_else() {
    let config = Config::parse("").unwrap();
    let mut node = Node::new("a", 7, &config, 1, 1_000);
    let mut message = node.step(1).remove(0);
    let Payload::Beat(beat) = &mut message.0 else {
        panic!("a node beats first");
    };
    (beat.in_flight, beat.share, beat.generation) = (3, 5, 9);
    beat.report.completions = 40;
    (beat.report.demand, beat.report.ranked) = (4, [1, 2, 4]);
    (beat.report.arrivals, beat.report.latency_us) = (50, 7_000);
    let (protocol, in_flight, completions, work) = numbers(&message);
    let times = |factor: u64| work.iter().map(|it| it * factor).collect::<Vec<_>>();
    for (lie, factor, told) in [
        (Lie::Work, 10, (protocol, in_flight, completions, times(10))),
        (Lie::Completions, 10, (protocol, in_flight, 400, times(1))),
        (Lie::Completions, 0, (protocol, in_flight, 0, times(1))),
        (Lie::InFlight, 10, (protocol, 30, completions, times(1))),
        (Lie::InFlight, 0, (protocol, 0, completions, times(1))),
    ] {
        let message = message.clone().misreported(lie, f64::from(factor));
        assert_eq!(numbers(&message), told, "{factor} times {lie:?}");
    }
}

#[test]
fn settings_that_cannot_be_read_or_cannot_work_are_refused() {
    assert!(Config::parse("").is_ok());
    assert!(Config::parse("local=vegas;empty=learn;heartbeat=250000us").is_ok());
    assert!(Config::parse("estimate=guess").is_err());
    assert!(Config::parse("heartbeat=1us").is_err());
}
