//! Descriptors that go from one process to the next through a socket (unix(7), `SCM_RIGHTS`).
//!
//! All of them are put in before anybody takes one out, as the one who takes is the program that this process is about to
//! become. A socket has room for so many messages only, so the one that is passed on carries others, and those the descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Descriptors in one message (the kernel's `SCM_MAX_FD`).
const PER_MESSAGE: usize = 253;

/// Messages in one socket: with what the kernel adds to each they fit into the smallest buffer that it gives.
const PER_CARRIER: usize = 64;

/// Puts all into a socket, in this order.
///
/// # Errors
/// The system's, if it takes no more. Nothing has left this process then.
pub(super) fn put<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<OwnedFd> {
    let (mut carriers, mut batch, mut messages) = (Vec::new(), Vec::with_capacity(PER_MESSAGE), PER_CARRIER);
    let mut all = descriptors.into_iter().peekable();
    let mut end: Option<OwnedFd> = None;
    while all.peek().is_some() {
        if messages == PER_CARRIER {
            let (near, far) = pair()?;
            (end, messages) = (Some(near), 0);
            carriers.push(far);
        }
        batch.clear();
        batch.extend(all.by_ref().take(PER_MESSAGE));
        send(end.as_ref().expect("made some lines ago").as_fd(), &batch)?;
        messages += 1;
    }
    let (near, far) = pair()?;
    for some in carriers.chunks(PER_MESSAGE) {
        let some: Vec<_> = some.iter().map(AsFd::as_fd).collect();
        send(near.as_fd(), &some)?;
    }
    Ok(far)
}

/// Takes out all that [`put`] has put in, when its process has become this one.
///
/// # Errors
/// The system's: there is no room for so many.
pub(super) fn take(from: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    for carrier in receive(from)? {
        all.append(&mut receive(carrier.as_fd())?);
    }
    Ok(all)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

fn send(to: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)), "there is room for as many");
    // A message has to have a byte of its own.
    sendmsg(to, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// All that is in a socket at whose other end nobody is any more.
fn receive(from: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut all = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PER_MESSAGE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let got = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                all.extend(descriptors);
            }
        }
        if got.bytes == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn as_many_come_out_as_went_in_and_in_their_order() {
        let identity = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap();
        for count in [0, 1, PER_MESSAGE, PER_MESSAGE + 1, PER_MESSAGE * PER_CARRIER + 5] {
            let two: Vec<std::fs::File> = (0..2).map(|_| tempfile()).collect();
            let sent: Vec<BorrowedFd<'_>> = (0..count).map(|at| two[at % 2].as_fd()).collect();
            let end = put(sent.iter().copied()).unwrap();
            let taken = take(end.as_fd()).unwrap();
            assert!(taken.iter().map(|fd| identity(fd.as_fd())).eq(sent.into_iter().map(identity)), "{count}");
        }
    }

    fn tempfile() -> std::fs::File {
        let mut file: std::fs::File = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
        file.write_all(b"x").unwrap();
        file
    }
}
