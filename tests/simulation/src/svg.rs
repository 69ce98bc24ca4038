//! The share of each version over time, as an image: one panel for the hosts without windows, one for the bastions.

use std::{collections::BTreeSet, fmt::Write as _};

use d8_crds::values::version::Version;

use crate::{
    report::Report,
    scenario::Action,
    shares::Counts,
    time::{HOUR, Millis},
};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 250.0;
const TOP: f64 = 100.0;
const GAP: f64 = 60.0;
/// Colours of the versions, the first one first.
const COLOURS: [&str; 7] = ["#9aa5b1", "#4c78a8", "#e45756", "#54a24b", "#b279a2", "#f58518", "#72b7b2"];

/// Draws the shares.
pub(crate) fn draw(report: &Report) -> String {
    let versions: BTreeSet<&Version> =
        report.samples.iter().flat_map(|(_, counts)| counts.iter().flat_map(Counts::keys)).collect();
    let versions: Vec<&Version> = versions.into_iter().collect();
    let height = TOP + 2.0 * PANEL + GAP + 50.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (i, version) in versions.iter().enumerate() {
        let x = LEFT + 110.0 * float(i);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"22\">{version}</text>",
            colour(i),
            x + 17.0
        );
    }
    for (panel, title) in ["hosts without windows", "bastions: windows at night"].into_iter().enumerate() {
        let top = TOP + float(panel) * (PANEL + GAP);
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 6.0);
        areas(&mut svg, report, panel, top, &versions);
        shades(&mut svg, report, panel, top);
        axes(&mut svg, report, top);
    }
    steps(&mut svg, report);
    svg.push_str("</svg>\n");
    svg
}

fn x(report: &Report, at: Millis) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * ratio(at, report.scenario.length)
}

/// Stacks the shares, the newest version at the bottom.
fn areas(svg: &mut String, report: &Report, panel: usize, top: f64, versions: &[&Version]) {
    let share = |counts: &Counts, from: usize| {
        let all: u32 = counts.values().sum();
        let newer: u32 = versions[from..].iter().filter_map(|version| counts.get(*version)).sum();
        f64::from(newer) / f64::from(all.max(1))
    };
    for (i, _) in versions.iter().enumerate() {
        let point = |(at, counts): &(Millis, [Counts; 2])| {
            let y = top + PANEL * (1.0 - share(&counts[panel], i));
            format!("{:.1},{y:.1}", x(report, *at))
        };
        let line: Vec<String> = report.samples.iter().map(point).collect();
        let end = x(report, report.samples.last().map_or(0, |(at, _)| *at));
        let _ = writeln!(
            svg,
            "<polygon fill=\"{}\" points=\"{LEFT},{bottom} {} {end:.1},{bottom}\"/>",
            colour(i),
            line.join(" "),
            bottom = top + PANEL
        );
    }
}

/// Shades the times in which no switch may begin, and the outages.
fn shades(svg: &mut String, report: &Report, panel: usize, top: f64) {
    let scenario = &report.scenario;
    let mut spans = vec![(scenario.blackout, "black", 0.25)];
    if panel == 1 {
        // Windows are open from 22:00 to 06:00.
        let days = (0..=scenario.length / (24 * HOUR)).map(|day| day * 24 * HOUR);
        spans.extend(days.map(|day| ((day + 6 * HOUR, (day + 22 * HOUR).min(scenario.length)), "black", 0.12)));
    }
    let outages = scenario.outages().into_iter();
    spans.extend(outages.map(|(from, to, is_api)| ((from, to), if is_api { "red" } else { "orange" }, 0.35)));
    for ((from, to), fill, opacity) in spans.into_iter().filter(|((from, to), ..)| from < to) {
        let (from, to) = (x(report, from), x(report, to));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"{fill}\" \
             fill-opacity=\"{opacity}\"/>",
            to - from
        );
    }
}

fn axes(svg: &mut String, report: &Report, top: f64) {
    for percent in [0, 50, 100] {
        let y = top + PANEL * (1.0 - f64::from(percent) / 100.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", LEFT - 6.0, y + 4.0);
    }
    for hours in (0..=report.scenario.length / HOUR).step_by(12) {
        let (x, y) = (x(report, hours * HOUR), top + PANEL);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {y} v5\" stroke=\"black\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{hours} h</text>",
            y + 18.0
        );
    }
}

/// Marks the steps of the scenario on both panels.
fn steps(svg: &mut String, report: &Report) {
    let height = 2.0 * PANEL + GAP;
    let mut number = 0;
    for (at, action) in &report.scenario.steps {
        let x = x(report, *at);
        let title = match action {
            Action::Publish { version, broken: true } => format!("{version}, broken"),
            Action::Publish { version, .. } => (*version).to_owned(),
            Action::EditRule(fields) => fields.to_string().replace(['{', '}', '"'], ""),
            Action::Resume => "resume".to_owned(),
            Action::StopProxy => "no proxy".to_owned(),
            Action::StopApiServer => "no API server".to_owned(),
            Action::StartProxy | Action::StartApiServer => continue,
        };
        // Neighbours are on different lines.
        let y = TOP - 56.0 + 13.0 * float(number % 3);
        number += 1;
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP} v{height}\" stroke=\"black\" stroke-dasharray=\"2 3\"/>\
             <text x=\"{:.1}\" y=\"{y}\" font-size=\"10\">{title}</text>",
            x + 2.0
        );
    }
}

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn ratio(part: Millis, whole: Millis) -> f64 {
    let seconds = |millis: Millis| f64::from(i32::try_from(millis / 1000).unwrap_or(i32::MAX));
    seconds(part) / seconds(whole).max(1.0)
}
