//! Charts as inline SVG.

use d8_crds::decisions::fleet::{VersionCount, WaveProgress};
use jiff::Timestamp;

use super::markup::{Markup, escaped, time};

/// Size of the chart of a wave, in its own units.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 110.0;
/// Most points of a line.
const MAX_POINTS: usize = 60;
/// How many colours there are for versions.
const COLOURS: usize = 6;

/// Returns a bar with a part for each version, as wide as its share of the hosts.
pub(super) fn version_bar(counts: &[VersionCount]) -> String {
    let all: usize = counts.iter().map(|count| count.hosts).sum();
    let mut bar = Markup::default();
    bar.add("<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    let mut before = 0;
    for (index, count) in counts.iter().enumerate() {
        let (x, width) = (share(before, all) * 100.0, share(count.hosts, all) * 100.0);
        let class = version_class(index);
        bar.add(format_args!("<rect class=\"{class}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"8\"/>"));
        before += count.hosts;
    }
    bar.add("</svg>");
    bar.finish()
}

/// Returns the class of the colour of a version, by its place in the list.
pub(super) fn version_class(index: usize) -> String {
    format!("v{}", index.min(COLOURS - 1))
}

/// Returns the progress of a wave over time: the share of the hosts that it has reached, and of those that have the
/// version. `None`: it has not begun.
pub(super) fn wave(wave: &WaveProgress, now: Timestamp) -> Option<String> {
    let (start, end) = (wave.start?, wave.end.unwrap_or(Timestamp::MAX));
    // What hosts took before the wave is its beginning.
    let axis = Axis::new(start, end.max(now));
    let title = format!("{} {} under policy {} over time", wave.component, wave.version, wave.policy);
    let mut svg = Markup::default();
    svg.add(format_args!(
        "<svg class=\"wave\" viewBox=\"-30 -8 {:.0} {:.0}\" role=\"img\" aria-label=\"{}\">",
        WIDTH + 40.0,
        HEIGHT + 28.0,
        escaped(&title)
    ));
    for (share, label) in [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")] {
        let y = height(share);
        svg.add(format_args!("<line class=\"grid\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>"));
        svg.add(format_args!("<text x=\"-4\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", y + 3.0));
    }
    let stop = wave.halted_at.unwrap_or(end);
    let stopped = height(reached(start, end, stop));
    svg.add(line("expected", &[(axis.x(start), height(0.0)), (axis.x(stop), stopped), (WIDTH, stopped)]));
    svg.add(line("actual", &taken(wave, &axis, now)));
    let x = axis.x(now);
    svg.add(format_args!("<line class=\"now\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\"/>"));
    let below = HEIGHT + 14.0;
    svg.add(format_args!("<text x=\"0\" y=\"{below}\">{}</text>", time(axis.from)));
    svg.add(format_args!("<text x=\"{WIDTH}\" y=\"{below}\" text-anchor=\"end\">{}</text></svg>", time(axis.to)));
    Some(svg.finish())
}

/// The axis of time.
struct Axis {
    from: Timestamp,
    to: Timestamp,
}

impl Axis {
    fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to }
    }

    fn x(&self, at: Timestamp) -> f64 {
        reached(self.from, self.to, at) * WIDTH
    }
}

/// Returns which part of the time between two instants has passed, from 0 to 1.
fn reached(from: Timestamp, to: Timestamp, at: Timestamp) -> f64 {
    let all = to.duration_since(from).as_secs_f64();
    if all > 0.0 { (at.duration_since(from).as_secs_f64() / all).clamp(0.0, 1.0) } else { 1.0 }
}

fn height(share: f64) -> f64 {
    HEIGHT * (1.0 - share.clamp(0.0, 1.0))
}

/// Returns the steps at which hosts took the version, up to the number of hosts that have it now.
fn taken(wave: &WaveProgress, axis: &Axis, now: Timestamp) -> Vec<(f64, f64)> {
    let every = wave.taken.len().div_ceil(MAX_POINTS).max(1);
    let mut points = vec![(axis.x(axis.from), height(0.0))];
    let mut at = height(0.0);
    for (index, taken) in wave.taken.iter().enumerate().filter(|(index, _)| (index + 1) % every == 0) {
        let x = axis.x(*taken);
        points.push((x, at));
        at = height(share(index + 1, wave.hosts));
        points.push((x, at));
    }
    points.push((axis.x(now), at));
    points.push((axis.x(now), height(share(wave.active + wave.newer, wave.hosts))));
    points
}

fn line(class: &str, points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
}

/// Returns a part of all, from 0 to 1.
fn share(part: usize, all: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if all == 0 { 0.0 } else { number(part) / number(all) }
}
