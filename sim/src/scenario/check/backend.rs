//! What a file says of the backend.

use super::{Checked, profile, within, wrong};
use crate::backend::Model;
use crate::engine::{MS, Nanos, nanos};
use crate::profile::Profile;
use crate::random::Service;
use crate::scenario::{BackendSpec, Stalls, file};
use std::ops::RangeInclusive;

/// What a slope may be.
const POSITIVE: RangeInclusive<f64> = 1e-9..=1e3;

pub(super) fn backend(file: &file::Backend, end: Nanos) -> Checked<BackendSpec> {
    let model = match &file.model {
        None => Model::Fifo,
        Some(model) => match model.get_ref() {
            file::Model::Fifo => Model::Fifo,
            file::Model::Sharing => Model::Sharing,
            file::Model::Linear(slope) if POSITIVE.contains(slope) => {
                Model::Linear { slope: *slope }
            }
            file::Model::Exponential(growth) if POSITIVE.contains(growth) => {
                Model::Exponential { growth: *growth }
            }
            file::Model::Usl(file::Usl {
                contention,
                coherency,
            }) if (0.0..=1e3).contains(contention) && (0.0..=1e3).contains(coherency) => {
                Model::Usl {
                    contention: *contention,
                    coherency: *coherency,
                }
            }
            _ => {
                return wrong(
                    model,
                    "the parameters of a model are positive, and at most 1000",
                );
            }
        },
    };
    let service = match &file.service {
        None => Service::Exponential,
        Some(service) => match service.get_ref() {
            file::Service::Deterministic => Service::Deterministic,
            file::Service::Erlang2 => Service::Erlang2,
            file::Service::Exponential => Service::Exponential,
            file::Service::LogNormal(sigma) if (0.0..=3.0).contains(sigma) => {
                Service::LogNormal(*sigma)
            }
            file::Service::Pareto(tail) if (1.05..=1e3).contains(tail) => Service::Pareto(*tail),
            file::Service::LogNormal(_) => return wrong(service, "sigma is 0 to 3"),
            file::Service::Pareto(_) => {
                return wrong(service, "the tail index is above 1.05, or there is no mean");
            }
        },
    };
    let head = match &file.head {
        Some(head) => within(head, 1e-3, 1.0, "head")?,
        None => 1.0,
    };
    let second = match &file.second_class {
        Some(second) => Some((
            within(&second.latency_ms, 0.001, 1e6, "latency_ms")? * MS as f64,
            profile(&second.part, 1.0, 0.0..=1.0, end)?,
        )),
        None => None,
    };
    let stalls = match &file.stalls {
        Some(stalls) => {
            let file::Stalls { every, length } = *stalls.get_ref();
            // Below a microsecond both may be no nanosecond, and time would stand still.
            if !(length >= 1e-6 && every - length >= 1e-6 && every <= 1e6) {
                return wrong(
                    stalls,
                    "a stall is shorter than the time from one to the next, and longer than nothing, both by a \
                     microsecond",
                );
            }
            Some(Stalls {
                every: nanos(every),
                length: nanos(length),
            })
        }
        None => None,
    };
    let tenant = match &file.tenant {
        Some(tenant) => profile(tenant, 1.0, 0.0..=0.99, end)?,
        None => Profile::constant(0.0),
    };
    let capacity = profile(&file.capacity, 1.0, 0.0..=1e6, end)?;
    if capacity.first() < 1.0 {
        return wrong(
            &file.capacity,
            "the load is measured in capacities at time 0, so there must be one",
        );
    }
    Ok(BackendSpec {
        model,
        capacity,
        latency: profile(&file.latency_ms, MS as f64, 0.001..=1e6, end)?,
        service,
        head,
        second,
        queue: file.queue,
        stalls,
        tenant,
    })
}
