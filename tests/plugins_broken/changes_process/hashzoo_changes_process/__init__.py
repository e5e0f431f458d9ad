import os
import random
import signal
import sys

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
random.seed(0)
os.environ["HASHZOO_TEST_CHANGED"] = "1"
sys.path.append("/hashzoo-changes-process")
os.chdir("/")
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0)


@hookimpl
def hashzoo_trainers():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    return [Part("changes", "hashzoo_changes_process.parts:Trainer", "")]
