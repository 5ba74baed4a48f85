//! The fleet guard as a limiter of the simulator: what a request asks of it, and what it says of itself.

use super::waiting::{Call, Place};
use super::{CHANGES, Fleet, STORE, TIME};
use crate::engine::Nanos;
use crate::limiter::{Asking, Goes, Held, Limiter, Outcome, Scene, Traffic, Truth, Verdict};
use crate::scenario::NodeChange;
use crate::world::Event;
use std::sync::Arc;
use std::task::{Poll, Waker};
use tidegate::classify::{Classifier, Measure};
use tidegate::fleet::sim::{Asked, Node};
use tidegate::slot::{Carrier, Head};

impl Limiter for Fleet {
    fn begin(&mut self, scene: &mut Scene<'_>) {
        for (index, (at, _)) in self.changes.iter().enumerate() {
            scene
                .agenda
                .at(*at, Event::Limiter(STORE, CHANGES + index as u32));
        }
    }

    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict {
        let Asking {
            node,
            request,
            class,
        } = asking;
        let index = self.current[node];
        let process = &self.processes[index];
        let Some(node) = &process.node else {
            return Verdict::Reject;
        };
        node.set_clock(process.local(scene.agenda.now()));
        let asked = match self.wait {
            None => node.try_acquire(class).map_err(|_| Verdict::Reject),
            Some(at_most) => {
                let called = Arc::clone(&self.called);
                let waker = Waker::from(Arc::new(Call { request, called }));
                match node.acquire_or_queue(class, at_most, waker.clone()) {
                    Asked::Admitted(lease) => Ok(lease),
                    Asked::Refused(_) => Err(Verdict::Reject),
                    Asked::Waits(waiting, at_most) => {
                        let place = Place {
                            process: index,
                            waiting,
                            waker,
                        };
                        self.waiting.insert(request, place);
                        self.processes[index].queued += 1;
                        Err(Verdict::Queued { at_most })
                    }
                }
            }
        };
        match asked {
            Ok(lease) => Verdict::Admit(self.ran(scene.agenda.now(), index, lease)),
            Err(verdict) => {
                self.audit.refused(scene.agenda.now());
                self.heed(scene.agenda, index);
                verdict
            }
        }
    }

    fn called(&mut self, scene: &mut Scene<'_>) -> Option<(u32, Option<Held>)> {
        loop {
            let request = self
                .called
                .lock()
                .expect("nothing panics under this lock")
                .pop()?;
            let Some(place) = self.waiting.get(&request) else {
                continue;
            };
            let index = place.process;
            let node = self.processes[index].node.as_ref()?;
            let now = scene.agenda.now();
            node.set_clock(self.processes[index].local(now));
            if let Poll::Ready(result) = node.poll(&place.waiting, &place.waker) {
                self.waiting.remove(&request);
                self.processes[index].queued -= 1;
                let held = result.ok().map(|lease| self.ran(now, index, lease));
                return Some((request, held));
            }
        }
    }

    fn give_up(&mut self, scene: &mut Scene<'_>, request: u32) -> Option<Held> {
        let place = self.waiting.remove(&request)?;
        let index = place.process;
        self.processes[index].queued -= 1;
        let node = self.processes[index].node.as_ref()?;
        let now = scene.agenda.now();
        node.set_clock(self.processes[index].local(now));
        let slot = node.give_up(&place.waiting);
        let held = slot.ok().map(|lease| self.ran(now, index, lease));
        self.heed(scene.agenda, index);
        held
    }

    fn release(
        &mut self,
        scene: &mut Scene<'_>,
        _node: usize,
        held: Held,
        outcome: Outcome,
        _latency: Nanos,
    ) {
        let (Held::Lease {
            process: index,
            watch,
            ..
        }
        | Held::Body {
            process: index,
            watch,
            ..
        }) = held
        else {
            return;
        };
        self.set_clock(scene, index);
        match (held, outcome) {
            (Held::Lease { lease, .. }, Outcome::Success) => lease.success(),
            (Held::Lease { lease, .. }, Outcome::Overload) => lease.overload(),
            (Held::Body { mut carrier, .. }, _) => carrier.ended(),
            (Held::Slot(_), _) => {}
        }
        let process = &mut self.processes[index];
        process.running -= 1;
        self.audit.ended(watch);
        self.heed(scene.agenda, index);
    }

    fn headed(&mut self, scene: &mut Scene<'_>, held: Held, goes: Goes) -> Held {
        let Held::Lease {
            lease,
            process,
            watch,
        } = held
        else {
            return held;
        };
        self.set_clock(scene, process);
        let mut carrier = Carrier::new(lease);
        let head = Head {
            status: 200,
            content_type: match goes {
                Goes::Body => None,
                Goes::Events => Some(b"text/event-stream"),
            },
            ..Head::default()
        };
        carrier.answered(&head, &Classifier::default(), Measure::Head);
        self.heed(scene.agenda, process);
        Held::Body {
            carrier,
            process,
            watch,
        }
    }

    fn outlived(&mut self, held: Held) {
        if let Held::Lease { watch, .. } | Held::Body { watch, .. } = held {
            self.audit.ended(watch);
        }
    }

    fn handle(&mut self, scene: &mut Scene<'_>, node: u32, what: u32) {
        let now = scene.agenda.now();
        match (node, what) {
            (STORE, change) if change >= CHANGES => {
                let (_, change) = self.changes[(change - CHANGES) as usize];
                self.change_store(change);
            }
            (STORE, place) => self.deliver_to_store(scene.agenda, place),
            (node, TIME) => {
                let index = node as usize;
                if self.processes[index].timer == now {
                    self.processes[index].timer = Nanos::MAX;
                    self.step(scene.agenda, index, Node::step);
                }
            }
            (node, place) => {
                self.free.push(place);
                let index = node as usize;
                let Some((to, message)) = self.messages[place as usize].take() else {
                    return;
                };
                if self.processes[index].incarnation == to {
                    self.step(scene.agenda, index, |node, fresh| {
                        node.handle(message, fresh)
                    });
                }
            }
        }
    }

    fn change(&mut self, scene: &mut Scene<'_>, node: usize, change: NodeChange) {
        match change {
            NodeChange::Join | NodeChange::Restart => self.start(scene.agenda, node),
            NodeChange::Leave => self.step(scene.agenda, self.current[node], |node, fresh| {
                node.close();
                node.step(fresh)
            }),
            NodeChange::Crash => {
                let index = self.current[node];
                let process = &mut self.processes[index];
                process.node = None;
                self.reclaim.died(process.incarnation, scene.agenda.now());
                process.incarnation = 0;
                self.waiting.retain(|_, place| place.process != index);
                // The backend works on for it: still in flight.
                (process.running, process.queued) = (0, 0);
                let now = scene.agenda.now();
                if std::mem::take(&mut process.was_alone) {
                    self.audit.came_back(&mut process.watch, now);
                }
                self.audit.cut_off(process.watch, now);
            }
        }
    }

    fn limit(&self, _: Truth) -> f64 {
        // Of those who are in, the one who heard last is not known; they differ for a round trip.
        let active = self
            .processes
            .iter()
            .filter_map(|process| process.node.as_ref());
        let limits = active.filter(|node| node.is_active()).map(Node::limit);
        limits.max().map_or(0.0, f64::from)
    }

    fn shares(&self, _: Truth) -> f64 {
        let nodes = self
            .processes
            .iter()
            .filter_map(|process| process.node.as_ref());
        nodes.map(|node| f64::from(node.sample().0)).sum()
    }

    fn share(&self, node: usize) -> Option<f64> {
        let process = &self.processes[*self.current.get(node)?];
        let node = process.node.as_ref()?;
        Some(f64::from(node.sample().0))
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            violations: self.audit.violations(),
            reclaimed: self.reclaim.longest(),
            wanted: Some(self.audit.wanted()),
            ..self.traffic
        }
    }
}
