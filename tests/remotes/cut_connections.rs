//! The connection to a bucket is cut at every request of a push and of a pull in turn: once, which
//! must not be noticed, and from then on, after which nothing may be lost, dangle or be half there.

use std::fs;

use crate::support::TestSpace;
use crate::support::lab::Lab;
use crate::support::servers::cutter::{Cutter, Moment, Plan};
use crate::support::servers::s3::S3;

const MOMENTS: [Moment; 4] = [
    Moment::Before,
    Moment::During,
    Moment::After,
    Moment::Answering,
];

struct Cut {
    server: S3,
    cutter: Cutter,
    lab: Lab,
}

impl Cut {
    fn new() -> Cut {
        let server = S3::start(&["lab"]);
        let cutter = Cutter::start(&server.endpoint);
        let lab = Lab::on_s3(&server, &cutter.url);
        lab.ci.ok(&["run"]);
        lab.clone_to(&lab.laptop);
        Cut {
            server,
            cutter,
            lab,
        }
    }

    fn empty_bucket(&self) {
        let dir = self.server.bucket_dir("lab");
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
    }

    /// A machine that has nothing but the clone.
    fn newcomer(&self) -> TestSpace {
        let mut space = TestSpace::new();
        space.set_env("AWS_ACCESS_KEY_ID", crate::support::servers::s3::ACCESS_KEY);
        space.set_env(
            "AWS_SECRET_ACCESS_KEY",
            crate::support::servers::s3::SECRET_KEY,
        );
        self.lab.clone_to(&space);
        space
    }

    /// Requests of a push into the empty bucket, or of a pull, when nothing is cut.
    fn requests(&self, space: &TestSpace, command: &str) -> usize {
        self.cutter.plan(None);
        space.ok(&[command]);
        self.cutter.counts().0
    }
}

/// All that is on the remote is whole, and a newcomer gets what the lock file names.
fn is_whole(cut: &Cut, what: &str) {
    cut.cutter.plan(None);
    let said = cut.lab.ci.run(&["fsck", "--remote", "lab"]);
    assert_eq!(said.code, 0, "{what}: {}{}", said.out, said.err);
    let newcomer = cut.newcomer();
    let said = newcomer.run(&["pull"]);
    assert_eq!(said.code, 0, "{what}: {}", said.err);
    assert!(!said.err.contains("warning"), "{what}: {}", said.err);
    assert_eq!(
        newcomer.read("artifacts/table/table.txt"),
        cut.lab.ci.read("artifacts/table/table.txt"),
        "{what}"
    );
}

#[test]
fn one_cut_is_not_noticed() {
    let cut = Cut::new();
    let requests = cut.requests(&cut.lab.ci, "push");
    assert!(requests > 15, "{requests}");
    let mut happened = 0;
    for from in 0..requests {
        let moment = MOMENTS[from % MOMENTS.len()];
        let plan = Plan {
            from,
            count: 1,
            moment,
        };
        cut.empty_bucket();
        cut.cutter.plan(Some(plan));
        let said = cut.lab.ci.run(&["push"]);
        assert_eq!(said.code, 0, "{plan:?}: {}", said.err);
        assert!(!said.err.contains("warning"), "{plan:?}: {}", said.err);
        happened += cut.cutter.counts().1;
        is_whole(&cut, &format!("push, {plan:?}"));
    }
    assert!(happened + 2 >= requests, "{happened} of {requests}");
    let requests = cut.requests(&cut.newcomer(), "pull");
    for from in 0..requests {
        for moment in MOMENTS {
            let plan = Plan {
                from,
                count: 1,
                moment,
            };
            cut.cutter.plan(Some(plan));
            let newcomer = cut.newcomer();
            let said = newcomer.run(&["pull"]);
            assert_eq!(said.code, 0, "{plan:?}: {}", said.err);
            assert_eq!(cut.cutter.counts().1, 1, "{plan:?}");
            newcomer.ok(&["fsck"]);
        }
    }
}

/// The network goes away in the middle, for good: what was asked for is not done, and that is said;
/// later it is done.
#[test]
fn a_network_that_stays_away_loses_nothing() {
    let cut = Cut::new();
    let requests = cut.requests(&cut.lab.ci, "push");
    for from in (0..requests).step_by(3) {
        let moment = MOMENTS[(from / 3) % MOMENTS.len()];
        let plan = Plan {
            from,
            count: usize::MAX,
            moment,
        };
        cut.empty_bucket();
        cut.cutter.plan(Some(plan));
        let said = cut.lab.ci.run(&["push"]);
        // How many requests there are depends on how the bytes fell; the very last may not come.
        if cut.cutter.counts().1 == 0 && from + 3 >= requests {
            continue;
        }
        assert_ne!(said.code, 0, "{plan:?}: {}", said.out);
        // What is there is whole, even if not all is there.
        cut.cutter.plan(None);
        let said = cut.lab.ci.run(&["fsck", "--remote", "lab"]);
        assert_eq!(said.code, 0, "{plan:?}: {}{}", said.out, said.err);
        cut.lab.ci.ok(&["push"]);
        is_whole(&cut, &format!("push, {plan:?}"));
    }
    let requests = cut.requests(&cut.newcomer(), "pull");
    for from in 0..requests {
        let plan = Plan {
            from,
            count: usize::MAX,
            moment: MOMENTS[from % MOMENTS.len()],
        };
        cut.cutter.plan(Some(plan));
        let newcomer = cut.newcomer();
        let said = newcomer.run(&["pull"]);
        assert_ne!(said.code, 0, "{plan:?}: {}", said.out);
        newcomer.ok(&["fsck"]);
        cut.cutter.plan(None);
        newcomer.ok(&["pull"]);
        newcomer.ok(&["fsck"]);
    }
}
