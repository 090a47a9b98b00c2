//! The client against an agent that follows a script: every byte of its answers is chosen here.
#![allow(clippy::unwrap_used)]

use netmode_client::{Client, ClientError, Frame, ProtocolError, Session};
use netmode_model::api::{Control, ExecRequest, KillRequest, RunRequest, StopRequest};
use netmode_model::{Code, api};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Script {
    socket: PathBuf,
    /// What the server read.
    server: JoinHandle<String>,
}

/// A server for one connection: it reads the request whole, then does what `answer` says.
fn script(answer: impl FnOnce(&mut UnixStream) + Send + 'static) -> Script {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("netmode-client-{}-{}.sock", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let socket = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let path = socket.clone();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        let request = read_request(&mut stream);
        answer(&mut stream);
        request
    });
    Script { socket, server }
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

impl Script {
    fn client(&self) -> Client {
        Client::new(self.socket.clone()).with_timeouts(Duration::from_secs(5), Duration::from_secs(5))
    }

    fn request(self) -> String {
        self.server.join().unwrap()
    }
}

fn says(text: &'static str) -> Script {
    script(move |stream| stream.write_all(text.as_bytes()).unwrap())
}

fn protocol<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ProtocolError {
    match result {
        Err(ClientError::Protocol(error)) => error,
        other => panic!("{other:?}"),
    }
}

const VERSION: &str = r#"{"version":"0.1.0","api":"v1","netns":4026531840,"later":true}"#;

fn version_reply() -> api::VersionReply {
    api::VersionReply { version: "0.1.0".into(), api: "v1".into(), netns: 4026531840 }
}

#[test]
fn an_answer_in_single_bytes_is_put_together() {
    let server = script(|stream| {
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{VERSION}", VERSION.len());
        for byte in text.bytes() {
            stream.write_all(&[byte]).unwrap();
            std::thread::yield_now();
        }
    });
    assert_eq!(server.client().version().unwrap(), version_reply());
    assert_eq!(server.request(), "GET /v1/version HTTP/1.1\r\nHost: netmode\r\nConnection: close\r\n\r\n");
}

#[test]
fn chunks_an_informational_head_and_an_end_of_file_are_understood() {
    let server = script(|stream| {
        let (a, b) = VERSION.split_at(11);
        let text = format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{a}\r\n{:X};x=1\r\n{b}\r\n0\r\nTrailer: x\r\n\r\n",
            a.len(),
            b.len()
        );
        for piece in text.as_bytes().chunks(7) {
            stream.write_all(piece).unwrap();
        }
    });
    assert_eq!(server.client().version().unwrap(), version_reply());

    let server = script(|stream| write!(stream, "HTTP/1.1 200 OK\r\n\r\n{VERSION}").unwrap());
    assert_eq!(server.client().version().unwrap(), version_reply());
}

#[test]
fn an_error_of_the_agent_keeps_its_code_and_sentence() {
    let body = r#"{"code":"port-taken","message":"tcp 8080 is published by web-1"}"#;
    let server = script(move |stream| {
        write!(stream, "HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    match server.client().create(&RunRequest::default(), true) {
        Err(ClientError::Api(error)) => {
            assert_eq!((error.code, error.message.as_str()), (Code::PortTaken, "tcp 8080 is published by web-1"));
        }
        other => panic!("{other:?}"),
    }
    let request = server.request();
    assert!(request.starts_with("POST /v1/tasks?start=true HTTP/1.1\r\n"), "{request}");
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<RunRequest>(body).unwrap(), RunRequest::default());
}

#[test]
fn what_is_no_answer_is_told_as_such() {
    let text = protocol(says("HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\n\x1b[31m").client().version()).to_string();
    assert_eq!(text, "the agent answered with status 502: [31m");
    let bad_json = says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{oo}").client().version();
    assert!(matches!(protocol(bad_json), ProtocolError::Json(_)));
    assert!(matches!(protocol(says("SSH-2.0-x\r\n\r\n").client().version()), ProtocolError::NotHttp(_)));
    let bad_chunk = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").client().version();
    assert!(matches!(protocol(bad_chunk), ProtocolError::NotHttp(_)));
    let huge = says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").client().version();
    assert!(matches!(protocol(huge), ProtocolError::BodyTooLarge { .. }));
    let chunk = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n").client().version();
    assert!(matches!(protocol(chunk), ProtocolError::BodyTooLarge { .. }));
}

#[test]
fn an_early_end_is_told_wherever_it_comes() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ] {
        let error = protocol(says(text).client().version());
        assert!(matches!(error, ProtocolError::Closed), "{text:?}: {error}");
    }
}

#[test]
fn an_endless_head_is_refused() {
    let server = script(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Until the client has had enough.
        while stream.write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
    });
    assert!(matches!(protocol(server.client().version()), ProtocolError::HeadTooLarge { .. }));
}

#[test]
fn a_silent_or_a_trickling_agent_costs_no_more_than_the_time_given() {
    for trickle in [false, true] {
        let server = script(move |stream| {
            for _ in 0..40 {
                std::thread::sleep(Duration::from_millis(50));
                if trickle && stream.write_all(b"H").is_err() {
                    return;
                }
            }
        });
        let begun = Instant::now();
        let client = server.client().with_timeouts(Duration::from_secs(5), Duration::from_millis(200));
        let error = protocol(client.version());
        // A trickle of letters is no status line, but that is not known before the time is up.
        assert!(matches!(error, ProtocolError::Timeout { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
}

#[test]
fn nobody_listening_is_unreachable() {
    let socket = std::env::temp_dir().join(format!("netmode-nobody-{}.sock", std::process::id()));
    let error = Client::new(socket.clone()).version().unwrap_err();
    assert_eq!(error.code(), Code::AgentUnreachable);
    assert!(error.is_connection_lost());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach the agent at {}: No such file or directory; start it with \"systemctl start netmode\" or run \"netmoded\"",
            socket.display()
        )
    );
    // A socket whose owner died.
    drop(UnixListener::bind(&socket).unwrap());
    let error = Client::new(socket.clone()).version().unwrap_err().to_string();
    assert!(error.contains("Connection refused; start it"), "{error}");
    std::fs::remove_file(socket).unwrap();
}

#[test]
fn each_route_has_its_method_and_target() {
    fn target(call: impl FnOnce(&Client)) -> String {
        let server = says("HTTP/1.1 204 No Content\r\n\r\n");
        call(&server.client());
        server.request().lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_string()
    }
    let name = "a/b c";
    assert_eq!(target(|c| c.start(name).unwrap()), "POST /v1/tasks/a%2Fb%20c/start");
    assert_eq!(target(|c| c.stop("w", StopRequest { timeout: Some(3) }).unwrap()), "POST /v1/tasks/w/stop");
    assert_eq!(target(|c| c.kill("w", &KillRequest { signal: "TERM".into() }).unwrap()), "POST /v1/tasks/w/kill");
    assert_eq!(target(|c| c.remove("w", true).unwrap()), "DELETE /v1/tasks/w?force=true");
    assert_eq!(target(|c| c.detach("a&b", "eth0").unwrap()), "DELETE /v1/endpoints?owner=a%26b&interface=eth0");
    assert_eq!(target(|c| drop(c.tasks(true))), "GET /v1/tasks?all=true");
    assert_eq!(target(|c| drop(c.task("w"))), "GET /v1/tasks/w");
    assert_eq!(target(|c| drop(c.wait("w").unwrap().answer())), "GET /v1/tasks/w/wait");
    assert_eq!(target(|c| drop(c.logs("w", true, Some(5), None))), "GET /v1/tasks/w/logs?follow=true&tail=5");
    assert_eq!(target(|c| drop(c.attach("w", Some((24, 80))))), "GET /v1/tasks/w/attach?rows=24&cols=80");
    assert_eq!(target(|c| drop(c.exec("w", &ExecRequest::default()))), "POST /v1/tasks/w/exec");
    assert_eq!(target(|c| drop(c.networks())), "GET /v1/networks");
    assert_eq!(target(|c| drop(c.network("bridge"))), "GET /v1/networks/bridge");
    assert_eq!(target(|c| drop(c.ports())), "GET /v1/ports");
    assert_eq!(target(|c| drop(c.doctor())), "GET /v1/doctor");
    assert_eq!(target(|c| drop(c.plan(&RunRequest::default()))), "POST /v1/tasks/plan");
}

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: netmode-stream\r\n\r\n";

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 0, 0, 0], &length[..], body].concat()
}

#[test]
fn a_session_carries_frames_both_ways_from_two_threads() {
    let server = script(|stream| {
        // The first frames come in the same segment as the head, the rest in single bytes.
        let mut first = [UPGRADED, &frame(1, b"out"), &frame(9, b"of a later version")].concat();
        let second = [frame(2, b"err"), frame(3, br#"{"later":{}}"#), frame(3, br#"{"exit":{"code":7}}"#)].concat();
        first.extend_from_slice(&second[..3]);
        stream.write_all(&first).unwrap();
        for byte in &second[3..] {
            stream.write_all(&[*byte]).unwrap();
        }
        let wanted = [frame(0, b"hello"), frame(3, br#"{"resize":{"rows":24,"cols":80}}"#), frame(0, b"")].concat();
        let mut got = vec![0; wanted.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, wanted);
    });
    let (mut reader, mut writer) = server.client().attach("web", None).unwrap().split().unwrap();
    let sending = std::thread::spawn(move || {
        writer.stdin(b"hello").unwrap();
        writer.stdin(b"").unwrap();
        writer.control(&Control::Resize { rows: 24, cols: 80 }).unwrap();
        writer.close_stdin().unwrap();
    });
    assert_eq!(reader.next().unwrap(), Some(Frame::Stdout(b"out")));
    assert_eq!(reader.next().unwrap(), Some(Frame::Stderr(b"err")));
    assert_eq!(reader.next().unwrap(), Some(Frame::Control(Control::Exit { code: 7 })));
    assert_eq!(reader.next().unwrap(), None);
    sending.join().unwrap();
    assert!(server.request().contains("Connection: Upgrade\r\nUpgrade: netmode-stream\r\n"));
}

#[test]
fn a_session_that_ends_inside_a_frame_or_sends_a_giant_one_fails() {
    let session = |bytes: Vec<u8>| -> Session {
        let server = script(move |stream| stream.write_all(&[UPGRADED, &bytes].concat()).unwrap());
        server.client().attach("web", None).unwrap()
    };
    let mut cut = frame(1, b"output");
    cut.truncate(10);
    let (mut reader, _writer) = session(cut).split().unwrap();
    assert!(matches!(reader.next(), Err(ProtocolError::Closed)));
    let (mut reader, _writer) = session(vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).split().unwrap();
    assert!(matches!(reader.next(), Err(ProtocolError::FrameTooLarge { .. })));
    let (mut reader, _writer) = session(vec![1, 0]).split().unwrap();
    assert!(matches!(reader.next(), Err(ProtocolError::Closed)));
}

#[test]
fn an_upgrade_that_is_refused_is_an_ordinary_error() {
    let server =
        says("HTTP/1.1 404 Not Found\r\nContent-Length: 42\r\n\r\n{\"code\":\"not-found\",\"message\":\"no task x\"}");
    let error = server.client().attach("x", None).map(|_| ()).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (Code::NotFound, "no task x"));
}

#[cfg(feature = "fd")]
#[test]
fn a_descriptor_comes_with_the_first_bytes() {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::MetadataExt;

    let socket = std::env::temp_dir().join(format!("netmode-fd-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 8192];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
            panic!("no descriptor")
        };
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", fds[0])).unwrap().ino();
        let reply = format!(r#"{{"id":"{}","networks":[],"networkBindings":[]}}"#, "0".repeat(32));
        write!(stream, "HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n{reply}", reply.len()).unwrap();
        inode
    });
    let netns = std::fs::File::open("/proc/self/ns/net").unwrap();
    let request = api::AttachRequest {
        owner: "test".into(),
        netns: api::NetnsRef::Fd(0),
        interface: None,
        network: None,
        mode: Default::default(),
        net: Default::default(),
    };
    let reply = Client::new(socket.clone()).attach_netns(&request, netns.as_fd()).unwrap();
    assert_eq!(reply.id.to_string(), "0".repeat(32));
    assert_eq!(server.join().unwrap(), netns.metadata().unwrap().ino());
    std::fs::remove_file(socket).unwrap();
}
