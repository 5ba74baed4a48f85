//! A fleet's messages as a Redis is sent them and answers them, without a connection: for what measures the server alone.

use crate::fleet::key_state::EmptyStore;
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer};
use crate::store::StoreError;
use crate::store::redis::{BEAT, COMMIT, STATE, channel, hash, wire};
use redis::{Script, Value};

pub(crate) fn beat(key: &str, beat: &Beat, empty: EmptyStore) -> Vec<u8> {
    call(&BEAT, key, &wire::beat(beat, empty))
}

pub(crate) fn commit(key: &str, commit: &Commit) -> Vec<u8> {
    call(&COMMIT, key, &wire::commit(commit, &channel(key)))
}

pub(crate) fn answer(sequence: u64, reply: Value) -> Result<Answer, StoreError> {
    wire::answer(sequence, reply)
}

pub(crate) fn commit_answer(reply: Value) -> Result<CommitAnswer, StoreError> {
    wire::commit_answer(reply)
}

/// Makes a server know both scripts; it answers twice.
pub(crate) fn load() -> Vec<u8> {
    let mut both = redis::pipe();
    for step in [include_str!("lua/beat.lua"), include_str!("lua/commit.lua")] {
        let script = [STATE, step].concat();
        both.cmd("SCRIPT").arg("LOAD").arg(script);
    }
    both.get_packed_pipeline()
}

fn call(script: &Script, key: &str, words: &[String]) -> Vec<u8> {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script.get_hash()).arg(1).arg(hash(key)).arg(words);
    call.get_packed_command()
}
