//! `mediamill quickstart`, as a newcomer runs it: the built program, its real back ends, its files.

use crate::program::{Program, files, holds, port_after};
use std::path::Path;

/// What the sample photographs give away, and no stored file may.
const SECRETS: [&[u8]; 6] = [
    b"SN-0042-1337",
    b"A. Nobody",
    b"Mediamill Drawing Camera",
    b"Drawing Lens",
    b"mediamill samples",
    b"http://ns.adobe.com/xap",
];

/// Length of the EXIF block, if there is one.
fn exif_length(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(6).position(|window| window == b"Exif\0\0")?;
    let length = bytes.get(at - 2..at)?;
    Some(usize::from(u16::from_be_bytes(length.try_into().unwrap())))
}

fn assert_clean(objects: &Path) -> usize {
    let stored = files(&objects.join("media"));
    for path in &stored {
        let bytes = std::fs::read(path).unwrap();
        for secret in SECRETS {
            assert!(
                !holds(&bytes, secret),
                "{} holds {}",
                path.display(),
                String::from_utf8_lossy(secret)
            );
        }
        // Display orientation may stay: one entry of twelve bytes, and what is around it.
        assert!(
            exif_length(&bytes).is_none_or(|length| length <= 64),
            "{} keeps its EXIF",
            path.display()
        );
    }
    stored.len()
}

#[test]
fn samples_become_ready_and_no_stored_file_tells_where_they_were_taken() {
    let samples = mediamill_media::sample::photographs();
    for sample in &samples {
        assert!(
            holds(&sample.bytes, b"SN-0042-1337") && exif_length(&sample.bytes).unwrap() > 64,
            "{}",
            sample.name
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let program = Program::new([]);
    let arguments = [
        "quickstart",
        "--exit",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ];
    // A second time over the first one's directory: fresh again.
    for _ in 0..2 {
        let out = program.answer(&arguments);
        assert!(
            out.contains(&format!("{0} of {0} ready, 0 not taken, 0 failed", samples.len())),
            "{out}"
        );
        for removed in [
            "GPS position",
            "camera serial number (SN-0042-1337)",
            "embedded thumbnail",
        ] {
            assert_eq!(out.matches(removed).count(), samples.len(), "{removed}: {out}");
        }
        assert_eq!(assert_clean(&data.join("objects")), samples.len() * 4);
        let staged = data.join("objects/staged");
        assert!(
            !staged.try_exists().unwrap() || files(&staged).is_empty(),
            "bytes stayed staged"
        );
    }
    // The tenant is one like any other: an operator goes on with it.
    let key = Program::embedded(&data).answer(&["keys", "create", "demo"]);
    assert!(!key.trim().is_empty());
    let usage = Program::embedded(&data).answer(&["usage", "demo", "--json"]);
    let usage: serde_json::Value = serde_json::from_str(&usage).unwrap();
    assert_eq!(
        (&usage["agree"], &usage["rows"]["media"]),
        (&true.into(), &samples.len().into())
    );
}

#[test]
fn files_that_are_no_pictures_are_told_and_are_not_our_failure() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir_all(pictures.join("deeper")).unwrap();
    let photograph = mediamill_media::sample::photographs().swap_remove(0).bytes;
    std::fs::write(pictures.join("deeper/Übung 1"), &photograph).unwrap();
    std::fs::write(pictures.join("cut-off.jpg"), &photograph[..300]).unwrap();
    std::fs::write(pictures.join("notes.txt"), "no picture at all").unwrap();
    std::fs::write(pictures.join("empty.jpg"), "").unwrap();
    let data = folder.path().join("demo");
    let arguments = [
        "quickstart",
        pictures.to_str().unwrap(),
        "--exit",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ];
    let out = Program::new([]).answer(&arguments);
    assert!(out.contains("1 of 4 ready, 3 not taken, 0 failed"), "{out}");
    let line = |name: &str| {
        out.lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {out}"))
            .to_owned()
    };
    assert!(line("deeper/Übung 1").contains("ready"));
    for name in ["cut-off.jpg", "notes.txt", "empty.jpg"] {
        assert!(line(name).contains("not taken"), "{out}");
    }
}

#[test]
fn the_gallery_shows_the_pictures_until_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let mut running = Program::new([]).start(&[
        "quickstart",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    let port = port_after(&running.says("See them at"), "demo.localhost:");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let http = reqwest::Client::new();
        let get = |path: String, host: &str| {
            let request = http.get(format!("http://127.0.0.1:{port}{path}")).header("host", host);
            async { request.send().await.unwrap() }
        };
        let page = get("/".into(), "demo.localhost").await;
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("script"),
            "{policy}"
        );
        let page = page.text().await.unwrap();
        assert!(
            page.contains("removed: GPS position") && !page.contains("<script"),
            "{page}"
        );
        let (_, rest) = page.split_once("<img src=\"").unwrap();
        let (thumbnail, _) = rest.split_once('"').unwrap();
        let picture = get(thumbnail.to_owned(), "demo.localhost").await;
        assert_eq!(
            (picture.status().as_u16(), &picture.headers()["content-type"]),
            (200, &"image/jpeg".parse().unwrap())
        );
        let elsewhere = get("/".into(), "127.0.0.1").await;
        assert_eq!(elsewhere.status(), 404);
        assert!(
            elsewhere
                .text()
                .await
                .unwrap()
                .contains(&format!("http://demo.localhost:{port}/"))
        );
    });
    assert_eq!(running.end("INT").code(), Some(0));
}

#[test]
fn a_directory_that_is_somebody_elses_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let ran = Program::new([]).run(&["quickstart", "--exit", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.starts_with("error: ") && ran.err.contains("--data DIR"),
        "{}",
        ran.err
    );
    assert_eq!(files(folder.path()).len(), 1);
}
