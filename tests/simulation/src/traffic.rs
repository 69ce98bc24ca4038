//! Counts requests, by kind and second.

use crate::time::{Millis, SECOND};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A tick reads the `CliHost` of its host. Each tick opens a connection for it.
    HostGet,
    /// A tick lists the policies.
    PolicyList,
    /// A tick reads the record.
    RecordGet,
    /// A host writes its status.
    StatusPatch,
    /// A host renews its token.
    TokenPost,
    /// A host opens its watch of policies.
    WatchOpen,
    /// A host lists the policies before it opens the watch again.
    WatchList,
    /// A host finds the proxy before a download.
    ProxyFind,
    /// The operator writes the status or the ledger of a policy.
    OperatorWrite,
    /// A host downloads a layer from the proxy.
    Download,
    /// The operator lists tags at the proxy.
    TagList,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::HostGet,
        Self::PolicyList,
        Self::RecordGet,
        Self::StatusPatch,
        Self::TokenPost,
        Self::WatchOpen,
        Self::WatchList,
        Self::ProxyFind,
        Self::OperatorWrite,
        Self::Download,
        Self::TagList,
    ];

    /// Returns whether the request goes to the proxy, and not to the API server.
    pub fn is_to_proxy(self) -> bool {
        matches!(self, Self::Download | Self::TagList)
    }

    /// Returns the request as an access log shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostGet => "GET clihosts/NAME, a connection",
            Self::PolicyList => "LIST pluginpolicies, by a tick",
            Self::RecordGet => "GET clireleases/NAME",
            Self::StatusPatch => "PATCH clihosts/NAME/status",
            Self::TokenPost => "POST serviceaccounts/NAME/token",
            Self::WatchOpen => "WATCH pluginpolicies",
            Self::WatchList => "LIST pluginpolicies, by a watch",
            Self::ProxyFind => "GET configmaps/NAME of the proxy",
            Self::OperatorWrite => "writes of the operator",
            Self::Download => "download of a layer",
            Self::TagList => "tag list of the operator",
        }
    }
}

/// How many requests of some kinds there were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Mean of all minutes.
    pub mean_per_minute: f64,
    /// Most in a minute.
    pub most_per_minute: u32,
    /// When that minute begins.
    pub at: Millis,
    /// Most in a second.
    pub most_per_second: u32,
}

/// Counts of requests, by kind and second.
#[derive(Debug)]
pub(crate) struct Traffic {
    counts: Vec<Vec<u32>>,
}

impl Traffic {
    /// Counts requests for a time.
    pub(crate) fn new(length: Millis) -> Self {
        let seconds = usize::try_from(length / SECOND).unwrap_or_default() + 1;
        Self { counts: vec![vec![0; seconds]; Kind::ALL.len()] }
    }

    /// Counts requests of a kind.
    pub(crate) fn add(&mut self, kind: Kind, at: Millis, requests: u32) {
        let second = usize::try_from(at / SECOND).unwrap_or(usize::MAX);
        if let Some(count) = self.counts[kind as usize].get_mut(second) {
            *count += requests;
        }
    }

    /// Returns the load of these kinds together in a span of time.
    pub(crate) fn load(&self, kinds: impl Fn(Kind) -> bool, from: Millis, to: Millis) -> Load {
        let seconds = |at: Millis| usize::try_from(at / SECOND).unwrap_or_default().min(self.counts[0].len());
        let (from, to) = (seconds(from), seconds(to));
        let kinds: Vec<&[u32]> = Kind::ALL
            .into_iter()
            .filter(|kind| kinds(*kind))
            .map(|kind| &self.counts[kind as usize][from..to])
            .collect();
        let sums: Vec<u32> = (0..to - from).map(|second| kinds.iter().map(|counts| counts[second]).sum()).collect();
        let minutes = sums.chunks(60).map(|minute| minute.iter().sum::<u32>()).enumerate();
        let (minute, most_per_minute) = minutes.max_by_key(|(at, sum)| (*sum, usize::MAX - at)).unwrap_or_default();
        let total: f64 = sums.iter().map(|&sum| f64::from(sum)).sum();
        let minutes = f64::from(u32::try_from(sums.len()).unwrap_or(u32::MAX)) / 60.0;
        Load {
            mean_per_minute: total / minutes.max(1.0),
            most_per_minute,
            at: Millis::try_from(from + minute * 60).unwrap_or_default() * SECOND,
            most_per_second: sums.into_iter().max().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads() {
        let mut traffic = Traffic::new(180 * SECOND);
        for (at, requests) in [(0, 3), (59_999, 4), (60_000, 5), (61_000, 5)] {
            traffic.add(Kind::HostGet, at, requests);
        }
        traffic.add(Kind::Download, 0, 100);
        let load = traffic.load(|kind| !kind.is_to_proxy(), 0, 180 * SECOND);
        let expected = Load { mean_per_minute: 17.0 / 3.0, most_per_minute: 10, at: 60_000, most_per_second: 5 };
        assert_eq!(load, expected);
    }
}
