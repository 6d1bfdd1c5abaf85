//! What lists need of a run's record: it is read line by line, and never stands in memory whole.
//! Pure.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::pass::{PagePass, totals};
use crate::history::record::{COUNTS, RunRecord, RunStatus};

/// Sources of which a list tells one by one, whatever they came to; of runs over more of them, at
/// most so many of which there is something to tell.
pub(crate) const FEW: usize = 100;

/// A record of a run with as much of its sources as a list needs.
pub(crate) type RunDigest = RunRecord<LineDigest>;

impl RunDigest {
    /// How it stands, for those who ask at `now`.
    pub(crate) fn shown_status(&self, now: OffsetDateTime) -> RunStatus {
        self.status.seen(now - self.heartbeat, &self.queued)
    }

    /// Whether its record does not tell the ends of all sources whose work is in the queue.
    pub(crate) fn is_open(&self) -> bool {
        let is_over = |name: &String| {
            self.sources.passes.iter().any(|pass| pass.source == *name && !pass.is_running())
        };
        !self.queued.iter().all(is_over)
    }

    /// It in a list for programs: counts only.
    pub(crate) fn told(&self, now: OffsetDateTime) -> Value {
        let mut told = json!(self);
        told["status"] = json!(self.shown_status(now));
        told["total"] = totals(&self.sources.passes);
        if self.sources.passes.len() > FEW {
            told["idle_sources"] = self.sources.idle.into();
            told["more_sources"] = self.sources.more.into();
        }
        told
    }
}

impl From<RunRecord> for RunDigest {
    fn from(record: RunRecord) -> Self {
        Self {
            id: record.id,
            run: record.run,
            status: record.status,
            trigger: record.trigger,
            invocation: record.invocation,
            operation: record.operation,
            started: record.started,
            heartbeat: record.heartbeat,
            ended: record.ended,
            problems: record.problems,
            queued: record.queued,
            sources: record.sources.into_iter().collect(),
        }
    }
}

/// The lines of a record.
#[derive(Debug, Default)]
pub(crate) struct LineDigest {
    /// All of them.
    pub passes: Vec<PagePass>,
    /// Those that a list for programs tells, with their counts only.
    pub told: Vec<Value>,
    /// In a run over many sources: how many of them have nothing to tell.
    idle: u64,
    /// How many others are not told.
    more: u64,
}

impl LineDigest {
    fn take_in(&mut self, line: Value) {
        self.passes.push(PagePass::read(&line));
        let line = counts_only(line);
        if self.passes.len() <= FEW {
            self.told.push(line);
            return;
        }
        if self.passes.len() == FEW + 1 {
            std::mem::take(&mut self.told).into_iter().for_each(|line| self.choose(line));
        }
        self.choose(line);
    }

    /// Of many lines those stay that were not well, then those that brought something.
    fn choose(&mut self, line: Value) {
        let is_well = |line: &Value| line["status"] == "ok";
        let count = |name: &str| line[name].as_u64().unwrap_or(0);
        if is_well(&line) && count("ingested") + count("deferred") == 0 {
            self.idle += 1;
            return;
        }
        if self.told.len() < FEW {
            self.told.push(line);
            return;
        }
        self.more += 1;
        if !is_well(&line)
            && let Some(well) = self.told.iter_mut().rev().find(|told| is_well(told))
        {
            *well = line;
        }
    }
}

impl FromIterator<Value> for LineDigest {
    fn from_iter<T: IntoIterator<Item = Value>>(lines: T) -> Self {
        let mut digest = Self::default();
        lines.into_iter().for_each(|line| digest.take_in(line));
        digest
    }
}

impl Serialize for LineDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.told.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LineDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = LineDigest;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("lines of a record")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut lines: A) -> Result<LineDigest, A::Error> {
                let mut digest = LineDigest::default();
                while let Some(line) = lines.next_element()? {
                    digest.take_in(line);
                }
                Ok(digest)
            }
        }
        deserializer.deserialize_seq(Lines)
    }
}

/// A line of a record without its lists, and with all of its counts.
pub(crate) fn counts_only(mut line: Value) -> Value {
    if let Some(object) = line.as_object_mut() {
        object.retain(|_, value| !value.is_array() && !value.is_object());
        for name in COUNTS {
            object.entry(*name).or_insert(json!(0));
        }
    }
    line
}
