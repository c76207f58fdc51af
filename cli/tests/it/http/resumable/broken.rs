//! Uploads that are cut off, raced, ended, and left by their process.

use super::{
    Site, accepted, base64, becomes, begin, head, id_of, nothing_is_staged, number, offset, patch, picture, problem,
    row, send, settled, tus,
};
use futures_util::future::join_all;
use mediamill_shared::{
    clock::Stopwatch,
    control::{
        accept::{self, Accepted, Idempotency},
        jobs,
        resumable::{self, Piece},
    },
    jobs::JobState,
    objects::{ObjectKey, Store},
    services::Services,
    shutdown::Shutdown,
    testing::{PATIENCE, World},
    units::ByteCount,
};
use reqwest::{Method, StatusCode, header};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

mediamill_shared::on_both_sides!(
    what_arrived_before_a_cut_is_kept,
    a_cut_body_with_a_checksum_leaves_nothing,
    of_two_at_the_same_place_one_goes_on,
    another_process_goes_on,
    ending_an_upload_removes_its_bytes,
    an_upload_that_lost_its_process_at_the_end_is_finished_once,
);

/// Sends the head of a `PATCH` and `sent` of the bytes that it announces, and hangs up.
async fn cut(site: &Site, at: &str, offset: usize, bytes: &[u8], sent: usize, more: &str) {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n{more}\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        World::HOST,
        site.world.key,
        bytes.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes[..sent]).await.unwrap();
    stream.shutdown().await.unwrap();
    // Until the other side has noticed.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

/// An upload whose bytes have all arrived at a process that died before it judged them.
async fn orphaned(site: &Site, bytes: &[u8]) -> String {
    let at = begin(site, bytes.len()).await;
    let (services, tenant, id) = (&site.world.services, site.world.tenant().await, id_of(&at));
    let half = bytes.len() / 2;
    let mut pieces = Vec::new();
    for (start, part) in [(0, &bytes[..half]), (half, &bytes[half..])] {
        let object = ObjectKey::piece(tenant.id(), &id, ByteCount::of(start), 1);
        services.objects.put(&object, part.to_vec().into(), "").await.unwrap();
        pieces.push(Piece {
            start: ByteCount::of(start),
            bytes: ByteCount::of(part.len()),
            object,
        });
    }
    let now = services.clock.now();
    let added = resumable::append(&services.control, &id, ByteCount::ZERO, &pieces, now).await;
    assert!(added.unwrap());
    at
}

async fn what_arrived_before_a_cut_is_kept(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(5);
    let at = begin(&site, bytes.len()).await;
    let mut there = 0;
    // Within the first piece, after some, at a piece's end.
    for sent in [300_000, 1_200_000, 597_152] {
        cut(&site, &at, there, &bytes[there..], sent, "").await;
        let watch = Stopwatch::start();
        // What was sent has arrived to the last byte; when, is the other side's.
        while offset(&site, &at).await < there + sent {
            assert!(
                watch.elapsed() < PATIENCE,
                "{} of {}",
                offset(&site, &at).await,
                there + sent
            );
        }
        there += sent;
        assert_eq!(offset(&site, &at).await, there);
    }
    let (media, job) = accepted(&send(&site, &at, there, &bytes[there..]).await);
    becomes(&site, &media, &job, &bytes).await;
    settled(&site).await;
    site.close().await;
}

async fn a_cut_body_with_a_checksum_leaves_nothing(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(6);
    let at = begin(&site, bytes.len()).await;
    let checksum = format!("Upload-Checksum: sha256 {}\r\n", base64(&Sha256::digest(&bytes)));
    cut(&site, &at, 0, &bytes, 1_500_000, &checksum).await;
    nothing_is_staged(&site.world.services).await;
    assert_eq!(offset(&site, &at).await, 0);
    assert_eq!(row(&site, &at).await.unwrap().pieces, 0);
    settled(&site).await;
    site.close().await;
}

async fn of_two_at_the_same_place_one_goes_on(world: World) {
    let site = Site::of(world).await;
    for turn in 0..4 {
        let bytes = picture(10 + turn);
        let at = begin(&site, bytes.len()).await;
        assert_eq!(
            send(&site, &at, 0, &bytes[..1_000]).await.status(),
            StatusCode::NO_CONTENT
        );
        let answers = join_all((0..4).map(|_| patch(&site, &at, 1_000).body(bytes[1_000..].to_vec()).send())).await;
        let mut won = Vec::new();
        // Who is refused while it still sends may be hung up on before it reads why.
        for answer in answers.into_iter().flatten() {
            match answer.status().as_u16() {
                204 => won.push(accepted(&answer)),
                409 => drop(problem(answer, 409, "offset-mismatch").await),
                other => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let (media, job) = won.remove(0);
        assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
        becomes(&site, &media, &job, &bytes).await;
    }
    nothing_is_staged(&site.world.services).await;
    settled(&site).await;
    site.close().await;
}

async fn another_process_goes_on(world: World) {
    let site = Site::of(world).await;
    let services = &site.world.services;
    let other = Services::open(
        (*services.config).clone(),
        services.clock.clone(),
        services.entropy.clone(),
        Shutdown::new(),
    );
    let other = other.await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (api, router) = (other.clone(), mediamill_api::router(&other, None));
    other.shutdown.spawn(async move {
        mediamill_api::serve(&api, "api", listener, router).await.unwrap();
    });
    let bytes = picture(20);
    let at = begin(&site, bytes.len()).await;
    assert_eq!(
        send(&site, &at, 0, &bytes[..1_300_000]).await.status(),
        StatusCode::NO_CONTENT
    );
    let request = site
        .http
        .patch(format!("http://{address}{at}"))
        .header(header::HOST, World::HOST)
        .bearer_auth(&site.world.key)
        .header("tus-resumable", "1.0.0")
        .header(header::CONTENT_TYPE, "application/offset+octet-stream")
        .header("upload-offset", 1_300_000);
    let answer = request.body(bytes[1_300_000..].to_vec()).send().await.unwrap();
    let (media, job) = accepted(&answer);
    assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
    becomes(&site, &media, &job, &bytes).await;
    other.shutdown.stop();
    settled(&site).await;
    site.close().await;
}

async fn ending_an_upload_removes_its_bytes(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(30);
    let at = begin(&site, bytes.len()).await;
    send(&site, &at, 0, &bytes[..2_000_000]).await;
    let staged = site
        .world
        .services
        .objects
        .list(ObjectKey::STAGED, None, 10)
        .await
        .unwrap();
    assert_eq!(staged.len(), 2, "{staged:?}");
    let end = async || tus(&site, Method::DELETE, &at).send().await.unwrap();
    assert_eq!(end().await.status(), StatusCode::NO_CONTENT);
    nothing_is_staged(&site.world.services).await;
    problem(
        send(&site, &at, 2_000_000, &bytes[2_000_000..]).await,
        410,
        "upload-gone",
    )
    .await;
    let answer = head(&site, &at).await;
    assert_eq!(
        (answer.status().as_u16(), number(&answer, "upload-offset")),
        (410, None)
    );
    problem(end().await, 410, "upload-gone").await;
    // One that is ended while bytes arrive.
    let at = begin(&site, bytes.len()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let request = patch(&site, &at, 0).body(reqwest::Body::wrap_stream(futures_util::stream::unfold(
        receiver,
        async |mut receiver| receiver.recv().await.map(|item| (item, receiver)),
    )));
    let mut sending = JoinSet::new();
    sending.spawn(request.send());
    sender.send(Ok(bytes[..1_100_000].to_vec())).await.unwrap();
    let watch = Stopwatch::start();
    while offset(&site, &at).await == 0 {
        assert!(watch.elapsed() < PATIENCE);
    }
    assert_eq!(
        tus(&site, Method::DELETE, &at).send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    sender.send(Ok(bytes[1_100_000..].to_vec())).await.unwrap();
    drop(sender);
    // It may be hung up on before it reads why.
    if let Ok(answer) = sending.join_next().await.unwrap().unwrap() {
        problem(answer, 409, "offset-mismatch").await;
    }
    nothing_is_staged(&site.world.services).await;
    settled(&site).await;
    site.close().await;
}

async fn an_upload_that_lost_its_process_at_the_end_is_finished_once(world: World) {
    let site = Site::of(world).await;
    let services = site.world.services.clone();
    // Before anything was judged: whoever asks first has it finished.
    let bytes = picture(70);
    let at = orphaned(&site, &bytes).await;
    let answers = join_all((0..4).map(|_| head(&site, &at))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert!(
        statuses.contains(&200) && statuses.iter().all(|status| [200, 423].contains(status)),
        "{statuses:?}"
    );
    let (media, job) = accepted(&head(&site, &at).await);
    for answer in answers.iter().filter(|answer| answer.status() == 200) {
        assert_eq!(accepted(answer), (media.clone(), job.clone()));
    }
    becomes(&site, &media, &job, &bytes).await;
    // With the last bytes, an empty body does it too.
    let at = orphaned(&site, &bytes).await;
    let (_, job) = accepted(&send(&site, &at, bytes.len(), b"").await);
    site.world.finished(&job).await;
    // While it was being finished: nobody else does, until its claim is over.
    let at = orphaned(&site, &bytes).await;
    let until = services.clock.now().after(Duration::from_secs(3_600));
    assert!(
        resumable::claim(&services.control, &id_of(&at), services.clock.now(), until)
            .await
            .unwrap()
    );
    assert_eq!(head(&site, &at).await.status(), StatusCode::LOCKED);
    let answer = tus(&site, Method::DELETE, &at).send().await.unwrap();
    problem(answer, 423, "upload-busy").await;
    assert!(
        resumable::hold(&services.control, &id_of(&at), until, services.clock.now())
            .await
            .unwrap()
    );
    let (_, job) = accepted(&head(&site, &at).await);
    site.world.finished(&job).await;
    // After the job was accepted and before that was recorded: there is no second one.
    let at = orphaned(&site, &bytes).await;
    let tenant = site.world.tenant().await;
    let answer = format!(r#"{{"media":[{{"id":"{media}","job":{{"id":"{job}"}}}}]}}"#);
    let once = Idempotency {
        name: format!("resumable upload {}", id_of(&at)),
        request_hash: String::new(),
        answer,
    };
    let (stamp, now) = (tenant.context().stamp(), services.clock.now());
    let request = accept::Request {
        once: Some(&once),
        ..accept::Request::default()
    };
    let before = accept::accept(&services.control, tenant.id(), stamp, request, now, true).await;
    assert_eq!(before.unwrap(), Accepted::New);
    assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
    assert_eq!(
        jobs::get(&services.control, &job).await.unwrap().unwrap().state,
        JobState::Done
    );
    settled(&site).await;
    site.close().await;
}
