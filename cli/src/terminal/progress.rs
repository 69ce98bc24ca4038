//! Progress of a change: bars on a terminal, notes elsewhere.

use std::{collections::BTreeMap, sync::Mutex};

use d8_agent::{ProgressEvent, ProgressReporter};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::Printer;

/// Prints the events of a change. Downloads are bars on a terminal; everything else is a note.
pub(crate) struct Progress {
    printer: Printer,
    bars: Option<(MultiProgress, Mutex<BTreeMap<String, ProgressBar>>)>,
}

impl Progress {
    pub(crate) fn new(printer: Printer) -> Self {
        let bars = printer.shows_progress().then(|| (MultiProgress::new(), Mutex::new(BTreeMap::new())));
        Self { printer, bars }
    }

    fn note(&self, text: &str) {
        match &self.bars {
            // Notes are written above the bars.
            Some((bars, _)) => bars.suspend(|| self.printer.note(text)),
            None => self.printer.note(text),
        }
    }

    fn download(&self, name: &str, done: u64, total: Option<u64>) {
        let Some((all, bars)) = &self.bars else { return };
        let Ok(mut bars) = bars.lock() else { return };
        let bar = bars.entry(name.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:24} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = all.add(ProgressBar::new(total.unwrap_or(0)));
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.with_prefix(name.to_owned())
        });
        bar.set_position(done);
        if total == Some(done) {
            bar.finish_and_clear();
        }
    }
}

impl ProgressReporter for Progress {
    fn report(&self, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::Waiting { name, holder, .. } => {
                self.note(&format!("waiting for {holder}, which is changing {name}"));
            }
            ProgressEvent::Repaired { what } => self.note(&format!("repaired: {what}")),
            ProgressEvent::Downloading { name, tag, done, total } => {
                self.download(&format!("{name} {tag}"), done, total);
            }
            _ => {}
        }
    }
}
