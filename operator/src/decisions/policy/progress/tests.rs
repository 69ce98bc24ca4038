use super::*;

fn waves(states: &[WaveState]) -> Vec<WaveStatus> {
    let wave = |(n, state): (usize, &WaveState)| WaveStatus {
        version: format!("v{}.0.0", states.len() - n),
        since: None,
        state: Some(*state),
        failed: 0,
        succeeded: None,
        canaries: None,
        halted_at: None,
    };
    states.iter().enumerate().map(wave).collect()
}

#[test]
fn halted_and_the_newest_waves_stay() {
    use WaveState::{Halted, Running};
    for (states, limit, shown) in [
        (&[Running, Running][..], 2, "v2.0.0 v1.0.0"),
        (&[Running, Running, Running], 2, "v3.0.0 v2.0.0"),
        (&[Running, Running, Halted], 2, "v3.0.0 v1.0.0"),
        (&[Halted, Running, Halted], 2, "v3.0.0 v1.0.0"),
        (&[Halted, Halted, Halted], 2, "v3.0.0 v2.0.0"),
    ] {
        let mut waves = waves(states);
        assert_eq!(limit_waves(&mut waves, limit), states.len() > limit);
        let found: Vec<_> = waves.iter().map(|wave| wave.version.as_str()).collect();
        assert_eq!(found.join(" "), shown, "{states:?}");
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
