//! Rules undone: the model sees each of them missing.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, longer, three_alike, two_nodes};
use crate::fleet::proof::mutant::Mutant;
use crate::fleet::proof::tests::breaks;
use crate::fleet::settings::{Allocation, Handoff, Settings};

const I2: &str = "I2 no more is in flight than the limit";
const I5: &str = "I5, I6 calm brings every slot into use";

/// `Handoff::Committed` does not promise I2; here it is held to it.
#[test]
fn without_the_acknowledgement() {
    let bounds = Bounds {
        settings: Settings {
            handoff: Handoff::Committed,
            ..two_nodes().settings
        },
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), (I2, 14));
}

#[test]
fn with_the_share_reserved_and_not_what_is_in_flight() {
    let bounds = Bounds {
        mutant: Some(Mutant::ReserveOnlyTheShare),
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), (I2, 14));
}

#[test]
fn with_the_share_released_on_leave() {
    let bounds = Bounds {
        budget: Budget { leaves: 1, ..CALM },
        mutant: Some(Mutant::ReleaseOnLeave),
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), (I2, 11));
}

#[test]
fn with_the_epoch_forgotten() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget { flushes: 1, ..CALM },
        mutant: Some(Mutant::ForgetTheEpoch),
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), ("I9 a learning store raises nobody", 25));
}

/// `EmptyStore::Trust` is for stores that cannot lose their data.
#[test]
fn without_learning() {
    let bounds = Bounds {
        trusts: true,
        budget: Budget { flushes: 1, ..CALM },
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), (I2, 11));
}

/// The margin of the fence is for clocks that differ by less than that.
#[test]
fn with_a_clock_of_half_speed() {
    let bounds = Bounds {
        rates: &[50, 100],
        ..two_nodes()
    };
    assert_eq!(breaks(bounds), (I2, 29));
}

/// The reductions hide nothing that three nodes without them show.
#[test]
fn with_the_share_released_on_leave_by_one_of_three_that_are_alike() {
    let bounds = Bounds {
        budget: Budget { leaves: 1, ..CALM },
        mutant: Some(Mutant::ReleaseOnLeave),
        ..three_alike()
    };
    assert_eq!(breaks(bounds), (I2, 10));
}

/// Two that lend their slots while they have nothing to do.
fn lenders(settings: &Settings) -> Bounds {
    Bounds {
        settings: Settings {
            allocation: Allocation::MaxMin,
            ..settings.clone()
        },
        room: 1,
        reduced: true,
        starving: true,
        budget: Budget { turns: 2, ..CALM },
        ..two_nodes()
    }
}

#[test]
fn with_an_idle_slot_lent_before_it_was_given_back() {
    let bounds = Bounds {
        mutant: Some(Mutant::LendUnasked),
        ..lenders(&two_nodes().settings)
    };
    assert_eq!(breaks(bounds), (I2, 10));
}

/// `Handoff::Committed`, as above.
#[test]
fn with_an_idle_slot_lent_without_the_acknowledgement() {
    let bounds = lenders(&Settings {
        handoff: Handoff::Committed,
        ..two_nodes().settings
    });
    assert_eq!(breaks(bounds), (I2, 10));
}

/// With leases of two ticks, so that in calm nobody is fenced, and nothing comes back but because it is wanted.
#[test]
fn with_the_first_want_not_heard() {
    let bounds = Bounds {
        mutant: Some(Mutant::IgnoreTheWant),
        recovers: Some(8),
        ..lenders(&longer(2))
    };
    assert_eq!(breaks(bounds), (I5, 10));
}
