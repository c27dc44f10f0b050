#!/usr/bin/env python3
"""One mount, several people: who sees what, and what a login, a logout and a revocation change.

  test_login.py --build DIR [--only PART]

alice is a patient (uid 21001) and owns her records; dr.wilson (uid 21002) has a grant on her
labs; uid 21003 has nothing. The kernel's caches are shared by all of them, so each test looks
at what one of them gets after another one has filled them.
"""
import errno
import os
import sys
import time

import harness
from harness import RealMount, Skipped, check, fails, same, wait_until

ALICE, WILSON, NOBODY = 21001, 21002, 21003


def as_uid(uid, body, *args):
    """body(*args) in a child of this uid: its result as text, or raises OSError with its errno."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.close(read_end)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write_end, repr(body(*args)).encode())
        except OSError as fault:
            code = fault.errno
        except BaseException:  # pylint: disable=broad-except
            code = 255
        os._exit(code)
    os.close(write_end)
    text = b""
    while chunk := os.read(read_end, 65536):
        text += chunk
    os.close(read_end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code) if code != 255 else "the child failed")
    return text.decode()


def put(path, text):
    path.write_text(text)


def get(path):
    return path.read_text()


class Ward(RealMount):
    """Two people with keys, one grant, one mount for all."""

    def __enter__(self):
        try:
            r = self.realm
            r.init()
            r.start_phrd()
            r.identity("dr.wilson", uid=WILSON)
            r.patient("alice", uid=ALICE)
            r.grant("alice/labs", "dr.wilson")
            r.mount("allow_other")
            r.login("alice", ALICE)
            r.login("dr.wilson", WILSON)
        except BaseException:
            self.__exit__()
            raise
        self.alice = self.mount_dir / "alice"
        self.labs = self.alice / "labs"
        self.notes = self.alice / "notes"
        return self

    def logout(self, uid):
        self.realm.phr("logout", "--mount", self.mount_dir, uid=uid)

    def login(self, label, uid):
        self.realm.login(label, uid)


def test_the_owner_sees_all(w):
    names = eval(as_uid(ALICE, os.listdir, w.alice))  # pylint: disable=eval-used
    check({"labs", "notes", "imaging"} <= set(names), names)
    as_uid(ALICE, put, w.labs / "a.txt", "result")
    same(as_uid(ALICE, get, w.labs / "a.txt"), repr("result"))


def test_the_list_is_the_callers_own(w):
    same(as_uid(ALICE, os.listdir, w.mount_dir), repr(["alice"]))
    same(as_uid(NOBODY, os.listdir, w.mount_dir), repr([]))
    same(as_uid(WILSON, os.listdir, w.alice), repr(["labs"]))


def test_a_reader_reads(w):
    as_uid(ALICE, put, w.labs / "b.txt", "for the doctor")
    wait_until("the file to reach the reader", lambda: as_uid(WILSON, get, w.labs / "b.txt") == repr("for the doctor"))


def test_a_reader_does_not_write(w):
    as_uid(ALICE, put, w.labs / "c.txt", "x")
    fails(errno.EACCES, as_uid, WILSON, put, w.labs / "new.txt", "y")
    fails(errno.EACCES, as_uid, WILSON, put, w.labs / "c.txt", "y")
    fails(errno.EACCES, as_uid, WILSON, os.unlink, w.labs / "c.txt")


def test_without_a_right_it_is_eacces_never_enoent(w):
    as_uid(ALICE, put, w.notes / "secret", "s")
    fails(errno.EACCES, as_uid, WILSON, os.listdir, w.notes)
    fails(errno.EACCES, as_uid, WILSON, get, w.notes / "secret")
    fails(errno.EACCES, as_uid, NOBODY, os.listdir, w.notes)
    same(as_uid(ALICE, get, w.notes / "secret"), repr("s"))
    fails(errno.EACCES, as_uid, NOBODY, get, w.notes / "secret")


def test_an_attempt_is_recorded_whatever_the_kernel_has_cached(w):
    imaging = w.alice / "imaging"

    def denied():
        return len(w.realm.phr_json("audit", "show", "--who", "dr.wilson", "--op", "denied", "--raw"))

    before = denied()
    as_uid(ALICE, put, imaging / "warm", "w")
    same(as_uid(ALICE, get, imaging / "warm"), repr("w"))
    fails(errno.EACCES, as_uid, WILSON, os.stat, imaging / "warm")
    wait_until("the attempt in the log", lambda: denied() > before, 10)


def test_status_shows_a_uid_only_its_own(w):
    check("labs" in w.realm.phr("status", "--json", uid=WILSON).stdout)
    check("notes" not in w.realm.phr("status", "--json", uid=WILSON).stdout)
    check("alice" not in w.realm.phr("status", "--json", uid=NOBODY, check=False).stdout)


def test_another_uid_does_not_break_getcwd(w):
    def stay():
        os.chdir(w.notes)
        for _ in range(20):
            if os.getcwd() != str(w.notes):
                return os.getcwd()
            os.listdir(".")
            time.sleep(0.02)
        return "fine"

    other = os.fork()
    if other == 0:
        for _ in range(40):
            try:
                as_uid(NOBODY, os.listdir, w.notes)
            except OSError:
                pass
        os._exit(0)
    same(as_uid(ALICE, stay), repr("fine"))
    os.waitpid(other, 0)


def test_logout_takes_everything_away(w):
    as_uid(ALICE, put, w.labs / "d.txt", "d" * 5000)
    wait_until("the reader", lambda: as_uid(WILSON, get, w.labs / "d.txt") == repr("d" * 5000))

    def hold():
        fd = os.open(w.labs / "d.txt", os.O_RDONLY)
        os.pread(fd, 5000, 0)
        ready.write_text("x")
        for _ in range(200):
            time.sleep(0.05)
            try:
                os.pread(fd, 5000, 0)
            except OSError as fault:
                return fault.errno
        return 0

    ready = w.realm.dir / "ready"
    ready.touch()
    os.chmod(ready, 0o666)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write_end, as_uid(WILSON, hold).encode())
        os._exit(0)
    os.close(write_end)
    wait_until("the reader to hold the file", lambda: ready.read_text() == "x")
    w.logout(WILSON)
    got = int(os.read(read_end, 100))
    os.close(read_end)
    os.waitpid(pid, 0)
    check(got in (errno.EACCES, errno.ENOKEY), f"after logout: {got}")
    for body in (lambda: os.listdir(w.labs), lambda: get(w.labs / "d.txt")):
        try:
            as_uid(WILSON, body)
            raise harness.Failed("still there after logout")
        except OSError as fault:
            check(fault.errno in (errno.EACCES, errno.ENOKEY), fault)
    same(as_uid(ALICE, get, w.labs / "d.txt"), repr("d" * 5000))
    w.login("dr.wilson", WILSON)
    same(as_uid(WILSON, get, w.labs / "d.txt"), repr("d" * 5000))


def test_dirty_pages_survive_logout(w):
    def write_and_wait():
        fd = os.open(w.notes / "dirty", os.O_CREAT | os.O_RDWR, 0o600)
        os.write(fd, b"not closed yet")
        ready.write_text("x")
        time.sleep(3)
        os._exit(0)

    ready = w.realm.dir / "ready2"
    ready.touch()
    os.chmod(ready, 0o666)
    pid = os.fork()
    if pid == 0:
        as_uid(ALICE, write_and_wait)
        os._exit(0)
    wait_until("the writer", lambda: ready.read_text() == "x")
    w.logout(ALICE)
    os.waitpid(pid, 0)
    w.login("alice", ALICE)
    same(as_uid(ALICE, get, w.notes / "dirty"), repr("not closed yet"))


def test_nobody_logged_in(w):
    w.logout(ALICE)
    try:
        try:
            as_uid(ALICE, os.listdir, w.notes)
            raise harness.Failed("listed without a key")
        except OSError as fault:
            check(fault.errno in (errno.ENOKEY, errno.EACCES), fault)
    finally:
        w.login("alice", ALICE)
    as_uid(ALICE, os.listdir, w.notes)


def test_revocation_bites(w):
    as_uid(ALICE, put, w.labs / "e.txt", "e" * 100)
    wait_until("the reader", lambda: as_uid(WILSON, get, w.labs / "e.txt") == repr("e" * 100))
    w.realm.revoke("alice/labs", "dr.wilson")
    fails(errno.EACCES, as_uid, WILSON, get, w.labs / "e.txt")
    same(as_uid(ALICE, get, w.labs / "e.txt"), repr("e" * 100))
    fails(errno.EACCES, as_uid, WILSON, os.stat, w.labs / "e.txt")  # from what her look left behind


def test_read_only_until_remounted(w):
    as_uid(ALICE, put, w.notes / "before", "b")
    w.realm.umount()
    w.realm.mount("allow_other,ro")
    w.login("alice", ALICE)
    w.login("dr.wilson", WILSON)
    same(as_uid(ALICE, get, w.notes / "before"), repr("b"))
    fails(errno.EROFS, as_uid, ALICE, put, w.notes / "after", "a")
    harness.run(["mount", "-i", "-o", "remount,rw", str(w.mount_dir)])
    as_uid(ALICE, put, w.notes / "after", "a")
    w.realm.phr("sync", "--wait", "--mount", w.mount_dir)  # sealing runs as well
    harness.run(["mount", "-i", "-o", "remount,ro", str(w.mount_dir)])
    fails(errno.EROFS, as_uid, ALICE, os.unlink, w.notes / "after")
    harness.run(["mount", "-i", "-o", "remount,rw", str(w.mount_dir)])
    as_uid(ALICE, os.unlink, w.notes / "after")


def test_who_is_idle_is_logged_out(w):
    """Work on names and work on an open file count; the other one's keys go, and the mount stays."""
    conf = w.realm.conf.read_text()
    w.realm.umount()
    w.realm.conf.write_text(conf + "\n[vault]\nidle_logout_s = 2\n")
    w.realm.mount("allow_other")
    w.login("alice", ALICE)
    w.login("dr.wilson", WILSON)
    as_uid(ALICE, put, w.notes / "kept", "k")

    def work_on_names():
        for i in range(10):
            time.sleep(0.4)
            put(w.notes / f"work{i}", "w")

    def work_on_one_file():
        fd = os.open(w.notes / "open", os.O_CREAT | os.O_RDWR, 0o600)
        for _ in range(10):
            time.sleep(0.4)
            os.write(fd, b"w")
            os.fsync(fd)
        os.close(fd)

    def idle_logouts(who):
        shown = w.realm.phr_json("audit", "show", "--who", who, "--op", "logout", "--raw")
        return sum(record["reason"] == "idle" for record in shown)

    as_uid(ALICE, work_on_names)
    fails(errno.EACCES, as_uid, WILSON, os.listdir, w.alice)  # others are logged in, he is not
    as_uid(ALICE, work_on_one_file)
    same(as_uid(ALICE, get, w.notes / "kept"), repr("k"))
    wait_until("alice to be logged out", lambda: "alice" not in w.realm.phr("status", "--json").stdout, 10)
    fails(errno.ENOKEY, as_uid, ALICE, os.listdir, w.notes)
    check(w.mount_dir.is_mount())
    wait_until("the records", lambda: idle_logouts("alice") == 1 and idle_logouts("dr.wilson") == 1, 10)
    w.realm.umount()
    w.realm.conf.write_text(conf)
    w.realm.mount("allow_other")
    w.login("alice", ALICE)
    same(as_uid(ALICE, get, w.notes / "open"), repr("w" * 10))


def main():
    opts = harness.arguments(__doc__.splitlines()[0]).parse_args()
    try:
        with Ward(opts.build) as ward:
            failed = harness.run_tests(harness.tests_of(sys.modules[__name__]), lambda _: ward,
                                       watch=ward.mount_dir, only=opts.only)[1]
            if failed:
                harness.print_logs(ward.dir / "run")
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
