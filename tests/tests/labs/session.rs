//! Shells in a lab: what begins, ends and outlives them.

use crate::course::Course;
use netmode_tests::eventually;

#[test]
fn a_lab_that_runs_is_kept() {
    let Some(course) = Course::begin(1) else { return };
    let touched = || course.type_in("ls /run/home/mine 2>&1");
    course.type_in("touch /run/home/mine");
    let said = course.lab(&["start"]).success().stdout;
    assert!(said.contains("lab 1 runs already") && said.contains("netmode lab reset 1"), "{said}");
    assert_eq!(touched(), "/run/home/mine\n");
    assert_eq!(course.lab(&["reset"]).success().stdout, "lab 1 begins again\n");
    assert!(touched().contains("No such file"), "a reset begins with nothing");

    course.machine.netmode(&["lab", "start", "3", "--no-shell"]).success();
    let named = |words: &[&str]| course.machine.netmode(&[&["lab"], words].concat());
    assert_eq!(named(&["stop", "--all"]).success().stdout, "lab 1 ended\nlab 3 ended\n");
    assert_eq!(named(&["stop", "1"]).success().stdout, "lab 1 does not run\n");
}

#[test]
fn a_reset_ends_the_shells_of_others_with_a_word() {
    let Some(course) = Course::begin(1) else { return };
    let machine = &course.machine;
    machine.spawn(&["netmode", "lab", "shell", "1", "-c", "echo in; sleep 1000"], "/tmp/other.log");
    let other = || machine.read("/tmp/other.log");
    eventually("the other shell is there", 5.0, || other().contains("in\n"));
    let said = course.lab(&["shell", "-c", "netmode lab reset; echo behind"]).success().stdout;
    assert!(said.contains("The lab begins again") && !said.contains("behind\n"), "{said}");
    eventually("the other shell has ended", 5.0, || other().contains("You are on the real machine again"));
    assert!(other().contains("Lab 1 was begun again"), "{}", other());
    assert_eq!(course.type_in("cat /run/this-lab"), "01-none\n", "the lab is there again");

    machine.spawn(&["netmode", "lab", "shell", "1", "-c", "echo in; sleep 1000"], "/tmp/third.log");
    let third = || machine.read("/tmp/third.log");
    eventually("a third shell is there", 5.0, || third().contains("in\n"));
    course.lab(&["stop"]).success();
    eventually("it has ended", 5.0, || third().contains("this shell has ended with it"));
}

/// An agent with little of the processors: what the lab undoes of its beginning must be done behind it.
const SLOW: &str = "mv /usr/local/bin/netmoded /usr/local/bin/netmoded.real
printf '#!/bin/sh\nsleep 2\nexec /usr/local/bin/netmoded.real\n' >/usr/local/bin/netmoded
chmod +x /usr/local/bin/netmoded";

#[test]
fn a_lab_waits_for_its_agent() {
    let Some(course) = Course::begin(3) else { return };
    course.machine.sh(SLOW);
    course.lab(&["reset"]).success();
    assert_eq!(course.type_in("netmode network ls -q | wc -l; cat /proc/sys/net/ipv4/ip_forward"), "1\n0\n");
}

/// Lab 3 with its masquerade in a table that its fault takes for one of netmode's.
const ELSEWHERE: &str =
    "sed s/byhand/netmode_like/ /usr/local/share/netmode/labs/03-bridge-by-hand/solution.sh | sh -eu";

#[test]
fn a_fault_that_changes_nothing_is_taken_back() {
    let Some(course) = Course::begin(3) else { return };
    let done = course.type_in(ELSEWHERE);
    assert!(course.failing().is_empty(), "{done}: {:#?}", course.failing());
    course.lab(&["break", "--seed", "0"]).refused(1, &["changes nothing", "taken back", "netmode lab break"]);
    let said = course.lab(&["break", "--seed", "1"]).success().stdout;
    assert!(said.contains("Something has changed"), "the other one can be put in: {said}");
}

/// Types lines into shells with job control on terminals of their own, as two people would, and prints what they see.
const TWO_TERMINALS: &str = r#"
import os, pty, select, time
def terminal():
    pid, fd = pty.fork()
    if pid == 0:
        os.execve('/bin/bash', ['bash', '--norc', '-i'], {'PATH': os.environ['PATH'], 'PS1': 'REAL> ', 'TERM': 'dumb'})
    return fd
def see(fd, wanted):
    seen, until = '', time.time() + 30
    while wanted not in seen and time.time() < until:
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536).decode(errors='replace')
    print(seen, flush=True)
    assert wanted in seen, wanted
one, two = terminal(), terminal()
for fd in one, two:
    see(fd, 'REAL> ')
    os.write(fd, b'netmode lab start 1\n')
    see(fd, '[lab 1] root@host1# ')
os.write(one, b'netmode lab reset\n')
see(one, '[lab 1] root@host1# ')
see(two, 'REAL> ')
os.write(two, b'stty | grep -o .echo; jobs; echo now ${NETMODE_LAB_SHELL:+in}side\n')
see(two, 'now side\r\n')
os.write(one, b'echo now ${NETMODE_LAB_SHELL:+in}side\n')
see(one, 'now inside\r\n')
"#;

#[test]
fn a_shell_that_ends_gives_its_terminal_back() {
    let Some(course) = Course::begin(1) else { return };
    let seen = course.machine.run(&["python3", "-c", TWO_TERMINALS]).success().stdout;
    assert!(!seen.contains("-echo") && !seen.contains("Stopped"), "{seen}");
    assert!(seen.contains("You are on the real machine again ("), "{seen}");
}

#[test]
fn inside_a_lab_texts_are_read_and_shells_are_not_nested() {
    let Some(course) = Course::begin(2) else { return };
    assert!(course.type_in("netmode lab text 3").contains("# Lab 3 "), "texts can always be read");
    assert!(course.type_in("netmode lab shell").contains("a second terminal"), "no shell in a shell");
    assert!(course.type_in("netmode lab check 3").contains("type exit first"));
    assert!(course.type_in("netmode lab ls").contains("here"));

    let text = course.lab(&["text"]).success().stdout;
    assert!(!text.contains("```") && !text.contains("<!--"), "no marks: {text}");
    assert!(!text.contains("## What you should see") && text.contains("text --all"), "not before it is done: {text}");
    assert!(course.lab(&["text", "--all"]).success().stdout.contains("## What you should see"));
    let bare = course.machine.netmode(&["lab"]).success().stdout;
    assert!(bare.contains("Begin: ") && bare.contains("README.md"), "{bare}");
}

#[test]
fn what_is_in_the_way_is_said() {
    let Some(course) = Course::begin(7) else { return };
    course.type_in("netmode subnet create tasks --cidr 10.0.2.0/24");
    let said = course.lab(&["solve"]).exits(1).stderr;
    assert!(said.contains("what you have made is in the way: netmode lab reset, then netmode lab solve"), "{said}");
    course.lab(&["break"]).refused(1, &["must be done before it is broken", "netmode lab reset"]);
    let checks = course.lab(&["check"]).exits(1).stdout;
    assert!(checks.contains("there is no task web-1") && checks.contains("no task \"web-2\""), "{checks}");
}
