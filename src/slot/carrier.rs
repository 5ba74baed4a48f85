//! The response's own part of a slot: what becomes of it as head, body and trailers pass by.

use crate::classify::{Answer, Classifier, Measure, gives_sample};
use crate::fence::FenceToken;
use crate::permit::{Lease, Outcome};
use crate::slot::Slot;
use crate::slot::shared::{Kept, Shared};

/// Carries a lease from the request through the response future to the end of the response body.
///
/// It is told what happens in this order: [`answered`](Self::answered) or [`failed`](Self::failed) once, then for
/// the body any of [`trailers`](Self::trailers), and one of [`ended`](Self::ended), [`broke`](Self::broke). Dropping
/// it at any point gives the slot back (unless a [`Hold`](crate::slot::Hold) keeps it), with [`Outcome::Ignore`] if
/// there was no outcome before. Extra calls do nothing.
///
/// ```text
///  Asked --answered--> Settled        outcome told at the head (`Measure::Head`)
///                      Ends(outcome)  told when the body ends (`Measure::End`)
///                      Rpc            told by the trailers
///                      Unsampled      never, unless a hold tells it: an event stream, a socket
/// ```
#[derive(Debug, Default)]
#[must_use = "dropping the carrier gives the slot back"]
pub struct Carrier {
    part: Part,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Nothing,
    Alone(Kept),
    Shared(Shared),
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Asked,
    Settled,
    Ends(Outcome),
    Rpc {
        classifier: Classifier,
        measure: Measure,
    },
    Unsampled,
}

/// What the head of an answer says that matters here. Free of any framework's types.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// The status code.
    pub status: u16,
    /// The `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// The `grpc-status`: present in the head only if the call has no answer but its status.
    pub grpc_status: Option<&'a [u8]>,
    /// Whether a layer of ours wrote this answer instead of the handler.
    pub denied: bool,
    /// Whether the request was a CONNECT: a 2xx then opens a tunnel, as a 101 does.
    pub connect: bool,
    /// Whether an upgraded connection lives in this answer's body, as in actix-web, and not out of the layer's sight.
    pub socket: bool,
    /// Bytes of the body that will be sent, if known; zero for the answer to a HEAD.
    pub length: Option<u64>,
}

/// What an answer's head means for the slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Answered {
    /// The slot goes on with the body.
    Body,
    /// The connection was upgraded and a [`Hold`](crate::slot::Hold) keeps the slot.
    UpgradeHeld,
    /// The connection was upgraded and nobody holds the slot: it was given back.
    UpgradeUnheld,
}

/// A body of at most this many bytes fits every buffer on its way: the time it takes is not worth a clock reading.
const SHORT_BODY: u64 = 64 * 1024;

impl Carrier {
    /// Takes charge of `lease`.
    #[inline]
    pub const fn new(lease: Lease) -> Self {
        Self {
            part: Part::Alone(Kept::new(lease)),
            stage: Stage::Asked,
        }
    }

    /// Carries nothing: the request passed without a lease.
    #[inline]
    pub const fn empty() -> Self {
        Self {
            part: Part::Nothing,
            stage: Stage::Asked,
        }
    }

    /// Whether there is nothing (left) to give back.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.part, Part::Nothing)
    }

    /// A slot for the request's extensions. `outer` is the slot of the layer around, if any.
    #[must_use]
    pub fn slot(&mut self, outer: Option<&Slot>) -> Slot {
        match std::mem::take(&mut self.part) {
            Part::Nothing => Slot::without_lease(crate::slot::Admission::Unguarded, outer),
            Part::Alone(lease) => {
                let shared = Shared::new(lease, outer.and_then(Slot::shared).cloned());
                let slot = Slot::of(&shared, outer);
                self.part = Part::Shared(shared);
                slot
            }
            Part::Shared(shared) => {
                let slot = Slot::of(&shared, outer);
                self.part = Part::Shared(shared);
                slot
            }
        }
    }

    /// The fence of the lease, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<FenceToken> {
        match &self.part {
            Part::Nothing => None,
            Part::Alone(lease) => Some(lease.lease().token()),
            Part::Shared(shared) => shared.with(|lease| lease.lease().token()),
        }
    }

    /// The handler answered.
    #[inline]
    pub fn answered(
        &mut self,
        head: &Head<'_>,
        classifier: &Classifier,
        measure: Measure,
    ) -> Answered {
        let upgrade = head.status == 101 || (head.connect && head.status / 100 == 2);
        if upgrade && !head.socket {
            let held = matches!(&self.part, Part::Shared(shared) if shared.is_held());
            // Nobody measures a socket by how long it is open; who does tells so.
            self.with(Kept::keep_unsampled);
            self.release();
            return if held {
                Answered::UpgradeHeld
            } else {
                Answered::UpgradeUnheld
            };
        }
        self.stage = if upgrade {
            self.with(Kept::keep_unsampled);
            Stage::Unsampled
        } else if head.denied {
            self.settle(Outcome::Ignore, head);
            Stage::Settled
        } else if let Some(code) = head.grpc_status {
            self.settle(classifier.outcome(Answer::grpc(code)), head);
            Stage::Settled
        } else if head.status == 200 && is_rpc(head.content_type) {
            if measure == Measure::Head {
                self.with(Kept::keep_unsampled);
            }
            Stage::Rpc {
                classifier: classifier.clone(),
                measure,
            }
        } else if !gives_sample(head.content_type) {
            self.with(Kept::keep_unsampled);
            Stage::Unsampled
        } else {
            let outcome = classifier.outcome(Answer::Status(head.status));
            match measure {
                Measure::Head => {
                    self.settle(outcome, head);
                    Stage::Settled
                }
                Measure::End => Stage::Ends(outcome),
            }
        };
        if head.length == Some(0) {
            self.ended();
        }
        Answered::Body
    }

    /// The service answered with an error instead of a response.
    pub fn failed(&mut self, classifier: &Classifier) {
        let outcome = classifier.outcome(Answer::Error);
        self.with(|lease| lease.observe(outcome));
        self.release();
    }

    /// The handler panicked: an application error.
    pub fn panicked(&mut self) {
        self.with(|lease| lease.observe(Outcome::Failure));
        self.release();
    }

    /// The body's trailers passed, with this `grpc-status`.
    pub fn trailers(&mut self, grpc_status: Option<&[u8]>) {
        if let Stage::Rpc { classifier, .. } = &self.stage {
            let answer = grpc_status.map_or(Answer::Error, Answer::grpc);
            self.tell(classifier.outcome(answer));
        }
    }

    /// The body ended.
    #[inline]
    pub fn ended(&mut self) {
        match &self.stage {
            Stage::Ends(outcome) => self.tell(*outcome),
            // A call that ends without trailers was cut short.
            Stage::Rpc { classifier, .. } => self.tell(classifier.outcome(Answer::Error)),
            Stage::Asked | Stage::Settled | Stage::Unsampled => {}
        }
        self.release();
    }

    /// The body ended with an error.
    pub fn broke(&mut self) {
        if matches!(self.stage, Stage::Ends(_) | Stage::Rpc { .. }) {
            self.tell(Outcome::Failure);
        }
        self.release();
    }

    /// Lets go of the slot. What was not settled is [`Outcome::Ignore`].
    #[inline]
    pub fn release(&mut self) {
        match std::mem::take(&mut self.part) {
            Part::Nothing => {}
            Part::Alone(lease) => drop(lease),
            Part::Shared(shared) => shared.leave(),
        }
    }

    /// An outcome known after the head.
    fn tell(&mut self, outcome: Outcome) {
        let stage = std::mem::replace(&mut self.stage, Stage::Settled);
        self.with(|lease| match stage {
            Stage::Rpc {
                measure: Measure::Head,
                ..
            } => lease.observe_kept(outcome),
            _ => lease.observe(outcome),
        });
    }

    /// The outcome at the head; the time a long body or a holder takes from here on is booked.
    #[inline]
    fn settle(&mut self, outcome: Outcome, head: &Head<'_>) {
        let long = head.length.is_none_or(|length| length > SHORT_BODY);
        match &mut self.part {
            Part::Nothing => {}
            Part::Alone(lease) => {
                lease.observe(outcome);
                if long {
                    lease.keep_beyond();
                }
            }
            Part::Shared(shared) => {
                let held = shared.is_held();
                shared.with(|lease| {
                    lease.observe(outcome);
                    if long || held {
                        lease.keep_beyond();
                    }
                });
            }
        }
    }

    fn with<T>(&mut self, what: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        match &mut self.part {
            Part::Nothing => None,
            Part::Alone(lease) => Some(what(lease)),
            Part::Shared(shared) => shared.with(what),
        }
    }
}

impl Drop for Carrier {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.release();
        }
    }
}

fn is_rpc(content_type: Option<&[u8]>) -> bool {
    content_type.is_some_and(crate::classify::is_grpc)
}

#[cfg(test)]
mod tests;
