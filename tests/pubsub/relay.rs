//! A relay in front of Google's emulator, which tells it of clients that went away.
//!
//! The emulator (0.8.20) takes a stream for open until its client ends it in words. One that was cancelled, or whose process
//! was killed, goes on to be handed messages for minutes, a hundred at a time, and each comes again only at the end of its
//! lease. The service notices. So does this: what a client leaves is ended towards the emulator as a client would, and
//! nothing else is changed.

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::SendRequest,
    server::{self, SendResponse},
};
use std::{future::poll_fn, io, net::SocketAddr, sync::OnceLock};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Of a connection to the server.
const WINDOW: u32 = 64 << 20;
/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI";

/// The address of a relay to this server. There is one in a process, on a thread of its own.
pub(crate) fn to(server: &str) -> String {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let start = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, server) = (listener.local_addr().unwrap(), server.to_owned());
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, server))
        });
        address
    };
    ADDRESS.get_or_init(start).to_string()
}

async fn serve(listener: std::net::TcpListener, server: String) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let server = server.clone();
        // A client that is gone, or a server, is seen at the other side.
        tokio::spawn(async move { drop(pass(client, &server).await) });
    }
}

async fn pass(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut first = [0; PREFACE.len()];
    let read = client.peek(&mut first).await?;
    if &first[..read] != PREFACE {
        // What is not of the data plane is asked over HTTP 1.
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
    // One call that nobody reads must not hold up the others of its connection.
    let mut client_side = h2::client::Builder::new();
    client_side.initial_connection_window_size(WINDOW);
    let (requests, connection) = client_side.handshake(server).await.map_err(io::Error::other)?;
    tokio::spawn(async move { drop(connection.await) });
    let mut calls = server::handshake(client).await.map_err(io::Error::other)?;
    while let Some(Ok((request, respond))) = calls.accept().await {
        let requests = requests.clone();
        tokio::spawn(async move { drop(call(request, respond, requests).await) });
    }
    Ok(())
}

/// One call. It ends with the server's answer, whether or not the client is still there.
async fn call(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    requests: SendRequest<Bytes>,
) -> Result<(), h2::Error> {
    let (head, asked) = request.into_parts();
    let mut requests = requests.ready().await?;
    let (answer, ask) = requests.send_request(http::Request::from_parts(head, ()), false)?;
    tokio::spawn(end_whatever_comes(asked, ask));
    let (head, mut answered) = answer.await?.into_parts();
    let mut client = respond.send_response(http::Response::from_parts(head, ()), false).ok();
    while let Some(data) = answered.data().await {
        let data = data?;
        answered.flow_control().release_capacity(data.len())?;
        if let Some(to) = &mut client
            && send(to, data).await.is_none()
        {
            client = None;
        }
    }
    let trailers = answered.trailers().await?.unwrap_or_default();
    client.map_or(Ok(()), |mut client| client.send_trailers(trailers))
}

/// What the client asks. Where it is cut off, the server hears the end all the same.
async fn end_whatever_comes(mut asked: RecvStream, mut ask: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(Ok(data)) = asked.data().await {
        asked.flow_control().release_capacity(data.len())?;
        if send(&mut ask, data).await.is_none() {
            return Ok(());
        }
    }
    ask.send_data(Bytes::new(), true)
}

/// `None` if nobody takes it any more.
async fn send(to: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
        to.send_data(data.split_to(room.min(data.len())), false).ok()?;
    }
    Some(())
}
