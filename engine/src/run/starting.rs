//! Where an action is started: on the CPU or a GPU, and what is told of GPUs that are missing or
//! taken. What is known of devices is in [`super::placing`].
//!
//! Only what a stage or the user leaves open is decided, and only of built-in kinds: a command that
//! asks for a GPU gets one.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use repro_protocol::job::Device;

use super::board::Launch;
use super::ready::{ByTime, Sweep};
use super::scheduler::Scheduler;
use super::state::{Miss, Phase};
use crate::executor::{Made, Reserved};
use crate::placement::{self, Devices, On, Placement, Wait};
use crate::plan::{Instance, InstanceIndex, Policy};
use crate::store::Fact;

/// What is told when a stage waits for them.
pub const GPUS_ARE_TAKEN: &str = "waiting for GPUs: other runs on this machine have them";

/// What is told of a stage that asks for GPUs where there are none.
const NO_GPU: &str = "it asks for a GPU, and this machine shows none; it runs without one of its own. \
                      Check the driver (`nvidia-smi`, `rocminfo`) and CUDA_VISIBLE_DEVICES, \
                      or remove `gpus` from the stage";

impl Scheduler<'_> {
    /// Nobody said where it computes, and it may be on a GPU. Elsewhere nobody here decides.
    fn is_open(&self, instance: &Instance) -> bool {
        let wish = match self.options.device {
            None => instance.policy.gpus > 0,
            Some(device) => device == Device::Auto,
        };
        wish && !self.capacity.is_elastic
    }

    /// What an instance asks for. Who sent it to a GPU wants it to see one, and where GPUs are given
    /// out it sees those that it has; who sent it to the CPU wants it to wait for none. A built-in
    /// kind that never computes on one needs none, whatever the `defaults` of its pipeline say.
    fn wants(&self, instance: &Instance) -> Arc<Policy> {
        let policy = &instance.policy;
        let is_given = policy.gpus == 0 && self.capacity.gpus > 0;
        match (placement::devices(instance), self.options.device) {
            (Devices::Cpu, _) | (Devices::Both, Some(Device::Cpu)) if policy.gpus > 0 => {
                policy.without_gpus()
            }
            (Devices::Both, Some(Device::Gpu | Device::Auto)) if is_given => policy.with_a_gpu(),
            _ => policy.clone(),
        }
    }

    /// What an instance that becomes ready asks for, and what it took before where it may have to
    /// wait for a GPU. One that ends first on the CPU asks for no GPU.
    pub(super) fn place(
        &mut self,
        index: InstanceIndex,
        miss: &Miss,
    ) -> (Arc<Policy>, Option<ByTime>) {
        self.placing.placed.remove(&index);
        let instance = self.session.plan.instance(index);
        let policy = self.wants(instance);
        let work = match self.is_open(instance) {
            true => placement::work(instance, &miss.contents),
            false => None,
        };
        let Some(work) = work else {
            return (policy, None);
        };
        let recorded = self.placing.times.recorded(&work);
        let Some(placed) = placement::place(recorded, Wait::Nothing) else {
            return (policy, None);
        };
        self.placing.placed.insert(index, placed);
        match placed.on {
            On::Cpu => (policy.without_gpus(), None),
            On::Gpu if policy.gpus > 0 => (policy, ByTime::of(recorded)),
            On::Gpu => (policy, None),
        }
    }

    /// Starts the most urgent action that fits. One that would wait for a GPU of this run for longer
    /// than the CPU takes is started there.
    pub(super) fn start_next(&mut self, sweep: &mut Sweep) -> Option<Launch> {
        let (executor, placing) = (&mut self.executor, &mut self.placing);
        let mut instead = None;
        let launch = self
            .board
            .start_next(sweep, &mut |order, wish, policy, threads| {
                instead = None;
                let reserved = executor.reserve(order, policy, threads);
                placing.misses_gpus |= reserved == Reserved::ByOthers;
                let times = wish.by_time.filter(|_| reserved == Reserved::ByThisRun);
                let Some(placed) = times.and_then(|times| placing.instead(times)) else {
                    return reserved;
                };
                instead = Some(placed);
                executor.reserve(order, &policy.without_gpus(), threads)
            })?;
        if let Some(placed) = instead {
            self.placing.placed.insert(launch.index, placed);
        }
        Some(launch)
    }

    /// An action begins: where it computes, under which policy, and how that was decided.
    pub(super) fn begin_placed(
        &mut self,
        start: &Launch,
    ) -> (Option<Device>, Arc<Policy>, Option<Placement>) {
        let index = start.index;
        let placed = self.placing.placed.get(&index).copied();
        let is_on_cpu = placed.is_some_and(|placed| placed.on == On::Cpu);
        let (device, policy) = match is_on_cpu {
            true => (Some(Device::Cpu), start.policy.without_gpus()),
            false => (self.options.device, start.policy.clone()),
        };
        self.warn_of_gpus(index, policy.gpus_seen());
        let instance = self.session.plan.instance(index);
        let work = placement::work(instance, &start.miss.contents);
        if policy.gpus > 0 {
            let known = self.session.index.get(&instance.id);
            let placing = &mut self.placing;
            let by_work = work.and_then(|work| placing.times.recorded(&work).gpu_s);
            let expected_s = by_work.or(known.map(|known| f64::from(known.wall_s)));
            placing.holds(start.order, expected_s);
        }
        if let Some(work) = work.filter(|_| !self.capacity.is_elastic) {
            self.placing.works.insert(index, work);
        }
        (device, policy, placed)
    }

    /// It was made: how long that took is remembered, and how its device was chosen is told.
    pub(super) fn placed(&mut self, index: InstanceIndex, made: &mut Made) {
        let placed = self.placing.placed.remove(&index);
        let work = self.placing.works.remove(&index);
        // Of what went on from a state, the time says too little.
        if let Some(work) = work.filter(|_| made.resumed_from.is_none()) {
            let on = match made.record.observation.get(Fact::Device) {
                Some(_) => On::Gpu,
                None => On::Cpu,
            };
            self.placing.times.learn(work, on, made.usage.wall_s);
        }
        // A GPU that has no room for it leaves it to the CPU.
        let is_kept = |placed: &Placement| {
            placed.on == On::Cpu || made.record.observation.get(Fact::Device).is_some()
        };
        if let Some(placed) = placed.filter(is_kept) {
            let observation = std::mem::take(&mut made.record.observation);
            let placed = serde_json::json!(placed);
            made.record.observation = observation.with(Fact::Placed, placed);
        }
    }

    /// Something waits, nothing runs, and others have what is missing: told once.
    pub(super) fn tell_of_taken_gpus(&mut self) {
        let is_idle =
            self.board.count(&[Phase::Running]) == 0 && self.board.count(&[Phase::Ready]) > 0;
        let placing = &mut self.placing;
        if is_idle && placing.misses_gpus && !std::mem::replace(&mut placing.gpus_told, true) {
            self.warn(None, GPUS_ARE_TAKEN.to_owned());
        }
    }

    /// More than there are is no reason to refuse work, and nobody should wonder why it is slow.
    fn warn_of_gpus(&mut self, index: InstanceIndex, wanted: u32) {
        let given = self.capacity.gpus;
        if given > 0 && given < wanted {
            let text = format!("it asks for {wanted} GPUs, and this machine has {given}");
            self.warn(Some(index), text);
        }
        let stage = &self.session.plan.instance(index).stage;
        let told = &mut self.placing.told_without_gpu;
        if given == 0 && wanted > 0 && told.insert(stage.clone()) {
            self.warn(Some(index), NO_GPU.to_owned());
        }
    }
}
