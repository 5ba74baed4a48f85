//! The messages as a real Redis is sent them, for benches of what its scripts take.

use crate::fleet::sim::{Config, Message, Payload};
use crate::store::StoreError;
use crate::store::redis::calls;
use redis::Value;

/// What makes a Redis know the scripts; it answers twice.
#[must_use]
pub fn load_scripts() -> Vec<u8> {
    calls::load()
}

impl Message {
    /// What a Redis is sent of `key` for a node's message, which it answers once; none for a store's.
    #[must_use]
    pub fn call(&self, key: &str, config: &Config) -> Option<Vec<u8>> {
        match &self.0 {
            Payload::Beat(beat) => Some(calls::beat(key, beat, config.empty)),
            Payload::Commit(commit) => Some(calls::commit(key, commit)),
            Payload::Answer(_) | Payload::CommitAnswer(_) | Payload::Push(_) => None,
        }
    }

    /// The answer to it that a Redis gave; none to a store's message.
    ///
    /// # Errors
    /// If it is no answer of the scripts.
    pub fn answered(&self, reply: Value) -> Option<Result<Self, StoreError>> {
        let answered =
            match &self.0 {
                Payload::Beat(beat) => calls::answer(beat.sequence, reply)
                    .map(|answer| Payload::Answer(Box::new(answer))),
                Payload::Commit(_) => calls::commit_answer(reply)
                    .map(|answer| Payload::CommitAnswer(Box::new(answer))),
                Payload::Answer(_) | Payload::CommitAnswer(_) | Payload::Push(_) => return None,
            };
        Some(answered.map(Message))
    }

    /// Whether it is a plan.
    #[must_use]
    pub const fn is_commit(&self) -> bool {
        matches!(self.0, Payload::Commit(_))
    }

    /// Whether it is an answer that asks for a plan.
    #[must_use]
    pub const fn has_ticket(&self) -> bool {
        matches!(&self.0, Payload::Answer(answer) if answer.ticket.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sim::Node;
    use redis::Parser;
    use std::io::Write;
    use std::net::TcpStream;
    use tidegate_test_support::RedisServer;

    #[test]
    fn a_node_has_its_share_from_a_real_redis_through_messages_alone() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut parser = Parser::new();
        stream.write_all(&load_scripts()).unwrap();
        for _ in 0..2 {
            let name = parser.parse_value(&stream).unwrap();
            assert!(matches!(name, Value::BulkString(_)), "{name:?}");
        }
        let config = Config::parse("estimate=fixed:3;empty=trust").unwrap();
        let mut node = Node::new("a", 7, &config, 1, 1_000);
        let mut sent = node.step(1);
        let (mut asked, mut planned) = (0, 0);
        while let Some(message) = sent.pop() {
            let call = message.call("api-gate", &config).unwrap();
            assert_eq!(call.len() as u64, message.bytes());
            stream.write_all(&call).unwrap();
            let reply = parser.parse_value(&stream).unwrap();
            let answer = message.answered(reply).unwrap().unwrap();
            asked += u32::from(answer.has_ticket());
            planned += u32::from(message.is_commit());
            assert!(answer.call("api-gate", &config).is_none());
            sent.extend(node.handle(answer, 1));
        }
        assert_eq!((asked, planned), (1, 1));
        assert_eq!((node.limit(), node.sample()), (3, (3, 0)));
    }
}
