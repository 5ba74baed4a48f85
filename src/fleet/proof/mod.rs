//! The promises, for every order of events: the production functions under a model checker.
//!
//! [stateright](https://docs.rs/stateright) visits every state that nodes, store and network can reach, and looks in
//! each whether the promises hold. The nodes are [`Member`](crate::fleet::member::Member), the store is
//! [`KeyState`](crate::fleet::key_state::KeyState), the planner is [`plan`](crate::fleet::plan::plan): what is
//! checked is what runs. Around them is only what they talk through, and a backend that counts.
//!
//! # What is proven
//! Within the bounds that each test has in its name (faults, slots, messages on their way at once, ticks; the tests check
//! that the name is true), and whatever the order of events in them: **I1, I2, I3, I9** and
//! **I10** in every state; **I5** from every state, in that calm brings every slot into use within a stated number of ticks
//! (a ttl is one or two; how many round trips that takes is for the named tests and the simulator), of three nodes with
//! leases of two ticks; and by every path through a few calm ticks. **I6** with a slot for everybody: where
//! idle nodes lend theirs, calm also brings one to whoever wants one. I10 says here that who has left stays
//! away, that nobody is refused but for another living process of its name, and, by I5, that the slots of whoever
//! has crashed or left come back. `mutants` undoes rules one by one, and each is missed.
//!
//! Not bounded: how long a fleet lives, how often nodes beat and when, how long a message that is on its way takes
//! within its bound, how long time stands still. A message that is on its way may arrive, with `late` also after
//! any number of ticks, when its sender is fenced, gone, or has been forgotten by the store.
//!
//! # The bounds
//! Two nodes with two or three slots, or three with three; at most two messages on their way at once (`room`), of
//! which none or one while time passes (`late`); a budget for each kind of fault, or for messages that come late by
//! any number of ticks (`delays`). Time goes by ticks, of which a ttl has one or two. A planner that dies between plan
//! and commit is one whose commit is lost, or which crashes: that it has died with its ticket is among the sights.
//!
//! | nodes | slots, allocation | what may go wrong | time |
//! |---|---|---|---|
//! | two | equal split | each kind of fault alone, and some together; a limit that falls to one slot | any |
//! | two | max-min, by demand | a lost message, also with a crash; requests that come and go; slots lent and wanted back | any |
//! | two | `SafeShare`, `Frozen` | a crash, a lost message | any |
//! | three | equal split | nothing, one message at a time | any |
//! | three | equal split | a lost message, a late one, a crash, a leave, a flushed or restored store, a limit that falls to two slots | one tick, a flush and a restored store three; larger, but for the late one, the restored store and the falling limit: two, a flush four |
//! | three, clocks a fifth apart | equal split | a lost message, a crash | one tick |
//! | three, leases of two ticks (I5) | equal split | a lost message, a crash, a leave, clocks a fifth apart; a late message; a flushed store | two ticks; one (larger: two); five; with nothing wrong any (larger) |
//! | three | max-min | two turns between asked and idle, or a repeated message beside others (larger) | one tick |
//!
//! Nodes report twice the limit as their demand, so that everybody wants more than there is; where slots are lent, what
//! they have in flight and what they refuse.
//!
//! # What is not
//! * I5 of three nodes with leases of one tick: all end with it, and the one or two plans of the next give to two nodes; of
//!   three with fewer slots than nodes, which go round; and of two where requests come and go with nothing lent.
//! * A limit that moves together with a fault: the walks.
//! * Of three nodes: a repeated message under an equal split, and drifting clocks together with a fault for longer than a
//!   tick.
//! * More nodes, slots, or messages at once; what only a longer ttl in heartbeats would show; with three nodes and a
//!   fault, more than a few ticks, so how a crashed node's slots come back by its lease is seen in calm alone.
//! * Turns with fewer slots than nodes (I6; that they keep I1 to I3 is shown), weights, mixed revisions: the walks.
//!   Classes: with so few slots they change no plan.
//! * One epoch begun twice by a repeated beat: every epoch is new here. A named test has it.
//! * Fairness (I7), response (I8), and which clock may show what (I11) beyond rates that differ; the gate's atomics
//!   (I4): loom and tests.
//! * The Redis scripts: held to `key_state` by runs side by side.
//! * Fingerprints are of 64 bits: that one of a million states was taken for another has a probability below 1e-7.
//!
//! # How a state is kept small
//! A state stands for all that differ only in what makes no difference: clocks are set back to noon after every step,
//! ever growing numbers are renamed to the smallest that compare alike (`number`), and messages that can change
//! nothing are dropped (`normal`, and the `canonical` files beside the machines, which may look inside). So a fleet
//! that lives for ever has finitely many states. What only says when to beat is not part of them, as nodes may beat
//! at any time here. Plans depend on the number of the round and on who comes first by name, where slots cannot be
//! divided: all that may come of it are steps of their own.
//!
//! Two reductions make room for faults among three nodes; that they leave nothing out is tested on two
//! (`tests/reductions`), where every model but those under other policies does without. `reduced`: while messages on
//! their way keep everybody from beating, only who they are from or for does anything else, and a state from which only
//! one step leads on, the arrival of a message, is looked at and not kept. `symmetric`: of states that differ by who is
//! where, one is kept.
//!
//! | file | what |
//! |---|---|
//! | `bounds` | how large a model is, what may go wrong in it |
//! | `sight` | what must be seen |
//! | `world`, `lives` | a state, and what each step does to it |
//! | `model` | which steps there are, and the promises |
//! | `message` | what is on its way; with its plan, since planning is a pure function |
//! | `normal`, `number` | the normal form of a state |
//! | `symmetry` | nodes that are alike, and all the plans that may be made |
//! | `recovery` | calm, and what it brings (I5, I6) |
//! | `mutant` | rules undone |
//! | `tell` | a state in words, for counterexamples |

mod bounds;
mod lives;
mod message;
mod model;
mod mutant;
mod normal;
pub(crate) mod number;
mod recovery;
mod sight;
mod symmetry;
mod tell;
mod tests;
mod world;
