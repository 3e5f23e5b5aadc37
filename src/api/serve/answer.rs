//! Answers a connection's requests with the router, and tells its [`Activity`] when an answer
//! begins and when its body has ended.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::Router;
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{self, Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;

use super::{Peer, activity::Activity, message::Body};

/// The service of one connection.
#[derive(Debug)]
pub(super) struct Answering {
    router: TowerToHyperService<Router>,
    peer: Option<Peer>,
    activity: Arc<Activity>,
}

impl Answering {
    /// Requests get `peer` as an extension.
    pub(super) fn new(router: Router, peer: Option<Peer>, activity: Arc<Activity>) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            peer,
            activity,
        }
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let body = match body::Body::size_hint(request.body()).exact() {
            Some(0) => Body::None,
            Some(length) => Body::Sized(usize::try_from(length).unwrap_or(usize::MAX)),
            None => Body::Chunked,
        };
        self.activity.begin(body, Instant::now());
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        Answer {
            response: self.router.call(request),
            served: Some(Served(Arc::clone(&self.activity))),
        }
    }
}

/// Ends the answer when it is dropped.
#[derive(Debug)]
struct Served(Arc<Activity>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.answered(Instant::now());
    }
}

pin_project! {
    /// A response that the router makes.
    pub(super) struct Answer {
        #[pin]
        response: TowerToHyperServiceFuture<Router, Request<Incoming>>,
        served: Option<Served>,
    }
}

impl Future for Answer {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(context))?;
        let served = this.served.take();
        Poll::Ready(Ok(response.map(|body| ResponseBody {
            body,
            _served: served,
        })))
    }
}

/// A response body; the server drops it when it has buffered the last of it.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: axum::body::Body,
    _served: Option<Served>,
}

impl body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
