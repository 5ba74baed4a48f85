//! Whoever waits for an answer: gets one, or has hung up.

use crate::proxy::{Body, Upgrading, denied};
use hyper::Response;
use tidegate::Shed;
use tidegate::reject::Form;
use tokio::sync::oneshot;

/// Whoever waits for the answer.
pub(crate) struct Client {
    answer: Option<oneshot::Sender<Response<Body>>>,
    form: Form,
    upgrade: Option<Upgrading>,
}

impl Client {
    pub(crate) fn new(
        form: Form,
        upgrade: Option<Upgrading>,
    ) -> (Self, oneshot::Receiver<Response<Body>>) {
        let (answer, response) = oneshot::channel();
        let client = Self {
            answer: Some(answer),
            form,
            upgrade,
        };
        (client, response)
    }

    /// The first answer counts. One that has gone gets none.
    pub(crate) fn answer(&mut self, response: Response<Body>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(response);
        }
    }

    /// The lease ran out.
    pub(crate) fn tell_fenced(&mut self) {
        let fenced = denied(Shed::Fenced, self.form);
        self.answer(fenced);
    }

    /// Completes when the client has hung up before the answer.
    pub(crate) async fn gone(&mut self) {
        match &mut self.answer {
            Some(answer) => answer.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Its connection, if it wants to speak another protocol.
    pub(crate) const fn upgrade(&mut self) -> Option<Upgrading> {
        self.upgrade.take()
    }
}
