//! Descriptors that come with bytes over a unix socket (SCM_RIGHTS, unix(7)).

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Sends one byte, and copies of descriptors with it, without waiting.
///
/// # Errors
/// EAGAIN when the queue is full; anything else that sendmsg(2) says.
pub fn send(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let rights = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[0])], &rights, flags, None)?;
    Ok(())
}

/// Reads what is there without waiting, and takes the descriptors that came along, close-on-exec; of more than `MOST`
/// the rest is closed.
///
/// # Errors
/// EAGAIN when nothing is there; anything else that recvmsg(2) says.
pub fn receive<const MOST: usize>(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    // It owns what the kernel has put into this process, also where the control data was cut off.
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut handed = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            handed.extend(fds);
        }
    }
    // The space is aligned, so that one more may have found room.
    handed.truncate(MOST);
    Ok((message.bytes, handed))
}

/// The supplementary groups of the process at the other end, as they were when it connected (SO_PEERGROUPS, Linux 4.13).
/// None where the kernel does not tell.
pub fn peer_groups(socket: BorrowedFd<'_>) -> Vec<u32> {
    /// `NGROUPS_MAX`, linux/limits.h.
    const MOST: usize = 65_536;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is what the vector has.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<libc::gid_t>();
        match nix::errno::Errno::result(result) {
            Ok(_) => {
                groups.truncate(count);
                return groups;
            }
            // The kernel says how many there are.
            Err(nix::errno::Errno::ERANGE) if count > groups.len() && count <= MOST => groups.resize(count, 0),
            Err(_) => return Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_comes_with_the_first_bytes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let path = std::env::temp_dir().join(format!("netmode-scm-{}", std::process::id()));
        let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"handed over").unwrap();
        send(theirs.as_fd(), &[file.as_fd()]).unwrap();
        let mut buffer = [0; 8];
        let (n, mut handed) = receive::<4>(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((n, handed.len()), (1, 1));
        let mut copy = File::from(handed.remove(0));
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "handed over");
        assert_eq!(receive::<4>(ours.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    #[test]
    fn what_is_too_much_is_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        send(theirs.as_fd(), &[write.as_fd(); 9]).unwrap();
        drop(write);
        let (_, handed) = receive::<4>(ours.as_fd(), &mut [0; 8]).unwrap();
        assert_eq!(handed.len(), 4);
        drop(handed);
        // Its end comes when nobody has the other end any more.
        assert_eq!(read.read(&mut [0; 1]).unwrap(), 0);
    }
}
