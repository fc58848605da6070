//! Devices of which no more than a part may be taken.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::io::Write as _;

use repro_gpu::{Fault, Pool, found};

#[test]
fn a_device_gives_no_more_than_may_be_taken() {
    let found = found().unwrap_or_default();
    let fit: Vec<_> = found.iter().filter(|found| found.lacks.is_none()).collect();
    if fit.is_empty() {
        let why = "skipped: shares: no OpenCL device (apt install pocl-opencl-icd)";
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    for found in fit {
        let device = found.open_within(Some(4096)).unwrap();
        let pool = Pool::default();
        assert_eq!(device.room(), 4096);
        let half = device.upload(&pool, &[1.5; 512]).unwrap();
        assert_eq!(device.room(), 2048);
        let refused = device.values(&pool, 513).unwrap_err();
        let Fault::Memory { free, share, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!((free, share), (Some(2048), Some(4096)));
        let mut values = [0.0; 512];
        device.read(&half, &mut values).unwrap();
        assert_eq!(values, [1.5; 512]);
        // What waits in the pool is taken still, and is given back before anything is refused.
        drop(half);
        assert_eq!(device.room(), 2048);
        let all = device.values(&pool, 1024).unwrap();
        assert_eq!(device.room(), 0);
        drop((all, pool));
        assert_eq!(device.room(), 4096);
        // Whoever may have all of it has that.
        assert!(found.open().unwrap().room() > 4096);
    }
}
