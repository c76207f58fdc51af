//! The helper's side: it confines itself, and then makes pictures until its worker has no more.

use super::{
    confine::confine,
    task::{Everything, Task, VariantsAlone},
    wire::{self, Answer, HEAD, Nonsense, Request},
};
use mediamill_media::Facts;
use std::io::{self, Read, Write};

/// Confines this process for good and answers requests on standard input until it ends. Whatever a request does to it,
/// its worker deals with: nothing here looks at the time or at memory.
///
/// # Errors
/// When its worker is gone, or asks what no worker asks.
pub fn serve() -> io::Result<()> {
    let confinement = confine();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let ready = wire::frame(&Answer::Ready(confinement), 0).map_err(strange)?;
    output.write_all(&ready)?;
    output.flush()?;
    while let Some(head) = head(&mut input)? {
        let (header, body) = wire::lengths(head, u64::MAX).map_err(strange)?;
        let mut text = vec![0; header];
        input.read_exact(&mut text)?;
        let request: Request = wire::header(&text).map_err(strange)?;
        let bytes = exactly(&mut input, body)?;
        let (frame, files) = answer(bytes, &request).map_err(strange)?;
        output.write_all(&frame)?;
        for file in files {
            output.write_all(&file)?;
        }
        output.flush()?;
    }
    Ok(())
}

/// What becomes of a picture, which is gone when this returns.
fn answer(bytes: Vec<u8>, request: &Request) -> Result<(Vec<u8>, Vec<Vec<u8>>), Nonsense> {
    if request.original {
        let made = Everything::here(&bytes, &request.settings, &|| false);
        drop(bytes);
        return wire::answer(made.map(|made| (Some(made.original), made.variants, made.facts)));
    }
    let made = VariantsAlone::here(&bytes, &request.settings, &|| false);
    drop(bytes);
    wire::answer(made.map(|variants| (None, variants, Facts::default())))
}

/// The next frame's first bytes; `None` when there is none.
fn head(input: &mut impl Read) -> io::Result<Option<[u8; HEAD]>> {
    let mut head = Vec::with_capacity(HEAD);
    input.take(HEAD as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(None);
    }
    head.try_into()
        .map(Some)
        .map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

fn exactly(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let wanted = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(io::Error::other)?;
    input.take(length).read_to_end(&mut bytes)?;
    if bytes.len() != wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn strange(nonsense: Nonsense) -> io::Error {
    io::Error::other(nonsense)
}
