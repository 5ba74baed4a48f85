//! One request at the backend: a task that owns the lease until the backend is done, whatever the client does.
//!
//! ```text
//!  client has gone ──► the answer is read on, and thrown away, to its end
//!  no head in time ──► 504 to the client, then as if it had gone
//!  cut by us       ──► the slot is kept for the drain: the backend may work on, and nobody can see it
//!  fenced          ──► cut at once; the guard keeps the slot for the drain by itself
//! ```

use crate::client::Client;
use crate::headers::{self, Passing};
use crate::proxy::{Body, Counts, plain, whole};
use crate::relay::{Feed, Gone, relay};
use crate::upstream::{LeaseOver, Upstream};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Error;
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidegate::classify::{Classifier, Measure};
use tidegate::slot::{Carrier, Head};
use tokio::time::{sleep, timeout};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of an answer.
    pub(crate) head: Duration,
    /// For the backend, when the client has gone.
    pub(crate) absent: Duration,
    /// For the backend to notice that its connection was cut.
    pub(crate) cut: Duration,
}

/// One request, from its admission until the backend is done with it.
pub(crate) struct Exchange {
    carrier: Carrier,
    client: Client,
    upstream: Arc<Upstream>,
    patience: Patience,
    counts: Arc<Counts>,
}

/// How an exchange ended.
enum Ended {
    /// The backend is done, or never began.
    Done,
    /// The connection to the backend was given up while it may have been working.
    Cut,
    /// The lease ran out.
    Fenced,
}

type Sent<'a> = Pin<&'a mut (dyn Future<Output = Result<Response<Incoming>, Error>> + Send)>;

impl Exchange {
    pub(crate) fn new(
        carrier: Carrier,
        client: Client,
        upstream: Arc<Upstream>,
        patience: Patience,
        counts: Arc<Counts>,
    ) -> Self {
        counts.at_backend.fetch_add(1, Ordering::Relaxed);
        Self {
            carrier,
            client,
            upstream,
            patience,
            counts,
        }
    }

    /// Sends the request and passes the answer on. The slot goes back when this ends.
    pub(crate) async fn run(mut self, request: Request<Body>) {
        let ended = match self.carrier.token() {
            None => self.work(request).await,
            Some(fence) => tokio::select! {
                biased;
                () = fence.cancelled() => Ended::Fenced,
                ended = self.work(request) => ended,
            },
        };
        match ended {
            Ended::Done => {}
            Ended::Cut => sleep(self.patience.cut).await,
            Ended::Fenced => self.client.tell_fenced(),
        }
    }

    async fn work(&mut self, request: Request<Body>) -> Ended {
        let upstream = Arc::clone(&self.upstream);
        let mut sent = pin!(upstream.send(request));
        let Some(answer) = self.wait_for_head(sent.as_mut()).await else {
            return self.give_up(sent).await;
        };
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.connect_both(response).await
            }
            Ok(response) => self.pass_on(response).await,
            Err(error) => self.explain(&error),
        }
    }

    /// The head, unless it does not come in time. A client that hangs up meanwhile is only counted.
    async fn wait_for_head(
        &mut self,
        mut sent: Sent<'_>,
    ) -> Option<Result<Response<Incoming>, Error>> {
        let mut time = pin!(sleep(self.patience.head));
        let mut waits = true;
        loop {
            tokio::select! {
                answer = &mut sent => return Some(answer),
                () = &mut time => return None,
                () = self.client.gone(), if waits => {
                    waits = false;
                    Counts::count(&self.counts.hung_up);
                }
            }
        }
    }

    /// Tells the client that it takes too long, and stays with the backend.
    async fn give_up(&mut self, sent: Sent<'_>) -> Ended {
        self.judge(StatusCode::GATEWAY_TIMEOUT, &HeaderMap::new(), None);
        let late = plain(
            StatusCode::GATEWAY_TIMEOUT,
            "the backend did not answer in time\n",
        );
        self.client.answer(late);
        match timeout(self.patience.absent, sent).await {
            Ok(Ok(response)) => self.listen_on(response.into_body()).await,
            Ok(Err(_)) => Ended::Done,
            Err(_) => Ended::Cut,
        }
    }

    /// Passes the answer to the client, as fast as it takes it.
    async fn pass_on(&mut self, response: Response<Incoming>) -> Ended {
        let (mut head, mut body) = response.into_parts();
        headers::strip(&mut head.headers, Passing::Nothing);
        head.extensions.clear();
        self.judge(head.status, &head.headers, body.size_hint().exact());
        if body.is_end_stream() {
            self.carrier.ended();
            self.client
                .answer(Response::from_parts(head, whole(Bytes::new())));
            return Ended::Done;
        }
        let endless = is_event_stream(&head.headers);
        let (feed, relay) = relay();
        self.client
            .answer(Response::from_parts(head, relay.boxed_unsync()));
        match self.pump(&mut body, feed).await {
            Ok(ended) => ended,
            Err(Gone) => {
                Counts::count(&self.counts.hung_up);
                if endless {
                    return Ended::Cut;
                }
                self.listen_on(body).await
            }
        }
    }

    /// Frame by frame, until the end or until the client has gone.
    async fn pump(&mut self, body: &mut Incoming, feed: Feed) -> Result<Ended, Gone> {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = feed.gone() => return Err(Gone),
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    // The feed is dropped, and so the client's answer breaks off too.
                    self.carrier.broke();
                    return Ok(Ended::Done);
                }
                None => {
                    self.carrier.ended();
                    feed.end().await;
                    return Ok(Ended::Done);
                }
            };
            if let Some(trailers) = frame.trailers_ref() {
                let status = trailers.get("grpc-status");
                self.carrier.trailers(status.map(HeaderValue::as_bytes));
            }
            if body.is_end_stream() {
                // Before the client has it: whoever has seen the end finds the slot given back.
                self.carrier.ended();
            }
            feed.send(frame).await?;
        }
    }

    /// Nobody wants the answer any more, but the backend is still working on it.
    async fn listen_on(&mut self, mut body: Incoming) -> Ended {
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        match timeout(self.patience.absent, rest).await {
            Ok(()) => Ended::Done,
            Err(_) => Ended::Cut,
        }
    }

    /// Both connections speak something else now; the slot is kept until both have ended.
    async fn connect_both(&mut self, mut response: Response<Incoming>) -> Ended {
        let Some(client) = self.client.upgrade() else {
            let unasked = "the backend switched protocols unasked\n";
            self.client.answer(plain(StatusCode::BAD_GATEWAY, unasked));
            return Ended::Cut;
        };
        let backend = hyper::upgrade::on(&mut response);
        let (mut head, _) = response.into_parts();
        headers::strip(&mut head.headers, Passing::Upgrade);
        head.extensions.clear();
        self.client
            .answer(Response::from_parts(head, whole(Bytes::new())));
        let backend = async { Ok(TokioIo::new(backend.await?)) };
        let Ok((mut client, mut backend)) = tokio::try_join!(client, backend) else {
            return Ended::Cut;
        };
        match tokio::io::copy_bidirectional(&mut client, &mut backend).await {
            Ok(_) => Ended::Done,
            Err(_) => Ended::Cut,
        }
    }

    /// No answer: whose fault was it?
    fn explain(&mut self, error: &Error) -> Ended {
        Counts::count(&self.counts.unanswered);
        if cause::<std::io::Error>(error).is_some_and(LeaseOver::is) {
            self.client.tell_fenced();
            return Ended::Cut;
        }
        if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_user) {
            let broken = plain(
                StatusCode::BAD_REQUEST,
                "the body of the request broke off\n",
            );
            self.client.answer(broken);
            return Ended::Cut;
        }
        self.carrier.failed(&Classifier::upstream());
        self.client.answer(plain(
            StatusCode::BAD_GATEWAY,
            if error.is_connect() {
                "the backend cannot be reached\n"
            } else {
                "the backend closed the connection\n"
            },
        ));
        Ended::Done
    }

    /// Tells the guard what the head of an answer says about the backend.
    fn judge(&mut self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) {
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        let head = Head {
            status: status.as_u16(),
            content_type: value("content-type"),
            grpc_status: value("grpc-status"),
            length,
            ..Head::default()
        };
        self.carrier
            .answered(&head, &Classifier::upstream(), Measure::Head);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.counts.at_backend.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Such an answer has no end to wait for.
fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|it| {
        it.as_bytes()
            .get(..17)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// The first error of type `E` among the causes.
fn cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
