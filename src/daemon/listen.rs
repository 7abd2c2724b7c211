//! Connections: accepted, greeted by TLS, bounded, ended in order.
//!
//! What a stranger can hold is bounded before anything of his is believed: so many connections, so long until the head
//! of a request is whole, so large a head. A connection that waits for its next request is closed after the same time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use super::tls::Certificates;

/// Bytes of a request's head, at most; beyond it 431.
const HEAD: usize = 128 << 10;
/// Its headers, at most.
const HEADERS: usize = 100;
/// After an accept that failed for want of something.
const PAUSE: Duration = Duration::from_millis(100);

/// What a stranger may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a greeting, and the head of a request, may take.
    pub head: Duration,
}

/// Serves `app` until `stopped`, and then until the requests under way have ended.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    tls: Option<Arc<Certificates>>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let until = stopped.clone();
    let stop = stopped.wait_for(|stop| *stop);
    tokio::pin!(stop);
    loop {
        let next = async {
            // It is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! { _ = &mut stop => break, next = next => next };
        match accepted {
            Ok((stream, peer)) => {
                let (app, tls, until) = (app.clone(), tls.clone(), until.clone());
                tokio::spawn(connection(stream, peer, app, tls, limits.head, until, place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    // Who holds all the places knows that nobody else holds one.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    tls: Option<Arc<Certificates>>,
    head: Duration,
    until: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, peer, app, head, until).await };
    let Ok(acceptor) = tokio::task::spawn_blocking(move || tls.current()).await else { return };
    match tokio::time::timeout(head, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, peer, app, head, until).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "the TLS greeting took too long"),
    }
}

async fn converse<S>(stream: S, peer: SocketAddr, app: Router, head: Duration, mut until: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(conversation);
    tokio::select! {
        ended = &mut conversation => return said(peer, ended),
        _ = until.wait_for(|stop| *stop) => {}
    }
    conversation.as_mut().graceful_shutdown();
    said(peer, conversation.await);
}

fn said(peer: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}
