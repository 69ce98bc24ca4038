use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn ledger(waves: &[(&str, &str, WaveRecord)]) -> WaveLedger {
    let mut ledger = WaveLedger { uid: Some("uid-1".into()), ..WaveLedger::default() };
    for (component, version, wave) in waves {
        ledger.waves.entry(component.parse().unwrap()).or_default().insert(v(version), wave.clone());
    }
    ledger
}

#[test]
fn the_data_of_the_config_map_reads_back() {
    let halt = Some(Halt { at: at(60) });
    let ledger = ledger(&[
        ("stronghold", "v1.3.3", WaveRecord::new(at(0))),
        ("stronghold", "v1.4.0-rc.1", WaveRecord { halt, ignored_failures: 2, ..WaveRecord::new(at(1)) }),
        ("d8", "0.13.0", WaveRecord { missing_since: Some(at(9)), ..WaveRecord::new(at(2)) }),
    ]);
    let data = ledger.to_data();
    assert_eq!(data["stronghold.v1.3.3"], r#"{"since":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(
        data["stronghold.v1.4.0-rc.1"],
        r#"{"since":"1970-01-01T00:00:01Z","haltedAt":"1970-01-01T00:01:00Z","excused":2}"#
    );
    let former =
        r#"{"since":"1970-01-01T00:00:01Z","haltedAt":"1970-01-01T00:01:00Z","haltedGeneration":4,"excused":2}"#;
    let former = Data::from([("stronghold.v1.4.0-rc.1".to_owned(), former.to_owned())]);
    let read = WaveLedger::from_data(&former).unwrap();
    assert_eq!(read.wave(&"stronghold".parse().unwrap(), &v("v1.4.0-rc.1")).unwrap().halt, halt);
    assert_eq!(data["policy-uid"], "uid-1");
    assert!(data.contains_key("d8.v0.13.0"));
    assert_eq!(WaveLedger::from_data(&data), Ok(ledger));
    assert_eq!(WaveLedger::from_data(&Data::new()), Ok(WaveLedger::default()));
}

#[test]
fn the_error_of_unreadable_data_names_the_key() {
    for (key, value) in [
        ("stronghold", "{}"),
        ("a b.v1.3.3", r#"{"since":"1970-01-01T00:00:00Z"}"#),
        ("stronghold.v1.x", r#"{"since":"1970-01-01T00:00:00Z"}"#),
        ("stronghold.v1.3.3", "nonsense"),
        ("stronghold.v1.3.3", r#"{"since":"yesterday"}"#),
        ("stronghold.v1.3.3", r#"{"since":"1970-01-01T00:00:00Z","halted":true}"#),
    ] {
        let data = Data::from([(key.to_owned(), value.to_owned())]);
        let error = WaveLedger::from_data(&data).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_full_ledger_drops_the_oldest_waves_but_no_halted_one() {
    let mut large = ledger(&[("small", "v1.0.0", WaveRecord::new(at(0)))]);
    let many = large.waves.entry("large".parse().unwrap()).or_default();
    for n in 0..20_000 {
        many.insert(v(&format!("v1.{n}.0")), WaveRecord::new(at(n)));
    }
    many.insert(v("v0.0.1"), WaveRecord { halt: Some(Halt { at: at(1) }), ..WaveRecord::new(at(0)) });
    assert!(large.trim());
    let bytes: usize = large.to_data().iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert!(large.wave(&"small".parse().unwrap(), &v("v1.0.0")).is_some());
    assert!(large.wave(&"large".parse().unwrap(), &v("v0.0.1")).is_some());
    assert!(large.wave(&"large".parse().unwrap(), &v("v1.0.0")).is_none());
    assert!(large.wave(&"large".parse().unwrap(), &v("v1.19999.0")).is_some());
    assert!(!large.trim());
}

#[test]
fn a_deleted_policy_leaves_its_waves_for_an_hour_and_its_halts() {
    let halt = Some(Halt { at: at(60) });
    let halted = WaveRecord { halt, ..WaveRecord::new(at(1)) };
    let waves = [("p", "v1.0.0", WaveRecord::new(at(0))), ("p", "v1.1.0", halted.clone())];
    let (before, p) = (ledger(&waves), "p".parse().unwrap());
    let deleted = before.after_deletion(|_, _| true, at(100)).unwrap();
    assert_eq!((deleted.deleted_at, &deleted.waves), (Some(at(100)), &before.waves));
    assert_eq!(WaveLedger::from_data(&deleted.to_data()), Ok(deleted.clone()));
    let again = deleted.after_deletion(|_, _| true, at(200)).unwrap();
    assert_eq!(again, deleted, "the first time counts");
    let uid = || Some("uid-2".to_owned());
    assert_eq!(deleted.adopted(uid(), at(3699), None), WaveLedger { uid: uid(), ..before.clone() });

    let halts = ledger(&[("p", "v1.1.0", WaveRecord { since: None, ..halted })]);
    assert_eq!(deleted.adopted(uid(), at(3700), Some(at(3699))), WaveLedger { uid: uid(), ..halts.clone() });
    let late = deleted.after_deletion(|_, _| true, at(3700)).unwrap();
    assert_eq!(late, WaveLedger { deleted_at: Some(at(100)), ..halts });
    assert_eq!(late.after_deletion(|_, version| *version != v("v1.1.0"), at(4000)), None);
    let soon = deleted.after_deletion(|_, _| false, at(200)).unwrap();
    assert!(soon.wave(&p, &v("v1.0.0")).is_some() && soon.wave(&p, &v("v1.1.0")).is_none());
}

#[test]
fn changes_turn_one_ledger_into_another() {
    let old = ledger(&[("p", "v1.0.0", WaveRecord::new(at(0))), ("q", "v1.0.0", WaveRecord::new(at(1)))]);
    let mut new = ledger(&[("p", "v1.0.0", WaveRecord::new(at(5))), ("p", "v1.1.0", WaveRecord::new(at(6)))]);
    new.uid = Some("uid-2".into());
    let changes = WaveLedgerChanges::between(&old, &new);
    assert!(WaveLedgerChanges::between(&new, &new).is_empty() && !changes.is_empty());
    let mut applied = old;
    applied.apply(changes);
    assert_eq!(applied, new);
}

/// The last change of the ledger is at 60, and no operator saw the deletion.
#[test]
fn a_policy_that_nobody_saw_deleted_keeps_its_waves_if_it_was_gone_for_less_than_an_hour() {
    let halted = WaveRecord { halt: Some(Halt { at: at(60) }), ..WaveRecord::new(at(1)) };
    let before = ledger(&[("p", "v1.0.0", WaveRecord::new(at(0))), ("p", "v1.1.0", halted)]);
    for (created, last_seen, keeps_waves) in [
        (60, None, true),
        (3659, None, true),
        (3660, None, false),
        (3660, Some(61), true),
        (9000, Some(5400), false),
        (9000, Some(5401), true),
        // The clocks differ.
        (9000, Some(9500), true),
        // The ledger itself is newer than what an operator remembers.
        (3659, Some(5), true),
    ] {
        let adopted = before.adopted(Some("uid-2".into()), at(created), last_seen.map(at));
        let p = "p".parse().unwrap();
        assert_eq!(adopted.wave(&p, &v("v1.0.0")).is_some(), keeps_waves, "{created} {last_seen:?}");
        let halted = adopted.wave(&p, &v("v1.1.0")).unwrap();
        assert!(halted.halt.is_some() && halted.since.is_some() == keeps_waves, "{created} {last_seen:?}");
        assert_eq!((adopted.uid.as_deref(), adopted.deleted_at), (Some("uid-2"), None));
    }
}
