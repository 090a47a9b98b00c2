//! Routes that become streams: logs, attach, exec. Frames both ways, see [`Stream`].

use super::answer::{Answer, Body, Failed};
use crate::agent::Agent;
use crate::life;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use netmode_container::{ContainerError, Extent, Input, Output};
use netmode_model::api::{Control, ExecRequest, STREAM_PROTOCOL, Stream};
use netmode_model::{ApiError, Code};
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

type App = State<Arc<Agent>>;
pub(super) type Incoming = ReadHalf<TokioIo<Upgraded>>;
pub(super) type Outgoing = WriteHalf<TokioIo<Upgraded>>;

/// Longest body of a frame that a client may send, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// How long after its last output a container may take to end.
const END_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Options of GET /v1/tasks/{task}/logs.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Go on until the container ends.
    follow: bool,
    /// Only the last lines.
    tail: Option<usize>,
    /// Only what was written then or later, RFC 3339.
    since: Option<jiff::Timestamp>,
}

/// Options of GET /v1/tasks/{task}/attach: the size that the terminal has before the container is started.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeQuery {
    rows: Option<u16>,
    cols: Option<u16>,
}

pub(super) fn failed(e: &ContainerError) -> Failed {
    Failed(ApiError::new(e.code(), e.to_string()))
}

/// The connection that a request wants to take over.
pub(super) fn upgrade(request: &mut Request) -> Result<OnUpgrade, Failed> {
    let asked = request.headers().get(header::UPGRADE).is_some_and(|v| v == STREAM_PROTOCOL);
    let taken = request.extensions_mut().remove::<OnUpgrade>().filter(|_| asked);
    taken.ok_or_else(|| {
        let text = format!("this path is a stream: send \"Connection: Upgrade\" and \"Upgrade: {STREAM_PROTOCOL}\"");
        Failed(ApiError::new(Code::BadRequest, text))
    })
}

pub(super) fn switching() -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(STREAM_PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The two halves of a connection that was taken over.
pub(super) async fn halves(upgrade: OnUpgrade) -> Option<(Incoming, Outgoing)> {
    match upgrade.await {
        Ok(upgraded) => Some(tokio::io::split(TokioIo::new(upgraded))),
        Err(error) => {
            tracing::debug!(%error, "the caller went away");
            None
        }
    }
}

#[utoipa::path(get, path = "/v1/tasks/{task}/logs", params(("task" = String, Path, description = "Name, id, or the beginning of an id"), ("follow" = Option<bool>, Query, description = "Go on until the container ends"), ("tail" = Option<usize>, Query, description = "Only the last lines"), ("since" = Option<String>, Query, description = "Only what was written then or later, RFC 3339")), responses((status = 101, description = "Frames"), (status = "default", body = ApiError)))]
/// What a container has written.
pub async fn logs(
    State(agent): App,
    Path(task): Path<String>,
    Query(query): Query<LogQuery>,
    mut request: Request,
) -> Answer<Response> {
    let id = agent.tasks.find(&task)?.now().id;
    let extent = Extent { follow: query.follow, tail: query.tail, since: query.since };
    let mut logs = agent.containers.logs(id, extent).map_err(|e| failed(&e))?;
    let upgrade = upgrade(&mut request)?;
    tokio::spawn(async move {
        let Some((mut incoming, mut outgoing)) = halves(upgrade).await else { return };
        let pump = async {
            while let Ok(Some(chunk)) = logs.next().await {
                send(&mut outgoing, chunk.stream, &chunk.bytes).await?;
            }
            outgoing.shutdown().await
        };
        // A follower who goes away is noticed by reading, not by the next line of a quiet container.
        let mut byte = [0];
        tokio::select! {
            _ = pump => {}
            _ = incoming.read(&mut byte) => {}
        }
    });
    Ok(switching())
}

#[utoipa::path(get, path = "/v1/tasks/{task}/attach", params(("task" = String, Path, description = "Name, id, or the beginning of an id"), ("rows" = Option<u16>, Query, description = "Rows of the terminal"), ("cols" = Option<u16>, Query, description = "Columns of the terminal")), responses((status = 101, description = "Frames"), (status = "default", body = ApiError)))]
/// A container's standard streams.
pub async fn attach(
    State(agent): App,
    Path(task): Path<String>,
    Query(size): Query<SizeQuery>,
    mut request: Request,
) -> Answer<Response> {
    let task = agent.tasks.find(&task)?;
    let mut session = agent.containers.attach(task.now().id).await.map_err(|e| failed(&e))?;
    if let (Some(rows), Some(cols)) = (size.rows, size.cols) {
        // One that has no terminal has no size.
        let _ = session.input.resize(rows, cols);
    }
    let upgrade = upgrade(&mut request)?;
    tokio::spawn(async move {
        let Some((incoming, mut outgoing)) = halves(upgrade).await else { return };
        if converse(session.input, session.output, incoming, &mut outgoing).await.is_ok() {
            // Sent from here, so that a task that removes itself can still tell.
            if let Ok(code) = tokio::time::timeout(END_PATIENCE, life::wait(&task)).await {
                control(&mut outgoing, &Control::Exit { code }).await;
            }
        }
        let _ = outgoing.shutdown().await;
    });
    Ok(switching())
}

#[utoipa::path(post, path = "/v1/tasks/{task}/exec", request_body = ExecRequest, params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 101, description = "Frames; the exit status comes as the last one"), (status = "default", body = ApiError)))]
/// Runs a command in a running container.
pub async fn exec(State(agent): App, Path(task): Path<String>, mut request: Request) -> Answer<Response> {
    use axum::extract::FromRequest;
    let record = agent.tasks.find(&task)?.now();
    if record.state != netmode_model::api::TaskState::Running {
        let text = format!(
            "cannot run a command in task {}: it is {}; start it with \"netmode start {}\"",
            record.name, record.state, record.name
        );
        return Err(Failed(ApiError::new(Code::WrongState, text)));
    }
    let upgrade = upgrade(&mut request)?;
    let Body(exec) = Body::<ExecRequest>::from_request(request, &()).await?;
    let execution = agent.containers.exec(record.id, &exec).await.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        let Some((incoming, mut outgoing)) = halves(upgrade).await else { return };
        let (input, output, end) = execution.split();
        if converse(input, output, incoming, &mut outgoing).await.is_err() {
            return;
        }
        let message = match end.await {
            Ok(code) => Control::Exit { code },
            Err(e) => Control::Error(ApiError::new(e.code(), e.to_string())),
        };
        control(&mut outgoing, &message).await;
        let _ = outgoing.shutdown().await;
    });
    Ok(switching())
}

/// Carries bytes both ways until the output ends. A caller who stops sending may still listen.
async fn converse(input: Input, mut output: Output, incoming: Incoming, outgoing: &mut Outgoing) -> io::Result<()> {
    let feed = tokio::spawn(feed(input, incoming));
    let drain = async {
        while let Some(chunk) = output.next().await? {
            send(outgoing, chunk.stream, &chunk.bytes).await?;
        }
        Ok(())
    };
    let result = drain.await;
    feed.abort();
    result
}

/// Takes the caller's frames until it closes its side.
async fn feed(mut input: Input, mut incoming: Incoming) -> io::Result<()> {
    while let Some((stream, body)) = receive(&mut incoming).await? {
        match stream {
            Stream::Stdin if body.is_empty() => input.close()?,
            Stream::Stdin => input.write(&body).await?,
            Stream::Control => {
                if let Ok(Control::Resize { rows, cols }) = serde_json::from_slice(&body) {
                    // A size that comes too early or too late is no reason to stop listening.
                    let _ = input.resize(rows, cols);
                }
            }
            Stream::Stdout | Stream::Stderr => {}
        }
    }
    // Kept until the container ends: dropping it would close a conversation that still listens.
    std::future::pending::<()>().await;
    Ok(())
}

async fn receive(incoming: &mut Incoming) -> io::Result<Option<(Stream, Vec<u8>)>> {
    let mut head = [0; 8];
    match incoming.read_exact(&mut head).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let [kind, 0, 0, 0, length @ ..] = head else { return Err(io::ErrorKind::InvalidData.into()) };
    let length = u32::from_be_bytes(length) as usize;
    let stream = Stream::from_byte(kind).filter(|_| length <= MAX_FRAME);
    let stream = stream.ok_or(io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length];
    incoming.read_exact(&mut body).await?;
    Ok(Some((stream, body)))
}

pub(super) async fn control(outgoing: &mut Outgoing, message: &Control) {
    let body = serde_json::to_vec(message).unwrap_or_default();
    // A caller who is gone needs no message.
    let _ = send(outgoing, Stream::Control, &body).await;
}

async fn send(outgoing: &mut Outgoing, stream: Stream, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut frame = Vec::with_capacity(8 + body.len());
    frame.extend([stream as u8, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    outgoing.write_all(&frame).await
}
