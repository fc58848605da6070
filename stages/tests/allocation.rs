//! After its first steps a training asks the system for no memory worth mentioning.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dfdx::prelude::Cpu;
use repro_numerics::exact::rng::Stream;
use repro_stages::nn::architecture::{Architecture, Identity};
use repro_stages::nn::network::StepKey;
use repro_stages::training::batches::Batches;
use repro_stages::training::mask::Masks;
use repro_stages::training::pass::{Images, Wanted};
use repro_stages::training::step::Learner;
use repro_stages::weights::{NamedTensor, NamedTensors};
use serde_json::{Value, json};

mod support;

/// Where a request begins to cost: smaller ones are served from what the process has.
const LARGE: usize = 4096;

/// Counts large requests.
struct Counting;

static LARGE_REQUESTS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    if size >= LARGE {
        LARGE_REQUESTS.fetch_add(1, Ordering::Relaxed);
    }
}

fn weights(architecture: &Architecture) -> NamedTensors {
    let mut random = Stream::new(1, "allocation test", 0, 0);
    let mut tensor = |shape: &[usize], positive: bool| {
        let value = |_| {
            if positive {
                1.0
            } else {
                0.05 * random.normal()
            }
        };
        let data = (0..shape.iter().product()).map(value).collect();
        NamedTensor {
            shape: shape.to_vec(),
            data,
        }
    };
    let named = architecture.parameters.iter().map(|p| {
        let positive = p.name.contains("var");
        (p.name.clone(), tensor(&p.shape, positive))
    });
    named.collect::<BTreeMap<_, _>>()
}

/// Large requests during each of a number of steps, and what the pool held after each.
fn watch(model: Value, optimizer: Value, image: (usize, usize, usize)) -> Vec<(usize, usize)> {
    let data = support::data(1, 160, image, 10);
    let identity: Identity = serde_json::from_value(json!({
        "model": model,
        "input": {"height": image.0, "width": image.1, "channels": image.2},
        "classes": 10,
    }))
    .unwrap();
    let architecture = Arc::new(Architecture::new(identity).unwrap());
    let masks = Masks::none(&architecture);
    let optimizer = serde_json::from_value(optimizer).unwrap();
    let mut learner = Learner::new(
        &Cpu::default(),
        &architecture,
        &weights(&architecture),
        optimizer,
        Vec::new(),
        0,
        &masks,
    )
    .unwrap();
    let augment = serde_json::from_value(json!({"flip": true, "crop": 2, "cutout": 4})).unwrap();
    let mut batches = Batches::new(&data, 1, 64, augment);
    let (mut labels, mut seen) = (Vec::new(), Vec::new());
    for step in 0..12 {
        let before = LARGE_REQUESTS.load(Ordering::Relaxed);
        // Three batches in an epoch, the last of them half as large.
        let (epoch, place) = (step / 3, step % 3);
        let rows = batches.rows(place);
        let inputs = batches.prepare(epoch, place, &mut labels);
        let key = StepKey {
            seed: 1,
            epoch,
            step,
        };
        let fill = |to: &mut [f32]| inputs.write(to);
        let wanted = Wanted::Labels {
            of_rows: &labels,
            smoothing: 0.1,
        };
        let learnt = learner
            .step(rows, Images::Written(fill), wanted, 0.01, key)
            .unwrap();
        assert!(learnt.loss.is_finite());
        let requests = LARGE_REQUESTS.load(Ordering::Relaxed) - before;
        seen.push((requests, learner.pool().held()));
    }
    seen
}

/// One test, since the counter is the process's.
#[test]
fn a_step_asks_for_no_memory_after_two_epochs() {
    let perceptron = json!({"mlp": {"hidden": [300, 100], "activation": "tanh", "batch_norm": {}, "dropout": 0.2}});
    let convolutions = json!({"conv": {"layers": [
        {"conv": {"channels": 16}}, {"batch_norm": {}}, {"activation": "relu"},
        {"conv": {"channels": 24}}, {"activation": "relu"}, {"pool": {"max": 2}}, {"dropout": 0.25},
        {"conv": {"channels": 24, "stride": 2, "padding": {"pixels": 1}}}, {"pool": {"average": 2}},
        {"dense": 64}, {"activation": "sigmoid"}]}});
    // Wide enough for Winograd's.
    let wide = json!({"conv": {"layers": [
        {"conv": {"channels": 32}}, {"activation": "relu"}, {"conv": {"channels": 48}}, {"activation": "tanh"}, {"pool": {"max": 2}},
        {"conv": {"channels": 64}}, {"batch_norm": {}}, {"activation": "relu"}]}});
    let blocks = json!({"conv": {"layers": [
        {"conv": {"channels": 16, "bias": false}}, {"group_norm": {"groups": 4}}, {"activation": "gelu"},
        {"residual": {"activation": "relu", "layers": [{"depthwise": {"stride": 2}}, {"layer_norm": {}},
            {"activation": "gelu_tanh"}, {"conv": {"channels": 24, "kernel": 1}}]}},
        {"pool": {"max_windows": {"kernel": 3, "stride": 2, "padding": 1}}}, {"pool": "global_average"}]}});
    let resnet = json!({"resnet": {"widths": [8, 16], "blocks": [1, 1]}});
    let momentum = json!({"sgd": {"lr": 0.01, "momentum": 0.9}});
    for (model, optimizer, image) in [
        (perceptron, json!({"adam": {}}), (28, 28, 1)),
        (convolutions, momentum.clone(), (16, 16, 3)),
        (wide, momentum.clone(), (14, 10, 3)),
        (blocks, json!({"adam": {}}), (16, 16, 3)),
        (resnet, momentum, (16, 16, 3)),
    ] {
        // On one thread, for others warm their working memory up whenever they first get a task.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let seen = pool.install(|| watch(model.clone(), optimizer.clone(), image));
        assert!(seen[0].0 > 5, "the counter counts: {seen:?}");
        // Of each size of batch the pool has seen two.
        let (_, held) = seen[5];
        assert!(
            seen[6..].iter().all(|step| *step == (0, held)),
            "{model}: (requests, numbers in the pool) by step: {seen:?}"
        );
    }
}
