//! Whole runs on a machine with one GPU, which a command has while a net waits for it. Nothing is
//! executed: who begins where is what counts.

use std::sync::Mutex;

use repro_protocol::kind::{Checked, Description, OutputSpec, no_member};
use repro_protocol::relpath::RelPath;
use serde_json::Value;

use super::*;
use crate::catalog::{Catalog, Kind, Program};
use crate::digest::Digest;
use crate::exec::Cancel;
use crate::executor::{Capacity, Executor, Heard, Order, OrderId, Outcome, Tell};
use crate::index::Known;
use crate::open::Opening;
use crate::record::event::Event;
use crate::record::times::Times;
use crate::run::{OnFailure, RunOptions, run_on};
use crate::store::Record;

/// A kind that may compute on a GPU.
fn net() -> Arc<Kind> {
    let path = RelPath::new("o").unwrap();
    let check = move |params: &Value, _: &[String]| {
        Ok(Checked {
            params: params.clone(),
            outputs: vec![OutputSpec {
                name: "o".into(),
                path: path.clone(),
            }],
        })
    };
    Arc::new(Kind {
        description: Description {
            name: "net".to_owned(),
            summary: String::new(),
            doc: String::new(),
            revision: 1,
            numerics: "exact".to_owned(),
            inputs: Vec::new(),
            counts: Vec::new(),
            schema: Value::Bool(true).into(),
            check: Arc::new(check),
            member: Arc::new(|_, output, _| no_member(output)),
            facts: None,
            states: None,
            on_gpu: Some(Arc::new(|_| true)),
        },
        program: Program::BuiltIn,
    })
}

/// What began: the instance, the device it was told, and the GPUs it asks for.
type Begun = Arc<Mutex<Vec<(String, Option<Device>, u32)>>>;

/// Everything fails as soon as the net has begun. Whoever has the GPU ends also when others have
/// asked for it a few times in vain.
struct OneGpu {
    tell: Tell,
    begun: Begun,
    running: Vec<OrderId>,
    has_gpu: Option<OrderId>,
    refused: u32,
}

impl OneGpu {
    fn end(&mut self) {
        self.has_gpu = None;
        for order in self.running.drain(..) {
            let outcome = Outcome::failed("it is of no use".to_owned());
            (self.tell)(order, Heard::Outcome(Box::new(outcome)));
        }
    }
}

impl Executor for OneGpu {
    fn capacity(&self) -> Capacity {
        Capacity {
            cpus: 4,
            memory_bytes: 1 << 40,
            gpus: 1,
            is_elastic: false,
        }
    }

    fn open(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn reserve(&mut self, order: OrderId, policy: &Policy, _: Option<u32>) -> Reserved {
        if policy.gpus == 0 {
            return Reserved::Yes;
        }
        if self.has_gpu.is_some() {
            self.refused += 1;
            if self.refused == 3 {
                self.end();
            }
            return Reserved::ByThisRun;
        }
        self.has_gpu = Some(order);
        Reserved::Yes
    }

    fn begin(&mut self, order: Order) -> anyhow::Result<()> {
        let instance = order.instance.to_string();
        let is_last = instance == "net";
        let begun = (instance, order.device, order.policy.gpus);
        self.begun.lock().unwrap().push(begun);
        self.running.push(order.id);
        if is_last {
            self.end();
        }
        Ok(())
    }

    fn stop(&mut self, _: OrderId) {}

    fn record(&mut self, _: OrderId, _: Record) {}

    fn discard(&mut self, _: OrderId) {}
}

/// What the stage of the net says besides.
const ASKS_FOR_A_GPU: &str = ", resources: {gpus: 1}";

/// Where the net begins, and what is told of it, if it took so many seconds on the CPU and on a GPU,
/// and the command that has the GPU so many.
fn began(
    (cpu_s, gpu_s, hold_s): (Option<f64>, Option<f64>, Option<f32>),
    device: Option<Device>,
    says: &str,
) -> (Option<Device>, u32, Option<Placement>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.yaml");
    let text = r#"version: 1
stages:
  hold: {run: "x > ${outputs.o}", outputs: {o: o}, resources: {gpus: 1}}
  net: {uses: net, with: {seed: 1}SAYS}
"#;
    std::fs::write(&file, text.replace("SAYS", says)).unwrap();
    let mut catalog = Catalog::without_kinds(|_| Ok(<_>::default()));
    catalog.kinds.push(net());
    let mut opening = Opening::new(Arc::new(catalog));
    opening.file = Some(file);
    opening.store = Some(dir.path().join("store"));
    let mut session = opening.session_to_run().unwrap();
    if let Some(wall_s) = hold_s {
        let known = Known {
            key: Digest::of(b"another one"),
            outputs: Arc::default(),
            wall_s,
            elsewhere: false,
            believed_under: None,
        };
        session.index.set(&"hold".into(), known);
    }
    let of_net = session.plan.instances.iter().find(|i| &*i.id == "net");
    let work = placement::work(of_net.unwrap(), &[]).unwrap();
    let mut times = Times::of(&session.project.state());
    for (on, seconds) in [(On::Cpu, cpu_s), (On::Gpu, gpu_s)] {
        seconds.into_iter().for_each(|s| times.learn(work, on, s));
    }
    times.save().unwrap();

    let cancel = Arc::new(Cancel::new().unwrap());
    let mut options = RunOptions::new(Vec::new(), cancel, "/nonexistent".into());
    options.on_failure = OnFailure::KeepGoing;
    options.device = device;
    let (begun, mut told) = (Begun::default(), None);
    let mut sink = |event: &Event| {
        if let Event::Started {
            instance, placed, ..
        } = event
            && instance == "net"
        {
            told = *placed;
        }
    };
    let executor = |tell| -> Box<dyn Executor> {
        Box::new(OneGpu {
            tell,
            begun: begun.clone(),
            running: Vec::new(),
            has_gpu: None,
            refused: 0,
        })
    };
    run_on(&mut session, &options, &mut sink, executor).unwrap();
    let begun = begun.lock().unwrap();
    assert_eq!(begun[0], ("hold".to_owned(), device, 1000), "{begun:?}");
    let (name, device, gpus) = begun[1].clone();
    assert_eq!((&*name, begun.len()), ("net", 2));
    (device, gpus, told)
}

#[test]
fn a_net_waits_for_the_gpu_or_not_as_its_times_say() {
    let at = |cpu_s, gpu_s, hold_s| began((cpu_s, gpu_s, hold_s), None, ASKS_FOR_A_GPU);
    let waits = |(device, gpus, _): (_, _, _)| (device, gpus) == (None, 1000);
    // It would end on the CPU long before the GPU is free.
    let (device, gpus, told) = at(Some(50.0), Some(5.0), Some(1000.0));
    assert_eq!((device, gpus), (Some(Device::Cpu), 0));
    let told = told.unwrap();
    assert_eq!((told.on, told.cpu_s, told.gpu_s), (On::Cpu, 50.0, 5.0));
    assert!(told.gpu_free_in_s > Some(900.0), "{told:?}");
    // It would not, or nobody knows.
    assert!(waits(at(Some(5000.0), Some(5.0), Some(1000.0))));
    assert!(waits(at(Some(50.0), Some(5.0), None)));
    assert!(waits(at(None, Some(5.0), Some(1000.0))));
    assert!(waits(at(Some(50.0), None, Some(1000.0))));
    assert!(waits(at(None, None, Some(1000.0))));
    // The CPU is faster anyway: no GPU is asked for.
    let (device, gpus, told) = at(Some(5.0), Some(50.0), None);
    assert_eq!((device, gpus), (Some(Device::Cpu), 0));
    assert_eq!(told.unwrap().gpu_free_in_s, None);
    // The user says where.
    let times = (Some(50.0), Some(5.0), Some(1000.0));
    for says in [ASKS_FOR_A_GPU, ""] {
        let begins = |device| began(times, Some(device), says);
        assert_eq!(begins(Device::Gpu), (Some(Device::Gpu), 1000, None));
        let (device, gpus, told) = begins(Device::Auto);
        assert_eq!((device, gpus), (Some(Device::Cpu), 0));
        assert_eq!(told.unwrap().on, On::Cpu);
        assert_eq!(begins(Device::Cpu), (Some(Device::Cpu), 0, None));
    }
}

/// GPUs are hidden from those that have none, so who is sent to one has it.
#[test]
fn a_net_that_is_sent_to_a_gpu_has_one() {
    let none = (None, None, None);
    let sent = |device, says| began(none, device, says).1;
    for device in [Device::Gpu, Device::Auto] {
        assert_eq!(sent(Some(device), ""), 1000);
        assert_eq!(sent(Some(device), ", resources: {gpus: 0.25}"), 250);
    }
    assert_eq!(sent(Some(Device::Cpu), ""), 0);
    assert_eq!(sent(Some(Device::Cpu), ASKS_FOR_A_GPU), 0);
    assert_eq!(sent(None, ""), 0);
}
