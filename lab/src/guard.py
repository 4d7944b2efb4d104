# Runs the program named by the arguments and makes sure that it does not outlive the lab.
#
# The lab holds the other end of standard input. However the lab ends, by returning, by a panic, by
# Ctrl-C or by SIGKILL, that end is closed by the kernel, and the program is killed. (The kernel's
# own parent-death signal will not do: it fires when the *thread* that started the program ends, and
# every Rust test has a thread of its own.)
#
# Standard output tells the lab the program's process ID, then its exit status.

import os
import subprocess
import sys
import threading

program = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr
)


def obey():
    for line in iter(sys.stdin.buffer.readline, b""):
        if line == b"terminate\n":
            program.terminate()
        else:
            program.kill()
    program.kill()


threading.Thread(target=obey, daemon=True).start()
try:
    print(program.pid, flush=True)
    print(program.wait(), flush=True)
except BrokenPipeError:
    # The lab is gone; `obey` is about to find out, and nobody is left to be told.
    program.wait()
# At once: a tidy end would wait for the lock on standard input that `obey` holds, and complain.
os._exit(0)
