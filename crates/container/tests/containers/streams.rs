//! Standard input and output, terminals, logs.

use crate::lab::{lab, soon, strings};
use netmode_container::{Extent, Output};
use netmode_model::api::{ExecRequest, Stream};
use std::time::Duration;

async fn read_all(mut output: Output) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = soon(output.next()).await.unwrap() {
        all.extend(chunk.bytes);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let lab = lab!("what_goes_in_comes_out");
    let mut spec = lab.spec(&["cat"]);
    spec.stdin = true;
    let id = lab.create(&spec).id;
    let mut session = soon(lab.containers.attach(id)).await.unwrap();
    lab.containers.start(id).unwrap();
    let sent: String = (0..60_000).map(|n| format!("line {n}\n")).collect();
    let mut input = session.input;
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        input.write(copy.as_bytes()).await.unwrap();
        input.close().unwrap();
        input
    });
    let mut got = Vec::new();
    while let Some(chunk) = soon(session.output.next()).await.unwrap() {
        got.extend(chunk.bytes);
    }
    assert!(got == sent.as_bytes(), "{} of {} bytes came back", got.len(), sent.len());
    drop(writing.await.unwrap());
    assert_eq!(soon(lab.containers.wait(id)).await.unwrap().code, 0);
    assert_eq!(lab.output(id, None).await.0, sent);
    assert_eq!(lab.output(id, Some(2)).await.0, "line 59998\nline 59999\n");
}

#[tokio::test]
async fn streams_are_told_apart() {
    let lab = lab!("streams_are_told_apart");
    let id = lab.create(&lab.spec(&["sh", "-c", "echo out; sleep 0.2; echo err >&2"])).id;
    let mut session = soon(lab.containers.attach(id)).await.unwrap();
    lab.containers.start(id).unwrap();
    let first = soon(session.output.next()).await.unwrap().unwrap();
    assert_eq!((first.stream, first.bytes.as_slice()), (Stream::Stdout, &b"out\n"[..]));
    let second = soon(session.output.next()).await.unwrap().unwrap();
    assert_eq!((second.stream, second.bytes.as_slice()), (Stream::Stderr, &b"err\n"[..]));
    assert_eq!(soon(session.output.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_terminal_has_a_size() {
    let lab = lab!("a_terminal_has_a_size");
    let mut spec = lab.spec(&["sh", "-c", "read x; stty size; read y; echo got $y; exit 4"]);
    (spec.stdin, spec.tty) = (true, true);
    let id = lab.create(&spec).id;
    let mut session = soon(lab.containers.attach(id)).await.unwrap();
    lab.containers.start(id).unwrap();
    session.input.resize(33, 99).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    session.input.write(b"go\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // A client that leaves does not end the terminal.
    drop(session);
    let mut session = soon(lab.containers.attach(id)).await.unwrap();
    session.input.write(b"word\n").await.unwrap();
    assert!(read_all(session.output).await.contains("got word"));
    assert_eq!(soon(lab.containers.wait(id)).await.unwrap().code, 4);
    let shown = lab.output(id, None).await.0;
    assert!(shown.contains("33 99"), "{shown:?}");
}

#[tokio::test]
async fn exec_has_input_and_terminal() {
    let lab = lab!("exec_has_input_and_terminal");
    let id = lab.start(&lab.spec(&["sleep", "60"]));
    let request = ExecRequest { command: strings(&["wc", "-c"]), stdin: true, ..Default::default() };
    let (mut input, output, end) = soon(lab.containers.exec(id, &request)).await.unwrap().split();
    input.write(&vec![b'x'; 300_000]).await.unwrap();
    input.close().unwrap();
    assert_eq!(read_all(output).await.trim(), "300000");
    assert_eq!(soon(end).await.unwrap(), 0);
    let command = strings(&["sh", "-c", "read x; stty size; exit 6"]);
    let request = ExecRequest { command, stdin: true, tty: true, ..Default::default() };
    let (mut input, output, end) = soon(lab.containers.exec(id, &request)).await.unwrap().split();
    input.resize(40, 100).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    input.write(b"go\n").await.unwrap();
    let shown = read_all(output).await;
    assert!(shown.contains("40 100"), "{shown:?}");
    assert_eq!(soon(end).await.unwrap(), 6);
}

#[tokio::test]
async fn a_followed_log_ends_with_the_container() {
    let lab = lab!("a_followed_log_ends_with_the_container");
    let id = lab.start(&lab.spec(&["sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"]));
    let mut logs = lab.containers.logs(id, Extent { follow: true, ..Extent::default() }).unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = soon(logs.next()).await.unwrap() {
        all.extend(chunk.bytes);
    }
    assert_eq!(all, b"1\n2\n3\n4\n5\n");
}
