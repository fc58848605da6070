//! The CUDA back end where there is no GPU: with a stand-in for NVIDIA's driver (`stand_in.cpp`),
//! which runs the text of the kernels on the CPU. So what is seen here is which calls are made, in
//! which order, with which arguments, and what comes of their errors; not what a GPU computes.

use std::path::Path;

use repro_gpu::{Fault, Search, search};

use super::*;
use crate::stand_in::with_stand_in;

/// Tells this process to be the one that [`child`] is for.
const CHILD: &str = "REPRO_CUDA_CHILD";

/// Tells it to use a share of the device.
const SHARE: &str = "REPRO_CUDA_SHARE";

/// Tells it to ask for the same launches again and again.
const AGAIN: &str = "REPRO_CUDA_AGAIN";

/// What the child prints with the driver set so; nothing where there is no compiler.
fn said(variables: &[(&str, &str)]) -> Option<String> {
    let all = [variables, &[(CHILD, "1")]].concat();
    let child = ["cuda::child", "--exact", "--nocapture"];
    let Some(output) = with_stand_in(&child, &all) else {
        skip("no C++ compiler of this processor for the stand-in of a CUDA driver");
        return None;
    };
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", of(&output.stderr));
    Some(of(&output.stdout))
}

#[track_caller]
fn says(variables: &[(&str, &str)], what: &str) {
    if let Some(said) = said(variables) {
        assert!(said.contains(what), "{what}: {said}");
    }
}

/// Uses the device as a job does, and tells what comes of it.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let Search { found, absent } = search();
    println!("absent: {}", absent.join("; "));
    for device in &found {
        if let Some(share) = std::env::var_os(SHARE) {
            let share: f64 = share.to_str().unwrap().parse().unwrap();
            match shared(device, share) {
                Ok(()) => println!("shared"),
                Err(fault) => println!("fault: {fault}"),
            }
            continue;
        }
        if std::env::var_os(AGAIN).is_some() {
            match again(device) {
                Ok(()) => println!("again"),
                Err(fault) => println!("fault: {fault}"),
            }
            continue;
        }
        println!(
            "found: {}, {}, {}",
            device.name, device.driver, device.memory
        );
        match used(device) {
            Ok(()) => println!("used"),
            Err(fault) => println!("fault: {fault}"),
        }
    }
}

/// Takes more than its share, and what others have left of the device.
fn shared(device: &repro_gpu::Found, share: f64) -> Result<(), Fault> {
    let limit = device.part(share);
    let opened = device.open_within(Some(limit))?;
    let whole = device.open()?;
    let pool = Pool::default();
    println!(
        "limit: {limit}, room: {}, of all: {}",
        opened.room(),
        whole.room()
    );
    let quarter = (limit / 4 / 4) as usize;
    let taken: Vec<_> = (0..3).map(|_| opened.values(&pool, quarter)).collect();
    println!("room: {}", opened.room());
    assert!(taken.iter().all(Result::is_ok));
    // What waits in the pool is given back before this is refused, and it is not refused.
    drop(taken);
    drop(opened.values(&pool, 3 * quarter)?);
    drop(pool);
    let pool = Pool::default();
    // Another process has nearly all of the device.
    let others = whole.values(&Pool::default(), (device.memory / 4) as usize - quarter)?;
    println!("room: {}", opened.room());
    drop(others);
    println!("room: {}", opened.room());
    opened.values(&pool, limit as usize / 4 + 1).map(drop)
}

/// A sequence of launches that comes again, with other numbers and other memory.
fn again(device: &repro_gpu::Found) -> Result<(), Fault> {
    let device = device.open()?;
    let pool = Pool::default();
    let constants = device.upload(&pool, &[1.0, -2.0, 3.0])?;
    let mut held = Vec::new();
    for round in 0..6 {
        // Memory that was in use a round before is in use still, so each has other memory; now and
        // then a host's words come between two launches.
        let mut values = device.upload(&pool, &[0.5, 0.25, -1.0])?;
        let mut here = [0.5, 0.25, -1.0_f32];
        let scales = [0.0, -0.0, 1.5, -0.0, 2.0, round as f32];
        for scale in scales {
            device.scaled_add(scale, &constants, 1.0, &mut values)?;
            if round % 3 == 2 && scale == 1.5 {
                device.write(&[7.0, 8.0, 9.0], &mut values)?;
            }
            for (value, x) in here.iter_mut().zip([1.0, -2.0, 3.0_f32]) {
                *value = scale.mul_add(x, *value);
            }
            if round % 3 == 2 && scale == 1.5 {
                here = [7.0, 8.0, 9.0];
            }
        }
        // The sign of a zero is a number's only difference here.
        let mut sign = device.upload(&pool, &[-0.0])?;
        let (one, zero) = (device.upload(&pool, &[1.0])?, [0.0, -0.0][round % 2]);
        for _ in 0..4 {
            device.scaled_add(zero, &one, 1.0, &mut sign)?;
        }
        let mut there = [0.0; 3];
        device.read(&values, &mut there)?;
        assert_eq!(bits(&there), bits(&here), "round {round}");
        let mut there = [7.0];
        device.read(&sign, &mut there)?;
        assert_eq!(bits(&there), bits(&[-0.0 + zero]), "round {round}");
        held.push(values);
    }
    Ok(())
}

fn used(device: &repro_gpu::Found) -> Result<(), Fault> {
    let device = device.open()?;
    let pool = Pool::default();
    let mut memory = device.upload(&pool, &[1.0, -2.0])?;
    device.activate_in_place(
        repro_numerics::kernels::activation::Activation::Relu,
        &mut memory,
    )?;
    let mut values = [0.0; 2];
    device.read(&memory, &mut values)?;
    assert_eq!(values, [1.0, 0.0]);
    drop(memory);
    // Longer than a piece on its way, and more than all of them.
    let long: Vec<f32> = (0..(9 << 18) + 1).map(|i| i as f32).collect();
    let there = device.upload(&pool, &long)?;
    let copy = device.copy(&there, &pool)?;
    let mut back = vec![0.0; long.len()];
    device.read(&copy, &mut back)?;
    assert!(back == long);
    let _ = device.upload(&pool, &[])?;
    // What waits in the pool is given back before this is refused.
    device.values(&pool, (1 << 28) + 1).map(drop)
}

/// Every test of an op, with the stand-in as the only device.
#[test]
fn every_op() {
    let Some(output) = with_stand_in(&["--skip", "cuda::"], &[]) else {
        return skip("no C++ compiler of this processor for the stand-in of a CUDA driver");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!errors.contains("skipped"), "{errors}");
}

#[test]
fn a_device_is_listed_and_used_and_given_back() {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in.log");
    let _ = std::fs::remove_file(&log);
    let Some(said) = said(&[("STAND_IN_LOG", log.to_str().unwrap())]) else {
        return;
    };
    assert!(said.contains("absent: OpenCL"), "{said}");
    let listed = "found: Stand-in, CUDA 12.4, compute capability 9.0, 1073741824\n";
    assert!(said.contains(listed), "{said}");
    let refused = "fault: Stand-in: no memory for 1.0 GiB more; it has 1.0 GiB in all, and \
                   1006.0 MiB are free";
    assert!(said.contains(refused), "{said}");
    let log = std::fs::read_to_string(log).unwrap();
    let calls = |name: &str| log.lines().filter(|line| *line == name).count();
    for (made, given_back) in [
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2"),
        ("cuStreamCreate", "cuStreamDestroy_v2"),
        ("cuModuleLoadDataEx", "cuModuleUnload"),
        ("cuMemHostAlloc", "cuMemFreeHost"),
        ("cuEventCreate", "cuEventDestroy_v2"),
    ] {
        assert!(
            calls(made) > 0 && calls(made) == calls(given_back),
            "{made}: {log}"
        );
    }
    assert_eq!(calls("cuMemHostAlloc"), 8);
    let order = [
        "cuDriverGetVersion",
        "cuInit",
        "cuDevicePrimaryCtxRetain",
        "cuStreamCreate",
        "cuModuleLoadDataEx",
        "cuMemAlloc_v2",
        "cuMemcpyHtoDAsync_v2",
        "cuLaunchKernel",
        "cuMemcpyDtoHAsync_v2",
        "cuModuleUnload",
        "cuStreamDestroy_v2",
        "cuDevicePrimaryCtxRelease_v2",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|call| log.lines().position(|line| line == *call))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}: {log}"
    );
}

#[test]
fn of_a_share_no_more_is_taken() {
    // Of 1 GiB a quarter, of which the driver has a quarter.
    let Some(said) = said(&[(SHARE, "0.25")]) else {
        return;
    };
    let told = "limit: 201326592, room: 201326592, of all: 1073741824\nroom: 50331648\nroom: \
                50331648\nroom: 201326592\nfault: Stand-in: no memory for 192.0 MiB more; the share of \
                its 1.0 GiB that may be taken is 192.0 MiB, and 192.0 MiB are free\n";
    assert!(said.contains(told), "{said}");
}

#[test]
fn launches_that_come_again_are_one_graph() {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in-graphs.log");
    let _ = std::fs::remove_file(&log);
    let Some(said) = said(&[(AGAIN, "1"), ("STAND_IN_LOG", log.to_str().unwrap())]) else {
        return;
    };
    assert!(said.contains("again\n"), "{said}");
    let log = std::fs::read_to_string(log).unwrap();
    let calls = |name: &str| log.lines().filter(|line| *line == name).count();
    // Rounds 0, 1, 3 and 4 are one sequence of ten launches: the first time it is seen, the second
    // time it becomes a graph. In rounds 2 and 5, words of the host cut it into three and seven, of
    // which three are no graph.
    assert_eq!(calls("cuGraphInstantiateWithFlags"), 2, "{log}");
    assert_eq!(calls("cuGraphLaunch"), 3 + 1, "{log}");
    assert_eq!(calls("cuGraphAddKernelNode_v2"), 10 + 7, "{log}");
    // Rounds 1 and 3 have the same zero in the same memory, so their last four launches are the same.
    assert_eq!(calls("cuGraphExecKernelNodeSetParams_v2"), 6 + 10, "{log}");
    assert_eq!(calls("cuLaunchKernel"), 10 + 3 + 7 + 3, "{log}");
    says(
        &[(AGAIN, "1"), ("STAND_IN_FAILS", "cuGraphLaunch=719")],
        "fault: Stand-in: cuGraphLaunch failed: unspecified launch failure",
    );
}

#[test]
fn a_driver_that_cannot_be_used_says_why() {
    says(
        &[("STAND_IN_FAILS", "cuInit=100")],
        "absent: CUDA's driver: cuInit failed: no CUDA-capable device is detected; OpenCL",
    );
    says(
        &[("STAND_IN_DRIVER", "10020")],
        "absent: CUDA's driver is of CUDA 10.2; 11.4 or later is needed; OpenCL",
    );
    says(
        &[("STAND_IN_CAPABILITY", "61")],
        "fault: Stand-in: it cannot give the CPU's bits: it has compute capability 6.1, and the \
         kernels need 7.0",
    );
}

#[test]
fn an_error_of_the_driver_is_a_fault_that_names_the_call() {
    for (fails, fault) in [
        (
            "cuModuleLoadDataEx=218",
            "fault: Stand-in: its compiler refuses the kernels:\na PTX JIT compilation failed\n\
             ptxas fatal: the stand-in was told to",
        ),
        (
            "cuLaunchKernel=719",
            "fault: Stand-in: cuLaunchKernel failed: unspecified launch failure",
        ),
        // A code that the driver has no text for.
        (
            "cuStreamSynchronize=700",
            "fault: Stand-in: cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS",
        ),
        (
            "cuMemHostAlloc=2",
            "fault: Stand-in: cuMemHostAlloc failed: out of memory",
        ),
        (
            "cuMemAlloc_v2=2",
            "fault: Stand-in: no memory for 8 B more; it has 1.0 GiB in all, and 1.0 GiB \
             are free",
        ),
    ] {
        says(&[("STAND_IN_FAILS", fails)], fault);
    }
}
