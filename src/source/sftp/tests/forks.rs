//! Many files over one login.

use super::*;

#[tokio::test]
async fn one_login_serves_many_forks_in_parallel_and_closes_with_the_last() {
    let world = World::new(DemoSftpScript::default()).await;
    let bytes = world.file("f", 700_000);
    let first = world.endpoint(&[]).open().await.expect("it opens");
    let mut forks: Vec<Box<dyn Session>> = std::iter::from_fn(|| first.fork()).take(100).collect();
    assert_eq!(forks.len(), 63, "64 users of one login");
    forks.pop();
    forks.push(first.fork().expect("a place came free"));
    drop(first);
    let tasks: Vec<_> = forks
        .into_iter()
        .map(|mut fork| {
            tokio::spawn(async move {
                for _ in 0..4 {
                    let found =
                        fetch(&mut *fork, &remote("/f", 700_000), 0).await.expect("it reads");
                    assert_eq!(found.len(), 700_000);
                }
                fetch(&mut *fork, &remote("/f", 700_000), 0).await.expect("it reads")
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.expect("it ends") == bytes);
    }
    assert_eq!((world.server.logins(), world.server.most_connections()), (1, 1));
    until("the connection closes", || world.server.connections() == 0).await;
}

#[tokio::test]
async fn dropped_reads_leave_nothing_behind() {
    let world = World::new(DemoSftpScript::default()).await;
    let bytes = world.file("f", 300_000);
    let connection = connect(&world).await;
    // More than the server's 1,024 handles, each given up in another moment: OPEN under way,
    // answered, being read.
    for round in 0..1200_u64 {
        let moment = Duration::from_micros(round % 200);
        let reading = async {
            let handle = connection.client.open(b"/f").await.expect("handles are given back");
            let mut reading = SftpReading::new(connection.client.clone(), handle, 0, Some(300_000));
            while reading.next().await.expect("it reads").is_some() {}
        };
        // Given up or not: both are fine.
        drop(tokio::time::timeout(moment, reading).await);
    }
    until("nothing waits", || connection.client.waiting() == 0).await;
    let mut session = world.session().await;
    assert!(fetch(&mut *session, &remote("/f", 300_000), 0).await.expect("it reads") == bytes);
}

#[tokio::test]
async fn more_than_128_open_handles_work() {
    let world = World::new(DemoSftpScript::default()).await;
    let bytes = world.file("f", 1000);
    let connection = connect(&world).await;
    let client = &connection.client;
    let mut handles = Vec::new();
    for _ in 0..300 {
        handles.push(client.open(b"/f").await.expect("it opens"));
    }
    for handle in handles {
        let mut reading = SftpReading::new(client.clone(), handle, 0, Some(1000));
        assert_eq!(reading.next().await.expect("it reads").as_deref(), Some(&bytes[..]));
    }
    until("nothing waits", || client.waiting() == 0).await;
}
