//! Others, who are asked about names that are not ours.

use crate::answer::Carrier;
use hickory_proto::op::{Message, ResponseCode};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The port of name servers.
const PORT: u16 = 53;

/// So long the first server is asked alone, and each further one before the next: one that is dead costs no more.
const HEAD_START: Duration = Duration::from_millis(100);

/// A datagram without an answer is sent again after so long.
const AGAIN: Duration = Duration::from_millis(1500);

/// Longest wait for any of the servers; clients give up after 5 s (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_secs(4);

/// Most servers that are asked about one name.
const MOST: usize = 3;

/// Longest answer by UDP that is read, in bytes; a longer one would come in fragments (DNS flag day 2020).
const DATAGRAM: usize = 4096;

/// The servers that are asked.
#[derive(Debug)]
pub enum Servers {
    /// These.
    Fixed(Vec<IpAddr>),
    /// Those of a file in the form of resolv.conf(5), as it is when they are asked. A server on the host's loopback
    /// (systemd-resolved) is asked there.
    File(File),
}

/// A file with servers, read again when it is another one than before.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

/// What a file held, and by what it is known: seconds and nanoseconds of its change, and its inode.
type Read = ((i64, i64, u64), Arc<[IpAddr]>);

impl File {
    /// The file of a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::new(None) }
    }

    fn servers(&self) -> Arc<[IpAddr]> {
        let seen = std::fs::metadata(&self.path).map(|m| (m.mtime(), m.mtime_nsec(), m.ino()));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*read, &seen) {
            (Some((known, servers)), Ok(seen)) if known == seen => servers.clone(),
            _ => {
                let text = std::fs::read_to_string(&self.path).unwrap_or_default();
                let servers: Arc<[IpAddr]> = named_in(&text).into();
                *read = seen.ok().map(|seen| (seen, servers.clone()));
                servers
            }
        }
    }
}

/// The servers that a text in the form of resolv.conf(5) names.
fn named_in(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

impl Servers {
    fn addresses(&self) -> Vec<SocketAddr> {
        let of_file;
        let all = match self {
            Self::Fixed(all) => all.as_slice(),
            Self::File(file) => {
                of_file = file.servers();
                &of_file
            }
        };
        all.iter().take(MOST).map(|ip| SocketAddr::new(*ip, PORT)).collect()
    }

    /// Asks the servers a question: the first that knows an answer wins. One that refuses or fails is heard only if no
    /// other does better; `None` if none says anything.
    pub async fn ask(&self, packet: &[u8], carrier: Carrier) -> Option<Vec<u8>> {
        ask(&self.addresses(), packet, carrier).await
    }
}

async fn ask(servers: &[SocketAddr], packet: &[u8], carrier: Carrier) -> Option<Vec<u8>> {
    let mut second_best = None;
    let raced = timeout(PATIENCE, race(servers, packet, carrier, &mut second_best)).await;
    let mut reply = raced.ok().flatten().or(second_best)?;
    reply[..2].copy_from_slice(&packet[..2]);
    Some(reply)
}

async fn race(
    servers: &[SocketAddr],
    packet: &[u8],
    carrier: Carrier,
    second_best: &mut Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut waiting = servers.iter().copied();
    let mut asked = JoinSet::new();
    loop {
        let next = waiting.next();
        if let Some(server) = next {
            let packet = packet.to_vec();
            asked.spawn(async move { one(server, packet, carrier).await });
        }
        tokio::select! {
            done = asked.join_next() => match done {
                Some(Ok(Ok((reply, true)))) => return Some(reply),
                Some(Ok(Ok((reply, false)))) => *second_best = Some(reply),
                Some(_) => {}
                None => return None,
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// Asks one server. Tells whether the reply is one to end the search with.
async fn one(server: SocketAddr, mut packet: Vec<u8>, carrier: Carrier) -> io::Result<(Vec<u8>, bool)> {
    // A number that nobody can guess, and by UDP a port of the kernel's choice (RFC 5452).
    let id = getrandom::u32().map_err(io::Error::other)?.to_ne_bytes();
    packet[..2].copy_from_slice(&id[..2]);
    let question = Message::from_vec(&packet).map_err(io::Error::other)?.queries;
    let fits = |reply: &[u8]| {
        let same = reply.len() >= 12 && reply[..2] == packet[..2] && reply[2] & 0x80 != 0;
        Message::from_vec(reply).ok().filter(|m| same && m.queries == question).map(|m| m.metadata.response_code)
    };
    let (reply, code) = match carrier {
        Carrier::Udp => by_udp(server, &packet, fits).await?,
        Carrier::Tcp => by_tcp(server, &packet, fits).await?,
    };
    Ok((reply, matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)))
}

async fn by_udp(
    server: SocketAddr,
    packet: &[u8],
    fits: impl Fn(&[u8]) -> Option<ResponseCode>,
) -> io::Result<(Vec<u8>, ResponseCode)> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; DATAGRAM];
    socket.send(packet).await?;
    loop {
        let length = match timeout(AGAIN, socket.recv(&mut buffer)).await {
            Ok(received) => received?,
            Err(_) => {
                socket.send(packet).await?;
                continue;
            }
        };
        // Anything else is somebody's guess.
        if let Some(code) = fits(&buffer[..length]) {
            buffer.truncate(length);
            return Ok((buffer, code));
        }
    }
}

async fn by_tcp(
    server: SocketAddr,
    packet: &[u8],
    fits: impl Fn(&[u8]) -> Option<ResponseCode>,
) -> io::Result<(Vec<u8>, ResponseCode)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    let code = fits(&reply).ok_or_else(|| io::Error::other("the answer is to another question"))?;
    Ok((reply, code))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    #[test]
    fn servers_stand_behind_their_keyword() {
        let text =
            "# a\nnameserver 127.0.0.53\nsearch a.test\n nameserver\t2001:db8::53 x\nnameserver bad\nnameserver\n";
        let wanted: Vec<IpAddr> = vec!["127.0.0.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        assert_eq!(named_in(text), wanted);
    }

    fn question() -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    /// A server on loopback that replies with a code after a while, or not at all.
    async fn server(code: Option<ResponseCode>, after: Duration) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let Some(code) = code else { continue };
                sleep(after).await;
                let mut reply = Message::from_vec(&buffer[..length]).unwrap().into_response();
                reply.metadata.response_code = code;
                socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
            }
        });
        address
    }

    async fn asked(servers: &[SocketAddr]) -> (Option<ResponseCode>, Duration) {
        let begun = tokio::time::Instant::now();
        let reply = ask(servers, &question(), Carrier::Udp).await;
        let reply = reply.map(|reply| Message::from_vec(&reply).unwrap());
        assert!(reply.as_ref().is_none_or(|r| r.metadata.id == 7), "the client's own number comes back");
        (reply.map(|r| r.metadata.response_code), begun.elapsed())
    }

    #[tokio::test]
    async fn a_dead_first_server_costs_its_head_start_and_a_failing_one_nothing() {
        let dead = server(None, Duration::ZERO).await;
        let failing = server(Some(ResponseCode::ServFail), Duration::ZERO).await;
        let good = server(Some(ResponseCode::NoError), Duration::ZERO).await;
        let (code, took) = asked(&[dead, good]).await;
        assert_eq!(code, Some(ResponseCode::NoError));
        assert!(took >= HEAD_START && took < AGAIN, "{took:?}");
        let (code, took) = asked(&[failing, good]).await;
        assert_eq!(code, Some(ResponseCode::NoError));
        assert!(took < HEAD_START, "{took:?}");
        assert_eq!(asked(&[failing]).await.0, Some(ResponseCode::ServFail), "better than no word");
        assert_eq!(asked(&[]).await.0, None);
    }
}
