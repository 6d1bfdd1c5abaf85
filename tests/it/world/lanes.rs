//! Lanes of a pass in pieces: what a dead worker leaves is taken up by those who live.

use std::sync::Arc;
use std::time::Duration;

use blobferry::history::record::{RunRecord, Trigger, waiting_line};
use blobferry::history::records::Records;
use blobferry::jobs::cutting::Sizes;
use blobferry::jobs::message::{Message, Task};
use blobferry::jobs::outcome::Came;
use blobferry::jobs::work;
use blobferry::model::BlobName;
use blobferry::state::store::StateStore;
use blobferry::store::contract::{Condition, Properties, Store};
use blobferry::store::memory::queue::MemoryQueue;
use blobferry::transfer::options::Options;
use bytes::Bytes;
use md5::{Digest, Md5};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::{World, quick};

/// Two lanes of two pieces, with a file each.
struct Lanes {
    world: World,
    queue: Arc<MemoryQueue>,
}

impl Lanes {
    async fn planned() -> (Self, Vec<String>) {
        let world = (0..4).fold(World::new(), |world, n| world.file(&format!("/{n}.csv"), "x"));
        let world = world.with(|source| source.connections = 2);
        let lanes = Self { world, queue: Arc::default() };
        let mut record = RunRecord::new(Trigger::Timer, "", OffsetDateTime::now_utc());
        (record.queued, record.sources) = (vec!["acme".into()], vec![waiting_line("acme")]);
        let state = StateStore::new(lanes.world.store.clone(), Default::default(), quick());
        Records::new(state).put(&record).await.expect("it is written");
        lanes.work(&Message::new(&record.id, "acme", Task::Plan).to_text()).await;
        let first = lanes.sent().into_iter().map(|(message, _)| message).collect();
        (lanes, first)
    }

    async fn work(&self, message: &str) -> Came {
        let message = Message::parse(message).expect("a message of ours");
        let options: Options =
            self.world.options(self.world.store.clone(), CancellationToken::new());
        let sizes = Sizes { files: 1, bytes: 1 << 30 };
        let work = work(&message, self.world.source.clone(), options, self.queue.clone(), sizes);
        tokio::time::timeout(super::PATIENCE, work).await.expect("it ends").expect("it works")
    }

    /// Messages that were sent since, with their delays.
    fn sent(&self) -> Vec<(String, Duration)> {
        std::iter::from_fn(|| self.queue.take()).collect()
    }

    /// A worker begins the piece 0 of `message`, and is killed. Its lease has lapsed.
    async fn die_at(&self, message: &str) {
        let Task::Piece { pass, piece } = Message::parse(message).expect("a message").task else {
            panic!("{message}")
        };
        let name = format!("_blobferry/acme/work/{pass}/beat-{piece}");
        let at = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: Md5::digest([]).into(),
            metadata: [("at".to_owned(), at)].into(),
            placement: Default::default(),
        };
        let name = BlobName::new(name).expect("a name");
        let store = &self.world.store;
        store.put(&name, Bytes::new(), &properties, &Condition::Always).await.expect("written");
    }
}

fn pieces(sent: &[(String, Duration)]) -> Vec<(String, u64)> {
    let piece = |text: &str| match Message::parse(text).expect("a message").task {
        Task::Piece { piece, .. } => piece.to_string(),
        Task::Plan => "plan".into(),
    };
    sent.iter().map(|(text, delay)| (piece(text), delay.as_secs())).collect()
}

/// The second lane is worked through, then piece 0 of the dead worker and what is behind it: its
/// worker does not sleep while that waits for a message that the queue brings again after ten
/// minutes.
async fn second_lane_takes_over(lanes: &Lanes, first: &[String]) {
    lanes.work(&first[1]).await;
    let sent = lanes.sent();
    assert_eq!(pieces(&sent), [("00003".to_owned(), 0)], "its own lane goes on");
    lanes.work(&sent[0].0).await;
    let sent = lanes.sent();
    assert_eq!(pieces(&sent), [("00000".to_owned(), 45)]);
    lanes.work(&sent[0].0).await;
    let sent = lanes.sent();
    assert_eq!(pieces(&sent), [("00002".to_owned(), 0)], "and the lane goes on");
    let came = lanes.work(&sent[0].0).await;
    assert!(matches!(&came, Came::Closed(report) if report.ingested == 4), "{came:?}");
}

#[tokio::test]
async fn a_piece_whose_worker_died_before_it_began_is_looked_after_as_well() {
    let (lanes, first) = Lanes::planned().await;
    // The message of piece 0 is in the hands of a host that dies at once: nothing tells of that.
    second_lane_takes_over(&lanes, &first).await;
}

#[tokio::test]
async fn a_worker_whose_lane_is_done_looks_after_the_piece_of_a_dead_one() {
    let (lanes, first) = Lanes::planned().await;
    lanes.die_at(&first[0]).await;
    second_lane_takes_over(&lanes, &first).await;
    // The dead worker's own message comes at last.
    let late = lanes.work(&first[0]).await;
    assert!(matches!(late, Came::Over), "{late:?}");
}
