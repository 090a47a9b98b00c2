//! The labs as a learner goes through them: each text's commands answer what the text says, the checks fail before and
//! pass behind the reference solution and not behind short cuts, every fault is seen by them and repaired by its own as often as
//! one likes, and a reset is quick.
#![allow(missing_docs, clippy::unwrap_used)]

mod course;
mod session;
mod short_cuts;
mod text;

use course::Course;
use netmode_tests::sandbox::repository;

/// Goes through one lab from its beginning to its end.
fn go_through(number: u32) {
    let Some(mut course) = Course::begin(number) else { return };
    course.all_checks_fail_somewhere_at_the_start();
    course.text_before_the_solution();
    course.hints();
    course.solve();
    course.text_behind_the_solution();
    course.faults();
    // The draw is the same everywhere; this lab's faults are quick.
    if number == 3 {
        course.faults_by_chance();
    }
    course.every_check_was_seen_to_fail();
    course.report();
    short_cuts::all_fail(&course, number);
    course.reset();
    course.stop();
}

macro_rules! labs {
    ($($name:ident $number:literal)*) => {
        $(#[test]
        fn $name() {
            go_through($number);
        })*

        /// A lab without a test is none.
        #[test]
        fn every_lab_has_a_test_here() {
            let mut directories: Vec<u32> = std::fs::read_dir(repository().join("vagrant/labs")).unwrap()
                .filter_map(|entry| entry.unwrap().file_name().to_str()?.split_once('-')?.0.parse().ok()).collect();
            directories.sort_unstable();
            assert_eq!(directories, [$($number),*]);
        }
    };
}

labs! {
    none 1
    host 2
    bridge_by_hand 3
    static_ports 4
    dynamic_ports 5
    names 6
    awsvpc 7
    eni_limits 8
    security_groups 9
    addresses 10
    which_mode 11
    cni 12
}
