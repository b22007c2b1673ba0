//! Signals to the processes that a test has started.

use std::process::Child;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Sends a signal to a process that has not been waited for. After `SIGSTOP`, waits until all its threads have stopped:
/// until then, one that has not noticed may still read what the test sends next.
pub fn send_signal(process: &Child, signal: Signal) {
    let pid = Pid::from_child(process);
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        // NOWAIT leaves the state as it is, so that a second SIGSTOP finds it too.
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).unwrap();
    }
}
