//! Quotas and their text form.

use super::*;
use proptest::prelude::*;

#[test]
fn a_hundred_per_second_comes_back_in_one_second() {
    let quota = Quota::per_second(100);
    assert_eq!((quota.limit(), quota.burst_size()), (100, 100));
    assert_eq!(quota.window(), Duration::from_secs(1));
    assert_eq!(
        quota.interval_ticks(),
        Some(10_000_000 * TICKS_PER_NANO),
        "one unit each 10 ms"
    );
}

#[test]
fn every_spelling_reads_as_the_quota_it_says() {
    for (text, quota) in [
        ("100/s burst 20", Quota::per_second(100).burst(20)),
        ("100/s", Quota::per_second(100)),
        (" 100 / second ", Quota::per_second(100)),
        ("100/min", Quota::per_minute(100)),
        ("100/m burst 1", Quota::per_minute(100).burst(1)),
        ("1000/h", Quota::per_hour(1000)),
        ("7/day", Quota::per_day(7)),
        ("5/10s", Quota::new(5, Duration::from_secs(10)).unwrap()),
        (
            "5/10 seconds",
            Quota::new(5, Duration::from_secs(10)).unwrap(),
        ),
        ("0/s", Quota::DENY_ALL),
        ("100/min log", Quota::per_minute(100).sliding_log()),
        ("100/min soft 80", Quota::per_minute(100).soft(80)),
        ("100/month", Quota::calendar(100, Calendar::MONTH)),
        (
            "100/month calendar -03:30",
            Quota::calendar(100, Calendar::MONTH.utc_offset(-210)),
        ),
        ("100/24h calendar", Quota::calendar(100, Calendar::DAY)),
        (
            "9/hour calendar +00:45",
            Quota::calendar(9, Calendar::HOUR.utc_offset(45)),
        ),
        ("100/min sliding", Quota::per_minute(100).sliding()),
        (
            " 5 / 10 s  fixed ",
            Quota::new(5, Duration::from_secs(10)).unwrap().fixed(),
        ),
    ] {
        assert_eq!(text.parse(), Ok(quota), "{text}");
    }
}

#[test]
fn what_is_not_a_quota_is_answered_with_what_to_write() {
    for text in [
        "",
        "/",
        "100",
        "100 per second",
        "s/100",
        "-1/s",
        "+1/s",
        "1.5/s",
        "1e3/s",
        "NaN/s",
        "100/",
        "100/0x1s",
        "100/fortnight",
        "100/s burst",
        "100/s burst many",
        "100/s burst 5 burst 6",
        "100/s burst 5 sliding",
        "100/s sliding burst 5",
        "100/s sliding fixed",
        "100/s gliding",
        "100/s calendar",
        "100/2h calendar",
        "100/2month",
        "100/31d calendar",
        "100/month sliding",
        "100/d calendar 01:00",
        "100/d calendar +1:00",
        "100/d calendar +01:60",
        "100/d calendar +19:00",
        "100/d calendar +01:00 fixed",
        "100/d calendar \u{e9}1:00",
        "100/s soft",
        "100/s log 5",
        "100/s SLIDING",
        "4294967296/s",
        "١/s",
        "100/99999999999999999999s",
    ] {
        let error = text.parse::<Quota>().unwrap_err();
        assert!(
            matches!(error, ConfigError::QuotaText { .. }),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("\"100/s\""), "{error}");
    }
    let long = "x".repeat(1_000_000).parse::<Quota>().unwrap_err();
    assert!(long.to_string().len() < 300);
}

#[test]
fn windows_and_bursts_that_cannot_be_counted_are_errors() {
    for window in [
        Duration::ZERO,
        Duration::from_nanos(999_999),
        Quota::MAX_WINDOW + Duration::from_nanos(1),
        Duration::MAX,
    ] {
        assert_eq!(
            Quota::new(1, window),
            Err(ConfigError::QuotaWindow { window })
        );
    }
    for text in ["1/0s", "1/999us", "1/4000d", "1/18446744073709551615d"] {
        let error = text.parse::<Quota>().unwrap_err();
        assert!(
            matches!(error, ConfigError::QuotaWindow { .. }),
            "{text}: {error}"
        );
    }
    assert_eq!(
        Quota::per_second(9).fixed().try_burst(3),
        Err(ConfigError::WindowBurst { burst: 3 })
    );
    for (text, error) in [
        ("1025/s log", ConfigError::LogLimit { limit: 1025 }),
        ("5/s soft 6", ConfigError::SoftLimit { soft: 6, limit: 5 }),
        ("5/s soft 0", ConfigError::SoftLimit { soft: 0, limit: 5 }),
    ] {
        assert_eq!(text.parse::<Quota>(), Err(error), "{text}");
    }
    assert_eq!(
        Calendar::DAY.try_utc_offset(-1_081),
        Err(ConfigError::UtcOffset { minutes: -1_081 })
    );
    let daily = Quota::per_day(1);
    assert_eq!(
        daily.try_burst(u32::MAX),
        Err(ConfigError::QuotaBurst {
            burst: u32::MAX,
            max: 5478
        })
    );
    assert_eq!(
        daily.try_burst(5478).map(|quota| quota.burst_size()),
        Ok(5478)
    );
    assert!(Quota::new(u32::MAX, Quota::MAX_WINDOW).is_ok());
}

proptest! {
    #[test]
    fn display_reads_back_as_the_same_quota(
        limit: u32,
        burst: Option<u32>,
        window in 1_000_000u64..=Quota::MAX_WINDOW.as_nanos() as u64,
        kind in 0u8..6,
        offset in -1_080i16..=1_080,
        coarse in prop::sample::select(vec![1u64, 1_000, 1_000_000, SECOND, 60 * SECOND, 86_400 * SECOND]),
    ) {
        let window = (window / coarse * coarse).max(1_000_000);
        let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap();
        let quota = match kind {
            0 => burst.and_then(|burst| quota.try_burst(burst).ok()).unwrap_or(quota),
            1 => quota.fixed(),
            2 => quota.sliding(),
            3 => quota.try_sliding_log().unwrap_or(quota),
            4 => burst.and_then(|soft| quota.try_soft(soft).ok()).unwrap_or(quota),
            _ => {
                let calendars = [Calendar::HOUR, Calendar::DAY, Calendar::MONTH];
                let calendar = calendars[usize::from(offset.unsigned_abs()) % 3];
                Quota::calendar(limit, calendar.utc_offset(offset))
            }
        };
        prop_assert_eq!(quota.to_string().parse(), Ok(quota));
    }

    #[test]
    fn any_text_is_a_quota_or_an_error_and_never_a_panic(text in ".{0,40}") {
        if let Ok(quota) = text.parse::<Quota>() {
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }
    }
}
