//! Rules undone: the model sees each of them missing.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, two_nodes};
use crate::fleet::proof::mutant::Mutant;
use crate::fleet::proof::tests::breaks;
use crate::fleet::settings::{Handoff, Settings};

const I2: &str = "I2 no more is in flight than the limit";

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
