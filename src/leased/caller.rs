//! Somebody who waits for the store, and what becomes of the wait when nobody does any more.

use crate::key::Key;
use crate::leased::shared::{Reply, Shared};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A place in a key's line. Dropping it leaves the line; what had come for it is put in hand.
pub(crate) struct Caller {
    shared: Arc<Shared>,
    key: Key,
    ticket: u64,
    reply: oneshot::Receiver<Reply>,
    heard: bool,
}

impl Caller {
    pub(super) const fn new(
        shared: Arc<Shared>,
        key: Key,
        ticket: u64,
        reply: oneshot::Receiver<Reply>,
    ) -> Self {
        Self {
            shared,
            key,
            ticket,
            reply,
            heard: false,
        }
    }

    pub(super) async fn hear(mut self) -> Reply {
        let reply = (&mut self.reply).await;
        self.heard = true;
        // Whoever takes a sender out of its shard answers.
        reply.unwrap_or(Reply::Without)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if self.heard {
            return;
        }
        self.reply.close();
        let (now, shard) = (self.shared.now(), self.shared.shard(self.key));
        let mut inner = shard.lock();
        match self.reply.try_recv() {
            Ok(Reply::Decided(_, drawn)) if !drawn.is_empty() => {
                inner.tier.put_back(self.key, &drawn, now);
            }
            Ok(Reply::Decided(..) | Reply::Without) => {}
            Err(_) => inner.quit(self.key, self.ticket, now),
        }
        self.shared.notice(shard, &inner.tier);
    }
}

#[cfg(test)]
mod tests {
    use crate::decision::Verdict;
    use crate::key::Key;
    use crate::leased::LeasedLimiter;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn limiter(runtime: &tokio::runtime::Runtime) -> LeasedLimiter {
        let store = RedisStore::new("redis://127.0.0.1:1").expect("an address");
        LeasedLimiter::builder(store, "test", Quota::per_hour(100))
            .runtime(runtime.handle().clone())
            .build()
            .expect("a limiter")
    }

    /// Nothing runs on it unless it is driven.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn nothing_is_asked_for_callers_that_have_gone_and_little_for_those_that_did_not_wait() {
        let runtime = runtime();
        let (limiter, key) = (limiter(&runtime), Key::of("a"));
        let shared = &limiter.0.shared;
        let mut context = Context::from_waker(Waker::noop());
        let needs = || {
            let ask = shared.shard(key).lock().tier.poll_ask(shared.now());
            ask.map_or(0, |ask| ask.need)
        };
        for _ in 0..10 {
            assert!(
                pin!(limiter.decide(&key, 1))
                    .poll(&mut context)
                    .is_pending()
            );
        }
        assert_eq!(needs(), 0);
        for _ in 0..10 {
            assert!(!limiter.check(&key, 3).is_allowed());
        }
        assert_eq!(needs(), 3);
    }

    #[test]
    fn whoever_waits_is_answered_when_the_runtime_of_the_task_ends() {
        let runtime = runtime();
        let (limiter, key) = (limiter(&runtime), Key::of("a"));
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(limiter.decide(&key, 1));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(runtime);
        let Poll::Ready(decision) = waits.as_mut().poll(&mut context) else {
            panic!("nobody will answer");
        };
        assert_eq!(decision.outcome(), Verdict::Unavailable);
        let Poll::Ready(later) = pin!(limiter.decide(&key, 1)).poll(&mut context) else {
            panic!("nobody will answer");
        };
        assert_eq!(later.outcome(), Verdict::Unavailable);
        let Poll::Ready(closed) = pin!(limiter.close()).poll(&mut context) else {
            panic!("nobody will answer");
        };
        assert!(closed.is_err());
    }
}
