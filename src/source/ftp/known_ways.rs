//! What is known of the ways in which a server lists folders.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::source::finding::Finding;

/// What is known of the ways in which a server lists folders. The refusal of a better way is
/// remembered only where a simpler one then told more, and only as long as the better one never
/// worked: a refusal may be about one folder.
#[derive(Debug, Default)]
pub struct Ways {
    pub(super) facts: WayRecord,
    pub(super) all: WayRecord,
    pub(super) plain: WayRecord,
    /// Its listings are told, or can be read, when they are asked for as text (`TYPE A`) alone.
    pub(super) text: AtomicBool,
    /// That was tried where one could not be read.
    text_tried: AtomicBool,
    /// That was tried where one was refused.
    text_tried_after_no: AtomicBool,
    /// Nothing but names can be read.
    pub(super) names: AtomicBool,
    /// Facts were asked for although they are not offered.
    unoffered: AtomicBool,
    /// They were told.
    told_unoffered: AtomicBool,
}

/// What is known of one way.
#[derive(Debug, Default)]
pub(super) struct WayRecord {
    pub(super) works: AtomicBool,
    pub(super) fails: AtomicBool,
}

impl WayRecord {
    pub(super) fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    pub(super) fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed) && !self.works()
    }
}

impl Ways {
    /// Whether any listing of this server was more than empty.
    pub(super) fn tells_anything(&self) -> bool {
        self.facts.works() || self.all.works() || self.plain.works()
    }

    /// Whether listings of facts (`MLSD`) were found to be of no use.
    pub(crate) fn lacks_facts(&self) -> bool {
        self.facts.fails()
    }

    /// Whether listings are asked for as text.
    pub(crate) fn as_text(&self) -> bool {
        self.text.load(Ordering::Relaxed)
    }

    /// Whether listings that cannot be read are to be tried as text now, for the first time.
    pub(crate) fn first_text(&self) -> bool {
        !self.as_text() && !self.text_tried.swap(true, Ordering::Relaxed)
    }

    /// [`Ways::first_text`] of listings that are refused.
    pub(crate) fn text_after_no(&self) -> bool {
        !self.as_text() && !self.text_tried_after_no.swap(true, Ordering::Relaxed)
    }

    /// Whether facts that are not offered are to be asked for: once for the first time, and by
    /// every login where they were told.
    pub(crate) fn asks_unoffered(&self) -> bool {
        !self.unoffered.swap(true, Ordering::Relaxed) || self.told_unoffered.load(Ordering::Relaxed)
    }

    /// Facts that are not offered were told.
    pub(crate) fn tells_unoffered(&self) {
        self.told_unoffered.store(true, Ordering::Relaxed);
    }

    /// Which simpler way is taken, and why; nothing while the best one works.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.facts.fails() {
            let text = "MLSD is offered, but only LIST tells what is there: times are as exact as \
                LIST and MDTM tell them";
            findings.push(Finding::new("listing", text));
        }
        if self.all.fails() {
            let text = "LIST -a is refused: files whose names begin with a dot may stay hidden";
            findings.push(Finding::new("listing", text));
        }
        if self.as_text() {
            let text = "listings are told or can be read as text (TYPE A) alone: the server may \
                keep files in another character set, for which there is `transfer_type = \
                \"ascii\"`";
            findings.push(Finding::new("listing", text));
        }
        if self.names.load(Ordering::Relaxed) {
            let text = "its listings cannot be read: names come from NLST, sizes and times from \
                SIZE and MDTM";
            findings.push(Finding::new("listing", text).advice(
                "NLST may hide folders: `plan` shows the lines of the listing that no name \
                    covers",
            ));
        }
        findings
    }
}
