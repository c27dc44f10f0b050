#!/usr/bin/env python3
"""What any program expects of a file system, through a real mount (P8, STORAGE 6).

  test_mount.py --build DIR [--fake] [--only PART]

Each body gets an empty directory. --fake runs them over tests/unit/fake_node.c, so that a
fault of the FUSE layer can be told from one of the vault; --plain on an ordinary directory,
where all of them must hold as well.
"""
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import pathlib
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import FakeMount, RealMount, Skipped, check, fails, same

libc = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4


def pattern(n, seed=0):
    block = hashlib.sha256(str(seed).encode()).digest()
    return (block * (n // 32 + 1))[:n]


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def as_nobody(body):
    """Runs body in a child without rights; its exit status is the errno or 0."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            body()
        except OSError as fault:
            code = fault.errno
        except BaseException:  # pylint: disable=broad-except
            code = 255
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- names ----


def test_create_write_read(d):
    (d / "a").write_bytes(b"hello")
    same((d / "a").read_bytes(), b"hello")
    same((d / "a").stat().st_size, 5)
    fails(errno.EEXIST, os.open, d / "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.ENOENT, os.open, d / "b", os.O_RDONLY)
    fails(errno.ENOTDIR, os.open, d / "a" / "x", os.O_RDONLY)


def test_empty_file(d):
    (d / "empty").touch()
    same((d / "empty").read_bytes(), b"")
    same((d / "empty").stat().st_size, 0)


def test_many_sizes(d):
    for n in (1, 4095, 4096, 4097, 65536, 131071, (1 << 20) + 1, (4 << 20) - 1, (4 << 20) + 4097):
        (d / f"f{n}").write_bytes(pattern(n, n))
    for n in (1, 4095, 4096, 4097, 65536, 131071, (1 << 20) + 1, (4 << 20) - 1, (4 << 20) + 4097):
        check((d / f"f{n}").read_bytes() == pattern(n, n), f"{n} bytes differ")


def test_write_only_in_the_middle_of_a_page(d):
    (d / "f").write_bytes(pattern(20000))
    fd = os.open(d / "f", os.O_WRONLY)
    os.pwrite(fd, b"middle", 5000)
    os.close(fd)
    want = bytearray(pattern(20000))
    want[5000:5006] = b"middle"
    same((d / "f").read_bytes(), bytes(want))


def test_append(d):
    with open(d / "f", "ab") as f:
        f.write(b"one")
    with open(d / "f", "ab") as f:
        f.write(b"two")
    same((d / "f").read_bytes(), b"onetwo")


def test_append_after_link_leaves_no_zeros(d):
    (d / "f").write_bytes(b"12345")
    with open(d / "f", "ab") as f:
        f.write(b"67")
        f.flush()
        os.link(d / "f", d / "g")
        f.write(b"89")
    same((d / "g").read_bytes(), b"123456789")
    same((d / "f").stat().st_nlink, 2)


def test_mkdir_rmdir(d):
    (d / "x").mkdir()
    fails(errno.EEXIST, os.mkdir, d / "x")
    (d / "x" / "y").mkdir()
    fails(errno.ENOTEMPTY, os.rmdir, d / "x")
    same(d.joinpath("x").stat().st_nlink, 3)
    (d / "x" / "y").rmdir()
    (d / "x").rmdir()
    fails(errno.ENOENT, os.stat, d / "x")


def test_modes_without_owner_rights(d):
    old = os.umask(0)
    try:
        os.mkdir(d / "x", 0o151)
        same(stat.S_IMODE((d / "x").stat().st_mode), 0o151)
        fd = os.open(d / "f", os.O_CREAT | os.O_WRONLY, 0o062)
        os.write(fd, b"x")
        os.close(fd)
        same(stat.S_IMODE((d / "f").stat().st_mode), 0o062)
    finally:
        os.umask(old)


def test_umask(d):
    old = os.umask(0o027)
    try:
        os.close(os.open(d / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(d / "x", 0o777)
        same(stat.S_IMODE((d / "f").stat().st_mode), 0o640)
        same(stat.S_IMODE((d / "x").stat().st_mode), 0o750)
    finally:
        os.umask(old)


def test_rename(d):
    (d / "a").write_text("a")
    (d / "b").write_text("b")
    os.rename(d / "a", d / "b")
    same((d / "b").read_text(), "a")
    fails(errno.ENOENT, os.stat, d / "a")
    (d / "x").mkdir()
    (d / "y").mkdir()
    (d / "y" / "z").touch()
    fails(errno.ENOTEMPTY, os.rename, d / "x", d / "y")
    fails(errno.EISDIR, os.rename, d / "b", d / "x")
    fails(errno.ENOTDIR, os.rename, d / "x", d / "b")
    fails(errno.EINVAL, os.rename, d / "x", d / "x" / "in")
    os.rename(d / "y", d / "x")
    check((d / "x" / "z").exists())


def test_rename_of_the_same_inode_does_nothing(d):
    (d / "a").write_text("a")
    os.link(d / "a", d / "b")
    os.rename(d / "a", d / "b")
    check((d / "a").exists() and (d / "b").exists())


def test_rename_flags(d):
    (d / "a").write_text("a")
    (d / "b").write_text("b")
    fails(errno.EEXIST, renameat2, d / "a", d / "b", RENAME_NOREPLACE)
    renameat2(d / "a", d / "b", RENAME_EXCHANGE)
    same((d / "a").read_text(), "b")
    fails(errno.EINVAL, renameat2, d / "a", d / "b", RENAME_EXCHANGE | RENAME_NOREPLACE)
    fails(errno.ENOENT, renameat2, d / "a", d / "none", RENAME_EXCHANGE)
    renameat2(d / "a", d / "c", RENAME_NOREPLACE)
    same((d / "c").read_text(), "b")


def test_rename_over_an_open_file(d):
    (d / "a").write_text("new")
    (d / "b").write_text("old")
    with open(d / "b", "r", encoding="ascii") as old:
        os.rename(d / "a", d / "b")
        same(old.read(), "old")
    same((d / "b").read_text(), "new")


def test_hard_links(d):
    (d / "a").write_text("x")
    os.link(d / "a", d / "b")
    same((d / "a").stat().st_ino, (d / "b").stat().st_ino)
    (d / "a").unlink()
    same((d / "b").stat().st_nlink, 1)
    same((d / "b").read_text(), "x")
    (d / "dir").mkdir()
    fails(errno.EPERM, os.link, d / "dir", d / "c")


def test_symlinks(d):
    target = "t" * 4095
    os.symlink(target, d / "long")
    same(os.readlink(d / "long"), target)
    same(os.lstat(d / "long").st_size, 4095)
    os.symlink("a", d / "s")
    (d / "a").write_text("x")
    same((d / "s").read_text(), "x")
    os.symlink("loop", d / "loop")
    fails(errno.ELOOP, os.stat, d / "loop")


def test_long_and_odd_names(d):
    names = [b"n" * 255, b"\xff\xfe\x01", b"with space", b"new\nline", b"-rf", "ü".encode() * 127, b"a\\b"]
    for n in names:
        with open(os.path.join(os.fsencode(d), n), "wb") as f:
            f.write(n)
    same(sorted(os.listdir(os.fsencode(d))), sorted(names))
    fails(errno.ENAMETOOLONG, os.mkdir, d / ("n" * 256))
    fails(errno.ENAMETOOLONG, os.stat, d / ("n" * 256))


def test_fifo_and_socket(d):
    os.mkfifo(d / "p")
    check(stat.S_ISFIFO((d / "p").stat().st_mode))
    s = socket.socket(socket.AF_UNIX)
    old = os.getcwd()
    os.chdir(d)
    s.bind("sock")
    os.chdir(old)
    check(stat.S_ISSOCK((d / "sock").stat().st_mode))
    s.close()


def test_devices_are_refused(d):
    if PLAIN:
        raise Skipped("a local disk has devices")
    fails(errno.EPERM, os.mknod, d / "dev", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


# ---- directories ----


def test_readdir_of_3000(d):
    for i in range(3000):
        (d / f"name-{i:05}").touch()
    same(len(os.listdir(d)), 3000)
    same(sorted(os.listdir(d))[2999], "name-02999")
    with os.scandir(d) as entries:
        check(all(e.is_file() and e.inode() for e in entries))
    for i in range(0, 3000, 2):
        (d / f"name-{i:05}").unlink()
    same(len(os.listdir(d)), 1500)


def test_removing_while_listing(d):
    for i in range(2000):
        (d / f"f{i}").touch()
    with os.scandir(d) as entries:
        for e in entries:
            os.unlink(e.path)
    same(os.listdir(d), [])


def test_telldir_is_stable(d):
    for i in range(500):
        (d / f"f{i}").touch()
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    handle = ctypes.c_void_p(libc.opendir(os.fsencode(d)))

    def name():
        entry = libc.readdir(handle)
        return ctypes.string_at(entry + 19) if entry else None

    seen = []
    while True:
        at = libc.telldir(handle)
        n = name()
        if n is None:
            break
        seen.append((at, n))
    (d / "f3").unlink()
    (d / "later").touch()
    for at, n in seen[::-37]:
        if n == b"f3":
            continue
        libc.seekdir(handle, ctypes.c_long(at))
        same(name(), n)
    libc.closedir(handle)


def test_removed_open_directory(d):
    (d / "x").mkdir()
    fd = os.open(d / "x", os.O_RDONLY)
    (d / "x").rmdir()
    os.fsync(fd)
    os.fchmod(fd, 0o700)
    same(os.fstat(fd).st_nlink, 0)
    fails(errno.ENOENT, os.open, "new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


def test_setgid_directory(d):
    (d / "x").mkdir()
    os.chown(d / "x", 0, 4711)
    os.chmod(d / "x", 0o2775)
    (d / "x" / "f").touch()
    (d / "x" / "y").mkdir()
    same((d / "x" / "f").stat().st_gid, 4711)
    same((d / "x" / "y").stat().st_gid, 4711)
    check((d / "x" / "y").stat().st_mode & stat.S_ISGID)


# ---- attributes ----


def test_chmod_chown_utimens(d):
    f = d / "f"
    f.write_text("x")
    os.chmod(f, 0o604)
    same(stat.S_IMODE(f.stat().st_mode), 0o604)
    os.chown(f, 1234, 2345)
    same((f.stat().st_uid, f.stat().st_gid), (1234, 2345))
    os.utime(f, ns=(1_000_000_001, 1_234_567_890_123_456_789))
    same(f.stat().st_mtime_ns, 1_234_567_890_123_456_789)
    same(f.stat().st_atime_ns, 1_000_000_001)


def test_times_move(d):
    f = d / "f"
    f.write_text("x")
    before = f.stat()
    time.sleep(0.02)
    os.chmod(f, 0o600)
    check(f.stat().st_ctime_ns > before.st_ctime_ns, "ctime after chmod")
    same(f.stat().st_mtime_ns, before.st_mtime_ns)
    time.sleep(0.02)
    f.write_text("y")
    check(f.stat().st_mtime_ns > before.st_mtime_ns, "mtime after write")
    parent = d.stat().st_mtime_ns
    time.sleep(0.02)
    (d / "g").touch()
    check(d.stat().st_mtime_ns > parent, "mtime of the directory")


def test_mtime_set_before_close_stays(d):
    with open(d / "f", "wb", buffering=0) as f:
        f.write(b"data")
        os.utime(f.fileno(), ns=(1, 2_000_000_000))
    same((d / "f").stat().st_mtime_ns, 2_000_000_000)


def test_stat_changes_nothing(d):
    f = d / "f"
    f.write_text("x")
    one = f.stat()
    for _ in range(3):
        f.stat()
    two = f.stat()
    same((one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns), (two.st_atime_ns, two.st_mtime_ns, two.st_ctime_ns))


def test_permissions_are_enforced(d):
    os.chmod(d, 0o755)
    (d / "f").write_text("x")
    os.chmod(d / "f", 0o600)
    same(as_nobody(lambda: open(d / "f", "rb").close()), errno.EACCES)
    same(as_nobody(lambda: os.mkdir(d / "x")), errno.EACCES)
    os.chmod(d / "f", 0o644)
    same(as_nobody(lambda: open(d / "f", "rb").close()), 0)
    same(as_nobody(lambda: os.chmod(d / "f", 0o777)), errno.EPERM)
    check(not os.access(d / "f", os.X_OK), "root may execute a file without x")


def make_setid(d, mode):
    f = d / "setid"
    f.write_bytes(b"x" * 100)
    os.chown(f, NOBODY, NOBODY)
    os.chmod(f, mode)
    return f


def test_setid_falls_on_write(d):
    os.chmod(d, 0o777)
    f = make_setid(d, 0o6777)
    same(stat.S_IMODE(f.stat().st_mode), 0o6777)

    def write():
        fd = os.open(f, os.O_WRONLY)
        os.write(fd, b"y")
        os.close(fd)

    same(as_nobody(write), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_setid_falls_on_truncate(d):
    os.chmod(d, 0o777)
    f = make_setid(d, 0o6777)
    same(as_nobody(lambda: os.truncate(f, 10)), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_setid_falls_on_open_trunc(d):
    os.chmod(d, 0o777)
    f = make_setid(d, 0o6777)
    same(as_nobody(lambda: os.close(os.open(f, os.O_WRONLY | os.O_TRUNC))), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_setid_falls_on_chown(d):
    f = make_setid(d, 0o6777)
    os.chown(f, 1, 1)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_setid_falls_on_direct_write(d):
    os.chmod(d, 0o777)
    f = make_setid(d, 0o4777)

    def write():
        fd = os.open(f, os.O_WRONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, 4096)
        os.writev(fd, [buffer])
        os.close(fd)

    same(as_nobody(write), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_setid_falls_on_fallocate(d):
    os.chmod(d, 0o777)
    f = make_setid(d, 0o4777)

    def reserve():
        fd = os.open(f, os.O_WRONLY)
        os.posix_fallocate(fd, 0, 8192)
        os.close(fd)

    same(as_nobody(reserve), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o777)


def test_statvfs(d):
    st = os.statvfs(d)
    check(st.f_blocks > 0 and st.f_namemax == 255)


# ---- xattrs ----


def test_xattrs(d):
    f = d / "f"
    f.touch()
    os.setxattr(f, "user.a", b"1")
    same(os.getxattr(f, "user.a"), b"1")
    same(os.listxattr(f), ["user.a"])
    fails(errno.EEXIST, os.setxattr, f, "user.a", b"2", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, f, "user.b", b"2", os.XATTR_REPLACE)
    os.setxattr(f, "user.empty", b"")
    same(os.getxattr(f, "user.empty"), b"")
    if not PLAIN:  # more than ext4 holds
        os.setxattr(f, "user.big", b"v" * 60000)
        same(len(os.getxattr(f, "user.big")), 60000)
    os.removexattr(f, "user.a")
    fails(errno.ENODATA, os.getxattr, f, "user.a")
    fails(errno.ENODATA, os.removexattr, f, "user.a")


def test_trusted_xattr_on_symlink(d):
    os.symlink("x", d / "s")
    os.setxattr(d / "s", "trusted.t", b"1", follow_symlinks=False)
    same(os.getxattr(d / "s", "trusted.t", follow_symlinks=False), b"1")


def test_acl(d):
    if not shutil.which("setfacl"):
        raise Skipped("needs setfacl")
    if d_is_fake(d):
        raise Skipped("the fake keeps ACLs as bytes only")
    f = d / "f"
    f.write_text("x")
    os.chmod(f, 0o600)
    os.chmod(d, 0o755)
    harness.run(["setfacl", "-m", "u:65534:r", f])
    same(as_nobody(lambda: open(f, "rb").close()), 0)
    same(stat.S_IMODE(f.stat().st_mode), 0o640)
    os.chmod(f, 0o600)  # rewrites the mask
    same(as_nobody(lambda: open(f, "rb").close()), errno.EACCES)
    (d / "x").mkdir()
    harness.run(["setfacl", "-d", "-m", "u:65534:rwx", d / "x"])
    old = os.umask(0o077)
    (d / "x" / "g").touch()
    os.umask(old)
    check(b"65534" in subprocess.run(["getfacl", "-n", str(d / "x" / "g")], capture_output=True, check=True).stdout)


# ---- contents ----


def test_truncate(d):
    f = d / "f"
    f.write_bytes(pattern(10000))
    os.truncate(f, 5000)
    same(f.read_bytes(), pattern(10000)[:5000])
    os.truncate(f, 8000)
    same(f.read_bytes(), pattern(10000)[:5000] + bytes(3000))
    os.truncate(f, 0)
    same(f.read_bytes(), b"")
    f.write_bytes(b"again")
    same(f.read_bytes(), b"again")


def test_ftruncate_while_written(d):
    with open(d / "f", "w+b", buffering=0) as f:
        f.write(pattern(9000))
        f.truncate(4100)
        same(os.fstat(f.fileno()).st_size, 4100)
        f.seek(0)
        same(f.read(), pattern(9000)[:4100])
        f.seek(0, os.SEEK_END)
        f.write(b"end")
    same((d / "f").read_bytes(), pattern(9000)[:4100] + b"end")


def test_open_trunc(d):
    (d / "f").write_bytes(pattern(100000))
    (d / "f").write_bytes(b"short")
    same((d / "f").read_bytes(), b"short")


def test_holes_read_as_zeros(d):
    with open(d / "f", "wb") as f:
        f.seek(1 << 20)
        f.write(b"end")
    same((d / "f").stat().st_size, (1 << 20) + 3)
    data = (d / "f").read_bytes()
    check(data[:1 << 20] == bytes(1 << 20) and data[1 << 20:] == b"end")


def test_seek_data_of_a_dirty_file(d):
    with open(d / "f", "w+b", buffering=0) as f:
        f.seek(1 << 20)
        f.write(pattern(4096))
        at = os.lseek(f.fileno(), 0, os.SEEK_DATA)
        check(0 <= at <= 1 << 20, f"data at {at}")
        same(os.lseek(f.fileno(), 1 << 20, os.SEEK_DATA), 1 << 20)
        same(os.lseek(f.fileno(), 1 << 20, os.SEEK_HOLE), (1 << 20) + 4096)
        fails(errno.ENXIO, os.lseek, f.fileno(), (1 << 20) + 4096, os.SEEK_DATA)


def test_cp_sparse(d):
    with open(d / "f", "wb") as f:
        f.seek(3 << 20)
        f.write(pattern(5000))
    harness.run(["cp", "--sparse=always", d / "f", d / "g"])
    check((d / "g").read_bytes() == (d / "f").read_bytes())
    harness.run(["cp", "-a", d / "f", d / "h"])
    check((d / "h").read_bytes() == (d / "f").read_bytes())


def test_mmap(d):
    (d / "f").write_bytes(pattern(20000))
    with open(d / "f", "r+b") as f:
        m = mmap.mmap(f.fileno(), 20000)
        same(m[:100], pattern(20000)[:100])
        m[8190:8200] = b"0123456789"
        m.flush()
        m.close()
    data = (d / "f").read_bytes()
    same(data[8190:8200], b"0123456789")
    same(len(data), 20000)


def test_mmap_written_without_msync(d):
    (d / "f").write_bytes(bytes(8192))
    with open(d / "f", "r+b") as f:
        m = mmap.mmap(f.fileno(), 8192)
    m[4096:4100] = b"late"
    m.close()
    same((d / "f").read_bytes()[4096:4100], b"late")


def test_unlinked_open_file(d):
    f = open(d / "f", "w+b", buffering=0)
    f.write(b"before")
    (d / "f").unlink()
    f.write(b" after")
    os.fsync(f.fileno())
    os.fchmod(f.fileno(), 0o640)
    os.fchown(f.fileno(), 1, 1)
    os.utime(f.fileno(), ns=(5, 6))
    os.setxattr(f.fileno(), "user.a", b"1")
    same(os.getxattr(f.fileno(), "user.a"), b"1")
    st = os.fstat(f.fileno())
    same((st.st_nlink, st.st_size, st.st_uid, st.st_mtime_ns), (0, 12, 1, 6))
    f.seek(0)
    same(f.read(), b"before after")
    again = os.open(f"/proc/self/fd/{f.fileno()}", os.O_RDWR)
    os.pwrite(again, b"BEFORE", 0)
    same(os.pread(again, 20, 0), b"BEFORE after")
    os.ftruncate(again, 3)
    same(os.fstat(again).st_size, 3)
    os.close(again)
    f.close()
    same(os.listdir(d), [])


def test_o_direct(d):
    buffer = mmap.mmap(-1, 65536)
    buffer[:] = pattern(65536)
    fd = os.open(d / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    same(os.writev(fd, [buffer]), 65536)
    back = mmap.mmap(-1, 65536)
    same(os.preadv(fd, [back], 0), 65536)
    check(back[:] == buffer[:])
    os.close(fd)
    check((d / "f").read_bytes() == pattern(65536))


def test_o_direct_and_cache_agree(d):
    (d / "f").write_bytes(pattern(16384, 1))
    with open(d / "f", "rb") as cached:
        cached.read()
        fd = os.open(d / "f", os.O_WRONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, 4096)
        buffer[:] = b"D" * 4096
        os.pwritev(fd, [buffer], 4096)
        os.close(fd)
        cached.seek(4096)
        same(cached.read(4096), b"D" * 4096)


def test_fsync_kinds(d):
    with open(d / "f", "wb") as f:
        f.write(pattern(100000))
        f.flush()
        os.fdatasync(f.fileno())
        os.fsync(f.fileno())
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    fd = os.open(d / "g", os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    same(os.write(fd, b"sync"), 4)
    os.close(fd)
    same((d / "g").read_bytes(), b"sync")


def test_fallocate(d):
    fd = os.open(d / "f", os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(fd, 0, 10000)
    same(os.fstat(fd).st_size, 10000)
    same(os.pread(fd, 10000, 0), bytes(10000))
    os.pwrite(fd, pattern(10000), 0)
    punch_keep = 3
    check(libc.fallocate(fd, punch_keep, ctypes.c_long(4096), ctypes.c_long(4096)) == 0, "punch")
    want = pattern(10000)[:4096] + bytes(4096) + pattern(10000)[8192:]
    check(os.pread(fd, 10000, 0) == want, "punched")
    os.close(fd)


def test_ioctl_is_no_tty(d):
    (d / "f").touch()
    with open(d / "f", "rb") as f:
        fails(errno.ENOTTY, fcntl.ioctl, f.fileno(), 0x5401, b"\0" * 64)


def test_locks(d):
    (d / "f").touch()
    one = open(d / "f", "wb")
    two = open(d / "f", "wb")
    fcntl.flock(one, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    one.close()
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(two, fcntl.LOCK_EX)
    two.close()


def test_copy_file_range(d):
    (d / "f").write_bytes(pattern(300000))
    with open(d / "f", "rb") as a, open(d / "g", "wb") as b:
        left = 300000
        while left > 0:
            left -= os.copy_file_range(a.fileno(), b.fileno(), left)
    check((d / "g").read_bytes() == pattern(300000))


def test_o_tmpfile_is_refused_or_works(d):
    try:
        os.close(os.open(d, os.O_TMPFILE | os.O_RDWR))
    except OSError as fault:
        check(fault.errno in (errno.EOPNOTSUPP, errno.EISDIR), fault)


def test_random_writes_match_a_model(d):
    import random
    rng = random.Random(7)
    model = bytearray()
    with open(d / "f", "w+b", buffering=0) as f:
        for step in range(300):
            at = rng.randrange(0, 300000)
            act = rng.random()
            if act < 0.6:
                data = pattern(rng.randrange(1, 20000), step)
                f.seek(at)
                f.write(data)
                model.extend(bytes(max(0, at - len(model))))
                model[at:at + len(data)] = data
            elif act < 0.7:
                f.truncate(at)
                model = model[:at] + bytes(max(0, at - len(model)))
            elif act < 0.8:
                os.fsync(f.fileno())
            else:
                f.seek(at)
                check(f.read(5000) == bytes(model[at:at + 5000]), f"step {step}")
    check((d / "f").read_bytes() == bytes(model), "after close")


def test_parallel_writers(d):
    faults = []

    def work(n):
        try:
            for i in range(40):
                (d / f"t{n}-{i}").write_bytes(pattern(5000, n * 100 + i))
                if (d / f"t{n}-{i}").read_bytes() != pattern(5000, n * 100 + i):
                    faults.append((n, i))
        except OSError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    same(faults, [])
    same(len(os.listdir(d)), 240)


def test_getcwd(d):
    (d / "x").mkdir()
    old = os.getcwd()
    os.chdir(d / "x")
    try:
        same(os.getcwd(), str(d / "x"))
        os.listdir(".")
    finally:
        os.chdir(old)


# ---- requests that wait (only the fake can be told to) ----

FAKE = False
PLAIN = False
MOUNT = None


def d_is_fake(_):
    return FAKE


def need_fake():
    if not FAKE:
        raise Skipped("needs --fake")


def test_waiting_open_succeeds(d):
    need_fake()
    (d / "slow-a").write_bytes(b"x")
    began = time.monotonic()
    fd = os.open(d / "slow-a", os.O_RDONLY)
    check(0.15 < time.monotonic() - began < 1.5)
    same(os.read(fd, 5), b"x")
    os.close(fd)


def test_waiting_open_is_refused(d):
    need_fake()
    (d / "refused-a").touch()
    fails(errno.EACCES, os.open, d / "refused-a", os.O_RDONLY)


def test_waiting_open_has_a_deadline(d):
    need_fake()
    (d / "never-a").touch()
    began = time.monotonic()
    fails(errno.ETIMEDOUT, os.open, d / "never-a", os.O_RDONLY)
    check(time.monotonic() - began < 2.3, "later than the deadline")
    time.sleep(1.5)  # the late wake-up must find nobody, and harm nobody
    (d / "after").touch()


def test_waiting_opens_do_not_stop_others(d):
    need_fake()
    (d / "never-b").touch()

    def wait():
        try:
            os.open(d / "never-b", os.O_RDONLY)
        except OSError:
            pass

    threads = [threading.Thread(target=wait) for _ in range(30)]
    for t in threads:
        t.start()
    time.sleep(0.1)
    began = time.monotonic()
    (d / "free").write_bytes(b"x")
    same((d / "free").read_bytes(), b"x")
    check(time.monotonic() - began < 0.5, "the waiting ones blocked another")
    for t in threads:
        t.join(10)


def test_waiting_open_can_be_killed(d):
    need_fake()
    (d / "never-c").touch()
    child = subprocess.Popen(["cat", str(d / "never-c")], stdout=subprocess.DEVNULL)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    child.wait(5)
    check(time.monotonic() - began < 0.5, "the interrupt was not heard")


def ask_quickly(name, seconds):
    """One quick request after the other, for so long: the longest took how many seconds."""
    end, longest = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        began = time.monotonic()
        fails(errno.ENODATA, os.getxattr, name, "user.none")
        longest = max(longest, time.monotonic() - began)
    return longest


def test_slow_answer_does_not_stop_others(d):
    need_fake()
    (d / "quick").touch()
    for _ in range(3):
        ask_quickly(d / "quick", 0.1)  # so that one thread answers all
        late = threading.Thread(target=lambda: (d / "late-name").exists())
        late.start()
        longest = ask_quickly(d / "quick", 0.3)
        late.join()
        check(longest < 0.2, f"waited for {longest:.3f} s behind one that takes 0.4 s")


def test_rest_costs_nothing(d):
    need_fake()

    def ticks():
        return sum(sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
                   for pid in MOUNT.pids())

    (d / "quick").touch()
    ask_quickly(d / "quick", 0.2)
    time.sleep(0.2)
    before = ticks()
    time.sleep(1)
    check(ticks() - before <= 2, f"{ticks() - before} ticks of processor time in a second of nothing")


def test_damage_is_an_error_not_zeros(d):
    need_fake()
    (d / "broken-a").write_bytes(pattern(4096))
    fd = os.open(d / "broken-a", os.O_RDONLY | os.O_DIRECT)
    fails(errno.EIO, os.preadv, fd, [mmap.mmap(-1, 4096)], 0)
    os.close(fd)


def ask(kind, payload=b""):
    """One question to the mount's control socket: status and payload of the answer."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(str(next((MOUNT.dir / "run").glob("*.ctl"))))
    s.sendall(struct.pack("<IHHiQ", len(payload), kind, 0, 0, 7) + payload)
    data = b""
    while len(data) < 20 or len(data) < 20 + struct.unpack_from("<I", data)[0]:
        chunk = s.recv(65536)
        check(chunk, "the mount hung up")
        data += chunk
    s.close()
    n, got_kind, _, status, number = struct.unpack_from("<IHHiQ", data)
    same((got_kind, number), (kind, 7))
    return status, data[20:20 + n]


LOGIN, LOGOUT, STATUS, SYNC, CHECK = 64, 65, 66, 67, 68


def test_control_socket(d):
    need_fake()
    status, text = ask(STATUS)
    told = json.loads(text)
    same((status, told["dir"], told["source"], told["mount"]), (0, str(MOUNT.mount_dir), "phr:test", {"fake": True}))
    same(ask(SYNC, struct.pack("<I", 0)), (0, bytes(16)))
    same(ask(LOGOUT), (0, bytes(4)))
    same(ask(CHECK, b"\0")[0], 0)
    same(as_nobody(lambda: ask(CHECK, b"\0")[0] == -errno.EPERM or check(False)), 0)
    same(as_nobody(lambda: check(json.loads(ask(STATUS)[1])["mount"] == {})), 0)


def test_control_socket_login_tells_the_kernel(d):
    need_fake()
    began = time.monotonic()
    with open(d / "open", "wb", buffering=0) as f:
        f.write(b"dirty")
        same(ask(LOGIN, struct.pack("<HI", 1, 4) + b"body"), (0, b"\x11" * 16))
    check(time.monotonic() - began < 2, "the invalidations took long")
    log = "".join(p.read_text() for p in (MOUNT.dir / "run").glob("*.log"))
    check("invalidation_failed" not in log, log)


def test_control_socket_refuses_nonsense(d):
    need_fake()
    check(ask(LOGIN, b"")[0] < 0)
    check(ask(LOGIN, struct.pack("<HI", 1, 400) + b"short")[0] < 0)
    check(ask(LOGIN, struct.pack("<HI", 99, 4) + b"body")[0] < 0)
    check(ask(SYNC, b"1")[0] < 0)
    check(ask(SYNC, b"12345678")[0] < 0)
    check(ask(STATUS, b"x")[0] < 0)
    check(ask(1)[0] < 0)
    same(ask(STATUS)[0], 0)


def main():
    global FAKE, PLAIN, MOUNT  # pylint: disable=global-statement
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--plain", action="store_true", help="on an ordinary directory")
    opts = parser.parse_args()
    FAKE, PLAIN = opts.fake, opts.plain
    tests = harness.tests_of(sys.modules[__name__])

    def run(folder, watch):
        def fresh(name):
            place = folder / name
            place.mkdir()
            return place
        return harness.run_tests(tests, fresh, watch=watch, only=opts.only)

    try:
        if opts.plain:
            with tempfile.TemporaryDirectory(prefix="phr-plain-") as place:
                os.chmod(place, 0o755)
                failed = run(pathlib.Path(place), None)[1]
        else:
            with (FakeMount if opts.fake else RealMount)(opts.build, "allow_other,ownership=stored") as MOUNT:
                m = MOUNT
                failed = run(m.folder, m.mount_dir)[1]
                if failed:
                    harness.print_logs(m.dir / "run")
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
