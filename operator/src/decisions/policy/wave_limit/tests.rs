use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn waves(states: &[WaveState]) -> Vec<WaveStatus> {
    let wave = |(n, state): (usize, &WaveState)| WaveStatus {
        version: format!("v{}.0.0", states.len() - n),
        since: (*state != WaveState::AwaitingEvidence).then_some(Time(Timestamp::UNIX_EPOCH)),
        state: Some(*state),
        failed: 0,
        succeeded: None,
        canaries: None,
        halted_at: None,
    };
    states.iter().enumerate().map(wave).collect()
}

/// Limits the waves. Returns whether one was lost, and the versions that stay.
fn limited(waves: Vec<WaveStatus>, target: Option<&str>, limit: usize) -> (bool, String) {
    let target = target.map(str::to_owned);
    let mut component = ComponentProgress { waves, target, ..ComponentProgress::default() };
    let trimmed = limit_waves(&mut component, limit);
    let found: Vec<_> = component.waves.iter().map(|wave| wave.version.as_str()).collect();
    (trimmed, found.join(" "))
}

#[test]
fn halted_and_the_newest_waves_stay() {
    use WaveState::{Halted, Running};
    for (states, limit, shown) in [
        (&[Running, Running][..], 2, "v2.0.0 v1.0.0"),
        (&[Running, Running, Running], 2, "v3.0.0 v2.0.0"),
        (&[Running, Running, Halted], 2, "v3.0.0 v1.0.0"),
        (&[Halted, Running, Halted], 2, "v3.0.0 v1.0.0"),
        (&[Halted, Halted, Halted], 2, "v3.0.0 v2.0.0 v1.0.0"),
        (&[Running, Halted, Halted, Halted], 2, "v3.0.0 v2.0.0 v1.0.0"),
    ] {
        let trimmed = limited(waves(states), None, limit);
        assert_eq!(trimmed, (states.len() > shown.split(' ').count(), shown.to_owned()), "{states:?}");
    }
}

/// However full a status is, halted waves stay: hosts would take versions on which too many failed.
#[test]
fn a_full_status_keeps_halted_waves() {
    use WaveState::{Halted, Running};
    let component = |n: usize, states: &[WaveState]| ComponentProgress {
        name: format!("p{n:04}"),
        waves: waves(states),
        ..ComponentProgress::default()
    };
    for (others, each) in [(1023, 20), (2000, 2), (2000, 0)] {
        let mut all: Vec<_> = (0..others).map(|n| component(n, &vec![Running; each])).collect();
        all.push(component(9999, &[Running, Running, Halted, Halted, Halted, Halted, Halted, Halted, Running, Halted]));
        assert!(limit_components(&mut all), "{others}");
        let last = all.last().unwrap();
        assert_eq!((last.name.as_str(), halted(last)), ("p9999", 7), "{others}");
    }
}

/// Waves of these versions, from the newest: `+` a complete one, `?` one that waits, `!` a halted one.
fn waves_of(versions: &str) -> Vec<WaveStatus> {
    let wave = |text: &str| {
        let (version, mark) = text.split_at(text.len() - 1);
        let state = match mark {
            "+" => WaveState::Complete,
            "?" => WaveState::AwaitingEvidence,
            _ => WaveState::Halted,
        };
        let since = (state == WaveState::Complete).then_some(Time(Timestamp::UNIX_EPOCH));
        WaveStatus { version: version.to_owned(), since, ..waves(&[state]).remove(0) }
    };
    versions.split(' ').map(wave).collect()
}

#[test]
fn the_newest_proven_version_of_each_major_stays() {
    let all = "v3.1.0+ v3.0.0+ v2.1.0+ v2.0.0+ v1.0.0+";
    for (versions, target, limit, shown, trimmed) in [
        (all, None, 3, "v3.1.0 v2.1.0 v1.0.0", true),
        (all, None, 4, "v3.1.0 v3.0.0 v2.1.0 v1.0.0", true),
        (all, Some("v2.0.0"), 4, "v3.1.0 v2.1.0 v2.0.0 v1.0.0", true),
        ("v3.1.0? v3.0.0+ v2.1.0? v2.0.0+ v1.0.0+", None, 3, "v3.0.0 v2.0.0 v1.0.0", false),
        ("v3.1.0? v3.0.0? v2.1.0? v2.0.0+ v1.0.0!", Some("v3.0.0"), 3, "v3.1.0 v2.0.0 v1.0.0", false),
        ("v3.1.0+ v3.0.0+ v2.0.0+ v1.0.0!", None, 1, "v1.0.0", true),
        ("v3.0.0+ v2.0.0+ v1.0.0+", None, 2, "v3.0.0 v2.0.0", true),
    ] {
        assert_eq!(limited(waves_of(versions), target, limit), (trimmed, shown.to_owned()), "{versions}");
    }
}

#[test]
fn components_and_waves_are_limited_together() {
    for (components, each, trimmed) in [(100, 32, false), (1000, 20, true), (2000, 2, true)] {
        let component = |n| ComponentProgress {
            name: format!("plugin-with-a-name-{n:04}"),
            target: Some("v1.0.0".to_owned()),
            waves: waves(&vec![WaveState::Running; each]),
            ..ComponentProgress::default()
        };
        let mut all: Vec<_> = (0..components).map(component).collect();
        assert_eq!(limit_components(&mut all), trimmed, "{components}");
        let bytes = serde_json::to_string(&all).unwrap().len();
        assert!(bytes < 600 << 10, "{components}: {bytes}");
        assert!(all.iter().all(|c| c.waves.first().is_some_and(|wave| wave.version == format!("v{each}.0.0"))));
        assert!(all.is_sorted_by(|a, b| a.name < b.name));
    }
}
